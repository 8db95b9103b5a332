// SPDX-License-Identifier: Apache-2.0
//! What to ask the edge registry, and what to keep of its answers and of Jobs that ended. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use krs_core::crd::{BundleReference, reason};

use crate::engine::failures::known_failure;
use crate::engine::job_targets::Index;
use crate::model::answer::Answer;
use crate::model::bundle_inventory::BundleInventory;
use crate::model::clock::is_over;
use crate::model::job::{Batch, BatchSource, CopyJob, JobPhase};
use crate::model::state::{Attempt, MAX_MOVES, SetState};
use crate::model::target::{Target, TargetKey};
use crate::model::task::{CopyReport, TaskSource};

/// How long the end of a Job is remembered at least: Kubernetes deletes ended Jobs after an hour, or later.
const ENDED: Duration = Duration::from_secs(2 * 3600);

/// How the edge registry is asked about a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckKind {
    /// HEAD of the top manifest and of the tags: enough to see that a target that was present did not go away.
    Head,
    /// The complete closure: the only thing that makes a target present.
    Full,
    /// As [`Self::Full`], of a target whose verification is old, and nothing else is known against it: this can wait.
    Renew,
}

/// Which targets to ask about now, and how. A target without a verification is walked, and all are when somebody asked for
/// it since; one that is verified while its Job runs is not walked again at the end of that Job (T-269); those with a
/// verification older than `verify_interval` are renewed; the others are checked, at most once in `resync_interval`.
pub fn due_checks<'a>(
    targets: &'a [Target],
    state: &SetState,
    resync_interval: Duration,
    verify_interval: Duration,
    now: Timestamp,
) -> Vec<(&'a Target, CheckKind)> {
    let head_is_due = is_head_check_due(state, resync_interval, now);
    let requested = |at: Timestamp| state.requested.as_ref().is_some_and(|request| at < request.at);
    let check = |target: &Target| match state.verified_at.get(&target.key) {
        Some(at) if requested(*at) => Some(CheckKind::Full),
        Some(at) if is_over(*at, verify_interval, now) => Some(CheckKind::Renew),
        Some(_) => head_is_due.then_some(CheckKind::Head),
        None => Some(CheckKind::Full),
    };
    targets.iter().filter_map(|target| Some((target, check(target)?))).collect()
}

/// Whether targets that are present are checked now.
pub(crate) fn is_head_check_due(state: &SetState, resync_interval: Duration, now: Timestamp) -> bool {
    state.observed_at.is_none_or(|at| is_over(at, resync_interval, now))
}

/// Targets of Jobs that ended and whose end is not accounted for yet.
pub fn ended_targets(targets: &[Target], state: &SetState, jobs: &[CopyJob]) -> BTreeSet<TargetKey> {
    finished_jobs(&Index::new(targets), targets, state, jobs).into_iter().map(|end| end.key).collect()
}

/// Targets that running Jobs copy.
pub fn copying_targets(targets: &[Target], jobs: &[CopyJob]) -> BTreeSet<TargetKey> {
    let index = Index::new(targets);
    let running = jobs.iter().filter(|job| matches!(job.phase, JobPhase::Running { .. }));
    let positions = running.flat_map(|job| index.positions(job)).flatten();
    positions.filter_map(|position| Some(targets.get(position)?.key)).collect()
}

