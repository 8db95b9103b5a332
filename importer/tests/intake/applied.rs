// SPDX-License-Identifier: Apache-2.0
//! Sets of bundles that are applied to the cluster: those that are refused, and those that two streams have.

use std::time::Duration;

use krs_core::sync::plan::PlanOptions;

use crate::api::Trouble;
use crate::world::{World, numbered};
use crate::{SAFE, VERIFIED};

const APPLIED: &str = "SetsApplied";

#[tokio::test(flavor = "multi_thread")]
async fn t196_a_set_that_the_api_server_refuses_is_shown_and_the_others_are_applied() {
    let mut world = World::new();
    (world.config.apply_sets, world.sets) = (true, 2);
    let invalid = Trouble::Status(422, "Invalid", "spec.images: too many");
    world.api.trouble("PATCH", "edgeimagesets", invalid, Some(1));
    world.drop("prod-5.krs.tar", 5).await;
    let intake = world.start();
    intake.missing(&[]);
    let status = world.condition("prod-5", APPLIED, "False", "SetsRefused").await;
    let conditions = status["conditions"].as_array().unwrap();
    let message = conditions.iter().find(|one| one["type"] == APPLIED).unwrap()["message"].as_str().unwrap();
    assert!(message.contains("set apps/app: ") && message.contains("too many"), "{message}");
    assert_eq!(world.api.all("edgeimagesets").len(), 1, "the other one");
    intake.stop().await;
}

/// The stream that has applied the set, and the version of the set.
fn owner(world: &World) -> Option<(String, String)> {
    let metadata = world.api.get("edgeimagesets", "apps", "app")?["metadata"].clone();
    let stream = metadata["annotations"]["kuberegistrysync.io/stream"].as_str()?.to_owned();
    Some((stream, metadata["resourceVersion"].to_string()))
}

async fn drop_of(world: &World, stream: &str, sequence: u64) {
    let name = format!("{stream}.krs.tar");
    let options = PlanOptions { stream: stream.parse().unwrap(), ..numbered(sequence) };
    let path = world.make(&name, "", options, Some(&world.key)).await;
    std::fs::copy(path, world.at(&name)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn t197_a_set_that_two_streams_have_is_applied_from_the_one_whose_name_comes_first() {
    let mut world = World::new();
    world.config.apply_sets = true;
    drop_of(&world, "zeta", 9).await;
    let intake = world.start();
    intake.missing(&[]);
    world.condition("zeta", APPLIED, "True", "Applied").await;
    assert_eq!(owner(&world).unwrap().0, "zeta", "alone it has the set");

    drop_of(&world, "prod", 5).await;
    world.condition("prod", APPLIED, "True", "Applied").await;
    let status = world.condition("zeta", APPLIED, "False", "OtherStream").await;
    assert!(status.to_string().contains("bundles of stream `prod` apply the same set"), "{status}");
    let owned = owner(&world);
    assert_eq!(owned.as_ref().unwrap().0, "prod");
    intake.stop().await;

    // Also while the media with the other bundle are away, and after a restart.
    std::fs::remove_file(world.at("prod.krs.tar")).unwrap();
    for name in ["prod", "zeta"] {
        world.api.remove("imagebundles", "", name);
    }
    let intake = world.start();
    intake.missing(&[]);
    world.condition("zeta", APPLIED, "False", "OtherStream").await;
    std::fs::write(world.at("text.krs.tar"), "hello".repeat(1000)).unwrap();
    world.condition("text", VERIFIED, "False", "NotABundle").await;
    world.condition("zeta", SAFE, "True", "Imported").await;
    assert_eq!(owner(&world), owned);
    intake.stop().await;
}

/// What became of its sets goes with its ImageBundle: a bundle that is inserted again later is a new one.
#[tokio::test(flavor = "multi_thread")]
async fn t232_nothing_is_kept_of_a_bundle_whose_image_bundle_is_deleted() {
    let mut world = World::new();
    (world.config.apply_sets, world.config.intake.keep) = (true, Duration::ZERO);
    let (path, away) = (world.drop("prod-5.krs.tar", 5).await, world.at(".away.krs.tar"));
    let intake = world.start();
    intake.missing(&[]);
    world.condition("prod-5", APPLIED, "True", "Applied").await;
    let until = async |what: &str, is_so: &dyn Fn() -> bool| {
        let waiting = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), waiting).await.map_err(|_| what).unwrap();
    };
    std::fs::rename(&path, &away).unwrap();
    until("the ImageBundle is deleted", &|| world.api.all("imagebundles").is_empty()).await;
    world.api.remove("edgeimagesets", "apps", "app");
    // The scan that finds it comes after the one that dropped it.
    std::fs::rename(&away, &path).unwrap();
    until("the set is applied again", &|| owner(&world).is_some()).await;
    intake.stop().await;
}
