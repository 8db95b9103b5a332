// SPDX-License-Identifier: Apache-2.0
//! The limits of a run, which all of its clients share.

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::registry::limits::counters::Counters;
use crate::registry::limits::hosts::Hosts;
use crate::registry::limits::rate_limiter::RateLimiter;
use crate::registry::limits::retry::RetryBudget;

/// Bytes per second, requests per host, retries and counts of a run.
#[derive(Debug, Clone)]
pub(in crate::registry) struct RunLimits {
    pub(in crate::registry) counters: Arc<Counters>,
    pub(in crate::registry) rate_limiter: Arc<RateLimiter>,
    pub(in crate::registry) hosts: Arc<Hosts>,
    pub(in crate::registry) retry_budget: Arc<RetryBudget>,
}

impl RunLimits {
    pub(in crate::registry) fn new(
        bandwidth: Option<NonZeroU64>,
        connections_per_host: usize,
        retry_budget: u32,
    ) -> Self {
        Self {
            counters: Arc::default(),
            rate_limiter: Arc::new(RateLimiter::new(bandwidth)),
            hosts: Arc::new(Hosts::new(connections_per_host)),
            retry_budget: Arc::new(RetryBudget::new(retry_budget)),
        }
    }
}
