// SPDX-License-Identifier: Apache-2.0
//! Finds bundles in the drop folder, verifies and lists them. What happens to a file is decided in `entry`, what people
//! see of it in `view`; here is when.

mod cluster;
mod entry;
mod keys;
mod names;
mod namespaces;
mod pass;
mod scan;
mod streams;
mod verdict;
mod view;
mod watchdog;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use krs_core::bundle::BundleError;
use krs_core::crd::condition;
use krs_core::digest::Digest;
use kube::Api;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::MissedTickBehavior;

use crate::config::Config;
use crate::demand::Demand;
use crate::events::Events;
use crate::library::{Held, Library, ReadFault};
use crate::metrics::{Metrics, ResultLabels, StreamLabels};
use crate::stock::Stock;
use cluster::Cluster;
use entry::{Accepted, Entry, Finding, Known, Look, Rules, State};
use namespaces::Mismatches;
use pass::Pass;
use streams::{Mark, Marks};
use verdict::{Failure, Kind};
use view::{Context, Use};
use watchdog::Watchdog;

/// How long after the last byte a file is closed.
const IDLE: Duration = Duration::from_secs(2);
/// How often idle files are looked for, and progress is told.
const BEAT: Duration = Duration::from_millis(500);
/// How long to wait before sets are applied again after one could not be.
const APPLY_AGAIN: Duration = Duration::from_secs(60);

/// The intake and what it needs.
pub struct Intake {
    config: Arc<Config>,
    metrics: Metrics,
    library: Arc<Library>,
    faults: mpsc::UnboundedReceiver<ReadFault>,
    demand: watch::Receiver<Arc<Demand>>,
    stock: watch::Sender<Arc<Stock>>,
    cluster: Cluster,
    streams: Api<ConfigMap>,
    marks: Marks,
    /// Files by their path below the drop folder.
    entries: BTreeMap<Utf8PathBuf, Entry>,
    /// Folders that hang.
    watchdog: Watchdog,
    /// What keeps the drop folder from being read, in words.
    trouble: Option<String>,
    /// The keys of the last look.
    keys: Vec<String>,
    scanned: bool,
    pass: Option<Pass>,
    looking: Option<JoinHandle<Look>>,
    /// What the library was given, by manifest.
    offered: HashMap<Digest, Arc<Held>>,
    /// Withdrawn, and perhaps still read from: closed as all others.
    closing: Vec<Arc<Held>>,
    /// Manifests whose sets were applied.
    applied: BTreeSet<Digest>,
    apply_at: Option<Timestamp>,
    /// By manifest, for what the sets need now.
    mismatches: HashMap<Digest, Mismatches>,
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake").field("entries", &self.entries).finish_non_exhaustive()
    }
}

impl Intake {
    /// Nothing is read yet. `stock` is what others see.
    #[expect(clippy::too_many_arguments)]
    pub fn new(
        config: Arc<Config>,
        client: kube::Client,
        events: Events,
        metrics: Metrics,
        library: Arc<Library>,
        faults: mpsc::UnboundedReceiver<ReadFault>,
        demand: watch::Receiver<Arc<Demand>>,
        stock: watch::Sender<Arc<Stock>>,
    ) -> Self {
        let streams = Api::namespaced(client.clone(), &config.namespace);
        let cluster = Cluster::new(client, events, metrics.clone());
        Self {
            config,
            metrics,
            library,
            faults,
            demand,
            stock,
            cluster,
            streams,
            marks: Marks::new(),
            entries: BTreeMap::new(),
            watchdog: Watchdog::default(),
            trouble: None,
            keys: Vec::new(),
            scanned: false,
            pass: None,
            looking: None,
            offered: HashMap::new(),
            closing: Vec::new(),
            applied: BTreeSet::new(),
            apply_at: None,
            mismatches: HashMap::new(),
        }
    }

