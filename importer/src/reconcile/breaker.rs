// SPDX-License-Identifier: Apache-2.0
//! A circuit breaker for each registry: one that fails again and again is left alone for a time that grows, so that sets
//! neither wait for it nor press it. Pure, but for the lock.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;

use super::lock;
use super::quiet::until;
use crate::decide::after;
use crate::remember::is_over;

/// Failures in a row after which a registry is left alone.
pub(super) const THRESHOLD: u32 = 5;
/// How long it is left alone at first; each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// The longest time that it is left alone.
const MAX_PAUSE: Duration = Duration::from_secs(600);
/// How long everybody waits for the one set that asks after a pause.
const PROBE: Duration = Duration::from_secs(30);
/// Most registries that are kept; the one that failed longest ago is dropped.
const MAX_KEPT: usize = 1024;

/// The breakers of all registries that failed last, by how they are reached: a set with a wrong setting of its own must not
/// cut others off.
pub(super) struct Breakers<K>(Mutex<HashMap<K, Breaker>>);

struct Breaker {
    failures: u32,
    last: Timestamp,
    message: String,
    open_until: Option<Timestamp>,
    probed: Option<Timestamp>,
}

/// Why a registry is not asked now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeftAlone {
    /// When it is asked again.
    pub(super) until: Timestamp,
    /// Failures in a row.
    pub(super) failures: u32,
    /// The last of them.
    pub(super) message: String,
}

impl<K> Default for Breakers<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq + Clone> Breakers<K> {
    /// Whether a registry may be asked now. After a pause, one set asks and the others wait for what it finds.
    pub(super) fn admit(&self, key: &K, now: Timestamp) -> Result<(), LeftAlone> {
        let mut all = lock(&self.0);
        let Some(breaker) = all.get_mut(key) else { return Ok(()) };
        let Some(open_until) = breaker.open_until else { return Ok(()) };
        let left_alone =
            |until| LeftAlone { until, failures: breaker.failures, message: breaker.message.clone() };
        // One that lies further away than a pause can be: the clock was set back.
        if now < open_until && until(now, open_until) <= MAX_PAUSE {
            return Err(left_alone(open_until));
        }
        if let Some(probed) = breaker.probed.filter(|at| !is_over(*at, PROBE, now)) {
            return Err(left_alone(after(probed, PROBE)));
        }
        breaker.probed = Some(now);
        Ok(())
    }

    /// Records that a registry failed.
    pub(super) fn failed(&self, key: &K, message: &str, now: Timestamp) {
        let mut all = lock(&self.0);
        if !all.contains_key(key) && all.len() >= MAX_KEPT {
            let oldest = all.iter().min_by_key(|(_, breaker)| breaker.last).map(|(key, _)| key.clone());
            oldest.map(|key| all.remove(&key));
        }
        let breaker = all.entry(key.clone()).or_insert_with(|| Breaker {
            failures: 0,
            last: now,
            message: String::new(),
            open_until: None,
            probed: None,
        });
        // Those that were under way when it was closed count as one.
        if breaker.open_until.is_some() && breaker.probed.is_none() {
            return;
        }
        breaker.failures = breaker.failures.saturating_add(1);
        (breaker.last, breaker.probed) = (now, None);
        message.clone_into(&mut breaker.message);
        if let Some(surplus) = breaker.failures.checked_sub(THRESHOLD) {
            let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(surplus.min(16))).min(MAX_PAUSE);
            breaker.open_until = Some(after(now, pause));
        }
    }

    /// Records that a registry answered; says whether it was left alone before.
    pub(super) fn answered(&self, key: &K) -> bool {
        lock(&self.0).remove(key).is_some_and(|breaker| breaker.open_until.is_some())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn a_registry_is_left_alone_after_five_failures_for_a_time_that_grows_to_ten_minutes() {
        let breakers = Breakers::default();
        for _ in 0..4 {
            breakers.failed(&"edge", "no answer", at(0));
            breakers.admit(&"edge", at(0)).unwrap();
        }
        breakers.failed(&"edge", "no answer", at(0));
        let left = breakers.admit(&"edge", at(0)).unwrap_err();
        assert_eq!(left, LeftAlone { until: at(30), failures: 5, message: "no answer".to_owned() });
        breakers.admit(&"other", at(0)).unwrap();
        let (mut now, mut pauses) = (30, Vec::new());
        for _ in 0..7 {
            breakers.admit(&"edge", at(now)).unwrap();
            breakers.failed(&"edge", "no answer", at(now));
            let until = breakers.admit(&"edge", at(now)).unwrap_err().until;
            pauses.push(until.as_second() - at(now).as_second());
            now = until.as_second() - at(0).as_second();
        }
        assert_eq!(pauses, [60, 120, 240, 480, 600, 600, 600]);
        breakers.admit(&"edge", at(now)).unwrap();
        assert!(breakers.answered(&"edge"));
        breakers.admit(&"edge", at(now)).unwrap();
        assert!(!breakers.answered(&"edge"));
    }

    #[test]
    fn after_a_pause_one_set_asks_and_the_others_wait_for_what_it_finds() {
        let breakers = Breakers::default();
        (0..5).for_each(|_| breakers.failed(&1, "", at(0)));
        // What was under way does not count again.
        (0..20).for_each(|_| breakers.failed(&1, "", at(1)));
        breakers.admit(&1, at(30)).unwrap();
        assert_eq!(breakers.admit(&1, at(31)).unwrap_err().until, at(60));
        // The set that asked was deleted before it said anything.
        breakers.admit(&1, at(60)).unwrap();
        breakers.answered(&1);
        breakers.admit(&1, at(61)).unwrap();
    }

    #[test]
    fn a_clock_that_is_set_back_opens_it_and_the_number_of_registries_is_bounded() {
        let breakers = Breakers::default();
        (0..5).for_each(|_| breakers.failed(&0, "", at(100_000)));
        breakers.admit(&0, at(0)).unwrap();
        (0..5000).for_each(|key| breakers.failed(&key, "", at(key)));
        assert!(lock(&breakers.0).len() <= MAX_KEPT);
    }
}
