// SPDX-License-Identifier: Apache-2.0
//! Media that are pulled while they are read, and put back.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use camino::Utf8PathBuf;
use krs_core::bundle::{Bundle, BundleError};
use krs_core::oci::reference::Reference;
use krs_importer::app::intake::VerificationOptions;
use krs_importer::model::required_images::SetDemand;

use crate::world::{Running, World, is};
use crate::{COMPLETE, SAFE, VERIFIED};

/// A bundle in a folder of its own.
async fn insert(world: &World, folder: &str, name: &str, sequence: u64) -> Utf8PathBuf {
    let path = world.drop(name, sequence).await;
    let media = world.at(folder);
    std::fs::create_dir_all(&media).unwrap();
    let inserted = media.join(name);
    std::fs::rename(path, &inserted).unwrap();
    inserted
}

/// Pulls media, and answers where they are kept.
fn pull(world: &World, folder: &str) -> Utf8PathBuf {
    let kept = world.config.intake.folder.with_file_name(format!("pulled-{folder}"));
    std::fs::rename(world.at(folder), &kept).unwrap();
    std::fs::create_dir(world.at(folder)).unwrap();
    kept
}

fn put_back(world: &World, folder: &str, kept: &Utf8PathBuf) {
    std::fs::remove_dir(world.at(folder)).unwrap();
    std::fs::rename(kept, world.at(folder)).unwrap();
}

/// Says that a Job of the only set copies the image of the bundles from the one that is called `name`.
async fn copy_from(world: &World, intake: &mut Running, name: &str) -> krs_core::oci::digest::Digest {
    let stock = intake.stock(|stock| stock.bundles.iter().any(|bundle| bundle.name == name)).await;
    let from = stock.bundles.iter().find(|bundle| bundle.name == name).unwrap().digest;
    let image = (world.tag().parse::<Reference>().unwrap(), Some(world.image.digest));
    intake.needs(SetDemand {
        images: [image].into_iter().collect(),
        copying_from: BTreeSet::from([from]),
        ..SetDemand::default()
    });
    from
}

#[tokio::test(flavor = "multi_thread")]
async fn t36_t216_a_job_whose_media_are_pulled_reads_from_another_bundle_that_has_the_image() {
    let world = World::new();
    insert(&world, "usb1", "a.krs.tar", 4).await;
    insert(&world, "usb2", "b.krs.tar", 5).await;
    let mut intake = world.start();
    intake.missing(&[]);
    for name in ["a", "b"] {
        world.condition(name, SAFE, "True", "Imported").await;
    }
    let from = copy_from(&world, &mut intake, "a").await;
    // Nothing is missing besides what the Job copies.
    let status = world.condition("a", SAFE, "False", "Copying").await;
    assert!(status["message"].as_str().unwrap().starts_with("copying: do not remove the media"), "{status}");
    assert!(is(&world.until("b", |_| true).await, SAFE, "True", "Imported"), "nobody reads from it");
    assert_eq!(intake.library.in_place_of(&from, &world.image.digest).len(), 0);

    let kept = pull(&world, "usb1");
    let status = world.condition("a", SAFE, "False", "MediaAbsent").await;
    let text = status["message"].as_str().unwrap();
    assert!(!text.contains("do not remove") && text.contains("continues from another bundle"), "{text}");
    world.condition("b", SAFE, "False", "Copying").await;
    assert!(intake.library.get(&from).is_none());
    let others = intake.library.in_place_of(&from, &world.image.digest);
    let names = others.iter().map(|held| held.bundle.path().file_name().unwrap().to_owned());
    assert_eq!(names.collect::<Vec<_>>(), ["b.krs.tar"]);
    drop(others);

    put_back(&world, "usb1", &kept);
    world.condition("a", SAFE, "False", "Copying").await;
    world.condition("b", SAFE, "True", "Imported").await;
    assert!(intake.library.get(&from).is_some());
    assert_eq!(intake.library.in_place_of(&from, &world.image.digest).len(), 0);
    intake.missing(&[]);
    world.condition("a", SAFE, "True", "Imported").await;
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t36_media_that_are_pulled_while_they_are_read_to_their_end_are_absent_and_not_damaged() {
    let mut world = World::new();
    let (began, begun) = mpsc::channel::<()>();
    let (release, released) = mpsc::channel::<()>();
    let (released, readers) = (Mutex::new(released), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&readers);
    world.passes = VerificationOptions {
        verify: Arc::new(move |bundle: &Bundle, stop, progress| {
            if counted.fetch_add(1, Ordering::SeqCst) > 0 {
                return bundle.verify_until(stop, progress);
            }
            began.send(()).unwrap();
            let _ = released.lock().unwrap().recv();
            // What the kernel says of a drive that is not there any more.
            let source = std::io::Error::from_raw_os_error(5);
            Err(BundleError::Read { path: bundle.path().to_owned(), offset: 4096, source })
        }),
        ..VerificationOptions::default()
    };
    insert(&world, "usb1", "a.krs.tar", 4).await;
    let intake = world.start();
    intake.missing(&[]);
    tokio::task::spawn_blocking(move || begun.recv().unwrap()).await.unwrap();
    let kept = pull(&world, "usb1");
    world.condition("a", COMPLETE, "False", "MediaAbsent").await;
    release.send(()).unwrap();
    // Another scan of the folder, after which the failure of the reader was taken in.
    std::fs::write(world.at("text.krs.tar"), "hello".repeat(1000)).unwrap();
    world.condition("text", VERIFIED, "False", "NotABundle").await;
    let status = world.condition("a", COMPLETE, "False", "MediaAbsent").await;
    assert!(
        is(&status, VERIFIED, "True", "Succeeded") && is(&status, SAFE, "False", "MediaAbsent"),
        "{status}"
    );
    put_back(&world, "usb1", &kept);
    world.condition("a", SAFE, "True", "Imported").await;
    assert_eq!(readers.load(Ordering::SeqCst), 2, "it was read to its end again");
    world.events_are("BundleRefused", 1).await; // of the text only
    intake.stop().await;
}
