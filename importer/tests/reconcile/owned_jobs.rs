// SPDX-License-Identifier: Apache-2.0
//! Copy Jobs that others made, suspended, left or keep: which of them count, and for how long.

use std::sync::Arc;

use krs_importer::app::reconcile::reconcile;
use krs_testing::registry::Auth;
use kube::runtime::controller::Action;
use serde_json::{Value, json};

use crate::tenants::reason;
use crate::world::{SETS, World};

const READY: &str = "SyncSuccessful";

/// A Job that looks like ours, of a set in its namespace, that writes to `repository`.
fn forged(world: &World, name: &str, set: (&str, &str), repository: &str, suspend: bool) -> Value {
    let owner = world.api.get(SETS, set.0, set.1).unwrap()["metadata"]["uid"].clone();
    let task = json!({
        "destination": {"registry": world.edge.host(), "plainHTTP": true},
        "source": {"kind": "bundle", "digest": krs_core::oci::digest::Digest::of(b"bundle"), "name": "prod-1", "ca": "CA"},
        "targets": [{
            "image": world.reference(0), "sourceRegistry": "krs.krs-system.svc:5443", "sourceRepository": "a/b",
            "digest": world.images[0].digest, "repository": repository, "tags": ["1"],
        }],
    });
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": format!("krs-{name}-0123456789-1"), "namespace": set.0,
            "labels": {"app.kubernetes.io/managed-by": "krs-importer", "app.kubernetes.io/component": "copy",
                "kuberegistrysync.io/set-uid": owner},
            "annotations": {"kuberegistrysync.io/batch": "0123456789", "kuberegistrysync.io/attempt": "1",
                "kuberegistrysync.io/nonce": "00"},
            "ownerReferences": [{"apiVersion": "kuberegistrysync.io/v1alpha1", "kind": "EdgeImageSet",
                "name": set.1, "uid": owner, "controller": true}],
        },
        "spec": {"suspend": suspend, "template": {"spec": {"containers": [
            {"name": "copy", "args": ["copy", "--task", task.to_string()]}]}}},
    })
}

fn jobs_of<'a>(jobs: &'a [Value], namespace: &str) -> Vec<&'a Value> {
    jobs.iter().filter(|job| job["metadata"]["namespace"] == namespace).collect()
}

#[tokio::test]
async fn t151_jobs_that_the_importer_did_not_create_stop_nobody() {
    for restarted in [false, true] {
        let world = World::new(1, Auth::None);
        world.set_in("evil", "x", &[0], |set| set["spec"]["suspend"] = json!(true));
        world.set("mine", &[0], |set| set["spec"]["suspend"] = json!(true));
        let mut importer = world.importer();
        world.reconcile(&importer).await.unwrap();
        for n in 0..8 {
            let (name, suspend) = (format!("forged{n}"), n % 2 == 0);
            world.api.put("jobs", forged(&world, &name, ("evil", "x"), "shop/app0", suspend));
        }
        for n in 0..8 {
            // Of a set that there is not, and of one of another namespace.
            let mut stray = forged(&world, &format!("stray{n}"), ("evil", "x"), "shop/app0", false);
            let mine = world.api.get(SETS, "shop", "mine").unwrap()["metadata"]["uid"].clone();
            let uid = if n % 2 == 0 { mine } else { json!(format!("../../{n}")) };
            stray["metadata"]["ownerReferences"][0]["uid"] = uid.clone();
            stray["metadata"]["labels"]["kuberegistrysync.io/set-uid"] = uid;
            world.api.put("jobs", stray);
        }
        if restarted {
            importer = world.importer();
        }
        world.reconcile(&importer).await.unwrap();
        world.set("mine", &[0], |_| {});
        world.wait(11);
        world.reconcile(&importer).await.unwrap();
        let jobs = world.api.all("jobs");
        assert_eq!(jobs_of(&jobs, "shop").len(), 1, "{:?}", world.condition("mine", "Ready"));
        assert_eq!(jobs_of(&jobs, "evil").len(), 16, "they are left alone");
    }
}

