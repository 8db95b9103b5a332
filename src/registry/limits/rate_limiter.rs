// SPDX-License-Identifier: Apache-2.0
//! How fast bytes may pass: one token bucket for all bodies of a client, in both directions.

use std::num::NonZeroU64;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::registry::transport::exchange::lock;

/// How long a client that was silent may make up for it: what it saves of its rate, at most.
const BURST: Duration = Duration::from_millis(100);
/// Parts of a second in which a body is sent, so that many transfers share the rate evenly.
const PIECES: u64 = 50;
/// Smallest piece of a body, in bytes.
const LEAST_PIECE: u64 = 1 << 10;

/// The bucket, as the time at which all that has passed would have passed at the rate.
#[derive(Debug)]
struct Bucket {
    rate: NonZeroU64,
    /// Since the beginning.
    due: Duration,
}

impl Bucket {
    /// `bytes` pass; how long nothing else may. Pure: `now` is the time since the beginning.
    fn take(&mut self, now: Duration, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate.get());
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.due = self.due.max(now.saturating_sub(BURST)).saturating_add(cost);
        self.due.saturating_sub(now)
    }
}

/// The limit of a client, where it has one.
#[derive(Debug)]
pub(in crate::registry) struct Pace {
    bucket: Option<Mutex<Bucket>>,
    begun: Instant,
}

impl Pace {
    /// At most `rate` bytes in a second.
    pub(in crate::registry) fn new(rate: Option<NonZeroU64>) -> Self {
        let bucket = rate.map(|rate| Mutex::new(Bucket { rate, due: Duration::ZERO }));
        Self { bucket, begun: Instant::now() }
    }

    /// `bytes` pass; how long to wait for it.
    pub(in crate::registry) fn take(&self, bytes: u64) -> Duration {
        let Some(bucket) = &self.bucket else { return Duration::ZERO };
        let mut bucket = lock(bucket);
        // Read under the lock, so that time only goes forward.
        bucket.take(self.begun.elapsed(), bytes)
    }

    /// Waits until `bytes` have passed.
    pub(in crate::registry) async fn pass(&self, bytes: u64) {
        let wait = self.take(bytes);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// How much of a body is sent at once, where `most` are sent without a limit.
    pub(in crate::registry) fn piece(&self, most: usize) -> usize {
        let Some(bucket) = &self.bucket else { return most };
        let piece = (lock(bucket).rate.get() / PIECES).max(LEAST_PIECE);
        usize::try_from(piece).unwrap_or(most).min(most)
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
        // Who waits as told never waits for more than its own piece.
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
        let none = Pace::new(None);
        assert_eq!((none.take(u64::MAX), none.piece(7)), (Duration::ZERO, 7));
        let pace = |rate| Pace::new(NonZeroU64::new(rate));
        assert_eq!([pace(1).piece(1 << 20), pace(500_000).piece(1 << 20)], [1024, 10_000]);
        assert_eq!(pace(u64::MAX).piece(1 << 18), 1 << 18);
    }
}
