// SPDX-License-Identifier: Apache-2.0
//! The importer in a real cluster, from the drive to `Ready`. `cargo xtask test` runs this inside of a cluster that it
//! started; with `KUBECONFIG_E2E` it runs against any other one, see `harness::Cluster`.
//!
//! The tests share one installation and follow each other: `--test-threads=1`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests"
)]

mod admission;
mod compact;
mod damage;
mod demo;
mod docs;
mod edge;
mod gitops;
mod harness;
mod journey;
mod kill;
mod measure;
mod online;
mod receipts;
mod rounds;
mod secrets;
mod site;
mod source;
mod tenants;
mod updates;
