// SPDX-License-Identifier: Apache-2.0
//! Slots and repositories of Jobs that are about to be created. They are taken together with the decision, so that no other
//! set decides on the same ones while this one still asks the API server for what its Jobs need.

use std::collections::BTreeMap;

use super::reconciler::Reconciler;
use super::shared_state::Claim;
use crate::model::job::Batch;
use crate::model::required_images::SetName;

/// What the Jobs of one decision take. What is dropped before its Job was asked for is given back, whatever ended the
/// reconcile. Once it was asked for, it may exist, and counts until the Jobs of the set are read again. (T-174)
pub(super) struct Reservation<'a> {
    importer: &'a Reconciler,
    uid: &'a str,
    /// The batches of which no Job was asked for yet, by the names of their Jobs.
    open: BTreeMap<String, Batch>,
}

impl<'a> Reservation<'a> {
    /// Takes what the Jobs of `batches` need, by their names.
    pub(super) fn new(
        importer: &'a Reconciler,
        set: &SetName,
        uid: &'a str,
        batches: impl IntoIterator<Item = (String, Batch)>,
    ) -> Self {
        let open = batches.into_iter().collect::<BTreeMap<_, _>>();
        let now = (importer.parts.clock)();
        for (name, batch) in &open {
            if let Some(claim) = Claim::of(batch, now) {
                importer.facts.reserve(&set.namespace, uid, name, claim);
            }
        }
        Self { importer, uid, open }
    }

    /// The names of the Jobs, and what they are to copy.
    pub(super) fn batches(&self) -> Vec<(String, Batch)> {
        self.open.iter().map(|(name, batch)| (name.clone(), batch.clone())).collect()
    }

    /// The Job is asked for next: from now on it may exist.
    pub(super) fn may_exist(&mut self, name: &str) {
        self.open.remove(name);
    }

    /// The Job is not created, and does not exist.
    pub(super) fn release(&mut self, name: &str) {
        self.open.remove(name);
        self.importer.release(self.uid, name);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        for name in std::mem::take(&mut self.open).into_keys() {
            self.release(&name);
        }
    }
}
