// SPDX-License-Identifier: Apache-2.0
use std::collections::{BTreeMap, HashMap};
use std::io;

use camino::Utf8PathBuf;
use krs_core::files::{read_file, read_to_end};
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::Reference;
use krs_core::set::{self, CallPaths, LoadedSet, LoadedSets, MAX_FILE, SetError, SetErrors, Warning};
use krs_core::sync::pin::{PinOptions, PinPlan, PinTarget, PinnedFile, edit_file, plan_file, tag_queries};
use krs_core::sync::resolve::{ImageErrors, look_up_tags};

use super::runtime::runtime;
use super::{files, registries, sets, signals};
use crate::args::PinArgs;
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::exit;
use crate::report::PinReport;

/// A file with sets.
struct SetFile {
    /// What messages call it.
    shown: String,
    /// Absent for standard input.
    path: Option<Utf8PathBuf>,
    bytes: Vec<u8>,
    plan: PinPlan,
}

/// `krs pin`
pub(super) fn pin(args: &PinArgs, console: &Console) -> Result<(), Failure> {
    let stdin = stdin(args, console)?;
    let names = CallPaths::of(&args.paths);
    let mut loaded = load(&args.paths, &names, stdin.as_deref())?;
    let options = PinOptions { refresh: args.refresh, patterns: args.tag_pattern.clone() };
    let (set_files, mut refused) = open(&loaded, &names, stdin, &options)?;
    warn_of_paths(args, &mut loaded, &names);
    warn_of_patterns(args, &mut loaded);
    let targets = set_files.iter().flat_map(|file| &file.plan.targets).collect::<Vec<_>>();
    drop_warnings(&mut loaded, &set_files);
    let (digests, errors) = look_up(args, &targets, &set_files, &mut loaded, console)?;
    sets::remarks(&loaded, console);
    let mut report = PinReport::new(&loaded.warnings, &loaded.skipped);
    let mut failures = Vec::new();
    for SetFile { shown, path, bytes, plan } in &set_files {
        report.add_kept(plan.pinned, plan.digest_only);
        let pinned = match edit_file(shown, bytes, &plan.targets, |tagged| digests.get(tagged).copied()) {
            Ok(pinned) => pinned,
            Err(errors) => {
                refused.extend(errors.0);
                continue;
            }
        };
        let PinnedFile { bytes: new, changes, unchanged } = pinned;
        let written = match path {
            _ if args.check => Ok(()),
            None => print(&new, console),
            Some(_) if changes.is_empty() => Ok(()),
            Some(path) => files::replace_unchanged(path, shown, bytes, &new),
        };
        match written {
            Ok(()) => report.add_file(shown, &changes, unchanged),
            Err(failure) => failures.push(failure),
        }
    }
    let failed = targets.iter().filter(|target| !digests.contains_key(&target.tagged)).count();
    let refused = SetErrors(refused);
    report.add_failures(failed, &refused);
    report.set_written(!args.check);
    if args.check || set_files.iter().all(|file| file.path.is_some()) {
        console.result(&report, || report.text())?;
    } else {
        console.detail(report.text().trim_end());
    }
    failures.extend((!errors.0.is_empty()).then(|| Failure::from(errors)));
    failures.extend((!refused.0.is_empty()).then(|| Failure::from(refused)));
    let mut failures = failures.into_iter();
    match failures.next() {
        Some(first) => {
            failures.for_each(|failure| console.failure(&failure));
            Err(first)
        }
        None if args.check && report.has_changes() => Err(Failure::silent(exit::DIFFERENT)),
        None => Ok(()),
    }
}

/// Standard input, where it is what is pinned.
fn stdin(args: &PinArgs, console: &Console) -> Result<Option<Vec<u8>>, Failure> {
    if !args.paths.iter().any(|path| path == "-") {
        return Ok(None);
    }
    if args.paths.len() > 1 {
        return Err(Failure::usage("`-` stands beside other paths").help("pin standard input alone"));
    }
    if console.json() && !args.check {
        return Err(Failure::usage("standard output is for the YAML, and cannot have the report, too")
            .help("leave --format json out, or add --check"));
    }
    let read = read_to_end(io::stdin().lock(), MAX_FILE);
    read.map(Some).map_err(|error| Failure::usage(format!("cannot read standard input: {error}")))
}

fn load(paths: &[Utf8PathBuf], names: &CallPaths, stdin: Option<&[u8]>) -> Result<LoadedSets, SetErrors> {
    let Some(mut stdin) = stdin else { return sets::load(paths) };
    let mut loaded = set::load(paths, Some(&mut stdin));
    match &mut loaded {
        Ok(loaded) => loaded.show_paths(names),
        Err(errors) => errors.show_paths(names),
    }
    loaded
}

