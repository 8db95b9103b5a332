// SPDX-License-Identifier: Apache-2.0
//! Sets from their creation to their end, against an API server in memory and a registry in this process.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code, reason = "other tests use more of it")]
#[path = "../support/api/mod.rs"]
mod api;
mod api_tests;
mod content;
mod controller;
mod deleted;
mod fairness;
mod importers;
mod jobs;
mod media;
mod overwritten;
mod owned_jobs;
mod policy;
#[path = "../support/program.rs"]
mod program;
mod progress;
mod receipts;
mod refused;
mod registries;
mod renewals;
mod requests;
mod retries;
mod sampling;
mod secrets;
mod start;
mod tenants;
mod tls;
mod upgrade;
mod world;

use api::Fault;
use krs_testing::log::Log;
use krs_testing::registry::Auth;
use serde_json::json;
use world::{SETS, World};

const READY: &str = "SyncSuccessful";

#[tokio::test]
async fn a_new_set_becomes_ready_and_an_idle_one_costs_next_to_nothing() {
    let world = World::new(3, Auth::None);
    world.set("x", &[0, 1, 2], |_| {});
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    assert_eq!(world.reason("x"), "Copying");
    assert_eq!(world.status("x")["observedGeneration"], 1);
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
    let status = world.status("x");
    let order = (0..3).map(|n| world.reference(n)).collect::<Vec<_>>();
    assert_eq!(status["synchronizedImages"], json!(order));
    assert_eq!(world.api.all("events").len(), 2, "Copying and SyncComplete, once each");
    world.api.fail(None);
    world.wait(60);
    world.reconcile(&importer).await.unwrap();
    assert_eq!(world.api.calls(), Vec::<String>::new(), "a reconcile of a set that is Ready");
}

/// The process dies at every call in turn, before and after its effect; another one continues.
#[tokio::test]
async fn t67_whatever_call_the_importer_dies_at_the_same_end_is_reached() {
    for n in 0..40 {
        for fault in [Fault::Before(n), Fault::After(n)] {
            let world = World::new(2, Auth::None);
            world.set("x", &[0, 1], |_| {});
            world.api.fail(Some(fault));
            let mut importer = world.importer();
            let mut jobs = std::collections::BTreeSet::new();
            for _ in 0..12 {
                if world.reconcile(&importer).await.is_err() {
                    importer = world.importer();
                }
                jobs.extend(world.running().into_iter().map(|(name, _)| name));
                if world.api.calls().len().is_multiple_of(2) {
                    world.run_jobs();
                }
                world.wait(11);
            }
            world.api.fail(None);
            world.settle(&world.importer()).await;
            assert_eq!(world.reason("x"), READY, "{fault:?}");
            // Those that succeeded are deleted, but for those at whose end the importer died.
            let left = world.api.all("jobs");
            let is_known = |job: &serde_json::Value| jobs.contains(job["metadata"]["name"].as_str().unwrap());
            assert!(left.iter().all(is_known), "{fault:?}: {jobs:?}");
            assert!(jobs.iter().all(|name| name.ends_with("-1")), "{fault:?}: one attempt: {jobs:?}");
        }
    }
}

#[tokio::test]
async fn a_spec_that_changes_leaves_running_copies_alone_and_ends_those_that_nobody_wants() {
    let world = World::new(3, Auth::None);
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    let first = world.running();
    world.set("x", &[0, 1], |_| {});
    world.wait(11);
    world.reconcile(&importer).await.unwrap();
    let both = world.running();
    assert!(both.len() == 2 && both.contains(&first[0]), "{both:?}");
    world.set("x", &[1], |_| {});
    world.wait(11);
    world.reconcile(&importer).await.unwrap();
    let rest = world.running();
    assert!(rest.len() == 1 && rest[0].0 != first[0].0, "{rest:?}");
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
    assert_eq!(world.status("x")["observedGeneration"], 3);
}

#[tokio::test]
async fn t153_a_name_that_an_older_set_gives_is_not_given_to_something_else() {
    let world = World::new(2, Auth::None);
    world.set("old", &[0], |set| {
        set["metadata"]["creationTimestamp"] = json!("2025-01-01T00:00:00Z");
        set["spec"]["images"][0]["destinationRepository"] = json!("same");
    });
    world.set("late", &[1], |set| set["spec"]["images"][0]["destinationRepository"] = json!("same"));
    let importer = world.importer();
    world.settle(&importer).await;
    assert_eq!(world.reason("old"), READY);
    let (_, reason, message) = world.condition("late", "Stalled").unwrap();
    assert_eq!(reason, "NamingCollision");
    assert!(message.contains("the older set old;"), "{message}");
    assert_eq!(world.edge.digest("same", "1"), Some(world.images[0].digest));
    let tag = format!("krs-{}", &world.images[1].digest.hex()[..32]);
    assert_eq!(world.edge.digest("same", &tag), Some(world.images[1].digest), "it is there under its digest");
}

