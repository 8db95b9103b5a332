// SPDX-License-Identifier: Apache-2.0
//! The packages that a recipe needs, downloaded once into the cache.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::recipe::{Content, Layer, Recipe};
use xtask::cache::Cache;
use xtask::run::{self, Result, step};
use xtask::tools::debian::{self, Deb, RELEASED};

/// The wheels are for this Python on any Linux of these years.
const PIP: &[&str] = &[
    "-m",
    "pip",
    "download",
    "--quiet",
    "--no-deps",
    "--only-binary=:all:",
    "--python-version=3.11",
    "--platform=manylinux_2_28_x86_64",
    "--platform=manylinux_2_27_x86_64",
    "--platform=manylinux_2_17_x86_64",
    "--platform=manylinux2014_x86_64",
];

/// Where the files of all packages of a recipe lie.
#[derive(Debug)]
pub(crate) struct Packages {
    debs: BTreeMap<String, Deb>,
    wheels: BTreeMap<&'static str, PathBuf>,
}

impl Packages {
    /// Downloads what is missing.
    pub(crate) fn fetch(cache: &Cache, recipe: &Recipe) -> Result<Self> {
        let (mut names, mut wanted) = (BTreeSet::new(), BTreeSet::new());
        for layer in recipe.layers {
            match layer.content {
                Content::Debs(debs)
                | Content::Dealt(debs, _)
                | Content::SlimDebs(debs)
                | Content::ReleasedSlimDebs(debs)
                | Content::LaterDebs(debs) => {
                    names.extend(debs.iter().map(|name| deb_name(name, layer)));
                }
                Content::Wheels(wheels) | Content::Wheelhouse(wheels) => {
                    wanted.extend(wheels.iter().copied());
                }
                Content::Text(..) | Content::Program(_) => {}
            }
        }
        let debs = debian::download(cache, &names.into_iter().collect::<Vec<_>>())?;
        Ok(Self { debs, wheels: fetch_wheels(cache, &wanted)? })
    }

    /// The Debian package of a layer.
    pub(crate) fn deb(&self, name: &str, layer: &Layer) -> Result<&Deb> {
        let name = deb_name(name, layer);
        self.debs.get(&name).ok_or_else(|| format!("{name} was not downloaded").into())
    }

    /// The file of a Python wheel that was downloaded before.
    pub(crate) fn wheel(&self, requirement: &str) -> Result<&Path> {
        let wheel =
            self.wheels.get(requirement).ok_or_else(|| format!("{requirement} was not downloaded"))?;
        Ok(wheel)
    }
}

fn deb_name(name: &str, layer: &Layer) -> String {
    let version = if matches!(layer.content, Content::ReleasedSlimDebs(_)) { RELEASED } else { "" };
    format!("{name}:{}{version}", layer.arch)
}

fn fetch_wheels(cache: &Cache, wanted: &BTreeSet<&'static str>) -> Result<BTreeMap<&'static str, PathBuf>> {
    let missing: Vec<&str> =
        wanted.iter().copied().filter(|wheel| find_wheel(&cache.packages(), wheel).is_err()).collect();
    if !missing.is_empty() {
        if run::output(Command::new("python3").args(["-m", "pip", "--version"])).is_err() {
            debian::install(cache, &["python3-pip"])?;
        }
        step(&format!("download {} wheels", missing.len()), || {
            // One by one: pip takes two versions of one package for a conflict.
            missing.iter().try_for_each(|wheel| {
                run::run(Command::new("python3").args(PIP).arg(wheel).arg("--dest").arg(cache.packages()))
            })
        })?;
    }
    wanted.iter().map(|wheel| Ok((*wheel, find_wheel(&cache.packages(), wheel)?))).collect()
}

fn find_wheel(folder: &Path, requirement: &str) -> Result<PathBuf> {
    let prefix = format!("{}-", requirement.replace('-', "_").replace("==", "-"));
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(&prefix) && name.ends_with(".whl") {
            return Ok(path);
        }
    }
    Err(format!("the wheel of {requirement} is not in {}", folder.display()).into())
}
