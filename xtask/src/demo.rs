// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask demo`: builds `krs` and the demonstration, and runs it.

use std::process::Command;

use crate::run::{self, Result, checkout};

/// Arguments of `cargo xtask demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Builds with the profile that the tests use, so that neither has to wait for the other's build.
pub(crate) fn run(_: &Args) -> Result<()> {
    println!("building krs; the first time this takes some minutes");
    let cargo = || {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(checkout());
        cargo
    };
    run::run(cargo().args([
        "build",
        "--locked",
        "--package",
        "krs-cli",
        "--package",
        "krs-testing",
        "--bins",
    ]))?;
    run::run(cargo().args(["run", "--quiet", "--locked", "--package", "krs-testing", "--bin", "krs-demo"]))
}
