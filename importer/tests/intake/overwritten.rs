// SPDX-License-Identifier: Apache-2.0
//! ImageBundles that somebody else changes.

use serde_json::{Value, json};

use crate::api::Trouble;
use crate::world::World;
use crate::{COMPLETE, SAFE};

const KIND: &str = "imagebundles";

/// The object without an order of its conditions: server-side apply keeps none.
fn bundle(world: &World) -> Option<Value> {
    let mut bundle = world.api.get(KIND, "", "prod-4")?;
    if let Some(conditions) = bundle["status"]["conditions"].as_array_mut() {
        conditions.sort_by_key(|condition| condition["type"].to_string());
    }
    Some(bundle)
}

async fn until(world: &World, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let waiting = async {
        loop {
            if let Some(bundle) = bundle(world).filter(&holds) {
                return bundle;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(std::time::Duration::from_secs(30), waiting).await;
    found.unwrap_or_else(|_| panic!("{what}: {:#?}", world.api.all(KIND)))
}

#[tokio::test(flavor = "multi_thread")]
async fn t178_an_image_bundle_that_somebody_else_changed_or_deleted_is_written_again_at_once() {
    let world = World::new();
    world.drop("prod-4.krs.tar", 4).await;
    let intake = world.start();
    world.condition("prod-4", COMPLETE, "True", "FilePresent").await;
    intake.missing(&[]);
    let imported = |bundle: &Value| crate::is(&bundle["status"], SAFE, "True", "Imported");
    let right = until(&world, "the bundle", imported).await;
    let same = |bundle: &Value| bundle["status"] == right["status"] && bundle["spec"] == right["spec"];

    let mut forged = right["status"].clone();
    for condition in forged["conditions"].as_array_mut().unwrap() {
        condition["status"] = json!("Unknown");
    }
    let mut foreign = forged["conditions"][0].clone();
    foreign["type"] = json!("Blessed");
    forged["conditions"].as_array_mut().unwrap().push(foreign);
    forged["commit"] = json!("f".repeat(40));
    world.api.edit("somebody", KIND, "", "prod-4", &json!({"status": forged}));
    until(&world, "the right status", same).await;
    world.events_are("StatusOverwritten", 1).await;
    world.api.edit("somebody", KIND, "", "prod-4", &json!({"spec": {"file": "other.krs.tar"}}));
    let right = until(&world, "the right file", |bundle| {
        let observed = &bundle["status"]["conditions"][0]["observedGeneration"];
        bundle["spec"] == right["spec"] && *observed == bundle["metadata"]["generation"]
    })
    .await;
    world.events_are("BundleFound", 1).await; // it is no other file

    world.api.remove(KIND, "", "prod-4");
    until(&world, "the deleted one", |bundle| {
        bundle["status"]["digest"] == right["status"]["digest"] && bundle["spec"] == right["spec"]
    })
    .await;

    // One that the watch did not tell of.
    let right = until(&world, "the bundle", imported).await;
    world.api.trouble("WATCH", KIND, Trouble::Status(410, "Expired", "too old"), Some(1));
    world.api.disconnect();
    world.api.edit("somebody", KIND, "", "prod-4", &json!({"status": null}));
    world.api.compact();
    until(&world, "the right status after a list", |bundle| bundle["status"] == right["status"]).await;
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t253_what_is_still_needed_of_a_bundle_is_written_rarely_and_that_it_was_imported_at_once() {
    let mut world = World::new();
    world.details = std::time::Duration::from_secs(30);
    world.drop("prod-4.krs.tar", 4).await;
    let mut intake = world.start();
    world.condition("prod-4", COMPLETE, "True", "FilePresent").await;
    let bundle = intake.stock(|stock| !stock.bundles.is_empty()).await.bundles[0].digest;
    let image = world.image.digest;
    intake.missing(&[image]);
    world.condition("prod-4", "Imported", "False", "ImagesMissing").await;
    let writes = || world.api.calls().iter().filter(|call| call.starts_with("PATCH imagebundles")).count();
    let before = writes();
    for _ in 0..20 {
        intake.copying(bundle, image);
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        intake.missing(&[image]);
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    }
    assert!(writes() - before <= 2, "{} writes", writes() - before);
    let start = std::time::Instant::now();
    intake.missing(&[]);
    until(&world, "that it is safe", |bundle| crate::is(&bundle["status"], SAFE, "True", "Imported")).await;
    assert!(start.elapsed() < std::time::Duration::from_secs(10), "{:?}", start.elapsed());
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t221_an_image_bundle_that_is_deleted_again_and_again_is_created_at_a_bounded_rate() {
    let world = World::new();
    world.drop("prod-4.krs.tar", 4).await;
    let intake = world.start();
    world.condition("prod-4", COMPLETE, "True", "FilePresent").await;
    let began = std::time::Instant::now();
    let mut uids = std::collections::BTreeSet::new();
    while uids.len() < 3 {
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "it is created again");
        uids.extend(world.api.get(KIND, "", "prod-4").map(|bundle| bundle["metadata"]["uid"].to_string()));
        world.api.remove(KIND, "", "prod-4");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // At least one interval between the two that followed.
    assert!(began.elapsed() >= std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t182_an_image_bundle_is_put_right_after_etcd_was_restored() {
    let mut world = World::new();
    world.pace.compare = std::time::Duration::from_millis(100);
    world.drop("prod-4.krs.tar", 4).await;
    let intake = world.start();
    world.condition("prod-4", COMPLETE, "True", "FilePresent").await;
    intake.missing(&[]);
    let right =
        until(&world, "the bundle", |bundle| crate::is(&bundle["status"], SAFE, "True", "Imported")).await;
    let backup = world.api.snapshot();
    for n in 0..1000 {
        let map = json!({"metadata": {"name": "other", "namespace": "shop"}, "data": {"n": n.to_string()}});
        world.api.put("configmaps", map);
    }
    // The watch is far ahead, and hears of nothing after the restore.
    world.api.edit("somebody", KIND, "", "prod-4", &json!({"status": null}));
    until(&world, "the right status", |bundle| bundle["status"] == right["status"]).await;
    world.api.restore(backup);
    world.api.edit("somebody", KIND, "", "prod-4", &json!({"status": null}));
    until(&world, "the right status after the restore", |bundle| bundle["status"] == right["status"]).await;
    intake.stop().await;
}
