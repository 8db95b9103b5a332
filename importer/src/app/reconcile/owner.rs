// SPDX-License-Identifier: Apache-2.0
//! Which importer serves a set: the one that its status names, for as long as that one runs and serves the namespace of the
//! set. Else whoever comes first takes it over.

use krs_core::crd::EdgeImageSet;
use kube::ResourceExt as _;
use kube::api::{Api, Patch};
use serde_json::json;

use super::error::ReconcileError;
use super::reconciler::Reconciler;
use crate::adapters::writes::merging;
use crate::model::required_images::{SetDemand, SetName};

/// Which importer serves a set.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// This one.
    This,
    /// That of another namespace.
    Other(String),
    /// The set changed while it was claimed.
    Undecided,
}

impl Reconciler {
    /// Finds out who serves a set, and claims one that nobody serves.
    pub(super) async fn owner(
        &self,
        set: &EdgeImageSet,
        name: &SetName,
        uid: &str,
    ) -> Result<Owner, ReconcileError> {
        let this = &self.parts.config.namespace;
        let named = set.status.as_ref().and_then(|status| status.importer.as_ref());
        // One that was served so far and names nobody who runs: the watch has not told yet what was written, or somebody
        // else wrote it since. The right status goes there in its own time.
        let was_served = self.sets.written(uid, |_| ()).is_some();
        match named {
            Some(named) if named == this => return Ok(Owner::This),
            Some(other) => {
                let serves = self.leases.serves(other, &name.namespace).await;
                if serves.map_err(ReconcileError::api("the Lease of another importer cannot be read"))? {
                    return Ok(Owner::Other(other.clone()));
                }
                if !was_served {
                    tracing::info!(set = %name, importer = other, "its importer no longer serves the set, taken over");
                }
            }
            None => {}
        }
        if was_served { Ok(Owner::This) } else { self.claim(set, name).await }
    }

    /// Of two importers that claim one version of a set, one succeeds.
    async fn claim(&self, set: &EdgeImageSet, name: &SetName) -> Result<Owner, ReconcileError> {
        let patch = json!({
            "metadata": {"uid": set.uid(), "resourceVersion": set.resource_version()},
            "status": {"importer": self.parts.config.namespace},
        });
        let api = Api::<EdgeImageSet>::namespaced(self.client(), &name.namespace);
        match api.patch_status(&name.name, &merging(), &Patch::Merge(patch)).await {
            Ok(_) => Ok(Owner::This),
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(Owner::Undecided),
            Err(error) => Err(ReconcileError::api("the set cannot be claimed")(error)),
        }
    }

    /// Leaves a set to another importer: nothing here waits for it.
    pub(super) fn leave(&self, name: &SetName, uid: &str, other: &str) {
        self.facts.needs(name, SetDemand::default());
        self.runs(&name.namespace, uid, &[]);
        self.registries.wakeups.wait_no_more(uid);
        self.forget_metrics(name);
        if self.sets.leave(uid, other) {
            tracing::info!(set = %name, importer = other, "the importer of another namespace serves the set");
        }
    }
}
