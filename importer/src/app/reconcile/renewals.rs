// SPDX-License-Identifier: Apache-2.0
//! How fast the images of a registry are verified again. (T-240)
//!
//! All images that became present together, or whose time came while the registry was away, are due at the same moment. A
//! registry of 300,000 images would get more than a million requests as fast as it answers them, while it has just
//! recovered. Verifications that are due only because of their age are therefore limited per registry: to twice the rate
//! that `verifyInterval` needs on average, so that all of them are done within half of it. What is urgent is not limited:
//! images that are not known to be present, those of Jobs that ended, and what somebody asked for.

use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use krs_core::oci::reference::RegistryHost;

use crate::model::required_images::SetName;

/// Images per second at least: one verification is a handful of requests.
const MIN_RATE: f64 = 1.0;
/// Images at once at least, after a pause.
const MIN_BURST: f64 = 60.0;
/// How much faster than on average.
const HEADROOM: f64 = 2.0;

/// The verifications that may start, by registry.
#[derive(Default)]
pub(super) struct Renewals(Mutex<State>);

#[derive(Default)]
struct State {
    sets: BTreeMap<SetName, (RegistryHost, Needs)>,
    registries: HashMap<RegistryHost, Bucket>,
}

/// What sets need of a registry.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Needs {
    sets: usize,
    /// Images per second.
    rate: f64,
    /// Images in each reconcile, which comes once in `resyncInterval`.
    burst: f64,
}

impl Needs {
    fn of(targets: usize, resync: Duration, verify: Duration) -> Self {
        let targets = u32::try_from(targets).map_or(f64::MAX, f64::from);
        let rate = HEADROOM * targets / verify.as_secs_f64().max(1.0);
        Self { sets: 1, rate, burst: (rate * resync.as_secs_f64()).min(targets) }
    }

    fn add(&mut self, other: Self) {
        self.sets += other.sets;
        self.rate += other.rate;
        self.burst += other.burst;
    }

    fn remove(&mut self, other: Self) {
        self.sets = self.sets.saturating_sub(other.sets);
        self.rate = (self.rate - other.rate).max(0.0);
        self.burst = (self.burst - other.burst).max(0.0);
    }
}

/// A token bucket, one token for each image.
struct Bucket {
    needs: Needs,
    tokens: f64,
    at: Timestamp,
}

impl Bucket {
    fn refill(&mut self, now: Timestamp) {
        let burst = self.needs.burst.max(MIN_BURST);
        let passed = now.duration_since(self.at).as_secs_f64();
        // The clock was set back: what was taken until then does not count.
        let gained = if passed < 0.0 { burst } else { passed * self.needs.rate.max(MIN_RATE) };
        (self.tokens, self.at) = ((self.tokens + gained).min(burst), now);
    }
}

impl State {
    fn remove(&mut self, set: &SetName) {
        let Some((registry, needs)) = self.sets.remove(set) else { return };
        if let Some(bucket) = self.registries.get_mut(&registry) {
            bucket.needs.remove(needs);
        }
    }
}

