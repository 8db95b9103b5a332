// SPDX-License-Identifier: Apache-2.0
//! What an interrupted run has left of an archive, and how much of it can be used. Nothing here is trusted: the bytes are
//! hashed before they are used.

use std::collections::HashMap;
use std::fs;

use camino::{Utf8Path, Utf8PathBuf};

use super::journal::{Journal, JournalState};
use super::write_files::{Output, PART};
use crate::bundle::format::layout::{self, HEADER, Layout, MANIFEST_AT};
use crate::bundle::format::manifest::{BundleManifest, MAX_MANIFEST};
use crate::bundle::format::volumes;
use crate::oci::digest::Digest;

/// The suffix of its files while their content is moved to another archive.
pub(in crate::bundle) const SET_ASIDE: &str = ".old";

/// The files of an unfinished archive that was to become another one.
pub(in crate::bundle) struct PartialArchive {
    pub output: Output,
    /// Where the content of each blob begins in the files, its size, and how much of it is there.
    blobs: HashMap<Digest, (u64, u64, u64)>,
    journal: Utf8PathBuf,
}

/// An unfinished archive of an interrupted run.
struct UnfinishedArchive {
    output: Output,
    names: Vec<Utf8PathBuf>,
    manifest: BundleManifest,
    layout: Layout,
    state: JournalState,
}

impl PartialArchive {
    /// Looks for what earlier runs have left of the archive `path`. Returns what can be resumed in place, and what has to be
    /// moved.
    pub(in crate::bundle) fn find(
        path: &Utf8Path,
        journal: &Journal,
        layout: &Layout,
        manifest: &BundleManifest,
        volume_size: Option<u64>,
    ) -> (Option<JournalState>, Option<Self>) {
        let old_journal = Utf8PathBuf::from(format!("{path}.journal{SET_ASIDE}"));
        let moved = fs::read_to_string(&old_journal).ok().and_then(|text| JournalState::parse(&text));
        let moved =
            moved.and_then(|state| UnfinishedArchive::read(path, state, &format!("{PART}{SET_ASIDE}"), PART));
        let current = journal.read().filter(|state| !state.blobs.is_empty());
        let Some(current) = current.and_then(|state| UnfinishedArchive::read(path, state, PART, PART)) else {
            return (None, moved.map(|moved| moved.leftover(old_journal)));
        };
        let same = current.state.volume_size == volume_size
            && current.layout.blobs_at == layout.blobs_at
            && current.manifest.blobs == manifest.blobs;
        if same {
            return (Some(current.state), moved.map(|moved| moved.leftover(old_journal)));
        }
        // If two have to be moved, the one with more content counts.
        if let Some(moved) = moved.filter(|moved| moved.state.bytes() > current.state.bytes()) {
            return (None, Some(moved.leftover(old_journal)));
        }
        (None, current.set_aside(path, &old_journal))
    }

    /// Where the content of a blob begins, and how much of it is there.
    pub(in crate::bundle) fn blob(&self, digest: &Digest, size: u64) -> Option<(u64, u64)> {
        let (at, of, bytes) = *self.blobs.get(digest)?;
        (of == size).then_some((at, bytes.min(size)))
    }

    pub(in crate::bundle) fn remove(&self) {
        self.output.remove();
        // Without its files the journal is useless.
        let _ = fs::remove_file(&self.journal);
    }
}

impl UnfinishedArchive {
    /// Reads the manifest that the files were written for: it is written before anything is recorded.
    fn read(path: &Utf8Path, state: JournalState, suffix: &str, other: &str) -> Option<Self> {
        let there = |suffix: &str| {
            let names: Vec<Utf8PathBuf> = match state.volume_size {
                None => vec![path.to_owned()],
                Some(_) => (1..=volumes::MAX_VOLUMES)
                    .map(|n| volumes::path(path, n))
                    .take_while(|name| Utf8PathBuf::from(format!("{name}{suffix}")).is_file())
                    .collect(),
            };
            let output = Output::open(&names, suffix, state.volume_size, false).ok()?;
            (!names.is_empty()).then_some((output, names))
        };
        let (output, names) = there(suffix).or_else(|| there(other))?;
        let mut header = [0; HEADER as usize];
        output.read_at(&mut header, MANIFEST_AT - HEADER).ok()?;
        let size =
            tar::Header::from_byte_slice(&header).entry_size().ok().filter(|size| *size <= MAX_MANIFEST)?;
        if layout::header(layout::MANIFEST, size).ok()? != header {
            return None;
        }
        let mut encoded = vec![0; usize::try_from(size).ok()?];
        output.read_at(&mut encoded, MANIFEST_AT).ok()?;
        let manifest = BundleManifest::parse(&encoded).ok()?;
        let layout = Layout::new(&manifest, &encoded).ok()?;
        Some(Self { output, names, manifest, layout, state })
    }

    /// Renames the files so that they do not conflict with the new ones. The journal comes first: until the last file is
    /// renamed, both names are tried.
    fn set_aside(self, path: &Utf8Path, old_journal: &Utf8Path) -> Option<PartialArchive> {
        fs::copy(format!("{path}.journal"), old_journal).ok()?;
        for name in &self.names {
            fs::rename(format!("{name}{PART}"), format!("{name}{PART}{SET_ASIDE}")).ok()?;
        }
        let output =
            Output::open(&self.names, &format!("{PART}{SET_ASIDE}"), self.state.volume_size, false).ok()?;
        Some(Self { output, ..self }.leftover(old_journal.to_owned()))
    }

    fn leftover(self, journal: Utf8PathBuf) -> PartialArchive {
        let Self { output, manifest, layout, state, .. } = self;
        let blob = |blob: &crate::bundle::BundleBlob| {
            let bytes = *state.blobs.get(&blob.digest)?;
            Some((blob.digest, (layout.blobs_at + blob.offset, blob.size, bytes)))
        };
        PartialArchive { output, blobs: manifest.blobs.iter().filter_map(blob).collect(), journal }
    }
}
