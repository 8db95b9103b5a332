// SPDX-License-Identifier: Apache-2.0
use std::io::{self, Read};

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::collect::{
    self, Cluster, CollectOptions, Collected, NewSet, Problem, UpdateOptions, UsedImage, coverage, new_set,
    used_images,
};
use krs_core::crd::Naming;
use krs_core::error::ErrorKind;
use krs_core::oci::reference::Destination;
use krs_core::set::{LoadedSet, LoadedSets, SetErrors};

use super::{files, sets};
use crate::args::CollectArgs;
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::exit;
use crate::report::{CheckReport, CollectReport, count};

/// Most problems that are shown to people.
const MAX_PROBLEMS: usize = 50;
/// Largest file with sets that is updated, in bytes.
const MAX_SET: u64 = 32 << 20;

/// `krs collect`
pub(super) fn collect(args: &CollectArgs, console: &Console) -> Result<(), Failure> {
    for file in &args.values {
        if !file.is_file() {
            return Err(Failure::usage(format!("there is no file {file} (--values)")));
        }
    }
    let target = target(args, console)?;
    let (collected, images, problems) = read(args, console)?;
    show(&collected, &problems, args.allow_incomplete, console);
    let incomplete = || incomplete(&problems, args.allow_incomplete);
    if args.check {
        let report = check(args, images, &problems, console)?;
        console.result(&report, || report.text())?;
        return match incomplete() {
            Some(failure) => Err(failure),
            None if report.is_equal() => Ok(()),
            None => Err(Failure::silent(exit::DIFFERENT)),
        };
    }
    for image in images.iter().filter(|image| image.is_latest()) {
        console.warning(&format!(
            "`{}` is whatever is newest when it is fetched; state a version",
            image.reference
        ));
    }
    let report = CollectReport::new(&images, &problems, &collected);
    if let Some(failure) = incomplete() {
        if args.output.is_some() || console.json() {
            console.result(&report, || report.text())?;
        }
        return Err(failure);
    }
    if images.is_empty() {
        return Err(nothing(&collected));
    }
    if args.prune && !problems.is_empty() {
        return Err(Failure::new(ErrorKind::Incomplete, "nothing is removed while sources cannot be read")
            .help("leave out --prune, or follow the help of each warning"));
    }
    write(args, &target, &images, report, console)
}

/// What is done with the images.
enum Target {
    Report,
    New(NewSet),
    /// Sets of a file that is there, with its bytes.
    File(Utf8PathBuf, Vec<u8>, Box<LoadedSets>),
}

fn target(args: &CollectArgs, console: &Console) -> Result<Target, Failure> {
    if args.check {
        return Ok(Target::Report);
    }
    if let Some(file) = args.output.as_deref().filter(|file| *file == "-" || file.exists()) {
        return existing(args, file);
    }
    if args.prune {
        return Err(Failure::usage("--prune needs a file with a set, and there is none yet (--output)"));
    }
    let Some(destination) = args.destination.clone() else {
        if args.output.is_none() && console.json() {
            return Ok(Target::Report);
        }
        return Err(Failure::usage("a new set needs the registry at the edge")
            .help("pass --destination REGISTRY, for example --destination edge.local:5000"));
    };
    let stem = args.output.as_deref().and_then(Utf8Path::file_stem).unwrap_or("images");
    let name = args.name.clone().unwrap_or_else(|| stem.to_owned());
    let naming = required_naming(args)?;
    Ok(Target::New(NewSet { name, namespace: args.namespace.clone(), destination, naming }))
}

/// What `krs.yaml` requires of the naming of a new set.
fn required_naming(args: &CollectArgs) -> Result<Option<Naming>, SetErrors> {
    let mut paths = args.sources.clone();
    paths.extend(args.output.as_deref().and_then(Utf8Path::parent).map(|folder| match folder.as_str() {
        "" => Utf8PathBuf::from("."),
        _ => folder.to_owned(),
    }));
    Ok(krs_core::set::settings(&paths)?.and_then(|settings| Some(settings.naming?.value)))
}

/// Opens the sets of a file that is there.
fn existing(args: &CollectArgs, file: &Utf8Path) -> Result<Target, Failure> {
    if file == "-" {
        return Err(Failure::usage("leave out -o to write the set to standard output"));
    }
    if !file.is_file() {
        return Err(Failure::usage(format!("{file} is not a regular file")));
    }
    let bytes = krs_core::files::read_file(file, MAX_SET)
        .map_err(|error| Failure::other(format!("cannot read {file}: {error}")))?;
    let loaded = sets::load(&[file.to_owned()])?;
    let is_other = |destination: &Destination| {
        let written = |set: &LoadedSet| set.set.spec.destination_registry == destination.to_string();
        !loaded.sets.iter().any(written)
    };
    if args.destination.as_ref().is_some_and(is_other) {
        return Err(Failure::usage(format!("the sets of {file} have another destinationRegistry"))
            .help("leave out --destination, or write to another file"));
    }
    Ok(Target::File(file.to_owned(), bytes, Box::new(loaded)))
}

