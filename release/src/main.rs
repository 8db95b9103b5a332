// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask release`: the files that users install, made of one commit, with the same bytes each time.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a chore speaks to the person who started it")]

mod build;
mod crates;
mod deb;
mod elf;
mod folder;
mod licenses;
mod package;
mod payload;
mod rpm;
mod sbom;
mod sums;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use self::build::{Builder, Program};
use self::crates::Crates;
use self::folder::OutputFolder;
use self::payload::Texts;
use self::sums::SigningKey;
use self::target::Target;
use xtask::cache::Cache;
use xtask::run::{Result, checkout};
use xtask::source::Commit;
use xtask::tools::{self, Need};

/// The version of everything in a release.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The file with the licences of what is linked into the programs.
const LICENSES: &str = "THIRD-PARTY-LICENSES";

/// Build the files of a release: programs for each platform, checksums, and a signature of these.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask release", bin_name = "cargo xtask release")]
struct Args {
    /// Directory of the release. It must not exist, and appears when all files are complete [default: dist/VERSION]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Build for this platform only; may be given more than once
    #[arg(long, value_name = "PLATFORM", num_args = 1..)]
    target: Vec<Target>,
    /// Secret key in minisign's format that signs SHA256SUMS; without it, the release is not signed
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// File whose first line is the passphrase of the key
    #[arg(long, value_name = "FILE", requires = "key")]
    passphrase_file: Option<PathBuf>,
    /// Who maintains the Debian package, as its field Maintainer
    #[arg(long, value_name = "NAME <EMAIL>", default_value = "KubeRegistrySync <root@localhost>", value_parser = maintainer)]
    maintainer: String,
    /// Build although tracked files differ from the commit; the programs say so
    #[arg(long)]
    allow_modified: bool,
    /// Build all programs a second time, in an empty directory, and fail if they differ
    #[arg(long)]
    check_reproducible: bool,
}

/// A field of one line.
fn maintainer(text: &str) -> std::result::Result<String, String> {
    let has_address = text
        .split_once(" <")
        .is_some_and(|(name, address)| !name.is_empty() && address.contains('@') && address.ends_with('>'));
    if !has_address || text.chars().any(char::is_control) {
        return Err("expected NAME <EMAIL>".to_owned());
    }
    Ok(text.to_owned())
}

