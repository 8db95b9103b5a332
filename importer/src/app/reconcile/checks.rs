// SPDX-License-Identifier: Apache-2.0
//! Checks of edge registries: each runs in a task of its own, so that a registry that is slow or does not answer holds up
//! neither other sets nor, for long, the reconcile that needs it. A few run for one registry at once; the other sets of it
//! are woken when it is their turn.

use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use krs_core::crd::reason;
use krs_core::oci::reference::RegistryHost;
use tokio::task::JoinHandle;

use super::breaker::{Breakers, LeftAlone};
use super::clients::{ClientKey, Clients};
use super::edge::{CHECK_TIMEOUT, Edge, RegistryView};
use super::health::{Counts, Health, judge};
use super::permits::Permits;
use super::wakeups::Wakeups;
use crate::adapters::metrics::{Metrics, RegistryLabels};
use crate::engine::decide::Blocker;
use crate::engine::update_state::CheckKind;
use crate::model::clock::Clock;
use crate::model::clock::is_over;
use crate::model::required_images::SetName;
use crate::model::target::{Target, TargetKey};

/// Checks of one registry at the same time. The controller reconciles four times as many sets at once, so that the sets of
/// one registry never take all of that.
const SHARE: usize = 4;
/// How long a reconcile waits for its check; then it says what is known, and the end of the check has it repeated.
const WAIT: Duration = Duration::from_secs(10);
/// How long a registry may take to say that it is there.
const PING: Duration = Duration::from_secs(20);

/// How long after its start a check counts: the reconcile that its end asks for may fail, and be retried.
const MAX_AGE: Duration = CHECK_TIMEOUT.saturating_add(Duration::from_secs(120));

/// Reconciles of one namespace that wait for a check at the same time. Further ones say at once what is known: the slots of
/// the controller are for all namespaces.
const WAITERS: usize = 4;

/// Registries that are asked, and who waits for them.
pub(super) struct Registries {
    pub(super) clients: Clients,
    pub(super) wakeups: Wakeups,
    /// What nobody reaches: a host, and whether it is spoken to without TLS.
    hosts: Breakers<(RegistryHost, bool)>,
    /// What fails for those who use the same credentials and CA certificates.
    users: Breakers<ClientKey>,
    permits: Mutex<HashMap<RegistryHost, Permits>>,
    /// Reconciles that wait for a check, by namespace.
    waiters: Mutex<BTreeMap<String, usize>>,
    metrics: Metrics,
    clock: Clock,
}

/// The right to ask a registry.
pub(super) struct Turn {
    permit: Arc<Permit>,
    key: ClientKey,
}

/// One of the few permits for a registry.
struct Permit {
    registries: Arc<Registries>,
    registry: RegistryHost,
    namespace: String,
}

/// Why a registry cannot be asked now.
pub(super) enum NoTurn {
    /// Other sets ask it.
    Busy,
    /// It failed too often, or asked for a pause.
    LeftAlone(LeftAlone),
}

/// A check that was started.
pub(super) struct Check {
    task: JoinHandle<Outcome>,
    key: ClientKey,
    registries: Arc<Registries>,
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
    /// Whether all was asked; nothing but its return is left.
    ended: AtomicBool,
    /// Whether the reconcile that started it continued without it.
    left: AtomicBool,
    /// Whether a reconcile waited for it.
    waited: AtomicBool,
}

/// What a check found out.
pub(super) enum Outcome {
    /// The answers, perhaps not all.
    RegistryView(RegistryView),
    /// The registry could not be asked at all.
    Blocker(Blocker),
}

impl Registries {
    pub(super) fn new(clock: Clock, metrics: Metrics) -> Self {
        Self {
            clients: Clients::default(),
            wakeups: Wakeups::default(),
            hosts: Breakers::default(),
            users: Breakers::default(),
            permits: Mutex::default(),
            waiters: Mutex::default(),
            metrics,
            clock,
        }
    }

