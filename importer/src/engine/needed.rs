// SPDX-License-Identifier: Apache-2.0
//! What the sets still need of a bundle, and whether that is known. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use krs_core::oci::digest::Digest;
use krs_core::redact::printable;
use krs_core::set::{CheckedSet, SetImage};
use tokio::time::Instant;

use crate::model::bundle_inventory::{BundleInventory, StockBundle, StockImage, TagResolution};
use crate::model::required_images::{MissingImage, RequiredImages, SetName};

/// Most sets and images that a message names; it counts the rest.
const NAMED: usize = 3;
/// How long the controller may take to see a set that was applied.
const SEEN: Duration = Duration::from_secs(60);
/// First and longest time to wait before a set that was refused is applied again.
const APPLY_RETRY: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15 * 60));
/// Longest text of a refusal, in characters.
const MAX_REFUSAL: usize = 300;
/// Longest reference in a message, in characters.
const MAX_REFERENCE: usize = 120;

/// A list for people: the first few entries, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NameList {
    pub count: usize,
    first: Vec<String>,
}

impl NameList {
    fn add(&mut self, entry: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(entry());
        }
    }

    /// Those of both lists.
    pub(crate) fn and(mut self, other: Self) -> Self {
        let free = NAMED - self.first.len();
        self.count += other.count;
        self.first.extend(other.first.into_iter().take(free));
        self
    }

    /// The entries in one line.
    pub(crate) fn text(&self) -> String {
        let shown = self.first.join(", ");
        match self.count.saturating_sub(self.first.len()) {
            0 => shown,
            more => format!("{shown} and {more} more"),
        }
    }
}

/// The image of a bundle that a set of `namespace` would copy.
fn held<'a>(
    bundle: &'a StockBundle,
    namespace: &str,
    missing: &MissingImage,
    shared: bool,
) -> Option<&'a StockImage> {
    let may_copy = |image: &&StockImage| {
        image.covers(&missing.platforms) && (shared || image.readers.include(namespace))
    };
    bundle.images.of_digest(&missing.digest).find(may_copy)
}

/// Whether a set will copy an image that the bundle holds.
pub(crate) fn holds_missing(bundle: &StockBundle, demand: &RequiredImages, shared: bool) -> bool {
    let holds = |namespace: &str, missing| held(bundle, namespace, missing, shared).is_some();
    demand.sets.iter().any(|(name, set)| set.missing.iter().any(|missing| holds(&name.namespace, missing)))
}

/// Which sets will copy which images of the bundle.
pub(crate) fn missing(bundle: &StockBundle, demand: &RequiredImages, shared: bool) -> NameList {
    let mut named = NameList::default();
    for (name, set) in &demand.sets {
        for missing in &set.missing {
            let Some(image) = held(bundle, &name.namespace, missing, shared) else { continue };
            named.add(|| {
                let of_set = set.images.iter().find(|listed| listed.digest == Some(missing.digest));
                let reference =
                    of_set.map_or_else(|| image.reference.to_string(), |listed| listed.to_string());
                format!("set {name} needs {}", printable(&reference, MAX_REFERENCE))
            });
        }
    }
    named
}

/// Sets that do not take the stock into account yet, by the bundle that decides one of their tags now.
pub(crate) fn pending(demand: &RequiredImages, stock: &BundleInventory) -> BTreeMap<Digest, NameList> {
    let mut pending = BTreeMap::<_, NameList>::new();
    if !stock.bundles.iter().any(StockBundle::can_decide) {
        return pending;
    }
    for (name, set) in &demand.sets {
        let tags = set.images.tags().filter(|_| set.follows_bundles);
        let answers = tags.filter_map(|(reference, held)| {
            match stock.resolve_decided(&name.namespace, &reference, held) {
                TagResolution::New(answer) => Some(answer.bundle().digest),
                TagResolution::Unchanged | TagResolution::Unanswered => None,
            }
        });
        for bundle in answers.collect::<BTreeSet<_>>() {
            pending.entry(bundle).or_default().add(|| format!("set {name}"));
        }
    }
    pending
}

/// What became of a set of a bundle that is to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ApplyState {
    /// It was not tried, or the API server did not answer.
    Due,
    /// It was applied.
    At(Instant),
    /// It must not be applied, or the API server refused it.
    Refused(Refusal),
}

/// Why a set was not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// One word for machines.
    pub reason: &'static str,
    pub message: String,
    /// How often in a row, and when it is retried.
    times: u32,
    until: Instant,
}

