// SPDX-License-Identifier: Apache-2.0
//! What is said about a set. Pure.

use std::collections::{BTreeMap, BTreeSet};

use krs_core::crd::{ImageFailure, Source, reason};
use krs_core::error::shortened;
use krs_core::oci::reference::Reference;
use krs_core::redact::printable;

use super::assessment::Assessment;
use super::observation::{Observation, StatusSummary};
use super::target_state::{AwaitedEvent, TargetState, stalls};
use crate::engine::failures::last_failure;
use crate::engine::update_state::last_bundle;
use crate::model::job::JobPhase;

/// Images, bundles and Jobs that a message names; it counts the rest.
const NAMED: usize = 3;
/// Longest text of somebody else in a message, in characters.
const MAX_QUOTED: usize = 300;

type ReasonAndMessage = (&'static str, String);

pub(super) fn summarize(
    observation: &Observation<'_>,
    assessment: &Assessment<'_>,
    started: &BTreeSet<usize>,
    created: usize,
) -> StatusSummary {
    let mut present = vec![false; observation.spec.images.len()];
    for (position, target) in observation.targets.iter().enumerate() {
        for image in &target.images {
            if let Some(present) = present.get_mut(*image) {
                *present = assessment.is_verified(position);
            }
        }
    }
    // Under another name than the set says nobody finds it who looks for the name.
    for image in observation.unresolved.iter().chain(observation.collisions.keys()) {
        if let Some(present) = present.get_mut(*image) {
            *present = false;
        }
    }
    let failures = failures(observation, assessment, started);
    let (ready, reconciling, stalled) = conditions(observation, assessment, started, created, &present);
    StatusSummary {
        present,
        failures,
        ready,
        reconciling,
        stalled,
        bundle: last_bundle(observation.state, observation.jobs, observation.stock),
    }
}

/// The failures of the targets that are missing, in the order of the images.
fn failures(
    observation: &Observation<'_>,
    assessment: &Assessment<'_>,
    started: &BTreeSet<usize>,
) -> Vec<ImageFailure> {
    let mut by_image = BTreeMap::<usize, ReasonAndMessage>::new();
    for (position, (target, target_state)) in
        observation.targets.iter().zip(&assessment.target_states).enumerate()
    {
        let failure = match target_state {
            TargetState::Verified => None,
            TargetState::Broken { reason, message } => Some((*reason, message.clone())),
            TargetState::Contested { message, .. } => Some((reason::TAG_CONTESTED, message.clone())),
            TargetState::Refused { message } => Some((reason::SOURCE_NOT_ALLOWED, message.clone())),
            TargetState::Withheld { message } => Some((reason::NAMESPACE_NOT_LISTED, message.clone())),
            _ => last_failure_of(observation, assessment, started, position),
        };
        if let Some(failure) = failure {
            by_image.extend(target.images.iter().map(|image| (*image, failure.clone())));
        }
    }
    for (image, message) in observation.collisions {
        by_image.entry(*image).or_insert_with(|| (reason::NAMING_COLLISION, message.clone()));
    }
    let failure = |(image, (reason, message)): (usize, ReasonAndMessage)| {
        let image = observation.spec.images.get(image)?.image.clone();
        Some(ImageFailure { image, reason: reason.to_owned(), message })
    };
    by_image.into_iter().filter_map(failure).collect()
}

/// Why copying a target failed last, and nothing newer is known: the last Pod of the Job that copies it, else its last
/// attempt. That a Job was refused is of no interest any more once another one exists. (T-83)
fn last_failure_of(
    observation: &Observation<'_>,
    assessment: &Assessment<'_>,
    started: &BTreeSet<usize>,
    position: usize,
) -> Option<ReasonAndMessage> {
    if let Some(failure) = assessment.failed.get(position)?.clone() {
        return Some(failure);
    }
    let attempt = observation.state.attempts.get(&observation.targets.get(position)?.key)?;
    let has_job = matches!(assessment.target_states.get(position)?, TargetState::Copying)
        || started.contains(&position);
    (!has_job || attempt.reason != reason::JOB_REJECTED).then(|| last_failure(attempt))
}

/// What failed before among the images that are copied now, or are to be: the first failure, of how many targets, and
/// whether all that is under way is a retry.
fn retries(
    observation: &Observation<'_>,
    assessment: &Assessment<'_>,
    started: &BTreeSet<usize>,
) -> Option<(ReasonAndMessage, usize, bool)> {
    let (mut first, mut count, mut all) = (None, 0, true);
    for (position, target_state) in assessment.target_states.iter().enumerate() {
        let under_way = match target_state {
            TargetState::Copying | TargetState::Open { .. } => true,
            TargetState::BackOff { .. } => false,
            _ => continue,
        };
        match last_failure_of(observation, assessment, started, position) {
            Some(failure) => {
                count += 1;
                first.get_or_insert(failure);
            }
            None => all &= !under_way,
        }
    }
    first.map(|first| (first, count, all))
}

/// `Ready` with its reason, then `Reconciling` and `Stalled`, of which at most one is set: an engine that sees both takes
/// whichever it finds first. What stops all work comes first, then what needs a person, then what is under way.
fn conditions(
    observation: &Observation<'_>,
    assessment: &Assessment<'_>,
    started: &BTreeSet<usize>,
    created: usize,
    present: &[bool],
) -> (ReasonAndMessage, Option<ReasonAndMessage>, Option<ReasonAndMessage>) {
    let progress = || {
        let there = present.iter().filter(|present| **present).count();
        format!("{there} of {} images present", present.len())
    };
    let stalled = |condition: ReasonAndMessage| (condition.clone(), None, Some(condition));
    let retrying =
        |condition: ReasonAndMessage| (condition.clone(), Some((reason::RETRYING, condition.1)), None);
    if let Some(blocker) = observation.blocker.as_ref().filter(|blocker| blocker.stalled) {
        return stalled((sound(blocker.reason), blocker.message.clone()));
    }
    if !present.is_empty() && present.iter().all(|present| *present) {
        return ((reason::SYNC_SUCCESSFUL, reason::SYNC_SUCCESSFUL_MESSAGE.to_owned()), None, None);
    }
    if observation.spec.suspend {
        return ((reason::SUSPENDED, format!("{}; the set is suspended", progress())), None, None);
    }
    if let Some(blocker) = &observation.blocker {
        return retrying((sound(blocker.reason), blocker.message.clone()));
    }
    let with_progress = |(reason, message): ReasonAndMessage| (reason, format!("{}; {message}", progress()));
    let open = assessment.target_states.iter().enumerate();
    let open = open
        .filter(|(position, s)| matches!(s, TargetState::Open { .. }) && !started.contains(position))
        .count();
    let first = |what: &dyn Fn(&TargetState<'_>) -> Option<ReasonAndMessage>| {
        assessment.target_states.iter().find_map(what)
    };

    let broken = first(&|target_state| match target_state {
        TargetState::Broken { reason, message } => Some((reason, message.clone())),
        TargetState::BackOff { attempt, .. } if stalls(&attempt.reason) => Some(last_failure(attempt)),
        _ => None,
    });
    let collision =
        || observation.collisions.values().next().map(|why| (reason::NAMING_COLLISION, why.clone()));
    if let Some(condition) = broken.or_else(collision) {
        return stalled(with_progress(condition));
    }
    let jobs = assessment
        .running
        .iter()
        .filter(|(_, positions)| positions.iter().any(|p| !assessment.is_verified(*p)));
    let running = jobs.clone().count() + created;
    if running > 0 || open > 0 {
        let retries = retries(observation, assessment, started);
        let retry = if retries.as_ref().is_some_and(|(.., all)| *all) { "retry: " } else { "" };
        let mut message = match running {
            0 => format!("{}, {retry}waiting for other copy Jobs to end", progress()),
            1 => format!("{}, {retry}1 copy Job running", progress()),
            n => format!("{}, {retry}{n} copy Jobs running", progress()),
        };
        for (job, _) in jobs.take(NAMED) {
            if let JobPhase::Running { waiting: Some(why), .. } = &job.phase {
                message += &format!("; Job {} waits: {}", job.name, printable(why, MAX_QUOTED));
            }
        }
        if let Some(((failed, why), count, all)) = retries {
            let images = if count == 1 { "1 image" } else { &format!("{count} images") };
            message += &format!("; {images} failed before: {}", printable(&why, MAX_QUOTED));
            if all {
                return retrying((failed, message));
            }
        }
        return ((reason::COPYING, message.clone()), Some((reason::COPYING_IMAGES, message)), None);
    }
    let failed = first(&|target_state| match target_state {
        TargetState::BackOff { attempt, .. } => Some(last_failure(attempt)),
        TargetState::Unknown { reason, message } => Some((sound(reason), message.clone())),
        TargetState::Contested { message, .. } => Some((reason::TAG_CONTESTED, message.clone())),
        _ => None,
    });
    if let Some(condition) = failed {
        return retrying(with_progress(condition));
    }
    let withheld = first(&|target_state| match target_state {
        TargetState::Withheld { message } => Some((reason::NAMESPACE_NOT_LISTED, message.clone())),
        _ => None,
    });
    if let Some(condition) = withheld {
        // A later bundle may list it for this namespace.
        let condition = with_progress(condition);
        return (condition.clone(), Some((reason::WAITING_FOR_BUNDLE, condition.1)), None);
    }
    if let Some(message) = waiting(observation, assessment) {
        let condition = with_progress((reason::WAITING_FOR_BUNDLE, message));
        return (condition.clone(), Some(condition), None);
    }
    let refused = first(&|target_state| match target_state {
        TargetState::Refused { message } => Some((reason::SOURCE_NOT_ALLOWED, message.clone())),
        _ => None,
    });
    if let Some(condition) = refused {
        // Neither the set's owner must act on the set, nor is anything under way.
        return (with_progress(condition), None, None);
    }
    unresolved(observation, with_progress)
}

/// Images of which nobody knows what they stand for, and no bundle will tell.
fn unresolved(
    observation: &Observation<'_>,
    with_progress: impl Fn(ReasonAndMessage) -> ReasonAndMessage,
) -> (ReasonAndMessage, Option<ReasonAndMessage>, Option<ReasonAndMessage>) {
    let images = named(observation, observation.unresolved.iter().copied());
    if observation.limits.online {
        let message = format!("their registry did not say what these tags name: {images}");
        let condition = with_progress((reason::IMAGE_NOT_FOUND, message));
        return (condition.clone(), Some((reason::RETRYING, condition.1)), None);
    }
    let message = format!(
        "only their registry knows what these tags name, and the importer works without source registries (online.enabled is off): {images}"
    );
    (with_progress((reason::SOURCE_NOT_ALLOWED, message)), None, None)
}

/// What the set waits for, where it waits for a bundle.
fn waiting(observation: &Observation<'_>, assessment: &Assessment<'_>) -> Option<String> {
    let mut images = BTreeSet::new();
    let mut awaited = BTreeSet::new();
    for (target, target_state) in observation.targets.iter().zip(&assessment.target_states) {
        if let TargetState::Waiting(what) = target_state {
            images.extend(target.images.iter().copied());
            awaited.insert(what.clone());
        }
    }
    if observation.spec.source != Source::Registry && !observation.unresolved.is_empty() {
        images.extend(observation.unresolved);
        awaited.insert(if observation.stock.scanned { AwaitedEvent::Unseen } else { AwaitedEvent::Scan });
    }
    if images.is_empty() {
        return None;
    }
    let mut parts = vec![match images.len() {
        1 => format!("1 image waits for a bundle: {}", named(observation, images.iter().copied())),
        n => format!("{n} images wait for a bundle: {}", named(observation, images.iter().copied())),
    }];
    let names = |pick: fn(&AwaitedEvent) -> Option<&String>| {
        let names = awaited.iter().filter_map(pick).map(|name| printable(name, 100)).collect::<Vec<_>>();
        (!names.is_empty()).then(|| list(&names))
    };
    let away = names(|what| if let AwaitedEvent::Media(name) = what { Some(name) } else { None });
    parts.extend(away.map(|names| format!("insert {names}")));
    let checked = names(|what| if let AwaitedEvent::Check(name) = what { Some(name) } else { None });
    parts.extend(checked.map(|names| format!("{names} is being verified")));
    if awaited.contains(&AwaitedEvent::Scan) {
        parts.push("the drop folder is being read".to_owned());
    }
    parts.extend(observation.stock.trouble.as_ref().map(|trouble| printable(trouble, MAX_QUOTED)));
    parts.extend(observation.stock.refused.iter().take(NAMED).map(|refused| {
        let (name, reason) = (printable(&refused.name, 100), printable(&refused.reason, 64));
        format!("{name} refused: {reason}")
    }));
    let unresolved = observation
        .unresolved
        .iter()
        .filter_map(|n| observation.spec.images.get(*n)?.image.parse::<Reference>().ok());
    let superseded = unresolved.flat_map(|reference| {
        observation
            .stock
            .superseded(&reference)
            .map(crate::model::bundle_inventory::StockBundle::reference)
            .collect::<Vec<_>>()
    });
    let superseded = superseded.map(|bundle| (bundle.stream, bundle.name)).collect::<BTreeSet<_>>();
    parts.extend(superseded.iter().take(NAMED).map(|(stream, name)| {
        let name = printable(name, 100);
        format!("{name} is superseded: insert the newest bundle of stream {stream}")
    }));
    if observation.stock.refused.len() > NAMED {
        parts.push(format!("{} more refused", observation.stock.refused.len() - NAMED));
    }
    Some(parts.join("; "))
}

/// The first of the images by name, and how many more.
fn named(observation: &Observation<'_>, images: impl Iterator<Item = usize>) -> String {
    let images =
        images.filter_map(|n| observation.spec.images.get(n)).map(|image| printable(&image.image, 320));
    list(&images.collect::<Vec<_>>())
}

fn list(names: &[String]) -> String {
    shortened(names, NAMED, ", ")
}

/// A reason that does not say Ready.
fn sound(reason: &'static str) -> &'static str {
    if reason == reason::SYNC_SUCCESSFUL { reason::COPY_FAILED } else { reason }
}
