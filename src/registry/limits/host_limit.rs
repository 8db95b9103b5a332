// SPDX-License-Identifier: Apache-2.0
//! Adapts to the request limit of a host, which is known only from its refusals (429, 503 with `Retry-After`).
//! Pure: every time is the duration since the client began. (T-54)
//!
//! A refusal pauses all requests to the host, not only the one that was refused. Afterwards requests are spaced: the rate
//! is estimated from what was accepted between two refusals, lowered by each burst of refusals once, and raised slowly, so
//! that it stays just below the limit, as the congestion window of TCP does. The number of connections follows the same
//! rule, because some hosts limit these.

use std::time::Duration;

use crate::registry::limits::importance::{Importance, OPTIONAL_SHARE};

/// Longest pause that one refusal causes, however long a pause the host requests.
pub(in crate::registry) const MAX_PAUSE: Duration = Duration::from_secs(15 * 60);
/// Longest pause after a refusal that states none.
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// How far late requests may catch up with the rate, as a share of the time between two of them, and as a maximum: timers
/// and tasks are not exact.
const CATCH_UP: f64 = 0.1;
const MAX_CATCH_UP: Duration = Duration::from_millis(50);
/// By how much one accepted request raises the rate, in requests per second: at full use 0.4 % per second.
const GROWTH: f64 = 0.004;
/// After so many seconds without a refusal the rate grows twice as fast, and so on with the square of the time.
const CALM: f64 = 20.0;
/// How much faster it grows far below the last rate that was refused, and from where on.
const FAST_GROWTH: f64 = 6.0;
const FAR_BELOW: f64 = 0.85;
/// Higher rates are not limited, in requests per second.
const MAX_RATE: f64 = 1000.0;
/// The lowest rate, in requests per second.
const MIN_RATE: f64 = 0.2;
/// The lowest rate after the first refusal: what came before it may have been few requests because few were needed.
const MIN_FIRST_RATE: f64 = 10.0;
/// Share of the rate that stays when it was nearly right, and when it was far too high.
const GENTLE: f64 = 0.9;
const STRONG: f64 = 0.5;
/// How far above the rate that was accepted in the long run a rate may be to count as nearly right, and how far it may
/// stay above it.
const NEAR: f64 = 2.5;
const FAR: f64 = 4.0;

/// What was accepted since the last burst of refusals.
#[derive(Debug, Clone, Copy, Default)]
struct Epoch {
    /// When that burst was; `None` before the first.
    limited: Option<Duration>,
    /// The first request since.
    resumed: Option<Duration>,
    accepted: u32,
}

/// What is known about the limit of one host.
#[derive(Debug)]
pub(in crate::registry) struct HostLimit {
    max_connections: f64,
    connections: f64,
    /// Before this no request starts.
    not_before: Duration,
    /// Requests per second; `None` if no limit was detected.
    rate: Option<f64>,
    /// The rate that was refused last.
    refused_rate: f64,
    /// When the next request may start by the rate.
    next: Duration,
    epoch: Epoch,
    /// Bursts of refusals without an accepted request in between.
    refusals: u32,
}

impl HostLimit {
    pub(in crate::registry) fn new(max_connections: usize) -> Self {
        let connections = max_connections.clamp(1, 1 << 16) as f64;
        Self {
            max_connections: connections,
            connections,
            not_before: Duration::ZERO,
            rate: None,
            refused_rate: MAX_RATE,
            next: Duration::ZERO,
            epoch: Epoch::default(),
            refusals: 0,
        }
    }

    /// How many requests may be under way at once.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 65536")]
    pub(in crate::registry) fn connections(&self) -> usize {
        self.connections as usize
    }

    /// Starts a request, or returns how long to wait before the next call.
    pub(in crate::registry) fn start(&mut self, now: Duration) -> Result<(), Duration> {
        let due = if self.rate.is_some() { self.next.max(self.not_before) } else { self.not_before };
        if now < due {
            return Err(due - now);
        }
        if let Some(rate) = self.rate {
            let interval = Duration::from_secs_f64(1.0 / rate.clamp(MIN_RATE, MAX_RATE));
            let catch_up = interval.mul_f64(CATCH_UP).min(MAX_CATCH_UP);
            self.next = self.next.max(now.saturating_sub(catch_up)) + interval;
        }
        self.epoch.resumed.get_or_insert(now);
        Ok(())
    }

