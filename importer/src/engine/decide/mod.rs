// SPDX-License-Identifier: Apache-2.0
//! What to do about a set, and what to say about it: a pure function over what was observed.

mod assessment;
mod batches;
mod needs;
mod observation;
mod summary;
mod target_state;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use krs_core::crd::reason;

pub(crate) use needs::{copied_bundles, follows_bundles, needs};
pub use observation::{Blocker, Decision, Limits, Observation, StatusSummary};

use crate::model::clock::{after, time_left};
use crate::model::job::{Batch, BatchSource, CopyJob, JobPhase};
use assessment::Assessment;
use batches::{CopyCandidate, batches, blob_locations};
use target_state::{AwaitedEvent, TargetState};
pub(crate) use target_state::{Intervals, withheld};

/// Soonest next reconcile: what is due now was done in this one.
const SOONEST: Duration = Duration::from_secs(1);
/// When to reconcile again what somebody may mend, or what waits for others, unless the set is reconciled more often.
const SOON: Duration = Duration::from_secs(30);
/// When to reconcile again for the first scan, and for a free slot, in case that the event which tells of it was lost. Hundreds
/// of sets may wait for a slot, for an hour.
const SCAN: Duration = Duration::from_secs(60);
const QUEUE: Duration = Duration::from_secs(300);

/// Decides what to do about a set: which copy Jobs to create and to delete, what the status says, and when to reconcile
/// again. Pure: it reads no clock and has no effects.
///
/// # Expected flow
/// The caller observes the set, brings its state up to date ([`update_state`](crate::engine::update_state::update_state)),
/// calls this, and carries out the [`Decision`].
///
/// # Guarantees
/// The set is Ready only if every target is present by a verification that is recent enough. No Job is created for a set
/// that is suspended or that a blocker stops, none for a repository to which another Job writes, and never more than
/// `parallelism` and the free slots allow.
///
/// Running Jobs are deleted where the set no longer has any of their targets, where it is suspended, and where their Pod
/// does not start and everything that they copy is there by other ways. One that works on targets that turned out to be
/// there is left to end by itself, which it does at once. With a blocker nothing is deleted: what is wanted is not
/// known for sure.
pub fn decide(observation: &Observation<'_>) -> Decision {
    let intervals = Intervals::of(observation.spec);
    let assessment = Assessment::of(observation, intervals);
    let delete = delete(observation, &assessment);
    let create = if observation.blocker.is_some() || observation.spec.suspend {
        Vec::new()
    } else {
        create(observation, &assessment, &delete)
    };
    let (create, started): (Vec<_>, Vec<_>) = create.into_iter().unzip();
    let started = started.into_iter().flatten().collect::<BTreeSet<_>>();
    let summary = summary::summarize(observation, &assessment, &started, create.len());
    let again = again(observation, &assessment, intervals, &started);
    let is_open = |(position, target_state): (usize, &TargetState<'_>)| {
        matches!(target_state, TargetState::Open { .. }) && !started.contains(&position)
    };
    let is_idle = observation.blocker.is_some() || observation.spec.suspend;
    let waits_for_jobs = !is_idle && assessment.target_states.iter().enumerate().any(is_open);
    let from_bundle = from_bundle(observation, &assessment);
    Decision { create, delete, summary, again, waits_for_jobs, from_bundle }
}

fn from_bundle(observation: &Observation<'_>, assessment: &Assessment<'_>) -> Vec<usize> {
    if !follows_bundles(observation.spec, observation.blocker.as_ref()) {
        return Vec::new();
    }
    let is_needed = |target_state: &TargetState<'_>| match target_state {
        // A copy from a source registry that runs may fail, and then a bundle is taken.
        TargetState::Copying
        | TargetState::Unknown { .. }
        | TargetState::Contested { .. }
        | TargetState::Waiting(_)
        | TargetState::Open { source: BatchSource::Bundle { .. }, .. } => true,
        // It will be retried, also where a person must act before that helps: no retry makes a registry take an index of
        // which platforms are left out.
        TargetState::BackOff { attempt, .. } => attempt.reason != reason::SPARSE_INDEX_REFUSED,
        TargetState::Verified
        | TargetState::Broken { .. }
        | TargetState::Refused { .. }
        | TargetState::Withheld { .. }
        | TargetState::Open { source: BatchSource::Registry { .. }, .. } => false,
    };
    let target_states = assessment.target_states.iter().enumerate();
    target_states.filter(|(_, target_state)| is_needed(target_state)).map(|(position, _)| position).collect()
}

