// SPDX-License-Identifier: Apache-2.0
//! What fails for one namespace, set or source registry holds up no other.

use std::sync::Arc;

use futures::{FutureExt as _, Stream, StreamExt as _};
use krs_core::crd::EdgeImageSet;
use krs_importer::adapters::metrics::RegistryLabels;
use krs_importer::app::reconcile::reconcile;
use krs_testing::registry::{Auth, Matcher, Options, Registry, What};
use kube::runtime::reflector::ObjectRef;
use serde_json::json;

use crate::READY;
use crate::api::Fault;
use crate::world::World;

fn back_off(world: &World, registry: &str, namespace: &str) -> i64 {
    let labels = RegistryLabels { registry: registry.to_owned(), namespace: namespace.to_owned() };
    world.metrics.registry_back_off.get_or_create(&labels).get()
}

fn woken(stream: &mut (impl Stream<Item = ObjectRef<EdgeImageSet>> + Unpin)) -> Vec<String> {
    std::iter::from_fn(|| stream.next().now_or_never().flatten()).map(|set| set.name).collect()
}

#[tokio::test]
async fn t185_what_fails_for_one_namespace_closes_the_registry_for_no_other() {
    let world = World::new(1, Auth::None);
    let host = world.edge.host().to_string();
    for n in 0..8 {
        world.set_in("evil", &format!("e{n}"), &[0], |set| {
            set["spec"]["destinationRegistry"] = json!(format!("{host}/evil"));
        });
    }
    world.set("x", &[0], |_| {});
    world.edge.fail(Matcher::any().path("/evil/"), What::Status(503, vec![], String::new()));
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    let reason = |name: &str| world.condition_in("evil", name, "Ready").map(|(_, reason, _)| reason);
    assert_eq!(reason("e7").as_deref(), Some("RegistryBackOff"));
    assert_eq!((back_off(&world, &host, "evil"), back_off(&world, &host, "")), (1, 0));
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
}

#[tokio::test]
async fn t186_a_registry_that_asks_for_a_pause_gets_it_and_the_pause_is_no_failure() {
    let world = World::new(1, Auth::None);
    let host = world.edge.host().to_string();
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.edge.fail(Matcher::any(), What::RetryAfter(429, 120));
    world.reconcile(&importer).await.unwrap();
    assert_eq!(back_off(&world, &host, "shop"), 1);
    world.edge.clear_requests();
    for _ in 0..11 {
        world.wait(10);
        world.reconcile(&importer).await.unwrap();
    }
    assert!(world.edge.requests().is_empty(), "nobody asks it before the time");
    let (_, reason, message) = world.condition("x", "Ready").unwrap();
    assert_eq!(reason, "RegistryBackOff");
    assert!(message.contains("asked for a pause") && message.contains("2026-01-01T00:02:01Z"), "{message}");
    world.edge.clear_faults();
    world.wait(10);
    // The client of the other one waits by a clock that the test does not set.
    let importer = world.importer();
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
    assert_eq!(back_off(&world, &host, "shop"), 0);
}

#[tokio::test]
async fn t187_a_source_registry_that_fails_is_left_alone_and_its_connections_are_used_again() {
    let source = Registry::start(Options::default());
    let host = source.host().to_string();
    let mut world = World::new(1, Auth::None);
    world.config = format!("online: {{enabled: true, allowedSources: ['{host}'], plainHTTP: ['{host}']}}\n");
    world.images[0].push_to(&source, "shop/app", Some("1"));
    for n in 0..6 {
        world.set(&format!("s{n}"), &[0], |set| {
            set["spec"]["destinationRegistry"] = json!(format!("{}/site{n}", world.edge.host()));
            set["spec"]["images"][0]["image"] = json!(format!("{host}/shop/app:1"));
            set["spec"]["source"] = json!("Registry");
        });
    }
    source.fail(Matcher::any(), What::Status(503, vec![], String::new()));
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    let (_, reason, message) = world.condition("s5", "Ready").unwrap();
    assert_eq!(reason, "RegistryBackOff", "{message}");
    assert_eq!(back_off(&world, &host, "shop"), 1);
    source.clear_requests();
    for _ in 0..4 {
        world.wait(5);
        world.reconcile(&importer).await.unwrap();
    }
    assert!(source.requests().is_empty(), "nobody asks it during the pause");
    source.clear_faults();
    world.wait(15);
    world.reconcile(&importer).await.unwrap();
    world.settle(&importer).await;
    for n in 0..6 {
        assert_eq!(world.reason(&format!("s{n}")), READY);
    }
    let connections = source.connections();
    assert!(connections <= 8, "{connections} connections");
}

/// The end of a Job wakes two sets: the one that waits longest, and as its place is free, the next.
#[tokio::test]
async fn t188_sets_that_wait_for_a_secret_pass_the_place_for_a_job_on() {
    let mut world = World::new(4, Auth::None);
    world.max_jobs = 1;
    world.config = "online: {enabled: true, allowedSources: [source.local]}\n".to_owned();
    world.set("a-holder", &[0], |_| {});
    for (n, name) in [(1, "b-quiet"), (2, "c-quiet")] {
        world.set(name, &[n], |set| {
            let image =
                json!({"image": format!("source.local/{name}:1"), "sourceClientSecretName": "missing"});
            set["spec"]["images"].as_array_mut().unwrap().push(image);
        });
    }
    world.set("d-next", &[3], |_| {});
    let importer = world.importer();
    for _ in 0..3 {
        world.reconcile(&importer).await.unwrap();
        world.wait(11);
    }
    assert_eq!(world.reason("b-quiet"), "SecretNotFound");
    assert_eq!(world.running().len(), 1);
    let mut events = importer.wakeups(None);
    world.run_jobs();
    reconcile(world.object("a-holder"), Arc::clone(&importer)).await.unwrap();
    assert_eq!(woken(&mut events), ["b-quiet", "c-quiet"]);
    world.api.fail(None);
    reconcile(world.object("b-quiet"), Arc::clone(&importer)).await.unwrap();
    let calls = world.api.calls();
    assert!(calls.iter().all(|call| call == "GET secrets"), "it is not reconciled in full: {calls:?}");
    assert_eq!(woken(&mut events), ["d-next"]);
    reconcile(world.object("d-next"), Arc::clone(&importer)).await.unwrap();
    assert_eq!(world.running().len(), 1);
}

#[tokio::test]
async fn t188_a_set_whose_reconcile_fails_passes_the_place_for_a_job_on() {
    let mut world = World::new(4, Auth::None);
    world.max_jobs = 1;
    for (n, name) in ["a-holder", "b-fails", "c-waits", "d-next"].into_iter().enumerate() {
        world.set(name, &[n], |_| {});
    }
    let importer = world.importer();
    for _ in 0..2 {
        world.reconcile(&importer).await.unwrap();
        world.wait(11);
    }
    let mut events = importer.wakeups(None);
    world.run_jobs();
    reconcile(world.object("a-holder"), Arc::clone(&importer)).await.unwrap();
    assert_eq!(woken(&mut events), ["b-fails", "c-waits"]);
    world.api.fail(Some(Fault::Before(0)));
    reconcile(world.object("b-fails"), Arc::clone(&importer)).await.unwrap_err();
    // What it had taken for its Job is given back: that is like the end of another Job.
    assert_eq!(woken(&mut events), ["c-waits", "d-next"]);
}
