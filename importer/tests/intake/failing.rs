// SPDX-License-Identifier: Apache-2.0
//! Media that fail while they are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use krs_core::bundle::{Bundle, BundleError};
use krs_importer::app::intake::VerificationOptions;

use crate::world::{World, is};
use crate::{COMPLETE, SAFE};

/// Nothing is copied from it where the site wants it read to its end first, and nothing is recorded. The drive may recover.
#[tokio::test(flavor = "multi_thread")]
async fn t35_a_sector_that_cannot_be_read_is_reported_with_its_position_and_the_media_are_read_again() {
    let mut world = World::new();
    world.config.intake.check_first = true;
    let fails = Arc::new(AtomicBool::new(true));
    let failing = Arc::clone(&fails);
    world.passes = VerificationOptions {
        verify: Arc::new(move |bundle: &Bundle, stop, progress| {
            if !failing.load(Ordering::SeqCst) {
                return bundle.verify_until(stop, progress);
            }
            let source = std::io::Error::from_raw_os_error(5);
            Err(BundleError::Read { path: bundle.path().to_owned(), offset: 4096, source })
        }),
        ..VerificationOptions::default()
    };
    world.drop("prod-5.krs.tar", 5).await;
    let mut intake = world.start();
    intake.missing(&[]);
    let status = world.condition("prod-5", COMPLETE, "False", "MediaReadError").await;
    assert!(is(&status, SAFE, "False", "MediaReadError"), "{status}");
    let conditions = status["conditions"].as_array().unwrap();
    let text = conditions.iter().find(|one| one["type"] == COMPLETE).unwrap()["message"].as_str().unwrap();
    for part in ["prod-5.krs.tar", "byte 4096", "Input/output error", "copy the bundle again"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let stock = intake.stock(|stock| stock.bundles.iter().all(|bundle| !bundle.can_decide())).await;
    assert!(stock.refused.is_empty(), "the sender's bundle may be right");
    assert!(world.api.get("configmaps", "krs-system", "krs-streams").is_none(), "nothing is imported");
    fails.store(false, Ordering::SeqCst);
    world.condition("prod-5", SAFE, "True", "Imported").await;
    world.events_are("MediaReadError", 1).await;
    intake.stop().await;
}