fn main() -> ExitCode {
    match release(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Everything that can be refused is refused before anything is built.
fn release(args: &Args) -> Result<()> {
    let commit = Commit::of_checkout()
        .ok_or("the sources are in no Git checkout: the commit of the release is unknown")?;
    if commit.is_modified() && !args.allow_modified {
        return Err("tracked files differ from the commit: commit them, or use --allow-modified".into());
    }
    let key = args
        .key
        .as_deref()
        .map(|file| SigningKey::read(file, args.passphrase_file.as_deref()))
        .transpose()?;
    let targets = target::choose(&args.target);
    target::require_installed(&targets)?;
    let out = args.out.clone().unwrap_or_else(|| checkout().join("dist").join(VERSION));
    let mut folder = OutputFolder::create(&out)?;

    let cache = Cache::locate()?;
    tools::install(&cache, &[Need::Release])?;
    let builder = Builder::new(&cache, &commit)?;
    let mut programs = BTreeMap::new();
    for target in &targets {
        programs.insert(*target, builder.build(*target, Program::Krs)?);
    }
    if args.check_reproducible {
        check_reproducible(&builder, &programs)?;
    }
    add_krs(&mut folder, &builder, &programs, &args.maintainer, &cache, &commit)?;
    sums::add(&mut folder, key.as_ref(), &commit)?;
    let made = folder.rows().iter().map(|row| row.name.clone()).collect::<BTreeSet<_>>();
    let expected = file_names(&targets, key.is_some());
    if made != expected {
        return Err(format!("made {made:?}, expected {expected:?}").into());
    }
    let files = folder.finish()?;
    report(&out, &files, &targets, key.is_some(), &commit);
    Ok(())
}

/// The names of all files of a release, as the documentation lists them.
fn file_names(targets: &[Target], is_signed: bool) -> BTreeSet<String> {
    let of_target = |target: &Target| {
        let name = format!("krs-{VERSION}-{target}");
        let files = [format!("{name}.tar.gz"), format!("{name}.cdx.json")];
        files.into_iter().chain([deb::file_name(*target), rpm::file_name(*target)])
    };
    let signature = is_signed.then(|| sums::SIGNATURE.to_owned());
    let common = [LICENSES, sums::SUMS].map(str::to_owned);
    targets.iter().flat_map(of_target).chain(common).chain(signature).collect()
}

/// The files of `krs`: for each platform an archive, two packages and a bill of materials; and the licences of others.
fn add_krs(
    folder: &mut OutputFolder,
    builder: &Builder<'_>,
    programs: &BTreeMap<Target, Vec<u8>>,
    maintainer: &str,
    cache: &Cache,
    commit: &Commit,
) -> Result<()> {
    let mut crates = BTreeMap::new();
    for target in programs.keys() {
        crates.insert(*target, Crates::of(Program::Krs, *target)?);
    }
    let all = crates.values().cloned().collect::<Vec<_>>();
    let third_party = licenses::third_party(&all, &licenses::of_toolchain(cache)?)?;
    folder.add(LICENSES, &third_party)?;
    let texts = Texts::of(builder, programs, third_party)?;
    for (target, binary) in programs {
        let name = format!("krs-{VERSION}-{target}");
        folder.add(&format!("{name}.tar.gz"), &payload::archive(&name, binary, &texts, commit.seconds)?)?;
        let deb = deb::package(*target, binary, &texts, maintainer, commit.seconds)?;
        folder.add(&deb::file_name(*target), &deb)?;
        folder.add(&rpm::file_name(*target), &rpm::package(*target, binary, &texts, commit.seconds)?)?;
        let crates = crates.get(target).ok_or("a platform has no list of crates")?;
        folder.add(&format!("{name}.cdx.json"), &sbom::cyclonedx("krs", *target, binary, crates, commit)?)?;
    }
    Ok(())
}

fn check_reproducible(builder: &Builder<'_>, programs: &BTreeMap<Target, Vec<u8>>) -> Result<()> {
    let empty = tempfile::tempdir()?;
    let again = builder.in_folder(empty.path());
    for (target, first) in programs {
        if again.build(*target, Program::Krs)? != *first {
            return Err(format!("two builds of krs for {target} differ").into());
        }
    }
    println!("Built twice with the same bytes.");
    Ok(())
}

fn report(out: &Path, files: &[folder::Row], targets: &[Target], is_signed: bool, commit: &Commit) {
    let width = files.iter().map(|row| row.name.len()).max().unwrap_or_default();
    println!("\n{:<width$}  {:>10}  sha256", "file", "bytes");
    for row in files {
        println!("{:<width$}  {:>10}  {}", row.name, row.bytes, row.digest.hex());
    }
    println!("\nkrs {VERSION}, commit {}, in {}", commit.revision, out.display());
    for target in target::ALL.iter().filter(|target| !targets.contains(target)) {
        println!("note: not built for {target}: --target names other platforms only");
    }
    if !is_signed {
        println!("note: SHA256SUMS is not signed: use --key FILE");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_the_files_of_a_release() {
        let page = std::fs::read_to_string(checkout().join("docs/install-krs.md")).unwrap_or_default();
        let rows = page.lines().skip_while(|line| !line.starts_with("| file |")).skip(2);
        let cells = rows.map_while(|row| row.strip_prefix('|')?.split('|').next());
        let listed = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned);
        assert_eq!(listed.collect::<BTreeSet<_>>(), file_names(target::ALL, true));
    }

    #[test]
    fn a_maintainer_has_a_name_and_an_address_in_one_line() {
        assert!(maintainer("A B <a@example.com>").is_ok());
        for wrong in ["A B", "a@example.com", " <a@b>", "A <a@b", "A <b>", "A <a@b>\nX: y <c@d>"] {
            assert!(maintainer(wrong).is_err(), "{wrong}");
        }
    }
}