#[tokio::test]
async fn t80_a_job_that_was_deleted_before_anybody_saw_its_end_is_not_run_again() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    let name = world.running().remove(0).0;
    world.run_jobs();
    world.api.remove("jobs", "shop", &name);
    world.wait(11);
    world.reconcile(&importer).await.unwrap();
    assert_eq!(world.reason("x"), READY);
    assert!(world.api.all("jobs").is_empty());
}

#[tokio::test]
async fn t61_a_layer_that_the_registry_lost_is_found_and_copied_again() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
    let layer = world.images[0].blobs.last().unwrap().0;
    assert!(world.edge.delete_blob(&layer));
    world.wait(25 * 3600);
    world.reconcile(&importer).await.unwrap();
    assert_ne!(world.reason("x"), READY);
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
    assert!(world.edge.has_blob("shop/app0", &layer));
}

#[tokio::test]
async fn t122_the_bundle_stays_in_the_status_when_the_jobs_are_deleted() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.settle(&importer).await;
    let bundle = world.status("x")["bundle"].clone();
    assert_eq!(bundle["name"], "prod-1");
    for job in world.api.all("jobs") {
        world.api.remove("jobs", "shop", job["metadata"]["name"].as_str().unwrap());
    }
    for importer in [importer, world.importer()] {
        world.wait(3600);
        world.reconcile(&importer).await.unwrap();
        assert_eq!(world.status("x")["bundle"], bundle);
        assert_eq!(world.condition("x", "BundleVerified").unwrap().0, "True");
    }
}

#[tokio::test]
async fn nothing_is_done_for_a_suspended_set() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |set| set["spec"]["suspend"] = json!(true));
    world.reconcile(&world.importer()).await.unwrap();
    assert_eq!(world.reason("x"), "Suspended");
    assert!(world.api.all("jobs").is_empty() && world.edge.requests().is_empty());
}

#[tokio::test]
async fn t79_a_set_that_is_older_than_the_rules_is_reported_not_a_crash() {
    let world = World::new(1, Auth::None);
    for (name, registry) in [("scheme", "https://edge"), ("variable", "${EDGE}"), ("empty", "")] {
        world.set(name, &[0], |set| {
            set["spec"]["destinationRegistry"] = json!(registry);
            set["spec"]["resyncInterval"] = json!("never");
        });
    }
    world.set("text", &[0], |set| set["spec"]["destinationRegistry"] = json!("${EDGE}"));
    world.reconcile(&world.importer()).await.unwrap();
    for name in ["scheme", "variable", "empty", "text"] {
        assert_eq!(world.condition(name, "Stalled").unwrap().1, "InvalidSpec", "{name}");
        assert_eq!(world.status(name)["observedGeneration"], 1);
    }
    assert!(world.condition("text", "Ready").unwrap().2.contains("variable"));
    assert_eq!(world.api.all(SETS).len(), 4);
}

#[tokio::test]
async fn t124_each_decision_about_a_set_is_one_line_of_the_log_and_what_does_not_change_none() {
    let (world, log) = (World::new(2, Auth::None), Log::capture());
    world.set("x", &[0, 1], |_| {});
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    let lines = log.take();
    let created = lines.iter().filter(|line| line["message"] == "copy Job created").collect::<Vec<_>>();
    assert_eq!(created.len(), 2, "{lines:?}");
    assert_eq!((&created[0]["set"], &created[0]["from"]), (&json!("shop/x"), &json!("bundle prod-1")));
    let waits = lines.iter().filter(|line| line["reason"] == "Copying").collect::<Vec<_>>();
    assert_eq!((waits.len(), &waits[0]["kind"], &waits[0]["name"]), (1, &json!("EdgeImageSet"), &json!("x")));
    assert_eq!(lines.len(), 3, "{lines:?}");
    world.reconcile(&importer).await.unwrap();
    assert_eq!(log.take(), Vec::<serde_json::Value>::new(), "nothing changed");
    let failing = world.running().remove(0).0;
    world.end(&failing, "Failed", "BackoffLimitExceeded");
    world.run_jobs();
    world.wait(11);
    world.reconcile(&importer).await.unwrap();
    let lines = log.take();
    let of_job =
        |text: &str| lines.iter().filter(|line| line["message"].as_str().unwrap().starts_with(text)).count();
    assert_eq!((of_job("copy Job succeeded"), of_job("copy Job failed")), (1, 1), "{lines:?}");
    let failed = lines.iter().find(|line| line["job"] == json!(failing)).unwrap();
    assert_eq!((&failed["level"], &failed["reason"]), (&json!("WARN"), &json!("CopyFailed")), "{failed}");
    world.settle(&importer).await;
    let lines = log.take();
    assert_eq!(lines.iter().filter(|line| line["reason"] == "SyncComplete").count(), 1, "{lines:?}");
    world.wait(60);
    world.reconcile(&importer).await.unwrap();
    world.reconcile(&world.importer()).await.unwrap();
    assert_eq!(log.take(), Vec::<serde_json::Value>::new(), "a restart decides nothing new");
}