/// The state of a set after the answers of a registry that was queried at `queried_at`, and after the Jobs that ended. Pure.
///
/// # Guarantees
/// Only [`Answer::Complete`] makes a target present; what is missing or differs ends that, and a registry that does not
/// answer changes nothing. Each end of a Job counts as one attempt, however often it is seen. What belongs to targets that
/// the set no longer has is dropped.
pub fn update_state(
    state: &SetState,
    targets: &[Target],
    answers: &BTreeMap<TargetKey, Answer>,
    queried_at: Timestamp,
    jobs: &[CopyJob],
    now: Timestamp,
) -> SetState {
    let mut next = state.clone();
    let wanted = targets.iter().map(|target| target.key).collect::<BTreeSet<_>>();
    next.verified_at.retain(|key, _| wanted.contains(key));
    next.attempts.retain(|key, _| wanted.contains(key));
    next.ended.retain(|key, _| wanted.contains(key));
    next.tried.retain(|key, _| wanted.contains(key));
    next.moved.retain(|key, _| wanted.contains(key));

    let index = Index::new(targets);
    let listed = jobs.iter().flat_map(|job| index.positions(job)).flatten();
    let listed = listed.filter_map(|n| Some(targets.get(n)?.key)).collect::<BTreeSet<_>>();
    next.ended.retain(|key, at| listed.contains(key) || !is_over(*at, ENDED, now));
    let ends = finished_jobs(&index, targets, state, jobs);
    let mut repaired = BTreeSet::new();
    for end in &ends {
        account(&mut next, end, answers.get(&end.key), &mut repaired);
    }
    for (key, answer) in answers.iter().filter(|(key, _)| wanted.contains(key)) {
        match answer {
            Answer::Complete => {
                if next.verified_at.insert(*key, queried_at).is_none() {
                    next.last_sync_time = Some(now);
                }
                next.attempts.remove(key);
            }
            Answer::Observed => next.observed_at = Some(queried_at),
            Answer::Missing { .. } | Answer::Corrupt { .. } => drop(next.verified_at.remove(key)),
            Answer::TagMoved { .. } => {
                let was_verified = next.verified_at.remove(key).is_some();
                if was_verified || repaired.contains(key) {
                    let moves = next.moved.entry(*key).or_default();
                    moves.push(now);
                    let surplus = moves.len().saturating_sub(MAX_MOVES);
                    moves.drain(..surplus);
                }
            }
            Answer::Failed { .. } | Answer::Unreadable { .. } => {}
        }
    }
    // It matters for the next attempt after one that failed only, and a set may have thousands.
    let attempts = &next.attempts;
    next.tried.retain(|key, _| attempts.contains_key(key));
    next
}

/// Records the ends of Jobs that are accounted for in `state`: nothing more is to be known of these Jobs. (T-177)
pub fn record_ended_jobs(state: &mut SetState, targets: &[Target], jobs: &[CopyJob]) {
    let open = finished_jobs(&Index::new(targets), targets, state, jobs);
    let open = open.into_iter().map(|end| end.job.name.clone()).collect::<BTreeSet<_>>();
    let Some(owned) = &mut state.jobs else { return };
    for job in jobs.iter().filter(|job| !open.contains(&job.name)) {
        let (JobPhase::Succeeded { at, .. } | JobPhase::Failed { at, .. }) = &job.phase else { continue };
        if let Some(owned) = owned.get_mut(&job.name) {
            owned.ended = Some(*at);
        }
    }
}

/// Records that the API server refused the Job `name` for `batch`: an attempt that failed, from the source that was to be
/// read, so that the next one from there waits. (T-83, T-121)
pub fn remember_rejection(state: &mut SetState, batch: &Batch, name: &str, why: &str, now: Timestamp) {
    for (target, _) in &batch.targets {
        let count = state.attempts.get(&target.key).map_or(0, |attempt| attempt.count);
        let attempt = Attempt {
            count: count.saturating_add(1),
            at: now,
            reason: reason::JOB_REJECTED.to_owned(),
            message: why.to_owned(),
            job: name.to_owned(),
        };
        state.attempts.insert(target.key, attempt);
        match &batch.source {
            BatchSource::Bundle { digest, .. } => drop(state.tried.insert(target.key, *digest)),
            BatchSource::Registry { .. } => drop(state.tried.remove(&target.key)),
        }
    }
}

/// The bundle that the status names: that of the Job that ended last or still runs, else the one that is remembered, since
/// Kubernetes deletes ended Jobs. Within a stream an older bundle never replaces a newer one. (T-122)
pub fn last_bundle(state: &SetState, jobs: &[CopyJob], stock: &BundleInventory) -> Option<BundleReference> {
    let mut used = Vec::new();
    for job in jobs {
        let at = match &job.phase {
            JobPhase::Running { .. } => Timestamp::MAX,
            JobPhase::Succeeded { at, .. } => *at,
            JobPhase::Failed { .. } => continue,
        };
        let TaskSource::Bundle { digest, .. } = &job.task.source else { continue };
        used.extend(
            stock.bundles.iter().find(|bundle| bundle.digest == *digest).map(|b| (at, b.reference())),
        );
    }
    used.sort_by_key(|(at, bundle)| (*at, bundle.sequence));
    used.into_iter().map(|(_, bundle)| bundle).fold(state.bundle.clone(), |last, next| match last {
        Some(last) if last.stream == next.stream && last.sequence > next.sequence => Some(last),
        _ => Some(next),
    })
}

