// SPDX-License-Identifier: Apache-2.0
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use camino::Utf8PathBuf;
use krs_core::digest::Digest;
use krs_core::reference::{Destination, RepositoryName};
use krs_core::set::{self, CheckedSet, Loaded, SetErrors};

use super::files;
use crate::console::Console;
use crate::diagnostic::Failure;

/// Reads the sets below `paths`.
///
/// # Errors
/// Everything that is wrong with them.
pub(super) fn load(paths: &[Utf8PathBuf]) -> Result<Loaded, SetErrors> {
    let mut stdin = io::stdin();
    let wanted = paths.iter().any(|path| path == "-");
    set::load(paths, wanted.then_some(&mut stdin as &mut dyn Read))
}

/// Says what works and should be better, and what was not read.
pub(super) fn remarks(loaded: &Loaded, console: &Console) {
    let place = |file: &str, line: u64| {
        let file = krs_core::redact::printable(file, 300);
        if line == 0 { file } else { format!("{file}:{line}") }
    };
    // What was skipped and matters is among the warnings.
    let warned = |file: &str| loaded.warnings.iter().any(|warning| warning.line == 0 && warning.file == file);
    for passed in loaded.passed_over.iter().filter(|passed| !warned(&passed.file)) {
        console.detail(&format!(
            "{} was passed over: it {}",
            place(&passed.file, passed.line),
            passed.reason
        ));
    }
    for warning in &loaded.warnings {
        console.warning(&format!("{}: {}", place(&warning.file, warning.line), warning.message));
    }
}

/// Repositories that sets give their images, without any prefix, with the digests that they name.
pub(super) fn names<'a>(
    sets: impl IntoIterator<Item = &'a CheckedSet>,
) -> BTreeMap<RepositoryName, BTreeSet<Digest>> {
    let mut found = BTreeMap::<RepositoryName, BTreeSet<Digest>>::new();
    for wanted in sets.into_iter().flat_map(|set| &set.images) {
        found.entry(wanted.repository.clone()).or_default().extend(wanted.reference.digest);
    }
    found
}

/// The same for the sets of checkouts and bundles.
///
/// # Errors
/// Sets or bundles that cannot be read.
pub(super) fn repositories(
    paths: &[Utf8PathBuf],
    console: &Console,
) -> Result<BTreeMap<RepositoryName, BTreeSet<Digest>>, Failure> {
    let (bundles, checkouts): (Vec<_>, Vec<_>) =
        paths.iter().cloned().partition(|path| files::is_bundle(path));
    let mut found = BTreeMap::new();
    for bundle in bundles {
        found.extend(names(files::open_anyones(&bundle, &[])?.sets()));
    }
    if !checkouts.is_empty() {
        let loaded = load(&checkouts)?;
        remarks(&loaded, console);
        found.extend(names(loaded.sets.iter().map(|loaded| &loaded.set)));
    }
    Ok(found)
}

/// The repositories as they are called at a destination.
///
/// # Errors
/// A name that the prefix makes too long.
pub(super) fn below(
    destination: &Destination,
    names: &BTreeMap<RepositoryName, BTreeSet<Digest>>,
) -> Result<BTreeMap<RepositoryName, BTreeSet<Digest>>, Failure> {
    let below = names.iter().map(|(name, digests)| Ok((destination.repository(name)?, digests.clone())));
    below
        .collect::<Result<_, krs_core::reference::ParseReferenceError>>()
        .map_err(|e| Failure::usage(e.to_string()).help("use a shorter prefix"))
}