impl ApplyState {
    /// What becomes of the set when it is refused again: what the API server does not take now, it rarely takes a minute
    /// later. (T-196)
    pub(crate) fn refused(&self, reason: &'static str, message: &str, now: Instant) -> Self {
        let times = if let Self::Refused(before) = self { before.times.saturating_add(1) } else { 0 };
        let wait = APPLY_RETRY.0.saturating_mul(1 << times.min(10)).min(APPLY_RETRY.1);
        let message = printable(message, MAX_REFUSAL);
        Self::Refused(Refusal { reason, message, times, until: now + wait })
    }

    /// Whether it is to be applied now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        match self {
            Self::Due => true,
            Self::At(_) => false,
            Self::Refused(refusal) => now >= refusal.until,
        }
    }

    /// Whether the media wait for the set: until it was tried, and then until the controller has seen it. Not for longer
    /// than that takes: a set that somebody changes or deletes afterwards, or whose namespace is not watched, is never
    /// seen as it is in the bundle.
    fn is_pending(&self, is_known: bool, now: Instant) -> bool {
        match self {
            Self::Due => true,
            Self::At(at) => !is_known && now.saturating_duration_since(*at) < SEEN,
            Self::Refused(_) => false,
        }
    }
}

/// Sets of a bundle that are applied from it, and that the controller is about to see. `applied` is in the order of `sets`;
/// none: nothing was tried.
pub(crate) fn not_applied(
    sets: &[CheckedSet],
    applied: Option<&[ApplyState]>,
    demand: &RequiredImages,
    now: Instant,
) -> NameList {
    let mut named = NameList::default();
    for (position, set) in sets.iter().enumerate() {
        let applied = applied.and_then(|applied| applied.get(position)).unwrap_or(&ApplyState::Due);
        let Some(namespace) = set.namespace.clone() else { continue };
        let name = SetName { namespace, name: set.name.clone() };
        let known = demand.sets.get(&name);
        let is_known = |image: &SetImage| known.is_some_and(|known| known.images.contains(&image.reference));
        if applied.is_pending(set.images.iter().all(is_known), now) {
            named.add(|| format!("set {name}"));
        }
    }
    named
}

/// What became of the sets of a bundle that is applied, for people: the reason where a set was refused, and in words.
/// `applied` is in the order of `sets`; none: nothing was tried. `None`: not all of them were tried yet.
pub(crate) fn refusals(
    sets: &[CheckedSet],
    applied: Option<&[ApplyState]>,
) -> Option<Result<(), (&'static str, NameList)>> {
    let applied = applied.unwrap_or_default();
    let mut named = NameList::default();
    let mut reason = None;
    for (set, applied) in sets.iter().zip(applied) {
        let ApplyState::Refused(refusal) = applied else { continue };
        // What the API server refuses is the graver of the two.
        if reason != Some("SetsRefused") {
            reason = Some(refusal.reason);
        }
        let namespace = set.namespace.as_deref().unwrap_or_default();
        named.add(|| format!("set {namespace}/{}: {}", set.name, refusal.message));
    }
    if let Some(reason) = reason {
        return Some(Err((reason, named)));
    }
    let all = applied.len() == sets.len() && applied.iter().all(|set| matches!(set, ApplyState::At(_)));
    all.then_some(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t196_a_set_that_is_refused_again_and_again_is_applied_less_and_less_often() {
        let mut now = Instant::now();
        let mut applied = ApplyState::Due;
        let mut waits = Vec::new();
        for _ in 0..7 {
            assert!(applied.is_due(now));
            applied = applied.refused("SetsRefused", "422", now);
            let began = now;
            while !applied.is_due(now) {
                now += Duration::from_secs(60);
            }
            waits.push((now - began).as_secs() / 60);
        }
        assert_eq!(waits, [1, 2, 4, 8, 15, 15, 15]);
    }

    #[test]
    fn t168_media_wait_for_a_set_that_was_applied_only_until_the_controller_can_have_seen_it() {
        let now = Instant::now();
        let later = now + SEEN;
        for (applied, is_known, at, pending) in [
            (ApplyState::Due, true, later, true),
            (ApplyState::At(now), false, now, true),
            (ApplyState::At(now), true, now, false),
            (ApplyState::At(now), false, later, false),
            (ApplyState::Due.refused("SetsRefused", "", now), false, now, false),
        ] {
            assert_eq!(applied.is_pending(is_known, at), pending, "{applied:?} {is_known}");
        }
    }
}
