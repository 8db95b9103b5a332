// SPDX-License-Identifier: Apache-2.0
//! Finds bundles in the drop folder, verifies and lists them. What happens to a file is decided in `entry`, what people
//! see of it in `view`; here is when.

mod ahead;
mod announce;
mod apply;
mod changes;
mod cluster;
mod entries;
mod entry;
mod folder;
mod kept;
mod keys;
mod look;
mod media;
mod names;
mod namespaces;
pub(crate) mod needed;
mod pass;
mod publish;
mod record;
mod removal;
mod scan;
mod stored;
mod substitutes;
mod verdict;
mod view;
mod watchdog;
mod written;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use jiff::Timestamp;
use krs_core::bundle::has_expired;
use krs_core::crd::{ImageBundle, condition};
use krs_core::oci::digest::Digest;
use kube::Resource as _;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, MissedTickBehavior};

use crate::adapters::events::Events;
use crate::adapters::follow::{Pace, follow};
use crate::adapters::heartbeat::{Heartbeat, Heartbeats, Watched, Watches};
use crate::adapters::high_water_marks::HighWaterMarks;
use crate::adapters::library::{Held, Library, ReadFault, Substitutes};
use crate::adapters::metrics::Metrics;
use crate::adapters::watch_source::Source;
use crate::model::clock::Clock;
use crate::model::config::Config;
use crate::model::demand::Demand;
use crate::model::marks::Marks;
use crate::model::stock::Stock;
use ahead::Times;
use cluster::Cluster;
use entry::{Entry, State};
use kept::Kept;
use look::{Known, LateOpens, Look, Rules};
use pass::Pass;
pub use pass::{PassOptions, Verify};
use watchdog::{Hangs, Watchdog};

/// Longest pause before the ImageBundles of earlier runs are asked for again.
const LOAD_AGAIN: Duration = Duration::from_secs(30);

