// SPDX-License-Identifier: Apache-2.0
//! Classes of failure. Every error type of the core has a class, and tells what to do next.

mod causes;

use std::collections::BTreeSet;
use std::io;

pub use causes::{Cause, by_cause, describe, list, shortened};

/// The class of a failure. The command line derives its exit code from it, the importer the reason of a condition.
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
    /// Older than what was accepted before, or expired.
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

/// An error with a class and advice.
pub trait Classify: std::error::Error {
    /// The class of the error, which decides the exit code.
    fn kind(&self) -> ErrorKind;
    /// What to do next, if that is known: one sentence or two, without a final full stop being required.
    fn help(&self) -> Option<String> {
        None
    }
    /// What failed, by cause, if that can be more than one thing.
    fn causes(&self) -> Vec<Cause> {
        Vec::new()
    }
}

/// The class of several failures: that of the first one that a retry would not repair, or else of the first one.
pub fn kind_of_all<'a, E: Classify + 'a>(errors: impl Iterator<Item = &'a E> + Clone) -> ErrorKind {
    let lasting = errors.clone().map(Classify::kind).find(|kind| *kind != ErrorKind::Unavailable);
    lasting.or_else(|| errors.map(Classify::kind).next()).unwrap_or(ErrorKind::Other)
}

/// What helps against several failures, each advice once.
pub fn help_of_all<'a, E: Classify + 'a>(errors: impl Iterator<Item = &'a E>) -> Option<String> {
    let all = errors.filter_map(Classify::help).collect::<BTreeSet<_>>();
    (!all.is_empty()).then(|| all.into_iter().collect::<Vec<_>>().join("\n"))
}

/// An error with its causes, in one line: `what: because: because`.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    let deepest = std::iter::successors(next, |source| source.source()).last().map(ToString::to_string);
    while let Some(source) = next {
        let cause = source.to_string();
        // Some errors already contain the text of their cause, or of their root cause.
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
        // `source` of an I/O error is the cause of the inner error, not the inner error.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
            None => error.source(),
        };
    }
    None
}

/// Whether the system's error means that a drive fails or was removed, or that a file server is not reachable.
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

/// Help for a drive that was removed or fails.
pub const DRIVE_FAILED: &str = "the drive was removed or is failing: put it back and run the same command again. If it happens again, use \
     another drive";

/// Help for a file that cannot be written.
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
