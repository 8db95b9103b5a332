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
#[path = "../support/program.rs"]
mod program;
mod progress;
mod registries;
mod requests;
mod retries;
mod sampling;
mod start;
mod tenants;
mod tls;
mod upgrade;
mod world;

use api::{Fault, Trouble};
use krs_core::registry::Barred;
use krs_testing::log::Log;
use krs_testing::registry::{Auth, Matcher, What};
use serde_json::json;
use world::{SETS, World};

const READY: &str = "SyncSuccessful";

#[tokio::test]
async fn a_new_set_becomes_ready_and_an_idle_one_costs_next_to_nothing() {
    let world = World::new(3, Auth::None);
    world.set("x", &[0, 1, 2], |_| {});
    let importer = world.importer();
    world.look(&importer).await.unwrap();
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
    world.look(&importer).await.unwrap();
    assert_eq!(world.api.calls(), Vec::<String>::new(), "a look at a set that is Ready");
}

/// The process dies at every call in turn, before and after its effect; another one goes on.
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
                if world.look(&importer).await.is_err() {
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
    world.look(&importer).await.unwrap();
    let first = world.running();
    world.set("x", &[0, 1], |_| {});
    world.wait(11);
    world.look(&importer).await.unwrap();
    let both = world.running();
    assert!(both.len() == 2 && both.contains(&first[0]), "{both:?}");
    world.set("x", &[1], |_| {});
    world.wait(11);
    world.look(&importer).await.unwrap();
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
    world.look(&importer).await.unwrap();
    let name = world.running().remove(0).0;
    world.run_jobs();
    world.api.remove("jobs", "shop", &name);
    world.wait(11);
    world.look(&importer).await.unwrap();
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
    world.look(&importer).await.unwrap();
    assert_ne!(world.reason("x"), READY);
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
    assert!(world.edge.has_blob("shop/app0", &layer));
}

#[tokio::test]
async fn t83_a_job_that_the_api_server_refuses_is_reported_in_its_words_and_tried_later() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    world.api.refuse("jobs", Some("exceeded quota: team"));
    let importer = world.importer();
    world.look(&importer).await.unwrap();
    let (_, reason, message) = world.condition("x", "Ready").unwrap();
    assert_eq!(reason, "JobRejected");
    assert!(message.contains("exceeded quota: team"), "{message}");
    world.wait(2);
    world.look(&importer).await.unwrap();
    assert_eq!(world.reason("x"), "JobRejected", "while it waits, too");
    world.api.refuse("jobs", None);
    world.wait(700);
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
}

#[tokio::test]
async fn t121_a_refused_job_that_copies_from_a_bundle_is_created_again_with_a_growing_wait() {
    let world = World::new(2, Auth::None);
    world.set("x", &[0, 1], |_| {});
    world.api.refuse("jobs", Some("admission webhook denied the request"));
    let importer = world.importer();
    for _ in 0..60 {
        world.look(&importer).await.unwrap();
        world.wait(5);
    }
    // Two Jobs; each is tried after 10, 20, 40, 80 and 160 s.
    let created = world.api.calls().iter().filter(|call| *call == "POST jobs").count();
    assert!((6..=12).contains(&created), "{created} attempts in 5 minutes");
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
        world.look(&importer).await.unwrap();
        assert_eq!(world.status("x")["bundle"], bundle);
        assert_eq!(world.condition("x", "BundleVerified").unwrap().0, "True");
    }
}

/// Pod Security judges the Pod, not the Job: only an event tells.
#[tokio::test]
async fn t83_a_job_whose_pod_is_refused_is_reported_in_the_words_of_the_api_server() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.look(&importer).await.unwrap();
    let job = world.api.get("jobs", "shop", &world.running()[0].0).unwrap();
    world.api.put(
        "coreevents",
        json!({
            "metadata": {"name": "e", "namespace": "shop"}, "reason": "FailedCreate",
            "involvedObject": {"uid": job["metadata"]["uid"]}, "message": "violates PodSecurity restricted",
        }),
    );
    world.wait(11);
    world.look(&importer).await.unwrap();
    let (_, reason, message) = world.condition("x", "Ready").unwrap();
    assert_eq!(reason, "JobRejected");
    assert!(message.contains("violates PodSecurity"), "{message}");
}

