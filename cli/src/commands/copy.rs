// SPDX-License-Identifier: Apache-2.0
use std::collections::HashSet;
use std::time::Duration;

use camino::{Utf8DirEntry, Utf8Path, Utf8PathBuf};
use krs_core::bundle::{self, Bundle, CopyOptions, CopyReport, Policy, ReadFrom, space};
use krs_core::error::{ErrorKind, shortened};
use krs_core::oci::digest::Digest;
use krs_core::progress::Progress;
use serde::Serialize;

use super::output;
use super::policy::{self, warn_of_memory};
use super::runtime::cores;
use crate::args::CopyArgs;
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::{SCHEMA_VERSION, duration, facts, rate, seconds, sentence, size};

/// Most files of an unfinished copy that a message names.
const MAX_LEFT: usize = 5;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    schema_version: u32,
    bundles: Vec<OneReport>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OneReport {
    source: Utf8PathBuf,
    /// What is on the drive: the archive, or its volumes.
    files: Vec<Utf8PathBuf>,
    digest: Digest,
    stream: String,
    sequence: u64,
    bytes: u64,
    /// Bytes that an interrupted run had written.
    bytes_resumed: u64,
    /// Whether it was there before.
    was_there: bool,
    /// Whether the list of its volumes is signed, so that each of them can be trusted by itself.
    list_signed: bool,
    /// Whether it was read back from the drive; else it may have been read from memory.
    read_from_media: bool,
    writing_seconds: f64,
    reading_seconds: f64,
    #[serde(skip)]
    trusted: bool,
}

/// `krs copy`
pub(super) fn copy(args: &CopyArgs, console: &Console) -> Result<(), Failure> {
    let folder = &args.folder;
    if !folder.is_dir() {
        return Err(Failure::usage(format!("there is no folder {folder}"))
            .help("the last argument is the folder on the drive; is the drive mounted?"));
    }
    let progress = console.progress();
    let mut report = Report { schema_version: SCHEMA_VERSION, bundles: Vec::new() };
    let mut named = HashSet::new();
    // A pattern of a shell names a bundle by each of its volumes.
    for file in args.bundles.iter().filter(|file| named.insert(canonical(&bundle::archive_of(file)))) {
        let bundle = policy::open(file, &args.volumes, &args.policy, console)?;
        let one = copy_one(&bundle, args, console, progress.as_ref());
        report.bundles.push(one.map_err(|failure| of_several(failure, file, args, &report))?);
    }
    console.result(&report, || text(&report, folder))
}

/// Says of which bundle a failure is, where there are several, and what was done before.
fn of_several(failure: Failure, file: &Utf8Path, args: &CopyArgs, report: &Report) -> Failure {
    let done = report.bundles.iter().map(|one| one.source.as_str()).collect::<Vec<_>>();
    match (args.bundles.len(), done.as_slice()) {
        (1, _) => failure,
        (_, []) => failure.at(file),
        (_, done) => failure.at(file).more(&format!("copied and read back before: {}", done.join(", "))),
    }
}

fn copy_one(
    bundle: &Bundle,
    args: &CopyArgs,
    console: &Console,
    progress: &dyn Progress,
) -> Result<OneReport, Failure> {
    let target = args.folder.join(bundle.path().file_name().unwrap_or_default());
    if canonical(bundle.path()) == canonical(&target) {
        return Err(
            Failure::usage(format!("{target} is the bundle itself")).help("name a folder on the drive")
        );
    }
    let threads = cores();
    let report = |copied: CopyReport, was_there: bool| {
        warn_of_memory(&target, &copied.read_from, console);
        let is_one_file = copied.files.contains(&target);
        if !is_one_file && !copied.list_signed && !bundle.key_ids().is_empty() {
            console.warning(&format!(
                "the list of volumes of {target} is not signed: with --public-key they can be checked only all together. To sign \
                 it: krs sign {target} --key KEY"
            ));
        }
        OneReport {
            source: bundle.path().to_owned(),
            files: copied.files,
            digest: bundle.digest(),
            stream: bundle.manifest().stream.to_string(),
            sequence: bundle.manifest().sequence,
            bytes: copied.size,
            bytes_resumed: copied.resumed,
            was_there,
            list_signed: copied.list_signed,
            read_from_media: copied.read_from == ReadFrom::Media,
            writing_seconds: seconds(copied.writing),
            reading_seconds: seconds(copied.reading),
            trusted: !bundle.signers().is_empty(),
        }
    };
    if let Some(there) = already_there(bundle, &target, args, threads, progress)? {
        return Ok(report(there, true));
    }
    has_room(bundle, &target)?;
    let options = CopyOptions { volume_size: args.volume_size, threads };
    let copied = bundle.copy_to(&target, options, progress);
    copied.map(|copied| report(copied, false)).map_err(|error| {
        let failure = Failure::from(error);
        let left = unfinished(&target).map(|entry| entry.path().to_string()).collect::<Vec<_>>();
        if left.is_empty() {
            return failure;
        }
        failure.more(&format!(
            "the copy is not finished; a later copy of this bundle resumes it. Its files are {}: remove them if there will be none",
            shortened(&left, MAX_LEFT, ", ")
        ))
    })
}

/// The folder of a file without links and dots in its path, and its name: a bundle in volumes has no file of its own name.
fn canonical(path: &Utf8Path) -> (Option<Utf8PathBuf>, Option<String>) {
    let folder = path.parent().filter(|folder| !folder.as_str().is_empty());
    let folder = folder.unwrap_or(Utf8Path::new(".")).canonicalize_utf8().ok();
    (folder, path.file_name().map(str::to_owned))
}