    /// The host answered a request and did not rate-limit it.
    pub(in crate::registry) fn record_accepted(&mut self, now: Duration) {
        self.refusals = 0;
        self.epoch.accepted = self.epoch.accepted.saturating_add(1);
        self.connections = (self.connections + 1.0 / self.connections).min(self.max_connections);
        if let Some(rate) = self.rate {
            let calm = now.saturating_sub(self.not_before).as_secs_f64() / CALM;
            let growth = if rate < self.refused_rate * FAR_BELOW { GROWTH * FAST_GROWTH } else { GROWTH };
            let grown = rate + growth * calm.mul_add(calm, 1.0);
            self.rate = (grown < MAX_RATE).then_some(grown);
        }
    }

    /// How long to pause after a refusal of a request that was started at `started`; `requested` is the pause that the host
    /// requests. `base` is the first pause where it requests none, and `random` (in 0..=1) spreads clients in time.
    pub(in crate::registry) fn pause(
        &self,
        (now, started): (Duration, Duration),
        requested: Option<Duration>,
        base: Duration,
        random: f64,
    ) -> Duration {
        if let Some(requested) = requested.filter(|requested| !requested.is_zero()) {
            return requested.min(MAX_PAUSE);
        }
        if self.is_known(started) {
            return self.not_before.saturating_sub(now);
        }
        let doubled =
            base.max(Duration::from_millis(1)).saturating_mul(2_u32.saturating_pow(self.refusals.min(16)));
        doubled.min(MAX_BACKOFF).mul_f64(random.clamp(0.0, 1.0).mul_add(0.5, 0.5))
    }

    /// Whether a request that was started at this time belongs to a burst of refusals that was already counted.
    fn is_known(&self, started: Duration) -> bool {
        self.epoch.limited.is_some_and(|limited| started <= limited)
    }

    /// The host refused a request that was started at `started`; nothing starts before `until`. Returns whether this is
    /// the first refusal of its burst.
    pub(in crate::registry) fn record_refused(
        &mut self,
        now: Duration,
        started: Duration,
        until: Duration,
    ) -> bool {
        self.not_before = self.not_before.max(until);
        if self.is_known(started) {
            return false;
        }
        self.refusals = self.refusals.saturating_add(1);
        // Not below a quarter: the rate is what limits, and a long transfer holds its connection.
        self.connections = (self.connections / 2.0).max(self.max_connections / 4.0).max(1.0);
        self.rate = self.lower_rate(now);
        self.next = self.not_before;
        self.epoch = Epoch { limited: Some(now), resumed: None, accepted: 0 };
        true
    }

    /// The rate after a burst of refusals.
    fn lower_rate(&mut self, now: Duration) -> Option<f64> {
        let since = |then: Duration| now.saturating_sub(then).as_secs_f64().max(0.001);
        let Epoch { limited, resumed, accepted } = self.epoch;
        if accepted == 0 {
            // The pause was too short; that says nothing about the rate.
            return self.rate;
        }
        let rate = self.rate.unwrap_or_else(|| f64::from(accepted) / since(resumed.unwrap_or(now)));
        self.refused_rate = rate;
        // With its pause the time from one refusal to the next is what the accepted requests took by the host's count.
        let lowered = match limited {
            None => (rate * STRONG).max(MIN_FIRST_RATE),
            Some(limited) => {
                let accepted = f64::from(accepted) / since(limited);
                let share = if rate < accepted * NEAR { GENTLE } else { STRONG };
                (rate * share).min(accepted * FAR).max(accepted)
            }
        };
        Some(lowered.clamp(MIN_RATE, MAX_RATE))
    }
}

/// The pauses of a client: all hosts together, where they overlap counted once.
#[derive(Debug, Default)]
pub(in crate::registry) struct Pauses {
    until: Duration,
    total: Duration,
    /// Those for optional requests.
    optional: Duration,
}

impl Pauses {
    /// Pauses from `now` for `wait`, unless all pauses together would be longer than `max` with one of the length that the
    /// host requests: a shorter one would be useless. Those for optional requests have a share of `max` only.
    pub(in crate::registry) fn grant(
        &mut self,
        now: Duration,
        (wait, requested): (Duration, Duration),
        max: Duration,
        importance: Importance,
    ) -> bool {
        let until = self.until.max(now);
        let added = |length: Duration| now.saturating_add(length).saturating_sub(until);
        let once = importance == Importance::OptionalOnce;
        if once || added(requested) > self.left(max, importance) {
            return false;
        }
        self.total = self.total.saturating_add(added(wait));
        if importance.is_optional() {
            self.optional = self.optional.saturating_add(added(wait));
        }
        self.until = self.until.max(now.saturating_add(wait));
        true
    }

