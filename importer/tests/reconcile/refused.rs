// SPDX-License-Identifier: Apache-2.0
//! Jobs and Pods that Kubernetes refuses or does not start.

use krs_testing::registry::Auth;
use serde_json::json;

use crate::READY;
use crate::world::World;

#[tokio::test]
async fn t83_a_job_that_the_api_server_refuses_is_reported_in_its_words_and_tried_later() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    world.api.refuse("jobs", Some("exceeded quota: team"));
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    let (_, reason, message) = world.condition("x", "Ready").unwrap();
    assert_eq!(reason, "JobRejected");
    assert!(message.contains("exceeded quota: team"), "{message}");
    world.wait(2);
    world.reconcile(&importer).await.unwrap();
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
        world.reconcile(&importer).await.unwrap();
        world.wait(5);
    }
    // Two Jobs; each is tried after 10, 20, 40 s, and then each minute.
    let created = world.api.calls().iter().filter(|call| *call == "POST jobs").count();
    assert!((10..=14).contains(&created), "{created} attempts in 5 minutes");
}

/// Pod Security judges the Pod, not the Job: only an event tells.
#[tokio::test]
async fn t83_a_job_whose_pod_is_refused_is_reported_in_the_words_of_the_api_server() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    let job = world.api.get("jobs", "shop", &world.running()[0].0).unwrap();
    world.api.put(
        "coreevents",
        json!({
            "metadata": {"name": "e", "namespace": "shop"}, "reason": "FailedCreate",
            "involvedObject": {"uid": job["metadata"]["uid"]}, "message": "violates PodSecurity restricted",
        }),
    );
    world.wait(11);
    world.reconcile(&importer).await.unwrap();
    let (_, reason, message) = world.condition("x", "Ready").unwrap();
    assert_eq!(reason, "JobRejected");
    assert!(message.contains("violates PodSecurity"), "{message}");
}

/// The quota is gone, a Pod was created, and is gone, too: its node was drained.
#[tokio::test]
async fn t83_the_last_of_many_events_says_whether_the_pods_of_a_job_are_refused() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    let job = world.api.get("jobs", "shop", &world.running()[0].0).unwrap();
    let event = |n: usize, reason: &str, message: &str| {
        world.wait(1);
        world.api.put(
            "coreevents",
            json!({
                "metadata": {"name": format!("e{n:02}"), "namespace": "shop"}, "reason": reason,
                "involvedObject": {"uid": job["metadata"]["uid"]}, "message": message,
                "lastTimestamp": world.now().to_string(),
            }),
        );
    };
    (0..12).for_each(|n| event(n, "FailedCreate", &format!("exceeded quota {n}")));
    world.reconcile(&importer).await.unwrap();
    let (_, reason, message) = world.condition("x", "Ready").unwrap();
    assert_eq!(reason, "JobRejected");
    assert!(message.contains("exceeded quota 11"), "{message}");
    event(12, "SuccessfulCreate", "Created pod");
    world.wait(31);
    world.reconcile(&importer).await.unwrap();
    let (_, reason, message) = world.condition("x", "Ready").unwrap();
    assert_eq!(reason, "Copying", "{message}");
    event(13, "FailedCreate", "exceeded quota again");
    world.wait(31);
    world.reconcile(&importer).await.unwrap();
    assert_eq!(world.reason("x"), "JobRejected");
}

#[tokio::test]
async fn t143_a_pod_that_waits_for_a_volume_is_reported_in_the_words_of_the_kubelet() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
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
        (
            1,
            "FailedMount",
            "MountVolume.SetUp failed for volume \"destination\": secret \"credentials\" not found",
        ),
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
    world.reconcile(&importer).await.unwrap();
    let (_, _, message) = world.condition("x", "Ready").unwrap();
    assert!(!message.contains("waits"), "every Pod is created for a while: {message}");
    world.wait(11);
    world.reconcile(&importer).await.unwrap();
    let (_, reason, message) = world.condition("x", "Ready").unwrap();
    assert_eq!(reason, "Copying");
    assert!(message.contains("FailedMount") && message.contains("credentials"), "{message}");
}
