// SPDX-License-Identifier: Apache-2.0
//! Copies that fail: what the set says from the failure until a retry succeeded.

use krs_importer::model::task::{CopyReport, TargetFailure};
use krs_testing::registry::Auth;
use serde_json::{Value, json};

use crate::controller::{start, until};
use crate::world::World;

const READY: &str = "SyncSuccessful";
const WORDS: &str = "edge.example.com has no route";

/// What the runner reports of its first target.
fn report(reason: &str) -> String {
    let failure = TargetFailure { target: 0, reason: reason.to_owned(), message: WORDS.to_owned() };
    serde_json::to_string(&CopyReport { failed: 1, failures: vec![failure], ..CopyReport::default() })
        .unwrap()
}

fn container(name: &str, state: &Value) -> Value {
    json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state})
}

/// Puts a Pod of a Job, the `n`th, with this status.
pub(crate) fn put_pod(world: &World, job: &str, n: usize, status: &Value) {
    let job = world.api.get("jobs", "shop", job).unwrap();
    let mut labels = job["spec"]["template"]["metadata"]["labels"].clone();
    labels["batch.kubernetes.io/job-name"] = job["metadata"]["name"].clone();
    let name = job["metadata"]["name"].as_str().unwrap();
    world.api.put(
        "pods",
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": format!("{name}-{n}"), "namespace": "shop", "labels": labels,
                "creationTimestamp": world.now().to_string(),
                "ownerReferences": [{
                    "apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"],
                }],
            },
            "spec": {"containers": [{"name": "copy"}]},
            "status": status,
        }),
    );
}

/// A Pod that ended with this exit code.
pub(crate) fn ended(code: i32, reason: &str, message: &str) -> Value {
    let state = json!({"terminated": {"exitCode": code, "reason": reason, "message": message}});
    json!({"phase": "Failed", "containerStatuses": [container("copy", &state)]})
}

pub(crate) fn set_status(world: &World, job: &str, status: Value) {
    let mut job = world.api.get("jobs", "shop", job).unwrap();
    job["status"] = status;
    world.api.put("jobs", job);
}

/// Reasons of `Ready` and `Reconciling`, and the message of the latter.
fn ready_condition(world: &World) -> (String, String, String) {
    let (_, why, message) = world.condition("x", "Reconciling").unwrap_or_default();
    (world.reason("x"), why, message)
}

fn failures(world: &World) -> Vec<(String, String)> {
    let failures = world.status("x")["failures"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    failures.iter().map(|failure| (text(&failure["reason"]), text(&failure["message"]))).collect()
}

#[tokio::test]
async fn t206_a_pod_that_fails_is_in_the_status_at_once_and_while_its_job_continues() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let running = start(&world);
    until("a Job is created", || world.running().len() == 1 && world.reason("x") == "Copying").await;
    let job = world.running().remove(0).0;
    // The clock stands still: nothing but the Job wakes the set.
    put_pod(&world, &job, 1, &ended(8, "Error", &report("RegistryUnreachable")));
    set_status(&world, &job, json!({"active": 0, "failed": 1}));
    until("the failure is said", || world.reason("x") == "RegistryUnreachable").await;
    let (_, why, message) = ready_condition(&world);
    assert_eq!(why, "Retrying");
    assert!(message.contains("0 of 1 images present") && message.contains(WORDS), "{message}");
    assert_eq!(failures(&world), [("RegistryUnreachable".to_owned(), WORDS.to_owned())]);
    // The next Pod works.
    world.wait(20);
    put_pod(&world, &job, 2, &json!({"containerStatuses": [container("copy", &json!({"running": {}}))]}));
    let before = world.api.calls().len();
    set_status(&world, &job, json!({"active": 1, "ready": 1, "failed": 1}));
    let is_read = |call: &String| call == "GET pods";
    until("the Pods are read", || world.api.calls()[before..].iter().filter(|c| is_read(c)).count() >= 3)
        .await;
    assert_eq!(ready_condition(&world).0, "RegistryUnreachable", "until the retry succeeded");
    world.run_jobs();
    until("it is Ready", || world.reason("x") == READY).await;
    assert_eq!(failures(&world), []);
    running.stop().await;
}

