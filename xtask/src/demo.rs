// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask demo`: builds `krs` and the demonstration, and runs it.

use std::process::Command;

use crate::e2e;
use xtask::cache::Cache;
use xtask::run::{self, Result, checkout};
use xtask::tools::{self, Need};

/// Arguments of `cargo xtask demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run the importer in a real Kubernetes cluster, which is built and started first; needs root and Go
    #[arg(long)]
    cluster: bool,
}

/// Builds with the profile that the tests use, then runs.
pub(crate) fn run(cache: &Cache, args: &Args) -> Result<()> {
    if args.cluster {
        println!(
            "building Kubernetes, krs and the importer; the first time this takes a quarter of an hour or more"
        );
        tools::install(cache, &[Need::Cluster, Need::Real])?;
        return e2e::run(cache, "demo", &["--ignored", "--exact", "demo::demonstration", "--nocapture"]);
    }
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
