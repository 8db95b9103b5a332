// SPDX-License-Identifier: Apache-2.0
use std::collections::BTreeMap;
use std::io::{self, Read};

use camino::Utf8PathBuf;
use krs_core::oci::reference::{Destination, RepositoryName};
use krs_core::set::{self, CallPaths, CheckedSet, LoadedSets, SetErrors};
use krs_core::sync::scan::ScanTargets;

use super::files;
use crate::console::Console;
use crate::diagnostic::Failure;

/// Reads the sets below `paths`.
///
/// # Errors
/// Everything that is wrong with them.
pub(super) fn load(paths: &[Utf8PathBuf]) -> Result<LoadedSets, SetErrors> {
    let mut stdin = io::stdin();
    let wanted = paths.iter().any(|path| path == "-");
    let names = CallPaths::of(paths);
    let mut loaded = set::load(paths, wanted.then_some(&mut stdin as &mut dyn Read));
    match &mut loaded {
        Ok(loaded) => loaded.show_paths(&names),
        Err(errors) => errors.show_paths(&names),
    }
    loaded
}

/// Says what works and should be better, and what was not read.
pub(super) fn remarks(loaded: &LoadedSets, console: &Console) {
    // What was skipped and matters is among the warnings.
    let warned = |file: &str| loaded.warnings.iter().any(|warning| warning.line == 0 && warning.file == file);
    for skipped in loaded.skipped.iter().filter(|skipped| !warned(&skipped.file)) {
        console.detail(&format!(
            "{} was skipped: it {}",
            position(&skipped.file, skipped.line),
            skipped.reason
        ));
    }
    warnings(loaded, console);
}

fn position(file: &str, line: u64) -> String {
    let file = krs_core::redact::printable(file, 300);
    if line == 0 { file } else { format!("{file}:{line}") }
}

/// Says what works and should be better.
pub(super) fn warnings(loaded: &LoadedSets, console: &Console) {
    for warning in &loaded.warnings {
        console.warning(&format!("{}: {}", position(&warning.file, warning.line), warning.message));
    }
}

/// Repositories that sets give their images, without any prefix, with what they name of them.
pub(super) type Names = BTreeMap<RepositoryName, ScanTargets>;

/// Adds what `sets` name.
pub(super) fn add_names<'a>(names: &mut Names, sets: impl IntoIterator<Item = &'a CheckedSet>) {
    for image in sets.into_iter().flat_map(|set| &set.images) {
        let wanted = names.entry(image.repository.clone()).or_default();
        wanted.digests.extend(image.reference.digest);
        wanted.tags.insert(image.tag.clone());
    }
}

/// What the sets of checkouts and bundles name.
///
/// # Errors
/// Sets or bundles that cannot be read.
pub(super) fn repositories(paths: &[Utf8PathBuf], console: &Console) -> Result<Names, Failure> {
    let (bundles, checkouts): (Vec<_>, Vec<_>) =
        paths.iter().cloned().partition(|path| files::is_bundle(path));
    let mut found = Names::new();
    for bundle in bundles {
        add_names(&mut found, files::open_anyones(&bundle, &[])?.sets());
    }
    if !checkouts.is_empty() {
        let loaded = load(&checkouts)?;
        remarks(&loaded, console);
        add_names(&mut found, loaded.sets.iter().map(|loaded| &loaded.set));
    }
    Ok(found)
}

/// The repositories as they are called at a destination.
///
/// # Errors
/// A name that the prefix makes too long.
pub(super) fn below(destination: &Destination, names: &Names) -> Result<Names, Failure> {
    let below = names.iter().map(|(name, wanted)| Ok((destination.repository(name)?, wanted.clone())));
    below
        .collect::<Result<_, krs_core::oci::reference::ParseReferenceError>>()
        .map_err(|e| Failure::usage(e.to_string()).help("use a shorter prefix"))
}