    /// Whether `set` may ask a registry now. If not, it is woken when it may.
    pub(super) fn turn(
        self: &Arc<Self>,
        key: &ClientKey,
        set: &SetName,
        now: Timestamp,
    ) -> Result<Turn, NoTurn> {
        let registry = &key.connection.registry;
        {
            let mut all = self.permits.lock();
            if !all.entry(registry.clone()).or_insert_with(|| Permits::new(SHARE)).take(set, now) {
                return Err(NoTurn::Busy);
            }
        }
        // From here on the permit is given back however this ends.
        let (registries, namespace) = (Arc::clone(self), key.namespace.clone());
        let permit = Arc::new(Permit { registries, registry: registry.clone(), namespace });
        self.admit(permit, key, set, now)
    }

    fn admit(
        &self,
        permit: Arc<Permit>,
        key: &ClientKey,
        set: &SetName,
        now: Timestamp,
    ) -> Result<Turn, NoTurn> {
        self.users.admit(key, set, now).map_err(NoTurn::LeftAlone)?;
        if let Err(left_alone) = self.hosts.admit(&key.host(), set, now) {
            self.wake(&self.users.record(key, Counts::Nothing, "", now));
            return Err(NoTurn::LeftAlone(left_alone));
        }
        Ok(Turn { permit, key: key.clone() })
    }

    /// Forgets sets that are gone, and what nobody uses.
    pub(super) fn retain(&self, is_alive: impl Fn(&SetName) -> bool) {
        let now = (self.clock)();
        let mut to_wake = Vec::new();
        self.permits.lock().retain(|_, permits| {
            to_wake.extend(permits.retain(&is_alive, now));
            !permits.is_idle()
        });
        self.wake(&to_wake);
        self.hosts.retain(&is_alive, now);
        self.users.retain(&is_alive, now);
        self.clients.drop_idle(now);
        self.measure();
    }

    /// Has these sets reconciled.
    pub(super) fn wake<'a>(&self, sets: impl IntoIterator<Item = &'a SetName>) {
        sets.into_iter().for_each(|set| self.wakeups.wake(set));
    }

    fn give_back(&self, permit: &Permit) {
        let to_wake = self
            .permits
            .lock()
            .get_mut(&permit.registry)
            .map(|permits| permits.give_back(&permit.namespace, (self.clock)()));
        self.wake(to_wake.iter().flatten());
    }

    /// Shows which registries are left alone.
    fn measure(&self) {
        self.metrics.show_left_alone(|| {
            let hosts = self.hosts.open().into_iter().map(|(registry, _)| (registry, String::new()));
            let users = self.users.open().into_iter().map(|key| (key.connection.registry, key.namespace));
            let labels = hosts.chain(users);
            labels
                .map(|(registry, namespace)| RegistryLabels { registry: registry.to_string(), namespace })
                .collect()
        });
    }

    /// The right of one more reconcile of a namespace to wait for a check.
    fn waiter(&self, namespace: &str) -> Option<Waiter<'_>> {
        let mut waiters = self.waiters.lock();
        let count = waiters.entry(namespace.to_owned()).or_default();
        if *count >= WAITERS {
            return None;
        }
        *count += 1;
        Some(Waiter { registries: self, namespace: namespace.to_owned() })
    }
}

struct Waiter<'a> {
    registries: &'a Registries,
    namespace: String,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waiters = self.registries.waiters.lock();
        if let Some(count) = waiters.get_mut(&self.namespace) {
            *count = count.saturating_sub(1);
        }
        waiters.retain(|_, count| *count > 0);
    }
}

impl Turn {
    /// The right to ask the same registry with other credentials, too. A set that needed a permit for each of them would wait
    /// for itself, and be woken by itself, again and again.
    pub(super) fn also(&self, key: &ClientKey, set: &SetName, now: Timestamp) -> Result<Self, NoTurn> {
        self.permit.registries.admit(Arc::clone(&self.permit), key, set, now)
    }

