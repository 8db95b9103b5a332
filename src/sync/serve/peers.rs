// SPDX-License-Identifier: Apache-2.0
//! Counts the connections of each address. One address cannot use up those of the others: it has a limit, and while there
//! are no connections left, the address with the most loses an idle one to an address with fewer. (T-193)

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::task::AbortHandle;

use super::stall_timeout::LastRead;

/// How long a peer reads nothing before its connection counts as idle.
const IDLE: Duration = Duration::from_secs(2);
/// How long a connection has for its first request with valid credentials before another one may replace it.
const UNKNOWN: Duration = Duration::from_secs(2);

/// The connections of each address.
#[derive(Debug, Clone, Default)]
pub(super) struct Peers(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// In the order in which they began.
    peers: HashMap<IpAddr, BTreeMap<u64, Connection>>,
}

/// A connection that is open.
#[derive(Debug)]
struct Connection {
    taken: LastRead,
    began: Instant,
    /// Whether a request of it had valid credentials.
    authenticated: Arc<AtomicBool>,
    /// Once it is served.
    task: Option<AbortHandle>,
}

/// A counted connection, until this is dropped.
#[derive(Debug)]
pub(super) struct CountedConnection {
    peers: Peers,
    address: IpAddr,
    number: u64,
}

impl Peers {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Counts one more connection, unless the address has `max`.
    pub(super) fn count(
        &self,
        address: IpAddr,
        max: usize,
        taken: LastRead,
        authenticated: Arc<AtomicBool>,
    ) -> Option<CountedConnection> {
        let mut state = self.state();
        let number = state.next;
        let connections = state.peers.entry(address).or_default();
        if connections.len() >= max {
            return None;
        }
        let began = Instant::now();
        connections.insert(number, Connection { taken, began, authenticated, task: None });
        state.next += 1;
        Some(CountedConnection { peers: self.clone(), address, number })
    }

    /// Closes one connection for `address`: the oldest one that never authenticated of the address that has most of these, so
    /// that clients without credentials do not block others (T-223); else an idle one.
    pub(super) fn close_one_for(&self, address: IpAddr, now: Instant) {
        if !self.close_unauthenticated_for(address, now) {
            self.close_idle_for(address, now);
        }
    }

    fn close_unauthenticated_for(&self, address: IpAddr, now: Instant) -> bool {
        let state = self.state();
        let is_unknown = |connection: &&Connection| !connection.authenticated.load(Ordering::Relaxed);
        let unknown =
            |connections: &BTreeMap<u64, Connection>| connections.values().filter(is_unknown).count();
        let own = state.peers.get(&address).map_or(0, unknown);
        let others = state.peers.values().filter_map(|connections| {
            let mut old = connections.values().filter(is_unknown);
            let old = old.find(|connection| now.saturating_duration_since(connection.began) >= UNKNOWN)?;
            Some((unknown(connections), old.task.as_ref()?))
        });
        let most = others.filter(|(count, _)| *count > own).max_by_key(|(count, _)| *count);
        if let Some((_, task)) = most {
            task.abort();
        }
        most.is_some()
    }

    /// Closes a connection that is idle at `now`, of the address that has the most, unless closing one would leave it with
    /// fewer than `address` has.
    fn close_idle_for(&self, address: IpAddr, now: Instant) {
        let state = self.state();
        let own = state.peers.get(&address).map_or(0, BTreeMap::len);
        let is_idle = |connection: &Connection| now.saturating_duration_since(connection.taken.get()) >= IDLE;
        let idle =
            state.peers.values().filter(|connections| connections.len() > own).filter_map(|connections| {
                let idle = connections.values().filter(|connection| is_idle(connection));
                Some((connections.len(), idle.filter_map(|connection| connection.task.as_ref()).next()?))
            });
        if let Some((_, task)) = idle.max_by_key(|(count, _)| *count) {
            task.abort();
        }
    }
}

impl CountedConnection {
    /// What ends it.
    pub(super) fn served_by(&self, task: AbortHandle) {
        let mut state = self.peers.state();
        let connections = state.peers.get_mut(&self.address);
        if let Some(connection) = connections.and_then(|connections| connections.get_mut(&self.number)) {
            connection.task = Some(task);
        }
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        let mut state = self.peers.state();
        if let Some(connections) = state.peers.get_mut(&self.address) {
            connections.remove(&self.number);
            if connections.is_empty() {
                state.peers.remove(&self.address);
            }
        }
    }
}
