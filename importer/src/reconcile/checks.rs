// SPDX-License-Identifier: Apache-2.0
//! Checks of edge registries: each runs in a task of its own, so that a registry that is slow or does not answer holds up
//! neither other sets nor, for long, the reconcile that needs it. A few run for one registry at once; the other sets of it
//! are woken when it is their turn.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use krs_core::crd::reason;
use tokio::task::JoinHandle;

use super::breaker::{Breakers, LeftAlone};
use super::clients::{ClientKey, Clients, Connection};
use super::edge::{CHECK_TIMEOUT, Edge, Said};
use super::wakeups::Wakeups;
use super::{Clock, lock};
use crate::decide::{Answer, Obstacle};
use crate::demand::SetName;
use crate::remember::{Ask, is_over};
use crate::target::{Target, TargetKey};

/// Checks of one registry at the same time. The controller reconciles four times as many sets at once, so that the sets of
/// one registry never take all of that.
const SHARE: usize = 4;
/// How long a reconcile waits for its check; then it says what is known, and the end of the check has it repeated.
const WAIT: Duration = Duration::from_secs(10);
/// How long a registry may take to say that it is there.
const PING: Duration = Duration::from_secs(20);

/// How long after its start a check counts: the reconcile that its end asks for may fail, and be retried.
const MAX_AGE: Duration = CHECK_TIMEOUT.saturating_add(Duration::from_secs(120));

/// Registries that are asked, and who waits for them.
pub(super) struct Registries {
    pub(super) clients: Clients,
    pub(super) wakeups: Wakeups,
    breakers: Breakers<Connection>,
    turns: Mutex<HashMap<Connection, Turns>>,
    clock: Clock,
}

/// The sets of one registry.
#[derive(Default)]
struct Turns {
    running: usize,
    /// Sets that wait until fewer checks run.
    queue: VecDeque<SetName>,
    /// Sets that wait until the registry answers again.
    left_alone: BTreeSet<SetName>,
}

/// The right to ask a registry.
pub(super) struct Turn {
    registries: Arc<Registries>,
    connection: Connection,
}

/// Why a registry cannot be asked now.
pub(super) enum NoTurn {
    /// Other sets ask it.
    Busy,
    /// It failed too often.
    LeftAlone(LeftAlone),
}

/// A check that was started.
pub(super) struct Check {
    task: JoinHandle<Outcome>,
    key: ClientKey,
    /// When it began: what it found out was true then, whenever it is taken.
    pub(super) started: Timestamp,
    /// The request for a reconcile that the set had then.
    requested_at: Option<String>,
    progress: Arc<Progress>,
    /// Targets that a Job touched since: what the check finds out about them may be out of date.
    pub(super) stale: BTreeSet<TargetKey>,
}

#[derive(Default)]
struct Progress {
    answered: AtomicUsize,
    /// Whether the reconcile that started it went on without it.
    left: AtomicBool,
}

/// What a check found out.
pub(super) enum Outcome {
    /// The answers, perhaps not all.
    Said(Said),
    /// The registry could not be asked at all.
    Obstacle(Obstacle),
}

impl Registries {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clients: Clients::default(),
            wakeups: Wakeups::default(),
            breakers: Breakers::default(),
            turns: Mutex::default(),
            clock,
        }
    }

    /// Whether `set` may ask a registry now. If not, it is woken when it may.
    pub(super) fn turn(
        self: &Arc<Self>,
        connection: &Connection,
        set: &SetName,
        now: Timestamp,
    ) -> Result<Turn, NoTurn> {
        let mut all = lock(&self.turns);
        let turns = all.entry(connection.clone()).or_default();
        turns.queue.retain(|waiting| waiting != set);
        if turns.running >= SHARE {
            turns.queue.push_back(set.clone());
            return Err(NoTurn::Busy);
        }
        if let Err(left_alone) = self.breakers.admit(connection, now) {
            turns.left_alone.insert(set.clone());
            return Err(NoTurn::LeftAlone(left_alone));
        }
        turns.left_alone.remove(set);
        turns.running += 1;
        Ok(Turn { registries: Arc::clone(self), connection: connection.clone() })
    }

    /// Forgets sets that are gone, and clients that nobody uses.
    pub(super) fn retain(&self, is_alive: impl Fn(&SetName) -> bool) {
        lock(&self.turns).retain(|_, turns| {
            turns.queue.retain(&is_alive);
            turns.left_alone.retain(&is_alive);
            turns.running > 0 || !turns.queue.is_empty() || !turns.left_alone.is_empty()
        });
        self.clients.drop_idle((self.clock)());
    }

    fn end_turn(&self, connection: &Connection) {
        let next = {
            let mut all = lock(&self.turns);
            let Some(turns) = all.get_mut(connection) else { return };
            turns.running = turns.running.saturating_sub(1);
            let free = SHARE.saturating_sub(turns.running).min(turns.queue.len());
            turns.queue.drain(..free).collect::<Vec<_>>()
        };
        next.iter().for_each(|set| self.wakeups.wake(set));
    }

    /// Tells the breaker how a check ended.
    fn judge(&self, connection: &Connection, outcome: &Outcome) {
        let unreachable = reason::REGISTRY_UNREACHABLE;
        let failure = match outcome {
            // Nothing is known of a registry with another certificate than the set says, or at a denied address.
            Outcome::Obstacle(o)
                if matches!(o.reason, reason::TLS_FAILED | reason::DESTINATION_NOT_ALLOWED) =>
            {
                return;
            }
            Outcome::Obstacle(obstacle) => (obstacle.reason == unreachable).then_some(&obstacle.message),
            Outcome::Said(said) => {
                let failure = |answer| match answer {
                    &Answer::Failed { reason, ref message } if reason == unreachable => Some(message),
                    _ => None,
                };
                let failures = said.answers.values().map(failure).collect::<Option<Vec<_>>>();
                failures.and_then(|failures| failures.first().copied())
            }
        };
        if let Some(message) = failure {
            self.breakers.failed(connection, message, (self.clock)());
        } else if self.breakers.answered(connection) {
            let sets =
                lock(&self.turns).get_mut(connection).map(|turns| std::mem::take(&mut turns.left_alone));
            sets.iter().flatten().for_each(|set| self.wakeups.wake(set));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.registries.end_turn(&self.connection);
    }
}

