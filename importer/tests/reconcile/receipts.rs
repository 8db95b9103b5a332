// SPDX-License-Identifier: Apache-2.0
//! What the receipt of the site is told of the sets.

use krs_importer::model::required_images::SetName;
use krs_importer::model::site_content::SetImages;
use krs_testing::registry::Auth;
use serde_json::json;

use crate::world::World;

fn site(count: usize) -> World {
    let mut world = World::new(count, Auth::None);
    world.config = "site: berlin\n".to_owned();
    world
}

fn images(world: &World, name: &str) -> SetImages {
    let name = SetName { namespace: "shop".to_owned(), name: name.to_owned() };
    world.demand().sets[&name].content.images()
}

/// What a set has, and what it waits for.
fn counts(world: &World, name: &str) -> (usize, usize) {
    let images = images(world, name);
    (images.present.len(), images.awaited.len())
}

#[tokio::test]
async fn an_image_is_present_once_the_registry_was_verified_to_have_it_and_until_it_does_not() {
    let world = site(2);
    world.set("x", &[0, 1], |_| {});
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    assert_eq!(counts(&world, "x"), (0, 2), "a copy Job runs: that is not enough");
    world.settle(&importer).await;
    assert_eq!(counts(&world, "x"), (2, 0));
    let found = images(&world, "x");
    assert_eq!(found.registry.unwrap().to_string(), world.edge.host().to_string());
    let root = &found.present[0].root;
    assert_eq!((root.digest, root.reference.to_string()), (world.images[0].digest, world.reference(0)));
    assert_eq!(root.tags.iter().map(ToString::to_string).collect::<Vec<_>>(), ["1"]);
    assert_eq!(found.present[0].repository.as_str(), "shop/app0");
    // Without media, so that nothing copies it again.
    world.pull_out();
    assert!(world.edge.delete_manifest("shop/app0", &world.images[0].digest.to_string()));
    world.wait(3600);
    world.reconcile(&importer).await.unwrap();
    assert_eq!(counts(&world, "x"), (1, 1));
}

#[tokio::test]
async fn a_set_that_takes_nothing_from_bundles_waits_for_none_and_one_that_cannot_be_read_has_nothing() {
    let world = site(1);
    world.set("suspended", &[0], |set| set["spec"]["suspend"] = json!(true));
    world.set("odd", &[0], |set| set["spec"]["destinationRegistry"] = json!("${REGISTRY}"));
    let importer = world.importer();
    world.reconcile(&importer).await.unwrap();
    assert_eq!(counts(&world, "suspended"), (0, 0));
    assert_eq!(images(&world, "odd"), SetImages::default());
}

#[tokio::test]
async fn a_site_without_a_name_holds_nothing_for_receipts() {
    let world = World::new(1, Auth::None);
    world.set("x", &[0], |_| {});
    let importer = world.importer();
    world.settle(&importer).await;
    assert_eq!(images(&world, "x"), SetImages::default());
}
