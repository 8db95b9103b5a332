// SPDX-License-Identifier: Apache-2.0
//! The drop folder with real files, against an API server in memory.
#![allow(clippy::print_stderr, clippy::unwrap_used, missing_docs)]

mod ahead;
#[allow(dead_code, reason = "other tests use more of it")]
#[path = "../support/api/mod.rs"]
mod api;
mod applied;
mod changes;
mod failing;
#[cfg(target_os = "linux")]
mod fat;
mod hanging;
mod importers;
mod killed;
mod media;
mod older;
mod overwritten;
mod pulled;
mod receipts;
#[cfg(target_os = "linux")]
mod receipts_on_fat;
mod receipts_on_media;
mod stored;
mod unreadable;
mod world;

use std::time::Duration;

use api::Trouble;
use krs_core::sync::plan::PlanOptions;
use krs_testing::log::Log;
use world::{Key, World, flip, is, last_blob, numbered};

const VERIFIED: &str = "Verified";
const COMPLETE: &str = "Complete";
const SAFE: &str = "SafeToRemove";

#[tokio::test(flavor = "multi_thread")]
async fn t26_two_bundles_are_verified_imported_and_may_be_pulled() {
    let world = World::new();
    std::fs::create_dir(world.at("usb1")).unwrap();
    world.drop("prod-4.krs.tar", 4).await;
    world.drop("prod-5.krs.tar", 5).await;
    let other = PlanOptions { audience: vec!["site-2".to_owned()], ..numbered(6) };
    let foreign = world.make("other-6.krs.tar", "", other, Some(&world.key)).await;
    std::fs::copy(foreign, world.at("usb1/other-6.krs.tar")).unwrap();
    let mut intake = world.start();
    let stock = intake.stock(|stock| stock.bundles.len() == 2).await;
    let order =
        stock.bundles.iter().map(|bundle| (bundle.name.as_str(), bundle.sequence)).collect::<Vec<_>>();
    assert_eq!(order, [("prod-5", 5), ("prod-4", 4)], "the highest sequence comes first");
    assert!(stock.bundles.iter().all(|bundle| bundle.present && bundle.ready));
    assert_eq!(stock.refused[0].reason, "WrongAudience");

    let newest = stock.bundles[0].digest;
    assert!(intake.library.get(&newest).is_some());
    intake.copying(newest, world.image.digest);
    world.condition("prod-5", SAFE, "False", "Copying").await;
    assert!(world.api.get("configmaps", "krs-system", "krs-streams").is_none(), "nothing is imported yet");
    intake.missing(&[]);
    let status = world.condition("prod-5", SAFE, "True", "Imported").await;
    assert_eq!(status["message"], "you may remove the media");
    assert_eq!(status["sequence"], 5);
    assert!(!intake.library.get(&newest).unwrap().bundle.is_open(), "umount must not say busy");
    let marks = world.api.get("configmaps", "krs-system", "krs-streams").unwrap();
    assert!(marks["data"]["prod"].as_str().unwrap().contains("\"sequence\":5"), "{marks}");
    world.events_are("BundleVerified", 2).await; // once each
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t33_volumes_on_two_drives_are_one_bundle_and_the_missing_one_is_named() {
    let world = World::new();
    for folder in ["usb1", "usb2"] {
        std::fs::create_dir(world.at(folder)).unwrap();
    }
    let content =
        std::fs::read(world.make("prod-5.krs.tar", "", numbered(5), Some(&world.key)).await).unwrap();
    let volumes = content.chunks(100_000).collect::<Vec<_>>();
    assert!(volumes.len() >= 2);
    std::fs::write(world.at("usb2/prod-5.krs.tar.001"), volumes[0]).unwrap();
    let mut intake = world.start();
    let awaited = world.until("prod-5", |status| is(status, COMPLETE, "False", "Incomplete")).await;
    let text = awaited.to_string();
    assert!(text.contains("prod-5.krs.tar.002") && text.contains("insert the media"), "{text}");
    for (n, volume) in volumes.iter().enumerate().skip(1) {
        std::fs::write(world.at(&format!("usb1/prod-5.krs.tar.{:03}", n + 1)), volume).unwrap();
    }
    let stock = intake.stock(|stock| stock.bundles.len() == 1).await;
    assert_eq!((stock.bundles[0].name.as_str(), stock.bundles[0].sequence), ("prod-5", 5));
    intake.missing(&[]);
    world.condition("prod-5", "Imported", "True", "Imported").await;
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t27_t28_what_is_older_decides_nothing_and_what_contradicts_what_was_imported_is_refused() {
    let world = World::new();
    world.drop("new.krs.tar", 5).await;
    let mut intake = world.start();
    intake.stock(|stock| stock.bundles.len() == 1).await;
    intake.missing(&[]);
    world.condition("new", "Imported", "True", "Imported").await;
    world.drop("old.krs.tar", 4).await;
    let reused = world.make("reused.krs.tar", "-other", numbered(5), Some(&world.key)).await;
    std::fs::copy(reused, world.at("reused.krs.tar")).unwrap();
    let stock = intake.stock(|stock| stock.refused.len() == 1 && stock.bundles.len() == 2).await;
    assert_eq!(stock.refused[0].reason, "SequenceReused");
    let status = world.condition("reused", VERIFIED, "False", "SequenceReused").await;
    assert!(status.to_string().contains("have the same sequence 5"), "{status}");
    let status = world.condition("old", "Superseded", "True", "NewerUsed").await;
    assert!(is(&status, VERIFIED, "True", "Succeeded"), "digests may still come from it: {status}");
    assert!(status.to_string().contains("sequence 5 of its stream was used"), "{status}");
    world.condition("old", SAFE, "True", "Imported").await;
    intake.stop().await;
}

/// Somebody in another namespace lists an image of the bundle: people see it, and the media are not held for it.
#[tokio::test(flavor = "multi_thread")]
async fn t123_images_that_the_bundle_lists_for_other_namespaces_are_named_and_hold_no_media() {
    for shared in [false, true] {
        let mut world = World::new();
        world.config.share_across_namespaces = shared;
        world.drop("prod-5.krs.tar", 5).await;
        let mut intake = world.start();
        let stock = intake.stock(|stock| stock.bundles.len() == 1).await;
        let image = stock.bundles[0].images[0].clone();
        intake.wanted("evil", (image.reference.clone(), image.digest));
        let status = world.until("prod-5", |status| !status["namespaceMismatches"].is_null()).await;
        let mismatch = &status["namespaceMismatches"][0];
        assert_eq!(mismatch["image"], image.reference.to_string());
        assert_eq!((&mismatch["namespace"], &mismatch["listedFor"][0]), (&"evil".into(), &"apps".into()));
        let message = status["message"].as_str().unwrap();
        assert!(message.contains("evil/app") && message.contains("listed for apps"), "{message}");
        if shared {
            assert!(message.contains("only because the site sets shareAcrossNamespaces"), "{message}");
            world.condition("prod-5", "Imported", "False", "ImagesMissing").await;
        } else {
            world.condition("prod-5", SAFE, "True", "Imported").await;
        }
        intake.wanted("apps", (image.reference, image.digest));
        world.until("prod-5", |status| status["namespaceMismatches"].is_null()).await;
        world.condition("prod-5", "Imported", "False", "ImagesMissing").await;
        intake.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t28_t252_two_bundles_with_one_number_are_not_both_accepted_and_removing_one_is_enough() {
    let world = World::new();
    world.drop("a.krs.tar", 5).await;
    let reused = world.make("b.krs.tar", "-other", numbered(5), Some(&world.key)).await;
    std::fs::copy(reused, world.at("b.krs.tar")).unwrap();
    let mut intake = world.start();
    let stock = intake.stock(|_| true).await;
    assert_eq!((stock.bundles.len(), stock.bundles[0].name.as_str()), (1, "a"));
    assert_eq!(stock.refused[0].reason, "SequenceReused");
    let status = world.condition("b", VERIFIED, "False", "SequenceReused").await;
    assert!(status["message"].as_str().unwrap().contains("remove the other"), "{status}");
    // Somebody does so, before anything of it was used.
    std::fs::remove_file(world.at("a.krs.tar")).unwrap();
    world.condition("b", VERIFIED, "True", "Succeeded").await;
    intake.missing(&[]);
    world.condition("b", SAFE, "True", "Imported").await;
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t01_t02_t10_t12_what_is_not_a_bundle_of_a_trusted_sender_is_refused_and_nothing_of_it_shown() {
    let world = World::new();
    let unsigned = world.make("unsigned.krs.tar", "", numbered(1), None).await;
    std::fs::copy(&unsigned, world.at("unsigned.krs.tar")).unwrap();
    let foreign = world.make("foreign.krs.tar", "", numbered(2), Some(&Key::new())).await;
    std::fs::copy(foreign, world.at("foreign.krs.tar")).unwrap();
    let damaged = world.drop("header.krs.tar", 3).await;
    // The owner's name in the header of the last blob: no reader needs it.
    let blob = last_blob(&damaged);
    flip(&damaged, blob - 512 + 265);
    std::os::unix::fs::symlink(&unsigned, world.at("link.krs.tar")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(world.at("pipe.krs.tar")).status().unwrap();
    assert!(made.success());
    std::fs::write(world.at("text.krs.tar"), "hello".repeat(1000)).unwrap();
    let mut intake = world.start();
    for (name, reason) in [
        ("unsigned", "SignatureMissing"),
        ("foreign", "UntrustedKey"),
        ("link", "NotABundle"),
        ("pipe", "NotABundle"),
        ("text", "NotABundle"),
        ("header", "Damaged"),
    ] {
        let status = world.condition(name, VERIFIED, "False", reason).await;
        assert!(status["stream"].is_null() && status["sequence"].is_null(), "{status}");
        assert!(is(&status, SAFE, "True", reason), "{status}");
    }
    let stock = intake.stock(|_| true).await;
    assert!(stock.bundles.is_empty(), "{stock:?}");
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t42_one_wrong_byte_in_a_blob_withdraws_the_bundle() {
    let world = World::new();
    let path = world.drop("prod-1.krs.tar", 1).await;
    let at = last_blob(&path);
    flip(&path, at + 100_000);
    let mut intake = world.start();
    let status = world.condition("prod-1", VERIFIED, "False", "Damaged").await;
    assert!(is(&status, SAFE, "True", "Damaged"), "{status}");
    let stock = intake.stock(|stock| stock.bundles.is_empty()).await;
    assert_eq!(stock.refused[0].reason, "Damaged");
    world.events_are("BundleRefused", 1).await;

    // A good copy of the same bundle counts once it was read to its end.
    std::fs::remove_file(&path).unwrap();
    world.drop("prod-1.krs.tar", 1).await;
    world.condition("prod-1", VERIFIED, "True", "Succeeded").await;
    intake.stock(|stock| stock.bundles.first().is_some_and(|bundle| bundle.ready)).await;
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t42_damage_that_a_transfer_finds_withdraws_the_bundle_and_failing_media_are_read_again() {
    let world = World::new();
    world.drop("prod-1.krs.tar", 1).await;
    let mut intake = world.start();
    let digest = intake.stock(|stock| !stock.bundles.is_empty()).await.bundles[0].digest;
    intake.missing(&[world.image.digest]);
    intake.report(digest, false);
    let stock = intake.stock(|stock| stock.bundles.iter().all(|bundle| !bundle.present)).await;
    assert_eq!(stock.bundles.len(), 1, "it is known what the media hold");
    intake.stock(|stock| stock.bundles.iter().any(|bundle| bundle.present)).await;
    intake.report(digest, true);
    world.condition("prod-1", VERIFIED, "False", "Damaged").await;
    intake.stock(|stock| stock.bundles.is_empty()).await;
    assert!(intake.library.get(&digest).is_none());
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t21_t38_a_file_that_grows_is_waited_for() {
    use std::io::Write as _;
    let world = World::new();
    let path = world.make("prod-1.krs.tar", "", numbered(1), Some(&world.key)).await;
    let bytes = std::fs::read(path).unwrap();
    let mut file = std::fs::File::create(world.at("prod-1.krs.tar")).unwrap();
    let mut intake = world.start();
    world.condition("prod-1", COMPLETE, "False", "Incomplete").await;
    for piece in bytes.chunks(bytes.len() / 3) {
        file.write_all(piece).unwrap();
        let status = world.condition("prod-1", COMPLETE, "False", "Incomplete").await;
        assert!(status["message"].as_str().unwrap().contains("wait until the copy is complete"), "{status}");
    }
    world.condition("prod-1", VERIFIED, "True", "Succeeded").await;
    assert_eq!(world.events("BundleRefused"), 0);
    intake.stock(|stock| stock.bundles.len() == 1).await;
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t36_a_drive_that_is_pulled_and_put_back_continues_without_a_restart() {
    let world = World::new();
    std::fs::create_dir(world.at("usb1")).unwrap();
    let path = world.drop("prod-1.krs.tar", 1).await;
    std::fs::rename(&path, world.at("usb1/prod-1.krs.tar")).unwrap();
    let mut intake = world.start();
    intake.missing(&[world.image.digest]);
    intake.stock(|stock| !stock.bundles.is_empty()).await;
    std::fs::rename(world.at("usb1"), world.at(".away")).unwrap();
    let stock = intake.stock(|stock| stock.bundles.iter().all(|bundle| !bundle.present)).await;
    assert_eq!(stock.bundles.len(), 1, "people can be told which drive to insert");
    let status = world.condition("prod-1", COMPLETE, "False", "MediaAbsent").await;
    assert!(status["message"].as_str().unwrap().contains("insert the media"), "{status}");
    std::fs::rename(world.at(".away"), world.at("usb1")).unwrap();
    intake.stock(|stock| stock.bundles.iter().any(|bundle| bundle.present && bundle.ready)).await;
    world.condition("prod-1", COMPLETE, "True", "FilePresent").await;
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_does_not_read_the_drive_again() {
    let world = World::new();
    let path = world.drop("prod-1.krs.tar", 1).await;
    let intake = world.start();
    intake.missing(&[]);
    let before = world.condition("prod-1", SAFE, "True", "Imported").await;
    intake.stop().await;
    // A second pass would find it.
    flip(&path, last_blob(&path) + 100_000);
    world.api.fail(None);
    let mut intake = world.start();
    intake.missing(&[]);
    intake.stock(|stock| !stock.bundles.is_empty()).await;
    let status = world.condition("prod-1", SAFE, "True", "Imported").await;
    assert_eq!(status["bytesVerified"], before["bytesVerified"]);
    world.events_are("BundleVerified", 1).await;
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t08_keys_that_are_changed_count_without_a_restart() {
    let world = World::new();
    let other = Key::new();
    let path = world.make("prod-1.krs.tar", "", numbered(1), Some(&other)).await;
    std::fs::copy(path, world.at("prod-1.krs.tar")).unwrap();
    let mut intake = world.start();
    world.condition("prod-1", VERIFIED, "False", "UntrustedKey").await;
    std::fs::write(world.config.trusted_keys.join("new.pub"), &other.public).unwrap();
    let digest = intake.stock(|stock| stock.bundles.len() == 1).await.bundles[0].digest;
    std::fs::remove_file(world.config.trusted_keys.join("new.pub")).unwrap();
    intake.stock(|stock| stock.bundles.is_empty() && stock.refused.len() == 1).await;
    assert!(intake.library.get(&digest).is_none(), "it is withdrawn");
    intake.stop().await;
}

#[tokio::test]
async fn t124_each_decision_about_a_bundle_is_one_line_of_the_log_and_a_restart_adds_none() {
    let (world, log) = (World::new(), Log::capture());
    let foreign = world.make("foreign.krs.tar", "", numbered(2), Some(&Key::new())).await;
    std::fs::copy(foreign, world.at("foreign.krs.tar")).unwrap();
    world.drop("prod-1.krs.tar", 1).await;
    let count = |lines: &[serde_json::Value], name: &str, reason: &str| {
        lines.iter().filter(|line| line["name"] == name && line["reason"] == reason).count()
    };
    let mut intake = world.start();
    intake.missing(&[]);
    world.condition("prod-1", SAFE, "True", "Imported").await;
    world.condition("foreign", VERIFIED, "False", "UntrustedKey").await;
    intake.stock(|_| true).await;
    intake.stop().await;
    let lines = log.take();
    for (name, reason) in [
        ("prod-1", "BundleFound"),
        ("prod-1", "BundleVerified"),
        ("prod-1", "BundleImported"),
        ("prod-1", "SafeToRemove"),
        ("foreign", "BundleFound"),
        ("foreign", "BundleRefused"),
    ] {
        assert_eq!(count(&lines, name, reason), 1, "{name} {reason}: {lines:?}");
    }
    let refused = lines.iter().find(|line| line["reason"] == "BundleRefused").unwrap();
    assert!(refused["message"].as_str().unwrap().starts_with("UntrustedKey: "), "{refused}");
    let mut intake = world.start();
    intake.missing(&[]);
    intake.stock(|stock| !stock.bundles.is_empty()).await;
    world.condition("prod-1", SAFE, "True", "Imported").await;
    intake.stop().await;
    // While the file is open, nobody is told to pull it: that is decided again.
    let lines = log.take();
    let again =
        lines.iter().filter(|line| ["BundleImported", "SafeToRemove"].iter().all(|r| line["reason"] != *r));
    assert_eq!(again.collect::<Vec<_>>(), Vec::<&serde_json::Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn t139_an_importer_without_a_name_takes_no_bundle_that_is_for_named_sites() {
    let mut world = World::new();
    world.config.site = None;
    let named = PlanOptions { audience: vec!["site-2".to_owned()], ..numbered(6) };
    let named = world.make("named.krs.tar", "", named, Some(&world.key)).await;
    std::fs::copy(named, world.at("named.krs.tar")).unwrap();
    world.drop("all.krs.tar", 5).await;
    let mut intake = world.start();
    let status = world.condition("named", VERIFIED, "False", "WrongAudience").await;
    let message = status["message"].as_str().unwrap();
    assert!(message.contains("site-2") && message.contains("`site`"), "{message}");
    world.condition("all", VERIFIED, "True", "Succeeded").await;
    assert_eq!(intake.stock(|stock| stock.bundles.len() == 1).await.bundles[0].name, "all");
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t147_an_api_server_that_never_answers_stops_no_import() {
    let mut world = World::new();
    world.limits.call = Duration::from_millis(300);
    for trouble in [Trouble::Hang, Trouble::HangAfter] {
        for (verb, plural) in [
            ("GET", "imagebundles"),
            ("GET", "configmaps"),
            ("PATCH", "imagebundles"),
            ("POST", "configmaps"),
            ("PATCH", "configmaps"),
            ("POST", "events"),
        ] {
            world.api.trouble(verb, plural, trouble.clone(), Some(1));
        }
    }
    world.drop("prod-1.krs.tar", 1).await;
    let intake = world.start();
    intake.missing(&[]);
    world.condition("prod-1", VERIFIED, "True", "Succeeded").await;
    world.condition("prod-1", SAFE, "True", "Imported").await;
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t82_image_bundles_and_marks_that_0_1_left_are_read_and_hold() {
    let world = World::new();
    let golden = include_str!("../../../testdata/golden/0.1/importer/cluster.json");
    let golden = serde_json::from_str::<serde_json::Value>(golden).unwrap();
    for plural in ["imagebundles", "configmaps"] {
        for object in golden[plural].as_array().unwrap() {
            world.api.put(plural, object.clone());
        }
    }
    let before = world.api.get("imagebundles", "", "prod-1").unwrap()["status"].clone();
    let mut intake = world.start();
    intake.missing(&[]);
    intake.stock(|_| true).await;
    let status = world.condition("prod-1", COMPLETE, "False", "MediaAbsent").await;
    assert!(
        is(&status, VERIFIED, "True", "Succeeded") && is(&status, SAFE, "True", "MediaAbsent"),
        "{status}"
    );
    for field in ["stream", "sequence", "digest", "bytesVerified", "signers"] {
        assert_eq!(status[field], before[field], "{field}");
    }
    world.condition("foreign", COMPLETE, "False", "MediaAbsent").await;
    // Its mark counts: sequence 1 of the stream was another bundle.
    world.drop("again.krs.tar", 1).await;
    world.condition("again", VERIFIED, "False", "SequenceReused").await;
    intake.stop().await;
}
