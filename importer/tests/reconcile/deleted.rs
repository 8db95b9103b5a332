// SPDX-License-Identifier: Apache-2.0
//! A set that is deleted.

use krs_importer::app::reconcile::Reconciler;
use krs_testing::registry::Auth;
use serde_json::Value;

use crate::world::{SETS, World};

const READY: &str = "SyncSuccessful";

/// What Kubernetes does with objects whose owners are gone.
fn collect_garbage(world: &World) {
    let sets = world.api.all(SETS);
    let exists = |owner: &Value| sets.iter().any(|set| set["metadata"]["uid"] == owner["uid"]);
    for job in world.api.all("jobs") {
        let owners = job["metadata"]["ownerReferences"].as_array().unwrap();
        assert_eq!(owners.len(), 1, "a Job with another owner would stay: {owners:?}");
        if !owners.iter().any(exists) {
            let text = |field: &str| job["metadata"][field].as_str().unwrap();
            world.api.remove("jobs", text("namespace"), text("name"));
        }
    }
}

/// What the controller does for sets that are gone.
async fn sweep(world: &World, importer: &Reconciler) {
    let alive = world.stored().iter().map(|stored| stored.without_content()).collect::<Vec<_>>();
    importer.retain(&alive, true);
    importer
        .delete_stale(&alive, &world.heartbeats.begin("the test", std::time::Duration::from_secs(3600)))
        .await;
}

fn is_remembered(world: &World, uid: &str) -> bool {
    world.api.get("configmaps", "krs-system", &format!("krs-state-{uid}")).is_some()
}

#[tokio::test]
async fn t73_with_a_set_its_running_jobs_go_and_the_registry_keeps_what_was_copied() {
    let mut world = World::new(3, Auth::None);
    world.max_jobs = 1;
    world.set("x", &[0, 1], |set| set["spec"]["parallelism"] = 1.into());
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    // One image is there, a Job copies on, and another set waits for its place.
    let first = world.images.iter().find(|image| world.running()[0].1.targets[0].digest == image.digest);
    let first = first.unwrap();
    let copied = world.running()[0].1.targets[0].clone();
    first.push_to(&world.edge, copied.repository.as_str(), Some("1"));
    world.set("waits", &[2], |_| {});
    world.reconcile(&importer).await.unwrap();
    assert_eq!(world.running().len(), 1, "the set waits");
    let uid = world.object("x").metadata.uid.clone().unwrap();
    let needs = |name: &str| world.demand().sets.keys().any(|set| set.name == name);
    assert!(needs("x") && is_remembered(&world, &uid));

    world.api.remove(SETS, "shop", "x");
    collect_garbage(&world);
    assert!(world.running().is_empty(), "its Jobs are owned by it alone");
    sweep(&world, &importer).await;
    assert!(!needs("x"), "no media wait for it");
    assert!(!is_remembered(&world, &uid), "what was remembered of it is gone");
    world.settle(&importer).await;
    assert_eq!(world.reason("waits"), READY, "its place is free");
    assert_eq!(world.edge.digest(copied.repository.as_str(), "1"), Some(copied.digest));
    let deletions = world.edge.requests().iter().filter(|request| request.method == "DELETE").count();
    assert_eq!(deletions, 0, "nothing is ever deleted from the registry");

    // Another set of that name begins again, and finds what is there.
    world.set("x", &[0, 1], |_| {});
    world.settle(&importer).await;
    assert_eq!(world.reason("x"), READY);
}
