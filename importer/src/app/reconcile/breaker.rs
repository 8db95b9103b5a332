// SPDX-License-Identifier: Apache-2.0
//! Circuit breakers: a registry that fails again and again is left alone for a time that grows, and one that asks for a
//! pause for that time, so that sets neither wait for it nor press it. Pure, but for the lock.

use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use jiff::Timestamp;

use super::health::Counts;
use crate::model::clock::is_over;
use crate::model::clock::{after, time_left};
use crate::model::required_images::SetName;

/// Failures in a row after which a registry is left alone.
pub(super) const THRESHOLD: u32 = 5;
/// How long it is left alone at first; each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// The longest time that it is left alone.
const MAX_PAUSE: Duration = Duration::from_secs(600);
/// The longest time that a registry may ask for.
const MAX_WAIT: Duration = Duration::from_secs(3600);
/// How long everybody waits for the one set that asks after a pause.
const PROBE: Duration = Duration::from_secs(30);
/// Most registries that are kept; the one that failed longest ago is dropped.
const MAX_KEPT: usize = 1024;

/// The breakers of all registries that failed last, by what makes them fail: `K` is the host, or all that a client is made
/// from.
pub(super) struct Breakers<K>(Mutex<HashMap<K, Breaker>>);

struct Breaker {
    failures: u32,
    last: Timestamp,
    message: String,
    open_until: Option<Timestamp>,
    probed: Option<Timestamp>,
    /// Sets that wait until the registry answers again.
    waiting: BTreeSet<SetName>,
}

