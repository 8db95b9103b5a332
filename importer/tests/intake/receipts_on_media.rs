// SPDX-License-Identifier: Apache-2.0
//! The receipt of the site on the media.

use std::time::Duration;

use camino::Utf8PathBuf;
use krs_core::sync::receipt::SiteReceipt;

use crate::SAFE;
use crate::receipts::{having, site, until};
use crate::world::{Running, World};

/// A site that wants receipts on its media, with one drive.
async fn with_drive() -> World {
    let mut world = site();
    world.config.receipts.to_media = true;
    world.config.receipts.folder = world.config.intake.folder.clone();
    std::fs::create_dir(world.at("usb1")).unwrap();
    let path = world.drop("prod-5.krs.tar", 5).await;
    std::fs::rename(path, world.at("usb1/prod-5.krs.tar")).unwrap();
    world
}

/// The receipts on a drive.
fn on_drive(world: &World, drive: &str) -> Vec<Utf8PathBuf> {
    let Ok(entries) = world.at(drive).join("KRS-RECEIPTS").read_dir_utf8() else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().into_path());
    paths.filter(|path| path.as_str().ends_with(".receipt.json")).collect()
}

async fn imported(world: &World) -> Running {
    let mut intake = world.start();
    intake.stock(|stock| stock.bundles.len() == 1).await;
    intake.needs(having(0..2));
    intake
}

#[tokio::test(flavor = "multi_thread")]
async fn media_may_be_removed_once_the_receipt_is_on_them() {
    let world = with_drive().await;
    let intake = imported(&world).await;
    let status = world.condition("prod-5", SAFE, "True", "Imported").await;
    assert_eq!(status["message"], "you may remove the media");
    // Whatever the courier sees, the receipt says that this bundle was imported.
    let [path] = &on_drive(&world, "usb1")[..] else { panic!("{:?}", on_drive(&world, "usb1")) };
    let receipt = SiteReceipt::parse(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(receipt.imported.iter().map(|bundle| bundle.sequence).collect::<Vec<_>>(), [5]);
    assert!(std::fs::exists(format!("{path}.minisig")).unwrap());
    // From now on nothing is written to them, so that they can be pulled at any time.
    intake.needs(having(0..1));
    until(&world, |receipt| receipt.roots().count() == 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(on_drive(&world, "usb1"), std::slice::from_ref(path));
    // A further bundle on them is told of.
    let second = world.drop("prod-6.krs.tar", 6).await;
    std::fs::rename(second, world.at("usb1/prod-6.krs.tar")).unwrap();
    world.condition("prod-6", SAFE, "True", "Imported").await;
    let paths = on_drive(&world, "usb1");
    assert_eq!(paths.len(), 1, "{paths:?}");
    let receipt = SiteReceipt::parse(&std::fs::read(&paths[0]).unwrap()).unwrap();
    assert_eq!(receipt.imported.iter().map(|bundle| bundle.sequence).collect::<Vec<_>>(), [5, 6]);
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_volumes_on_two_drives_the_one_with_the_first_gets_the_receipt() {
    let world = with_drive().await;
    let content = std::fs::read(world.at("usb1/prod-5.krs.tar")).unwrap();
    std::fs::remove_file(world.at("usb1/prod-5.krs.tar")).unwrap();
    std::fs::create_dir(world.at("usb2")).unwrap();
    for (n, volume) in content.chunks(100_000).enumerate() {
        let drive = if n == 0 { "usb2" } else { "usb1" };
        std::fs::write(world.at(&format!("{drive}/prod-5.krs.tar.{:03}", n + 1)), volume).unwrap();
    }
    let intake = imported(&world).await;
    let status = world.condition("prod-5", SAFE, "True", "Imported").await;
    assert_eq!(status["message"], "you may remove the media");
    assert_eq!((on_drive(&world, "usb1").len(), on_drive(&world, "usb2").len()), (0, 1));
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn media_that_bring_nothing_that_is_trusted_learn_nothing() {
    let world = with_drive().await;
    std::fs::create_dir(world.at("usb2")).unwrap();
    let foreign = world.make("foreign.krs.tar", "", crate::numbered(9), None).await;
    std::fs::copy(foreign, world.at("usb2/foreign.krs.tar")).unwrap();
    let intake = imported(&world).await;
    world.condition("prod-5", SAFE, "True", "Imported").await;
    world.condition("foreign", SAFE, "True", "SignatureMissing").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!world.at("usb2/KRS-RECEIPTS").exists());
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t292_media_that_are_pulled_before_the_receipt_is_written_hold_up_nothing_and_get_it_later() {
    let mut world = with_drive().await;
    // Time to pull them.
    world.receipts.as_mut().unwrap().settle = Duration::from_secs(1);
    let intake = imported(&world).await;
    world.condition("prod-5", SAFE, "False", "WritingReceipt").await;
    let away = world.at("../away");
    std::fs::rename(world.at("usb1"), &away).unwrap();
    world.condition("prod-5", SAFE, "True", "MediaAbsent").await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(
        !world.at("usb1").exists() && !away.join("KRS-RECEIPTS").exists(),
        "nothing is written in their place"
    );
    std::fs::rename(&away, world.at("usb1")).unwrap();
    world.condition("prod-5", SAFE, "True", "Imported").await;
    assert_eq!(on_drive(&world, "usb1").len(), 1);
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t294_media_that_cannot_be_written_to_are_not_kept() {
    let world = with_drive().await;
    std::fs::write(world.at("usb1/KRS-RECEIPTS"), "a file").unwrap();
    let intake = imported(&world).await;
    let status = world.condition("prod-5", SAFE, "True", "Imported").await;
    let message = status["message"].as_str().unwrap();
    assert!(message.contains("the receipt of the site is not on it: KRS-RECEIPTS is no folder"), "{message}");
    assert_eq!(intake.metrics.receipt_media_failing.get(), 1);
    intake.stop().await;
    // Neither where no receipt can be made at all.
    let mut world = with_drive().await;
    world.receipt_limit = Some(Duration::from_secs(1));
    world.api.refuse("secrets", Some("forbidden"));
    let intake = imported(&world).await;
    world.condition("prod-5", SAFE, "False", "WritingReceipt").await;
    let status = world.condition("prod-5", SAFE, "True", "Imported").await;
    assert!(status["message"].as_str().unwrap().contains("not written in time"), "{status}");
    intake.stop().await;
}