impl Check {
    /// Starts, `now`, to ask `edge` about `targets` for `set`, which is reconciled again at the end if it did not wait for
    /// that.
    pub(super) fn start(
        turn: Turn,
        edge: Edge,
        key: ClientKey,
        set: SetName,
        targets: Vec<(Target, Ask)>,
        requested_at: Option<String>,
        now: Timestamp,
    ) -> Self {
        let progress = Arc::<Progress>::default();
        let reports = Arc::clone(&progress);
        let task = tokio::spawn(async move {
            let registries = Arc::clone(&turn.registries);
            let outcome = ask(&edge, &targets, &reports.answered).await;
            registries.judge(&turn.connection, &outcome);
            drop(turn);
            if reports.left.load(Ordering::Acquire) {
                registries.wakeups.wake(&set);
            }
            outcome
        });
        Self { task, key, started: now, requested_at, progress, stale: BTreeSet::new() }
    }

    /// Whether it still counts: one that ended while its set was suspended, or began before somebody asked for a reconcile
    /// (`requested_at`), says nothing of today.
    pub(super) fn counts(&self, requested_at: Option<&str>, now: Timestamp) -> bool {
        !is_over(self.started, MAX_AGE, now) && self.requested_at.as_deref() == requested_at
    }

    /// Whether it asks as the set would ask now.
    pub(super) fn is_for(&self, key: &ClientKey) -> bool {
        self.key == *key
    }

    /// What it found out; `Err` while it goes on. The reconcile that started it waits some seconds, others do not.
    pub(super) async fn outcome(mut self) -> Result<(Outcome, BTreeSet<TargetKey>), Self> {
        let wait = if self.progress.left.load(Ordering::Acquire) { Duration::ZERO } else { WAIT };
        let mut ended = tokio::time::timeout(wait, &mut self.task).await;
        if ended.is_err() {
            self.progress.left.store(true, Ordering::Release);
            // One that ended just now did not wake anybody.
            ended = tokio::time::timeout(Duration::ZERO, &mut self.task).await;
        }
        match ended {
            Ok(outcome) => {
                let stale = std::mem::take(&mut self.stale);
                // It broke off: all of it is asked again.
                Ok((outcome.unwrap_or_else(|_| Outcome::Said(Said::default())), stale))
            }
            Err(_) => Err(self),
        }
    }

    /// Whether the registry has not answered at all yet.
    pub(super) fn is_without_answer(&self) -> bool {
        self.progress.answered.load(Ordering::Relaxed) == 0
    }

    /// What a status says of a registry that has not answered yet.
    pub(super) fn no_answer(connection: &Connection) -> Obstacle {
        Obstacle {
            reason: reason::REGISTRY_UNREACHABLE,
            message: format!(
                "{} has not answered for {} s; it is still being asked",
                connection.registry,
                WAIT.as_secs()
            ),
            stalled: false,
        }
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask(edge: &Edge, targets: &[(Target, Ask)], answered: &AtomicUsize) -> Outcome {
    match tokio::time::timeout(PING, edge.reachable()).await {
        Ok(Ok(())) => {}
        Ok(Err(obstacle)) => return Outcome::Obstacle(obstacle),
        Err(_) => return Outcome::Obstacle(edge.timed_out(PING)),
    }
    Outcome::Said(edge.ask(targets, answered).await)
}

/// What a status says of a registry that is left alone. (T-135)
pub(super) fn left_alone(connection: &Connection, left: &LeftAlone) -> Obstacle {
    let until = Timestamp::from_second(left.until.as_second()).unwrap_or(left.until);
    let message = format!(
        "{} failed {} times in a row and is not asked again before {until}; the last failure: {}",
        connection.registry, left.failures, left.message
    );
    Obstacle { reason: reason::REGISTRY_BACK_OFF, message, stalled: false }
}
