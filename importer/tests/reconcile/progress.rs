// SPDX-License-Identifier: Apache-2.0
//! What is said of images while their copy Job still runs.

use std::sync::Arc;

use krs_importer::adapters::metrics::FailureLabels;
use krs_importer::app::reconcile::Reconciler;
use krs_testing::registry::Auth;
use serde_json::json;

use crate::READY;
use crate::retries::{ended, put_pod, set_status};
use crate::world::{SETS, World};

const IMAGES: usize = 6;

/// A set whose images one Job copies, which has a Pod that runs.
async fn copying() -> (World, Arc<Reconciler>) {
    let world = World::new(IMAGES, Auth::None);
    world.set("x", &(0..IMAGES).collect::<Vec<_>>(), |set| set["spec"]["parallelism"] = json!(1));
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    assert_eq!(world.running().len(), 1);
    set_status(&world, &world.running()[0].0, json!({"active": 1, "ready": 1}));
    world.reconcile(&importer).await.unwrap();
    world.edge.clear_requests();
    (world, importer)
}

/// The images of the Job in its order, by their numbers.
fn order(world: &World) -> Vec<usize> {
    let targets = &world.running()[0].1.targets;
    let number = |digest| world.images.iter().position(|image| image.digest == digest).unwrap();
    targets.iter().map(|target| number(target.digest)).collect()
}

fn arrive(world: &World, n: usize) {
    world.images[n].push_to(&world.edge, &format!("shop/app{n}"), Some("1"));
}

/// How often the registry was asked for manifests since the last call, after a time in which the set was reconciled again
/// and again.
async fn asked_in(world: &World, importer: &Arc<Reconciler>, seconds: i64) -> usize {
    for _ in 0..seconds {
        world.wait(1);
        world.reconcile(importer).await.unwrap();
    }
    let requests = world.edge.requests();
    world.edge.clear_requests();
    requests.iter().filter(|request| request.path.contains("/manifests/")).count()
}

fn present(world: &World) -> u64 {
    world.status("x")["images"]["present"].as_u64().unwrap()
}

#[tokio::test]
async fn t220_images_that_arrived_count_while_their_job_runs_for_few_requests() {
    let (world, importer) = copying().await;
    let order = order(&world);
    assert_eq!(asked_in(&world, &importer, 29).await, 0, "what just started has brought nothing");
    arrive(&world, order[0]);
    let missing = asked_in(&world, &importer, 1).await;
    assert!((3..=4).contains(&missing), "the first with its tag, and two that are missing: {missing}");
    assert_eq!(present(&world), 1);
    let message = world.condition("x", "Ready").unwrap().2;
    assert!(message.starts_with(&format!("1 of {IMAGES} images present, 1 copy Job running")), "{message}");
    let version =
        |world: &World| world.api.get(SETS, "shop", "x").unwrap()["metadata"]["resourceVersion"].clone();
    let written = version(&world);
    assert!(
        asked_in(&world, &importer, 29).await <= 2,
        "whether it is still there, as of all that is present"
    );
    assert_eq!(asked_in(&world, &importer, 120).await, 4 * 2, "two for each half minute");
    assert_eq!(version(&world), written, "nothing new is not written");
    // One that is without its layers is not there.
    let incomplete = order[1];
    arrive(&world, incomplete);
    assert!(world.edge.delete_blob(&world.images[incomplete].blobs.last().unwrap().0));
    asked_in(&world, &importer, 30).await;
    assert_eq!(present(&world), 1);
    arrive(&world, incomplete);
    for n in &order[2..IMAGES - 1] {
        arrive(&world, *n);
    }
    asked_in(&world, &importer, 30).await;
    assert_eq!(present(&world), IMAGES as u64 - 1);
    assert_eq!(asked_in(&world, &importer, 120).await, 0, "the end of the Job says the same of the last one");
    assert_ne!(world.reason("x"), READY);
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
}

#[tokio::test]
async fn t269_at_the_end_of_a_job_only_what_was_not_present_before_is_verified() {
    let (world, importer) = copying().await;
    let order = order(&world);
    order[1..].iter().for_each(|n| arrive(&world, *n));
    asked_in(&world, &importer, 30).await;
    assert_eq!(present(&world), IMAGES as u64 - 1);
    arrive(&world, order[0]);
    world.end(&world.running()[0].0, "Complete", "");
    world.edge.clear_requests();
    world.reconcile(&importer).await.unwrap();
    assert_eq!(world.reason("x"), READY);
    let requests = world.edge.requests();
    let manifests = requests.iter().filter(|request| request.path.contains("/manifests/"));
    let other = format!("/app{}/", order[0]);
    let read = manifests.filter(|request| request.method == "GET").map(|request| request.path.as_str());
    let (of_last, again) = read.partition::<Vec<_>, _>(|path| path.contains(&other));
    assert!(!of_last.is_empty() && again.is_empty(), "{of_last:?} {again:?}");
}

#[tokio::test]
async fn t220_an_image_that_fails_hides_those_after_it_neither_in_the_first_pod_nor_in_later_ones() {
    let (world, importer) = copying().await;
    let order = order(&world);
    arrive(&world, order[1]);
    asked_in(&world, &importer, 30).await;
    assert_eq!(present(&world), 1, "the first failed");
    let failure = |target| json!({"target": target, "reason": "ImageNotFound", "message": "not found"});
    let report = json!({
        "done": 1, "failed": 3, "failures": [failure(0), failure(2), failure(3)],
    });
    let job = &world.running()[0].0;
    put_pod(&world, job, 0, &ended(8, "Error", &report.to_string()));
    set_status(&world, job, json!({"active": 1, "ready": 1, "failed": 1}));
    arrive(&world, order[4]);
    asked_in(&world, &importer, 30).await;
    assert_eq!(present(&world), 2);
}

#[tokio::test]
async fn t241_images_that_a_registry_refuses_are_counted_by_reason_until_they_are_present() {
    let (world, importer) = copying().await;
    let counted = |reason| {
        let (namespace, name) = ("shop".to_owned(), "x".to_owned());
        let labels = FailureLabels { namespace, name, reason };
        world.metrics.failed.get(&labels).map(|gauge| gauge.get())
    };
    let failure = |target, reason| json!({"target": target, "reason": reason, "message": "said so"});
    let failures = (0..IMAGES).map(|n| failure(n, if n == 0 { "RegistryReadOnly" } else { "RegistryFull" }));
    let report = json!({"failed": IMAGES, "failures": failures.collect::<Vec<_>>()});
    let job = world.running()[0].0.clone();
    put_pod(&world, &job, 0, &ended(9, "Error", &report.to_string()));
    world.end(&job, "Failed", "BackoffLimitExceeded");
    world.reconcile(&importer).await.unwrap();
    assert_eq!((counted("RegistryReadOnly"), counted("RegistryFull")), (Some(1), Some(IMAGES as i64 - 1)));
    assert_eq!(world.reason("x"), "RegistryReadOnly");
    world.wait(600);
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
    assert_eq!((counted("RegistryReadOnly"), counted("RegistryFull")), (None, None));
}
