// SPDX-License-Identifier: Apache-2.0
//! Finds bundles in the drop folder, verifies and lists them. What happens to a file is decided in `entry`, what people
//! see of it in `view`; here is when.

mod cluster;
mod entry;
mod keys;
mod names;
mod namespaces;
pub(crate) mod needed;
mod pass;
mod scan;
mod verdict;
mod view;
mod watchdog;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use krs_core::bundle::{BundleError, StreamName};
use krs_core::crd::condition;
use krs_core::digest::Digest;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::MissedTickBehavior;

use crate::config::Config;
use crate::demand::Demand;
use crate::events::Events;
use crate::heartbeat::Heartbeat;
use crate::library::{Held, Library, ReadFault};
use crate::marks::{HighWaterMarks, Marks, Standing};
use crate::metrics::{Metrics, ResultLabels, StreamLabels, unix_seconds};
use crate::stock::Stock;
use cluster::Cluster;
use entry::{Accepted, Entry, Finding, Known, Look, Rules, State};
use namespaces::Mismatches;
use needed::{Applied, Named};
use pass::Pass;
use verdict::{Failure, Kind};
use view::{Context, Use};
use watchdog::Watchdog;

/// How long after the last byte a file is closed.
const IDLE: Duration = Duration::from_secs(2);
/// How often idle files are looked for, and progress is told.
const BEAT: Duration = Duration::from_millis(500);
/// Longest pause before the ImageBundles of earlier runs are asked for again.
const LOAD_AGAIN: Duration = Duration::from_secs(30);
/// How long to wait before sets are applied again after one could not be.
const APPLY_AGAIN: Duration = Duration::from_secs(60);
/// How long to wait before a mark is written again after it could not be.
const RAISE_AGAIN: Duration = Duration::from_secs(5);

