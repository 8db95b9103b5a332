// SPDX-License-Identifier: Apache-2.0
//! Media that can be listed, and whose files cannot be read.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use krs_core::bundle::Bundle;
use krs_importer::app::intake::VerificationOptions;

use crate::world::{World, flip, is, last_blob};
use crate::{COMPLETE, SAFE, VERIFIED};

#[tokio::test(flavor = "multi_thread")]
async fn t192_media_whose_reads_hang_keep_no_other_media_from_being_read_and_are_read_once_they_answer() {
    let mut world = World::new();
    let (release, released) = mpsc::channel::<()>();
    let (released, readers) = (Mutex::new(released), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&readers);
    world.passes = VerificationOptions {
        verify: Arc::new(move |bundle: &Bundle, stop, progress| {
            if bundle.path().as_str().contains("usb1") {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = released.lock().unwrap().recv();
            }
            bundle.verify_until(stop, progress)
        }),
        stall: Duration::from_secs(1),
        ..VerificationOptions::default()
    };
    for (folder, name, sequence) in
        [("usb1", "a.krs.tar", 4), ("usb1", "b.krs.tar", 5), ("usb2", "c.krs.tar", 6)]
    {
        std::fs::create_dir_all(world.at(folder)).unwrap();
        let path = world.drop(name, sequence).await;
        std::fs::rename(path, world.at(folder).join(name)).unwrap();
    }
    let mut intake = world.start();
    intake.missing(&[]);
    world.condition("c", SAFE, "True", "Imported").await;
    for name in ["a", "b"] {
        let status = world.condition(name, COMPLETE, "False", "MediaReadError").await;
        assert!(
            status["message"].as_str().unwrap().contains("folder usb1 does not answer since"),
            "{status}"
        );
        assert!(is(&status, SAFE, "False", "MediaReadError"), "{status}");
    }
    let stock = intake.stock(|stock| stock.trouble.is_some()).await;
    assert!(stock.trouble.as_ref().unwrap().contains("usb1"), "sets say so, too: {stock:?}");
    let present = stock.bundles.iter().filter(|bundle| bundle.present).map(|bundle| bundle.name.as_str());
    assert_eq!(present.collect::<Vec<_>>(), ["c"], "nobody else is sent there");
    // Another scan of the folder, and all that follows it.
    std::fs::write(world.at("text.krs.tar"), "hello".repeat(1000)).unwrap();
    world.condition("text", VERIFIED, "False", "NotABundle").await;
    assert_eq!(readers.load(Ordering::SeqCst), 1, "one thread waits there");

    drop(release);
    for name in ["a", "b"] {
        world.condition(name, SAFE, "True", "Imported").await;
    }
    intake.stock(|stock| stock.trouble.is_none()).await;
    intake.stop().await;
}

/// Also where the manifest is the same: it says nothing of the bytes that follow it.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_replaced_while_it_was_read_is_not_verified_by_what_the_old_one_held() {
    let mut world = World::new();
    let (release, released) = mpsc::channel::<()>();
    let (released, readers) = (Mutex::new(released), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&readers);
    world.passes = VerificationOptions {
        verify: Arc::new(move |bundle: &Bundle, stop, progress| {
            if counted.fetch_add(1, Ordering::SeqCst) == 0 {
                let _ = released.lock().unwrap().recv();
                // The last byte of the file as it was.
                return Ok(true);
            }
            bundle.verify_until(stop, progress)
        }),
        ..VerificationOptions::default()
    };
    let path = world.drop("a.krs.tar", 4).await;
    let other = path.with_extension("other");
    std::fs::copy(&path, &other).unwrap();
    flip(&other, last_blob(&other) + 100_000);
    let mut intake = world.start();
    intake.missing(&[]);
    intake.stock(|stock| !stock.bundles.is_empty()).await;
    std::fs::rename(&other, &path).unwrap();
    // A scan of the folder that sees it.
    std::fs::write(world.at("text.krs.tar"), "hello".repeat(1000)).unwrap();
    world.condition("text", VERIFIED, "False", "NotABundle").await;
    release.send(()).unwrap();
    world.condition("a", VERIFIED, "False", "Damaged").await;
    assert_eq!(readers.load(Ordering::SeqCst), 2, "it was read again");
    intake.stop().await;
}
