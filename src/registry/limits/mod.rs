// SPDX-License-Identifier: Apache-2.0
//! The limits of a run: retries, pauses, connections and bytes per second. Uses `failure`.

pub(in crate::registry) mod counters;
pub(in crate::registry) mod host_limit;
pub(in crate::registry) mod hosts;
pub(in crate::registry) mod importance;
pub(in crate::registry) mod lane;
pub(in crate::registry) mod notifier;
pub(in crate::registry) mod policy;
pub(in crate::registry) mod rate_limiter;
pub(in crate::registry) mod retry;
pub(in crate::registry) mod retry_after;
pub(in crate::registry) mod run;
