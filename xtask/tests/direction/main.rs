// SPDX-License-Identifier: Apache-2.0
//! Who may use whom: packages, the folders of each crate, and files. The design says it; this holds the code to it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod circles;
mod graph;
mod known;
mod layers;
mod packages;
mod source;

use std::path::Path;

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
