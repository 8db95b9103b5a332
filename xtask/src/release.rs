// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask release`: it starts `krs-release`, which is built only then; and the test of it.

use std::ffi::OsString;
use std::process::Command;

use xtask::cache::Cache;
use xtask::run::{self, Result, checkout};
use xtask::toolchain::has_library;

/// Platforms of a release, with the names of their targets in Rust.
const RELEASED: &[(&str, &str)] =
    &[("linux-amd64", "x86_64-unknown-linux-musl"), ("linux-arm64", "aarch64-unknown-linux-musl")];
/// Platforms for which `krs` only has to compile.
const COMPILED: &[&str] = &["x86_64-pc-windows-gnu", "aarch64-apple-darwin"];

/// Arguments for `krs-release`, which checks them and has the help for them.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    run::run(krs_release().args(&args.arguments))
}

/// Makes a release of the checkout as it is, with everything built twice, and compiles `krs` for the other platforms. What is
/// not possible here is in the notes.
pub(crate) fn test(cache: &Cache, notes: &mut Vec<String>) -> Result<()> {
    for target in COMPILED {
        if !has_library(target)? {
            notes.push(format!("krs was not compiled for {target}: rustup target add {target}"));
            continue;
        }
        let mut cargo = Command::new(cache.bin().join("cargo-zigbuild"));
        cargo.current_dir(checkout()).env("CARGO_ZIGBUILD_ZIG_PATH", cache.bin().join("python-zig"));
        cargo.env("RUSTFLAGS", "--deny warnings");
        run::run(cargo.args(["check", "--locked", "--package", "krs-cli", "--bins", "--target", target]))?;
    }
    let (mut command, mut is_any) = (krs_release(), false);
    for (platform, target) in RELEASED {
        if has_library(target)? {
            command.args(["--target", platform]);
            is_any = true;
        } else {
            notes.push(format!("no release was made for {platform}: rustup target add {target}"));
        }
    }
    if is_any {
        let folder = tempfile::tempdir()?;
        let out = folder.path().join("release");
        run::run(command.args(["--allow-modified", "--check-reproducible", "--out"]).arg(&out))?;
        run::run(Command::new("sha256sum").args(["-c", "--quiet", "SHA256SUMS"]).current_dir(&out))?;
    }
    Ok(())
}

fn krs_release() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--locked", "--manifest-path"]).arg(checkout().join("Cargo.toml"));
    cargo.args(["--package", "krs-release", "--"]);
    cargo
}
