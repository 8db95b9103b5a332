// SPDX-License-Identifier: Apache-2.0
//! `krs-importer run`: puts the parts together, and ends them in order.

mod error;
mod renewal;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use camino::Utf8Path;
use krs_core::error::chain;
use krs_core::registry::DenyList;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::error::STOPPING;
use self::renewal::{LEASE_RETRY, renew_certificate, renew_lease};
use crate::adapters::api_client;
use crate::adapters::bundle_store::BundleStore;
use crate::adapters::events::Events;
use crate::adapters::follow::Pace;
use crate::adapters::heartbeat::{Heartbeats, Watches};
use crate::adapters::high_water_marks::HighWaterMarks;
use crate::adapters::lease::{self, Leases, Times, holder_name};
use crate::adapters::metrics::Metrics;
use crate::app::controller;
use crate::app::http::{self, Health};
use crate::app::intake::Intake;
use crate::app::receipts::ReceiptWriter;
use crate::app::reconcile::{Context, Reconciler};
use crate::app::registry::Registry;
use crate::app::start::Start;
use crate::app::tls::{self, ServerIdentity};
use crate::model::bundle_inventory::BundleInventory;
use crate::model::config::Config;
use crate::model::media_record::MediaRecords;
use crate::model::policy::{self, AllowList, Destinations};
use crate::model::required_images::RequiredImages;

pub use self::error::{LeaseError, RunError};

/// How long the intake may be without progress: several calls of the API server that each run into their time limit.
const LOOP_LIMIT: Duration = Duration::from_secs(600);

/// How long looking the API server's address up may take.
const LOOK_UP: Duration = Duration::from_secs(10);