    /// Tells the circuit breakers what the requests said about the registry: the one that reached it, and those about images.
    pub(super) fn judge(&self, reached: Health, images: Option<Health>, message: &str) {
        let registries = &self.permit.registries;
        let now = (registries.clock)();
        let (host, own) = judge(reached, images);
        let mut woken = registries.hosts.record(&self.key.host(), host, message, now);
        woken.extend(registries.users.record(&self.key, own, message, now));
        registries.measure();
        registries.wake(&woken);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.registries.give_back(self);
    }
}

impl Progress {
    /// The end of the check. Answers whether its set is to be woken, because nobody waits for it.
    fn end(&self) -> bool {
        self.ended.store(true, Ordering::SeqCst);
        self.left.load(Ordering::SeqCst)
    }

    /// The reconcile continues without it. Answers whether it has just ended, and wakes nobody.
    fn leave(&self) -> bool {
        self.left.store(true, Ordering::SeqCst);
        self.ended.load(Ordering::SeqCst)
    }
}

impl Check {
    /// Starts, `now`, to ask `edge` about the `lists` of targets ([`Edge::ask`]) for `set`, which is reconciled again at
    /// the end if it did not wait for that.
    pub(super) fn start(
        turn: Turn,
        edge: Edge,
        key: ClientKey,
        set: SetName,
        lists: Vec<Vec<(Target, CheckKind)>>,
        requested_at: Option<String>,
        now: Timestamp,
    ) -> Self {
        let progress = Arc::<Progress>::default();
        let reports = Arc::clone(&progress);
        let registries = Arc::clone(&turn.permit.registries);
        let wakeups = Arc::clone(&registries);
        let task = tokio::spawn(async move {
            let outcome = check_targets(&edge, &lists, &reports.answered, &turn).await;
            drop(turn);
            if reports.end() {
                wakeups.wakeups.wake(&set);
            }
            outcome
        });
        Self { task, key, registries, started: now, requested_at, progress, stale: BTreeSet::new() }
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

    /// What it found out; `Err` while it continues. The reconcile that started it waits some seconds, others do not.
    pub(super) async fn outcome(mut self) -> Result<(Outcome, BTreeSet<TargetKey>), Self> {
        let registries = Arc::clone(&self.registries);
        let waiter = if self.progress.left.load(Ordering::SeqCst) {
            None
        } else {
            registries.waiter(&self.key.namespace)
        };
        let wait = if waiter.is_some() { WAIT } else { Duration::ZERO };
        let mut ended = tokio::time::timeout(wait, &mut self.task).await;
        self.progress.waited.fetch_or(waiter.is_some(), Ordering::Relaxed);
        drop(waiter);
        if ended.is_err() && self.progress.leave() {
            ended = Ok((&mut self.task).await);
        }
        match ended {
            Ok(outcome) => {
                let stale = std::mem::take(&mut self.stale);
                // It broke off: all of it is asked again.
                Ok((outcome.unwrap_or_else(|_| Outcome::RegistryView(RegistryView::default())), stale))
            }
            Err(_) => Err(self),
        }
    }

    /// Whether the registry has not answered at all while a reconcile waited for it.
    pub(super) fn is_without_answer(&self) -> bool {
        self.progress.answered.load(Ordering::Relaxed) == 0 && self.progress.waited.load(Ordering::Relaxed)
    }

    /// What a status says of a registry that has not answered yet.
    pub(super) fn no_answer(registry: &RegistryHost) -> Blocker {
        Blocker {
            reason: reason::REGISTRY_UNREACHABLE,
            message: format!(
                "{registry} has not answered for {} s; the request is still running",
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

async fn check_targets(
    edge: &Edge,
    lists: &[Vec<(Target, CheckKind)>],
    answered: &AtomicUsize,
    turn: &Turn,
) -> Outcome {
    let reached = tokio::time::timeout(PING, edge.reachable()).await;
    if let Err((blocker, health)) = reached.unwrap_or_else(|_| Err((edge.timed_out(PING), Health::NoAnswer)))
    {
        turn.judge(health, None, &blocker.message);
        return Outcome::Blocker(blocker);
    }
    let (view, health, message) = edge.check_targets(lists, answered).await;
    turn.judge(Health::Answered, Some(health), &message);
    Outcome::RegistryView(view)
}

/// What a status says of a registry that is left alone. (T-135)
pub(super) fn left_alone(registry: &RegistryHost, left: &LeftAlone) -> Blocker {
    let until = Timestamp::from_second(left.until.as_second()).unwrap_or(left.until);
    let why = match left.failures {
        0 => "asked for a pause".to_owned(),
        failures => format!("failed {failures} times in a row"),
    };
    let message =
        format!("{registry} {why} and is not asked again before {until}; the last failure: {}", left.message);
    Blocker { reason: reason::REGISTRY_BACK_OFF, message, stalled: false }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::clients;
    use super::*;

    fn registries() -> Arc<Registries> {
        Arc::new(Registries::new(Arc::new(Timestamp::now), Metrics::new().0))
    }

    fn key(namespace: &str, secret: &str) -> ClientKey {
        clients::tests::key(namespace, secret, "1")
    }

    fn set(name: &str) -> SetName {
        SetName { namespace: "shop".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn a_set_with_many_credentials_for_a_registry_takes_one_permit_and_does_not_wait_for_itself() {
        let (registries, now) = (registries(), Timestamp::now());
        let turn = registries.turn(&key("shop", "0"), &set("a"), now).ok().unwrap();
        let more = (1..10).map(|n| turn.also(&key("shop", &n.to_string()), &set("a"), now).ok().unwrap());
        let more = more.collect::<Vec<_>>();
        drop(turn);
        // One is kept for other namespaces.
        let others = ["b", "c", "d"].map(|name| registries.turn(&key("shop", "0"), &set(name), now));
        assert_eq!(others.iter().filter(|turn| turn.is_ok()).count(), SHARE - 2, "it is held until all end");
        drop((more, others));
        registries.retain(|_| false);
        assert!(registries.permits.lock().is_empty());
    }

    #[test]
    fn a_registry_that_is_left_alone_is_shown_without_a_gap_until_it_answers() {
        let (registries, now) = (registries(), Timestamp::now());
        let host = (key("shop", "0").connection.registry, false);
        let labels = RegistryLabels { registry: host.0.to_string(), namespace: String::new() };
        for _ in 0..super::super::breaker::THRESHOLD {
            registries.hosts.record(&host, Counts::Failed, "no answer", now);
        }
        registries.measure();
        let gauge = registries.metrics.registry_back_off.get_or_create(&labels).clone();
        assert_eq!(gauge.get(), 1);
        registries.measure();
        gauge.set(7);
        let shown = || registries.metrics.registry_back_off.get_or_create(&labels).get();
        assert_eq!(shown(), 7, "it was not removed and shown again");
        registries.hosts.record(&host, Counts::Answered, "", now);
        registries.measure();
        assert_eq!(shown(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_ends_while_its_reconcile_gives_up_is_taken_for_nobody_is_woken() {
        let progress = Arc::<Progress>::default();
        let ending = Arc::clone(&progress);
        let task = tokio::spawn(async move {
            tokio::time::sleep(WAIT / 2).await;
            assert!(!ending.end(), "the reconcile waits");
            // The thread that runs it is interrupted.
            tokio::time::sleep(WAIT).await;
            Outcome::RegistryView(RegistryView::default())
        });
        let (registries, key) = (registries(), key("shop", "0"));
        let (started, requested_at, stale) = (Timestamp::now(), None, BTreeSet::new());
        let check = Check { task, key, registries, started, requested_at, progress, stale };
        assert!(check.outcome().await.is_ok());
    }
}
