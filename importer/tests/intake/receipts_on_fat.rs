// SPDX-License-Identifier: Apache-2.0
//! The receipt of the site on drives as users have them: FAT, full, and such that hang.

use std::time::Duration;

use crate::SAFE;
use crate::fat::FatDrive;
use crate::receipts::{having, site};
use crate::world::{Running, World, is};

/// A site that wants receipts on its media, with a FAT drive that has a bundle.
async fn with_drive() -> Option<(World, FatDrive)> {
    let mut world = site();
    world.config.receipts.to_media = true;
    world.config.receipts.folder = world.config.intake.folder.clone();
    std::fs::create_dir(world.at("usb1")).unwrap();
    let drive = FatDrive::mount(world.at("usb1").as_std_path())?;
    bring(&world, "usb1", 5).await;
    Some((world, drive))
}

/// Copies a bundle onto a drive.
async fn bring(world: &World, drive: &str, sequence: u64) {
    let name = format!("prod-{sequence}.krs.tar");
    let path = world.make(&name, "", crate::numbered(sequence), Some(&world.key)).await;
    let part = world.at(drive).join("copy.part");
    std::fs::write(&part, std::fs::read(path).unwrap()).unwrap();
    std::fs::rename(part, world.at(drive).join(name)).unwrap();
}

async fn imported(world: &World) -> Running {
    let mut intake = world.start();
    intake.stock(|stock| !stock.bundles.is_empty()).await;
    intake.needs(having(0..2));
    intake
}

fn receipts(drive: &FatDrive) -> Vec<String> {
    drive.names().into_iter().filter(|name| name.contains(".receipt.json")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn t298_a_drive_on_which_the_receipt_hangs_holds_up_no_other_and_may_be_pulled() {
    let Some((mut world, drive)) = with_drive().await else { return };
    world.receipts.as_mut().unwrap().media = Duration::from_secs(4);
    std::fs::create_dir(world.at("usb2")).unwrap();
    bring(&world, "usb2", 6).await;
    drive.hang(true);
    let intake = imported(&world).await;
    world.condition("prod-6", SAFE, "True", "Imported").await;
    let hung = world.api.get("imagebundles", "", "prod-5").unwrap()["status"].clone();
    assert!(is(&hung, SAFE, "False", "WritingReceipt"), "{hung}");
    assert_eq!(drive.waiting(), 1);
    let status = world.condition("prod-5", SAFE, "True", "Imported").await;
    let message = status["message"].as_str().unwrap();
    assert!(message.contains("is not on it: the media did not answer within 4 s"), "{message}");
    assert_eq!(intake.metrics.receipt_media_failing.get(), 1);
    assert!(receipts(&drive).iter().all(|name| name.ends_with(".part")), "{:?}", drive.names());
    // A further bundle: no second thread is left waiting there.
    bring(&world, "usb1", 7).await;
    let status = world.condition("prod-7", SAFE, "True", "Imported").await;
    let message = status["message"].as_str().unwrap();
    assert!(message.contains("an earlier attempt to write to them has not returned"), "{message}");
    assert_eq!(drive.waiting(), 1);
    // It answers again: the next bundle gets its receipt.
    drive.hang(false);
    bring(&world, "usb1", 8).await;
    let on_it = |status: &serde_json::Value| {
        is(status, SAFE, "True", "Imported") && !status["message"].as_str().unwrap().contains("not on it")
    };
    world.until("prod-8", on_it).await;
    assert_eq!(receipts(&drive).len(), 2, "{:?}", drive.names());
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t299_a_full_drive_keeps_its_old_receipt_and_may_be_pulled() {
    let Some((world, drive)) = with_drive().await else { return };
    let intake = imported(&world).await;
    world.condition("prod-5", SAFE, "True", "Imported").await;
    let old = receipts(&drive);
    assert_eq!(old.len(), 2, "{:?}", drive.names());
    bring(&world, "usb1", 6).await;
    drive.set_room(Some(700));
    let status = world.condition("prod-6", SAFE, "True", "Imported").await;
    let message = status["message"].as_str().unwrap();
    assert!(message.contains("the receipt cannot be written: No space left on device"), "{message}");
    assert_eq!(intake.metrics.receipt_media_failing.get(), 1);
    // The signature of the new one may be there; what says that it is a receipt is the old one, complete.
    let complete = |names: &[String]| {
        names.iter().filter(|name| name.ends_with(".receipt.json")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(complete(&receipts(&drive)), complete(&old));
    assert!(drive.names().iter().all(|name| !name.ends_with(".part")), "{:?}", drive.names());
    // With room, the next bundle gets one, and nothing else of the site is left.
    drive.set_room(None);
    bring(&world, "usb1", 7).await;
    world.condition("prod-7", SAFE, "True", "Imported").await;
    let new = receipts(&drive);
    assert!(new.len() == 2 && new != old, "{new:?}");
    assert_eq!(intake.metrics.receipt_media_failing.get(), 0);
    intake.stop().await;
    // No room for the folder either.
    let Some((world, drive)) = with_drive().await else { return };
    drive.set_room(Some(700));
    let intake = imported(&world).await;
    let status = world.condition("prod-5", SAFE, "True", "Imported").await;
    let message = status["message"].as_str().unwrap();
    assert!(message.contains("KRS-RECEIPTS cannot be created: No space left on device"), "{message}");
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t300_a_fat_drive_gets_the_receipt_without_modes_and_in_a_folder_of_any_case() {
    let Some((world, drive)) = with_drive().await else { return };
    // As another system shows and makes it.
    std::fs::create_dir(world.at("usb1/krs-receipts")).unwrap();
    let intake = imported(&world).await;
    world.condition("prod-5", SAFE, "True", "Imported").await;
    assert_eq!(intake.metrics.receipt_media_failing.get(), 0);
    let first = receipts(&drive);
    assert_eq!(first.len(), 2, "{:?}", drive.names());
    assert!(drive.names().contains(&"krs-receipts".to_owned()));
    bring(&world, "usb1", 6).await;
    world.condition("prod-6", SAFE, "True", "Imported").await;
    let second = receipts(&drive);
    assert!(second.len() == 2 && second != first, "{second:?}");
    intake.stop().await;
}
