// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask release`: it starts `krs-release`, which is built only then.

use std::ffi::OsString;
use std::process::Command;

use xtask::run::{self, Result, checkout};

/// Arguments for `krs-release`, which checks them and has the help for them.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--locked", "--manifest-path"]).arg(checkout().join("Cargo.toml"));
    run::run(cargo.args(["--package", "krs-release", "--"]).args(&args.arguments))
}
