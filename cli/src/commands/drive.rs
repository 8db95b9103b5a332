// SPDX-License-Identifier: Apache-2.0
//! The bundles of a drive or folder.

use std::cmp::Reverse;

use camino::Utf8Path;
use krs_core::bundle::{Bundle, Form, FoundBundle, FoundBundles, Policy, find_bundles, has_expired};
use krs_core::error::{Classify as _, ErrorKind, chain, shortened};
use krs_core::oci::digest::Digest;
use krs_core::redact::printable;
use serde::Serialize;

use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::{Align, SCHEMA_VERSION, Table, count, indented, sentence, size};

/// What lies in a folder.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    schema_version: u32,
    folder: String,
    bundles: Vec<Entry>,
    /// Files that are no part of a bundle.
    other_files: usize,
    /// Whether all of the folder was searched.
    complete: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    file: String,
    form: &'static str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    facts: Option<Facts>,
    /// Why it cannot be used as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// What to do about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
    /// The class of the problem.
    #[serde(skip)]
    kind: ErrorKind,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Facts {
    digest: Digest,
    stream: String,
    sequence: u64,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<String>,
    /// Whether that is past.
    expired: bool,
    images: usize,
    size: u64,
    signatures: usize,
    trusted: bool,
}

/// Lists the bundles in a folder. Each is opened; none is read to its end.
///
/// # Errors
/// There is none, or none of them can be used: then the first problem gives the class.
pub(super) fn inspect(folder: &Utf8Path, policy: &Policy, console: &Console) -> Result<(), Failure> {
    let found = find_bundles(folder);
    if found.bundles.is_empty() {
        let files = count(found.other_files as u64, "other file");
        let message = format!("{folder} holds no bundle ({files})");
        return Err(Failure::usage(message).help("name the folder with the bundles. Is the drive mounted?"));
    }
    let FoundBundles { bundles, other_files, is_cut } = found;
    let mut bundles = bundles.iter().map(|bundle| entry(bundle, policy)).collect::<Vec<_>>();
    // The newest of each stream first.
    bundles.sort_by_cached_key(|entry| {
        let facts = entry.facts.as_ref().map(|facts| (facts.stream.clone(), Reverse(facts.sequence)));
        (facts.is_none(), facts, entry.file.clone())
    });
    let report = Report {
        schema_version: SCHEMA_VERSION,
        folder: folder.to_string(),
        bundles,
        other_files,
        complete: !is_cut,
    };
    console.result(&report, || text(&report))?;
    match report.bundles.as_slice() {
        [first, ..] if report.bundles.iter().all(|entry| entry.facts.is_none()) => {
            Err(Failure::new(first.kind, format!("{folder} holds no bundle that can be used"))
                .help("the list shows the reason and a remedy for each"))
        }
        _ => Ok(()),
    }
}

/// The error for a command that takes one bundle and was given a folder.
pub(super) fn is_folder(folder: &Utf8Path) -> Failure {
    const MAX_NAMED: usize = 10;
    let found = find_bundles(folder).bundles;
    let usable = found
        .iter()
        .filter(|found| matches!(found.form, Form::Archive | Form::Volumes) && !is_unfinished(&found.path));
    let names = usable.map(|found| printable(found.path.as_str(), 200)).collect::<Vec<_>>();
    let failure = Failure::usage(format!("{folder} is a folder, expected one bundle"));
    let unpacked = found.iter().any(|found| found.form == Form::Unpacked && found.path == folder);
    match names.as_slice() {
        _ if unpacked => failure.help(UNPACKED),
        [] => failure.help("it holds no bundle. Is the drive mounted?"),
        names => failure.help(format!("name one of its bundles: {}", shortened(names, MAX_NAMED, ", "))),
    }
}

const UNPACKED: &str = "somebody unpacked the bundle, and its signature and order cannot be checked any more: take the .krs.tar itself";

