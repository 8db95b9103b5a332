// SPDX-License-Identifier: Apache-2.0
//! Finds bundles in the drop folder, verifies and lists them. What a scan of the folder changes in a file is decided in
//! `entry`, what all files together decide in `files`, what people see in `view`; here is when.

mod accepted;
mod ahead;
mod announce;
mod apply;
mod changes;
mod cluster;
mod conditions;
mod context;
mod entries;
mod entry;
mod files;
mod finding;
mod folder;
mod kept;
mod keys;
mod listing;
mod names;
mod namespaces;
mod offers;
mod outcomes;
mod receipt_waits;
mod record;
mod rejection;
mod removal;
mod report;
mod scan;
mod scanner;
mod stored;
mod substitutes;
mod trouble;
mod usage;
mod usages;
mod verification;
mod verifications;
mod view;
mod watchdog;
mod written;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8Path;
use futures::StreamExt as _;
use futures::stream;
use jiff::Timestamp;
use krs_core::bundle::has_expired;
use krs_core::crd::ImageBundle;
use krs_core::oci::digest::Digest;
use kube::Resource as _;
use kube::runtime::watcher;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use crate::adapters::bundle_store::{BundleStore, ReadFault};
use crate::adapters::events::Events;
use crate::adapters::follow::{Pace, follow};
use crate::adapters::heartbeat::{Heartbeat, Heartbeats, WatchTarget, Watches};
use crate::adapters::high_water_marks::HighWaterMarks;
use crate::adapters::metrics::{Metrics, unix_seconds};
use crate::adapters::watch_source::Source;
use crate::model::bundle_inventory::BundleInventory;
use crate::model::bundle_outcomes::BundleOutcomes;
use crate::model::clock::Clock;
use crate::model::config::Config;
use crate::model::marks::Marks;
use crate::model::media_record::MediaRecords;
use crate::model::required_images::RequiredImages;
use apply::SetApplier;
use cluster::Cluster;
use context::{Context, Inputs};
use entry::{Entry, State};
use files::{Files, Naming};
use finding::Scan;
use kept::Kept;
use offers::Offers;
use receipt_waits::ReceiptWaits;
use record::Recorder;
use report::Report;
use scan::Rules;
use scanner::Scanner;
use trouble::Trouble;
use verification::End;
pub use verification::{VerificationOptions, Verify};
use verifications::FullVerifications;

/// Longest pause before the ImageBundles of earlier runs are asked for again.
const LOAD_AGAIN: Duration = Duration::from_secs(30);

/// How long further changes of what sets need are waited for: at least, and at most. (T-254)
const COALESCE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// By how much that is longer than it takes to work out what follows from a change, which is the more the more sets there
/// are, as are the changes.
const COALESCE_FACTOR: u32 = 9;

