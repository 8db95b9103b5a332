// SPDX-License-Identifier: Apache-2.0
//! The registry for tests, seen from outside.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where it cannot go on"
)]

mod client;
mod clients;
mod faults;
mod protocol;