fn secret(password: &str) -> serde_json::Value {
    let encode = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/basic-auth",
        "metadata": {"name": "login", "namespace": "shop"},
        "data": {"username": encode("u"), "password": encode(password)},
    })
}

#[tokio::test]
async fn a_secret_that_is_missing_then_wrong_then_right_needs_no_restart_and_is_not_tried_in_a_storm() {
    let world = World::new(1, Auth::basic("u", "right"));
    world.set("x", &[0], |set| set["spec"]["destinationClientSecretName"] = json!("login"));
    let importer = world.importer();
    world.look(&importer).await.unwrap();
    let (_, reason, message) = world.condition("x", "Ready").unwrap();
    assert_eq!(reason, "SecretNotFound");
    assert!(message.contains("login") && message.contains("shop"), "{message}");
    world.api.put("secrets", secret("wrong"));
    world.wait(15);
    world.look(&importer).await.unwrap();
    assert_eq!(world.reason("x"), "AuthFailed");
    let asked = world.edge.requests().len();
    world.api.fail(None);
    for _ in 0..10 {
        world.wait(15);
        world.look(&importer).await.unwrap();
    }
    assert_eq!(world.edge.requests().len(), asked, "a wrong password is not tried again and again");
    assert!(world.api.calls().iter().all(|call| call == "GET secrets"), "{:?}", world.api.calls());
    world.api.put("secrets", secret("right"));
    world.wait(15);
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
}

#[tokio::test]
async fn t100_a_registry_that_refuses_to_show_what_is_absent_is_copied_to_and_what_cannot_be_read_is_never_ready()
 {
    let world = World::new(1, Auth::basic("u", "right"));
    world.set("x", &[0], |set| set["spec"]["destinationClientSecretName"] = json!("login"));
    world.api.put("secrets", secret("right"));
    world.edge.fail(Matcher::any().path("/manifests/"), What::Status(403, vec![], String::new()));
    let importer = world.importer();
    world.look(&importer).await.unwrap();
    assert_eq!(world.running().len(), 1, "the push decides: {:?}", world.condition("x", "Ready"));
    // The Job ends well, and nobody can see what it did.
    world.run_jobs();
    world.wait(11);
    world.look(&importer).await.unwrap();
    let (status, reason, message) = world.condition("x", "Ready").unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "AuthFailed"), "{message}");
    assert!(message.contains("cannot be read"), "{message}");
    for _ in 0..10 {
        world.wait(30);
        world.look(&importer).await.unwrap();
        assert!(world.running().is_empty(), "attempts wait for the resync interval");
        assert_ne!(world.reason("x"), READY);
    }
    // Once it can be read, it is proven without another Job.
    world.edge.clear_faults();
    world.wait(600);
    world.look(&importer).await.unwrap();
    assert!(world.running().is_empty());
    assert_eq!(world.reason("x"), READY);
}

#[tokio::test]
async fn nothing_is_done_for_a_suspended_set() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |set| set["spec"]["suspend"] = json!(true));
    world.look(&world.importer()).await.unwrap();
    assert_eq!(world.reason("x"), "Suspended");
    assert!(world.api.all("jobs").is_empty() && world.edge.requests().is_empty());
}

#[tokio::test]
async fn a_destination_that_the_site_does_not_allow_is_never_spoken_to() {
    let mut world = World::new(1, Auth::None);
    world.allowed = vec![krs_importer::config::AllowedDestination::Any("edge.example".to_owned())];
    world.set("x", &[0], |_| {});
    world.look(&world.importer()).await.unwrap();
    let stalled = world.condition("x", "Stalled").unwrap();
    assert_eq!(stalled.1, "DestinationNotAllowed");
    assert!(stalled.2.contains("allowedDestinations"), "{}", stalled.2);
    assert!(world.edge.requests().is_empty() && world.api.all("jobs").is_empty());
}

