// SPDX-License-Identifier: Apache-2.0
//! Copy Jobs: what is read of them, what is taken for them, and what happens where they may not be read.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use krs_importer::app::reconcile::reconcile;
use krs_testing::log::Log;
use krs_testing::registry::Auth;
use serde_json::{Value, json};

use crate::api::Trouble;
use crate::retries::put_pod;
use crate::world::{SETS, World};

const READY: &str = "SyncSuccessful";
/// Longest time that anything here takes.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Jobs, and as many Pods, of somebody else.
const FOREIGN: usize = 60;
/// Bytes of metadata and of content of each of them.
const METADATA: usize = 20_000;
const CONTENT: usize = 300_000;

fn jobs_in(world: &World, namespace: &str) -> Vec<Value> {
    let jobs = world.api.all("jobs").into_iter();
    jobs.filter(|job| job["metadata"]["namespace"] == namespace).collect()
}

/// Labels and owners like those of the set's own Job, on large objects of somebody else.
fn put_foreign(world: &World, set: &str) {
    let own = jobs_in(world, "shop").remove(0);
    let owner = world.api.get(SETS, "shop", set).unwrap()["metadata"]["uid"].clone();
    for n in 0..FOREIGN {
        let mut job = own.clone();
        job["metadata"]["name"] = json!(format!("krs-{set}-0123456789-{n}"));
        job["metadata"]["uid"] = json!(format!("foreign-{n}"));
        job["metadata"]["annotations"]["x"] = json!("x".repeat(METADATA));
        job["spec"]["template"]["spec"]["containers"][0]["env"] =
            json!([{"name": "X", "value": "x".repeat(CONTENT)}]);
        job["status"] = Value::Null;
        world.api.put("jobs", job);
        let mut labels = own["metadata"]["labels"].clone();
        labels["batch.kubernetes.io/job-name"] = own["metadata"]["name"].clone();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": format!("foreign-{n}"), "namespace": "shop", "labels": labels,
                "annotations": {"x": "x".repeat(METADATA)},
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "x", "uid": "another"}],
            },
            "spec": {"containers": [{"name": "copy", "args": ["x".repeat(CONTENT)]}]},
            "status": {"set": owner},
        });
        world.api.put("pods", pod);
    }
}

#[tokio::test]
async fn t173_large_jobs_and_pods_of_others_with_our_labels_are_never_read_in_full() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    put_foreign(&world, "x");
    // While its Job runs, after a restart, when it ends, and afterwards.
    world.wait(31);
    world.reconcile(&importer).await.unwrap();
    world.reconcile(&world.importer()).await.unwrap();
    let own = jobs_in(&world, "shop").into_iter().find(|job| job["status"].is_null()).unwrap();
    assert!(own["metadata"]["name"].is_string());
    for image in &world.images {
        image.push_to(&world.edge, "shop/app0", Some("1"));
    }
    for (name, _) in world.running().into_iter().filter(|(name, _)| !name.contains("0123456789")) {
        world.end(&name, "Complete", "");
    }
    world.settle_without_jobs(&importer).await;
    assert_eq!(world.reason("x"), READY);
    for plural in ["jobs", "pods"] {
        let served = world.api.served(plural);
        let page = 10 * (METADATA + 5_000);
        assert!(served.largest <= page, "{plural}: one answer of {} bytes", served.largest);
        assert!(served.total <= 12 * FOREIGN * (METADATA + 5_000), "{plural}: {} bytes", served.total);
    }
}

#[tokio::test]
async fn t177_of_a_job_whose_end_is_accounted_for_nothing_is_read_and_its_name_is_not_used_again() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    // Their Jobs stay.
    world.api.trouble("DELETE", "jobs", Trouble::Status(500, "InternalError", "not now"), None);
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
    // After a restart, too.
    for importer in [Arc::clone(&importer), world.importer()] {
        world.reconcile(&importer).await.unwrap();
        world.api.fail(None);
        world.wait(60);
        world.reconcile(&importer).await.unwrap();
        assert_eq!(world.api.calls(), Vec::<String>::new(), "a reconcile of a set that is Ready");
    }
    // What is copied again while the first Job still exists gets another name.
    world.edge.delete_manifest("shop/app0", &world.images[0].digest.to_string());
    world.wait(700);
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY, "{:?}", world.condition("x", "Ready"));
    let attempts = jobs_in(&world, "shop");
    let attempts =
        attempts.iter().map(|job| job["metadata"]["annotations"]["kuberegistrysync.io/attempt"].clone());
    assert_eq!(attempts.collect::<Vec<_>>(), ["1", "2"]);
    // Kubernetes deletes one of them in time.
    let first = jobs_in(&world, "shop").remove(0)["metadata"]["name"].as_str().unwrap().to_owned();
    world.api.remove("jobs", "shop", &first);
    world.api.mend();
    world.wait(2 * 3600);
    world.reconcile(&importer).await.unwrap();
    assert!(jobs_in(&world, "shop").is_empty(), "the other one is made up for");
    let state =
        world.api.all("configmaps").into_iter().find(|map| !map["data"]["state.json"].is_null()).unwrap();
    let state = serde_json::from_str::<Value>(state["data"]["state.json"].as_str().unwrap()).unwrap();
    assert_eq!(state["jobs"], json!({}), "their names are forgotten");
}