/// The intake: each of its values has one job, and it calls them in turn.
pub struct Intake {
    context: Context,
    inputs: Inputs,
    /// What others see.
    stock: watch::Sender<Arc<BundleInventory>>,
    /// What became of the bundles, for the receipt of the site.
    outcomes: watch::Sender<Option<Arc<BundleOutcomes>>>,
    /// Which media wait for that receipt, where the site wants it there.
    receipts: Option<ReceiptWaits>,
    files: Files,
    kept: Kept,
    scanner: Scanner,
    trouble: Trouble,
    verifications: FullVerifications,
    offers: Offers,
    recorder: Recorder,
    set_applier: SetApplier,
    cluster: Cluster,
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake").field("files", &self.files).finish_non_exhaustive()
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
        library: Arc<BundleStore>,
        faults: mpsc::UnboundedReceiver<ReadFault>,
        marks: Arc<HighWaterMarks>,
        demand: watch::Receiver<Arc<RequiredImages>>,
        stock: watch::Sender<Arc<BundleInventory>>,
    ) -> Self {
        let cluster = Cluster::new(client, events, metrics.clone(), &config.namespace);
        let inputs = Inputs { faults, demand, marks: marks.subscribe(), bundles: stream::pending().boxed() };
        Self {
            context: Context {
                config,
                metrics,
                clock: Arc::new(Timestamp::now),
                heartbeat: None,
                watches: None,
            },
            inputs,
            stock,
            outcomes: watch::channel(None).0,
            receipts: None,
            files: Files::default(),
            kept: Kept::default(),
            scanner: Scanner::default(),
            trouble: Trouble::default(),
            verifications: FullVerifications::default(),
            offers: Offers::new(library),
            recorder: Recorder::new(marks),
            set_applier: SetApplier::default(),
            cluster,
        }
    }

    /// Watches the ImageBundles: one that somebody else changes or deletes is written again.
    #[must_use]
    pub fn with_watch(mut self, watches: Arc<Watches>, heartbeats: Heartbeats, pace: Pace) -> Self {
        let watched = WatchTarget { resource: ImageBundle::plural(&()).into_owned(), namespace: None };
        let source = Source::new(watched, Arc::clone(&watches), Arc::default(), pace.max_age);
        let bundles = source.watch(self.cluster.api(), watcher::Config::default());
        // Never ends, and tells nothing: what it finds has everything listed again.
        let following = stream::once(follow(source, self.cluster.api(), None, heartbeats, pace));
        let following = following.filter_map(|()| std::future::ready(None));
        self.inputs.bundles = stream::select(bundles, following).boxed();
        self.context.watches = Some(watches);
        self
    }

    /// Tells `heartbeat` that the intake makes progress.
    #[must_use]
    pub fn with_heartbeat(mut self, heartbeat: Heartbeat) -> Self {
        self.context.heartbeat = Some(heartbeat);
        self
    }

    /// Tells `outcomes` what became of the bundles.
    #[must_use]
    pub fn with_outcomes(self, outcomes: watch::Sender<Option<Arc<BundleOutcomes>>>) -> Self {
        Self { outcomes, ..self }
    }

    /// Keeps media until the receipt of the site is on them, as `records` tells; for a limited time.
    #[must_use]
    pub fn with_receipts(mut self, records: watch::Receiver<Arc<MediaRecords>>) -> Self {
        self.receipts = Some(ReceiptWaits::new(records));
        self
    }

    /// Keeps them for another time.
    #[must_use]
    pub fn with_receipt_limit(mut self, limit: Duration) -> Self {
        if let Some(receipts) = &mut self.receipts {
            receipts.set_limit(limit);
        }
        self
    }

    /// Verifies bundles in full in another way.
    #[must_use]
    pub fn with_verification(self, options: VerificationOptions) -> Self {
        Self { verifications: FullVerifications::new(options), ..self }
    }

    /// Writes in another interval what is still to be copied from bundles.
    #[must_use]
    pub const fn with_details(mut self, interval: Duration) -> Self {
        self.cluster.details = interval;
        self
    }

    /// Takes the time from another clock than the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.context.clock = clock;
        self
    }

    /// Watches the drop folder until `stop` is done.
    ///
    /// # Expected flow
    /// [`Intake::new`] and the `with_` functions, then this once. It reads the ImageBundles of earlier runs, then scans the
    /// folder in the configured interval. After each scan, full verification, read fault, and change of the marks, of the
    /// required images or of an ImageBundle, it publishes the inventory, applies the sets of bundles, and writes the
    /// ImageBundles.
    ///
    /// # Guarantees
    /// - The scans, the verifications and the other readers of media run on threads of their own: media that do not respond
    ///   delay neither the inventory nor the heartbeat. A full verification that reads nothing for too long is given up.
    /// - No bundle is published as usable, and nothing is written to the cluster, before the marks were read once and a scan
    ///   is complete.
    /// - ImageBundles are written only where they differ from what the API server has.
    ///
    /// # Errors
    /// There are none. What the API server refuses is logged and retried, what is wrong with a file is in the status of its
    /// ImageBundle, and what is wrong with the folder is in the inventory.
    ///
    /// # Cancellation
    /// When `stop` is done, or the future is dropped, requests to the API server that are under way are dropped, and full
    /// verifications end after the piece that they read. A scan ends by itself. The next run reads the folder again; no
    /// state is lost but the progress of verifications.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        tokio::select! {
            () = stop => {}
            () = self.watch() => {}
        }
    }

    async fn watch(&mut self) {
        while let Err(error) = self.load().await {
            tracing::warn!(%error, "the ImageBundles of earlier runs cannot be read; retrying");
            self.context.beat();
            tokio::time::sleep(self.context.config.intake.scan_interval.min(LOAD_AGAIN)).await;
        }
        let mut scans = tokio::time::interval(self.context.config.intake.scan_interval);
        let mut beat = tokio::time::interval(self.verifications.beat());
        scans.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pause = COALESCE.0;
        loop {
            tokio::select! {
                _ = scans.tick() => self.begin_scan().await,
                scan = self.scanner.ended() => match scan {
                    Ok(scan) => self.take_in(scan),
                    Err(error) => tracing::error!(%error, "a scan of the drop folder failed"),
                },
                (media, end) = self.verifications.ended() => self.end_verification(&media, end),
                Some(fault) = self.inputs.faults.recv() => self.fault(&fault),
                // Without a sender the importer is stopping.
                Ok(()) = self.inputs.demand.changed() => {
                    tokio::time::sleep(pause).await;
                    self.kept.mismatches.clear();
                }
                Ok(()) = self.inputs.marks.changed() => {}
                Ok(()) = receipt_written(&mut self.receipts) => {}
                Some(Ok(event)) = self.inputs.bundles.next() => {
                    if !self.cluster.observe(event) {
                        continue;
                    }
                }
                _ = beat.tick() => {
                    self.context.beat();
                    self.give_up_stalled();
                    if !self.reads() {
                        continue;
                    }
                }
            }
            let began = Instant::now();
            self.settle().await;
            pause = (began.elapsed() * COALESCE_FACTOR).clamp(COALESCE.0, COALESCE.1);
            self.context.beat();
        }
    }

    /// Whether media are read or a file is open, so that time alone changes what there is to do. Else what others see is not
    /// worked out again between two scans.
    fn reads(&self) -> bool {
        let mut opened = self.files.entries().values().filter_map(Entry::opened);
        !self.verifications.is_idle()
            || self.receipts.as_ref().is_some_and(|receipts| !receipts.is_idle())
            || !self.offers.is_closed()
            || opened.any(|accepted| accepted.held.bundle.is_open())
    }

    async fn load(&mut self) -> Result<(), kube::Error> {
        self.cluster.load().await?;
        for (name, written) in &self.cluster.written {
            self.files.load(name, &written.file, written.status.as_ref(), self.context.now());
        }
        Ok(())
    }

    /// Begins a scan, unless one runs: media may make it wait for long.
    async fn begin_scan(&mut self) {
        if self.scanner.is_running() {
            return;
        }
        if let Err(error) = self.recorder.marks().read().await {
            tracing::warn!(%error, "the marks cannot be read; no bundle decides anything new until they can be read");
            if self.inputs.marks.borrow().is_none() {
                return;
            }
        }
        let (config, clock) = (&self.context.config, self.context.now());
        let newest = self.files.newest(&self.context.times());
        let now = newest.map_or(clock, |newest| newest.max(clock));
        if config.enforce_expiry {
            let is_expired = |state: &State| match state {
                State::Accepted(accepted) => {
                    accepted.held.bundle.manifest().not_after.is_some_and(|end| has_expired(end, now))
                }
                _ => false,
            };
            self.files.retry(is_expired, clock);
        }
        let rules = Rules::of(config, now, clock);
        self.scanner.begin(rules, self.files.known(clock));
    }

    fn take_in(&mut self, scan: Scan) {
        self.scanner.set_keys(&scan.keys);
        self.trouble.update(&scan, &self.context.metrics);
        let naming = Naming { foreign: self.cluster.foreign(), importer: &self.context.config.namespace };
        self.files.take_in(scan, naming, self.context.now());
        self.context.metrics.scan_success.set(unix_seconds());
    }

    fn end_verification(&mut self, media: &Utf8Path, end: End) {
        if let Some(verification) = self.verifications.remove(media) {
            self.files.verified(&verification, end, self.context.now());
        }
    }

    /// Leaves media alone from which a full verification has read nothing for too long, until the thread that reads returns.
    /// (T-192)
    fn give_up_stalled(&mut self) {
        for (media, hangs) in self.verifications.give_up_stalled(std::time::Instant::now()) {
            self.files.hang(&media, hangs, self.context.now());
            self.trouble.add(media, hangs, &self.context.metrics);
        }
    }

    /// Takes in what a transfer found.
    fn fault(&mut self, fault: &ReadFault) {
        if let Some(offered) = self.offers.get(&fault.bundle) {
            self.files.fault(offered, fault, self.context.now());
        }
    }

    /// Makes everything outside agree with what is known.
    async fn settle(&mut self) {
        if self.inputs.demand.has_changed().unwrap_or(false) {
            self.kept.mismatches.clear();
        }
        let demand = self.inputs.demand.borrow_and_update().clone();
        // No file was opened before the marks were read once.
        let Some(marks) = self.inputs.marks.borrow_and_update().clone() else { return };
        self.judge(marks);
        let check_first = self.context.config.intake.check_first;
        self.offers.update(&self.files, &demand, check_first);
        self.verifications.update(&self.files, self.scanner.watchdog());
        let stock = self.publish(&demand);
        if self.files.is_scanned() {
            self.apply_sets().await;
            self.report(&demand, &stock).await;
            self.forget().await;
        }
    }

    /// Judges the files by these marks.
    fn judge(&mut self, marks: Arc<Marks>) {
        let is_confirmed = |name: &str, digest: &Digest| self.cluster.is_confirmed(name, digest);
        self.files.judge(marks, &self.context.times(), is_confirmed);
    }

    /// Lets others see what there is.
    fn publish(&self, demand: &RequiredImages) -> Arc<BundleInventory> {
        let config = &self.context.config;
        let stock = self.files.stock(demand, config.intake.check_first, config.share_across_namespaces);
        let stock = Arc::new(BundleInventory { trouble: self.trouble.message(), ..stock });
        self.stock.send_if_modified(|current| {
            let changed = **current != *stock;
            if changed {
                *current = Arc::clone(&stock);
            }
            changed
        });
        stock
    }

    async fn apply_sets(&mut self) {
        if !self.context.config.apply_sets {
            return;
        }
        let (check_first, context) = (self.context.config.intake.check_first, &self.context);
        let (applied, cluster) = (&mut self.kept.applied, &mut self.cluster);
        let marks = self.recorder.marks();
        self.set_applier.apply(&self.files, applied, cluster, marks, check_first, || context.beat()).await;
    }

    /// Records what was imported, then writes what people see.
    async fn report(&mut self, demand: &RequiredImages, stock: &BundleInventory) {
        let config = &self.context.config;
        let shared = config.share_across_namespaces;
        let mut usages = usages::usages(usages::Inputs {
            files: &self.files,
            kept: &self.kept,
            offers: &self.offers,
            demand,
            stock,
            applies_sets: config.apply_sets,
            shared,
        });
        self.files.remember_imported(&usages);
        let times = self.context.times();
        let is_confirmed = |name: &str, digest: &Digest| self.cluster.is_confirmed(name, digest);
        let imported = record::imported(&self.files, &usages, &times, is_confirmed);
        self.recorder.record(imported, &mut self.kept.not_recorded).await;
        // Not taken for seen: the stock that others see follows with the next change.
        let marks = self.inputs.marks.borrow().clone();
        if let Some(marks) = marks {
            self.judge(marks);
        }
        usages::judge_again(&mut usages, &self.files, &self.kept);
        let receipts = self.receipts.as_mut();
        let media = receipts.map(|receipts| receipts.update(&self.files, &mut usages)).unwrap_or_default();

        report::find_mismatches(&mut self.kept, &self.files, demand);
        let naming = Naming { foreign: self.cluster.foreign(), importer: &self.context.config.namespace };
        self.files.rename(|name| self.cluster.written.contains_key(name), naming);
        let reports = report::reports(
            &self.files,
            &usages,
            &report::Inputs {
                kept: &self.kept,
                written: &self.cluster.written,
                bytes: &|path: &Utf8Path| self.verifications.bytes(path),
                now: self.context.now(),
                newest: self.files.newest(&times),
                shared,
            },
        );
        report::measure(&self.files, &self.context.metrics);
        self.tell_outcomes(outcomes::outcomes(&reports, media));
        for Report { name, file, status } in reports {
            self.cluster.write(&name, &file, status).await;
            self.context.beat();
        }
    }

    fn tell_outcomes(&self, found: BundleOutcomes) {
        self.outcomes.send_if_modified(|known| {
            let has_changed = known.as_deref() != Some(&found);
            if has_changed {
                *known = Some(Arc::new(found));
            }
            has_changed
        });
    }

    /// Forgets files that went away long ago.
    async fn forget(&mut self) {
        for (path, name) in self.files.outdated(self.context.config.intake.keep, self.context.now()) {
            if self.cluster.delete(&name).await {
                self.files.remove(&path);
            }
        }
        self.kept.forget_unlisted(self.files.entries());
    }
}

/// Done when a receipt was written to media, or could not be.
async fn receipt_written(receipts: &mut Option<ReceiptWaits>) -> Result<(), watch::error::RecvError> {
    match receipts {
        Some(receipts) => receipts.changed().await,
        None => std::future::pending().await,
    }
}
