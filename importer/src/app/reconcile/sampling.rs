// SPDX-License-Identifier: Apache-2.0
//! Which present images a registry is asked about in each `resyncInterval`: a sample, other images each time, so that an
//! emptied registry is noticed soon and one with hundreds of thousands of images is not asked about all of them. What is
//! not sampled is verified within `verifyInterval`, as everything is. (T-201)
//!
//! One missing image is enough: its set is asked about in full at once, and so are the other sets of the registry. Each of
//! them stays Ready until its own check finds something missing.

use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use krs_core::oci::reference::RegistryHost;

use crate::model::clock::is_over;
use crate::model::required_images::SetName;

/// Images of one registry that are asked about at least, all sets together.
const MIN_SAMPLE: usize = 20;
/// One of so many images is asked about.
const SHARE: usize = 50;
/// Requests per second to one registry, on average.
const RATE: u64 = 5;
/// Requests for one image: its top manifest and a tag.
const REQUESTS: u64 = 2;
/// How long a missing image counts for the other sets of its registry: no further one has them checked again.
const SUSPICION: Duration = Duration::from_secs(600);

/// The sets of each registry, and which registry lost something.
#[derive(Default)]
pub(super) struct Samples(Mutex<State>);

#[derive(Default)]
struct State {
    /// Destination and number of targets of each set.
    sets: BTreeMap<SetName, (RegistryHost, usize)>,
    /// Targets by registry, all sets together.
    totals: HashMap<RegistryHost, usize>,
    /// When an image was last found missing that was present before.
    suspected: HashMap<RegistryHost, Timestamp>,
}

impl State {
    fn remove(&mut self, set: &SetName) {
        let Some((registry, count)) = self.sets.remove(set) else { return };
        if let Some(total) = self.totals.get_mut(&registry) {
            *total = total.saturating_sub(count);
        }
    }
}

impl Samples {
    /// Records how many targets a set has at a registry. Answers how many of them are asked about in each interval.
    pub(super) fn quota(
        &self,
        set: &SetName,
        registry: &RegistryHost,
        targets: usize,
        interval: Duration,
    ) -> usize {
        let mut state = self.0.lock();
        state.remove(set);
        state.sets.insert(set.clone(), (registry.clone(), targets));
        let total = state.totals.entry(registry.clone()).or_default();
        *total += targets;
        quota(targets, *total, interval)
    }

    /// Records that an image is missing that was present. Answers which sets of the registry are to be checked now; none
    /// where they were a short time ago.
    pub(super) fn miss(&self, registry: &RegistryHost, now: Timestamp) -> Vec<SetName> {
        let mut state = self.0.lock();
        if state.suspected.get(registry).is_some_and(|at| !is_over(*at, SUSPICION, now)) {
            return Vec::new();
        }
        state.suspected.insert(registry.clone(), now);
        let sets = state.sets.iter().filter(|(_, (other, _))| other == registry);
        sets.map(|(set, _)| set.clone()).collect()
    }

    /// Whether something was found missing since `checked`, when a set was last checked in full.
    pub(super) fn is_suspected(&self, registry: &RegistryHost, checked: Option<Timestamp>) -> bool {
        let state = self.0.lock();
        state.suspected.get(registry).is_some_and(|at| checked.is_none_or(|checked| checked < *at))
    }

    /// Forgets sets that are gone.
    pub(super) fn retain(&self, is_alive: impl Fn(&SetName) -> bool) {
        let mut state = self.0.lock();
        let gone = state.sets.keys().filter(|set| !is_alive(set)).cloned().collect::<Vec<_>>();
        gone.iter().for_each(|set| state.remove(set));
        state.totals.retain(|_, total| *total > 0);
        let State { totals, suspected, .. } = &mut *state;
        suspected.retain(|registry, _| totals.contains_key(registry));
    }
}