#[tokio::test]
async fn t206_a_pod_without_a_report_is_described_in_the_words_of_kubernetes() {
    let evicted =
        json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."});
    let sidecar = json!({"phase": "Failed",
        "initContainerStatuses": [container("mesh-init", &json!({"terminated": {"exitCode": 2, "reason": "Error"}}))],
        "containerStatuses": [container("copy", &json!({"waiting": {"reason": "PodInitializing"}}))]});
    for (status, words) in [
        (ended(137, "OOMKilled", ""), "OOMKilled (exit code 137)"),
        (evicted, "Evicted: The node was low on resource: memory."),
        (sidecar, "container mesh-init: Error (exit code 2)"),
    ] {
        let world = World::new(1, Auth::None);
        world.set("x", &[0], |_| {});
        let importer = world.importer();
        world.reconcile(&importer).await.unwrap();
        let job = world.running().remove(0).0;
        put_pod(&world, &job, 1, &status);
        set_status(&world, &job, json!({"uncountedTerminatedPods": {"failed": ["u"]}}));
        world.reconcile(&importer).await.unwrap();
        let (reason, why, message) = ready_condition(&world);
        assert_eq!((reason.as_str(), why.as_str()), ("CopyFailed", "Retrying"), "{message}");
        assert!(message.contains(words), "{message}");
        // And so it is once the Job has failed for good.
        world.wait(10);
        world.end(&job, "Failed", "BackoffLimitExceeded");
        world.reconcile(&importer).await.unwrap();
        let message = &failures(&world)[0].1;
        assert!(message.contains(words) && message.contains("BackoffLimitExceeded"), "{message}");
    }
}

#[tokio::test]
async fn t207_a_new_attempt_says_what_failed_before_until_it_succeeded() {
    let world = World::new(2, Auth::None);
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    let job = world.running().remove(0).0;
    put_pod(&world, &job, 1, &ended(1, "Error", &report("RegistryRefused")));
    world.end(&job, "Failed", "PodFailurePolicy");
    world.reconcile(&importer).await.unwrap();
    assert_eq!(ready_condition(&world).0, "RegistryRefused", "it waits for the next attempt");
    world.wait(11);
    world.reconcile(&importer).await.unwrap();
    assert_eq!(world.running().len(), 1, "the next attempt");
    for _ in 0..2 {
        let (reason, why, message) = ready_condition(&world);
        assert_eq!((reason.as_str(), why.as_str()), ("RegistryRefused", "Retrying"));
        assert!(message.contains("1 copy Job running") && message.contains(WORDS), "{message}");
        assert_eq!(failures(&world)[0].0, "RegistryRefused");
        world.wait(31);
        world.reconcile(&importer).await.unwrap();
    }
    // What is copied for the first time beside it is progress.
    world.set("x", &[0, 1], |_| {});
    world.reconcile(&importer).await.unwrap();
    let (reason, why, message) = ready_condition(&world);
    assert_eq!((reason.as_str(), why.as_str()), ("Copying", "CopyingImages"));
    assert!(message.contains("1 image failed before") && message.contains(WORDS), "{message}");
    world.settle(&importer).await;
    assert_eq!((world.reason("x").as_str(), failures(&world)), (READY, Vec::new()));
}

#[tokio::test]
async fn t83_the_refusal_of_a_job_goes_away_the_moment_one_runs() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    world.api.refuse("jobs", Some("exceeded quota: team"));
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    assert_eq!(
        (ready_condition(&world).0.as_str(), failures(&world)[0].0.as_str()),
        ("JobRejected", "JobRejected")
    );
    world.wait(5);
    world.reconcile(&importer).await.unwrap();
    assert_eq!(
        (ready_condition(&world).0.as_str(), failures(&world)[0].0.as_str()),
        ("JobRejected", "JobRejected")
    );
    world.api.refuse("jobs", None);
    world.wait(6);
    world.reconcile(&importer).await.unwrap();
    assert_eq!(world.running().len(), 1, "it is tried later");
    for _ in 0..2 {
        let (reason, why, message) = ready_condition(&world);
        assert_eq!((reason.as_str(), why.as_str()), ("Copying", "CopyingImages"), "{message}");
        assert!(!message.contains("quota"), "{message}");
        assert_eq!(failures(&world), []);
        world.wait(31);
        world.reconcile(&importer).await.unwrap();
    }
}

#[tokio::test]
async fn t83_one_job_that_runs_is_not_hidden_by_the_refusal_of_another_one() {
    let world = World::new(2, Auth::None);
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    world.api.refuse("jobs", Some("exceeded quota: team"));
    world.set("x", &[0, 1], |_| {});
    for _ in 0..2 {
        world.reconcile(&importer).await.unwrap();
        let (reason, _, message) = ready_condition(&world);
        assert_eq!(reason, "Copying");
        assert!(message.contains("1 copy Job running"), "{message}");
        assert_eq!(failures(&world)[0].0, "JobRejected");
        world.wait(5);
    }
}
