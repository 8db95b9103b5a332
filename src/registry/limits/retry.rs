// SPDX-License-Identifier: Apache-2.0
//! What is tried again, when, and when no more.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};
use jiff::Timestamp;

use crate::oci::reference::RegistryHost;
use crate::registry::client::Inner;
use crate::registry::failure::error::RegistryError;
use crate::registry::failure::outcome::Failure;

/// What is tried again, and how often.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Tries of one request, the first included. Progress inside a blob begins the count again.
    pub attempts: u32,
    /// The first wait; each further one is twice as long.
    pub base: Duration,
    /// The longest wait.
    pub max: Duration,
    /// Whether a wait is a random part of its length, so that many clients do not come back at once.
    pub jitter: bool,
    /// Retries of the whole run, all requests together, without those after progress inside a blob and those after a
    /// pause for a limit of requests.
    pub budget: u32,
    /// How long all pauses together may be after refusals for a limit of requests (429, 503 with `Retry-After`). A longer
    /// one ends the request with [`RegistryError::RateLimited`] at once.
    pub max_wait: Duration,
}

/// Part of [`RetryPolicy::budget`] and [`RetryPolicy::max_wait`] that all optional requests together may use: a quarter.
pub(in crate::registry) const OPTIONAL_SHARE: u32 = 4;

/// What a request may use of the retries and pauses of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::registry) enum Importance {
    /// An image needs it: all of them.
    Required,
    /// It is for what an image can do without: [`OPTIONAL_SHARE`] of them. Its pauses count as tries.
    Optional,
    /// The same after another one has failed in spite of retries: none of them.
    OptionalOnce,
}

impl Importance {
    pub(in crate::registry) const fn is_optional(self) -> bool {
        !matches!(self, Self::Required)
    }
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
    fn wait(&self, failed: u32, random: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(failed.saturating_sub(1).min(16));
        let longest = self.base.saturating_mul(doubled).min(self.max);
        if self.jitter { longest.mul_f64(random.clamp(0.0, 1.0)) } else { longest }
    }
}

/// Most tries that end in a new login, in a row: one without any, and one with a login that has run out.
const MAX_LOGINS: u32 = 2;

/// The retries that a run has left ([`RetryPolicy::budget`]); its clients share them.
#[derive(Debug)]
pub(in crate::registry) struct RetriesLeft {
    all: AtomicU32,
    /// The part of them for optional requests.
    optional: AtomicU32,
}

impl RetriesLeft {
    pub(in crate::registry) const fn new(budget: u32) -> Self {
        Self { all: AtomicU32::new(budget), optional: AtomicU32::new(budget / OPTIONAL_SHARE) }
    }

    /// How many there are.
    pub(in crate::registry) fn count(&self) -> u32 {
        self.all.load(Ordering::Relaxed)
    }

    /// Takes one, where there is one.
    fn take(&self, importance: Importance) -> bool {
        let take = |left: &AtomicU32| {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
        };
        let share = !importance.is_optional() || take(&self.optional);
        share && take(&self.all)
    }
}

/// Registries of which a person was told that they are not available. Many requests then fail at a time for one cause,
/// and one line for each would hide all others.
#[derive(Debug, Default)]
pub(in crate::registry) struct Told(Mutex<HashMap<(RegistryHost, String, u32), Instant>>);

impl Told {
    /// How long the same is not said again.
    const QUIET: Duration = Duration::from_secs(30);
    const MAX: usize = 256;

    /// Whether this is to be said: of one registry, one cause and one number of retries only the first of many.
    fn is_new(&self, error: &RegistryError, retry: u32, now: Instant) -> bool {
        let RegistryError::Unavailable { registry, detail, .. } = error else { return true };
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.saturating_duration_since(*at) < Self::QUIET);
        let key = (registry.clone(), detail.clone(), retry);
        if told.contains_key(&key) {
            return false;
        }
        if told.len() < Self::MAX {
            told.insert(key, now);
        }
        true
    }
}

/// Counts the tries of one request.
#[derive(Debug)]
pub(in crate::registry) struct Attempts<'a> {
    inner: &'a Inner,
    importance: Importance,
    failed: u32,
    logins: u32,
    progressed: bool,
    mismatched: bool,
}

