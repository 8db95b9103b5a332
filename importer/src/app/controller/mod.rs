// SPDX-License-Identifier: Apache-2.0
//! When a set is reconciled: when it changes, when one of its Jobs does, when the drop folder does, and from time to time.
//!
//! Each namespace has watches of its own. One that cannot be watched is reported and retried; the others are served.

use std::collections::hash_map::DefaultHasher;
use std::future::Future;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::batch::v1::Job;
use krs_core::crd::EdgeImageSet;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{self, Controller};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Predicate as _, PredicateConfig, WatchStreamExt as _, predicates, watcher};
use kube::{Api, Resource};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub use crate::adapters::follow::Pace;
use crate::adapters::follow::follow;
use crate::adapters::heartbeat::{WatchTarget, Watches};
use crate::adapters::stored::StoredSet;
use crate::adapters::watch_source::Source;
use crate::app::reconcile::{Reconciler, error_policy, reconcile_stored};
use crate::engine::job;
use crate::model::bundle_inventory::BundleInventory;

/// Prefix of the annotations that ask the importer for something.
const ANNOTATIONS: &str = "kuberegistrysync.io/";
/// Sets of one namespace list that are reconciled together.
const CONCURRENCY: u16 = 16;
/// Changes that come so close together are one.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Sets in one page of a list: the largest have a megabyte, and pages are read in one piece.
const PAGE: u32 = 10;
/// How long sets wait for the sets and Jobs of namespaces that cannot be listed: one of these may have the older right to
/// a name, or a Job that writes to the same repository.
const PRIMING_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the loop that notices new and deleted sets may be without progress.
const SWEEP_LIMIT: Duration = Duration::from_secs(300);
/// How often the state of sets that are gone is deleted.
const FORGET: Duration = Duration::from_secs(600);

/// What is watched of a namespace, or of all.
struct Scope {
    source: Arc<Source>,
    store: Store<StoredSet>,
}

/// Reconciles the sets of the namespaces that the site serves until `stop` is done.
///
/// # Expected flow
/// Lists the sets, primes the importer with their names and Jobs, and sets `is_primed` once all sets are known that can be
/// listed; from then on sets are reconciled. Watches are compared with the API server at `pace`.
///
/// # Guarantees
/// A namespace that cannot be listed or watched is reported and retried, and does not keep the others waiting for long.
///
/// # Cancellation
/// When `stop` is done, no reconcile begins, and those that are under way come to an end.
pub async fn run(
    importer: Arc<Reconciler>,
    watches: Arc<Watches>,
    stock: watch::Receiver<Arc<BundleInventory>>,
    is_primed: Arc<AtomicBool>,
    pace: Pace,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let stop = stop.shared();
    let changed = Arc::new(Notify::new());
    let mut scopes = Vec::new();
    let mut running = Vec::new();
    let mut following = Vec::new();
    for namespace in namespaces(&importer) {
        let source = |resource: &str| {
            let watched = WatchTarget { resource: resource.to_owned(), namespace: namespace.clone() };
            Source::new(watched, Arc::clone(&watches), Arc::clone(&changed), pace.max_age)
        };
        let (reader, writer) = reflector::store();
        let of_sets = source(&EdgeImageSet::plural(&()));
        let sets = api::<StoredSet>(&importer, namespace.as_deref());
        let sets = of_sets.watch(sets, watcher::Config::default().page_size(PAGE));
        let observer = Arc::clone(&importer);
        let observe = move |set: &watcher::Result<StoredSet>| {
            set.iter().for_each(|set| observer.observe(set));
        };
        let sets = sets
            .reflect(writer)
            .applied_objects()
            .inspect(observe)
            .predicate_filter(predicates::generation.combine(own_annotations), PredicateConfig::default());
        let jobs = api::<PartialObjectMeta<Job>>(&importer, namespace.as_deref());
        // Of Jobs that others label like ours only the metadata pass through here, a page at a time, and none is kept.
        let selected = watcher::Config::default().labels(job::SELECTOR).page_size(PAGE);
        let of_jobs = source(&Job::plural(&()));
        let compared = api::<EdgeImageSet>(&importer, namespace.as_deref());
        let heartbeats = importer.heartbeats();
        following.push(follow(Arc::clone(&of_sets), compared, None, heartbeats.clone(), pace).boxed());
        let (compared, heartbeats) = (jobs.clone(), heartbeats.clone());
        following.push(follow(Arc::clone(&of_jobs), compared, Some(job::SELECTOR), heartbeats, pace).boxed());
        let of_sets_with_job = Arc::clone(&importer);
        let jobs = of_jobs.watch(jobs, selected).touched_objects();
        let jobs =
            jobs.try_filter(move |job| futures::future::ready(of_sets_with_job.may_concern(job.meta())));
        let forgetful = Arc::clone(&importer);
        let relisted = of_sets.relisted().inspect(move |()| forgetful.forget_statuses());
        let controller = Controller::for_stream(sets, reader.clone())
            .with_config(controller::Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE))
            .owns_stream(jobs)
            .reconcile_all_on(stream::select(changes(stock.clone()), relisted))
            .reconcile_on(importer.wakeups(namespace.as_deref()).map(of_stored))
            .graceful_shutdown_on(stop.clone())
            .run(reconcile_stored, error_policy, Arc::clone(&importer));
        running.push(controller.for_each(|result| {
            if let Err(error) = result {
                tracing::debug!(%error, "reconcile failed");
            }
            futures::future::ready(())
        }));
        scopes.push(Scope { source: of_sets, store: reader });
    }
    let sweeping = sweep(&importer, &scopes, &is_primed, &changed, pace.sweep);
    tokio::select! {
        _ = futures::future::join_all(running) => {}
        _ = futures::future::join_all(following) => {}
        () = sweeping => {}
    }
}

