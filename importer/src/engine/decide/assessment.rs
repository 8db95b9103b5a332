// SPDX-License-Identifier: Apache-2.0
//! How things stand with a set altogether. Pure.

use krs_core::crd::reason;

use super::batches::fits;
use super::observation::Observation;
use super::target_state::{Intervals, TargetState, target_state};
use crate::engine::failures::failure_in_pod;
use crate::engine::job_targets::Index;
use crate::model::job::{CopyJob, JobPhase};

/// How things stand with each target, and which Job copies what.
pub(super) struct Assessment<'a> {
    pub(super) target_states: Vec<TargetState<'a>>,
    /// For each running Job the targets that the set has.
    pub(super) running: Vec<(&'a CopyJob, Vec<usize>)>,
    /// For each target the highest attempt of a Job that still exists; names of Jobs must not repeat.
    pub(super) attempts: Vec<u32>,
    /// For each target why the last Pod of the Job that copies it failed.
    pub(super) failed: Vec<Option<(&'static str, String)>>,
}

impl<'a> Assessment<'a> {
    pub(super) fn of(observation: &Observation<'a>, intervals: Intervals) -> Self {
        let index = Index::new(observation.targets);
        let mut running = Vec::new();
        let mut attempts = vec![0; observation.targets.len()];
        let mut failed = vec![None; observation.targets.len()];
        let mut copying = vec![false; observation.targets.len()];
        for job in observation.jobs {
            let in_task = index.positions(job);
            if let JobPhase::Running { failed: Some(pod), .. } = &job.phase {
                for (n, position) in in_task.iter().enumerate() {
                    if let Some(position) = position {
                        failed[*position] = failure_in_pod(pod, n);
                    }
                }
            }
            let positions = in_task.into_iter().flatten().collect::<Vec<_>>();
            let runs = matches!(job.phase, JobPhase::Running { .. });
            for position in &positions {
                attempts[*position] = job.attempt.max(attempts[*position]);
                copying[*position] |= runs;
            }
            if runs {
                running.push((job, positions));
            }
        }
        let target_states = observation.targets.iter().zip(copying).map(|(t, copying)| {
            let target_state = target_state(observation, intervals, t, copying);
            match target_state {
                TargetState::Open { .. } if !fits(t) => TargetState::Broken {
                    reason: reason::INVALID_SPEC,
                    message: format!(
                        "{} has too many tags in one set ({}): put some of them into another set",
                        t.reference,
                        t.tags.len()
                    ),
                },
                other => other,
            }
        });
        Self { target_states: target_states.collect(), running, attempts, failed }
    }

    pub(super) fn is_verified(&self, position: usize) -> bool {
        matches!(self.target_states.get(position), Some(TargetState::Verified))
    }
}