    /// Watches the drop folder until `stop` is done.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        tokio::select! {
            () = stop => {}
            () = self.watch() => {}
        }
    }

    async fn watch(&mut self) {
        while let Err(error) = self.load().await {
            tracing::warn!(%error, "the ImageBundles of earlier runs cannot be read; trying again");
            tokio::time::sleep(self.config.intake.scan_interval).await;
        }
        let mut scans = tokio::time::interval(self.config.intake.scan_interval);
        let mut beat = tokio::time::interval(BEAT);
        scans.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = scans.tick() => self.begin_look().await,
                look = ended(&mut self.looking) => {
                    self.looking = None;
                    match look {
                        Ok(look) => self.take_in(look),
                        Err(error) => tracing::error!(%error, "a look at the drop folder broke off"),
                    }
                }
                end = pass_ended(&mut self.pass) => self.end_pass(end),
                Some(fault) = self.faults.recv() => self.fault(&fault),
                // Without a sender the importer is stopping.
                Ok(()) = self.demand.changed() => self.mismatches.clear(),
                _ = beat.tick() => {
                    if !self.reads() {
                        continue;
                    }
                }
            }
            self.settle().await;
        }
    }

    /// Whether a medium is read or a file is open, so that time alone changes what there is to do. Else what others see
    /// is not worked out again between two looks at the folder.
    fn reads(&self) -> bool {
        let mut accepted = self.entries.values().filter_map(Entry::accepted);
        self.pass.is_some()
            || !self.closing.is_empty()
            || accepted.any(|accepted| accepted.held.bundle.is_open())
    }

    async fn load(&mut self) -> Result<(), kube::Error> {
        self.cluster.load().await?;
        for (name, written) in &self.cluster.written {
            let absent = written.status.iter().flat_map(|status| &status.conditions);
            let absent = absent.filter(|c| c.type_ == condition::COMPLETE && c.reason == view::ABSENT);
            let seen = absent.map(|c| c.last_transition_time.0).next().unwrap_or_else(Timestamp::now);
            let mut entry = Entry::new(name.clone(), seen);
            entry.earlier.clone_from(&written.status);
            self.entries.insert(written.file.clone().into(), entry);
        }
        Ok(())
    }

    /// Begins a look at the folder, unless one is under way: a medium may make it wait for long.
    async fn begin_look(&mut self) {
        if self.looking.is_some() {
            return;
        }
        match streams::read(&self.streams).await {
            Ok(marks) => {
                if marks != self.marks {
                    self.retry(|state| {
                        matches!(state, State::Refused { reason: verdict::ROLLBACK | verdict::REUSED, .. })
                    });
                }
                self.marks = marks;
            }
            // What is accepted must not depend on whether the API server answers.
            Err(error) => {
                tracing::warn!(%error, "nothing new is accepted until it can be read");
                return;
            }
        }
        let clock = Timestamp::now();
        let now = self.newest().map_or(clock, |newest| newest.max(clock));
        if self.config.enforce_expiry {
            self.retry(|state| match state {
                State::Accepted(accepted) => {
                    accepted.held.bundle.manifest().not_after.is_some_and(|end| end < now)
                }
                _ => false,
            });
        }
        let rules = Rules {
            folder: self.config.intake.folder.clone(),
            trusted_keys: self.config.trusted_keys.clone(),
            unsigned: self.config.unsigned_bundles,
            site: self.config.site.clone(),
            streams: streams::freshness(&self.marks),
            now: self.config.enforce_expiry.then_some(now),
            clock,
        };
        let known = self.entries.iter().map(|(path, entry)| {
            let again = matches!(entry.state, State::New) || entry.retry_at.is_some_and(|at| at <= clock);
            (path.clone(), Known { stamp: entry.stamp, again })
        });
        let (known, keys, watchdog) = (known.collect(), self.keys.clone(), self.watchdog.clone());
        self.looking =
            Some(tokio::task::spawn_blocking(move || entry::look(&rules, &known, &keys, &watchdog)));
    }

    /// Opens files again with the next look.
    fn retry(&mut self, which: impl Fn(&State) -> bool) {
        let now = Timestamp::now();
        for entry in self.entries.values_mut().filter(|entry| which(&entry.state)) {
            entry.retry_at = Some(now);
        }
    }

    /// The newest time that a bundle told whose signature was right. (T-30)
    fn newest(&self) -> Option<Timestamp> {
        let accepted = self.entries.values().filter_map(Entry::accepted);
        let accepted = accepted.filter(|accepted| !accepted.held.bundle.signers().is_empty());
        let marks = self.marks.values().map(|mark| mark.created_at);
        accepted.map(|accepted| accepted.stock.created_at).chain(marks).max()
    }

    fn take_in(&mut self, look: Look) {
        let now = Timestamp::now();
        self.keys = look.keys;
        let there = look.files.iter().map(|(path, ..)| path.clone()).collect::<BTreeSet<_>>();
        self.trouble = trouble(&look.hanging, &look.left_out, self.trouble.take());
        self.metrics.hanging_folders.set(i64::try_from(look.hanging.len()).unwrap_or(i64::MAX));
        let mut lost = false;
        for (path, entry) in &mut self.entries {
            let hangs = look.hanging.iter().find(|(folder, _)| {
                // Without the drop folder nothing below it can be reached either.
                folder.as_str().is_empty() || path.parent() == Some(folder.as_path())
            });
            if let (Some((folder, since)), Some(_)) = (hangs, entry.stamp) {
                entry.hangs(&hanging(folder, *since), now);
            } else if !there.contains(path) && entry.stamp.is_some() {
                entry.gone();
                lost = true;
            }
        }
        if lost {
            // What it contradicted may be right now.
            self.retry(|state| matches!(state, State::Refused { reason: verdict::REUSED, .. }));
        }
        let mut opened = Vec::new();
        for (path, stamp, finding) in look.files {
            if matches!(finding, Finding::Opened(Ok(_))) {
                opened.push(path.clone());
            }
            if !self.entries.contains_key(&path) {
                let taken = self.entries.iter().map(|(path, entry)| (entry.name.clone(), path.to_string()));
                let name = names::name(path.as_str(), &taken.collect());
                self.entries.insert(path.clone(), Entry::new(name, now));
            }
            if let Some(entry) = self.entries.get_mut(&path) {
                entry.found(stamp, finding, now);
            }
        }
        entry::refuse_reused(&mut self.entries, &opened);
        self.scanned = true;
    }

    fn end_pass(&mut self, end: Result<Result<bool, BundleError>, JoinError>) {
        let Some(pass) = self.pass.take() else { return };
        let Some(entry) = self.entries.get_mut(&pass.path) else { return };
        if entry.accepted().is_none_or(|accepted| accepted.stock.digest != pass.digest) {
            return;
        }
        match end {
            Ok(Ok(true)) => {
                (entry.proven, entry.suspect, entry.failures) = (Some(pass.digest), None, 0);
            }
            Ok(Ok(false)) => {}
            Ok(Err(error)) => {
                let Failure { kind, message, .. } = verdict::judge(&error);
                match kind {
                    Kind::Refused => entry.damaged(message),
                    Kind::Medium | Kind::Incomplete => entry.medium_failed(message, Timestamp::now()),
                }
            }
            Err(error) => entry.medium_failed(format!("the reading broke off: {error}"), Timestamp::now()),
        }
    }

    /// What a transfer found.
    fn fault(&mut self, fault: &ReadFault) {
        let Some(offered) = self.offered.get(&fault.bundle) else { return };
        let is_it = |accepted: &Accepted| Arc::ptr_eq(&accepted.held, offered);
        let entry = self.entries.values_mut().find(|entry| entry.accepted().is_some_and(is_it));
        let Some(entry) = entry else { return };
        let message = verdict::sentence(&fault.message, None);
        if fault.damaged {
            entry.damaged(message);
        } else if entry.present() {
            entry.medium_failed(message, Timestamp::now());
        }
    }

    /// Makes everything outside agree with what is known.
    async fn settle(&mut self) {
        if self.demand.has_changed().unwrap_or(false) {
            self.mismatches.clear();
        }
        let demand = self.demand.borrow_and_update().clone();
        self.offer();
        self.next_pass();
        let mut stock = entry::stock(
            &self.entries,
            &demand,
            self.config.intake.check_first,
            self.scanned,
            self.config.share_across_namespaces,
        );
        stock.trouble.clone_from(&self.trouble);
        let stock = Arc::new(stock);
        self.stock.send_if_modified(|current| {
            let changed = **current != *stock;
            if changed {
                *current = Arc::clone(&stock);
            }
            changed
        });
        if self.scanned {
            self.apply_sets().await;
            self.tell(&demand, &stock).await;
            self.forget().await;
        }
    }

    /// Gives the library what may be read from, takes back the rest, and closes files that nobody reads.
    fn offer(&mut self) {
        let mut wanted = HashMap::new();
        for entry in self.entries.values().filter(|entry| entry.present()) {
            if let Some(accepted) = entry.accepted().filter(|_| entry.ready(self.config.intake.check_first)) {
                wanted.entry(accepted.stock.digest).or_insert_with(|| Arc::clone(&accepted.held));
            }
        }
        for (digest, held) in std::mem::take(&mut self.offered) {
            if !wanted.get(&digest).is_some_and(|wanted| Arc::ptr_eq(wanted, &held)) {
                self.library.remove(&digest);
                if !self.closing.iter().any(|other| Arc::ptr_eq(other, &held)) {
                    self.closing.push(held);
                }
            }
        }
        for (digest, held) in &wanted {
            let same = self.library.get(digest).is_some_and(|old| Arc::ptr_eq(&old, held));
            if !same {
                self.library.put(Arc::clone(held));
            }
        }
        self.offered = wanted;
        for accepted in self.entries.values().filter_map(Entry::accepted) {
            accepted.held.bundle.close_if_idle(IDLE);
        }
        // Whoever still reads from one of these holds it, too.
        self.closing.retain(|held| !held.bundle.close_if_idle(IDLE) || Arc::strong_count(held) > 1);
    }

    /// One medium at a time is read to its end.
    fn next_pass(&mut self) {
        if let Some(pass) = &self.pass {
            let wanted = self.entries.get(&pass.path).filter(|entry| entry.present() && !entry.is_proven());
            let digest = wanted.and_then(Entry::accepted).map(|accepted| accepted.stock.digest);
            if digest == Some(pass.digest) {
                return;
            }
            self.pass = None;
        }
        let next = self.entries.iter().filter(|(_, entry)| entry.present() && !entry.is_proven());
        let next = next.filter_map(|(path, entry)| Some((path, entry.accepted()?))).next();
        self.pass = next.map(|(path, accepted)| Pass::start(path.clone(), Arc::clone(&accepted.held.bundle)));
    }

    /// Applies the sets of the newest bundle of each stream.
    async fn apply_sets(&mut self) {
        let now = Timestamp::now();
        if !self.config.apply_sets || self.apply_at.is_some_and(|at| now < at) {
            return;
        }
        let mut newest = BTreeMap::<_, (&Entry, &Accepted)>::new();
        for entry in self.entries.values().filter(|entry| entry.present()) {
            let Some(accepted) = entry.accepted() else { continue };
            let best = newest.entry(&accepted.stock.stream).or_insert((entry, accepted));
            if accepted.stock.sequence > best.1.stock.sequence {
                *best = (entry, accepted);
            }
        }
        let newest = newest.into_values().filter(|(entry, accepted)| {
            let digest = &accepted.stock.digest;
            entry.ready(self.config.intake.check_first)
                && !self.applied.contains(digest)
                && self.cluster.written.contains_key(&entry.name)
        });
        let due = newest
            .map(|(entry, accepted)| (entry.name.clone(), Arc::clone(&accepted.held)))
            .collect::<Vec<_>>();
        for (name, held) in due {
            if self.cluster.apply_sets(&name, &held.bundle).await {
                self.applied.insert(held.bundle.digest());
            } else {
                self.apply_at = now.checked_add(APPLY_AGAIN).ok();
            }
        }
    }

    /// Writes the marks of imported bundles, and what people see.
    async fn tell(&mut self, demand: &Demand, stock: &Stock) {
        let (now, newest) = (Timestamp::now(), self.newest());
        for accepted in self.entries.values().filter_map(Entry::accepted) {
            let found = || namespaces::mismatches(&accepted.stock, demand);
            self.mismatches.entry(accepted.stock.digest).or_insert_with(found);
        }
        let mut marks = Vec::new();
        let mut told = Vec::new();
        for (path, entry) in &self.entries {
            let usage = self.usage(entry, demand, stock);
            if let Some(accepted) = entry.accepted().filter(|_| {
                usage.imported() && entry.present() && entry.ready(self.config.intake.check_first)
            }) {
                let mark = Mark {
                    sequence: accepted.stock.sequence,
                    identity: accepted.held.bundle.identity(),
                    created_at: accepted.stock.created_at,
                };
                marks.push((accepted.stock.stream.clone(), mark));
            }
            let written = self.cluster.written.get(&entry.name);
            let bytes = self.pass.as_ref().filter(|pass| pass.path == *path).map(Pass::bytes);
            let context = Context {
                previous: written.and_then(|written| written.status.as_ref()),
                generation: written.map_or(1, |written| written.generation),
                now,
                bytes,
                newest,
                shared: self.config.share_across_namespaces,
                mismatches: entry.accepted().and_then(|held| self.mismatches.get(&held.stock.digest)),
            };
            told.push((
                entry.name.clone(),
                path.to_string(),
                view::status(entry, path.as_str(), usage, &context),
            ));
        }
        for (stream, mark) in marks {
            if streams::raises(self.marks.get(&stream), &mark) {
                if let Err(error) = streams::raise(&self.streams, &stream, &mark).await {
                    tracing::warn!(%stream, %error, "the sequence of an imported bundle could not be kept");
                    continue;
                }
                self.marks.insert(stream, mark);
            }
        }
        self.measure();
        for (name, file, status) in told {
            self.cluster.write(&name, &file, status).await;
        }
    }

    fn measure(&self) {
        for (stream, mark) in &self.marks {
            let labels = StreamLabels { stream: stream.to_string() };
            let sequence = i64::try_from(mark.sequence).unwrap_or(i64::MAX);
            self.metrics.sequence.get_or_create(&labels).set(sequence);
            self.metrics.created.get_or_create(&labels).set(mark.created_at.as_second());
        }
        let mut refused = verdict::REFUSALS.map(|reason| (reason, 0)).into_iter().collect::<BTreeMap<_, _>>();
        for entry in self.entries.values().filter(|entry| entry.stamp.is_some()) {
            if let State::Refused { reason, .. } = entry.state {
                *refused.entry(reason).or_default() += 1;
            }
        }
        for (reason, count) in refused {
            let labels = ResultLabels { result: reason.to_owned() };
            self.metrics.refused.get_or_create(&labels).set(count);
            // A counter that is not there before it counts shows no increase.
            drop(self.metrics.verifications.get_or_create(&labels));
        }
    }

    fn usage(&self, entry: &Entry, demand: &Demand, stock: &Stock) -> Use {
        let Some(accepted) = entry.accepted() else { return Use::default() };
        let digest = accepted.stock.digest;
        let applying = self.config.apply_sets && self.newest_of_stream(accepted);
        Use {
            known: !entry::outdated(demand, stock, accepted, applying),
            missing: entry::missing(&accepted.stock, demand, self.config.share_across_namespaces),
            copying: demand.sets.values().any(|set| set.copying_from.contains(&digest)),
            open: accepted.held.bundle.is_open()
                || self.closing.iter().any(|held| held.bundle.digest() == digest && held.bundle.is_open()),
        }
    }

    fn newest_of_stream(&self, accepted: &Accepted) -> bool {
        let others = self.entries.values().filter_map(Entry::accepted);
        others
            .map(|other| &other.stock)
            .all(|other| other.stream != accepted.stock.stream || other.sequence <= accepted.stock.sequence)
    }

    /// Forgets files that went away long ago.
    async fn forget(&mut self) {
        let keep = self.config.intake.keep;
        let now = Timestamp::now();
        let old = |entry: &Entry| entry.last_seen.checked_add(keep).is_ok_and(|until| until < now);
        let gone = self.entries.iter().filter(|(_, entry)| entry.stamp.is_none() && old(entry));
        let gone = gone.map(|(path, entry)| (path.clone(), entry.name.clone())).collect::<Vec<_>>();
        for (path, name) in gone {
            if self.cluster.delete(&name).await {
                self.entries.remove(&path);
            }
        }
    }
}