/// The annotations of a set that ask the importer for something. Others write theirs for themselves, some of them every few
/// seconds. (T-211)
fn own_annotations(set: &StoredSet) -> Option<u64> {
    let annotations = set.meta().annotations.iter().flatten();
    let mut hasher = DefaultHasher::new();
    annotations.filter(|(key, _)| key.starts_with(ANNOTATIONS)).for_each(|own| own.hash(&mut hasher));
    Some(hasher.finish())
}

/// The namespaces to watch; `None` stands for all.
fn namespaces(importer: &Reconciler) -> Vec<Option<String>> {
    match importer.config().watch_namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    }
}

fn api<K>(importer: &Reconciler, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(importer.client(), namespace),
        None => Api::all(importer.client()),
    }
}

fn of_stored(set: ObjectRef<EdgeImageSet>) -> ObjectRef<StoredSet> {
    ObjectRef::new(&set.name).within(&set.namespace.unwrap_or_default())
}

/// One item for each change of what the drop folder holds.
fn changes(stock: watch::Receiver<Arc<BundleInventory>>) -> impl futures::Stream<Item = ()> + Send + 'static {
    stream::unfold(stock, |mut stock| async move { stock.changed().await.ok().map(|()| ((), stock)) })
}

/// Notices sets that are new or gone. Never ends.
async fn sweep(
    importer: &Reconciler,
    scopes: &[Scope],
    is_primed: &AtomicBool,
    changed: &Notify,
    pause: Duration,
) {
    let heartbeat = importer.heartbeats().begin("the controller", SWEEP_LIMIT);
    let started = Instant::now();
    let mut forget_at = started;
    loop {
        heartbeat.beat();
        // Decided once: a scope that is synced while this waits for Jobs is one of the next turn, with its sets.
        let known = scopes.iter().filter(|scope| scope.source.is_synced()).collect::<Vec<_>>();
        let mut waiting = scopes.iter().any(|scope| !scope.source.is_synced() && !scope.source.is_refused());
        // Nothing waits for a namespace that is refused, and yet it may have sets.
        let all_synced = known.len() == scopes.len();
        let stored = known.iter().flat_map(|scope| scope.store.state()).collect::<Vec<_>>();
        let sets = stored.iter().map(|stored| stored.without_content()).collect::<Vec<_>>();
        let mut all_primed = true;
        // One after the other: the images of all sets together take a lot of memory.
        for (new, _) in stored.iter().zip(&sets).filter(|(_, set)| !importer.knows(set)) {
            heartbeat.beat();
            if let Err(error) = importer.prime(&new.set()).await {
                // All others would wait for the API server as long.
                (waiting, all_primed) = (true, false);
                tracing::debug!(
                    error = krs_core::error::chain(&error),
                    "the names of a set are not known yet"
                );
                break;
            }
        }
        let listed = importer.prime_jobs(&stored, &heartbeat).await;
        if let Err(error) = &listed {
            waiting = true;
            let error = krs_core::error::chain(error);
            tracing::debug!(error, "copy Jobs cannot be read");
        }
        if !waiting || started.elapsed() >= PRIMING_TIMEOUT {
            importer.begin();
            is_primed.store(true, Ordering::Release);
        }
        importer.retain(&sets, all_synced && all_primed && listed.is_ok());
        importer.measure_success();
        if forget_at <= Instant::now() && all_synced {
            forget_at = Instant::now() + FORGET;
            importer.delete_stale(&sets, &heartbeat).await;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = changed.notified() => {}
        }
    }
}
