// SPDX-License-Identifier: Apache-2.0
//! Whether a failed request is retried, and when.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::oci::reference::RegistryHost;
use crate::registry::failure::error::RegistryError;
use crate::registry::failure::outcome::Failure;
use crate::registry::limits::counters::Counters;
use crate::registry::limits::importance::{Importance, OPTIONAL_SHARE};
use crate::registry::limits::notifier::Notifier;
use crate::registry::limits::policy::{RetryPolicy, random};

/// An attempt at a transfer of this many bytes counts as progress, after which the count of attempts restarts. A server
/// that sends a byte at a time does not get endless attempts.
pub(in crate::registry) const MIN_PROGRESS: u64 = 16 << 10;

/// Most attempts in a row that end with a challenge: one without credentials, and one with a token that has expired.
const MAX_CHALLENGES: u32 = 2;

/// The retries that are left to a run ([`RetryPolicy::budget`]).
#[derive(Debug)]
pub(in crate::registry) struct RetryBudget {
    all: AtomicU32,
    /// The part of them for optional requests.
    optional: AtomicU32,
}

impl RetryBudget {
    pub(in crate::registry) const fn new(budget: u32) -> Self {
        Self { all: AtomicU32::new(budget), optional: AtomicU32::new(budget / OPTIONAL_SHARE) }
    }

    /// How many are left.
    pub(in crate::registry) fn remaining(&self) -> u32 {
        self.all.load(Ordering::Relaxed)
    }

    /// Takes one, if there is one.
    fn take(&self, importance: Importance) -> bool {
        let take = |left: &AtomicU32| {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
        };
        let share = !importance.is_optional() || take(&self.optional);
        share && take(&self.all)
    }
}

/// Registries that were reported as unavailable. Many requests then fail for one cause, and one line for each would
/// hide all other messages.
#[derive(Debug, Default)]
struct ReportedFailures(Mutex<HashMap<(RegistryHost, String, u32), Instant>>);

impl ReportedFailures {
    /// How long the same cause is not reported again.
    const QUIET: Duration = Duration::from_secs(30);
    const MAX: usize = 256;

    /// Whether to report a failure: only the first one of each registry, cause and number of retries.
    fn is_new(&self, error: &RegistryError, retry: u32, now: Instant) -> bool {
        let RegistryError::Unavailable { registry, detail, .. } = error else { return true };
        let mut reported = self.0.lock();
        reported.retain(|_, at| now.saturating_duration_since(*at) < Self::QUIET);
        let key = (registry.clone(), detail.clone(), retry);
        if reported.contains_key(&key) {
            return false;
        }
        if reported.len() < Self::MAX {
            reported.insert(key, now);
        }
        true
    }
}

/// What the retries of all requests of a client share.
#[derive(Debug)]
pub(in crate::registry) struct Retries {
    policy: RetryPolicy,
    budget: Arc<RetryBudget>,
    counters: Arc<Counters>,
    reported: ReportedFailures,
    notifier: Notifier,
}

impl Retries {
    pub(in crate::registry) fn new(
        policy: RetryPolicy,
        budget: Arc<RetryBudget>,
        counters: Arc<Counters>,
        notifier: Notifier,
    ) -> Self {
        Self { policy, budget, counters, reported: ReportedFailures::default(), notifier }
    }

    /// Counts the attempts at one request.
    pub(in crate::registry) const fn attempts(&self, importance: Importance) -> Attempts<'_> {
        Attempts { retries: self, importance, failed: 0, challenges: 0, progressed: false, mismatched: false }
    }
}

/// Counts the attempts at one request.
#[derive(Debug)]
pub(in crate::registry) struct Attempts<'a> {
    retries: &'a Retries,
    importance: Importance,
    failed: u32,
    challenges: u32,
    progressed: bool,
    mismatched: bool,
}

impl Attempts<'_> {
    /// The attempt has advanced the transfer, so the next failure counts as the first.
    pub(in crate::registry) const fn record_progress(&mut self) {
        self.failed = 0;
        self.challenges = 0;
        self.progressed = true;
    }

    /// Waits until the next attempt may start.
    ///
    /// # Errors
    /// There is none: the failure of the last one.
    pub(in crate::registry) async fn wait_after(&mut self, failure: Failure) -> Result<(), RegistryError> {
        let policy = &self.retries.policy;
        let (error, paused) = match failure {
            Failure::Final(error) => return Err(*error),
            Failure::Challenged(error) => {
                self.challenges += 1;
                return if self.challenges > MAX_CHALLENGES { Err(*error) } else { Ok(()) };
            }
            Failure::RateLimited { requested: true, .. } if self.importance == Importance::Required => {
                return Ok(());
            }
            Failure::RateLimited { error, .. } => (*error, true),
            Failure::Retryable(error) => (*error, false),
        };
        self.failed += 1;
        if self.importance == Importance::OptionalOnce {
            return Err(error);
        }
        // Damage in transit is rare and does not repeat; damaged content does.
        let mismatch = matches!(error, RegistryError::Content { .. } | RegistryError::OtherDigest { .. });
        if mismatch && std::mem::replace(&mut self.mismatched, true) {
            return Err(error);
        }
        if self.failed >= policy.attempts {
            return Err(error);
        }
        // The pause was reported, and the next request waits for the end of the pause.
        if paused {
            return Ok(());
        }
        if !std::mem::take(&mut self.progressed) && !self.retries.budget.take(self.importance) {
            return Err(error);
        }
        self.retries.counters.add_retry();
        let wait = policy.wait(self.failed, random());
        let (retry, retries) = (self.failed, policy.attempts.saturating_sub(1));
        let message = format!("{error}; retry {retry} of {retries} in {:.1} s", wait.as_secs_f64());
        if self.retries.reported.is_new(&error, retry, Instant::now()) {
            self.retries.notifier.send(&message);
        } else {
            tracing::debug!("{message}");
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }
}
