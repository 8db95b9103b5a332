// SPDX-License-Identifier: Apache-2.0
//! Media that come and go: what decides, what may be pulled, and what is recorded before anybody is told so.

use std::sync::Arc;
use std::time::Duration;

use krs_core::oci::digest::Digest;
use krs_core::oci::reference::Reference;
use krs_importer::adapters::high_water_marks::{HighWaterMarks, MarkError};
use krs_importer::model::bundle_inventory::{BundleInventory, TagResolution};
use krs_importer::model::marks::Mark;
use krs_importer::model::required_images::{MissingImage, SetDemand};
use krs_importer::model::state::ResolvedTag;

use crate::api::Trouble;
use crate::world::{Running, World, is};
use crate::{COMPLETE, SAFE};

/// What a set does with a tag: uses the decision of a bundle, if there is a new one.
async fn resolve(intake: &Running, stock: &BundleInventory, tag: &Reference, held: &mut Option<ResolvedTag>) {
    let TagResolution::New(answer) = stock.resolve("apps", tag, held.as_ref()) else { return };
    let bundle = answer.bundle();
    if let Ok(used) = intake.marks.raise(&bundle.stream, &bundle.mark()).await {
        *held = answer.resolved(&used, jiff::Timestamp::now());
    }
}

fn mark(world: &World) -> Option<u64> {
    let map = world.api.get("configmaps", "krs-system", "krs-streams")?;
    let mark = serde_json::from_str::<serde_json::Value>(map["data"]["prod"].as_str()?).unwrap();
    mark["sequence"].as_u64()
}

