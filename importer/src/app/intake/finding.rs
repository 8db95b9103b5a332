// SPDX-License-Identifier: Apache-2.0
//! What a scan of the drop folder finds, and what it does about each file. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::Utf8PathBuf;

use super::accepted::AcceptedBundle;
use super::folder::Stamp;
use super::rejection::Failure;
use super::watchdog::Hangs;

/// A file that was written to so lately is still being copied.
pub(super) const FRESH: Duration = Duration::from_secs(60);

/// What one scan of the drop folder found.
pub(super) struct Scan {
    pub files: Vec<File>,
    pub keys: Vec<String>,
    /// Folders that do not answer, as below the drop folder, and since when.
    pub hanging: BTreeMap<Utf8PathBuf, Hangs>,
    /// Media that answer, and whose files cannot be read, as [`super::folder::Found::media`], and since when.
    pub unread: BTreeMap<Utf8PathBuf, Hangs>,
    /// Folders and files that cannot be read, as below the drop folder, and why.
    pub unreadable: BTreeMap<Utf8PathBuf, String>,
    /// What was left out because there is too much.
    pub left_out: Vec<String>,
}

/// A file that a scan found.
pub(super) struct File {
    pub path: Utf8PathBuf,
    pub stamp: Stamp,
    /// As [`super::folder::Found::media`].
    pub media: Utf8PathBuf,
    pub finding: Finding,
}

/// What was done about a file.
pub(super) enum Finding {
    /// As before.
    Unchanged,
    /// It changed since the last scan.
    Changing,
    /// Its media do not answer.
    Hangs(Hangs),
    /// It was opened.
    Opened(Result<Box<AcceptedBundle>, Failure>),
}

/// What a scan has to know of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub stamp: Option<Stamp>,
    /// Whether it is opened again though it did not change.
    pub again: bool,
}

/// What to do about a file that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Keep,
    Wait,
    Open,
}

/// A file that did not change is not opened again; one that changes is left alone until it does not.
pub(super) fn step(known: Option<Known>, found: &Stamp) -> Step {
    match known {
        Some(Known { stamp: Some(stamp), again }) if stamp == *found => {
            if again {
                Step::Open
            } else {
                Step::Keep
            }
        }
        Some(Known { stamp: Some(stamp), .. }) if stamp.inode == found.inode => Step::Wait,
        _ => Step::Open,
    }
}
