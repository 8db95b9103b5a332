// SPDX-License-Identifier: Apache-2.0
//! A site over weeks, in virtual time: media come and go, images change, the edge registry and the API server fail, the
//! importer is killed. Everything is right at the end of each day, and neither requests nor writes nor memory grow.
//!
//! The controller, the intake, the marks and the state are the real ones; the edge registry is spoken to by HTTP. Time goes
//! on when nothing else can be done: all I/O is in the one runtime, or keeps it from continuing.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::panic,
    missing_docs,
    reason = "a test and a measurement"
)]

#[allow(dead_code, reason = "other tests use more of it")]
#[path = "../support/api/mod.rs"]
mod api;
mod bounds;
mod cluster;
mod days;
mod figures;
mod sender;
mod site;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use site::{Site, Size};

/// Runs the site day by day.
fn soak(size: Size) {
    let reading = Arc::new(AtomicUsize::new(0));
    let read = Arc::clone(&reading);
    let wait = move || {
        while read.load(Ordering::SeqCst) > 0 {
            std::thread::sleep(Duration::from_micros(50));
        }
    };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).on_thread_park(wait).build().unwrap();
    runtime.block_on(async { days::run(Site::new(size, reading)).await });
}

#[test]
fn t228_a_small_site_is_right_at_the_end_of_two_days_of_trouble() {
    soak(Size { namespaces: 2, sets: 10, images: 10, days: 2 });
}

#[test]
#[ignore = "very slow: more than half an hour; `KRS_SOAK_SETS` (in each of 6 namespaces) and `KRS_SOAK_DAYS` make it less"]
fn t228_a_site_is_right_at_the_end_of_each_of_thirty_days_and_nothing_grows() {
    let number = |name: &str, otherwise| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let (sets, days) = (number("KRS_SOAK_SETS", 50), number("KRS_SOAK_DAYS", 30));
    soak(Size { namespaces: 6, sets, images: 10, days });
}