/// A folder that does not answer, in words.
fn hanging(folder: &Utf8Path, since: Timestamp) -> String {
    let folder = match folder.as_str() {
        "" => "the drop folder".to_owned(),
        name => format!("folder {}", krs_core::redact::printable(name, 100)),
    };
    let since = since.round(jiff::Unit::Second).unwrap_or(since);
    format!("{folder} does not answer since {since}: check the medium, or the server that it is mounted from")
}

/// What keeps the drop folder from being read; said in the log when it changes.
fn trouble(
    hangs: &BTreeMap<Utf8PathBuf, Timestamp>,
    left_out: &[String],
    before: Option<String>,
) -> Option<String> {
    let mut parts = hangs.iter().map(|(folder, since)| hanging(folder, *since)).collect::<Vec<_>>();
    parts
        .extend(left_out.iter().map(|what| format!("the drop folder holds {what}, which wait: remove some")));
    let now = (!parts.is_empty()).then(|| verdict::sentence(&parts.join("; "), None));
    match &now {
        Some(now) if before.as_ref() != Some(now) => tracing::warn!(reason = "DropFolder", "{now}"),
        None if before.is_some() => tracing::info!(reason = "DropFolder", "the drop folder is read again"),
        _ => {}
    }
    now
}

async fn ended(task: &mut Option<JoinHandle<Look>>) -> Result<Look, JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

async fn pass_ended(pass: &mut Option<Pass>) -> Result<Result<bool, BundleError>, JoinError> {
    match pass {
        Some(pass) => pass.end().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod hanging_tests;