fn delete(observation: &Observation<'_>, assessment: &Assessment<'_>) -> Vec<String> {
    if observation.blocker.is_some() {
        return Vec::new();
    }
    let useless = |(job, positions): &&(&CopyJob, Vec<usize>)| {
        let waits = matches!(job.phase, JobPhase::Running { waiting: Some(_), .. });
        let needless = positions.iter().all(|position| assessment.is_verified(*position));
        observation.spec.suspend || positions.is_empty() || (waits && needless)
    };
    assessment.running.iter().filter(useless).map(|(job, _)| job.name.clone()).collect()
}

fn create(
    observation: &Observation<'_>,
    assessment: &Assessment<'_>,
    delete: &[String],
) -> Vec<(Batch, Vec<usize>)> {
    let mut claimed = observation.busy.clone();
    for (job, _) in &assessment.running {
        // A deleted Job's Pod may write for some seconds more.
        let registry = &job.task.destination.registry;
        claimed.extend(job.task.targets.iter().map(|target| (registry.clone(), target.repository.clone())));
    }
    let mut open = Vec::new();
    for (position, (target, target_state)) in
        observation.targets.iter().zip(&assessment.target_states).enumerate()
    {
        if let TargetState::Open { source, image } = target_state {
            let failed = observation.state.attempts.get(&target.key).map_or(0, |attempt| attempt.count);
            let attempt = failed.max(assessment.attempts[position]).saturating_add(1);
            open.push(CopyCandidate { position, target, source: source.clone(), image: *image, attempt });
        }
    }
    if open.is_empty() {
        return Vec::new();
    }
    let parallelism = usize::try_from(observation.spec.parallelism).unwrap_or(1).max(1);
    let running = assessment.running.iter().filter(|(job, _)| !delete.contains(&job.name)).count();
    let slots = parallelism.saturating_sub(running).min(observation.limits.free_jobs);
    let verified =
        observation.targets.iter().enumerate().filter(|(position, _)| assessment.is_verified(*position));
    let blob_locations = blob_locations(observation, verified.map(|(_, target)| target));
    // What failed before waits for a slot that nobody else needs.
    let (again, first): (Vec<_>, Vec<_>) =
        open.into_iter().partition(|open| observation.state.attempts.contains_key(&open.target.key));
    let mut made = batches(first, slots, &mut claimed, &blob_locations);
    let left = observation.limits.free_jobs.saturating_sub(made.len() + observation.limits.kept_jobs);
    made.extend(batches(again, slots.saturating_sub(made.len()).min(left), &mut claimed, &blob_locations));
    made
}

fn again(
    observation: &Observation<'_>,
    assessment: &Assessment<'_>,
    intervals: Intervals,
    started: &BTreeSet<usize>,
) -> Duration {
    let mut times = vec![intervals.resync];
    let mut at = |time: Timestamp| times.push(time_left(observation.now, time));
    if observation.spec.suspend {
        return intervals.resync;
    }
    if let Some(blocker) = &observation.blocker {
        // A wrong password is not tried every half minute: registries lock accounts.
        let is_refused = blocker.reason == reason::AUTH_FAILED;
        return if is_refused { intervals.resync } else { intervals.resync.min(SOON) };
    }
    for verified_at in observation.state.verified_at.values() {
        let due = after(*verified_at, intervals.verify);
        // One that is overdue could not be renewed in this round.
        at(if due > observation.now {
            due
        } else {
            after(observation.now, observation.renew_in.unwrap_or(SOON))
        });
    }
    for (position, target_state) in assessment.target_states.iter().enumerate() {
        match target_state {
            TargetState::BackOff { until, .. } | TargetState::Contested { until, .. } => at(*until),
            TargetState::Unknown { reason, .. } if *reason == reason::AUTH_FAILED => {}
            TargetState::Unknown { .. } | TargetState::Copying => at(after(observation.now, SOON)),
            TargetState::Waiting(AwaitedEvent::Scan) => at(after(observation.now, SCAN)),
            TargetState::Open { .. } if !started.contains(&position) => at(after(observation.now, QUEUE)),
            _ => {}
        }
    }
    times.into_iter().min().unwrap_or(intervals.resync).max(SOONEST)
}

#[cfg(test)]
mod tests;