/// What an interrupted copy to `target` has left beside it.
fn unfinished(target: &Utf8Path) -> impl Iterator<Item = Utf8DirEntry> {
    let folder = target.parent().filter(|folder| !folder.as_str().is_empty()).unwrap_or(Utf8Path::new("."));
    let entries = folder.read_dir_utf8().into_iter().flatten().flatten();
    entries.filter(|entry| {
        let rest = target.file_name().and_then(|name| entry.file_name().strip_prefix(name));
        rest.is_some_and(|rest| rest.ends_with(".part") || rest == ".journal")
    })
}

/// Decides what becomes of a file that has the name on the drive: the same bundle is read back, a damaged copy of it is
/// replaced.
///
/// # Errors
/// Something else has the name, and `--force` does not say to replace it; or it is not a bundle at all.
fn already_there(
    bundle: &Bundle,
    target: &Utf8Path,
    args: &CopyArgs,
    threads: usize,
    progress: &dyn Progress,
) -> Result<Option<CopyReport>, Failure> {
    let is_there = |path: &Utf8Path| path.symlink_metadata().is_ok();
    let first_volume = Utf8PathBuf::from(format!("{target}.001"));
    if !is_there(target) && !is_there(&first_volume) {
        return Ok(None);
    }
    let began = std::time::Instant::now();
    let replace = |what: &str| match args.force {
        true => Ok(None),
        false => Err(Failure::usage(format!("{target} is there already: {what}"))
            .help("--force replaces it, or choose another folder")),
    };
    match Bundle::open_from_media(target, &[], &Policy::default()) {
        Ok((there, read_from)) if bundle.is_same_as(&there) => {
            if there.verify(threads, progress).is_err() {
                return Ok(None);
            }
            let files = match there.volumes() {
                None => vec![target.to_owned()],
                Some(list) => list.volumes.iter().map(|volume| args.folder.join(&volume.name)).collect(),
            };
            let (size, reading) = (there.size(), began.elapsed());
            let list_signed = there.volumes().is_some() && bundle.copy_list_signature(target)?;
            let writing = Duration::ZERO;
            Ok(Some(CopyReport { files, size, resumed: 0, list_signed, read_from, writing, reading }))
        }
        Ok((there, _)) if there.digest() == bundle.digest() => {
            replace("the same bundle with other signatures")
        }
        Ok((there, _)) => {
            let manifest = there.manifest();
            replace(&format!("another bundle (stream {}, sequence {})", manifest.stream, manifest.sequence))
        }
        // A copy that was cut off, or is damaged.
        Err(error) if bundle::begins_as_bundle(target) => replace(&error.to_string()),
        Err(_) => Err(output::foreign(target, "a bundle")),
    }
}

/// Whether the bundle fits on the drive, as far as the system says. What an interrupted run has left there counts as free.
fn has_room(bundle: &Bundle, target: &Utf8Path) -> Result<(), Failure> {
    let folder = target.parent().unwrap_or(Utf8Path::new("."));
    let Some(space) = space(folder) else { return Ok(()) };
    let replaced = unfinished(target).filter_map(|entry| Some(entry.metadata().ok()?.len())).sum::<u64>();
    if space.free.saturating_add(replaced) >= bundle.size() {
        return Ok(());
    }
    let (needs, free) = (size(bundle.size()), size(space.free));
    Err(Failure::new(ErrorKind::NoSpace, format!("{folder} has {free} free, and the bundle needs {needs}"))
        .help("remove what is not needed there, or use another drive"))
}

fn text(report: &Report, folder: &Utf8Path) -> String {
    let mut text = String::new();
    for one in &report.bundles {
        let first = one.files.first().map(ToString::to_string).unwrap_or_default();
        let written = Duration::from_secs_f64(one.writing_seconds);
        let read = Duration::from_secs_f64(one.reading_seconds);
        let from = if one.read_from_media { "from the drive" } else { "perhaps from memory" };
        let mut lines = vec![
            ("Bundle", one.source.to_string()),
            ("Stream", format!("{}, sequence {}", one.stream, one.sequence)),
            ("Digest", one.digest.to_string()),
        ];
        lines.push(match one.files.len() {
            0 | 1 => ("Copy", first),
            n => (
                "Copy",
                format!("{n} volumes: {first} to {}", one.files.last().map_or("", |last| last.as_str())),
            ),
        });
        if one.was_there {
            lines.push(("Written", "it was there already".to_owned()));
        } else {
            let resumed = match one.bytes_resumed {
                0 => String::new(),
                bytes => format!(", {} of it by an interrupted run", size(bytes)),
            };
            let (bytes, speed) =
                (size(one.bytes), rate(one.bytes - one.bytes_resumed.min(one.bytes), written));
            lines.push(("Written", format!("{bytes} in {} ({speed}){resumed}", duration(written))));
        }
        let speed = rate(one.bytes, read);
        lines.push(("Read back", format!("{} in {} ({speed}), {from}", size(one.bytes), duration(read))));
        text.push_str(&facts(&lines));
        text.push('\n');
    }
    let signed = match report.bundles.iter().all(|one| one.trusted) {
        true => " and signed by a key that you trust",
        false => "",
    };
    let verdict = match (report.bundles.iter().all(|one| one.read_from_media), report.bundles.len()) {
        (false, _) => format!(
            "Not finished: unmount {folder}, remove the drive, insert it again, and run `krs verify` on it.\n"
        ),
        (true, 1) => {
            format!("The copy is undamaged{signed}. Unmount {folder}, then you may remove the drive.\n")
        }
        (true, _) => {
            format!("All copies are undamaged{signed}. Unmount {folder}, then you may remove the drive.\n")
        }
    };
    text.push_str(&sentence(&verdict));
    text
}