/// The end of a Job that is not accounted for yet, for one of its targets.
struct FinishedJob<'a> {
    key: TargetKey,
    job: &'a CopyJob,
    /// Position of the target in the task.
    position: usize,
    at: Timestamp,
    /// Kubernetes' word for why it failed; none: it succeeded.
    why: Option<&'a str>,
    report: Option<&'a CopyReport>,
}

/// What ended since, the oldest end first.
fn finished_jobs<'a>(
    index: &Index<'_>,
    targets: &[Target],
    state: &SetState,
    jobs: &'a [CopyJob],
) -> Vec<FinishedJob<'a>> {
    let mut ends = Vec::new();
    for job in jobs {
        let (at, why, report) = match &job.phase {
            JobPhase::Running { .. } => continue,
            JobPhase::Succeeded { at, report } => (*at, None, report.as_ref()),
            JobPhase::Failed { at, why, report } => (*at, Some(why.as_str()), report.as_ref()),
        };
        for (position, target) in index.positions(job).into_iter().enumerate() {
            let Some(target) = target.and_then(|n| targets.get(n)) else { continue };
            let key = target.key;
            if state.ended.get(&key).is_none_or(|accounted| at > *accounted) {
                ends.push(FinishedJob { key, job, position, at, why, report });
            }
        }
    }
    ends.sort_by_key(|end| (end.at, end.job.attempt));
    ends
}

fn account(
    next: &mut SetState,
    end: &FinishedJob<'_>,
    answer: Option<&Answer>,
    repaired: &mut BTreeSet<TargetKey>,
) {
    let key = end.key;
    let failed = match (end.why, answer) {
        // The registry decides, not the Job; damage there is a failure by its own name.
        (_, Some(Answer::Complete)) | (None, Some(Answer::Corrupt { .. })) => None,
        // No Job copies what is verified: it became so while this one ran.
        (_, None | Some(Answer::Observed | Answer::Failed { .. })) if next.verified_at.contains_key(&key) => {
            None
        }
        (Some(why), _) => Some(reported(end.report, end.position, why)),
        // What it did cannot be seen yet: this end is checked again in a later round.
        (None, None | Some(Answer::Failed { .. } | Answer::Observed)) => return,
        (None, Some(Answer::Missing { what })) => Some((
            reason::COPY_FAILED,
            format!("Job {} ended well, but the destination registry does not have {what}", end.job.name),
        )),
        (None, Some(Answer::Unreadable { message })) => Some((
            reason::AUTH_FAILED,
            format!("Job {} ended well, but its result cannot be read: {message}", end.job.name),
        )),
        (None, Some(Answer::TagMoved { .. })) => {
            repaired.insert(key);
            None
        }
    };
    next.ended.insert(key, end.at);
    match &end.job.task.source {
        TaskSource::Bundle { digest, .. } => drop(next.tried.insert(key, *digest)),
        TaskSource::Registry { .. } => drop(next.tried.remove(&key)),
        // Of which bundle it was, if any, only the later version knows.
        TaskSource::Later => {}
    }
    if let Some((reason, message)) = failed {
        let count = next.attempts.get(&key).map_or(0, |attempt| attempt.count).saturating_add(1);
        let attempt =
            Attempt { count, at: end.at, reason: reason.to_owned(), message, job: end.job.name.clone() };
        next.attempts.insert(key, attempt);
    }
}

/// Why a target of a failed Job is missing: what the runner said about it, else what Kubernetes said about the Job.
fn reported(report: Option<&CopyReport>, position: usize, why: &str) -> (&'static str, String) {
    let failures = report.map(|report| report.failures.as_slice()).unwrap_or_default();
    match failures.iter().find(|failure| failure.target == position) {
        Some(failure) => (known_failure(&failure.reason), failure.message.clone()),
        None => (reason::COPY_FAILED, format!("the copy Job failed: {why}")),
    }
}

#[cfg(test)]
mod tests;
