// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask release`: the files that users install, made of one commit, with the same bytes each time.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a chore speaks to the person who started it")]

mod build;
mod chart;
mod crates;
mod deb;
mod folder;
mod images;
mod licenses;
mod package;
mod payload;
mod rpm;
mod sbom;
mod sums;
mod target;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use self::build::{Builder, Built, PROGRAMS, Program};
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

/// Build the files of a release: programs, packages and images for each platform, the chart, checksums, and a signature.
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
    let built = builder.build_all(&targets)?;
    if args.check_reproducible {
        builder.check_reproducible(&built)?;
    }
    let texts = add_programs(&mut folder, &builder, &built, &args.maintainer, &cache, &commit)?;
    for image in images::ALL {
        folder.add(&image.file_name(), &image.archive(&cache, &built, &texts, &commit)?)?;
    }
    let package = chart::package(&commit)?;
    folder.add(&chart::archive_name(), &chart::archive(&package, &commit)?)?;
    folder.add(&chart::file_name(), &package)?;
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
        let archive = format!("krs-{VERSION}-{target}.tar.gz");
        let bills = PROGRAMS.iter().map(|program| sbom::file_name(*program, *target));
        bills.chain([archive, deb::file_name(*target), rpm::file_name(*target)]).collect::<Vec<_>>()
    };
    let images = images::ALL.iter().map(|image| image.file_name());
    let chart = [chart::file_name(), chart::archive_name()];
    let signature = is_signed.then(|| sums::SIGNATURE.to_owned());
    let common = [LICENSES, sums::SUMS].map(str::to_owned);
    let names = targets.iter().flat_map(of_target).chain(images).chain(chart);
    names.chain(common).chain(signature).collect()
}

/// For each platform an archive and two packages of `krs`, a bill of materials of each program; and the licences of others.
/// Answers the texts that are installed with programs.
fn add_programs(
    folder: &mut OutputFolder,
    builder: &Builder<'_>,
    built: &Built,
    maintainer: &str,
    cache: &Cache,
    commit: &Commit,
) -> Result<Texts> {
    let mut all = Vec::new();
    for program in PROGRAMS {
        for (target, binary) in built.of(*program) {
            let crates = Crates::of(*program, *target)?;
            let bill = sbom::cyclonedx(program.name(), *target, binary, &crates, commit)?;
            folder.add(&sbom::file_name(*program, *target), &bill)?;
            all.push(crates);
        }
    }
    let third_party = licenses::third_party(&all, &licenses::of_toolchain(cache)?)?;
    folder.add(LICENSES, &third_party)?;
    let texts = Texts::of(builder, built, third_party)?;
    for (target, binary) in built.of(Program::Krs) {
        let name = format!("krs-{VERSION}-{target}");
        folder.add(&format!("{name}.tar.gz"), &payload::archive(&name, binary, &texts, commit.seconds)?)?;
        let deb = deb::package(*target, binary, &texts, maintainer, commit.seconds)?;
        folder.add(&deb::file_name(*target), &deb)?;
        folder.add(&rpm::file_name(*target), &rpm::package(*target, binary, &texts, commit.seconds)?)?;
    }
    Ok(texts)
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
        for image in images::ALL {
            assert!(page.contains(&format!("`{}`", image.image_name())), "{}", image.image_name());
        }
    }

    #[test]
    fn a_maintainer_has_a_name_and_an_address_in_one_line() {
        assert!(maintainer("A B <a@example.com>").is_ok());
        for wrong in ["A B", "a@example.com", " <a@b>", "A <a@b", "A <b>", "A <a@b>\nX: y <c@d>"] {
            assert!(maintainer(wrong).is_err(), "{wrong}");
        }
    }
}
