// SPDX-License-Identifier: Apache-2.0
//! Tests of the core over its public interface: real archives on disk, a real HTTP registry in this process.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod edge;
mod faults;
mod harness;
mod hostile;
mod limits;
mod missing_referrers;
mod network;
mod odd;
mod pipeline;
mod platforms;
mod referrers;
mod served;
mod verify_present;
