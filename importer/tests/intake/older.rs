// SPDX-License-Identifier: Apache-2.0
//! A bundle that is older than one that was used, and is inserted after it.

use krs_core::reference::Reference;
use krs_importer::marks::Standing;
use krs_importer::stock::TagResolution;

use crate::SAFE;
use crate::world::{World, is};

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
    assert_eq!(stock.bundles[0].standing, Standing::Superseded { by: 5 });
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
