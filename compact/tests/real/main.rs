// SPDX-License-Identifier: Apache-2.0
//! Our encoders against the real ones, which `cargo xtask tools` builds or installs.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod go;
mod klauspost;
mod others;
mod reference;
#[path = "../support/mod.rs"]
mod support;
mod zlib;
