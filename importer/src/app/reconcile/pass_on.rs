// SPDX-License-Identifier: Apache-2.0
//! Passes the end of a copy Job on to the next set that waits for one.

use super::reconciler::Reconciler;

/// Held by each reconcile of a set, which may have been woken by the end of a Job: however it ends, early, with an error or
/// at its time limit, the next set is woken if a Job may still be created.
pub(super) struct PassOn<'a> {
    importer: &'a Reconciler,
}

impl<'a> PassOn<'a> {
    pub(super) const fn new(importer: &'a Reconciler) -> Self {
        Self { importer }
    }
}

impl Drop for PassOn<'_> {
    fn drop(&mut self) {
        self.importer.registries.wakeups.wake_next(self.importer.may_create());
    }
}
