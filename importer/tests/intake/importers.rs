// SPDX-License-Identifier: Apache-2.0
//! Two importers with drop folders of their own.

use serde_json::Value;

use crate::world::World;
use crate::{COMPLETE, SAFE};

const LABEL: &str = "kuberegistrysync.io/importer";

/// Another site of the same cluster.
fn beside(world: &World, namespace: &str) -> World {
    let mut other = World::new();
    other.api = world.api.clone();
    namespace.clone_into(&mut other.config.namespace);
    other
}

/// The ImageBundles, by their importers: name, and version.
fn bundles(world: &World) -> Vec<(String, String, Value)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = world.api.all("imagebundles").into_iter();
    let mut all = all
        .map(|bundle| {
            let meta = &bundle["metadata"];
            (text(&meta["labels"][LABEL]), text(&meta["name"]), meta["resourceVersion"].clone())
        })
        .collect::<Vec<_>>();
    all.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn t75_t179_each_of_two_importers_has_image_bundles_of_its_own() {
    let first = World::new();
    let second = beside(&first, "krs-b");
    for world in [&first, &second] {
        world.drop("prod-4.krs.tar", 4).await;
    }
    let name = |n: usize| bundles(&first)[n].1.clone();
    let imported = async |world: &World| {
        let running = world.start();
        let waiting = async {
            while !bundles(world).iter().any(|bundle| bundle.0 == world.config.namespace) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), waiting).await.unwrap();
        running.missing(&[]);
        running
    };
    // The second one comes first: each has its own by name.
    let (b, a) = (imported(&second).await, imported(&first).await);
    assert_eq!(bundles(&first).len(), 2, "{:?}", bundles(&first));
    assert_eq!(name(0), "prod-4", "krs-b sorts before krs-system");
    assert!(name(1).starts_with("prod-4-"), "{}", name(1));
    for n in 0..2 {
        first.condition(&name(n), SAFE, "True", "Imported").await;
    }
    // Each has its marks.
    for namespace in ["krs-b", "krs-system"] {
        assert!(first.api.get("configmaps", namespace, "krs-streams").is_some(), "{namespace}");
    }
    a.stop().await;
    b.stop().await;
    // A restart of one, whose media are away, says so of its own only.
    std::fs::remove_file(first.at("prod-4.krs.tar")).unwrap();
    let before = bundles(&first);
    let a = first.start();
    first.condition(&name(1), COMPLETE, "False", "MediumAbsent").await;
    let after = bundles(&first);
    assert_eq!(after[0], before[0], "that of the other importer was not written");
    assert_eq!((after.len(), &after[1].1), (2, &before[1].1));
    assert_eq!(first.events("StatusOverwritten"), 0);
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t179_two_importers_that_start_at_once_take_no_image_bundle_from_each_other() {
    let first = World::new();
    let second = beside(&first, "krs-b");
    for world in [&first, &second] {
        world.drop("prod-4.krs.tar", 4).await;
    }
    let running = [first.start(), second.start()];
    let complete = async {
        loop {
            let all = first.api.all("imagebundles");
            let done = |bundle: &Value| crate::is(&bundle["status"], COMPLETE, "True", "FilePresent");
            if all.iter().filter(|bundle| done(bundle)).count() == 2 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(std::time::Duration::from_secs(30), complete).await;
    in_time.unwrap_or_else(|_| panic!("{:?}", bundles(&first)));
    let owners = bundles(&first).into_iter().map(|bundle| bundle.0).collect::<Vec<_>>();
    assert_eq!(owners, ["krs-b", "krs-system"]);
    for running in running {
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t179_an_image_bundle_that_0_1_left_is_adopted() {
    let world = World::new();
    world.drop("prod-4.krs.tar", 4).await;
    let running = world.start();
    world.condition("prod-4", COMPLETE, "True", "FilePresent").await;
    running.stop().await;
    let label = serde_json::json!({"metadata": {"labels": null}});
    world.api.edit("somebody", "imagebundles", "", "prod-4", &label);
    let running = world.start();
    let adopted = async {
        while bundles(&world).iter().all(|bundle| bundle.0 != "krs-system") {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), adopted).await.unwrap();
    assert_eq!(bundles(&world).len(), 1);
    running.stop().await;
}
