// SPDX-License-Identifier: Apache-2.0
//! The progress of an archive that is being written: `NAME.krs.tar.journal`. It is a hint: the run that resumes hashes what
//! it claims, so that neither a loss of power nor a changed file results in a wrong archive.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek as _, Write as _};

use camino::Utf8Path;
use parking_lot::Mutex;

use crate::bundle::disk::file;
use crate::files;
use crate::oci::digest::Digest;

/// First word of a journal, with its version.
const MAGIC: &str = "krs-journal-1";
/// Largest journal that is read, in bytes.
const MAX_JOURNAL: u64 = 256 << 20;

/// The content of a journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::bundle) struct JournalState {
    /// Bytes of each volume; `None`: the archive is one file.
    pub volume_size: Option<u64>,
    /// Bytes of each blob that were written, from its beginning.
    pub blobs: HashMap<Digest, u64>,
}

impl JournalState {
    /// Parses a journal. A truncated last line is ignored.
    pub(in crate::bundle) fn parse(text: &str) -> Option<Self> {
        let (head, rest) = text.split_once('\n')?;
        let volume_size = head.strip_prefix(MAGIC)?.trim().parse::<u64>().ok()?;
        let mut state = Self { volume_size: (volume_size > 0).then_some(volume_size), blobs: HashMap::new() };
        for line in rest.split_inclusive('\n') {
            let line = line.strip_suffix('\n').and_then(|line| line.split_once(' '));
            let Some((digest, bytes)) = line else { break };
            let (Ok(digest), Ok(bytes)) = (digest.parse(), bytes.parse()) else { break };
            state.blobs.insert(digest, bytes);
        }
        state.blobs.retain(|_, bytes| *bytes > 0);
        Some(state)
    }

    fn text(&self) -> String {
        let mut text = format!("{MAGIC} {}\n", self.volume_size.unwrap_or(0));
        let mut blobs = self.blobs.iter().collect::<Vec<_>>();
        blobs.sort_unstable();
        for (digest, bytes) in blobs {
            text.push_str(&line(digest, *bytes));
        }
        text
    }

    pub(in crate::bundle) fn bytes(&self) -> u64 {
        self.blobs.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }
}

fn line(digest: &Digest, bytes: u64) -> String {
    format!("{digest} {bytes}\n")
}

/// A journal that this run has locked. The lock tells other runs that this archive is being written.
#[derive(Debug)]
pub(in crate::bundle) struct Journal {
    file: Mutex<File>,
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process that is being started shares the lock until it runs its program.
        let _ = self.file.get_mut().unlock();
    }
}

impl Journal {
    /// Opens and locks the journal at `path`; `None` if another run has locked it.
    pub(in crate::bundle) fn take(path: &Utf8Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            // A file system without locks is accepted: other runs cannot be detected there.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        // The other run may just have ended and removed the file.
        Ok(file::is_named(&file, path)?.then(|| Self { file: Mutex::new(file) }))
    }

    /// Whether it records nothing that a next run could use.
    pub(in crate::bundle) fn is_empty(&self) -> bool {
        self.read().is_none_or(|state| state.blobs.is_empty())
    }

    /// Removes its file, which is at `path` unless that was removed already and is another run's by now.
    pub(in crate::bundle) fn remove(&self, path: &Utf8Path) {
        if file::is_named(&self.file.lock(), path).unwrap_or(false) {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Its content; `None` if it cannot be read.
    pub(in crate::bundle) fn read(&self) -> Option<JournalState> {
        let mut file = self.file.lock();
        file.rewind().ok()?;
        let text = files::read_to_string(&mut *file, MAX_JOURNAL).ok()?;
        JournalState::parse(&text)
    }

    /// Replaces its content.
    pub(in crate::bundle) fn begin(&self, state: &JournalState) -> io::Result<()> {
        let mut file = self.file.lock();
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(state.text().as_bytes())
    }

    /// Invalidates it, whatever is recorded later. Data that did not reach the disk may still be read from memory, and the
    /// next run would take it for verified.
    pub(in crate::bundle) fn forget(&self) {
        let file = self.file.lock();
        if let Err(error) = file.set_len(0) {
            tracing::debug!(%error, "the journal cannot be emptied");
        }
    }

    /// Syncs it to the disk: after a drive was removed, only synced entries can be resumed. Other threads may record more
    /// meanwhile.
    pub(in crate::bundle) fn sync(&self) {
        let file = self.file.lock().try_clone();
        if let Err(error) = file.and_then(|file| file.sync_all()) {
            tracing::debug!(%error, "the journal did not reach the disk");
        }
    }

    /// Records how many bytes of a blob are written. An entry that cannot be recorded is fetched again after an interruption,
    /// and does not end the run.
    pub(in crate::bundle) fn record(&self, digest: &Digest, bytes: u64) {
        let mut file = self.file.lock();
        if let Err(error) = file.write_all(line(digest, bytes).as_bytes()) {
            tracing::debug!(%error, "the journal cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn t87_a_journal_is_read_up_to_where_it_was_cut() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let mut state = JournalState { volume_size: Some(4096), blobs: HashMap::from([(one, 7), (two, 9)]) };
        let text = state.text();
        assert_eq!(JournalState::parse(&text).unwrap(), state);
        assert_eq!(state.bytes(), 16);
        let longer = format!("{text}{}", line(&one, 8));
        for cut in longer.len() - 4..longer.len() {
            assert_eq!(JournalState::parse(&longer[..cut]).unwrap(), state, "{cut}");
        }
        state.blobs.insert(one, 8);
        assert_eq!(JournalState::parse(&longer).unwrap(), state);
        state.blobs.remove(&one);
        assert_eq!(
            JournalState::parse(&format!("{longer}{}", line(&one, 0))).unwrap(),
            state,
            "it was given up"
        );
        for foreign in ["", "krs-journal-1", "krs-journal-2 0\n", "krs-journal-1 x\n", "\u{0}\u{0}\n"] {
            assert_eq!(JournalState::parse(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn only_one_run_has_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("a.krs.tar.journal");
        let journal = Journal::take(&path).unwrap().unwrap();
        journal.begin(&JournalState::default()).unwrap();
        journal.record(&Digest::of(b"1"), 5);
        assert_eq!(journal.read().unwrap().bytes(), 5);
        assert!(Journal::take(&path).unwrap().is_none());
    }

    #[test]
    fn a_journal_that_was_told_to_forget_says_nothing_whatever_is_added() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("a.krs.tar.journal");
        let journal = Journal::take(&path).unwrap().unwrap();
        journal.begin(&JournalState::default()).unwrap();
        journal.record(&Digest::of(b"1"), 5);
        journal.forget();
        journal.record(&Digest::of(b"2"), 6);
        assert_eq!(journal.read(), None);
        drop(journal);
        assert_eq!(Journal::take(&path).unwrap().unwrap().read(), None);
    }
}