/// Why a registry is not asked now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeftAlone {
    /// When it is asked again.
    pub(super) until: Timestamp,
    /// Failures in a row; none: it asked for the pause.
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
    /// Whether `set` may ask a registry now. After a pause, one set asks and the others wait for what it finds.
    pub(super) fn admit(&self, key: &K, set: &SetName, now: Timestamp) -> Result<(), LeftAlone> {
        let mut all = self.0.lock();
        let Some(breaker) = all.get_mut(key) else { return Ok(()) };
        let Some(open_until) = breaker.open_until else { return Ok(()) };
        let left_alone =
            |until| LeftAlone { until, failures: breaker.failures, message: breaker.message.clone() };
        // One that lies further away than a pause can be: the clock was set back.
        let refused = if now < open_until && time_left(now, open_until) <= MAX_WAIT {
            Some(left_alone(open_until))
        } else {
            let probed = breaker.probed.filter(|at| !is_over(*at, PROBE, now));
            probed.map(|probed| left_alone(after(probed, PROBE)))
        };
        if let Some(refused) = refused {
            breaker.waiting.insert(set.clone());
            return Err(refused);
        }
        breaker.waiting.remove(set);
        breaker.probed = Some(now);
        Ok(())
    }

    /// Records what a check counts. Answers which sets may ask now.
    pub(super) fn record(&self, key: &K, counts: Counts, message: &str, now: Timestamp) -> BTreeSet<SetName> {
        match counts {
            Counts::Failed => self.failed(key, message, now),
            Counts::Wait(time) => self.wait(key, message, time, now),
            Counts::Nothing => return self.release(key),
            Counts::Answered => {
                let breaker = self.0.lock().remove(key);
                return breaker.map(|breaker| breaker.waiting).unwrap_or_default();
            }
        }
        BTreeSet::new()
    }

    fn failed(&self, key: &K, message: &str, now: Timestamp) {
        self.change(key, now, |breaker| {
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
            } else {
                breaker.open_until = None;
            }
        });
    }

    fn wait(&self, key: &K, message: &str, time: Duration, now: Timestamp) {
        self.change(key, now, |breaker| {
            (breaker.last, breaker.probed, breaker.failures) = (now, None, 0);
            message.clone_into(&mut breaker.message);
            let until = after(now, time.min(MAX_WAIT));
            breaker.open_until = Some(breaker.open_until.map_or(until, |known| known.max(until)));
        });
    }

    /// A check that found nothing out does not keep the others waiting.
    fn release(&self, key: &K) -> BTreeSet<SetName> {
        let mut all = self.0.lock();
        let Some(breaker) = all.get_mut(key) else { return BTreeSet::new() };
        if breaker.probed.take().is_none() {
            return BTreeSet::new();
        }
        std::mem::take(&mut breaker.waiting)
    }

    fn change(&self, key: &K, now: Timestamp, change: impl FnOnce(&mut Breaker)) {
        let mut all = self.0.lock();
        if !all.contains_key(key) && all.len() >= MAX_KEPT {
            let oldest = all.iter().min_by_key(|(_, breaker)| breaker.last).map(|(key, _)| key.clone());
            oldest.map(|key| all.remove(&key));
        }
        change(all.entry(key.clone()).or_insert_with(|| Breaker {
            failures: 0,
            last: now,
            message: String::new(),
            open_until: None,
            probed: None,
            waiting: BTreeSet::new(),
        }));
    }

    /// Forgets sets that are gone, and registries that nobody asked about for long.
    pub(super) fn retain(&self, is_alive: impl Fn(&SetName) -> bool, now: Timestamp) {
        self.0.lock().retain(|_, breaker| {
            breaker.waiting.retain(&is_alive);
            !breaker.waiting.is_empty() || !is_over(breaker.last, MAX_WAIT, now)
        });
    }

    /// Those that are left alone.
    pub(super) fn open(&self) -> Vec<K> {
        let all = self.0.lock();
        let open = all.iter().filter(|(_, breaker)| breaker.open_until.is_some());
        open.map(|(key, _)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn set(name: &str) -> SetName {
        SetName { namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn fail<K: Hash + Eq + Clone>(breakers: &Breakers<K>, key: &K, now: Timestamp) {
        assert!(breakers.record(key, Counts::Failed, "no answer", now).is_empty());
    }

    #[test]
    fn a_registry_is_left_alone_after_five_failures_for_a_time_that_grows_to_ten_minutes() {
        let (breakers, set) = (Breakers::default(), set("a"));
        for _ in 0..4 {
            fail(&breakers, &"edge", at(0));
            breakers.admit(&"edge", &set, at(0)).unwrap();
        }
        assert!(breakers.open().is_empty());
        fail(&breakers, &"edge", at(0));
        assert_eq!(breakers.open(), ["edge"]);
        let left = breakers.admit(&"edge", &set, at(0)).unwrap_err();
        assert_eq!(left, LeftAlone { until: at(30), failures: 5, message: "no answer".to_owned() });
        breakers.admit(&"other", &set, at(0)).unwrap();
        let (mut now, mut pauses) = (30, Vec::new());
        for _ in 0..7 {
            breakers.admit(&"edge", &set, at(now)).unwrap();
            fail(&breakers, &"edge", at(now));
            let until = breakers.admit(&"edge", &set, at(now)).unwrap_err().until;
            pauses.push(until.as_second() - at(now).as_second());
            now = until.as_second() - at(0).as_second();
        }
        assert_eq!(pauses, [60, 120, 240, 480, 600, 600, 600]);
        breakers.admit(&"edge", &set, at(now)).unwrap();
        breakers.record(&"edge", Counts::Answered, "", at(now));
        breakers.admit(&"edge", &set, at(now)).unwrap();
        assert!(breakers.open().is_empty());
    }

    #[test]
    fn after_a_pause_one_set_asks_and_the_others_wait_for_what_it_finds() {
        let (breakers, a, b) = (Breakers::default(), set("a"), set("b"));
        (0..5).for_each(|_| fail(&breakers, &1, at(0)));
        // What was under way does not count again.
        (0..20).for_each(|_| fail(&breakers, &1, at(1)));
        breakers.admit(&1, &a, at(30)).unwrap();
        assert_eq!(breakers.admit(&1, &b, at(31)).unwrap_err().until, at(60));
        // The set that asked was deleted before it said anything.
        breakers.admit(&1, &a, at(60)).unwrap();
        assert!(breakers.admit(&1, &b, at(60)).is_err());
        assert_eq!(breakers.record(&1, Counts::Answered, "", at(61)), BTreeSet::from([b.clone()]));
        breakers.admit(&1, &b, at(61)).unwrap();
    }

    /// A set whose CA certificates cannot be read, say, would else keep all others out by asking first each time.
    #[test]
    fn t185_a_check_that_finds_nothing_out_lets_the_next_set_ask_at_once() {
        let (breakers, a, b) = (Breakers::default(), set("a"), set("b"));
        (0..5).for_each(|_| fail(&breakers, &1, at(0)));
        breakers.admit(&1, &a, at(30)).unwrap();
        breakers.admit(&1, &b, at(30)).unwrap_err();
        assert_eq!(breakers.record(&1, Counts::Nothing, "", at(31)), BTreeSet::from([b.clone()]));
        breakers.admit(&1, &b, at(31)).unwrap();
    }

    #[test]
    fn t186_a_pause_that_the_registry_asks_for_is_kept_and_is_no_failure() {
        let (breakers, a) = (Breakers::default(), set("a"));
        let minute = Counts::Wait(Duration::from_secs(60));
        breakers.record(&1, minute, "rate limited", at(0));
        let left = breakers.admit(&1, &a, at(59)).unwrap_err();
        assert_eq!(left, LeftAlone { until: at(60), failures: 0, message: "rate limited".to_owned() });
        breakers.admit(&1, &a, at(60)).unwrap();
        breakers.record(&1, Counts::Failed, "503", at(61));
        breakers.admit(&1, &a, at(61)).unwrap();
        breakers.record(&1, Counts::Wait(Duration::MAX), "indefinitely", at(62));
        breakers.admit(&1, &a, at(3661)).unwrap_err();
        breakers.admit(&1, &a, at(3662)).unwrap();
    }

    #[test]
    fn a_clock_that_is_set_back_opens_it_and_the_number_of_registries_is_bounded() {
        let (breakers, a) = (Breakers::default(), set("a"));
        (0..5).for_each(|_| fail(&breakers, &0, at(100_000)));
        breakers.admit(&0, &a, at(0)).unwrap();
        (0..5000).for_each(|key| fail(&breakers, &key, at(key)));
        assert!(breakers.0.lock().len() <= MAX_KEPT);
        breakers.retain(|_| true, at(10_000));
        assert!(breakers.0.lock().len() < 2, "nobody waits for these");
    }
}
