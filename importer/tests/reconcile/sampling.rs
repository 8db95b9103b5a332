// SPDX-License-Identifier: Apache-2.0
//! What a registry is asked about images that are present, and how soon one that was emptied is noticed.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _};
use krs_importer::app::reconcile::reconcile;
use krs_testing::registry::Auth;
use serde_json::json;

use crate::READY;
use crate::world::World;

const IMAGES: usize = 60;

/// Repositories that were asked for a manifest since the last call.
fn checked_images(world: &World) -> BTreeSet<String> {
    let requests = world.edge.requests();
    world.edge.clear_requests();
    let manifests = requests.iter().filter_map(|request| request.path.split_once("/manifests/"));
    manifests.map(|(repository, _)| repository.to_owned()).collect()
}

#[tokio::test]
async fn t201_an_emptied_registry_is_noticed_by_a_sample_and_then_asked_about_everything() {
    let world = World::new(IMAGES, Auth::None);
    world.set("large", &(0..IMAGES).collect::<Vec<_>>(), |_| {});
    world.set("small", &[0], |set| {
        set["spec"]["resyncInterval"] = json!("24h");
        set["spec"]["verifyInterval"] = json!("720h");
    });
    let importer = world.importer();
    world.settle(&importer).await;
    world.wait(600);
    world.settle(&importer).await;
    for name in ["large", "small"] {
        assert_eq!(world.reason(name), READY);
    }
    checked_images(&world);
    let mut all = BTreeSet::new();
    for _ in 0..3 {
        world.wait(600);
        world.reconcile(&importer).await.unwrap();
        let sample = checked_images(&world);
        assert_eq!(sample.len(), 20);
        all.extend(sample);
    }
    assert_eq!(all.len(), IMAGES, "others each time");

    for n in 0..IMAGES {
        let digest = world.images[n].digest.to_string();
        assert!(world.edge.delete_manifest(&format!("shop/app{n}"), &digest));
    }
    let mut woken = importer.wakeups(None);
    world.wait(600);
    reconcile(world.object("large"), Arc::clone(&importer)).await.unwrap();
    assert_eq!(checked_images(&world).len(), 20);
    assert_ne!(world.reason("large"), READY);
    let names = std::iter::from_fn(|| woken.next().now_or_never().flatten()).map(|set| set.name);
    assert!(names.collect::<BTreeSet<_>>().is_superset(&["large".to_owned(), "small".to_owned()].into()));
    assert_eq!(world.reason("small"), READY, "until its own check finds something missing");
    reconcile(world.object("small"), Arc::clone(&importer)).await.unwrap();
    assert_ne!(world.reason("small"), READY);
    checked_images(&world);
    world.wait(11);
    reconcile(world.object("large"), Arc::clone(&importer)).await.unwrap();
    assert_eq!(checked_images(&world).len(), IMAGES - 20, "the rest, now");
    assert_eq!(world.status("large")["images"]["present"], 0);
    world.settle(&importer).await;
    for name in ["large", "small"] {
        assert_eq!(world.reason(name), READY);
    }
    // It is over: a sample again.
    world.wait(600);
    world.settle(&importer).await;
    checked_images(&world);
    world.wait(600);
    world.reconcile(&importer).await.unwrap();
    assert_eq!(checked_images(&world).len(), 20);
}

/// The loss that was found before it has the complete registry checked, and no further one for ten minutes: the set itself says
/// that its rest is to be asked about.
#[tokio::test]
async fn t201_a_second_loss_soon_after_the_first_has_the_rest_of_its_set_checked_too() {
    let world = World::new(IMAGES, Auth::None);
    world.set("x", &(0..IMAGES).collect::<Vec<_>>(), |set| set["spec"]["resyncInterval"] = json!("5m"));
    let importer = world.importer();
    world.settle(&importer).await;
    world.wait(300);
    world.settle(&importer).await;
    for loss in ["first", "second"] {
        for n in 0..IMAGES {
            let digest = world.images[n].digest.to_string();
            assert!(world.edge.delete_manifest(&format!("shop/app{n}"), &digest));
        }
        checked_images(&world);
        world.wait(300);
        world.reconcile(&importer).await.unwrap();
        assert_eq!(checked_images(&world).len(), 20, "{loss}: a sample");
        world.wait(1);
        world.reconcile(&importer).await.unwrap();
        assert_eq!(checked_images(&world).len(), IMAGES - 20, "{loss}: the rest, now");
        world.settle(&importer).await;
        assert_eq!(world.reason("x"), READY);
    }
}