/// The site's policy counts, and not that of the author of a set.
#[tokio::test]
async fn t183_what_the_site_forbids_about_tls_is_never_done() {
    for (field, value) in [("plainHTTP", "allowPlainHTTP"), ("insecureSkipVerify", "allowInsecureSkipVerify")]
    {
        let mut world = World::new(1, Auth::None);
        world.config = format!("destinationTLS: {{{value}: false}}\n");
        world.set("x", &[0], |set| set["spec"]["destinationTLS"] = json!({field: true}));
        world.look(&world.importer()).await.unwrap();
        let stalled = world.condition("x", "Stalled").unwrap();
        assert_eq!(stalled.1, "InsecureDestinationNotAllowed");
        assert!(stalled.2.contains(field) && stalled.2.contains(value), "{}", stalled.2);
        assert!(world.edge.requests().is_empty() && world.api.all("jobs").is_empty());
        // What is not forbidden, and what is not asked for, goes on.
        let other = if field == "plainHTTP" { "allowInsecureSkipVerify" } else { "allowPlainHTTP" };
        world.config = format!("destinationTLS: {{{other}: false}}\n");
        world.look(&world.importer()).await.unwrap();
        assert!(world.condition("x", "Stalled").is_none(), "{field}");
    }
}

#[tokio::test]
async fn t57_loopback_is_never_a_destination_even_where_it_is_allowed() {
    let mut world = World::new(1, Auth::None);
    world.barred = Barred::new(|address| krs_importer::policy::forbidden(address, None));
    world.set("x", &[0], |_| {});
    world.look(&world.importer()).await.unwrap();
    let stalled = world.condition("x", "Stalled").unwrap();
    assert_eq!(stalled.1, "DestinationNotAllowed");
    assert!(stalled.2.contains("loopback"), "{}", stalled.2);
    assert!(world.edge.requests().is_empty());
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
    world.look(&world.importer()).await.unwrap();
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
    world.look(&importer).await.unwrap();
    let lines = log.take();
    let created = lines.iter().filter(|line| line["message"] == "copy Job created").collect::<Vec<_>>();
    assert_eq!(created.len(), 2, "{lines:?}");
    assert_eq!((&created[0]["set"], &created[0]["from"]), (&json!("shop/x"), &json!("bundle prod-1")));
    let waits = lines.iter().filter(|line| line["reason"] == "Copying").collect::<Vec<_>>();
    assert_eq!((waits.len(), &waits[0]["kind"], &waits[0]["name"]), (1, &json!("EdgeImageSet"), &json!("x")));
    assert_eq!(lines.len(), 3, "{lines:?}");
    world.look(&importer).await.unwrap();
    assert_eq!(log.take(), Vec::<serde_json::Value>::new(), "nothing changed");
    let failing = world.running().remove(0).0;
    world.end(&failing, "Failed", "BackoffLimitExceeded");
    world.run_jobs();
    world.wait(11);
    world.look(&importer).await.unwrap();
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
    world.look(&importer).await.unwrap();
    world.look(&world.importer()).await.unwrap();
    assert_eq!(log.take(), Vec::<serde_json::Value>::new(), "a restart decides nothing new");
}

#[tokio::test]
async fn t138_a_secret_that_the_importer_may_not_read_is_said_and_read_once_it_may() {
    let world = World::new(1, Auth::basic("u", "p"));
    world.set("x", &[0], |set| set["spec"]["destinationClientSecretName"] = json!("login"));
    world.api.put(
        "secrets",
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/basic-auth",
            "metadata": {"name": "login", "namespace": "shop"},
            "data": {"username": "dQ==", "password": "cA=="},
        }),
    );
    let refusal = "secrets \"login\" is forbidden";
    world.api.trouble("GET", "secrets", Trouble::Status(403, "Forbidden", refusal), None);
    let importer = world.importer();
    world.look(&importer).await.unwrap();
    let (_, reason, message) = world.condition("x", "Ready").unwrap();
    assert_eq!(reason, "SecretForbidden", "{message}");
    assert!(message.contains(refusal) && message.contains("spec.destinationClientSecretName"), "{message}");
    world.wait(20);
    world.look(&importer).await.unwrap();
    world.api.mend();
    world.wait(20);
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
}