impl<'a> Attempts<'a> {
    pub(in crate::registry) const fn new(inner: &'a Inner, importance: Importance) -> Self {
        Self { inner, importance, failed: 0, logins: 0, progressed: false, mismatched: false }
    }

    /// The try has brought the transfer on, so the next failure is a first one again.
    pub(in crate::registry) const fn progressed(&mut self) {
        self.failed = 0;
        self.logins = 0;
        self.progressed = true;
    }

    /// Waits until the next try may begin, or says why there is none.
    pub(in crate::registry) async fn after(&mut self, failure: Failure) -> Result<(), RegistryError> {
        let policy = &self.inner.options.retry;
        let (error, paused) = match failure {
            Failure::Final(error) => return Err(*error),
            Failure::LoggedIn(error) => {
                self.logins += 1;
                return if self.logins > MAX_LOGINS { Err(*error) } else { Ok(()) };
            }
            Failure::Limited { asked: true, .. } if self.importance == Importance::Required => return Ok(()),
            Failure::Limited { error, .. } => (*error, true),
            Failure::Again(error) => (*error, false),
        };
        self.failed += 1;
        if self.importance == Importance::OptionalOnce {
            return Err(error);
        }
        // Damage on the way is rare and gone with the next try; damaged content stays.
        let mismatch = matches!(error, RegistryError::Content { .. } | RegistryError::OtherDigest { .. });
        if mismatch && std::mem::replace(&mut self.mismatched, true) {
            return Err(error);
        }
        if self.failed >= policy.attempts {
            return Err(error);
        }
        // A person was told, and the next request waits for the end of the pause.
        if paused {
            return Ok(());
        }
        if !std::mem::take(&mut self.progressed) && !self.inner.retries_left.take(self.importance) {
            return Err(error);
        }
        self.inner.counters.retries.fetch_add(1, Ordering::Relaxed);
        let wait = policy.wait(self.failed, random());
        let (retry, retries) = (self.failed, policy.attempts.saturating_sub(1));
        let message = format!("{error}; retry {retry} of {retries} in {:.1} s", wait.as_secs_f64());
        if self.inner.told.is_new(&error, retry, Instant::now()) {
            self.inner.notify(&message);
        } else {
            tracing::debug!("{message}");
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// A number in 0..=1 that nobody needs to guess: spreads clients in time, guards nothing.
pub(in crate::registry) fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 32;
    f64::from(u32::try_from(bits).unwrap_or(0)) / f64::from(u32::MAX)
}

/// Numbers from here on are times of day in seconds since 1970, which some services send in place of a duration.
const UNIX_TIME: f64 = 1e9;

/// How long an answer asks to be left alone: seconds, or a date, which is compared with the answer's own `Date`
/// because the local clock may be wrong.
pub(in crate::registry) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = text(RETRY_AFTER)?;
    let date = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp());
    let now = text(DATE).and_then(date).unwrap_or_else(Timestamp::now);
    if let Some(seconds) = asked.parse::<f64>().ok().filter(|seconds| !seconds.is_nan()) {
        let past = if seconds >= UNIX_TIME { now.as_duration().as_secs_f64() } else { 0.0 };
        return Duration::try_from_secs_f64((seconds - past).max(0.0)).ok();
    }
    let until = date(asked)?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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

    #[test]
    fn t54_retry_after_is_read_as_seconds_and_as_date() {
        let headers = |asked: &str, date: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, asked.parse().unwrap());
            headers.insert(DATE, date.parse().unwrap());
            headers
        };
        let now = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(retry_after(&headers("7", now)), Some(Duration::from_secs(7)));
        let later = "Sun, 06 Nov 1994 08:50:37 GMT";
        assert_eq!(retry_after(&headers(later, now)), Some(Duration::from_secs(60)));
        assert_eq!(retry_after(&headers(now, later)), Some(Duration::ZERO));
        assert_eq!(retry_after(&headers("soon", now)), None);
        assert_eq!(retry_after(&headers("1.5", now)), Some(Duration::from_millis(1500)));
        assert_eq!(retry_after(&headers("-3", now)), Some(Duration::ZERO));
        let unix = "Sat, 21 Nov 2026 00:00:00 GMT";
        assert_eq!(retry_after(&headers("1795219260", unix)), Some(Duration::from_secs(60)), "a time of day");
        for bad in ["inf", "nan", "1e300", ""] {
            assert_eq!(retry_after(&headers(bad, now)), None, "{bad}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