/// Runs the importer until the system asks it to stop.
///
/// # Expected flow
/// Reads the configuration, serves health, waits for the API server and the Lease, then runs the embedded registry, the
/// intake and the controller side by side.
///
/// # Guarantees
/// Nothing is reconciled or served before the Lease is held. One part that ends by itself, or a Lease that another process
/// took, ends them all.
///
/// # Errors
/// [`RunError`]; Kubernetes starts the process again.
///
/// # Cancellation
/// SIGTERM and SIGINT stop all parts, and release the Lease once they have ended; those that take too long are an error.
pub async fn main(path: &Utf8Path) -> Result<(), RunError> {
    let config = Arc::new(Config::read(path)?);
    let (destinations, sources) = registries(&config)?;
    let asked_to_stop = signals()?;
    let surroundings = kube::Config::infer().await?;
    let api_server = api_server(&surroundings).await;
    let (metrics, measured) = Metrics::new();
    let heartbeats = Heartbeats::default();
    let watches = Watches::new(heartbeats.clone(), metrics.clone());
    let client = kube::Client::try_from(surroundings)?;
    let client = api_client::limited(client, api_client::Limits::default(), Arc::clone(&watches));
    let pod = std::env::var("POD_NAME").ok();
    let (stock, stocked) = watch::channel(Arc::<BundleInventory>::default());
    let is_primed = Arc::new(AtomicBool::new(false));
    let (stop, stopping) = watch::channel(false);
    let stopped = || ended(stop.subscribe());
    let start = Start::new(heartbeats.begin("the start", LOOP_LIMIT));
    let mut health = health(heartbeats.clone(), measured, &stocked, &is_primed);
    health.ready.push(start.is_over());
    let serving = http::serve(config.http, health, stopped());
    let address = config.http;
    let mut parts = JoinSet::new();
    parts.spawn(named("the health server", async move {
        serving.await.map_err(|source| RunError::Listen { address, source })
    }));
    tokio::pin!(asked_to_stop);
    let holder = holder_name(pod.as_deref(), std::env::var("POD_UID").ok().as_deref());
    let (name, served) = (&config.namespace, &config.watch_namespaces);
    let leases = Arc::new(Leases::new(client.clone(), name, &holder, served, Times::default()));
    let identity = tokio::select! {
        identity = begin(&start, &client, &config, &leases) => identity?,
        () = &mut asked_to_stop => return Ok(()),
        Some(first) = parts.join_next() => return Err(first_end(first)),
    };
    start.end();
    let (ca, registry_ca) = watch::channel(identity.ca.clone());

    let events = Events::new(client.clone(), pod);
    let (library, faults) = BundleStore::new();
    let (demand, demanded) = watch::channel(Arc::<RequiredImages>::default());
    let marks = HighWaterMarks::new(client.clone(), &config.namespace);

    let registry = Registry::bind(
        &config.registry,
        &identity,
        client.clone(),
        Arc::clone(&library),
        demanded.clone(),
        config.share_across_namespaces,
        metrics.clone(),
    )
    .await?;
    let (outcomes, finished) = watch::channel(None);
    let receipts = ReceiptWriter::new(&config, client.clone(), demanded.clone(), finished, metrics.clone());
    let (records, recorded) = watch::channel(Arc::<MediaRecords>::default());
    let to_media = config.receipts.to_media;
    let receipts = receipts.map(|receipts| {
        if to_media { receipts.with_media(config.receipts.folder.clone(), records) } else { receipts }
    });
    // Without a name of the site nothing is written, and no media wait.
    let waits = to_media && receipts.is_some();
    let intake = Intake::new(
        Arc::clone(&config),
        client.clone(),
        events.clone(),
        metrics.clone(),
        library,
        faults,
        Arc::clone(&marks),
        demanded,
        stock,
    )
    .with_outcomes(outcomes)
    .with_heartbeat(heartbeats.begin("the intake", LOOP_LIMIT))
    .with_watch(Arc::clone(&watches), heartbeats.clone(), Pace { limit: LOOP_LIMIT, ..Pace::default() });
    let intake = if waits { intake.with_receipts(recorded) } else { intake };
    let importer = Reconciler::new(Context {
        config: Arc::clone(&config),
        client: client.clone(),
        destinations,
        sources,
        events,
        metrics,
        marks,
        stock: stocked.clone(),
        demand,
        registry_ca,
        deny_list: DenyList::new(move |address| forbidden(address, &api_server)),
        clock: Arc::new(jiff::Timestamp::now),
        heartbeats: heartbeats.clone(),
    })
    .with_leases(Arc::clone(&leases));

    let renewal = renew_certificate(client, Arc::clone(&config), registry.certificate(), identity, ca);
    parts.spawn(named("the renewal of the certificate", async move {
        tokio::select! { () = renewal => {} () = ended(stopping.clone()) => {} }
        Ok(())
    }));
    let held = Arc::clone(&leases);
    let stopping = stop.subscribe();
    parts.spawn(named("the renewal of the Lease", async move {
        tokio::select! { error = renew_lease(&held) => Err(error), () = ended(stopping) => Ok(()) }
    }));
    parts.spawn(named("the embedded registry", ok(registry.run(stopped()))));
    parts.spawn(named("the intake", ok(intake.run(stopped()))));
    if let Some(receipts) = receipts {
        parts.spawn(named("the receipt of the site", ok(receipts.run(stopped()))));
    }
    let controlling =
        controller::run(Arc::new(importer), watches, stocked, is_primed, Pace::default(), stopped());
    parts.spawn(named("the controller", ok(controlling)));
    let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("KRS_COMMIT"));
    tracing::info!(version, commit, namespace = config.namespace, "the importer runs");

    let outcome = tokio::select! {
        () = &mut asked_to_stop => {
            tracing::info!("asked to stop");
            Ok(())
        }
        Some(first) = parts.join_next() => Err(first_end(first)),
    };
    stop.send_replace(true);
    let rest = async {
        while parts.join_next().await.is_some() {}
        // Another process need not wait until the Lease expires.
        if let Err(error) = leases.release().await {
            tracing::debug!(error = chain(&error), "the Lease could not be released");
        }
    };
    let in_time = tokio::time::timeout(STOPPING, rest).await;
    outcome?;
    in_time.map_err(|_| RunError::Late)
}

/// The registries that sets may name.
fn registries(config: &Config) -> Result<(Destinations, AllowList), RunError> {
    let refused = |field| move |detail| RunError::Registries { field, detail };
    let destinations = Destinations::parse(&config.allowed_destinations);
    let sources = AllowList::parse(&config.online.allowed_sources);
    Ok((
        destinations.map_err(refused("allowedDestinations"))?.with_tls(config.destination_tls),
        sources.map_err(refused("online.allowedSources"))?,
    ))
}

