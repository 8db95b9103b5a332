// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask`: the chores of this repository, as a program that runs wherever Rust does.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a chore speaks to the person who started it")]

mod bench;
mod chart;
mod cluster;
mod demo;
mod e2e;
mod image;
mod parts;
mod release;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use xtask::cache::Cache;
use xtask::tools;

/// Development tasks of KubeRegistrySync.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Show how images travel from Git to an edge registry, on this machine only
    Demo(demo::Args),
    /// Run all checks and tests, after installing what they need
    Test(parts::Args),
    /// Install the programs that tests and benchmarks use into a cache outside the checkout
    Tools(tools::Args),
    /// Build images from Debian and PyPI packages, as an OCI image layout
    Corpus(bench::Args),
    /// Compare krs with the least possible work and with other programs; writes docs/benchmarks.md
    Bench(bench::Args),
    /// Manage real Kubernetes clusters for tests, each in Linux namespaces of its own
    Cluster(cluster::Args),
    /// Build the importer's image as an OCI archive, without a daemon
    Image(image::Args),
    /// Build the files that users install, with checksums and a signature
    Release(release::Args),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match args.chore {
        Chore::Demo(args) => Cache::locate().and_then(|cache| demo::run(&cache, &args)),
        Chore::Test(args) => Cache::locate().and_then(|cache| parts::run(&cache, &args)),
        Chore::Tools(args) => Cache::locate().and_then(|cache| tools::run(&cache, &args)),
        Chore::Corpus(args) => bench::corpus(&args),
        Chore::Bench(args) => bench::bench(&args),
        Chore::Cluster(args) => Cache::locate().and_then(|cache| cluster::run(&cache, &args)),
        Chore::Image(args) => Cache::locate().and_then(|cache| image::run(&cache, &args)),
        Chore::Release(args) => release::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
