// SPDX-License-Identifier: Apache-2.0
//! Sets that nothing helps but a mended Secret: only the versions of what they name are asked for until one changes, so
//! that a wrong password is neither tried again and again nor noticed late to be right.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use krs_core::crd::{EdgeImageSet, reason};

use crate::model::bundle_inventory::BundleInventory;

/// How often the Secrets of such a set are checked.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(15);
/// Asks for a reconcile of a set; any new value does.
const RECONCILE_AT: &str = "kuberegistrysync.io/reconcile-at";

/// Reasons that a mended Secret mends.
pub(super) const MENDED_BY_SECRETS: [&str; 5] = [
    reason::AUTH_FAILED,
    reason::TLS_FAILED,
    reason::SECRET_NOT_FOUND,
    reason::SECRET_FORBIDDEN,
    reason::SECRET_INVALID,
];

/// Versions of Secrets and ConfigMaps by `kind/name`; `None`: it does not exist.
pub(super) type Versions = BTreeMap<String, Option<String>>;

/// How a set was when it was last checked.
#[derive(Clone)]
pub(super) struct WaitingForSecret {
    /// What it names.
    pub(super) versions: Versions,
    /// When it is reconciled again in any case.
    pub(super) until: Timestamp,
    /// When it was reconciled. Before that time is only a clock that was set back.
    since: Timestamp,
    generation: Option<i64>,
    requested_at: Option<String>,
    stock: Arc<BundleInventory>,
}

impl WaitingForSecret {
    pub(super) fn new(
        set: &EdgeImageSet,
        stock: Arc<BundleInventory>,
        versions: Versions,
        since: Timestamp,
        until: Timestamp,
    ) -> Self {
        Self {
            versions,
            until,
            since,
            generation: set.metadata.generation,
            requested_at: requested_at(set),
            stock,
        }
    }

    /// Whether nothing but a Secret can have changed.
    pub(super) fn holds(&self, set: &EdgeImageSet, stock: &Arc<BundleInventory>, now: Timestamp) -> bool {
        self.since <= now
            && now < self.until
            && self.generation == set.metadata.generation
            && self.requested_at == requested_at(set)
            && Arc::ptr_eq(&self.stock, stock)
    }
}

/// The value of the annotation that asks for a reconcile.
pub(super) fn requested_at(set: &EdgeImageSet) -> Option<String> {
    set.metadata.annotations.as_ref()?.get(RECONCILE_AT).cloned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_has_a_set_reconciled_again() {
        let spec = serde_json::json!({"destinationRegistry": "edge.local", "images": []});
        let set = EdgeImageSet::new("web", serde_json::from_value(spec).unwrap());
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let stock = Arc::<BundleInventory>::default();
        let waiting = WaitingForSecret::new(&set, Arc::clone(&stock), Versions::new(), at(0), at(60));
        let held = [-100_000, 0, 59, 60].map(|second| waiting.holds(&set, &stock, at(second)));
        assert_eq!(held, [false, true, true, false]);
    }
}
