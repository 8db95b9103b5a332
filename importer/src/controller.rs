// SPDX-License-Identifier: Apache-2.0
//! When a set is looked at: when it changes, when one of its Jobs does, when the drop folder does, and from time to time.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, stream};
use k8s_openapi::api::batch::v1::Job;
use krs_core::crd::EdgeImageSet;
use kube::Api;
use kube::api::ListParams;
use kube::runtime::controller::{self, Controller};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{Predicate as _, PredicateConfig, WatchStreamExt as _, predicates, watcher};
use tokio::sync::watch;

use crate::job;
use crate::reconcile::{Importer, on_error, reconcile};
use crate::stock::Stock;

/// Sets of one namespace list that are looked at together.
const CONCURRENCY: u16 = 16;
/// Changes that come so close together are looked at once.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// How often sets that are gone are noticed: nothing needs them any more, so that nothing is in a hurry.
const SWEEP: Duration = Duration::from_secs(2);
/// How long to wait for definitions or permissions that are missing.
const UNKNOWN: Duration = Duration::from_secs(10);
/// Every so many sweeps, what is remembered of sets that are gone is deleted.
const FORGET: u32 = 300;

/// Looks at the sets of the namespaces that the site serves until `stop` is done, and lets what is under way come to an
/// end. `seen` is set once all sets are known.
pub async fn run(
    importer: Arc<Importer>,
    stock: watch::Receiver<Arc<Stock>>,
    seen: Arc<AtomicBool>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let stop = stop.shared();
    let namespaces = match importer.config().watch_namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().map(|namespace| Some(namespace.as_str())).collect(),
    };
    let mut stores = Vec::new();
    let mut running = Vec::new();
    for namespace in &namespaces {
        tokio::select! {
            () = known_to_the_api_server(&importer, *namespace) => {}
            () = stop.clone() => return,
        }
    }
    for namespace in namespaces {
        let (reader, writer) = reflector::store();
        let sets = api::<EdgeImageSet>(&importer, namespace);
        let sets = watcher(sets, watcher::Config::default())
            .default_backoff()
            .reflect(writer)
            .applied_objects()
            .predicate_filter(
                predicates::generation.combine(predicates::annotations),
                PredicateConfig::default(),
            );
        let jobs = watcher::Config::default().labels(job::SELECTOR);
        let controller = Controller::for_stream(sets, reader.clone())
            .with_config(controller::Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE))
            .owns(api::<Job>(&importer, namespace), jobs)
            .reconcile_all_on(changes(stock.clone()))
            .reconcile_on(importer.wakeups(namespace))
            .graceful_shutdown_on(stop.clone())
            .run(reconcile, on_error, Arc::clone(&importer));
        running.push(controller.for_each(|result| {
            if let Err(error) = result {
                tracing::debug!(%error, "a look at a set did not end well");
            }
            futures::future::ready(())
        }));
        stores.push(reader);
    }
    let sweeping = sweep(&importer, &stores, &seen);
    tokio::select! {
        _ = futures::future::join_all(running) => {}
        () = sweeping => {}
    }
}

fn api<K>(importer: &Importer, namespace: Option<&str>) -> Api<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(importer.client(), namespace),
        None => Api::all(importer.client()),
    }
}

/// One item for each change of what the drop folder holds.
fn changes(stock: watch::Receiver<Arc<Stock>>) -> impl futures::Stream<Item = ()> + Send + 'static {
    stream::unfold(stock, |mut stock| async move { stock.changed().await.ok().map(|()| ((), stock)) })
}

/// Notices sets that are new or gone. Never ends.
async fn sweep(importer: &Importer, stores: &[Store<EdgeImageSet>], seen: &AtomicBool) {
    for store in stores {
        if store.wait_until_ready().await.is_err() {
            return std::future::pending().await;
        }
    }
    for round in 0_u32.. {
        let sets = stores.iter().flat_map(Store::state).collect::<Vec<_>>();
        match importer.learn(&sets).await {
            Ok(()) => seen.store(true, Ordering::Release),
            Err(error) => tracing::warn!(%error, "copy Jobs cannot be listed; no set is looked at before"),
        }
        importer.only(&sets);
        if round % FORGET == 0 {
            importer.forget_all_but(&sets).await;
        }
        tokio::time::sleep(SWEEP).await;
    }
}

/// Waits until sets can be listed, and says in the log what is missing until then.
async fn known_to_the_api_server(importer: &Importer, namespace: Option<&str>) {
    let one = ListParams::default().limit(1);
    loop {
        let Err(error) = api::<EdgeImageSet>(importer, namespace).list_metadata(&one).await else { return };
        match &error {
            kube::Error::Api(status) if status.code == 404 => tracing::error!(
                "the API server does not know EdgeImageSets: apply the definitions (`krs crd | kubectl apply --server-side -f -`, or `helm upgrade` of the importer's chart with its crds)"
            ),
            kube::Error::Api(status) if status.code == 403 => tracing::error!(
                detail = status.message,
                "the importer may not list EdgeImageSets: install the chart's RBAC, and compare watchNamespaces"
            ),
            _ => tracing::error!(error = krs_core::error::chain(&error), "EdgeImageSets cannot be listed"),
        }
        tokio::time::sleep(UNKNOWN).await;
    }
}
