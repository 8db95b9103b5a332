// SPDX-License-Identifier: Apache-2.0
//! Bundles that are older than one that was used, and are inserted after it.

use krs_core::oci::digest::Digest;
use krs_core::oci::reference::Reference;
use krs_core::sync::plan::PlanOptions;
use krs_importer::model::bundle_inventory::TagResolution;
use krs_importer::model::marks::{Mark, MarkComparison};

use crate::SAFE;
use crate::world::{World, is, numbered};

#[tokio::test(flavor = "multi_thread")]
async fn t27_an_older_bundle_that_is_inserted_later_decides_nothing_and_holds_nobody_up() {
    let world = World::new();
    world.drop_moved("prod-5.krs.tar", 5).await;
    let tag = world.tag().parse::<Reference>().unwrap();
    let mut intake = world.start();
    intake.stock(|stock| stock.bundles.len() == 1).await;
    intake.missing(&[]);
    world.condition("prod-5", SAFE, "True", "Imported").await;
    std::fs::remove_file(world.at("prod-5.krs.tar")).unwrap();
    intake.stock(|stock| stock.bundles.is_empty()).await;

    let old = world.drop_moved("prod-4.krs.tar", 4).await;
    let stock = intake.stock(|stock| stock.bundles.len() == 1).await;
    assert_eq!(stock.bundles[0].standing, MarkComparison::Superseded { by: 5 });
    assert_eq!(stock.resolve("apps", &tag, None), TagResolution::Unanswered);
    assert!(stock.find("apps", &old.digest, &[]).is_some(), "a set that names it by digest gets it");
    let status = world.condition("prod-4", "Superseded", "True", "NewerUsed").await;
    assert!(is(&status, "Verified", "True", "Succeeded"), "{status}");
    let status = world.condition("prod-4", SAFE, "True", "Imported").await;
    assert!(status["message"].as_str().unwrap().contains("superseded: sequence 5"), "{status}");
    let marks = world.api.get("configmaps", "krs-system", "krs-streams").unwrap();
    assert!(marks["data"]["prod"].as_str().unwrap().contains("\"sequence\":5"), "{marks}");
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t26_of_two_bundles_on_a_drive_each_is_judged_by_its_own_stream() {
    let world = World::new();
    let used = Mark {
        sequence: 100,
        identity: Digest::of(b"what was used"),
        created_at: jiff::Timestamp::UNIX_EPOCH,
    };
    world.api.put(
        "configmaps",
        serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "krs-streams", "namespace": "krs-system"},
            "data": {"prod": serde_json::json!(used).to_string()},
        }),
    );
    std::fs::create_dir(world.at("usb")).unwrap();
    for stream in ["prod", "test"] {
        let (name, options) =
            (format!("{stream}.krs.tar"), PlanOptions { stream: stream.parse().unwrap(), ..numbered(5) });
        let made = world.make(&name, "", options, Some(&world.key)).await;
        std::fs::copy(made, world.at("usb").join(name)).unwrap();
    }
    let mut intake = world.start();
    intake.missing(&[]);
    world.condition("prod", "Superseded", "True", "NewerUsed").await;
    world.condition("test", "Superseded", "False", "Newest").await;
    for name in ["prod", "test"] {
        world.condition(name, SAFE, "True", "Imported").await;
    }
    let stock = intake.stock(|stock| stock.bundles.len() == 2).await;
    let deciding = stock.bundles.iter().filter(|bundle| bundle.can_decide());
    assert_eq!(deciding.map(|bundle| bundle.name.as_str()).collect::<Vec<_>>(), ["test"]);
    let marks = world.api.get("configmaps", "krs-system", "krs-streams").unwrap();
    assert_eq!(marks["data"]["prod"], serde_json::json!(used).to_string());
    assert!(marks["data"]["test"].as_str().unwrap().contains("\"sequence\":5"), "{marks}");
    intake.stop().await;
}