/// Whoever may write Jobs in a namespace may suspend those of its sets: it harms the set, and nobody else.
#[tokio::test]
async fn t151_a_suspended_job_takes_no_place_and_no_repository_from_others() {
    let mut world = World::new(1, Auth::None);
    world.max_jobs = 1;
    world.set_in("evil", "x", &[0], |set| {
        set["metadata"]["creationTimestamp"] = json!("2025-01-01T00:00:00Z");
    });
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    let mut job = world.api.all("jobs").remove(0);
    job["spec"]["suspend"] = json!(true);
    world.api.put("jobs", job.clone());
    world.set("mine", &[0], |_| {});
    for _ in 0..3 {
        world.wait(31);
        world.reconcile(&importer).await.unwrap();
    }
    let jobs = world.api.all("jobs");
    assert_eq!((jobs_of(&jobs, "shop").len(), jobs_of(&jobs, "evil").len()), (1, 1), "{jobs:#?}");
    let (_, reason, message) = world.condition_in("evil", "x", "Ready").unwrap();
    assert!(reason == "Copying" && message.contains("suspended"), "{reason}: {message}");
}

#[tokio::test]
async fn t151_a_job_in_the_way_is_named_and_the_next_attempt_has_another_name() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    let ours = world.api.all("jobs").remove(0);
    let name = ours["metadata"]["name"].as_str().unwrap().to_owned();
    // Somebody replaces it by another one, with the same nonce.
    world.api.remove("jobs", "shop", &name);
    let mut theirs = ours;
    theirs["metadata"]["uid"] = json!("another");
    world.api.put("jobs", theirs);
    world.wait(31);
    world.reconcile(&importer).await.unwrap();
    let (_, reason, message) = world.condition("x", "Ready").unwrap();
    assert_eq!(reason, "JobRejected", "{message}");
    assert!(message.contains(&name) && message.contains("did not create"), "{message}");
    world.wait(700);
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
}

/// What version 0.1 left of a set `x`: a Job without a nonce, and a state that knows of none.
async fn of_0_1() -> World {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    world.reconcile(&world.importer()).await.unwrap();
    let mut job = world.api.all("jobs").remove(0);
    job["metadata"]["annotations"].as_object_mut().unwrap().remove("kuberegistrysync.io/nonce");
    world.api.put("jobs", job);
    let mut map = world.api.all("configmaps").remove(0);
    let mut state = serde_json::from_str::<Value>(map["data"]["state.json"].as_str().unwrap()).unwrap();
    assert!(state.as_object_mut().unwrap().remove("jobs").is_some());
    map["data"]["state.json"] = json!(state.to_string());
    world.api.put("configmaps", map);
    world
}

#[tokio::test]
async fn t161_jobs_of_0_1_are_known_before_the_first_set() {
    let world = of_0_1().await;
    world.set("first", &[0], |_| {});
    let importer = world.importer();
    world.prime(&importer).await;
    reconcile(world.object("first"), importer).await.unwrap();
    assert_eq!(world.api.all("jobs").len(), 1, "no second Job writes to the repository");
}

#[tokio::test]
async fn t161_jobs_of_0_1_are_adopted_once_a_spec_is_valid_again() {
    let world = of_0_1().await;
    world.set("x", &[0], |set| set["spec"]["destinationRegistry"] = json!("${EDGE}"));
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    assert_eq!(reason(&world, "shop", "x"), "InvalidSpec");
    world.set("x", &[0], |_| {});
    world.wait(31);
    world.reconcile(&importer).await.unwrap();
    assert_eq!((reason(&world, "shop", "x").as_str(), world.api.all("jobs").len()), ("Copying", 1));
    world.settle(&importer).await;
    assert_eq!((reason(&world, "shop", "x").as_str(), world.api.all("jobs").len()), (READY, 0));
}

/// Whether the intake is told that media are copied from.
fn copies(world: &World) -> bool {
    world.demand().sets.values().any(|set| !set.copying_from.is_empty())
}

