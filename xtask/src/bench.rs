// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask bench` and `cargo xtask corpus`: they start `krs-bench`, which is built only then.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use xtask::cache::Cache;
use xtask::run::{self, Result, checkout};

/// Arguments for `krs-bench`, which checks them and has the help for them.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// Measures: the benchmark's own work is optimized as that of krs is.
pub(crate) fn bench(args: &Args) -> Result<()> {
    run::run(krs_bench(&["--release"]).arg("bench").args(&args.arguments))
}

/// Makes images; its time is that of compressors, which are programs of their own.
pub(crate) fn corpus(args: &Args) -> Result<()> {
    run::run(krs_bench(&[]).arg("corpus").args(&args.arguments))
}

/// Makes the small corpus in the cache where it is not there yet, and answers its folder.
pub(crate) fn small_corpus(cache: &Cache) -> Result<PathBuf> {
    let folder = cache.corpus(true);
    // Written last: a corpus whose creation was interrupted has none.
    if !folder.join("corpus.json").exists() {
        run::run(krs_bench(&[]).args(["corpus", "--small"]))?;
    }
    Ok(folder)
}

fn krs_bench(profile: &[&str]) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--locked", "--manifest-path"]).arg(checkout().join("Cargo.toml"));
    cargo.args(["--package", "krs-bench"]).args(profile).arg("--");
    cargo
}