    /// How much longer may be paused where all of it may be `max`.
    pub(in crate::registry) fn left(&self, max: Duration, importance: Importance) -> Duration {
        let left = max.saturating_sub(self.total);
        let share = (max / OPTIONAL_SHARE).saturating_sub(self.optional);
        if importance.is_optional() { left.min(share) } else { left }
    }

    /// How long all of them were so far, those under way included.
    pub(in crate::registry) const fn total(&self) -> Duration {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::limits::hosts::CONNECTIONS;

    const MS: Duration = Duration::from_millis(1);

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// How a host limits requests.
    #[derive(Debug, Clone, Copy)]
    enum Host {
        /// `rate` per second on average, `burst` at once.
        Bucket { rate: f64, burst: f64 },
        /// So many in each window of so many seconds.
        Window { quota: u32, seconds: f64 },
    }

    /// Whether its refusals have `Retry-After`.
    #[derive(Debug, Clone, Copy)]
    enum RetryAfter {
        Absent,
        /// Whole seconds, rounded up.
        Seconds,
    }

    struct Server {
        host: Host,
        tokens: f64,
        at: Duration,
    }

    impl Server {
        fn new(host: Host) -> Self {
            let tokens = match host {
                Host::Bucket { burst, .. } => burst,
                Host::Window { quota, .. } => f64::from(quota),
            };
            Self { host, tokens, at: Duration::ZERO }
        }

        /// Accepts a request, or says how long it takes until it would.
        fn take(&mut self, now: Duration) -> Result<(), Duration> {
            let passed = now.saturating_sub(self.at).as_secs_f64();
            let missing = match self.host {
                Host::Bucket { rate, burst } => {
                    self.tokens = (self.tokens + passed * rate).min(burst);
                    self.at = now;
                    (1.0 - self.tokens) / rate
                }
                Host::Window { quota, seconds } => {
                    let windows = (passed / seconds).floor();
                    if windows >= 1.0 {
                        self.tokens = f64::from(quota);
                        self.at += secs(windows * seconds);
                    }
                    self.at.as_secs_f64() + seconds - now.as_secs_f64()
                }
            };
            if self.tokens >= 1.0 {
                self.tokens -= 1.0;
                return Ok(());
            }
            Err(secs(missing.max(0.0)))
        }

        fn rate(&self) -> f64 {
            match self.host {
                Host::Bucket { rate, .. } => rate,
                Host::Window { quota, seconds } => f64::from(quota) / seconds,
            }
        }
    }

    /// Sends `count` requests over the usual number of connections with a round trip of 20 ms. Returns the time and the
    /// number of refusals.
    fn run(host: Host, says: RetryAfter, count: u32) -> (f64, u32) {
        let (mut limit, mut server) = (HostLimit::new(CONNECTIONS), Server::new(host));
        // When each connection does something next, and the start of the request that is answered then.
        let mut connections = vec![(Duration::ZERO, None::<Duration>); CONNECTIONS];
        let (mut done, mut refused) = (0, 0);
        loop {
            let open = connections.iter().filter(|(_, started)| started.is_some()).count();
            let index = (0..connections.len()).min_by_key(|index| connections[*index]).unwrap_or(0);
            let (now, started) = connections[index];
            let Some(started) = started else {
                // A connection that is one too many asks again later.
                connections[index] = if open >= limit.connections() {
                    (now + MS, None)
                } else {
                    match limit.start(now) {
                        Ok(()) => (now + 20 * MS, Some(now)),
                        Err(wait) => (now + wait.max(MS), None),
                    }
                };
                continue;
            };
            connections[index] = (now, None);
            match server.take(started + 10 * MS) {
                Ok(()) => {
                    limit.record_accepted(now);
                    done += 1;
                    if done == count {
                        return (now.as_secs_f64(), refused);
                    }
                }
                Err(missing) => {
                    refused += 1;
                    let requested = match says {
                        RetryAfter::Absent => None,
                        RetryAfter::Seconds => Some(secs(missing.as_secs_f64().ceil().max(1.0))),
                    };
                    let pause = limit.pause((now, started), requested, 500 * MS, 0.5);
                    limit.record_refused(now, started, now + pause);
                }
            }
        }
    }

    #[test]
    fn t54_requests_use_the_limit_of_a_host_and_rarely_exceed_it() {
        let bucket = |rate, burst| Host::Bucket { rate, burst };
        let window = |quota, seconds| Host::Window { quota, seconds };
        for host in [
            bucket(10.0, 1.0),
            bucket(10.0, 3.0),
            bucket(10.0, 10.0),
            bucket(10.0, 20.0),
            bucket(10.0, 100.0),
            bucket(2.0, 5.0),
            bucket(20.0, 20.0),
            bucket(50.0, 50.0),
            bucket(100.0, 200.0),
            window(10, 1.0),
            window(100, 10.0),
            window(600, 60.0),
        ] {
            for says in [RetryAfter::Seconds, RetryAfter::Absent] {
                let rate = Server::new(host).rate();
                let count = 2000;
                let (took, refused) = run(host, says, count);
                let least = f64::from(count) / rate;
                assert!(took <= least * 1.2, "{host:?} {says:?}: {took:.1} s instead of {least:.1} s");
                assert!(refused <= count / 10, "{host:?} {says:?}: {refused} refusals");
            }
        }
    }

    #[test]
    fn t54_a_host_without_a_limit_is_not_slowed_down() {
        let (took, refused) = run(Host::Bucket { rate: 1e6, burst: 1e6 }, RetryAfter::Seconds, 8000);
        assert!(took <= 8000.0 / CONNECTIONS as f64 * 0.021, "{took}");
        assert_eq!(refused, 0);
    }

    #[test]
    fn t54_a_refusal_pauses_everything_and_a_burst_of_them_counts_once() {
        let mut limit = HostLimit::new(16);
        for start in 0..16 {
            limit.start(start * MS).unwrap_or_default();
        }
        for _ in 0..6 {
            limit.record_accepted(20 * MS);
        }
        let until = |seconds| 21 * MS + secs(seconds);
        assert!(limit.record_refused(21 * MS, 5 * MS, until(2.0)));
        let (rate, connections) = (limit.rate, limit.connections());
        assert_eq!(connections, 8);
        for start in 6..16 {
            assert!(!limit.record_refused(22 * MS, start * MS, until(1.0)), "of the same burst");
        }
        assert_eq!((limit.rate, limit.connections()), (rate, connections));
        assert_eq!(limit.start(until(1.5)), Err(secs(0.5)));
        assert_eq!(limit.start(until(2.0)), Ok(()));
        assert!(limit.start(until(2.0)).is_err(), "requests are spaced from now on");
    }

    #[test]
    fn t54_pauses_are_what_the_host_asks_for_or_double_and_are_never_long() {
        let mut limit = HostLimit::new(4);
        let pause = |limit: &HostLimit, now, requested| {
            limit.pause((now, now), requested, secs(0.5), 1.0).as_secs_f64()
        };
        assert!((pause(&limit, secs(1.0), Some(secs(7.0))) - 7.0).abs() < 1e-9);
        assert!((pause(&limit, secs(1.0), Some(secs(86400.0))) - 900.0).abs() < 1e-9);
        let mut now = secs(1.0);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let wait = pause(&limit, now, None);
            pauses.push(wait);
            limit.record_refused(now, now, now + secs(wait));
            now += secs(wait) + MS;
        }
        assert_eq!(pauses, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
        limit.record_accepted(now);
        assert!(
            (pause(&limit, now, Some(Duration::ZERO)) - 0.5).abs() < 1e-9,
            "nothing asked for is no pause stated"
        );
    }

    #[test]
    fn t54_pauses_together_are_bounded_and_those_at_the_same_time_count_once() {
        let mut pauses = Pauses::default();
        let mut grant = |now, wait, requested| {
            pauses.grant(secs(now), (secs(wait), secs(requested)), secs(15.0), Importance::Required)
        };
        assert!(grant(0.0, 10.0, 10.0));
        assert!(grant(5.0, 5.0, 5.0), "another host at the same time");
        assert!(grant(8.0, 4.0, 4.0));
        assert!(!grant(20.0, 4.0, 4.0), "12 of 15 s are spent");
        assert!(!grant(20.0, 3.0, 4.0), "a shorter pause than the host asks for is in vain");
        assert!(grant(20.0, 3.0, 3.0));
        assert_eq!(pauses.total(), secs(15.0));
    }
}
