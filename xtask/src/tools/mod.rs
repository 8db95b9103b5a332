// SPDX-License-Identifier: Apache-2.0
//! Installs the programs of `table`.

pub mod debian;
mod table;

use std::fs;
use std::os::unix::fs::{self as unix, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

pub use self::table::Need;
use self::table::{GoFiles, GoModule, Npm, Source, TOOLS, Tool};
use crate::cache::Cache;
use crate::digest::Digest;
use crate::run::{self, Result, checkout, on_path, step};

/// Arguments of `cargo xtask tools`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also install the programs of `cargo xtask test --full`, which take minutes to build
    #[arg(long)]
    full: bool,
}

/// Installs everything.
pub fn run(cache: &Cache, args: &Args) -> Result<()> {
    install(cache, &[Need::Real, Need::Corpus, Need::Deny, Need::Cluster])?;
    if args.full {
        install(cache, &[Need::Full, Need::Chart, Need::Release])?;
    }
    println!("\nprograms are in {}", cache.bin().display());
    Ok(())
}

/// Installs what is missing of the programs that some work needs.
pub fn install(cache: &Cache, needs: &[Need]) -> Result<()> {
    let wanted: Vec<&Tool> =
        TOOLS.iter().filter(|tool| tool.needs.iter().any(|need| needs.contains(need))).collect();
    // A run that needs nothing does not have to wait for another run that installs.
    if wanted
        .iter()
        .map(|tool| is_there(cache, tool))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .all(|there| there)
    {
        return Ok(());
    }
    let _lock = cache.lock("lock")?;
    fs::create_dir_all(cache.bin())?;

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
                once(cache, tool, &format!("go install {package}@{version}"), || {
                    run::output(go_install(cache)?.arg(format!("{package}@{version}"))).map(drop)
                })?;
            }
            Source::GoModule(module) => {
                once(cache, tool, &format!("go build {}@{}", module.path, module.version), || {
                    build_module(cache, tool.program, &module)
                })?;
            }
            Source::GoFiles(files) => {
                once(cache, tool, &format!("go mod download {}@{}", files.path, files.version), || {
                    copy_files(cache, tool.program, &files)
                })?;
            }
            Source::GoHere(folder) => {
                once(cache, tool, &format!("go install {}", tool.program), || {
                    let folder = checkout().join("xtask").join(folder);
                    // A module that needs a later Go gets it; all others are built by the one that is installed.
                    let mut install = go_install(cache)?;
                    install.env("GOTOOLCHAIN", "auto");
                    run::output(install.arg(".").current_dir(&folder)).map(drop)
                })?;
            }
            Source::Python(package, version) => {
                once(cache, tool, &format!("pip install {package}=={version}"), || {
                    install_python(cache, tool.program, package, version)
                })?;
            }
            Source::Npm(npm) => {
                once(cache, tool, &format!("npm install {}@{}", npm.package, npm.version), || {
                    install_npm(cache, tool.program, npm)
                })?;
            }
            Source::Crate(name, version) => {
                once(cache, tool, &format!("cargo install {name}@{version}"), || {
                    install_crate(cache, name, version)
                })?;
            }
        }
    }
    Ok(())
}

fn is_there(cache: &Cache, tool: &Tool) -> Result<bool> {
    let program = match tool.source {
        Source::GoFiles(_) => cache.tools().join(tool.program).is_dir(),
        _ => cache.bin().join(tool.program).is_file(),
    };
    Ok(match tool.source {
        Source::Debian(_) => missing_package(tool).is_none(),
        Source::Unpacked(..) => program,
        Source::Go(..)
        | Source::GoModule(_)
        | Source::GoFiles(_)
        | Source::GoHere(_)
        | Source::Python(..)
        | Source::Npm(_)
        | Source::Crate(..) => {
            let stamp = fs::read_to_string(stamp(cache, tool));
            program && stamp.is_ok_and(|made_by| version(tool).is_ok_and(|version| made_by == version))
        }
    })
}

/// What a program is built from: it is built again when this changes.
fn version(tool: &Tool) -> Result<String> {
    Ok(match tool.source {
        Source::Debian(_) | Source::Unpacked(..) => String::new(),
        Source::Go(_, version) => format!("{version} {GO_FLAGS}"),
        Source::GoModule(module) => format!("{} {} {GO_FLAGS}", module.version, module.tags),
        Source::GoFiles(files) => format!("{} {}", files.version, files.files.join(" ")),
        Source::GoHere(folder) => {
            format!("{} {GO_FLAGS}", version_of_folder(&checkout().join("xtask").join(folder))?)
        }
        Source::Npm(npm) => format!("{} node {}", npm.version, npm.node),
        Source::Python(_, version) | Source::Crate(_, version) => version.to_owned(),
    })
}