#[tokio::test]
async fn t143_a_pod_that_waits_for_a_volume_is_said_in_the_words_of_the_kubelet() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.look(&importer).await.unwrap();
    let name = world.running()[0].0.clone();
    let mut job = world.api.get("jobs", "shop", &name).unwrap();
    let labels = job["spec"]["template"]["metadata"]["labels"].clone();
    let mut pod = json!({
        "metadata": {"name": "pod", "namespace": "shop", "labels": labels, "ownerReferences": [{
            "apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"]}]},
        "status": {"phase": "Pending", "containerStatuses": [{
            "name": "copy", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ContainerCreating"}}}]},
    });
    pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] = json!(name);
    world.api.put("pods", pod);
    let uid = world.api.get("pods", "shop", "pod").unwrap()["metadata"]["uid"].clone();
    for (n, reason, message) in [
        (1, "FailedMount", "MountVolume.SetUp failed for volume \"destination\": secret \"login\" not found"),
        (2, "Scheduled", "assigned"),
    ] {
        world.api.put(
            "coreevents",
            json!({
                "metadata": {"name": format!("e{n}"), "namespace": "shop"}, "reason": reason,
                "involvedObject": {"uid": uid}, "message": message,
            }),
        );
    }
    job["metadata"]["creationTimestamp"] = json!(world.now().to_string());
    world.api.put("jobs", job);
    world.wait(11);
    world.look(&importer).await.unwrap();
    let (_, _, message) = world.condition("x", "Ready").unwrap();
    assert!(!message.contains("waits"), "every Pod is created for a while: {message}");
    world.wait(11);
    world.look(&importer).await.unwrap();
    let (_, reason, message) = world.condition("x", "Ready").unwrap();
    assert_eq!(reason, "Copying");
    assert!(message.contains("FailedMount") && message.contains("login"), "{message}");
}

/// The same size, other bytes: neither HEAD nor a walk over the manifests shows it.
#[tokio::test]
async fn t60_content_that_rotted_at_the_edge_is_found_when_it_is_read_back_and_copied_again_once_removed() {
    let world = World::new(2, Auth::None);
    world.set("x", &[0, 1], |_| {});
    let importer = world.importer();
    world.settle(&importer).await;
    let layer = world.images[1].blobs.iter().max_by_key(|(_, content)| content.len()).unwrap().0;
    assert!(world.edge.corrupt_blob(&layer));
    world.wait(25 * 3600);
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY, "nothing but its bytes tells");
    let ask = |value: &str| {
        let mut set = world.api.get(SETS, "shop", "x").unwrap();
        set["metadata"]["annotations"] = json!({"kuberegistrysync.io/verify-content-at": value});
        world.api.put(SETS, set);
    };
    let until = async |wanted: &str| {
        let looking = async {
            while world.reason("x") != wanted {
                world.look(&importer).await.unwrap();
                world.run_jobs();
                world.wait(11);
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(std::time::Duration::from_secs(60), looking).await;
        in_time.unwrap_or_else(|_| panic!("{wanted}: {:#}", world.status("x")));
    };
    ask("1");
    until("DigestMismatch").await;
    let (_, reason, message) = world.condition("x", "Stalled").unwrap();
    assert_eq!(reason, "DigestMismatch");
    assert!(message.contains(&layer.to_string()), "{message}");
    assert_eq!(world.status("x")["synchronizedImages"], json!([world.reference(0)]));

    // A restart does not take it for sound.
    let again = world.importer();
    world.wait(11);
    world.look(&again).await.unwrap();
    assert_eq!(world.reason("x"), "DigestMismatch");

    assert!(world.edge.delete_blob(&layer));
    until(READY).await;
    ask("2");
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
}
