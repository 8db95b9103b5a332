// SPDX-License-Identifier: Apache-2.0
//! Jobs that ended: which are deleted, which attempts are forgotten, and which block an image.

use std::collections::BTreeMap;

use krs_core::crd::reason;

use super::error::ReconcileError;
use super::job_reads::Jobs;
use super::jobs;
use super::observed::Observed;
use super::secrets::Secrets;
use super::set_reconcile::SetReconcile;
use super::waiting_for_secret::MENDED_BY_SECRETS;
use crate::model::job::JobPhase;
use crate::model::state::SetState;
use crate::model::target::Target;

impl SetReconcile<'_> {
    /// Forgets what failed for want of a good Secret once a Secret has changed. The failed Jobs go first: as long as they
    /// are there, they would be counted again.
    pub(super) async fn mended(
        &self,
        secrets: &Secrets<'_>,
        state: &mut SetState,
        jobs: &mut Jobs,
    ) -> Result<(), ReconcileError> {
        let versions =
            secrets.versions().into_iter().map(|(key, version)| (key, version.unwrap_or_default()));
        let versions = versions.collect::<BTreeMap<_, _>>();
        let changed =
            versions.iter().any(|(key, version)| state.versions.get(key).is_some_and(|old| old != version));
        state.versions.extend(versions);
        if !changed {
            return Ok(());
        }
        let curable = |reason: &str| MENDED_BY_SECRETS.contains(&reason) || reason == reason::IMAGE_NOT_FOUND;
        state.attempts.retain(|_, attempt| !curable(&attempt.reason));
        let failed = jobs.list.iter().filter(|job| matches!(job.phase, JobPhase::Failed { .. }));
        for name in failed.map(|job| job.name.clone()).collect::<Vec<_>>() {
            self.delete(jobs, &name).await?;
        }
        Ok(())
    }

    /// Deletes Jobs that succeeded once the state that has their result is kept: they count against quotas of the namespace.
    /// Those that failed stay until their TTL ends, and those of which only the log says what an image is without. (T-209)
    pub(super) async fn delete_succeeded(&self, jobs: &Jobs, state: &SetState) {
        let recorded = |name: &str| {
            let owned = state.jobs.as_ref().and_then(|owned| owned.get(name));
            owned.is_some_and(|owned| owned.ended.is_some())
        };
        for job in jobs.list.iter().filter(|job| recorded(&job.name)) {
            let JobPhase::Succeeded { report, .. } = &job.phase else { continue };
            let Some(uid) = jobs.uids.get(&job.name) else { continue };
            if report.as_ref().is_some_and(|report| report.referrers_missing > 0) {
                continue;
            }
            let (client, namespace) = (&self.importer.parts.client, &self.name.namespace);
            if let Err(error) = jobs::delete(client, namespace, &job.name, uid).await {
                // Kubernetes deletes it an hour later.
                let (set, error) = (self.name.to_string(), krs_core::error::chain(&error));
                tracing::debug!(set, job = job.name, error, "an ended copy Job cannot be deleted");
            }
        }
    }

    pub(super) async fn delete(&self, jobs: &mut Jobs, name: &str) -> Result<(), ReconcileError> {
        let Some(uid) = jobs.uids.get(name) else { return Ok(()) };
        let deleted = jobs::delete(&self.importer.parts.client, &self.name.namespace, name, uid).await;
        deleted.map_err(ReconcileError::api("a copy Job cannot be deleted"))?;
        tracing::info!(set = %self.name, job = name, "copy Job deleted");
        jobs.list.retain(|job| job.name != name);
        Ok(())
    }

    /// Images are blocked whose Pods the API server refuses.
    pub(super) fn refused(observed: &mut Observed) {
        for job in &observed.jobs.list {
            let Some(message) = observed.jobs.refused.get(&job.name) else { continue };
            for copied in &job.task.targets {
                let of_job = |target: &&Target| {
                    target.digest == copied.digest && target.repository == copied.repository
                };
                let positions = observed.targets.iter().filter(of_job).flat_map(|target| &target.images);
                let why = |position: &usize| (*position, (reason::JOB_REJECTED, message.clone()));
                observed.blocked.extend(positions.map(why));
            }
        }
    }
}
