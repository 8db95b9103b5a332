// SPDX-License-Identifier: Apache-2.0
//! What is asked of the registry while Jobs run, so that images count as present before their Job ends. Pure.
//!
//! A Job copies its images one after another, so that the first that is missing is, as a rule, the one that it copies now:
//! one request tells that none followed. That the next one is asked for, too, is for a Job whose first image fails while the
//! others arrive. A Job of which one image is left is not asked for: its end says the same. (T-220)

use std::time::Duration;

use crate::engine::job_targets::Index;
use crate::engine::update_state::CheckKind;
use crate::model::job::{CopyJob, JobPhase};
use crate::model::state::SetState;
use crate::model::target::{Target, TargetKey};

/// How often one set asks.
pub(super) const INTERVAL: Duration = Duration::from_secs(30);

/// For each of these Jobs, the targets that are asked for in this order until some are missing. Those for which
/// `is_known` says no are asked for in any case.
pub(super) fn probes(
    targets: &[Target],
    state: &SetState,
    jobs: &[&CopyJob],
    is_known: impl Fn(&TargetKey) -> bool,
) -> Vec<Vec<(Target, CheckKind)>> {
    let index = Index::new(targets);
    let of_job = |job: &&CopyJob| {
        let JobPhase::Running { failed, .. } = &job.phase else { return None };
        let mut open = Vec::new();
        for (n, position) in index.positions(job).into_iter().enumerate() {
            let Some(target) = position.and_then(|position| targets.get(position)) else { continue };
            let report = failed.as_ref().and_then(|pod| pod.report.as_ref());
            // The Pod that runs now may bring it, and the end of the Job says so.
            let has_failed = report.is_some_and(|report| report.failures.iter().any(|f| f.target == n));
            if !has_failed && !state.verified_at.contains_key(&target.key) && is_known(&target.key) {
                open.push((target.clone(), CheckKind::Full));
            }
        }
        (open.len() > 1).then_some(open)
    };
    jobs.iter().filter_map(of_job).collect()
}
