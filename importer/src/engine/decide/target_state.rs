// SPDX-License-Identifier: Apache-2.0
//! How things stand with each target of a set. Pure.

use std::time::Duration;

use jiff::Timestamp;
use krs_core::crd::{EdgeImageSetSpec, Source, default, interval, reason};
use krs_core::oci::digest::Digest;

use super::observation::Observation;
use crate::engine::failures::known_failure;
use crate::model::answer::Answer;
use crate::model::bundle_inventory::{StockBundle, StockImage};
use crate::model::clock::{after, is_over};
use crate::model::job::{BatchSource, JobPhase};
use crate::model::state::{Attempt, MAX_MOVES};
use crate::model::target::Target;

/// Wait after the first failed attempt; it doubles with each.
const FIRST_BACK_OFF: Duration = Duration::from_secs(10);
/// Longest wait between attempts that may succeed by themselves.
const MAX_BACK_OFF: Duration = Duration::from_secs(600);
/// Longest wait after the API server refused a Job: one request tells whether it still does.
const MAX_REJECTED: Duration = Duration::from_secs(60);

/// How often the registry is checked, and how often it is walked.
#[derive(Clone, Copy)]
pub(crate) struct Intervals {
    pub(crate) resync: Duration,
    pub(crate) verify: Duration,
}

impl Intervals {
    /// Those of a spec. One that says nothing acceptable gets what one gets that says nothing.
    pub(crate) fn of(spec: &EdgeImageSetSpec) -> Self {
        let read = |text: &str, otherwise: &str| {
            interval(text).or_else(|| interval(otherwise)).unwrap_or(Duration::from_secs(600))
        };
        Self {
            resync: read(&spec.resync_interval, &default::resync_interval()),
            verify: read(&spec.verify_interval, &default::verify_interval()),
        }
    }
}

/// How things stand with a target.
pub(super) enum TargetState<'a> {
    /// All content of the target is verified to be in the registry.
    Verified,
    /// A running Job copies it.
    Copying,
    /// Why it is not there is not known: the registry could not be asked, or was not.
    Unknown { reason: &'static str, message: String },
    /// It cannot get there before somebody acts.
    Broken { reason: &'static str, message: String },
    /// Somebody else moves its tag; it is retried at that time.
    Contested { until: Timestamp, message: String },
    /// The last attempt failed; the next is due at that time.
    BackOff { until: Timestamp, attempt: &'a Attempt },
    /// The site's policy does not allow where it comes from.
    Refused { message: String },
    /// A bundle holds it for sets of other namespaces only.
    Withheld { message: String },
    /// No bundle holds it.
    Waiting(AwaitedEvent),
    /// It can be copied now.
    Open { source: BatchSource, image: Option<&'a StockImage> },
}

/// What a target waits for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AwaitedEvent {
    /// The first scan of the drop folder.
    Scan,
    /// A bundle that is being checked.
    Check(String),
    /// A bundle whose media are away.
    Media(String),
    /// A bundle that nobody has seen yet.
    Unseen,
}

/// Whether the target counts as present. A verification is renewed every `verifyInterval`; one that could not be renewed,
/// because the registry does not answer, counts for the same time again, so that a registry that is away for a night turns
/// nothing red. A suspended set is not reconciled, so that its verifications stay.
pub(super) fn is_verified(observation: &Observation<'_>, intervals: Intervals, target: &Target) -> bool {
    let denied = matches!(
        observation.answers.get(&target.key),
        Some(Answer::Missing { .. } | Answer::TagMoved { .. } | Answer::Corrupt { .. })
    );
    let fresh = |at: Timestamp| {
        at > observation.now
            || observation.spec.suspend
            || !is_over(at, intervals.verify.saturating_mul(2), observation.now)
    };
    !denied && observation.state.verified_at.get(&target.key).is_some_and(|at| fresh(*at))
}

pub(super) fn target_state<'a>(
    observation: &Observation<'a>,
    intervals: Intervals,
    target: &Target,
    copying: bool,
) -> TargetState<'a> {
    if is_verified(observation, intervals, target) {
        return TargetState::Verified;
    }
    if copying {
        return TargetState::Copying;
    }
    match observation.answers.get(&target.key) {
        Some(Answer::Missing { .. } | Answer::Unreadable { .. }) => {}
        Some(Answer::TagMoved { tag, found }) => {
            if let Some(contested) = contested(observation, intervals, target, tag, found) {
                return contested;
            }
        }
        Some(Answer::Corrupt { message }) => {
            return TargetState::Broken { reason: reason::DIGEST_MISMATCH, message: message.clone() };
        }
        Some(Answer::Failed { reason, message }) => {
            return TargetState::Unknown { reason, message: message.clone() };
        }
        // Nothing is copied that was not asked for: it may be there.
        Some(Answer::Complete | Answer::Observed) | None => {
            let message = format!("{} was not asked about {} yet", target.registry, target.repository);
            return TargetState::Unknown { reason: reason::COPYING, message };
        }
    }
    let (source, image) = match source(observation, target) {
        Ok(source) => source,
        Err(none) => return none,
    };
    match observation.state.attempts.get(&target.key) {
        Some(attempt) if tried(&source) == observation.state.tried.get(&target.key).copied() => {
            // A refusal is out of date once the API server took a Job of the set, or one ended that used up the quota.
            let is_outdated = attempt.reason == reason::JOB_REJECTED && is_job_newer(observation, attempt.at);
            let wait = if is_outdated { FIRST_BACK_OFF } else { back_off(attempt, intervals.resync) };
            let until = after(attempt.at, wait);
            // An end that lies in the future by more than that: the clock was set back.
            if until > observation.now && attempt.at <= after(observation.now, intervals.resync) {
                return TargetState::BackOff { until, attempt };
            }
            TargetState::Open { source, image }
        }
        // What failed from elsewhere may succeed from here.
        _ => TargetState::Open { source, image },
    }
}

