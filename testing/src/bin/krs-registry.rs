// SPDX-License-Identifier: Apache-2.0
//! The registry of the tests as a program of its own, for measurements that must not count its memory:
//! `krs-registry NUMBER [SETS]` holds that many small images, and writes the sets that ask for them into a folder.
//!
//! It prints its address, then for each line on standard input how many requests came since the line before, and ends
//! with standard input.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program for the benchmark, which reads what it prints"
)]

use std::io::BufRead as _;
use std::path::PathBuf;

use krs_testing::many;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let images = arguments.next().and_then(|number| number.parse().ok()).unwrap_or(0);
    let registry = many::registry(images);
    if let Some(folder) = arguments.next().map(PathBuf::from) {
        for (name, text) in many::sets(&registry.host(), images) {
            std::fs::write(folder.join(name), text).expect("the sets can be written");
        }
    }
    println!("{}", registry.host());
    for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
        println!("{}", registry.requests().len());
        registry.clear_requests();
    }
}
