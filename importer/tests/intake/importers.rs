// SPDX-License-Identifier: Apache-2.0
//! Two importers with drop folders of their own.

use std::time::Duration;

use serde_json::Value;

use crate::api::Trouble;
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

/// Whether there are two, and both are complete.
fn are_complete(world: &World) -> bool {
    let is_complete = |bundle: &Value| crate::is(&bundle["status"], COMPLETE, "True", "FilePresent");
    world.api.all("imagebundles").iter().filter(|bundle| is_complete(bundle)).count() == 2
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), waiting).await.unwrap_or_else(|_| panic!("{what}"));
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
        until("its ImageBundle", || bundles(world).iter().any(|bundle| bundle.0 == world.config.namespace))
            .await;
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
    first.condition(&name(1), COMPLETE, "False", "MediaAbsent").await;
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
    until("both are complete", || are_complete(&first)).await;
    let owners = bundles(&first).into_iter().map(|bundle| bundle.0).collect::<Vec<_>>();
    assert_eq!(owners, ["krs-b", "krs-system"]);
    for running in running {
        running.stop().await;
    }
}

/// The watch has not told yet that there is one of that name: the API server refuses a second one.
#[tokio::test(flavor = "multi_thread")]
async fn t179_a_name_that_another_importer_took_in_the_same_moment_is_left_to_it() {
    let first = World::new();
    let second = beside(&first, "krs-b");
    first.api.trouble("WATCH", "imagebundles", Trouble::HangAfter, None);
    let late = second.start();
    until("the second one to have listed", || {
        first.api.calls().iter().filter(|call| *call == "GET imagebundles").count() >= 2
    })
    .await;
    first.drop("prod-4.krs.tar", 4).await;
    let early = first.start();
    first.condition("prod-4", COMPLETE, "True", "FilePresent").await;
    early.stop().await;
    let before = bundles(&first);
    second.drop("prod-4.krs.tar", 4).await;
    until("an ImageBundle of its own", || bundles(&first).len() == 2).await;
    let after = bundles(&first);
    assert_eq!((after[0].0.as_str(), &after[1..]), ("krs-b", &before[..]), "that of the first is as it was");
    late.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t179_of_two_importers_one_adopts_an_image_bundle_that_0_1_left() {
    let first = World::new();
    let second = beside(&first, "krs-b");
    first.api.put(
        "imagebundles",
        serde_json::json!({
            "apiVersion": "kuberegistrysync.io/v1alpha1", "kind": "ImageBundle",
            "metadata": {"name": "prod-4"}, "spec": {"file": "prod-4.krs.tar"},
        }),
    );
    for world in [&first, &second] {
        world.drop("prod-4.krs.tar", 4).await;
    }
    let running = [first.start(), second.start()];
    until("both are complete", || are_complete(&first)).await;
    let owners = bundles(&first).into_iter().map(|bundle| bundle.0).collect::<Vec<_>>();
    assert_eq!(owners, ["krs-b", "krs-system"]);
    assert_eq!(first.events("StatusOverwritten"), 0, "nobody takes it for changed by somebody else");
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
    until("it is adopted", || bundles(&world).iter().any(|bundle| bundle.0 == "krs-system")).await;
    assert_eq!(bundles(&world).len(), 1);
    running.stop().await;
}