fn entry(found: &FoundBundle, policy: &Policy) -> Entry {
    let FoundBundle { path, form } = found;
    let form_name = match form {
        Form::Archive => "archive",
        Form::Volumes => "volumes",
        Form::Unpacked => "unpacked",
        Form::Zip => "zip",
        Form::RenamedVolume => "renamedVolume",
    };
    let entry = |facts, problem: Option<&str>, help: Option<String>, kind| Entry {
        file: path.to_string(),
        form: form_name,
        facts,
        problem: problem.map(str::to_owned),
        help,
        kind,
    };
    let usage = |problem, help: &str| entry(None, Some(problem), Some(help.to_owned()), ErrorKind::Usage);
    match form {
        Form::Unpacked => usage("a bundle that was unpacked", UNPACKED),
        Form::Zip => usage("a ZIP archive of a bundle", "unpack it, and use the .krs.tar inside"),
        Form::RenamedVolume => usage(
            "a volume that was renamed",
            "give each volume its name again: NAME.krs.tar.001, NAME.krs.tar.002",
        ),
        Form::Archive | Form::Volumes if is_unfinished(path) => usage(
            "a copy or a bundle that was not finished",
            "run the command that writes it again, or remove it",
        ),
        Form::Archive | Form::Volumes => match Bundle::open_with(path, &[], policy) {
            Ok(bundle) => entry(Some(facts(&bundle)), None, None, ErrorKind::Other),
            Err(error) => entry(None, Some(&chain(&error)), error.help(), error.kind()),
        },
    }
}

/// Whether a file has no name of its own yet: not all of it was written, or not all of it was right.
fn is_unfinished(path: &Utf8Path) -> bool {
    path.extension() == Some("part")
}

fn facts(bundle: &Bundle) -> Facts {
    let manifest = bundle.manifest();
    Facts {
        digest: bundle.digest(),
        stream: manifest.stream.to_string(),
        sequence: manifest.sequence,
        created_at: manifest.created_at.to_string(),
        not_after: manifest.not_after.map(|end| end.to_string()),
        expired: manifest.not_after.is_some_and(|end| has_expired(end, jiff::Timestamp::now())),
        images: manifest.images.len(),
        size: bundle.size(),
        signatures: bundle.key_ids().len(),
        trusted: !bundle.signers().is_empty(),
    }
}

fn text(report: &Report) -> String {
    let mut table = Table::new(&[
        ("STREAM", Align::Left),
        ("SEQUENCE", Align::Right),
        ("CREATED", Align::Left),
        ("IMAGES", Align::Right),
        ("SIZE", Align::Right),
        ("SIGNED", Align::Left),
        ("FILE", Align::Left),
    ]);
    for (entry, facts) in report.bundles.iter().filter_map(|entry| Some((entry, entry.facts.as_ref()?))) {
        let signed = match (facts.trusted, facts.signatures) {
            (true, _) => "trusted",
            (false, 0) => "no",
            (false, _) => "not checked",
        };
        table.row([
            facts.stream.clone(),
            facts.sequence.to_string(),
            facts.created_at.clone(),
            facts.images.to_string(),
            size(facts.size),
            if facts.expired { format!("{signed}, expired") } else { signed.to_owned() },
            entry.file.clone(),
        ]);
    }
    let mut text = table.render();
    for Entry { file, problem, help, .. } in &report.bundles {
        if let Some(problem) = problem {
            let gap = if text.is_empty() { "" } else { "\n" };
            // Most problems begin with the name of the file.
            let named = if problem.starts_with(file.as_str()) {
                String::new()
            } else {
                format!("{}: ", printable(file, 400))
            };
            text.push_str(gap);
            text.push_str(&sentence(&format!("{named}{}", printable(problem, 600))));
            text.extend(help.iter().map(|help| indented(&format!("help: {help}"))));
        }
    }
    let usable = report.bundles.iter().filter(|entry| entry.facts.is_some()).count();
    let (bundles, others) = (count(usable as u64, "bundle"), count(report.other_files as u64, "other file"));
    let cut = if report.complete { "" } else { "; not all of it was searched" };
    let total = sentence(&format!("{bundles} in {}, {others}{cut}", printable(&report.folder, 400)));
    format!("{text}\n{total}")
}