#[tokio::test(flavor = "multi_thread")]
async fn t27_t158_the_older_of_two_bundles_decides_nothing_once_the_newer_one_is_pulled() {
    let world = World::new();
    let old = world.drop_moved("prod-117.krs.tar", 117).await;
    let new = world.drop_moved("prod-118.krs.tar", 118).await;
    let tag = world.tag().parse::<Reference>().unwrap();
    let mut intake = world.start();
    let both = intake.stock(|stock| stock.bundles.len() == 2).await;
    let mut held = None;
    resolve(&intake, &both, &tag, &mut held).await;
    assert_eq!(held.as_ref().unwrap().digest, new.digest);
    assert_eq!(mark(&world), Some(118), "durable before the decision is used, long before the import");
    let needs = |held: &ResolvedTag| SetDemand {
        images: [(tag.clone(), Some(held.clone()))].into_iter().collect(),
        follows_bundles: true,
        ..SetDemand::default()
    };
    intake.needs(needs(held.as_ref().unwrap()));
    world.condition("prod-118", SAFE, "True", "Imported").await;
    let status = world.condition("prod-117", "Superseded", "True", "NewerUsed").await;
    assert!(is(&status, "Verified", "True", "Succeeded"), "{status}");
    world.condition("prod-118", "Superseded", "False", "Newest").await;

    // The courier does as told.
    std::fs::remove_file(world.at("prod-118.krs.tar")).unwrap();
    let alone = intake.stock(|stock| stock.bundles.len() == 1).await;
    assert_eq!(alone.bundles[0].name, "prod-117");
    resolve(&intake, &alone, &tag, &mut held).await;
    assert_eq!(held.as_ref().unwrap().digest, new.digest);
    // Neither does a set of yesterday's view bring it back, nor a new set.
    resolve(&intake, &both, &tag, &mut None).await;
    let mut fresh = None;
    resolve(&intake, &alone, &tag, &mut fresh).await;
    assert_eq!(fresh, None);
    assert_eq!(alone.superseded(&tag).count(), 1, "the set can say which bundle it waits for");
    // A set that names the older image by digest gets it.
    assert!(alone.find("apps", &old.digest, &[]).is_some());
    assert!(intake.library.get(&alone.bundles[0].digest).is_some());
    intake.stop().await;

    let mut intake = world.start();
    let restarted = intake.stock(|stock| stock.bundles.len() == 1).await;
    resolve(&intake, &restarted, &tag, &mut fresh).await;
    assert_eq!(fresh, None, "nothing is forgotten");
    world.condition("prod-117", "Superseded", "True", "NewerUsed").await;
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t158_sets_of_a_bundle_below_the_mark_are_never_applied() {
    let mut world = World::new();
    world.config.apply_sets = true;
    world.drop_moved("prod-117.krs.tar", 117).await;
    let newer = world.drop_moved("prod-118.krs.tar", 118).await;
    let applied =
        |world: &World| world.api.get("edgeimagesets", "apps", "app").map(|set| set["metadata"].clone());
    let mut intake = world.start();
    intake.stock(|stock| stock.bundles.len() == 2).await;
    // Set by set, and the mark before the first one.
    world.condition("prod-117", "Superseded", "True", "NewerUsed").await;
    assert_eq!(mark(&world), Some(118));
    let version = applied(&world).unwrap();
    std::fs::remove_file(world.at("prod-118.krs.tar")).unwrap();
    let status = world.condition("prod-118", COMPLETE, "False", "MediaAbsent").await;
    assert!(is(&status, "Superseded", "False", "Newest"), "{status}");
    assert_eq!(applied(&world).as_ref(), Some(&version));
    intake.stop().await;
    let mut intake = world.start();
    let stock = intake.stock(|stock| stock.bundles.len() == 1).await;
    world.condition("prod-117", SAFE, "False", "UsageUnknown").await;
    intake.missing(&[]);
    world.condition("prod-117", SAFE, "True", "Imported").await;
    assert_eq!(applied(&world), Some(version), "{stock:?} {newer:?}");
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t158_a_mark_that_cannot_be_read_lets_its_stream_decide_nothing_until_a_person_corrects_it() {
    let world = World::new();
    world.api.put(
        "configmaps",
        serde_json::json!({"metadata": {"name": "krs-streams", "namespace": "krs-system"}, "data": {"prod": "118"}}),
    );
    let image = world.drop_moved("prod-118.krs.tar", 118).await;
    let tag = world.tag().parse::<Reference>().unwrap();
    let mut intake = world.start();
    let stock = intake.stock(|stock| stock.bundles.len() == 1).await;
    assert_eq!(stock.resolve("apps", &tag, None), TagResolution::Unanswered);
    assert!(stock.find("apps", &image.digest, &[]).is_some());
    intake.missing(&[]);
    let status = world.condition("prod-118", SAFE, "False", "MarkUnreadable").await;
    assert!(is(&status, "Superseded", "Unknown", "MarkUnreadable"), "{status}");
    world.api.remove("configmaps", "krs-system", "krs-streams");
    world.condition("prod-118", SAFE, "True", "Imported").await;
    assert_eq!(mark(&world), Some(118));
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t27_t28_t75_bundles_that_were_accepted_are_judged_again_when_another_importer_raises_the_mark() {
    let world = World::new();
    world.drop("prod-5.krs.tar", 5).await;
    let mut intake = world.start();
    intake.stock(|stock| stock.bundles.len() == 1).await;
    let other = HighWaterMarks::new(world.api.client(), "krs-system");
    let (prod, at) = ("prod".parse().unwrap(), jiff::Timestamp::UNIX_EPOCH);
    let mark = |sequence| Mark { sequence, identity: Digest::of(b"another"), created_at: at };
    other.raise(&prod, &mark(5)).await.unwrap();
    intake.stock(|stock| stock.refused.iter().any(|refused| refused.reason == "SequenceReused")).await;
    let status = world.condition("prod-5", "Verified", "False", "SequenceReused").await;
    assert!(status.to_string().contains("was used before for other content"), "{status}");
    // A person deletes the entry: it counts again. A higher mark of the other importer supersedes it.
    world.api.remove("configmaps", "krs-system", "krs-streams");
    intake.stock(|stock| stock.bundles.len() == 1).await;
    other.raise(&prod, &mark(6)).await.unwrap();
    world.condition("prod-5", "Superseded", "True", "NewerUsed").await;
    assert!(matches!(intake.marks.raise(&prod, &mark(5)).await, Err(MarkError::Superseded { mark: 6, .. })));
    let reused = Mark { identity: Digest::of(b"a third"), ..mark(6) };
    assert!(matches!(intake.marks.raise(&prod, &reused).await, Err(MarkError::Reused { sequence: 6, .. })));
    let unreadable = serde_json::json!({"data": {"prod": "7"}});
    world.api.edit("somebody", "configmaps", "krs-system", "krs-streams", &unreadable);
    assert!(matches!(intake.marks.raise(&prod, &mark(8)).await, Err(MarkError::Unreadable { .. })));
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t131_media_may_be_pulled_only_once_the_mark_is_written_and_that_is_retried_without_the_file() {
    for restart in [false, true] {
        let world = World::new();
        world.drop("prod-5.krs.tar", 5).await;
        world.api.refuse("configmaps", Some("the quota is used up"));
        let mut intake = world.start();
        intake.stock(|stock| stock.bundles.len() == 1).await;
        intake.missing(&[]);
        let status = world
            .until("prod-5", |status| {
                is(status, SAFE, "False", "MarkNotRecorded") && status.to_string().contains("quota")
            })
            .await;
        assert!(is(&status, "Imported", "True", "Imported"), "{status}");
        // Somebody pulls it all the same.
        std::fs::remove_file(world.at("prod-5.krs.tar")).unwrap();
        world.condition("prod-5", COMPLETE, "False", "MediaAbsent").await;
        if restart {
            intake.stop().await;
            intake = world.start();
            intake.stock(|_| true).await;
            intake.missing(&[]);
        }
        let status = world.condition("prod-5", SAFE, "False", "MediaAbsent").await;
        assert_eq!(mark(&world), None, "{status}");
        world.api.refuse("configmaps", None);
        world.condition("prod-5", SAFE, "True", "MediaAbsent").await;
        assert_eq!(mark(&world), Some(5), "restart: {restart}");
        intake.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t130_media_wait_for_the_sets_that_copy_from_them_and_say_which() {
    let world = World::new();
    world.drop("prod-5.krs.tar", 5).await;
    let mut intake = world.start();
    intake.stock(|stock| stock.bundles.len() == 1).await;
    let image = format!("{}@{}", world.tag(), world.image.digest);
    let missing = |platforms: &[&str]| SetDemand {
        images: [(image.parse().unwrap(), Some(world.image.digest))].into_iter().collect(),
        missing: vec![MissingImage {
            digest: world.image.digest,
            platforms: platforms.iter().map(|text| text.parse().unwrap()).collect(),
        }],
        ..SetDemand::default()
    };
    intake.needs(missing(&[]));
    let status = world.condition("prod-5", SAFE, "False", "ImagesMissing").await;
    let text = status["message"].as_str().unwrap();
    assert!(text.contains("set apps/app needs") && text.contains("/app:1"), "{text}");
    // A tag that the set resolved elsewhere says nothing about these media.
    let other = MissingImage { digest: Digest::of(b"elsewhere"), platforms: Vec::new() };
    intake.needs(SetDemand { missing: vec![other], ..SetDemand::default() });
    world.condition("prod-5", SAFE, "True", "Imported").await;
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t132_media_in_another_port_are_the_same_image_bundle() {
    let world = World::new();
    for port in ["usb1", "usb2"] {
        std::fs::create_dir(world.at(port)).unwrap();
    }
    let path = world.drop("prod-5.krs.tar", 5).await;
    let (first, second) = (world.at("usb1/prod-5.krs.tar"), world.at("usb2/prod-5.krs.tar"));
    std::fs::rename(&path, &first).unwrap();
    for restart in [false, true] {
        let mut intake = world.start();
        intake.missing(&[]);
        world.condition("prod-5", SAFE, "True", "Imported").await;
        let away = world.at(".away.krs.tar");
        let (from, to) = if restart { (&second, &first) } else { (&first, &second) };
        std::fs::rename(from, &away).unwrap();
        world.condition("prod-5", COMPLETE, "False", "MediaAbsent").await;
        if restart {
            intake.stop().await;
            std::fs::rename(&away, to).unwrap();
            intake = world.start();
            intake.missing(&[]);
        } else {
            std::fs::rename(&away, to).unwrap();
        }
        intake.stock(|stock| stock.bundles.iter().any(|bundle| bundle.present)).await;
        world.condition("prod-5", COMPLETE, "True", "FilePresent").await;
        let all = world.api.all("imagebundles");
        assert_eq!(all.len(), 1, "{all:#?}");
        assert_eq!(world.at(all[0]["spec"]["file"].as_str().unwrap()), *to);
        intake.stop().await;
    }
    world.events_are("BundleVerified", 1).await; // it is not read again
}

/// Both procedures of docs/operate.md, with the bundle that is not to count any more imported and its media away: a stolen
/// key (the mark is removed), and an older bundle that is used again (the mark is lowered).
#[tokio::test(flavor = "multi_thread")]
async fn t164_a_mark_that_a_person_removed_or_lowered_is_not_raised_again() {
    for (lowered, restart) in [(false, false), (false, true), (true, false), (true, true)] {
        let world = World::new();
        let old = world.drop_moved("prod-117.krs.tar", 117).await;
        let tag = world.tag().parse::<Reference>().unwrap();
        let mut intake = world.start();
        let stock = intake.stock(|stock| stock.bundles.len() == 1).await;
        let at_117 = serde_json::json!(stock.bundles[0].mark()).to_string();
        world.drop_moved("prod-118.krs.tar", 118).await;
        let both = intake.stock(|stock| stock.bundles.len() == 2).await;
        let mut held = None;
        resolve(&intake, &both, &tag, &mut held).await;
        intake.missing(&[]);
        world.condition("prod-118", SAFE, "True", "Imported").await;
        std::fs::remove_file(world.at("prod-118.krs.tar")).unwrap();
        world.condition("prod-118", SAFE, "True", "MediaAbsent").await;
        world.condition("prod-117", "Superseded", "True", "NewerUsed").await;
        let running = if restart {
            intake.stop().await;
            None
        } else {
            Some(intake)
        };
        if lowered {
            let data = serde_json::json!({"data": {"prod": at_117}});
            world.api.edit("kubectl", "configmaps", "krs-system", "krs-streams", &data);
        } else {
            world.api.remove("configmaps", "krs-system", "krs-streams");
        }
        let mut intake = running.unwrap_or_else(|| world.start());
        intake.missing(&[]);
        world.condition("prod-117", "Superseded", "False", "Newest").await;
        world.condition("prod-117", SAFE, "True", "Imported").await;
        // Another scan of the folder, and all that follows it.
        std::fs::write(world.at("text.krs.tar"), "hello".repeat(1000)).unwrap();
        world.condition("text", "Verified", "False", "NotABundle").await;
        assert_eq!(mark(&world), lowered.then_some(117), "restart: {restart}");
        let alone = intake.stock(|stock| stock.bundles.len() == 1).await;
        resolve(&intake, &alone, &tag, &mut held).await;
        assert_eq!(held.unwrap().digest, old.digest, "lowered: {lowered}, restart: {restart}");
        assert_eq!(mark(&world), Some(117));
        intake.stop().await;
    }
}

/// The same where the set misses an image of the bundle that was taken out: it is why the bundle is bad.
#[tokio::test(flavor = "multi_thread")]
async fn t251_a_bundle_that_was_taken_out_half_imported_raises_no_mark_again() {
    for lowered in [false, true] {
        let world = World::new();
        let old = world.drop_moved("prod-117.krs.tar", 117).await;
        let tag = world.tag().parse::<Reference>().unwrap();
        let mut intake = world.start();
        let stock = intake.stock(|stock| stock.bundles.len() == 1).await;
        let at_117 = serde_json::json!(stock.bundles[0].mark()).to_string();
        let new = world.drop_moved("prod-118.krs.tar", 118).await;
        let both = intake.stock(|stock| stock.bundles.len() == 2).await;
        let mut held = None;
        resolve(&intake, &both, &tag, &mut held).await;
        assert_eq!((held.as_ref().unwrap().digest, mark(&world)), (new.digest, Some(118)));
        intake.needs(SetDemand {
            images: [(tag.clone(), held.clone())].into_iter().collect(),
            missing: vec![MissingImage { digest: new.digest, platforms: Vec::new() }],
            follows_bundles: true,
            ..SetDemand::default()
        });
        world.condition("prod-118", SAFE, "False", "ImagesMissing").await;
        std::fs::remove_file(world.at("prod-118.krs.tar")).unwrap();
        world.condition("prod-118", COMPLETE, "False", "MediaAbsent").await;
        if lowered {
            let data = serde_json::json!({"data": {"prod": at_117}});
            world.api.edit("kubectl", "configmaps", "krs-system", "krs-streams", &data);
        } else {
            world.api.remove("configmaps", "krs-system", "krs-streams");
        }
        world.condition("prod-117", "Superseded", "False", "Newest").await;
        let is_newest = |stock: &BundleInventory| {
            stock
                .bundles
                .iter()
                .all(|bundle| bundle.standing == krs_importer::model::marks::MarkComparison::Current)
        };
        let stock = intake.stock(|stock| stock.bundles.len() == 2 && is_newest(stock)).await;
        resolve(&intake, &stock, &tag, &mut held).await;
        assert_eq!(held.unwrap().digest, old.digest, "lowered: {lowered}");
        assert_eq!(mark(&world), Some(117));
        intake.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t166_an_image_bundle_that_the_api_server_refuses_delays_no_other_one() {
    let world = World::new();
    world.drop("a.krs.tar", 5).await;
    world.drop("b.krs.tar", 6).await;
    let refusal = Trouble::Status(422, "Invalid", "too long");
    world.api.trouble("POST", "imagebundles", refusal, Some(1));
    let mut intake = world.start();
    let stock = intake.stock(|stock| stock.bundles.len() == 2).await;
    world.condition("b", "Verified", "True", "Succeeded").await;
    assert_eq!(world.api.get("imagebundles", "", "a"), None, "it waits before it is written again");
    world.condition("a", "Verified", "True", "Succeeded").await;

    // A set of a tenant lists an image by a reference that is as long as a set may write it.
    let written = format!("docker.io/{}:{}@{}", "n".repeat(109), "t".repeat(128), world.image.digest);
    let reference = written.parse::<Reference>().unwrap();
    let name = reference.to_string();
    assert!(written.len() == 320 && name.len() > 320, "{name}");
    let image = (reference, stock.bundles[0].images[0].digest);
    intake.wanted("evil", image);
    let status = world.until("a", |status| !status["namespaceMismatches"].is_null()).await;
    let image = status["namespaceMismatches"][0]["image"].as_str().unwrap();
    assert!(image.chars().count() <= 320 && name.starts_with(image.trim_end_matches('…')), "{image}");
    intake.stop().await;
}

/// Else the intake works out twice a second what to do, for as long as it remembers the file.
#[tokio::test(flavor = "multi_thread")]
async fn t167_nothing_waits_for_the_file_of_media_that_were_pulled_to_be_closed() {
    let world = World::new();
    world.drop("prod-5.krs.tar", 5).await;
    let mut intake = world.start();
    let digest = intake.stock(|stock| stock.bundles.len() == 1).await.bundles[0].digest;
    intake.missing(&[]);
    world.condition("prod-5", SAFE, "True", "Imported").await;
    let held = Arc::downgrade(&intake.library.get(&digest).unwrap());
    std::fs::remove_file(world.at("prod-5.krs.tar")).unwrap();
    world.condition("prod-5", COMPLETE, "False", "MediaAbsent").await;
    assert!(intake.library.get(&digest).is_none());
    let alone = async {
        while held.strong_count() != 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let alone = tokio::time::timeout(Duration::from_secs(60), alone).await;
    assert!(alone.is_ok(), "held {} times: by its entry, and by what else?", held.strong_count());
    intake.stop().await;
}

/// A set that the API server refuses (another manager owns its fields, its namespace is missing) is nobody's need.
#[tokio::test(flavor = "multi_thread")]
async fn t168_media_do_not_wait_for_sets_that_cannot_be_applied() {
    let mut world = World::new();
    (world.config.apply_sets, world.sets) = (true, 3);
    let conflict = Trouble::Status(409, "Conflict", "another manager owns the field");
    world.api.trouble("PATCH", "edgeimagesets", conflict, None);
    world.drop("prod-5.krs.tar", 5).await;
    let intake = world.start();
    intake.missing(&[]);
    world.condition("prod-5", SAFE, "True", "Imported").await;
    let calls = world.api.calls();
    assert_eq!(calls.iter().filter(|call| *call == "PATCH edgeimagesets").count(), 3, "{calls:?}");
    world.events_are("SetNotApplied", 1).await; // one event counts them
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t169_an_api_server_that_never_answers_is_waited_for_once_and_not_for_each_set() {
    let mut world = World::new();
    (world.config.apply_sets, world.sets) = (true, 3);
    world.limits.call = Duration::from_millis(300);
    world.api.trouble("PATCH", "edgeimagesets", Trouble::Hang, None);
    world.drop("prod-5.krs.tar", 5).await;
    let intake = world.start();
    intake.missing(&[]);
    let status = world.condition("prod-5", SAFE, "False", "UsageUnknown").await;
    assert!(status.to_string().contains("set apps/app"), "the media wait for the retry: {status}");
    std::fs::write(world.at("text.krs.tar"), "hello".repeat(1000)).unwrap();
    world.condition("text", "Verified", "False", "NotABundle").await;
    let calls = world.api.calls();
    assert_eq!(calls.iter().filter(|call| *call == "PATCH edgeimagesets").count(), 1, "{calls:?}");
    intake.stop().await;
}