/// How long further changes of what sets need are waited for: at least, and at most. (T-254)
const COALESCE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// By how much that is longer than it takes to work out what follows from a change, which is the more the more sets there
/// are, as are the changes.
const COALESCE_FACTOR: u32 = 9;

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
    kept: Kept,
    raise_at: Option<Instant>,
    /// Files by their path below the drop folder.
    entries: BTreeMap<Utf8PathBuf, Entry>,
    /// Folders that hang.
    watchdog: Watchdog,
    late_opens: LateOpens,
    /// What keeps the drop folder from being read, in words.
    trouble: Option<String>,
    /// The keys of the last look.
    keys: Vec<String>,
    scanned: bool,
    pass_options: PassOptions,
    /// By what they read, as [`folder::Found::media`].
    passes: BTreeMap<Utf8PathBuf, Pass>,
    /// Media that do not answer, and what was not looked at because there is too much.
    hanging: BTreeMap<Utf8PathBuf, Hangs>,
    /// Folders and files that cannot be read, and why.
    unreadable: BTreeMap<Utf8PathBuf, String>,
    left_out: Vec<String>,
    looking: Option<JoinHandle<Look>>,
    /// What the library was given, by manifest.
    offered: HashMap<Digest, Arc<Held>>,
    /// What the library was told to read in place of bundles that are away.
    substitutes: Substitutes,
    /// Withdrawn, and perhaps still read from: closed as all others.
    closing: Vec<Arc<Held>>,
    apply_at: Option<Instant>,
    heartbeat: Option<Heartbeat>,
    /// Where the time of the API server is known from.
    watches: Option<Arc<Watches>>,
    clock: Clock,
    bundles: BoxStream<'static, watcher::Result<Event<DynamicObject>>>,
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
        let cluster = Cluster::new(client, events, metrics.clone(), &config.namespace);
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
            kept: Kept::default(),
            raise_at: None,
            entries: BTreeMap::new(),
            watchdog: Watchdog::default(),
            late_opens: LateOpens::default(),
            trouble: None,
            keys: Vec::new(),
            scanned: false,
            pass_options: PassOptions::default(),
            passes: BTreeMap::new(),
            hanging: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            left_out: Vec::new(),
            looking: None,
            offered: HashMap::new(),
            substitutes: Substitutes::new(),
            closing: Vec::new(),
            apply_at: None,
            heartbeat: None,
            watches: None,
            clock: Arc::new(Timestamp::now),
            bundles: stream::pending().boxed(),
        }
    }

    /// Watches the ImageBundles: one that somebody else changes or deletes is written again.
    #[must_use]
    pub fn with_watch(self, watches: Arc<Watches>, heartbeats: Heartbeats, pace: Pace) -> Self {
        let watched = Watched { resource: ImageBundle::plural(&()).into_owned(), namespace: None };
        let source = Source::new(watched, Arc::clone(&watches), Arc::default(), pace.max_age);
        let bundles = source.watch(self.cluster.api(), watcher::Config::default());
        // Never ends, and tells nothing: what it finds has everything listed again.
        let following = stream::once(follow(source, self.cluster.api(), None, heartbeats, pace));
        let following = following.filter_map(|()| std::future::ready(None));
        Self { bundles: stream::select(bundles, following).boxed(), watches: Some(watches), ..self }
    }

    /// Tells `heartbeat` that the intake makes progress.
    #[must_use]
    pub fn with_heartbeat(self, heartbeat: Heartbeat) -> Self {
        Self { heartbeat: Some(heartbeat), ..self }
    }

    /// Reads media to their end in another way.
    #[must_use]
    pub fn with_passes(self, pass_options: PassOptions) -> Self {
        Self { pass_options, ..self }
    }

    /// Writes in another interval what is still to be copied from bundles.
    #[must_use]
    pub const fn with_details(mut self, interval: Duration) -> Self {
        self.cluster.details = interval;
        self
    }

    /// Takes the time from another clock than the system's.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
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
        let mut beat = tokio::time::interval(self.pass_options.beat);
        scans.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pause = COALESCE.0;
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
                (media, end) = Self::pass_ended(&mut self.passes) => self.end_pass(&media, end),
                Some(fault) = self.faults.recv() => self.fault(&fault),
                // Without a sender the importer is stopping.
                Ok(()) = self.demand.changed() => {
                    tokio::time::sleep(pause).await;
                    self.kept.mismatches.clear();
                }
                Ok(()) = self.marks_seen.changed() => {}
                Some(Ok(event)) = self.bundles.next() => {
                    if !self.cluster.observe(event) {
                        continue;
                    }
                }
                _ = beat.tick() => {
                    self.beat();
                    self.give_up_stalled_passes();
                    if !self.reads() {
                        continue;
                    }
                }
            }
            let begun = Instant::now();
            self.settle().await;
            pause = (begun.elapsed() * COALESCE_FACTOR).clamp(COALESCE.0, COALESCE.1);
            self.beat();
        }
    }

    /// Whether a medium is read or a file is open, so that time alone changes what there is to do. Else what others see
    /// is not worked out again between two looks at the folder.
    fn reads(&self) -> bool {
        let mut opened = self.entries.values().filter_map(Entry::opened);
        !self.passes.is_empty()
            || !self.closing.is_empty()
            || opened.any(|accepted| accepted.held.bundle.is_open())
    }

    async fn load(&mut self) -> Result<(), kube::Error> {
        self.cluster.load().await?;
        for (name, written) in &self.cluster.written {
            let absent = written.status.iter().flat_map(|status| &status.conditions);
            let absent = absent.filter(|c| c.type_ == condition::COMPLETE && c.reason == view::ABSENT);
            let seen = absent.map(|c| c.last_transition_time.0).next().unwrap_or_else(|| (self.clock)());
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
        let clock = (self.clock)();
        let now = self.newest().map_or(clock, |newest| newest.max(clock));
        if self.config.enforce_expiry {
            self.retry(|state| match state {
                State::Accepted(accepted) => {
                    accepted.held.bundle.manifest().not_after.is_some_and(|end| has_expired(end, now))
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
            let again = matches!(entry.state, State::New) || entry.is_due(clock);
            (path.clone(), Known { stamp: entry.stamp, again })
        });
        let (known, keys) = (known.collect(), self.keys.clone());
        let (watchdog, late) = (self.watchdog.clone(), self.late_opens.clone());
        self.looking =
            Some(tokio::task::spawn_blocking(move || look::look(&rules, &known, &keys, &watchdog, &late)));
    }

    /// Opens files again with the next look.
    fn retry(&mut self, which: impl Fn(&State) -> bool) {
        let now = (self.clock)();
        for entry in self.entries.values_mut().filter(|entry| which(&entry.state)) {
            entry.retry_at = Some(now);
        }
    }

    /// What is known of the time.
    fn times(&self) -> Times {
        Times {
            site: (self.clock)(),
            server: self.watches.as_ref().and_then(|watches| watches.server_time()),
            built: ahead::built(),
        }
    }

    /// The newest time that a bundle told whose signature was right, as far as that may be. (T-30)
    fn newest(&self) -> Option<Timestamp> {
        let accepted = self.entries.values().filter_map(Entry::accepted);
        let accepted = accepted.filter(|accepted| !accepted.held.bundle.signers().is_empty());
        let marks = self.judged_by.iter().map(|(_, mark)| mark.created_at);
        self.times().newest(accepted.map(|accepted| accepted.stock.created_at).chain(marks))
    }

    /// Makes everything outside agree with what is known.
    async fn settle(&mut self) {
        if self.demand.has_changed().unwrap_or(false) {
            self.kept.mismatches.clear();
        }
        let demand = self.demand.borrow_and_update().clone();
        // No file was opened before the marks were read once.
        let Some(marks) = self.marks_seen.borrow_and_update().clone() else { return };
        self.judge(marks);
        self.offer();
        self.substitute(&demand);
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
            let mut usages = self.usages(&demand, &stock);
            entries::remember_imported(&mut self.entries, &usages);
            self.record_imports(&usages).await;
            // A mark may have been raised since.
            self.judge_usages(&mut usages);
            self.tell(&demand, usages).await;
            self.forget().await;
        }
    }

    fn stock_now(&self, demand: &Demand) -> Stock {
        let check_first = self.config.intake.check_first;
        let shared = self.config.share_across_namespaces;
        let stock = entries::stock(&self.entries, demand, &self.judged_by, check_first, self.scanned, shared);
        Stock { trouble: self.trouble.clone(), ..stock }
    }

    /// Judges the files again where a mark changed.
    fn judge(&mut self, marks: Arc<Marks>) {
        if marks != self.judged_by {
            self.judged_by = marks;
            self.retry(|state| matches!(state, State::Refused { reason: verdict::REUSED, .. }));
        }
        let times = self.times();
        let is_confirmed = |name: &str, digest: &Digest| self.cluster.is_confirmed(name, digest);
        let taken_in = entries::judge_ahead(&mut self.entries, &self.judged_by, &times, is_confirmed);
        entries::refuse_reused(&mut self.entries, &taken_in);
        entries::judge_again(&mut self.entries, &self.judged_by);
        entries::remember_recorded(&mut self.entries, &self.judged_by);
    }
}

async fn ended(task: &mut Option<JoinHandle<Look>>) -> Result<Look, JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}
