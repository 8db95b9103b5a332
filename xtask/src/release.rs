// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask release`: it starts `krs-release`, which is built only then; and the test of it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use xtask::cache::Cache;
use xtask::run::{self, Result, checkout, step};
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

/// Compiles `krs` for the platforms of which there is no release. Then makes a release of the checkout as it is, with all
/// programs built twice, and reads it with the programs that users have. What is not possible here is in the notes.
pub(crate) fn test(cache: &Cache, notes: &mut Vec<String>) -> Result<()> {
    for target in COMPILED {
        if !has_library(target)? {
            notes.push(format!("krs was not compiled for {target}: rustup target add {target}"));
            continue;
        }
        let mut cargo = Command::new(cache.bin().join("cargo-zigbuild"));
        cargo.current_dir(checkout()).env("CARGO_ZIGBUILD_ZIG_PATH", cache.bin().join("python-zig"));
        cargo.env("RUSTFLAGS", "--deny warnings");
        cargo.args(["check", "--locked", "--package", "krs-cli", "--bins", "--target", target]);
        step(&format!("check krs for {target}"), || run::run(&mut cargo))?;
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
        let [out, key, public] = ["release", "key", "public"].map(|name| folder.path().join(name));
        run::output(Command::new("minisign").args(["-G", "-W", "-s"]).arg(&key).arg("-p").arg(&public))?;
        command.args(["--allow-modified", "--check-reproducible", "--key"]).arg(&key);
        run::run(command.arg("--out").arg(&out))?;
        step("read the release with other programs", || read_release(&out, &public, notes))?;
    }
    Ok(())
}

/// Verifies and reads all files as `docs/install-krs.md` says.
fn read_release(release: &Path, public: &Path, notes: &mut Vec<String>) -> Result<()> {
    let command = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(release);
        command
    };
    run::run(command("minisign", &["-V", "-q", "-m", "SHA256SUMS", "-p"]).arg(public))?;
    run::run(&mut command("sha256sum", &["-c", "--quiet", "SHA256SUMS"]))?;
    let has_rpm = run::on_path("rpm").is_some();
    if !has_rpm {
        notes.push("rpm is not installed: no package was read with it".to_owned());
    }
    for file in files(release)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (mut list, program) = match name.rsplit_once('.').unwrap_or_default().1 {
            "deb" => (command("dpkg-deb", &["--contents", &name]), " usr/bin/krs\n"),
            "rpm" if has_rpm => {
                (command("rpm", &["--query", "--package", "--list", &name]), "/usr/bin/krs\n")
            }
            "gz" => (command("tar", &["-tzf", &name]), "/krs\n"),
            "tar" => {
                copy_image(release, &name)?;
                continue;
            }
            _ => continue,
        };
        if !run::output(&mut list)?.contains(program) {
            return Err(format!("{name} does not list {}", program.trim()).into());
        }
    }
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// Copies what an archive contains under each of its names, for all platforms: this verifies every blob.
fn copy_image(release: &Path, archive: &str) -> Result<()> {
    let mut tar = Command::new("tar");
    let index = run::output(tar.current_dir(release).args(["-xOf", archive, "index.json"]))?;
    let index = serde_json::from_str::<Value>(&index)?;
    for entry in index["manifests"].as_array().into_iter().flatten() {
        let name = entry["annotations"]["org.opencontainers.image.ref.name"].as_str();
        let name = name.ok_or_else(|| format!("{archive}: an image has no name"))?;
        let copy = tempfile::tempdir()?;
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["copy", "--quiet", "--all", "--preserve-digests"]).current_dir(release);
        skopeo.arg(format!("oci-archive:{archive}:{name}")).arg(format!("dir:{}", copy.path().display()));
        run::run(&mut skopeo)?;
    }
    Ok(())
}

fn krs_release() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--locked", "--manifest-path"]).arg(checkout().join("Cargo.toml"));
    cargo.args(["--package", "krs-release", "--"]);
    cargo
}