impl Renewals {
    /// Records what a set with so many `targets` needs of a registry. Answers how many images of the registry may be
    /// verified again now.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most the number of all images"
    )]
    pub(super) fn available(
        &self,
        set: &SetName,
        registry: &RegistryHost,
        targets: usize,
        (resync, verify): (Duration, Duration),
        now: Timestamp,
    ) -> usize {
        let needs = Needs::of(targets, resync, verify);
        let mut state = self.0.lock();
        if state.sets.get(set).is_none_or(|known| known.0 != *registry || known.1 != needs) {
            state.remove(set);
            state.sets.insert(set.clone(), (registry.clone(), needs));
            let new = || Bucket { needs: Needs::default(), tokens: f64::MAX, at: now };
            state.registries.entry(registry.clone()).or_insert_with(new).needs.add(needs);
        }
        let Some(bucket) = state.registries.get_mut(registry) else { return 0 };
        bucket.refill(now);
        bucket.tokens.max(0.0) as usize
    }

    /// Records that so many images are verified again. Those that several sets found available at the same time may be more
    /// than there were: the next ones then wait longer.
    pub(super) fn take(&self, registry: &RegistryHost, images: usize) {
        let images = u32::try_from(images).map_or(f64::MAX, f64::from);
        if let Some(bucket) = self.0.lock().registries.get_mut(registry) {
            bucket.tokens -= images;
        }
    }

    /// Forgets sets that are gone.
    pub(super) fn retain(&self, is_alive: impl Fn(&SetName) -> bool) {
        let mut state = self.0.lock();
        let gone = state.sets.keys().filter(|set| !is_alive(set)).cloned().collect::<Vec<_>>();
        gone.iter().for_each(|set| state.remove(set));
        state.registries.retain(|_, bucket| bucket.needs.sets > 0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const RESYNC: Duration = Duration::from_secs(600);

    fn set(number: usize) -> SetName {
        SetName { namespace: "shop".to_owned(), name: number.to_string() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn edge() -> RegistryHost {
        "edge.local".parse().unwrap()
    }

    /// Full minutes until all images of `sets` sets were verified, each of which is reconciled once in `resync`, and the
    /// most in a minute.
    fn renew(sets: usize, targets: usize, resync: Duration, verify: Duration) -> (i64, usize) {
        let renewals = Renewals::default();
        let interval = i64::try_from(resync.as_secs() / 60).unwrap();
        let mut left = vec![targets; sets];
        let mut most = 0;
        for n in 0..sets {
            renewals.available(&set(n), &edge(), targets, (resync, verify), at(0));
        }
        for minute in 0.. {
            let mut taken = 0;
            for (n, left) in left.iter_mut().enumerate() {
                if (minute + i64::try_from(n).unwrap()) % interval == 0 {
                    let now = at(minute * 60);
                    let may = renewals.available(&set(n), &edge(), targets, (resync, verify), now);
                    let takes = may.min(*left);
                    renewals.take(&edge(), takes);
                    *left -= takes;
                    taken += takes;
                }
            }
            most = most.max(taken);
            if left.iter().all(|left| *left == 0) {
                return (minute, most);
            }
        }
        unreachable!()
    }

    #[test]
    fn t240_what_is_due_at_once_is_spread_and_is_done_within_half_of_its_interval() {
        for (sets, targets, resync, verify) in [
            (1, 10, RESYNC, DAY),
            (1, 1000, RESYNC, DAY),
            (1, 1000, 6 * RESYNC, DAY),
            (1, 10_000, 6 * RESYNC, DAY),
            (300, 10, RESYNC, DAY),
            (300, 10, 6 * RESYNC, DAY),
            (300, 1000, RESYNC, DAY),
            (300, 1000, RESYNC, 6 * RESYNC),
        ] {
            let what = format!("{sets} sets of {targets}, {resync:?}, {verify:?}");
            let (minutes, most) = renew(sets, targets, resync, verify);
            let half = i64::try_from((verify / 2 + resync).as_secs() / 60).unwrap();
            assert!(minutes <= half, "{what}: {minutes} minutes");
            let all = f64::from(u32::try_from(sets * targets).unwrap());
            let rate = HEADROOM * all / verify.as_secs_f64();
            let bound = MIN_BURST.max(rate * resync.as_secs_f64()) + 60.0 * MIN_RATE.max(rate);
            assert!(f64::from(u32::try_from(most).unwrap()) <= bound, "{what}: {most} in a minute, {bound}");
        }
    }

    #[test]
    fn t240_each_registry_has_its_own_limit_and_what_is_gone_counts_no_more() {
        let renewals = Renewals::default();
        let other = "other.local".parse::<RegistryHost>().unwrap();
        let available = |number, registry: &RegistryHost, targets, now| {
            renewals.available(&set(number), registry, targets, (RESYNC, DAY), now)
        };
        assert_eq!(available(1, &edge(), 1000, at(0)), 60);
        renewals.take(&edge(), 60);
        assert_eq!(available(1, &edge(), 1000, at(0)), 0);
        assert_eq!(available(2, &other, 1000, at(0)), 60);
        assert_eq!(available(1, &edge(), 1000, at(10)), 10);
        // Two that asked at the same time.
        renewals.take(&edge(), 20);
        assert_eq!(available(1, &edge(), 1000, at(15)), 0);
        assert_eq!(available(1, &edge(), 1000, at(25)), 5);
        assert_eq!(available(1, &edge(), 1000, at(-10_000)), 60, "the clock was set back");
        // A large set comes, and moves to another registry.
        renewals.take(&edge(), 60);
        assert_eq!(available(3, &edge(), 1_000_000, at(-9_999)), 23);
        available(3, &other, 1_000_000, at(-9_999));
        renewals.take(&edge(), 23);
        assert_eq!(available(1, &edge(), 1000, at(-9_989)), 10);
        renewals.retain(|_| false);
        let state = renewals.0.lock();
        assert!(state.sets.is_empty() && state.registries.is_empty());
    }
}