/// Opens each file that has sets, with what is to be looked up of it and what cannot be edited.
fn open(
    loaded: &LoadedSets,
    names: &CallPaths,
    mut stdin: Option<Vec<u8>>,
    options: &PinOptions,
) -> Result<(Vec<SetFile>, Vec<SetError>), Failure> {
    let mut by_file = BTreeMap::<&str, Vec<&LoadedSet>>::new();
    for set in &loaded.sets {
        by_file.entry(&set.file).or_default().push(set);
    }
    let (mut opened, mut refused) = (Vec::new(), Vec::new());
    for (file, sets) in by_file {
        let shown = sets.first().map_or(file, |set| set.shown.as_str()).to_owned();
        let (path, bytes) = match stdin.take() {
            Some(bytes) => (None, bytes),
            None => {
                let path = names.file(file).and_then(|path| Utf8PathBuf::from_path_buf(path).ok());
                let path = path.unwrap_or_else(|| Utf8PathBuf::from(&shown));
                let read = read_file(&path, MAX_FILE);
                let bytes = read.map_err(|error| Failure::other(format!("cannot read {shown}: {error}")))?;
                (Some(path), bytes)
            }
        };
        let mut plan = plan_file(&shown, &bytes, &sets, options).map_err(SetErrors::from)?;
        refused.append(&mut plan.refused);
        opened.push(SetFile { shown, path, bytes, plan });
    }
    Ok((opened, refused))
}

/// Looks up each tag once. Puts what is to be known of the images among the warnings.
fn look_up(
    args: &PinArgs,
    targets: &[&PinTarget],
    set_files: &[SetFile],
    loaded: &mut LoadedSets,
    console: &Console,
) -> Result<(HashMap<Reference, Digest>, ImageErrors), Failure> {
    let queries = tag_queries(targets.iter().copied());
    if queries.is_empty() {
        return Ok((HashMap::new(), ImageErrors(Vec::new())));
    }
    let progress = console.progress();
    let client = registries::client(&args.registry, &progress)?;
    let jobs = args.registry.jobs.get();
    let runtime = runtime()?;
    let answers = runtime.block_on(async {
        tokio::select! {
            answers = look_up_tags(&client, &queries, args.require_platforms, jobs, &progress) => Ok(answers),
            signal = signals::interrupted() => Err(signal),
        }
    });
    let answers = match answers {
        Ok(answers) => answers,
        Err(signal) => {
            runtime.shutdown_background();
            return Err(Failure::interrupted(signal).help("no file was changed"));
        }
    };
    let (mut digests, mut errors) = (HashMap::new(), Vec::new());
    for (query, answer) in queries.into_iter().zip(answers) {
        match answer {
            Ok(answer) => {
                let place = place_of(&query.reference, set_files);
                for remark in answer.remarks {
                    let message = format!("{} {remark}", query.reference);
                    loaded.warnings.push(Warning::new(place.0, place.1, &message));
                }
                digests.insert(query.reference, answer.digest);
            }
            Err(error) => errors.push((query.reference, error)),
        }
    }
    Ok((digests, ImageErrors(errors)))
}

/// File and line of the first reference to a tag.
fn place_of<'a>(tagged: &Reference, set_files: &'a [SetFile]) -> (&'a str, u64) {
    let of_file = |file: &'a SetFile| {
        let target = file.plan.targets.iter().find(|target| target.tagged == *tagged)?;
        Some((file.shown.as_str(), target.line))
    };
    set_files.iter().find_map(of_file).unwrap_or(("-", 0))
}

/// That a reference has no digest, or that its file differs from the commit, is no news where it gets a digest.
fn drop_warnings(loaded: &mut LoadedSets, set_files: &[SetFile]) {
    let is_pinned = |warning: &Warning| {
        let mut files = set_files.iter().filter(|file| file.shown == warning.file);
        files.any(|file| file.plan.targets.iter().any(|target| target.line == warning.line))
    };
    let is_of_commit = |warning: &Warning| {
        ["is not in the commit", "is not as in the commit"].contains(&warning.message.as_str())
            && set_files.iter().any(|file| file.shown == warning.file)
    };
    loaded.warnings.retain(|warning| !is_of_commit(warning));
    loaded.warnings.retain(|warning| warning.line == 0 || !is_pinned(warning));
}

/// Says which path has no set, where others have some.
fn warn_of_paths(args: &PinArgs, loaded: &mut LoadedSets, names: &CallPaths) {
    let read = loaded.sets.iter().filter_map(|set| names.file(&set.file));
    // A set may be read by a link.
    let read =
        read.map(|file| file.canonicalize().unwrap_or_else(|_| file.to_path_buf())).collect::<Vec<_>>();
    for path in args.paths.iter().filter(|path| *path != "-") {
        let real = path.canonicalize().unwrap_or_else(|_| path.clone().into());
        if !read.iter().any(|file| file.starts_with(&real)) {
            loaded.warnings.push(Warning::new(path.as_str(), 0, "has no EdgeImageSet"));
        }
    }
}

/// Says which pattern matches no reference.
fn warn_of_patterns(args: &PinArgs, loaded: &mut LoadedSets) {
    for pattern in &args.tag_pattern {
        let mut images = loaded.sets.iter().flat_map(|loaded| &loaded.set.images);
        if !images.any(|image| pattern.matches(&image.reference)) {
            let message = format!("--tag-pattern {pattern} matches no reference");
            let all = args.paths.iter().map(|path| path.as_str()).collect::<Vec<_>>().join(", ");
            loaded.warnings.push(Warning::new(&all, 0, &message));
        }
    }
}

fn print(bytes: &[u8], console: &Console) -> Result<(), Failure> {
    // It was read as UTF-8.
    console.print(&String::from_utf8_lossy(bytes))
}