fn read(args: &CollectArgs, console: &Console) -> Result<(Collected, Vec<UsedImage>, Vec<Problem>), Failure> {
    let options = CollectOptions {
        sources: args.sources.clone(),
        values: args.values.clone(),
        cluster: args
            .cluster
            .clone()
            .map(|context| Cluster { context: Some(context).filter(|context| !context.is_empty()) }),
        kube_version: args.kube_version.clone(),
        api_versions: args.api_versions.clone(),
    };
    let wants_stdin = args.sources.iter().any(|source| source == "-");
    let mut stdin = io::stdin();
    let stdin = wants_stdin.then_some(&mut stdin as &mut dyn Read);
    let collected = collect::collect(&options, stdin, console.progress().as_ref())?;
    let (images, wrong) = used_images(&collected.collection.images);
    let mut problems = collected.collection.problems.clone();
    problems.extend(wrong);
    problems.sort();
    problems.dedup();
    Ok((collected, images, problems))
}

/// Names what was not read. Programs find it in the result.
fn show(collected: &Collected, problems: &[Problem], is_accepted: bool, console: &Console) {
    if collected.ignored_files > 0 {
        let files = count(collected.ignored_files as u64, "file");
        console.detail(&format!("{files} not read, because .gitignore or .krsignore names them"));
    }
    for skipped in &collected.skipped {
        console.detail(&format!("{}: {}", skipped.origin, skipped.reason));
    }
    for problem in problems.iter().take(MAX_PROBLEMS) {
        let help = problem.help.iter().map(|help| format!("\n  help: {help}")).collect::<String>();
        let text = format!("{}: {}{help}", problem.origin, problem.reason);
        // With --quiet nothing else would say why there is no set.
        if is_accepted { console.warning(&text) } else { console.important(&text) }
    }
    if let more @ 1.. = problems.len().saturating_sub(MAX_PROBLEMS) {
        console.important(&format!("{more} more could not be read (--format json lists them)"));
    }
}

fn incomplete(problems: &[Problem], is_accepted: bool) -> Option<Failure> {
    if problems.is_empty() || is_accepted {
        return None;
    }
    let message =
        format!("{} could not be read, so images may be missing", count(problems.len() as u64, "source"));
    Some(Failure::new(ErrorKind::Incomplete, message).help(
        "follow the help of each warning, or pass --allow-incomplete to continue with the other images",
    ))
}

fn nothing(collected: &Collected) -> Failure {
    let (files, resources) =
        (count(collected.files as u64, "file"), count(collected.resources as u64, "resource"));
    let ignored = match collected.ignored_files {
        0 => String::new(),
        number => format!(", {} ignored", count(number as u64, "file")),
    };
    Failure::usage(format!("no image found ({files} and {resources} read{ignored})"))
        .help("name the folders that hold manifests, kustomizations or charts; -v shows what was skipped")
}

fn check(
    args: &CollectArgs,
    images: Vec<UsedImage>,
    problems: &[Problem],
    console: &Console,
) -> Result<CheckReport, Failure> {
    let paths = args.sources.iter().filter(|source| *source != "-").cloned().collect::<Vec<_>>();
    if paths.is_empty() {
        return Err(Failure::usage("--check needs the EdgeImageSets among the sources, as files or folders"));
    }
    let loaded = sets::load(&paths)?;
    sets::remarks(&loaded, console);
    Ok(CheckReport::new(&coverage(images, &loaded.sets), loaded.sets.len(), problems))
}

/// Writes the set, and shows what was done.
fn write(
    args: &CollectArgs,
    target: &Target,
    images: &[UsedImage],
    mut report: CollectReport,
    console: &Console,
) -> Result<(), Failure> {
    let mut by_tag = images.iter().filter(|image| image.reference.digest.is_none()).count();
    match target {
        Target::Report => console.result(&report, || report.text())?,
        Target::New(set) => {
            let text = new_set(set, images)?;
            if let Some(file) = &args.output {
                files::replace(file, text.as_bytes())?;
            } else if !console.json() {
                console.print(&text)?;
                by_tag_warning(by_tag, "FILE", console);
                return Ok(());
            }
            console.result(&report, || report.text())?;
        }
        Target::File(file, bytes, loaded) => {
            let options = UpdateOptions { name: args.name.as_deref(), prune: args.prune };
            let update = collect::update(file.as_str(), bytes, &loaded.sets, images, options)?;
            if update.text != *bytes {
                files::replace(file, &update.text)?;
            }
            by_tag = update.added.iter().filter(|image| image.reference.digest.is_none()).count();
            report.updated(&update, args.prune);
            console.result(&report, || report.text())?;
        }
    }
    by_tag_warning(by_tag, args.output.as_deref().map_or("FILE", Utf8Path::as_str), console);
    Ok(())
}

fn by_tag_warning(number: usize, file: &str, console: &Console) {
    if number > 0 {
        let have = if number == 1 { "image has" } else { "images have" };
        let text = "what a tag points to may change. Add the digests: krs pin";
        console.warning(&format!("{number} {have} no digest: {text} {file}"));
    }
}
