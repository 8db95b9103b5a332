// SPDX-License-Identifier: Apache-2.0
//! Whether a file may be written under a name: krs replaces only what it wrote itself.

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::bundle::{self, StreamName};
use krs_core::error::ErrorKind;

use super::files;
use crate::console::Console;
use crate::diagnostic::Failure;

/// Finds a name that a bundle cannot have before anything is fetched.
///
/// # Errors
/// A folder has the name, there is no folder for it, or [`may_replace`] says no.
pub(super) fn check(
    file: &Utf8Path,
    stream: &StreamName,
    force: bool,
    console: &Console,
) -> Result<(), Failure> {
    if file == "-" {
        return Err(Failure::usage(
            "a bundle cannot be written to standard output: its parts are written in any order",
        )
        .help("name a file: -o NAME.krs.tar (a file called `-` is ./-)"));
    }
    if file.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return Err(Failure::usage(format!(
            "{file} is a device, a pipe or a socket; expected a regular file"
        ))
        .help("name a file: -o NAME.krs.tar"));
    }
    if file.is_dir() {
        return Err(Failure::usage(format!("{file} is a folder"))
            .help(format!("name a file in it: -o {file}/NAME.krs.tar")));
    }
    let folder = file.parent().filter(|folder| !folder.as_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(Failure::usage(format!("cannot write {file}: there is no folder {folder}"))
            .help("make the folder, or check that the drive is mounted"));
    }
    if !file.as_str().ends_with(".krs.tar") {
        console.warning(&format!("{file} does not end in .krs.tar, by which bundles are found"));
    }
    may_replace(file, stream, force)
}

/// A bundle of the same stream may be replaced, and one that is damaged; of another stream with `force`.
fn may_replace(file: &Utf8Path, stream: &StreamName, force: bool) -> Result<(), Failure> {
    let is_used = |path: &Utf8Path| path.symlink_metadata().is_ok_and(|found| found.len() > 0);
    if !is_used(file) && !is_used(&Utf8PathBuf::from(format!("{file}.001"))) {
        return Ok(());
    }
    match files::open_anyones(file, &[]) {
        Ok(there) if there.manifest().stream == *stream || force => Ok(()),
        Ok(there) => {
            let (theirs, sequence) = (&there.manifest().stream, there.manifest().sequence);
            let message = format!(
                "{file} is there already: a bundle of the stream {theirs} (sequence {sequence}), and not of {stream}"
            );
            Err(Failure::usage(message).help("--force replaces it, or write to another file"))
        }
        Err(_) if bundle::begins_as_bundle(file) => Ok(()),
        // It cannot be read: the drive fails, or there is no permission. What it is, nobody can say then.
        Err(unread) if unread.is(ErrorKind::Other) => Err(unread),
        Err(_) => Err(foreign(file, "a bundle")),
    }
}

/// The same for a receipt.
///
/// # Errors
/// Something has the name that is not a receipt.
pub(super) fn check_receipt(file: &Utf8Path) -> Result<(), Failure> {
    let is_used = file.symlink_metadata().is_ok_and(|found| found.len() > 0);
    if is_used && files::read_receipt(file).is_err() { Err(foreign(file, "a receipt")) } else { Ok(()) }
}

/// Something that krs did not write has the name.
pub(super) fn foreign(file: &Utf8Path, expected: &str) -> Failure {
    Failure::usage(format!("{file} is there already, and is not {expected}"))
        .help("krs replaces no other files: remove it, or write to another file")
}
