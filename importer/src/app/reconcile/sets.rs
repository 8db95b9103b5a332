// SPDX-License-Identifier: Apache-2.0
//! What is known of each set beyond its state, from one reconcile to the next. A restart loses it, and nothing goes wrong.

use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;

use super::checks::Check;
use super::known::KnownAnswers;
use super::waiting_for_secret::WaitingForSecret;
use super::written::WrittenStatus;

/// What is known of one set.
#[derive(Default)]
pub(super) struct SetEntry {
    /// Reconciles that failed in a row.
    failures: u32,
    /// What was last written to its status.
    pub(super) written: Option<WrittenStatus>,
    /// How it was when nothing but a corrected Secret could help.
    pub(super) waiting_for_secret: Option<WaitingForSecret>,
    /// What the edge registry said and need not be asked again.
    pub(super) known: Option<KnownAnswers>,
    /// A check of the edge registry that continues.
    pub(super) check: Option<Check>,
    /// The importer that serves the set, where this one leaves it alone.
    left_to: Option<String>,
}

impl SetEntry {
    fn is_empty(&self) -> bool {
        let Self { failures, written, waiting_for_secret, known, check, left_to } = self;
        *failures == 0
            && written.is_none()
            && waiting_for_secret.is_none()
            && known.is_none()
            && check.is_none()
            && left_to.is_none()
    }
}

/// The entries of all sets, by UID.
#[derive(Default)]
pub(super) struct SetEntries(Mutex<HashMap<String, SetEntry>>);

impl SetEntries {
    /// Changes what is known of a set. An entry that is empty afterwards takes no memory.
    pub(super) fn update<T>(&self, uid: &str, change: impl FnOnce(&mut SetEntry) -> T) -> T {
        let mut entries = self.0.lock();
        let entry = entries.entry(uid.to_owned()).or_default();
        let result = change(entry);
        if entry.is_empty() {
            entries.remove(uid);
        }
        result
    }

    /// Calls `change` with what was last written to the status of a set, where something was.
    pub(super) fn written<T>(&self, uid: &str, change: impl FnOnce(&mut WrittenStatus) -> T) -> Option<T> {
        self.0.lock().get_mut(uid)?.written.as_mut().map(change)
    }

    /// Counts a reconcile that failed; how many did in a row.
    pub(super) fn fail(&self, uid: &str) -> u32 {
        self.update(uid, |entry| {
            entry.failures = entry.failures.saturating_add(1);
            entry.failures
        })
    }

    /// Records that a reconcile succeeded.
    pub(super) fn succeed(&self, uid: &str) {
        self.update(uid, |entry| entry.failures = 0);
    }

    /// Whether a set waits for a retry.
    pub(super) fn has_failures(&self) -> bool {
        self.0.lock().values().any(|entry| entry.failures > 0)
    }

    /// Records that this importer serves a set.
    pub(super) fn serve(&self, uid: &str) {
        self.update(uid, |entry| entry.left_to = None);
    }

    /// Leaves a set to another importer; whether it was not left to that one before.
    pub(super) fn leave(&self, uid: &str, other: &str) -> bool {
        self.update(uid, |entry| {
            (entry.written, entry.failures) = (None, 0);
            entry.left_to.replace(other.to_owned()).as_deref() != Some(other)
        })
    }

    /// Forgets what was written to statuses.
    pub(super) fn forget_written(&self) {
        self.0.lock().retain(|_, entry| {
            entry.written = None;
            !entry.is_empty()
        });
    }

    /// Drops the entries of sets that are not among `alive`.
    pub(super) fn retain(&self, alive: &BTreeSet<String>) {
        self.0.lock().retain(|uid, _| alive.contains(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_says_nothing_takes_no_memory_and_one_of_a_set_that_is_gone_is_dropped() {
        let sets = SetEntries::default();
        let count = || sets.0.lock().len();
        assert_eq!((sets.fail("a"), sets.fail("a"), sets.fail("b")), (1, 2, 1));
        assert!(sets.has_failures());
        sets.succeed("a");
        sets.succeed("never seen");
        assert_eq!(count(), 1);
        assert!(sets.leave("b", "other") && !sets.leave("b", "other") && sets.leave("b", "third"));
        assert!(!sets.has_failures(), "what is left to another importer waits for nothing here");
        sets.forget_written();
        assert_eq!(count(), 1);
        sets.retain(&BTreeSet::from(["a".to_owned()]));
        assert_eq!(count(), 0);
        sets.leave("c", "other");
        sets.serve("c");
        assert_eq!(count(), 0);
    }
}
