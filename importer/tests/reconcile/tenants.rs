// SPDX-License-Identifier: Apache-2.0
//! Two namespaces that wish each other ill: the row of SECURITY.md on tenants of a cluster, sentence by sentence.

use krs_importer::readers::Readers;
use krs_testing::registry::Auth;
use serde_json::json;

use crate::world::{SETS, World};

const READY: &str = "SyncSuccessful";

fn only(namespace: &str) -> Readers {
    Readers::Namespaces(vec![namespace.into()])
}

fn reason(world: &World, namespace: &str, name: &str) -> String {
    world.condition_in(namespace, name, "Ready").map(|(_, reason, _)| reason).unwrap_or_default()
}

#[tokio::test]
async fn t123_an_image_of_a_bundle_is_copied_only_for_namespaces_whose_sets_in_the_bundle_list_it() {
    let mut world = World::new(2, Auth::None);
    (world.readers, world.bare) = (only("shop"), true);
    world.plug_in();
    let tag = world.tag(1);
    world.set_in("evil", "digest", &[0], |_| {});
    world.set_in("evil", "tag", &[0], |set| set["spec"]["images"][0]["image"] = json!(tag));
    let importer = world.importer();
    world.settle(&importer).await;
    assert!(
        world.api.all("jobs").is_empty(),
        "nothing is copied for a namespace that the bundle does not name"
    );
    for name in ["digest", "tag"] {
        let (status, reason, message) = world.condition_in("evil", name, "Ready").unwrap();
        assert_eq!((status.as_str(), reason.as_str()), ("False", "NamespaceNotListed"), "{message}");
        assert!(message.contains("(shop)") && message.contains("namespace evil"), "{message}");
        assert!(message.contains("prod-1") && message.contains("Kustomize"), "{message}");
        let status = world.api.get(SETS, "evil", name).unwrap()["status"].clone();
        assert_eq!(status["failures"][0]["reason"], "NamespaceNotListed");
        assert!(!status.to_string().contains(&world.images[1].digest.hex()), "a tag's digest is not told");
        assert!(world.condition_in("evil", name, "Stalled").is_none(), "a later bundle may list it");
    }
    // Its owner is served, and so is everybody where the bundle says so.
    world.set("mine", &[0, 1], |_| {});
    world.settle(&importer).await;
    assert_eq!(reason(&world, "shop", "mine"), READY);
    assert_ne!(reason(&world, "evil", "tag"), READY);
    world.readers = Readers::Any;
    world.plug_in();
    world.wait(700);
    world.settle(&importer).await;
    assert_eq!(reason(&world, "evil", "tag"), READY);
}

#[tokio::test]
async fn t123_where_the_site_shares_every_namespace_is_served() {
    let mut world = World::new(1, Auth::None);
    (world.readers, world.shared) = (only("shop"), true);
    world.plug_in();
    world.set_in("other", "x", &[0], |_| {});
    world.settle(&world.importer()).await;
    assert_eq!(reason(&world, "other", "x"), READY);
}
