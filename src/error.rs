// SPDX-License-Identifier: Apache-2.0
//! Classes of failure. Every error type of the core says which class it is of, and what to do next.

mod causes;

use std::collections::BTreeSet;
use std::io;

pub use causes::{Cause, by_cause, describe, list, shortened};

/// What class a failure is of. The command line makes its exit code of it, the importer a condition's reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// None of the others.
    Other,
    /// The call, or a set, is wrong.
    Usage,
    /// No valid signature of a trusted key.
    Trust,
    /// Content is not what its digest or manifest says.
    Corrupt,
    /// Older than what was accepted before, or past its end.
    Rollback,
    /// Something is missing: a volume, a part of a file, a base layer, an image.
    Incomplete,
    /// A registry refused the credentials, or needs some.
    Auth,
    /// A registry or the network cannot be reached now; a later try may succeed.
    Unavailable,
    /// No space left.
    NoSpace,
}

/// A failure that knows its class and what helps against it.
pub trait Classify: std::error::Error {
    /// The class.
    fn kind(&self) -> ErrorKind;
    /// What to do next, where that is known: one sentence or two, without a final full stop being required.
    fn help(&self) -> Option<String> {
        None
    }
    /// What failed, by cause, where that can be more than one thing.
    fn causes(&self) -> Vec<Cause> {
        Vec::new()
    }
}

/// The class of several failures together: of the first that a later try would not mend, else of the first.
pub fn kind_of_all<'a, E: Classify + 'a>(errors: impl Iterator<Item = &'a E> + Clone) -> ErrorKind {
    let lasting = errors.clone().map(Classify::kind).find(|kind| *kind != ErrorKind::Unavailable);
    lasting.or_else(|| errors.map(Classify::kind).next()).unwrap_or(ErrorKind::Other)
}

/// What helps against several failures, each advice once.
pub fn help_of_all<'a, E: Classify + 'a>(errors: impl Iterator<Item = &'a E>) -> Option<String> {
    let all = errors.filter_map(Classify::help).collect::<BTreeSet<_>>();
    (!all.is_empty()).then(|| all.into_iter().collect::<Vec<_>>().join("\n"))
}

/// An error with all that caused it, in one line: `what: because: because`.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    let deepest = std::iter::successors(next, |source| source.source()).last().map(ToString::to_string);
    while let Some(source) = next {
        let cause = source.to_string();
        // Some errors already say in their own words what caused them, or what caused that in the end.
        if deepest.as_ref().is_some_and(|deepest| text.contains(deepest)) {
            break;
        }
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        next = source.source();
    }
    text
}

/// The first cause of type `T`, also inside of I/O errors.
pub fn find_cause<'a, T: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        // Its `source` is not what is in it, but the cause of that.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
            None => error.source(),
        };
    }
    None
}

/// Whether a drive fails, or is not there any more, as the system says: pulled out, worn, or a file server that is gone.
pub fn is_drive_failure(error: &io::Error) -> bool {
    #[cfg(unix)]
    let codes = {
        use rustix::io::Errno;
        [Errno::IO, Errno::NODEV, Errno::NXIO, Errno::STALE].map(Errno::raw_os_error)
    };
    // Not ready, a device that does not work, no such device, an input or output error, a volume that was changed, a
    // network name that is gone, a device that is not connected.
    #[cfg(not(unix))]
    let codes = [21, 31, 55, 64, 433, 1006, 1117, 1167];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// What helps where a drive is gone or fails.
pub const DRIVE_FAILED: &str = "the drive was removed or is failing: put it back and run the same command again. If it happens again, use \
     another drive";

/// What helps where a file cannot be written.
pub fn help_against_write(error: &io::Error) -> &'static str {
    match error.kind() {
        _ if is_drive_failure(error) => DRIVE_FAILED,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space or write to another drive, then run the same command again"
        }
        io::ErrorKind::FileTooLarge => {
            "the file system, or a limit of this process (ulimit -f), takes no file of this size: write volumes, for \
             example with --volume-size 3900MiB, or write to another drive"
        }
        io::ErrorKind::InvalidFilename => {
            "the file system takes no such name: choose a shorter one, or one without special characters"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "the drive is mounted read-only, or has become so because it fails: check `dmesg`, or use another drive"
        }
        _ => "check the path and the permissions, and that the drive is mounted and not write-protected",
    }
}

/// The class of an input or output error on a local file.
pub fn io_kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        io::ErrorKind::UnexpectedEof => ErrorKind::Incomplete,
        io::ErrorKind::InvalidData => ErrorKind::Corrupt,
        _ => ErrorKind::Other,
    }
}
