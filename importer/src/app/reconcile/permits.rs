// SPDX-License-Identifier: Apache-2.0
//! Few permits that many sets of several namespaces want: to ask one registry, to read content back. The namespace that was
//! served longest ago is next, and where there are several permits, no namespace gets the last one that has one already. Pure.
//!
//! A set that waits is told when it is its turn, and is then reconciled; for that long its permit is reserved.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use crate::model::clock::is_over;
use crate::model::required_images::SetName;

/// How long a permit is reserved for a set that was told: its reconcile may wait for another one, or fail.
const RESERVED: Duration = Duration::from_secs(30);

/// The permits for one thing.
pub(super) struct Permits {
    max: usize,
    /// How many each namespace has.
    used: BTreeMap<String, usize>,
    reserved: Vec<(SetName, Timestamp)>,
    waiting: VecDeque<SetName>,
    /// When each namespace was served last, by a count of all that were.
    served: BTreeMap<String, u64>,
    count: u64,
}

impl Permits {
    pub(super) const fn new(max: usize) -> Self {
        Self {
            max,
            used: BTreeMap::new(),
            reserved: Vec::new(),
            waiting: VecDeque::new(),
            served: BTreeMap::new(),
            count: 0,
        }
    }

    /// Takes a permit for `set`; false: it waits until it is told by [`Self::give_back`], [`Self::leave`] or
    /// [`Self::retain`].
    #[must_use]
    pub(super) fn take(&mut self, set: &SetName, now: Timestamp) -> bool {
        self.reserved.retain(|(name, at)| name != set && !is_over(*at, RESERVED, now));
        self.waiting.retain(|waiting| waiting != set);
        if !self.may_have(&set.namespace) {
            self.waiting.push_back(set.clone());
            return false;
        }
        *self.used.entry(set.namespace.clone()).or_default() += 1;
        self.count += 1;
        self.served.insert(set.namespace.clone(), self.count);
        true
    }

    /// Gives a permit of a namespace back. Answers which sets are to be reconciled now.
    pub(super) fn give_back(&mut self, namespace: &str, now: Timestamp) -> Vec<SetName> {
        if let Some(used) = self.used.get_mut(namespace) {
            *used = used.saturating_sub(1);
        }
        self.used.retain(|_, used| *used > 0);
        self.next(now)
    }

    /// `set` does not want one now. Answers which sets are to be reconciled in its place.
    pub(super) fn leave(&mut self, set: &SetName, now: Timestamp) -> Vec<SetName> {
        self.waiting.retain(|waiting| waiting != set);
        self.reserved.retain(|(name, _)| name != set);
        self.next(now)
    }

    /// Forgets sets that are gone, and reservations that nobody used. Answers which sets are to be reconciled in their place.
    pub(super) fn retain(&mut self, is_alive: impl Fn(&SetName) -> bool, now: Timestamp) -> Vec<SetName> {
        self.waiting.retain(&is_alive);
        self.reserved.retain(|(name, at)| is_alive(name) && !is_over(*at, RESERVED, now));
        self.next(now)
    }

    /// Whether nobody has or wants one.
    pub(super) fn is_idle(&self) -> bool {
        self.used.is_empty() && self.reserved.is_empty() && self.waiting.is_empty()
    }

    fn next(&mut self, now: Timestamp) -> Vec<SetName> {
        let mut to_wake = Vec::new();
        loop {
            let candidates = self.waiting.iter().filter(|set| self.may_have(&set.namespace));
            let served = |set: &&SetName| self.served.get(&set.namespace).copied().unwrap_or_default();
            let Some(set) = candidates.min_by_key(served).cloned() else { break };
            self.waiting.retain(|waiting| *waiting != set);
            self.count += 1;
            self.served.insert(set.namespace.clone(), self.count);
            self.reserved.push((set.clone(), now));
            to_wake.push(set);
        }
        if self.waiting.is_empty() && self.reserved.is_empty() {
            self.served.clear();
        }
        to_wake
    }

    fn may_have(&self, namespace: &str) -> bool {
        let reserved = self.reserved.iter().filter(|(set, _)| set.namespace == namespace).count();
        let own = self.used.get(namespace).copied().unwrap_or_default() + reserved;
        let left = self.max.saturating_sub(self.used.values().sum::<usize>() + self.reserved.len());
        left > 1 || (left == 1 && own == 0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn set(namespace: &str, n: usize) -> SetName {
        SetName { namespace: namespace.to_owned(), name: format!("{n}") }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn t185_one_permit_is_kept_for_a_namespace_that_has_none() {
        let mut permits = Permits::new(4);
        let took = (0..10).filter(|n| permits.take(&set("evil", *n), at(0))).count();
        assert_eq!(took, 3);
        assert!(permits.take(&set("good", 0), at(0)));
        assert!(!permits.take(&set("good", 1), at(0)));
        assert_eq!(permits.give_back("good", at(1)), [set("good", 1)], "evil has three already");
    }

    /// One namespace with many sets takes turns with others that have few, whoever asks first again.
    #[test]
    fn t185_namespaces_take_turns_and_a_set_that_was_told_is_not_overtaken() {
        let mut permits = Permits::new(1);
        assert!(permits.take(&set("evil", 0), at(0)));
        for n in 1..5 {
            assert!(!permits.take(&set("evil", n), at(0)));
        }
        assert!(!permits.take(&set("good", 0), at(0)));
        assert_eq!(permits.give_back("evil", at(1)), [set("good", 0)]);
        assert!(!permits.take(&set("evil", 0), at(1)), "the permit is reserved");
        assert!(permits.take(&set("good", 0), at(2)));
        assert_eq!(permits.give_back("good", at(3)), [set("evil", 1)]);
        assert!(!permits.take(&set("good", 0), at(3)));
        assert_eq!(permits.leave(&set("evil", 1), at(3)), [set("good", 0)], "it does not need it");
        // A set that never comes holds up nobody for long.
        assert_eq!(permits.retain(|_| true, at(20)), []);
        assert_eq!(permits.retain(|_| true, at(33)), [set("evil", 2)]);
        assert_eq!(permits.retain(|set| set.name == "4", at(34)), [set("evil", 4)]);
        assert!(permits.take(&set("evil", 4), at(34)));
        assert_eq!(permits.give_back("evil", at(35)), []);
        assert!(permits.is_idle());
    }
}
