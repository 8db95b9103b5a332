// SPDX-License-Identifier: Apache-2.0
//! The hosts that a client talks to: how many requests each may have under way, and when the next may start. (T-54)

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::registry::limits::host_limit::{HostLimit, Pauses};
use crate::registry::limits::importance::Importance;
use crate::registry::limits::lane::{LANES, Lane};
use crate::registry::limits::policy::{RetryPolicy, random};
use crate::registry::limits::retry_after::retry_after;

/// Requests to one host at the same time by default. Pushing a small image takes some 30 requests of few bytes: with a
/// round trip of 50 ms, this many at once push 20 such images per second. A host that limits its requests gets fewer.
pub(in crate::registry) const CONNECTIONS: usize = 32;
/// Most hosts that are remembered: more are only possible if a registry keeps redirecting to new ones.
const MAX_HOSTS: usize = 1000;
/// Short pauses of one host are reported once in this time; pauses of at least `LONG` always.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(10);

/// The pause that a rate-limited response requests, if it states one; `None` for any other response.
fn requested_pause(status: StatusCode, headers: &HeaderMap) -> Option<Option<Duration>> {
    let requested = retry_after(headers);
    match status {
        StatusCode::TOO_MANY_REQUESTS => Some(requested),
        // Without `Retry-After` it is a failure like any other.
        StatusCode::SERVICE_UNAVAILABLE => requested.filter(|requested| !requested.is_zero()).map(Some),
        _ => None,
    }
}

/// How to treat a request that its host rate-limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::registry) enum Pause {
    /// The host is paused for this time; then the request may be sent again. `requested`: the host stated a time. `left` is
    /// how much longer the client may wait after it. `tell`: the user should be told.
    Granted { wait: Duration, requested: bool, left: Duration, tell: bool },
    /// The host requires a longer pause than the client may wait ([`RetryPolicy::max_wait`], or the part of it for optional
    /// requests).
    TooLong { requested: Duration, left: Duration },
}

#[derive(Debug)]
struct State {
    limit: HostLimit,
    /// Permits of each lane that exist, in use or not.
    permits: [usize; LANES],
    /// Requests fail at once until then.
    closed_until: Duration,
    /// When a pause was last reported.
    last_report: Option<Duration>,
}

/// One host.
#[derive(Debug)]
struct Host {
    lanes: [Arc<Semaphore>; LANES],
    state: Mutex<State>,
}

/// The permit for one request under way at a host; returned when it is dropped.
#[derive(Debug)]
pub(in crate::registry) struct Permit {
    host: Arc<Host>,
    permit: Option<OwnedSemaphorePermit>,
    lane: usize,
    /// When the request started.
    started: Duration,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.host.state.lock();
        let connections = state.limit.connections();
        let permits = state.permits.get_mut(self.lane).filter(|permits| **permits > connections);
        // There are as many relays as uploads that wait for them.
        if let Some(permits) = permits.filter(|_| self.lane != Lane::Relay as usize) {
            *permits -= 1;
            if let Some(permit) = self.permit.take() {
                permit.forget();
            }
        }
    }
}

/// Why a request may not start at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::registry) enum PermitError {
    /// The client ends.
    Client,
    /// The host requested a pause that is too long; this much of it is left.
    Paused(Duration),
}

/// All hosts of a client.
#[derive(Debug)]
pub(in crate::registry) struct Hosts {
    hosts: Mutex<HashMap<String, Arc<Host>>>,
    pauses: Mutex<Pauses>,
    start: Instant,
    max_connections: usize,
}

impl Hosts {
    pub(in crate::registry) fn new(max_connections: usize) -> Self {
        Self { hosts: Mutex::default(), pauses: Mutex::default(), start: Instant::now(), max_connections }
    }

    fn host(&self, name: &str) -> Arc<Host> {
        let mut hosts = self.hosts.lock();
        if let Some(host) = hosts.get(name) {
            return Arc::clone(host);
        }
        if hosts.len() >= MAX_HOSTS {
            hosts.retain(|_, host| Arc::strong_count(host) > 1);
        }
        let limit = HostLimit::new(self.max_connections);
        let permits = std::array::from_fn(|lane| {
            if lane == Lane::Relay as usize { Semaphore::MAX_PERMITS } else { limit.connections() }
        });
        let host = Arc::new(Host {
            lanes: permits.map(|permits| Arc::new(Semaphore::new(permits))),
            state: Mutex::new(State { limit, permits, closed_until: Duration::ZERO, last_report: None }),
        });
        hosts.insert(name.to_owned(), Arc::clone(&host));
        host
    }