#[tokio::test]
async fn t162_media_do_not_wait_for_a_job_that_is_suspended() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    assert!(copies(&world));
    let job = world.api.all("jobs").remove(0);
    let suspend = |suspend: bool| {
        let mut job = job.clone();
        job["spec"]["suspend"] = json!(suspend);
        world.api.put("jobs", job);
    };
    suspend(true);
    world.wait(31);
    world.reconcile(&importer).await.unwrap();
    assert!(!copies(&world), "a suspended Job reads nothing");
    suspend(false);
    world.wait(31);
    world.reconcile(&importer).await.unwrap();
    assert!(copies(&world));
}

#[tokio::test]
async fn t162_media_and_places_are_free_once_the_jobs_of_a_set_that_a_finalizer_keeps_have_ended() {
    let mut world = World::new(2, Auth::None);
    world.max_jobs = 1;
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    let mut set = world.api.get(SETS, "shop", "x").unwrap();
    set["metadata"]["deletionTimestamp"] = json!(world.now().to_string());
    set["metadata"]["finalizers"] = json!(["example.com/keep"]);
    world.api.put(SETS, set);
    world.set("next", &[1], |_| {});
    world.reconcile(&importer).await.unwrap();
    assert!(copies(&world) && world.running().len() == 1, "its Job still reads");
    let again = reconcile(world.object("x"), Arc::clone(&importer)).await.unwrap();
    assert_ne!(again, Action::await_change(), "the event of the Job's end may be lost");
    world.run_jobs();
    let again = reconcile(world.object("x"), Arc::clone(&importer)).await.unwrap();
    assert_eq!(again, Action::await_change());
    assert!(!copies(&world), "nothing reads the media");
    world.reconcile(&importer).await.unwrap();
    assert_eq!(world.running().len(), 1, "its place is free");
}

/// What version 0.1 left: Jobs without a nonce, and a state that knows of none.
#[tokio::test]
async fn t82_t151_running_jobs_of_0_1_are_adopted_at_the_update() {
    let world = of_0_1().await;
    let importer = world.importer();
    for _ in 0..3 {
        world.wait(31);
        world.reconcile(&importer).await.unwrap();
        assert_eq!(world.api.all("jobs").len(), 1, "its Job continues, and no second one copies the same");
    }
    world.settle(&importer).await;
    assert_eq!((reason(&world, "shop", "x").as_str(), world.api.all("jobs").len()), (READY, 0));
}

#[tokio::test]
async fn t152_a_namespace_cannot_take_all_places_for_jobs() {
    let world = World::new(12, Auth::None);
    world.set("mine", &[0], |set| set["spec"]["suspend"] = json!(true));
    world.set("other", &[1], |set| set["spec"]["images"][0]["destinationRepository"] = json!("other"));
    world.set_in("evil", "x", &(2..12).collect::<Vec<_>>(), |set| set["spec"]["parallelism"] = json!(16));
    let importer = world.importer();
    for _ in 0..3 {
        world.reconcile(&importer).await.unwrap();
        world.wait(31);
    }
    assert!(jobs_of(&world.api.all("jobs"), "evil").len() <= 4, "its Jobs hang");
    world.set("mine", &[0], |_| {});
    world.reconcile(&importer).await.unwrap();
    assert_eq!(jobs_of(&world.api.all("jobs"), "shop").len(), 2);
}

/// The Pod of a Job can be stopped by whoever owns its namespace, so that the Job lasts for hours.
#[tokio::test]
async fn t155_a_job_that_hangs_keeps_a_repository_from_other_namespaces_for_some_minutes_only() {
    let world = World::new(1, Auth::None);
    world.set_in("evil", "x", &[0], |set| {
        set["metadata"]["creationTimestamp"] = json!("2025-01-01T00:00:00Z");
    });
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    let mut job = world.api.all("jobs").remove(0);
    job["metadata"]["creationTimestamp"] = json!(world.now().to_string());
    world.api.put("jobs", job);
    world.set("mine", &[0], |_| {});
    world.wait(61);
    world.reconcile(&importer).await.unwrap();
    assert!(jobs_of(&world.api.all("jobs"), "shop").is_empty(), "one Job at a time writes to a repository");
    world.wait(600);
    world.reconcile(&importer).await.unwrap();
    assert_eq!(jobs_of(&world.api.all("jobs"), "shop").len(), 1, "{:?}", world.condition("mine", "Ready"));
}