/// Whether a Job of the set was created or ended after `at`.
fn is_job_newer(observation: &Observation<'_>, at: Timestamp) -> bool {
    observation.jobs.iter().any(|job| {
        let ended = match &job.phase {
            JobPhase::Running { .. } => None,
            JobPhase::Succeeded { at, .. } | JobPhase::Failed { at, .. } => Some(*at),
        };
        job.created.into_iter().chain(ended).any(|time| time > at)
    })
}

fn contested<'a>(
    observation: &Observation<'a>,
    intervals: Intervals,
    target: &Target,
    tag: &str,
    found: &Digest,
) -> Option<TargetState<'a>> {
    let moves = observation.state.moved.get(&target.key)?;
    let first = *moves.first()?;
    (moves.len() >= MAX_MOVES && !is_over(first, intervals.verify, observation.now)).then(|| TargetState::Contested {
        until: after(first, intervals.verify),
        message: format!(
            "somebody else keeps moving the tag {}/{}:{tag}: it was put back {} times and names {found} again; find out who pushes it, or give the image another tag",
            target.registry,
            target.repository,
            MAX_MOVES - 1
        ),
    })
}

/// Where a target is copied from now.
fn source<'a>(
    observation: &Observation<'a>,
    target: &Target,
) -> Result<(BatchSource, Option<&'a StockImage>), TargetState<'a>> {
    let bundle = match observation.spec.source {
        Source::Registry => None,
        Source::Auto | Source::Bundle => {
            observation.stock.find(observation.namespace, &target.digest, &target.platforms)
        }
    };
    if let Some((bundle, image)) = bundle.filter(|(bundle, _)| bundle.present && bundle.ready) {
        let source = BatchSource::Bundle { digest: bundle.digest, name: bundle.name.clone() };
        return Ok((source, Some(image)));
    }
    let bundles = observation.spec.source != Source::Registry;
    if bundles && !observation.stock.scanned {
        return Err(TargetState::Waiting(AwaitedEvent::Scan));
    }
    let (registry, repository) = (&target.reference.registry, &target.reference.repository);
    let allowed = observation.limits.sources.source(registry, repository);
    if observation.spec.source != Source::Bundle && observation.limits.online && allowed {
        let source =
            BatchSource::Registry { registry: registry.clone(), secret: target.source_secret.clone() };
        return Ok((source, None));
    }
    let withheld = || {
        let held = observation.stock.withheld(observation.namespace, &target.digest, &target.platforms);
        let (bundle, _) = held.filter(|_| bundles)?;
        let message = withheld(observation.namespace, &target.reference.to_string(), bundle);
        Some(TargetState::Withheld { message })
    };
    if bundle.is_none()
        && let Some(withheld) = withheld()
    {
        return Err(withheld);
    }
    Err(match bundle {
        Some((bundle, _)) if bundle.present => TargetState::Waiting(AwaitedEvent::Check(bundle.name.clone())),
        Some((bundle, _)) => TargetState::Waiting(AwaitedEvent::Media(bundle.name.clone())),
        None if bundles => TargetState::Waiting(AwaitedEvent::Unseen),
        None => TargetState::Refused { message: refused(observation, target) },
    })
}

/// Why an image of a bundle is not copied for sets of `namespace`. For which ones it is listed, only the ImageBundle says: a
/// namespace is not told what others have. (T-153)
pub(crate) fn withheld(namespace: &str, image: &str, bundle: &StockBundle) -> String {
    format!(
        "bundle {} lists {image} for sets of other namespaces only, not for namespace {namespace}: write this set with namespace {namespace} in Git, or with none, and make a new bundle (Kustomize's `namespace:` renames only what it renders, not the files that krs reads); or ask the administrator of the importer about shareAcrossNamespaces (the ImageBundle has the namespaces in status.namespaceMismatches)",
        bundle.name
    )
}

fn refused(observation: &Observation<'_>, target: &Target) -> String {
    let name = target.reference.name();
    if observation.limits.online {
        format!(
            "{name} may not be copied from its registry: the importer's online.allowedSources does not list it; use source: Bundle, or ask the administrator of the importer"
        )
    } else {
        format!(
            "{name} may not be copied from its registry: the importer works without source registries (online.enabled is off); use source: Bundle, or ask the administrator of the importer"
        )
    }
}

fn tried(source: &BatchSource) -> Option<Digest> {
    match source {
        BatchSource::Bundle { digest, .. } => Some(*digest),
        BatchSource::Registry { .. } => None,
    }
}

/// Reasons that nothing but a person mends: they are retried as rarely as everything is checked.
fn needs_a_person(reason: &str) -> bool {
    [reason::AUTH_FAILED, reason::TLS_FAILED, reason::SECRET_NOT_FOUND, reason::SECRET_INVALID]
        .contains(&reason)
        || stalls(reason)
}

/// Whether the set's owner must act on a failure of this reason.
pub(super) fn stalls(reason: &str) -> bool {
    [reason::SPARSE_INDEX_REFUSED, reason::BASE_MISSING, reason::DIGEST_MISMATCH].contains(&reason)
}

/// How long after the last attempt the next one is made.
pub(super) fn back_off(attempt: &Attempt, resync: Duration) -> Duration {
    let doubled = 2_u32.saturating_pow(attempt.count.saturating_sub(1).min(16));
    let max = if attempt.reason == reason::JOB_REJECTED { MAX_REJECTED } else { MAX_BACK_OFF };
    let wait = FIRST_BACK_OFF.saturating_mul(doubled).min(max);
    if needs_a_person(known_failure(&attempt.reason)) { wait.max(resync) } else { wait }
}
