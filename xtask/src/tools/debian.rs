// SPDX-License-Identifier: Apache-2.0
//! Debian packages: installed into the system, unpacked into the cache, or downloaded as they are.
//!
//! The lists of packages are kept in our cache, for two architectures. The machine's own lists stay as they are.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs as unix;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cache::Cache;
use crate::run::{self, Result, is_root, on_path, step};

const LISTS_ARE_FRESH_FOR: Duration = Duration::from_secs(24 * 3600);
const POLICY: &str = "/usr/sbin/policy-rc.d";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A Debian package file.
#[derive(Debug, Clone)]
pub struct Deb {
    /// The version, as Debian writes it.
    pub version: String,
    /// Where the file lies.
    pub file: PathBuf,
    /// What apt-get knows it by: a package for all architectures has none of its own.
    request: String,
    size: u64,
}

/// Installs packages into the system. Needs root; says the command to whoever is not.
pub fn install(cache: &Cache, packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if on_path("apt-get").is_none() {
        return Err(
            format!("this is not a Debian system: install the programs of these packages: {list}").into()
        );
    }
    if !is_root() {
        return Err(format!(
            "packages are missing; run: sudo apt-get install --no-install-recommends {list}"
        )
        .into());
    }
    refresh(cache, false)?;
    step(&format!("apt-get install {list}"), || {
        let _nothing_starts = NothingStarts::new()?;
        let mut command = apt(cache, "apt-get", &[&own_architecture()?]);
        command.args(["install", "--yes", "-qq", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0"]);
        run::run(command.args(packages).env("DEBIAN_FRONTEND", "noninteractive"))
    })
}

/// Unpacks packages into the cache and links a program of each: (program, package, path in the package).
pub fn unpack(cache: &Cache, wanted: &[(&str, &str, &str)]) -> Result<()> {
    let linked = |program: &str| cache.bin().join(program).is_file();
    let missing: Vec<_> = wanted.iter().filter(|(program, ..)| !linked(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = missing.iter().map(|(_, package, _)| (*package).to_owned()).collect();
    let debs = download(cache, &names)?;
    for (program, package, path) in missing {
        let deb = debs.get(*package).ok_or("a package was not downloaded")?;
        let folder = cache.tools().join("debian").join(package).join(&deb.version);
        if !folder.is_dir() {
            step(&format!("unpack {package} {}", deb.version), || {
                let partial = folder.with_extension("partial");
                fs::create_dir_all(&partial)?;
                run::run(Command::new("dpkg-deb").arg("-x").arg(&deb.file).arg(&partial))?;
                Ok(fs::rename(&partial, &folder)?)
            })?;
        }
        let link = cache.bin().join(program);
        if link.is_symlink() {
            fs::remove_file(&link)?;
        }
        unix::symlink(folder.join(path), link)?;
    }
    Ok(())
}

/// The end of a name for the version of the last point release, which is before its security updates.
pub const RELEASED: &str = "=released";
/// Where the archive has security updates, within itself.
const SECURITY_UPDATES: &str = "pool/updates/";

/// Downloads packages that are not in the cache yet; a name may end in `:ARCHITECTURE`, and then in [`RELEASED`].
pub fn download(cache: &Cache, names: &[String]) -> Result<BTreeMap<String, Deb>> {
    if on_path("apt-get").is_none() || on_path("dpkg-deb").is_none() {
        return Err("apt-get and dpkg-deb are missing: this needs a Debian system".into());
    }
    fs::create_dir_all(cache.packages())?;
    refresh(cache, false)?;
    let mut debs = describe(cache, names)?;
    if debs.values().any(|deb| !deb.is_there()) && fetch(cache, &debs).is_err() {
        // The archive has moved on since our lists were made.
        refresh(cache, true)?;
        debs = describe(cache, names)?;
        fetch(cache, &debs)?;
    }
    match debs.values().find(|deb| !deb.is_there()) {
        Some(deb) => Err(format!("{} is missing or has the wrong size", deb.file.display()).into()),
        None => Ok(debs),
    }
}

impl Deb {
    fn is_there(&self) -> bool {
        fs::metadata(&self.file).is_ok_and(|data| data.len() == self.size)
    }
}

fn fetch(cache: &Cache, debs: &BTreeMap<String, Deb>) -> Result<()> {
    let missing: BTreeMap<&str, u64> =
        debs.values().filter(|deb| !deb.is_there()).map(|deb| (deb.request.as_str(), deb.size)).collect();
    let bytes: u64 = missing.values().sum();
    step(&format!("download {} Debian packages, {} MB", missing.len(), bytes / 1_000_000), || {
        let mut command = apt(cache, "apt-get", &architectures()?);
        command.args(["download", "-qq"]).current_dir(cache.packages());
        run::run(command.args(missing.keys()))
    })
}

fn describe(cache: &Cache, names: &[String]) -> Result<BTreeMap<String, Deb>> {
    let (released, newest): (Vec<_>, Vec<_>) =
        names.iter().cloned().partition(|name| name.ends_with(RELEASED));
    let mut debs = describe_some(cache, &newest, "--no-all-versions", |_| true)?;
    let is_released = |file: &str| !file.starts_with(SECURITY_UPDATES);
    debs.extend(describe_some(cache, &released, "--all-versions", is_released)?);
    Ok(debs)
}

/// Of several versions of a package whose file in the archive is wanted the newest counts, with which apt-cache begins.
fn describe_some(
    cache: &Cache,
    names: &[String],
    versions: &str,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Deb>> {
    let mut debs = BTreeMap::new();
    if names.is_empty() {
        return Ok(debs);
    }
    let own = own_architecture()?;
    let mut command = apt(cache, "apt-cache", &architectures()?);
    let packages = names.iter().map(|name| name.strip_suffix(RELEASED).unwrap_or(name));
    let text = run::output(command.args(["show", versions]).args(packages))?;
    for paragraph in text.split("\n\n") {
        let field = |name: &str| {
            paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned)
        };
        let (Some(package), Some(version), Some(architecture), Some(size)) =
            (field("Package"), field("Version"), field("Architecture"), field("Size"))
        else {
            continue;
        };
        // An installed version that the archive does not have has none.
        if !field("Filename").is_some_and(|file| is_wanted(&file)) {
            continue;
        }
        let file = format!("{package}_{}_{architecture}.deb", version.replace(':', "%3a"));
        for name in names {
            let wanted = name.strip_suffix(RELEASED).unwrap_or(name);
            let (wanted, of) = wanted.split_once(':').unwrap_or((wanted, &own));
            if wanted == package && (architecture == of || architecture == "all") {
                let request = match architecture.as_str() {
                    "all" => format!("{package}={version}"),
                    _ => format!("{package}:{architecture}={version}"),
                };
                let (version, file) = (version.clone(), cache.packages().join(&file));
                let deb = Deb { version, file, request, size: size.parse()? };
                debs.entry(name.clone()).or_insert(deb);
            }
        }
    }
    match names.iter().find(|name| !debs.contains_key(*name)) {
        Some(name) => Err(format!("Debian has no package {name}").into()),
        None => Ok(debs),
    }
}

/// Brings the lists of packages up to date where they are old, or where `now` says so.
fn refresh(cache: &Cache, now: bool) -> Result<()> {
    let stamp = cache.root().join("apt/refreshed");
    let age = fs::metadata(&stamp).ok().and_then(|data| data.modified().ok()?.elapsed().ok());
    if !now && age.is_some_and(|age| age < LISTS_ARE_FRESH_FOR) {
        return Ok(());
    }
    for folder in ["apt/lists/partial", "apt/archives/partial"] {
        fs::create_dir_all(cache.root().join(folder))?;
    }
    let updated = step("apt-get update (lists in the cache)", || {
        run::run(apt(cache, "apt-get", &architectures()?).args(["update", "-qq"]))
    });
    match updated {
        // Without a network, what is in the cache may well be enough.
        Err(error) if !now && stamp.exists() => {
            println!("    using the older package lists: {error}");
            return Ok(());
        }
        updated => updated?,
    }
    Ok(fs::write(stamp, "")?)
}

/// Downloads packages of another release with all that they depend on, as if nothing were installed; answers the files.
///
/// The release comes from the mirrors that this machine uses for its own.
pub fn closure(cache: &Cache, release: &str, architecture: &str, packages: &[&str]) -> Result<Vec<PathBuf>> {
    let folder = cache.root().join(format!("apt-{release}-{architecture}"));
    for below in ["lists/partial", "archives/partial"] {
        fs::create_dir_all(folder.join(below))?;
    }
    fs::write(folder.join("status"), "")?;
    let set = |name: &str, path: &str| format!("{name}={}", folder.join(path).display());
    let other = || {
        let mut command = Command::new("apt-get");
        for setting in [
            set("Dir::State::status", "status"),
            set("Dir::State::extended_states", "extended_states"),
            set("Dir::State::lists", "lists"),
            set("Dir::Cache", ""),
            set("Dir::Etc::sourcelist", "sources.list"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("APT::Architecture={architecture}"),
            format!("APT::Architectures={architecture}"),
            "APT::Sandbox::User=root".to_owned(),
            "Dpkg::Use-Pty=0".to_owned(),
        ] {
            command.args(["-o", &setting]);
        }
        command
    };
    let stamp = folder.join("refreshed");
    let age = fs::metadata(&stamp).ok().and_then(|data| data.modified().ok()?.elapsed().ok());
    if age.is_none_or(|age| age > LISTS_ARE_FRESH_FOR) {
        fs::write(folder.join("sources.list"), sources(cache, release)?)?;
        let updated = step(
            &format!("apt-get update (lists of Debian {release} for {architecture} in the cache)"),
            || run::run(other().args(["update", "-qq"])),
        );
        match updated {
            Err(error) if stamp.exists() => println!("    using the older package lists: {error}"),
            updated => {
                updated?;
                fs::write(&stamp, "")?;
            }
        }
    }
    let install = |mode: &str| {
        let mut command = other();
        command.args(["install", "--yes", "-qq", "--no-install-recommends", mode]).args(packages);
        command
    };
    let plan = run::output(&mut install("--simulate"))?;
    let files: Vec<PathBuf> =
        plan.lines().filter_map(deb_of_plan).map(|name| folder.join("archives").join(name)).collect();
    if files.is_empty() {
        return Err(format!("Debian {release} has no {} for {architecture}", packages.join(" ")).into());
    }
    if !files.iter().all(|file| file.is_file()) {
        step(&format!("download {} packages of Debian {release}", files.len()), || {
            run::output(&mut install("--download-only")).map(drop)
        })?;
    }
    Ok(files)
}

/// `Inst NAME (VERSION ORIGIN [ARCHITECTURE])`, as the name of the file that apt-get makes of it.
fn deb_of_plan(line: &str) -> Option<String> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
    let version = rest.split(' ').next()?.replace(':', "%3a");
    let architecture = rest.split_once("])")?.0.rsplit_once('[')?.1;
    Some(format!("{name}_{version}_{architecture}.deb"))
}

/// Lines for another release: Debian and its security updates, from the mirrors that this machine uses.
fn sources(cache: &Cache, release: &str) -> Result<String> {
    refresh(cache, false)?;
    let mut command = apt(cache, "apt-get", &architectures()?);
    command.args(["indextargets", "--format", "$(REPO_URI) $(LABEL)", "Created-By: Packages"]);
    let targets = run::output(&mut command)?;
    let mirror = |label: &str| {
        targets
            .lines()
            .find_map(|line| line.split_once(' ').filter(|(_, of)| *of == label))
            .map(|(uri, _)| uri)
    };
    let signed = if Path::new(KEYRING).is_file() { format!("[signed-by={KEYRING}] ") } else { String::new() };
    let debian = mirror("Debian").ok_or("this machine uses no mirror of Debian")?;
    let mut lines = format!("deb {signed}{debian} {release} main\n");
    if let Some(security) = mirror("Debian-Security") {
        lines.push_str(&format!("deb {signed}{security} {release}-security main\n"));
    }
    Ok(lines)
}

fn apt(cache: &Cache, program: &str, architectures: &[&str]) -> Command {
    let mut command = Command::new(program);
    let folder = |name: &str, path: &str| format!("{name}={}", cache.root().join(path).display());
    command.args(["-o", &folder("Dir::State::lists", "apt/lists"), "-o", &folder("Dir::Cache", "apt")]);
    // The sandbox user of apt cannot enter our cache.
    command.args(["-o", "APT::Sandbox::User=root"]);
    for architecture in architectures {
        command.args(["-o", &format!("APT::Architectures::={architecture}")]);
    }
    command
}

/// The corpus has images for both, whatever this machine is.
fn architectures() -> Result<[&'static str; 2]> {
    Ok(if own_architecture()? == "arm64" { ["arm64", "amd64"] } else { ["amd64", "arm64"] })
}

fn own_architecture() -> Result<String> {
    Ok(run::output(Command::new("dpkg").arg("--print-architecture"))?.trim().to_owned())
}

/// While it lives, no package starts a service (Debian's policy-rc.d).
struct NothingStarts {
    ours: bool,
}

impl NothingStarts {
    fn new() -> Result<Self> {
        let ours = !Path::new(POLICY).exists();
        if ours {
            fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
            run::run(Command::new("chmod").args(["755", POLICY]))?;
        }
        Ok(Self { ours })
    }
}

impl Drop for NothingStarts {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_of_apt_names_the_files_it_downloads() {
        let line = "Inst zlib1g (1:1.3.dfsg+really1.3.1-1 Debian:13.1/stable [amd64])";
        assert_eq!(deb_of_plan(line).as_deref(), Some("zlib1g_1%3a1.3.dfsg+really1.3.1-1_amd64.deb"));
        let line = "Inst libc6 (2.41-12 Debian:13/stable, Debian-Security:13/stable-security [amd64]) []";
        assert_eq!(deb_of_plan(line).as_deref(), Some("libc6_2.41-12_amd64.deb"));
        assert_eq!(deb_of_plan("Conf zlib1g (1:1.3 Debian:13.1/stable [amd64])"), None);
    }
}
