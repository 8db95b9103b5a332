// SPDX-License-Identifier: Apache-2.0
//! Many changes of what sets need, one soon after the other.

use std::time::{Duration, Instant};

use crate::SAFE;
use crate::world::World;

/// How long the intake waits for further changes at least.
const COALESCE: u128 = 50;
const CHANGES: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn t254_changes_that_come_together_are_taken_together_and_the_last_one_counts() {
    let mut world = World::new();
    world.config.intake.scan_interval = Duration::from_millis(500);
    world.drop("a.krs.tar", 4).await;
    let intake = world.start();
    intake.missing(&[]);
    world.condition("a", SAFE, "True", "Imported").await;
    world.api.fail(None);
    let begun = Instant::now();
    for n in 0..CHANGES {
        let missing = if n % 2 == 0 { &[world.image.digest][..] } else { &[] };
        intake.missing(missing);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    intake.missing(&[world.image.digest]);
    world.until("a", |status| !crate::world::is(status, SAFE, "True", "Imported")).await;
    intake.missing(&[]);
    world.condition("a", SAFE, "True", "Imported").await;
    // A scan that begins or ends takes in what changed until then, too.
    let (elapsed, scan) = (begun.elapsed().as_millis(), world.config.intake.scan_interval.as_millis());
    let most = usize::try_from(elapsed / COALESCE + 2 * (elapsed / scan)).unwrap() + 4;
    let written = world.api.calls().iter().filter(|call| *call == "PATCH imagebundles/status").count();
    assert!((1..=most).contains(&written), "{written} writes of {CHANGES} changes, at most {most}");
    intake.stop().await;
}