/// The intake and what it needs.
pub struct Intake {
    config: Arc<Config>,
    metrics: Metrics,
    library: Arc<Library>,
    faults: mpsc::UnboundedReceiver<ReadFault>,
    demand: watch::Receiver<Arc<Demand>>,
    stock: watch::Sender<Arc<Stock>>,
    cluster: Cluster,
    marks: Arc<HighWaterMarks>,
    marks_seen: watch::Receiver<Option<Arc<Marks>>>,
    /// The marks that the files were last judged by.
    judged_by: Arc<Marks>,
    /// Why the mark of a stream could not be written.
    not_recorded: BTreeMap<StreamName, String>,
    raise_at: Option<Timestamp>,
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
    /// What became of the sets of bundles that are applied, by manifest and in the order of its sets.
    applied: HashMap<Digest, Vec<Applied>>,
    apply_at: Option<Timestamp>,
    /// By manifest, for what the sets need now.
    mismatches: HashMap<Digest, Mismatches>,
    heartbeat: Option<Heartbeat>,
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
        marks: Arc<HighWaterMarks>,
        demand: watch::Receiver<Arc<Demand>>,
        stock: watch::Sender<Arc<Stock>>,
    ) -> Self {
        let marks_seen = marks.subscribe();
        let cluster = Cluster::new(client, events, metrics.clone());
        Self {
            config,
            metrics,
            library,
            faults,
            demand,
            stock,
            cluster,
            marks,
            marks_seen,
            judged_by: Arc::default(),
            not_recorded: BTreeMap::new(),
            raise_at: None,
            entries: BTreeMap::new(),
            watchdog: Watchdog::default(),
            trouble: None,
            keys: Vec::new(),
            scanned: false,
            pass: None,
            looking: None,
            offered: HashMap::new(),
            closing: Vec::new(),
            applied: HashMap::new(),
            apply_at: None,
            mismatches: HashMap::new(),
            heartbeat: None,
        }
    }

    /// Tells `heartbeat` that the intake makes progress.
    #[must_use]
    pub fn with_heartbeat(self, heartbeat: Heartbeat) -> Self {
        Self { heartbeat: Some(heartbeat), ..self }
    }

    fn beat(&self) {
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.beat();
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
            self.beat();
            tokio::time::sleep(self.config.intake.scan_interval.min(LOAD_AGAIN)).await;
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
                Ok(()) = self.marks_seen.changed() => {}
                _ = beat.tick() => {
                    self.beat();
                    if !self.reads() {
                        continue;
                    }
                }
            }
            self.settle().await;
            self.beat();
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
            entry.recorded = entry.digest().filter(|_| view::was_recorded(written.status.as_ref()));
            self.entries.insert(written.file.clone().into(), entry);
        }
        Ok(())
    }

    /// Begins a look at the folder, unless one is under way: a medium may make it wait for long.
    async fn begin_look(&mut self) {
        if self.looking.is_some() {
            return;
        }
        if let Err(error) = self.marks.read().await {
            tracing::warn!(%error, "the marks cannot be read; no bundle decides anything anew until they can");
            if self.marks_seen.borrow().is_none() {
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
        let marks = self.judged_by.iter().map(|(_, mark)| mark.created_at);
        accepted.map(|accepted| accepted.stock.created_at).chain(marks).max()
    }

    fn take_in(&mut self, look: Look) {
        let now = Timestamp::now();
        self.keys = look.keys;
        let there = look.files.iter().map(|(path, ..)| path.clone()).collect::<BTreeSet<_>>();
        self.trouble = trouble(&look.hanging, &look.left_out, self.trouble.as_deref());
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
            if let Finding::Opened(Ok(accepted)) = &finding
                && !self.entries.contains_key(&path)
            {
                self.follow_media(&path, &accepted.stock.digest);
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
        self.metrics.scan_success.set(unix_seconds());
    }

    /// Media that were pulled and put into another port are the same media: what was known of the file holds for its new
    /// path, and its ImageBundle goes on.
    fn follow_media(&mut self, path: &Utf8Path, digest: &Digest) {
        let is_it = |entry: &Entry| entry.stamp.is_none() && entry.digest() == Some(*digest);
        let old = self.entries.iter().find(|(_, entry)| is_it(entry)).map(|(old, _)| old.clone());
        if let Some(entry) = old.and_then(|old| self.entries.remove(&old)) {
            self.entries.insert(path.to_owned(), entry);
        }
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
        // No file was opened before the marks were read once.
        let Some(marks) = self.marks_seen.borrow_and_update().clone() else { return };
        self.judge(marks);
        self.offer();
        self.next_pass();
        let stock = Arc::new(self.stock_now(&demand));
        self.stock.send_if_modified(|current| {
            let changed = **current != *stock;
            if changed {
                *current = Arc::clone(&stock);
            }
            changed
        });
        if self.scanned {
            self.apply_sets().await;
            self.record_imports(&demand, &stock).await;
            self.tell(&demand, &stock).await;
            self.forget().await;
        }
    }

    fn stock_now(&self, demand: &Demand) -> Stock {
        let check_first = self.config.intake.check_first;
        let shared = self.config.share_across_namespaces;
        let stock = entry::stock(&self.entries, demand, &self.judged_by, check_first, self.scanned, shared);
        Stock { trouble: self.trouble.clone(), ..stock }
    }

    /// Judges the files again where a mark changed.
    fn judge(&mut self, marks: Arc<Marks>) {
        if marks != self.judged_by {
            self.judged_by = marks;
            self.retry(|state| matches!(state, State::Refused { reason: verdict::REUSED, .. }));
        }
        entry::judge_again(&mut self.entries, &self.judged_by);
        entry::remember_recorded(&mut self.entries, &self.judged_by);
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
        // Whoever still reads from one of these holds it, too; so does the entry of a file that is away.
        let entries = &self.entries;
        self.closing.retain(|held| {
            let is_it = |accepted: &&Accepted| Arc::ptr_eq(&accepted.held, held);
            let entries = entries.values().filter_map(Entry::accepted).filter(is_it).count();
            !held.bundle.close_if_idle(IDLE) || Arc::strong_count(held) > 1 + entries
        });
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

    /// The newest bundle of each stream that is there and may decide.
    fn newest_of_streams(&self) -> BTreeMap<&StreamName, (&Entry, &Accepted)> {
        let mut newest = BTreeMap::<_, (&Entry, &Accepted)>::new();
        for entry in self.entries.values().filter(|entry| entry.present()) {
            let Some(accepted) = entry.accepted() else { continue };
            let stock = &accepted.stock;
            if self.judged_by.standing(&stock.stream, &stock.mark()) != Standing::Current {
                continue;
            }
            let best = newest.entry(&stock.stream).or_insert((entry, accepted));
            if stock.sequence > best.1.stock.sequence {
                *best = (entry, accepted);
            }
        }
        newest
    }

    /// Applies the sets of the newest bundle of each stream, after the mark of the stream was raised to it.
    async fn apply_sets(&mut self) {
        let now = Timestamp::now();
        if !self.config.apply_sets || self.apply_at.is_some_and(|at| now < at) {
            return;
        }
        let newest = self.newest_of_streams().into_values().filter(|(entry, accepted)| {
            let applied = self.applied.get(&accepted.stock.digest);
            let all = |applied: &Vec<Applied>| applied.iter().all(|set| matches!(set, Applied::At(_)));
            entry.ready(self.config.intake.check_first)
                && !applied.is_some_and(all)
                && self.cluster.written.contains_key(&entry.name)
        });
        let due = newest.map(|(entry, accepted)| {
            let (stream, mark) = (accepted.stock.stream.clone(), accepted.stock.mark());
            (entry.name.clone(), Arc::clone(&accepted.held), stream, mark)
        });
        for (name, held, stream, mark) in due.collect::<Vec<_>>() {
            self.beat();
            if let Err(error) = self.marks.raise(&stream, &mark).await {
                tracing::warn!(bundle = name, %error, "the sets of the bundle are not applied");
                self.apply_at = now.checked_add(APPLY_AGAIN).ok();
                continue;
            }
            let (digest, sets) = (held.bundle.digest(), held.bundle.sets());
            let before = self.applied.remove(&digest);
            let mut applied = before.unwrap_or_else(|| vec![Applied::Due; sets.len()]);
            for (set, applied) in sets.iter().zip(&mut applied) {
                if matches!(applied, Applied::At(_)) {
                    continue;
                }
                self.beat();
                *applied = self.cluster.apply_set(&name, set).await;
                if *applied == Applied::Due {
                    // Each further set would wait for the API server as long.
                    break;
                }
            }
            if applied.iter().any(|set| !matches!(set, Applied::At(_))) {
                self.apply_at = now.checked_add(APPLY_AGAIN).ok();
            }
            let is_silent = applied.contains(&Applied::Due);
            self.applied.insert(digest, applied);
            if is_silent {
                break;
            }
        }
    }

    /// Raises the marks to bundles that are imported, before anybody is told that their media may be pulled. The file need
    /// not be there any more, nor this process be the one that imported it. Each bundle raises its mark here once: a mark
    /// that a person lowered or removed since stays so.
    async fn record_imports(&mut self, demand: &Demand, stock: &Stock) {
        let now = Timestamp::now();
        if self.raise_at.is_some_and(|at| now < at) {
            return;
        }
        self.raise_at = None;
        let usages = self.usages(demand, stock);
        let due = self.entries.values().zip(&usages).filter(|(entry, usage)| {
            let imported = match &entry.state {
                State::Accepted(_) => usage.imported() && entry.is_proven(),
                _ => view::was_imported(entry.earlier.as_ref()),
            };
            imported && !usage.recorded && usage.standing == Standing::Current
        });
        let mut highest = BTreeMap::new();
        for (stream, mark) in due.filter_map(|(entry, _)| entry.mark()) {
            let best = highest.entry(stream).or_insert_with(|| mark.clone());
            if mark.sequence > best.sequence {
                *best = mark;
            }
        }
        for (stream, mark) in highest {
            match self.marks.raise(&stream, &mark).await {
                Ok(_) => drop(self.not_recorded.remove(&stream)),
                Err(error) => {
                    tracing::warn!(%stream, sequence = mark.sequence, %error, "the mark cannot be raised");
                    self.not_recorded.insert(stream, krs_core::error::chain(&error));
                    self.raise_at = now.checked_add(RAISE_AGAIN).ok();
                }
            }
        }
        // Not taken for seen: the stock that others see follows in the next round.
        let marks = self.marks_seen.borrow().clone();
        if let Some(marks) = marks {
            self.judge(marks);
        }
    }

    /// Writes what people see.
    async fn tell(&mut self, demand: &Demand, stock: &Stock) {
        let (now, newest) = (Timestamp::now(), self.newest());
        for accepted in self.entries.values().filter_map(Entry::accepted) {
            let found = || namespaces::mismatches(&accepted.stock, demand);
            self.mismatches.entry(accepted.stock.digest).or_insert_with(found);
        }
        let mut told = Vec::new();
        for ((path, entry), usage) in self.entries.iter().zip(self.usages(demand, stock)) {
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
            let status = view::status(entry, path.as_str(), &usage, &context);
            told.push((entry.name.clone(), path.to_string(), status));
        }
        self.measure();
        for (name, file, status) in told {
            self.cluster.write(&name, &file, status).await;
            self.beat();
        }
    }

    fn measure(&self) {
        for (stream, mark) in self.judged_by.iter() {
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

    /// What each file is needed for.
    fn usages(&self, demand: &Demand, stock: &Stock) -> Vec<Use> {
        let mut anew = needed::decided_anew(demand, stock);
        let newest = self.newest_of_streams();
        let applying = |accepted: &Accepted| {
            let newest = newest.get(&accepted.stock.stream);
            self.config.apply_sets
                && newest.is_some_and(|(_, newest)| newest.stock.digest == accepted.stock.digest)
        };
        let usage = |entry: &Entry| {
            let standing = entry.mark().map(|(stream, mark)| self.judged_by.standing(&stream, &mark));
            let stream = entry.stream();
            // Whether it still is cannot be said of a mark that cannot be read.
            let unknown = matches!(standing, Some(Standing::Unknown { .. }));
            let recorded = entry.was_recorded() && !unknown;
            let not_recorded = stream.and_then(|(stream, _)| self.not_recorded.get(&stream).cloned());
            let mut usage = Use {
                standing: standing.unwrap_or(Standing::Current),
                recorded,
                not_recorded,
                ..Use::default()
            };
            let Some(accepted) = entry.accepted() else { return usage };
            let digest = accepted.stock.digest;
            let not_applied = match applying(accepted) {
                true => {
                    let applied = self.applied.get(&digest).map(Vec::as_slice);
                    needed::not_applied(accepted.held.bundle.sets(), applied, demand, Instant::now())
                }
                false => Named::default(),
            };
            usage.complete = demand.complete;
            usage.pending = anew.remove(&digest).unwrap_or_default().and(not_applied);
            usage.missing = needed::missing(&accepted.stock, demand, self.config.share_across_namespaces);
            usage.copying = demand.sets.values().any(|set| set.copying_from.contains(&digest));
            usage.open = accepted.held.bundle.is_open()
                || self.closing.iter().any(|held| held.bundle.digest() == digest && held.bundle.is_open());
            usage
        };
        self.entries.values().map(usage).collect()
    }

    /// Forgets files that went away long ago.
    async fn forget(&mut self) {
        let keep = self.config.intake.keep;
        let now = Timestamp::now();
        let old = |entry: &Entry| entry.last_seen.checked_add(keep).is_ok_and(|until| until < now);
        // The same bundle that lies elsewhere now.
        let there = self.entries.values().filter(|entry| entry.stamp.is_some());
        let there = there.filter_map(Entry::digest).collect::<BTreeSet<_>>();
        let moved = |entry: &Entry| entry.digest().is_some_and(|digest| there.contains(&digest));
        let gone =
            self.entries.iter().filter(|(_, entry)| entry.stamp.is_none() && (old(entry) || moved(entry)));
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
    before: Option<&str>,
) -> Option<String> {
    let mut parts = hangs.iter().map(|(folder, since)| hanging(folder, *since)).collect::<Vec<_>>();
    parts
        .extend(left_out.iter().map(|what| format!("the drop folder holds {what}, which wait: remove some")));
    let now = (!parts.is_empty()).then(|| verdict::sentence(&parts.join("; "), None));
    match &now {
        Some(now) if before != Some(now.as_str()) => tracing::warn!(reason = "DropFolder", "{now}"),
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