/// The part of a set with so many `targets` in the sample of its registry, which has `total` of all sets.
fn quota(targets: usize, total: usize, interval: Duration) -> usize {
    let sample = total.div_ceil(SHARE).max(MIN_SAMPLE).min(total);
    let allowed = usize::try_from(interval.as_secs().saturating_mul(RATE) / REQUESTS).unwrap_or(usize::MAX);
    let sample = sample.min(allowed.max(1));
    sample.saturating_mul(targets).div_ceil(total.max(1))
}

/// Whether the target at `position` of `count` is in the sample of this `interval`. The next interval takes those that
/// follow, so that `count / quota` intervals take all of them.
pub(super) fn is_sampled(
    position: usize,
    count: usize,
    quota: usize,
    interval: Duration,
    now: Timestamp,
) -> bool {
    let seconds = interval.as_secs().max(1);
    let round = u64::try_from(now.as_second()).unwrap_or_default() / seconds;
    let start = round.wrapping_mul(quota as u64) % (count.max(1) as u64);
    let start = usize::try_from(start).unwrap_or_default();
    (position + count - start) % count.max(1) < quota
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    const INTERVAL: Duration = Duration::from_secs(600);

    fn set(name: &str) -> SetName {
        SetName { namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn t201_a_sample_is_twenty_images_or_two_percent_of_a_registry_and_its_rate_is_bounded() {
        for (targets, total, expected) in [
            (3, 3, 3),
            (20, 20, 20),
            (100, 100, 20),
            (50, 100, 10),
            (1000, 1000, 20),
            (1000, 5000, 20),
            (5000, 5000, 100),
            (1000, 300_000, 5),
            (0, 0, 0),
        ] {
            assert_eq!(quota(targets, total, INTERVAL), expected, "{targets} of {total}");
        }
        // 300 sets of 1000: 1500 images with two requests each in 600 s.
        assert!(quota(1000, 300_000, INTERVAL) * 300 * 2 <= 600 * 5);
    }

    #[test]
    fn t201_each_interval_takes_others_until_all_were_taken() {
        for (count, quota) in [(1, 1), (7, 3), (100, 20), (1000, 20)] {
            let sample = |round: i64| {
                let now = at(round * 600);
                let sampled = |position: &usize| is_sampled(*position, count, quota, INTERVAL, now);
                (0..count).filter(sampled).collect::<BTreeSet<_>>()
            };
            let rounds = i64::try_from(count.div_ceil(quota)).unwrap();
            let all = (0..rounds).flat_map(sample).collect::<BTreeSet<_>>();
            assert_eq!(all.len(), count, "{count} by {quota}");
            assert_eq!(sample(0).len(), quota);
            assert!(count == quota || sample(0) != sample(1));
        }
    }

    #[test]
    fn t201_one_missing_image_has_all_sets_of_its_registry_checked_once() {
        let samples = Samples::default();
        let (edge, other) = ("edge.local".parse().unwrap(), "other.local".parse().unwrap());
        assert_eq!(samples.quota(&set("a"), &edge, 50, INTERVAL), 20);
        assert_eq!(samples.quota(&set("b"), &edge, 50, INTERVAL), 10);
        assert_eq!(samples.quota(&set("b"), &edge, 50, INTERVAL), 10, "a set counts once");
        samples.quota(&set("c"), &other, 50, INTERVAL);
        assert!(!samples.is_suspected(&edge, None));
        assert_eq!(samples.miss(&edge, at(0)), [set("a"), set("b")]);
        assert!(samples.is_suspected(&edge, None) && samples.is_suspected(&edge, Some(at(-1))));
        assert!(!samples.is_suspected(&edge, Some(at(0))) && !samples.is_suspected(&other, None));
        assert_eq!(samples.miss(&edge, at(599)), []);
        assert_eq!(samples.miss(&edge, at(600)), [set("a"), set("b")]);
        samples.retain(|set| set.name == "c");
        assert!(!samples.is_suspected(&edge, None));
    }
}
