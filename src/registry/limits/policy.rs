// SPDX-License-Identifier: Apache-2.0
//! How often a request is retried, and after how long. Pure but for the random number.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// What is retried, and how often.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Attempts at one request, the first included. Progress inside a blob restarts the count.
    pub attempts: u32,
    /// The first wait; each further one is twice as long.
    pub base: Duration,
    /// The longest wait.
    pub max: Duration,
    /// Whether a wait is a random part of its length, so that many clients do not retry at the same time.
    pub jitter: bool,
    /// Retries of the run, all requests together, without those after progress inside a blob and those after a
    /// pause for a limit of requests.
    pub budget: u32,
    /// How long all pauses together may be after rate-limited requests (429, 503 with `Retry-After`). A longer
    /// one ends the request with [`RegistryError::RateLimited`](crate::registry::RegistryError::RateLimited) at once.
    pub max_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 6,
            base: Duration::from_millis(500),
            max: Duration::from_secs(30),
            jitter: true,
            budget: 1000,
            max_wait: Duration::from_secs(3600),
        }
    }
}

impl RetryPolicy {
    /// How long to wait after `failed` failures in a row (1 or more); `random` lies in 0..=1.
    pub(in crate::registry) fn wait(&self, failed: u32, random: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(failed.saturating_sub(1).min(16));
        let longest = self.base.saturating_mul(doubled).min(self.max);
        if self.jitter { longest.mul_f64(random.clamp(0.0, 1.0)) } else { longest }
    }
}

/// A number in 0..=1 that spreads clients in time. It need not be hard to guess.
pub(in crate::registry) fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 32;
    f64::from(u32::try_from(bits).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread() {
        let policy = RetryPolicy { base: Duration::from_secs(1), ..RetryPolicy::default() };
        let waits = (1..=8).map(|n| policy.wait(n, 1.0).as_secs()).collect::<Vec<_>>();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(policy.wait(3, 0.5), Duration::from_secs(2));
        assert_eq!(policy.wait(u32::MAX, 2.0), Duration::from_secs(30));
        assert!((0..100).all(|_| (0.0..=1.0).contains(&random())));
    }
}