/// Waits for the API server and for the Lease, and answers with the certificate of the embedded registry.
async fn begin(
    start: &Start,
    client: &kube::Client,
    config: &Config,
    leases: &Leases,
) -> Result<ServerIdentity, RunError> {
    let mut held_by = None;
    loop {
        match start.step("the Lease", async || leases.acquire().await.map_err(LeaseError)).await? {
            lease::Attempt::Held => break,
            lease::Attempt::HeldBy(other) => {
                let what = format!(
                    "{other} holds Lease {}/krs-importer: one importer runs in a namespace",
                    config.namespace
                );
                if held_by.as_ref() != Some(&other) {
                    tracing::warn!("the start is delayed: {what}");
                    held_by = Some(other);
                }
                start.waits_for(what);
            }
            lease::Attempt::Contended => {}
        }
        tokio::time::sleep(LEASE_RETRY).await;
    }
    let attempt = async || tls::identity(client, &config.namespace, &config.registry.host).await;
    Ok(start.step("the certificate of the embedded registry", attempt).await?)
}

/// A part of the importer: its name, and how it ended.
type Part = (&'static str, Result<(), RunError>);

async fn named(name: &'static str, part: impl Future<Output = Result<(), RunError>>) -> Part {
    (name, part.await)
}

async fn ok(part: impl Future<Output = ()>) -> Result<(), RunError> {
    part.await;
    Ok(())
}

/// The error that the first part to end ends the process with: each is to continue until it is asked to stop.
fn first_end(end: Result<Part, tokio::task::JoinError>) -> RunError {
    match end {
        Ok((name, Ok(()))) => RunError::Ended(name),
        Ok((_, Err(error))) => error,
        Err(panic) => RunError::Panicked(panic),
    }
}

/// Done once `stop` says so, or nobody is left who could.
async fn ended(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn health(
    heartbeats: Heartbeats,
    metrics: prometheus_client::registry::Registry,
    stock: &watch::Receiver<Arc<BundleInventory>>,
    is_primed: &Arc<AtomicBool>,
) -> Health {
    let scanned = stock.clone();
    Health {
        heartbeats,
        ready: vec![
            http::once(Arc::clone(is_primed), "the sets of the cluster are not known yet"),
            Box::new(move || {
                if scanned.borrow().scanned {
                    Ok(())
                } else {
                    Err("the drop folder was not read yet".to_owned())
                }
            }),
        ],
        metrics,
    }
}

/// Addresses of the API server, which are never a destination.
async fn api_server(config: &kube::Config) -> Vec<IpAddr> {
    let named = config.cluster_url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let in_pods = std::env::var("KUBERNETES_SERVICE_HOST").ok();
    let mut addresses = Vec::new();
    for host in in_pods.into_iter().chain([named]) {
        let found = tokio::time::timeout(LOOK_UP, tokio::net::lookup_host((host.as_str(), 443))).await;
        if let Ok(Ok(found)) = found {
            addresses.extend(found.map(|address| address.ip().to_canonical()));
        }
    }
    addresses
}

fn forbidden(address: IpAddr, api_server: &[IpAddr]) -> Option<&'static str> {
    let mut reasons = api_server.iter().filter_map(|api| policy::forbidden(address, Some(*api)));
    reasons.next().or_else(|| policy::forbidden(address, None))
}

/// Done once the system asks the process to stop.
fn signals() -> Result<impl Future<Output = ()>, RunError> {
    let listen = |kind| signal(kind).map_err(RunError::Signals);
    let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! { _ = term.recv() => {} _ = int.recv() => {} }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_address_of_the_api_server_is_barred_beside_those_that_always_are() {
        let api = ["10.96.0.1".parse().unwrap(), "192.0.2.7".parse().unwrap()];
        for (address, denied) in
            [("10.96.0.1", true), ("192.0.2.7", true), ("127.0.0.1", true), ("192.0.2.8", false)]
        {
            assert_eq!(forbidden(address.parse().unwrap(), &api).is_some(), denied, "{address}");
        }
        assert!(forbidden("169.254.169.254".parse().unwrap(), &[]).is_some());
    }

    #[tokio::test]
    async fn a_part_that_ends_by_itself_is_named() {
        let part = named("the intake", ok(async {})).await;
        assert_eq!(first_end(Ok(part)).to_string(), "the intake ended by itself");
    }
}