    /// Waits until a request to `name` may start.
    pub(in crate::registry) async fn acquire(&self, name: &str, lane: Lane) -> Result<Permit, PermitError> {
        let (host, lane) = (self.host(name), lane as usize);
        let permits = host.lanes.get(lane).map(Arc::clone).ok_or(PermitError::Client)?;
        let permit = permits.acquire_owned().await.map_err(|_| PermitError::Client)?;
        let mut permit = Permit { host, permit: Some(permit), lane, started: Duration::ZERO };
        loop {
            let wait = {
                let mut state = permit.host.state.lock();
                let now = self.start.elapsed();
                if now < state.closed_until {
                    return Err(PermitError::Paused(state.closed_until - now));
                }
                permit.started = now;
                state.limit.start(now)
            };
            match wait {
                Ok(()) => return Ok(permit),
                // Others may have met a limit meanwhile, so it is checked again.
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// Adjusts the limit by the head of a response. `None` if the host did not rate-limit the request.
    pub(in crate::registry) fn record_response(
        &self,
        permit: &Permit,
        status: StatusCode,
        headers: &HeaderMap,
        policy: &RetryPolicy,
        importance: Importance,
    ) -> Option<Pause> {
        let mut state = permit.host.state.lock();
        let now = self.start.elapsed();
        let Some(requested) = requested_pause(status, headers) else {
            state.limit.record_accepted(now);
            let connections = state.limit.connections();
            for (permits, lane) in state.permits.iter_mut().zip(&permit.host.lanes) {
                lane.add_permits(connections.saturating_sub(*permits));
                *permits = connections.max(*permits);
            }
            return None;
        };
        let wait = state.limit.pause((now, permit.started), requested, policy.base, random());
        let has_request = requested.is_some_and(|requested| !requested.is_zero());
        let requested = requested.unwrap_or(wait).max(wait);
        let mut pauses = self.pauses.lock();
        let left = pauses.left(policy.max_wait, importance);
        if !pauses.grant(now, (wait, requested), policy.max_wait, importance) {
            // A limit of optional requests does not affect the others.
            if !importance.is_optional() {
                state.closed_until = state.closed_until.max(now.saturating_add(wait));
            }
            return Some(Pause::TooLong { requested, left });
        }
        let left = pauses.left(policy.max_wait, importance);
        drop(pauses);
        let first = state.limit.record_refused(now, permit.started, now.saturating_add(wait));
        let recent = state.last_report.is_some_and(|reported| now.saturating_sub(reported) < REPORT_INTERVAL);
        let tell = first && (!recent || wait >= LONG);
        if tell {
            state.last_report = Some(now);
        }
        Some(Pause::Granted { wait, requested: has_request, left, tell })
    }

    /// How long hosts were paused so far.
    pub(in crate::registry) fn paused(&self) -> Duration {
        self.pauses.lock().total()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn t54_fewer_requests_are_under_way_after_a_refusal_and_more_again_later() {
        let hosts = Hosts::new(8);
        let policy = RetryPolicy { base: Duration::from_millis(1), ..RetryPolicy::default() };
        let available = |lane: Lane| {
            let host = hosts.host("a.example");
            let permits = host.state.lock().permits[lane as usize];
            (permits, host.lanes[lane as usize].available_permits())
        };
        let mut permits = Vec::new();
        for _ in 0..8 {
            permits.push(hosts.acquire("a.example", Lane::Requests).await.unwrap());
        }
        let answered = |permit: &Permit, status| {
            hosts.record_response(permit, status, &HeaderMap::new(), &policy, Importance::Required)
        };
        for permit in &permits {
            assert!(matches!(answered(permit, StatusCode::TOO_MANY_REQUESTS), Some(Pause::Granted { .. })));
        }
        permits.clear();
        assert_eq!(available(Lane::Requests), (4, 4), "one burst of refusals halves them once");
        // Each request that is accepted gives a part of a connection back.
        for _ in 0..40 {
            let permit = hosts.acquire("a.example", Lane::Requests).await.unwrap();
            assert_eq!(answered(&permit, StatusCode::NOT_FOUND), None);
        }
        assert_eq!(available(Lane::Requests), (8, 8));
        assert!(!hosts.paused().is_zero());
    }
}
