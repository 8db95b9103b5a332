// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask demo`: builds `krs` and the demonstration, and runs it.

use std::process::Command;

use crate::run::{self, Result, checkout};

/// Arguments of `cargo xtask demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Builds with the profile that the tests use, then runs.
pub(crate) fn run(_: &Args) -> Result<()> {
    println!("building krs; the first time this takes some minutes");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(checkout());
    run::run(cargo.args([
        "build",
        "--locked",
        "--package",
        "krs-cli",
        "--package",
        "krs-testing",
        "--bins",
    ]))?;
    run_built()
}

/// Runs what is built: the binaries lie beside this one.
pub(crate) fn run_built() -> Result<()> {
    let demo = std::env::current_exe()?.with_file_name(format!("krs-demo{}", std::env::consts::EXE_SUFFIX));
    run::run(&mut Command::new(demo))
}
