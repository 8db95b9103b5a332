// SPDX-License-Identifier: Apache-2.0
//! How fast a registry's images are verified again that became due together.

use std::collections::BTreeSet;
use std::sync::Arc;

use krs_importer::app::reconcile::reconcile;
use krs_testing::registry::Auth;
use kube::runtime::controller::Action;

use crate::READY;
use crate::world::World;

/// Images of each set.
const IMAGES: usize = 50;
const SETS: [&str; 3] = ["a", "b", "c"];
/// Images that are verified at once after a pause.
const BURST: usize = 60;

/// Repositories whose manifests were asked for by this method since the requests were last cleared.
fn requested_images(world: &World, method: &str) -> BTreeSet<String> {
    let requests = world.edge.requests();
    let reads = requests.iter().filter(|request| request.method == method);
    let manifests = reads.filter_map(|request| request.path.split_once("/manifests/"));
    manifests.map(|(repository, _)| repository.to_owned()).collect()
}

/// Repositories of which a manifest was read since the last call, as only a verification in full does it.
fn verified(world: &World) -> BTreeSet<String> {
    let read = requested_images(world, "GET");
    world.edge.clear_requests();
    read
}

#[tokio::test]
async fn t240_what_became_due_while_the_registry_was_away_is_verified_at_a_bounded_rate_and_stays_ready() {
    let world = World::new(SETS.len() * IMAGES, Auth::None);
    for (n, name) in SETS.into_iter().enumerate() {
        world.set(name, &(n * IMAGES..(n + 1) * IMAGES).collect::<Vec<_>>(), |_| {});
    }
    let importer = world.importer();
    world.settle(&importer).await;
    verified(&world);
    // All of it, and longer than any of it is spread by jitter.
    world.wait(30 * 3600);
    let mut all = BTreeSet::new();
    for round in 0..SETS.len() {
        for name in SETS {
            let again = reconcile(world.object(name), Arc::clone(&importer)).await.unwrap();
            assert_eq!(world.reason(name), READY, "round {round}");
            if round == 0 && name == "c" {
                assert_eq!(
                    again,
                    Action::requeue(std::time::Duration::from_secs(600)),
                    "not every half minute"
                );
            }
        }
        let images = requested_images(&world, "HEAD");
        let now = verified(&world);
        // Those that must wait are checked like those whose verifications are not old: a sample of them.
        if round == 0 {
            assert!(!images.is_subset(&now), "what waits is not asked for at all");
        }
        assert!(now.len() <= BURST, "{} in round {round}", now.len());
        assert!(now.is_disjoint(&all), "each once");
        all.extend(now);
        world.wait(600);
    }
    assert_eq!(all.len(), SETS.len() * IMAGES);
}

#[tokio::test]
async fn t240_what_somebody_asks_for_does_not_wait_for_what_is_only_due() {
    let world = World::new(2 * IMAGES, Auth::None);
    for (n, name) in ["a", "b"].into_iter().enumerate() {
        world.set(name, &(n * IMAGES..(n + 1) * IMAGES).collect::<Vec<_>>(), |_| {});
    }
    let importer = world.importer();
    world.settle(&importer).await;
    world.wait(30 * 3600);
    reconcile(world.object("a"), Arc::clone(&importer)).await.unwrap();
    verified(&world);
    world.set("b", &(IMAGES..2 * IMAGES).collect::<Vec<_>>(), |set| {
        set["metadata"]["annotations"] = serde_json::json!({"kuberegistrysync.io/reconcile-at": "now"});
    });
    reconcile(world.object("b"), Arc::clone(&importer)).await.unwrap();
    assert_eq!(verified(&world).len(), IMAGES);
    assert_eq!(world.status("b")["lastHandledReconcileAt"], "now");
}
