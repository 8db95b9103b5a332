// SPDX-License-Identifier: Apache-2.0
//! The limit of bytes per second: one token bucket for all bodies of a run, in both directions.

use std::num::NonZeroU64;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The longest idle time that later transfers may use up.
const BURST: Duration = Duration::from_millis(100);
/// Pieces per second of a body, so that many transfers share the rate evenly.
const PIECES: u64 = 50;
/// Smallest piece of a body, in bytes.
const MIN_PIECE: u64 = 1 << 10;

/// The bucket, as the time at which the rate has allowed all bytes so far.
#[derive(Debug)]
struct Bucket {
    rate: NonZeroU64,
    /// Since the limiter was made.
    due: Duration,
}

impl Bucket {
    /// Takes `bytes`. Returns how long to wait for them. Pure: `now` is the time since the limiter was made.
    fn take(&mut self, now: Duration, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate.get());
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.due = self.due.max(now.saturating_sub(BURST)).saturating_add(cost);
        self.due.saturating_sub(now)
    }
}

/// The limit of a run, if it has one.
#[derive(Debug)]
pub(in crate::registry) struct RateLimiter {
    bucket: Option<Mutex<Bucket>>,
    started: Instant,
}

impl RateLimiter {
    /// At most `rate` bytes per second.
    pub(in crate::registry) fn new(rate: Option<NonZeroU64>) -> Self {
        let bucket = rate.map(|rate| Mutex::new(Bucket { rate, due: Duration::ZERO }));
        Self { bucket, started: Instant::now() }
    }

    /// Takes `bytes`. Returns how long to wait for them.
    pub(in crate::registry) fn take(&self, bytes: u64) -> Duration {
        let Some(bucket) = &self.bucket else { return Duration::ZERO };
        let mut bucket = bucket.lock();
        // Read under the lock, so that time only goes forward.
        bucket.take(self.started.elapsed(), bytes)
    }

    /// Takes `bytes`, and waits for them.
    pub(in crate::registry) async fn acquire(&self, bytes: u64) {
        let wait = self.take(bytes);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// How many bytes of a body are sent at once: `max` without a limit.
    pub(in crate::registry) fn piece(&self, max: usize) -> usize {
        let Some(bucket) = &self.bucket else { return max };
        let piece = (bucket.lock().rate.get() / PIECES).max(MIN_PIECE);
        usize::try_from(piece).unwrap_or(max).min(max)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn bucket(rate: u64) -> Bucket {
        Bucket { rate: NonZeroU64::new(rate).unwrap(), due: Duration::ZERO }
    }

    #[test]
    fn what_passes_takes_as_long_as_the_rate_says_however_it_is_cut() {
        for pieces in [[1_000_000, 0, 0], [1, 999_998, 1], [400_000, 400_000, 200_000]] {
            let mut bucket = bucket(500_000);
            let waits = pieces.map(|bytes| bucket.take(Duration::ZERO, bytes));
            assert_eq!(waits[2], Duration::from_secs(2), "{pieces:?}");
        }
        // A caller that waits as told never waits for more than its own piece.
        let (mut bucket, mut now) = (bucket(1_000_000), Duration::ZERO);
        for _ in 0..1000 {
            let wait = bucket.take(now, 10_000);
            assert_eq!(wait, Duration::from_millis(10));
            now += wait;
        }
        assert_eq!(now, Duration::from_secs(10));
    }

    #[test]
    fn a_pause_saves_up_a_tenth_of_a_second_and_no_more() {
        let mut bucket = bucket(1_000_000);
        let later = Duration::from_secs(3600);
        assert_eq!(bucket.take(later, 100_000), Duration::ZERO);
        assert_eq!(bucket.take(later, 1_000), Duration::from_millis(1));
    }

    #[test]
    fn the_ends_of_the_scale_do_no_harm() {
        assert_eq!(bucket(1).take(Duration::ZERO, 3), Duration::from_secs(3));
        assert!(bucket(1).take(Duration::ZERO, u64::MAX) > Duration::from_secs(1 << 32));
        assert_eq!(bucket(u64::MAX).take(Duration::ZERO, 1 << 30), Duration::ZERO);
        let none = RateLimiter::new(None);
        assert_eq!((none.take(u64::MAX), none.piece(7)), (Duration::ZERO, 7));
        let limiter = |rate| RateLimiter::new(NonZeroU64::new(rate));
        assert_eq!([limiter(1).piece(1 << 20), limiter(500_000).piece(1 << 20)], [1024, 10_000]);
        assert_eq!(limiter(u64::MAX).piece(1 << 18), 1 << 18);
    }
}
