// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask bench` and `cargo xtask corpus`: a program of its own, so that other chores do not build it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a chore speaks to the person who started it")]

mod bench;
mod corpus;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::cache::Cache;

/// The benchmark of KubeRegistrySync, and the images that it and the tests use.
#[derive(Debug, Parser)]
#[command(name = "krs-bench", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build images from Debian and PyPI packages, as an OCI image layout
    Corpus(corpus::Args),
    /// Compare krs with the least possible work and with other programs; writes docs/benchmarks.md
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = Cache::locate().and_then(|cache| match args.command {
        Command::Corpus(args) => corpus::run(&cache, &args),
        Command::Bench(args) => bench::run(&cache, &args),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