#[tokio::test]
async fn t209_jobs_that_succeeded_are_deleted_once_their_result_is_kept_and_others_stay() {
    let world = World::new(3, Auth::None);
    let names = ["good", "bad", "poor"];
    for (n, name) in names.into_iter().enumerate() {
        world.set(name, &[n], |_| {});
    }
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    let job_of = |set: &str| {
        let named = jobs_in(&world, "shop").into_iter();
        let found = named.filter(|job| job["metadata"]["labels"]["kuberegistrysync.io/set"] == set);
        found.map(|job| job["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let [good, bad, poor] = names.map(|name| job_of(name).remove(0));
    for n in [0, 2] {
        world.images[n].push_to(&world.edge, &format!("shop/app{n}"), Some("1"));
    }
    world.end(&bad, "Failed", "DeadlineExceeded");
    // Only the log of this one says which signature the image is without.
    let report = r#"{"done":1,"referrersMissing":1}"#;
    let status = json!({"phase": "Succeeded", "containerStatuses": [{
        "name": "copy", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 0, "message": report}},
    }]});
    put_pod(&world, &poor, 1, &status);
    world.end(&poor, "Complete", "");
    world.end(&good, "Complete", "");
    // Before that, its result is kept.
    world.api.trouble("PATCH", "configmaps", Trouble::Status(500, "InternalError", "not now"), None);
    let _ = world.reconcile(&importer).await;
    assert_eq!(jobs_in(&world, "shop").len(), 3);
    world.api.mend();
    world.reconcile(&importer).await.unwrap();
    assert_eq!((world.reason("good").as_str(), world.reason("poor").as_str()), (READY, READY));
    assert_eq!(names.map(|name| job_of(name).len()), [0, 1, 1]);
    // The name is not used again, since another process may not know yet that it is free.
    world.edge.delete_manifest("shop/app0", &world.images[0].digest.to_string());
    world.wait(700);
    world.reconcile(&importer).await.unwrap();
    assert!(job_of("good")[0].ends_with("-2"), "{:?}", job_of("good"));
}

/// Drops a reconcile as soon as the API server was asked for `call`.
async fn cut_off(world: &World, call: &str, future: impl Future) {
    let requests = async {
        while !world.api.calls().iter().any(|requests| requests == call) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    tokio::select! {
        _ = future => panic!("it ended"),
        requests = tokio::time::timeout(TIMEOUT, requests) => requests.unwrap(),
    }
}

#[tokio::test]
async fn t174_a_reconcile_that_is_cut_off_leaves_the_count_of_jobs_right() {
    for (created, trouble) in [(false, Trouble::Hang), (true, Trouble::HangAfter)] {
        let mut world = World::new(3, Auth::None);
        world.max_jobs = 1;
        world.set("x", &[0], |_| {});
        world.set("y", &[1], |_| {});
        let importer = world.importer();
        world.prime(&importer).await;
        // Cut off before its Job is asked for: its slot is free. After that: it counts, whether or not the Job exists.
        let (verb, plural) = if created { ("POST", "jobs") } else { ("PATCH", "configmaps") };
        world.api.fail(None);
        world.api.trouble(verb, plural, trouble, None);
        cut_off(&world, &format!("{verb} {plural}"), reconcile(world.object("x"), Arc::clone(&importer)))
            .await;
        world.api.mend();
        reconcile(world.object("y"), Arc::clone(&importer)).await.unwrap();
        let y = jobs_in(&world, "shop").into_iter();
        let y = y.filter(|job| job["metadata"]["labels"]["kuberegistrysync.io/set"] == "y").count();
        assert_eq!(y, usize::from(!created), "created: {created}");
        world.settle(&importer).await;
        assert_eq!((world.reason("x").as_str(), world.reason("y").as_str()), (READY, READY));
    }
}

#[tokio::test]
async fn t176_a_set_whose_jobs_are_created_slowly_makes_no_other_set_wait_and_keeps_what_it_took() {
    let world = World::new(3, Auth::None);
    world.set_in("slow", "x", &[0], |_| {});
    world.set("y", &[0, 1], |_| {});
    let importer = world.importer();
    world.prime(&importer).await;
    world.api.trouble_in("slow", "POST", "jobs", Trouble::Hang);
    let slow = serde_json::from_value(world.api.get(SETS, "slow", "x").unwrap()).unwrap();
    let slow = tokio::spawn(reconcile(Arc::new(slow), Arc::clone(&importer)));
    let requests = async {
        while !world.api.calls().iter().any(|call| call == "POST jobs") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, requests).await.unwrap();
    let other = reconcile(world.object("y"), Arc::clone(&importer));
    tokio::time::timeout(Duration::from_secs(60), other).await.unwrap().unwrap();
    let repositories = world.running().into_iter().flat_map(|(_, task)| task.targets);
    let repositories = repositories.map(|target| target.repository.to_string()).collect::<Vec<_>>();
    assert_eq!(repositories, ["shop/app1"], "the other repository is taken");
    slow.abort();
}

#[tokio::test]
async fn t175_jobs_that_may_not_be_read_are_reported_by_their_set_and_hold_up_nothing_else() {
    let log = Log::capture();
    let world = World::new(2, Auth::None);
    world.set_in("evil", "x", &[0], |_| {});
    world.set("mine", &[1], |_| {});
    world.reconcile(&world.importer()).await.unwrap();
    assert_eq!(jobs_in(&world, "evil").len(), 1);
    let refusal = "jobs.batch is forbidden";
    world.api.trouble_in("evil", "", "jobs", Trouble::Status(403, "Forbidden", refusal));
    let importer = world.importer();
    log.take();
    for _ in 0..3 {
        world.reconcile(&importer).await.unwrap();
        world.wait(31);
    }
    let (_, reason, message) = world.condition_in("evil", "x", "Stalled").unwrap();
    assert_eq!(reason, "JobsForbidden", "{message}");
    assert!(
        message.contains(refusal) && message.contains("namespace evil") && message.contains("`get`"),
        "{message}"
    );
    assert_eq!(log.take().iter().filter(|line| line["reason"] == "JobsForbidden").count(), 1, "said once");
    world.end(&world.running().into_iter().find(|(name, _)| name.contains("mine")).unwrap().0, "Failed", "x");
    let sets = world.api.all(SETS).into_iter().map(|set| Arc::new(serde_json::from_value(set).unwrap()));
    importer.retain(&sets.collect::<Vec<_>>(), true);
    assert!(world.demand().complete, "media wait for nobody's permission");
    assert_eq!(jobs_in(&world, "evil").len(), 1, "nothing is created or deleted blindly");
    world.images[1].push_to(&world.edge, "shop/app1", Some("1"));
    world.wait(700);
    world.reconcile(&importer).await.unwrap();
    assert_eq!(world.reason("mine"), READY);
    world.api.mend();
    world.wait(31);
    world.settle(&importer).await;
    let (status, ..) = world.condition_in("evil", "x", "Ready").unwrap();
    assert_eq!(status, "True");
    assert!(world.condition_in("evil", "x", "Stalled").is_none());
}

#[tokio::test]
async fn t176_a_secret_that_all_images_of_a_set_name_is_read_once_in_a_reconcile() {
    let mut world = World::new(6, Auth::None);
    let host = "source.example:5000";
    world.config = format!("online: {{enabled: true, allowedSources: ['{host}']}}\n");
    world.api.put(
        "secrets",
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/basic-auth",
            "metadata": {"name": "credentials", "namespace": "shop",
                "annotations": {"kuberegistrysync.io/registry-hosts": host}},
            "data": {"username": "dQ==", "password": "cA=="},
        }),
    );
    world.set("x", &[0, 1, 2, 3, 4, 5], |set| {
        set["spec"]["source"] = json!("Registry");
        for n in 0..6 {
            let image = format!("{host}/app{n}:1@{}", world.images[n].digest);
            set["spec"]["images"][n] = json!({"image": image, "sourceClientSecretName": "credentials"});
        }
    });
    world.reconcile(&world.importer()).await.unwrap();
    assert_eq!(world.running().len(), 2, "{:?}", world.condition("x", "Ready"));
    assert_eq!(world.api.calls().iter().filter(|call| *call == "GET secrets").count(), 1);
}
