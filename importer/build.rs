// SPDX-License-Identifier: Apache-2.0
//! Tells the importer when it was built, in seconds since 1970: no clock of a site can rightly say less.
//! `SOURCE_DATE_EPOCH` overrides it (<https://reproducible-builds.org/specs/source-date-epoch/>).

use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo::rerun-if-changed=build.rs");
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse::<u64>().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    println!("cargo::rustc-env=KRS_IMPORTER_BUILT={}", given.unwrap_or_else(now));
}
