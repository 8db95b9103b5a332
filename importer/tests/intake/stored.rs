// SPDX-License-Identifier: Apache-2.0
//! ImageBundles that an intake finds: written by other versions or by hand, and those of files that are refused.

use serde_json::json;

use crate::world::{World, is};
use crate::{COMPLETE, SAFE, VERIFIED};

fn mark(world: &World) -> Option<serde_json::Value> {
    Some(world.api.get("configmaps", "krs-system", "krs-streams")?["data"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn t195_image_bundles_that_cannot_be_read_keep_no_intake_from_starting_and_nothing_recorded_is_lost() {
    let world = World::new();
    world.drop("prod-5.krs.tar", 5).await;
    let intake = world.start();
    intake.missing(&[]);
    world.condition("prod-5", SAFE, "True", "Imported").await;
    intake.stop().await;

    let metadata = |name: &str| json!({"apiVersion": "kuberegistrysync.io/v1alpha1", "kind": "ImageBundle", "metadata": {"name": name}});
    world.api.put("imagebundles", metadata("empty"));
    let mut odd = metadata("odd");
    (odd["spec"], odd["status"]) = (json!({"file": 7}), json!("none"));
    world.api.put("imagebundles", odd);
    let mut later = world.api.get("imagebundles", "", "prod-5").unwrap();
    later["status"]["size"] = json!({"bytes": 7});
    later["status"]["conditions"].as_array_mut().unwrap().push(json!({"type": "Added", "state": [1]}));
    world.api.put_by("later", "imagebundles", later);
    // A person takes the mark away: nothing but the ImageBundle knows that it was there.
    world.api.remove("configmaps", "krs-system", "krs-streams");

    let mut intake = world.start();
    intake.missing(&[]);
    intake.stock(|stock| stock.bundles.first().is_some_and(|bundle| bundle.ready)).await;
    let status =
        world.until("prod-5", |status| status["size"].is_u64() && is(status, SAFE, "True", "Imported")).await;
    assert!(is(&status, "Recorded", "True", "MarkReached"), "{status}");
    assert_eq!(mark(&world), None, "a mark that a person removed is not raised again");
    assert_eq!(world.api.get("imagebundles", "", "odd").unwrap()["status"], "none", "it is left alone");
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t198_that_a_mark_was_reached_is_known_while_the_file_is_refused_and_after_a_restart() {
    let world = World::new();
    world.drop("prod-5.krs.tar", 5).await;
    let mut intake = world.start();
    intake.missing(&[]);
    world.condition("prod-5", SAFE, "True", "Imported").await;
    let digest = intake.stock(|stock| !stock.bundles.is_empty()).await.bundles[0].digest;
    intake.report(digest, true);
    let status = world.condition("prod-5", VERIFIED, "False", "Damaged").await;
    assert!(is(&status, "Recorded", "True", "MarkReached"), "{status}");
    assert_eq!((&status["digest"], &status["sequence"]), (&digest.to_string().into(), &json!(null)));
    intake.stop().await;

    world.api.remove("configmaps", "krs-system", "krs-streams");
    let intake = world.start();
    intake.missing(&[]);
    let status = world.condition("prod-5", SAFE, "True", "Imported").await;
    assert!(is(&status, "Recorded", "True", "MarkReached"), "{status}");
    assert_eq!(mark(&world), None, "a mark that a person removed is not raised again");
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_with_the_reasons_of_version_0_1_is_understood_and_gets_the_present_ones() {
    let world = World::new();
    world.drop("prod-5.krs.tar", 5).await;
    let mut intake = world.start();
    intake.stock(|stock| stock.bundles.len() == 1).await;
    world.condition("prod-5", COMPLETE, "True", "FilePresent").await;
    std::fs::remove_file(world.at("prod-5.krs.tar")).unwrap();
    world.condition("prod-5", COMPLETE, "False", "MediaAbsent").await;
    world.events_are("MediaAbsent", 1).await;
    intake.stop().await;

    let hour_ago = jiff::Timestamp::now().as_second() - 3600;
    let absent_since = jiff::Timestamp::from_second(hour_ago).unwrap().to_string();
    let unused = "what the sets need is being found out";
    let mut old = world.api.get("imagebundles", "", "prod-5").unwrap();
    for condition in old["status"]["conditions"].as_array_mut().unwrap() {
        if condition["type"] == COMPLETE || condition["type"] == SAFE {
            condition["reason"] = json!("MediumAbsent");
            condition["lastTransitionTime"] = json!(absent_since);
        }
        if condition["type"] == "Imported" {
            (condition["status"], condition["reason"]) = (json!("Unknown"), json!("NotLookedAt"));
            condition["message"] = json!(unused);
        }
    }
    world.api.put_by("krs-importer", "imagebundles", old);

    let intake = world.start();
    let status = world.condition("prod-5", COMPLETE, "False", "MediaAbsent").await;
    let condition = |type_: &str| {
        let all = status["conditions"].as_array().unwrap().iter();
        all.clone().find(|condition| condition["type"] == type_).unwrap().clone()
    };
    assert_eq!(condition(COMPLETE)["lastTransitionTime"], absent_since, "it was absent all the time");
    assert!(is(&status, SAFE, "False", "MediaAbsent"), "{status}");
    assert!(is(&status, "Imported", "Unknown", "UsageUnknown"), "{status}");
    let message = status["message"].as_str().unwrap();
    assert!(message.contains(&format!("last seen at {absent_since}")), "{message}");
    intake.stop().await;
    world.events_are("MediaAbsent", 1).await; // nothing happened
}