fn stamp(cache: &Cache, tool: &Tool) -> PathBuf {
    cache.tools().join("stamps").join(tool.program)
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

/// Does the work unless the program is there and the stamp beside it says that it was made of the same version.
fn once(cache: &Cache, tool: &Tool, title: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    if is_there(cache, tool)? {
        return Ok(());
    }
    step(title, work)?;
    fs::create_dir_all(cache.tools().join("stamps"))?;
    Ok(fs::write(stamp(cache, tool), version(tool)?)?)
}

/// Static programs, which run in images of their own too; the same choices as for the cluster's programs, so that Go's
/// own packages are compiled once for all.
const GO_FLAGS: &str = "-trimpath -gcflags=all=-dwarf=false -ldflags=-s";

/// Go, or the program that is to start it, for static programs of this machine's kind.
pub fn go(program: &str) -> Result<Command> {
    if on_path("go").is_none() {
        return Err(
            "Go is missing: install a current version from https://go.dev/dl/ and put it on PATH".into()
        );
    }
    let mut command = Command::new(program);
    command.env("CGO_ENABLED", "0").env_remove("GOOS").env_remove("GOARCH");
    Ok(command)
}

fn go_install(cache: &Cache) -> Result<Command> {
    let mut command = go("go")?;
    command.env("GOFLAGS", GO_FLAGS).env("GOBIN", cache.bin()).arg("install");
    Ok(command)
}

/// Downloads a module, and answers the folder of Go's cache that has it. `folder` is outside of any module.
fn download(path: &str, version: &str, folder: &Path) -> Result<PathBuf> {
    let mut download = go("go")?;
    download.args(["mod", "download", "-json"]).arg(format!("{path}@{version}"));
    let download = serde_json::from_str::<serde_json::Value>(&run::output(download.current_dir(folder))?)?;
    Ok(download["Dir"].as_str().ok_or("Go does not say where it put the module")?.into())
}

/// Copies files of a module into the cache.
fn copy_files(cache: &Cache, name: &str, module: &GoFiles) -> Result<()> {
    let partial = tempfile::tempdir_in(cache.root())?;
    let source = download(module.path, module.version, partial.path())?;
    let copy = partial.path().join(name);
    for file in module.files {
        let (from, to) = (source.join(file), copy.join(file));
        fs::create_dir_all(to.parent().ok_or("a file has a folder")?)?;
        if from.is_dir() { copy_folder(&from, &to)? } else { fs::write(&to, fs::read(&from)?)? }
    }
    let place = cache.tools().join(name);
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    Ok(fs::rename(&copy, &place)?)
}

/// Builds a module in a copy of it: Go builds no program inside of its own cache of modules.
fn build_module(cache: &Cache, program: &str, module: &GoModule) -> Result<()> {
    let copy = tempfile::tempdir_in(cache.root())?;
    let source = copy.path().join("source");
    copy_folder(&download(module.path, module.version, copy.path())?, &source)?;
    // Program and data come into being together, under the name of their version.
    let partial = copy.path().join(program);
    fs::create_dir(&partial)?;
    let mut build = go("go")?;
    build.env("CGO_ENABLED", if module.cgo { "1" } else { "0" }).env("GOFLAGS", GO_FLAGS);
    build.args(["build", "-tags", module.tags, "-o"]).arg(&partial).arg(module.package);
    run::output(build.current_dir(&source))?;
    for folder in module.data {
        fs::rename(source.join(folder), partial.join(folder))?;
    }
    let folder = cache.tools().join("go").join(program).join(module.version);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(folder.parent().ok_or("a folder has a parent")?)?;
    fs::rename(&partial, &folder)?;
    let link = cache.bin().join(program);
    if link.is_symlink() {
        fs::remove_file(&link)?;
    }
    Ok(unix::symlink(folder.join(program), link)?)
}

/// Installs a Python package with what it needs into an environment of its own.
fn install_python(cache: &Cache, program: &str, package: &str, version: &str) -> Result<()> {
    let folder = cache.tools().join("python").join(program).join(version);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let mut environment = Command::new("python3");
    run::output(environment.args(["-m", "venv"]).arg(&folder))
        .map_err(|error| format!("{error}\nis the Debian package python3-venv missing?"))?;
    let mut pip = Command::new(folder.join("bin/pip"));
    run::output(pip.args(["install", "--quiet"]).arg(format!("{package}=={version}")))?;
    let link = cache.bin().join(program);
    if link.is_symlink() {
        fs::remove_file(&link)?;
    }
    Ok(unix::symlink(folder.join("bin").join(program), link)?)
}

/// Installs an npm package with what it needs and a Node.js into a folder of its own. No script of a package runs.
fn install_npm(cache: &Cache, program: &str, npm: Npm) -> Result<()> {
    let place = cache.tools().join("npm").join(program).join(npm.version);
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    fs::create_dir_all(&place)?;
    let node = format!("node-linux-{}", node_architecture()?);
    let mut install = Command::new("npm");
    install.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]);
    install.arg(&place).arg(format!("{}@{}", npm.package, npm.version)).arg(format!("{node}@{}", npm.node));
    run::output(&mut install)?;
    let modules = place.join("node_modules");
    let (node, script) = (modules.join(node).join("bin/node"), modules.join(npm.package).join(npm.script));
    let text = format!("#!/bin/sh\nexec '{}' '{}' \"$@\"\n", node.display(), script.display());
    let file = cache.bin().join(program);
    fs::write(&file, text)?;
    Ok(fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?)
}

/// What the packages of Node.js call this machine.
fn node_architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("x64"),
        "aarch64" => Ok("arm64"),
        other => Err(format!("there is no package of Node.js for {other}").into()),
    }
}

/// Copies a folder of files; what is copied can be written to.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() { copy_folder(&from, &to)? } else { fs::write(&to, fs::read(&from)?)? }
    }
    Ok(())
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
pub fn version_of_folder(folder: &Path) -> Result<String> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let mut all = Vec::new();
    for file in files {
        all.extend(file.strip_prefix(folder)?.as_os_str().as_encoded_bytes());
        all.extend(fs::read(&file)?);
    }
    Ok(Digest::of(&all).to_string())
}
