// SPDX-License-Identifier: Apache-2.0
//! Installs the programs of [`table`].

pub(crate) mod debian;
mod table;

use std::fs;
use std::path::Path;
use std::process::Command;

pub(crate) use self::table::Need;
use self::table::{Source, TOOLS, Tool};
use crate::cache::Cache;
use crate::digest::Digest;
use crate::run::{self, Result, checkout, on_path, step};

/// Arguments of `cargo xtask tools`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Installs everything.
pub(crate) fn run(cache: &Cache, _: &Args) -> Result<()> {
    install(cache, &[Need::Real, Need::Corpus, Need::Deny])?;
    println!("\nprograms are in {}", cache.bin().display());
    Ok(())
}

/// Installs what is missing of the programs that some work needs.
pub(crate) fn install(cache: &Cache, needs: &[Need]) -> Result<()> {
    let _lock = cache.lock()?;
    fs::create_dir_all(cache.bin())?;
    let wanted: Vec<&Tool> =
        TOOLS.iter().filter(|tool| tool.needs.iter().any(|need| needs.contains(need))).collect();

    let packages: Vec<&str> = wanted.iter().filter_map(|tool| missing_package(tool)).collect();
    if !packages.is_empty() {
        debian::install(cache, &packages)?;
    }
    let unpacked = |tool: &&Tool| match tool.source {
        Source::Unpacked(package, path) => Some((tool.program, package, path)),
        _ => None,
    };
    debian::unpack(cache, &wanted.iter().filter_map(unpacked).collect::<Vec<_>>())?;
    for tool in wanted {
        match tool.source {
            Source::Debian(_) | Source::Unpacked(..) => {}
            Source::Go(package, version) => {
                once(cache, tool.program, version, &format!("go install {package}@{version}"), || {
                    run::output(go(cache)?.arg("install").arg(format!("{package}@{version}"))).map(drop)
                })?;
            }
            Source::GoHere(folder) => {
                let folder = checkout().join("xtask").join(folder);
                once(cache, tool.program, &version_of_folder(&folder)?, "go install krs-gzip", || {
                    run::output(go(cache)?.arg("install").arg(".").current_dir(&folder)).map(drop)
                })?;
            }
            Source::Crate(name, version) => {
                once(cache, tool.program, version, &format!("cargo install {name}@{version}"), || {
                    install_crate(cache, name, version)
                })?;
            }
        }
    }
    Ok(())
}

fn missing_package(tool: &Tool) -> Option<&'static str> {
    match tool.source {
        Source::Debian(package) if on_path(tool.program).is_none() => {
            // A folder of administration programs is not on everybody's PATH.
            (!Path::new("/usr/sbin").join(tool.program).is_file()).then_some(package)
        }
        _ => None,
    }
}

/// Does the work unless the program is there and the stamp beside it says that it was made by the same version.
fn once(
    cache: &Cache,
    program: &str,
    version: &str,
    title: &str,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let stamp = cache.tools().join("stamps").join(program);
    let there = cache.bin().join(program).is_file();
    if there && fs::read_to_string(&stamp).is_ok_and(|made_by| made_by == version) {
        return Ok(());
    }
    step(title, work)?;
    fs::create_dir_all(cache.tools().join("stamps"))?;
    Ok(fs::write(&stamp, version)?)
}

fn go(cache: &Cache) -> Result<Command> {
    if on_path("go").is_none() {
        return Err(
            "Go is missing: install a current version from https://go.dev/dl/ and put it on PATH".into()
        );
    }
    let mut command = Command::new("go");
    command.env("GOFLAGS", "-trimpath").env("GOBIN", cache.bin()).env_remove("GOOS").env_remove("GOARCH");
    Ok(command)
}

/// A debug build: it takes half the time, and the check of a few hundred crates takes a second either way.
fn install_crate(cache: &Cache, name: &str, version: &str) -> Result<()> {
    let target = tempfile::tempdir()?;
    run::run(
        Command::new(env!("CARGO"))
            .args(["install", "--locked", "--quiet", "--debug", "--force", "--root"])
            .arg(cache.tools())
            .arg(format!("{name}@{version}"))
            .env("CARGO_TARGET_DIR", target.path())
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .current_dir(cache.root()),
    )
}

/// Our own programs have no version: any change of a file rebuilds them.
fn version_of_folder(folder: &Path) -> Result<String> {
    let mut files: Vec<_> = fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    let mut all = Vec::new();
    for file in files {
        all.extend(fs::read(file.path())?);
    }
    Ok(Digest::of(&all).to_string())
}
