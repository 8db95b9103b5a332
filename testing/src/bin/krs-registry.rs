// SPDX-License-Identifier: Apache-2.0
//! The registry of the tests as a program of its own, for measurements that must not count its memory:
//! `krs-registry CONTENT NUMBER PER_SECOND [SETS]` holds that many of what [`Content`] names, allows so many requests in a
//! second (0: any number), and writes the sets that ask for the content into a folder.
//!
//! It prints its address, then for each line on standard input how many requests came since the line before, how many of
//! them were for manifests and for blobs and how many were refused because there were too many, and ends with standard
//! input.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program for the benchmark, which reads what it prints"
)]

use std::io::BufRead as _;
use std::path::PathBuf;

use krs_testing::registry::{Matcher, Options, Registry, What};
use krs_testing::trips::{self, Content};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let content =
        arguments.next().and_then(|text| text.parse::<Content>().ok()).expect("CONTENT is a known word");
    let number = arguments.next().and_then(|text| text.parse().ok()).expect("NUMBER is a number");
    let rate = arguments.next().and_then(|text| text.parse::<f64>().ok()).expect("PER_SECOND is a number");
    let registry = Registry::start(Options::default());
    let sets = trips::fill(&registry, content, number);
    if let Some(folder) = arguments.next().map(PathBuf::from) {
        for (name, text) in sets {
            std::fs::write(folder.join(name), text).expect("the sets can be written");
        }
    }
    if rate > 0.0 {
        registry.fail(Matcher::any(), What::RateLimit { rate, burst: rate, retry_after: true });
    }
    println!("{}", registry.host());
    for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
        let requests = registry.requests();
        let of = |part| requests.iter().filter(|request| request.path.contains(part)).count();
        let refused = requests.iter().filter(|request| request.status == 429).count();
        println!("{} {} {} {refused}", requests.len(), of("/manifests/"), of("/blobs/"));
        registry.clear_requests();
    }
}
