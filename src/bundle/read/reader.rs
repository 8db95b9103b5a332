// SPDX-License-Identifier: Apache-2.0
//! A bundle while it is being opened: its files, and whether they are complete.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};

use super::list::{FOREIGN_LIST, read_list};
use super::read_files::{ArchiveFile, ArchiveFiles};
use super::regular::open_regular;
use crate::bundle::disk::file::{self, Handle};
use crate::bundle::error::{BundleError, IncompleteVolume};
use crate::bundle::format::content::{BundleBlob, BundleSet};
use crate::bundle::format::error::ManifestError;
use crate::bundle::format::layout::{self, HEADER, Layout, MANIFEST_AT};
use crate::bundle::format::manifest::{BundleManifest, MAX_MANIFEST};
use crate::bundle::format::volumes::{self, VolumeList};
use crate::oci::digest::{ContentMismatch, Digest};
use crate::set::{self, CheckedSet};

/// The files of a bundle that is being opened.
pub(in crate::bundle) struct Reader {
    pub files: ArchiveFiles,
    /// The archive, even if it is split into volumes.
    pub path: Utf8PathBuf,
    /// The list of the volumes, if there is one.
    pub volumes: Option<VolumeList>,
    /// The file with this list.
    pub list_path: Option<Utf8PathBuf>,
    in_volumes: bool,
    /// Bytes of each volume but the last, as far as is known.
    pub volume_size: u64,
    size: u64,
}

/// Whether the file at `path`, or its first volume, begins with the header of a bundle.
pub fn begins_as_bundle(path: &Utf8Path) -> bool {
    let first = if path.symlink_metadata().is_ok() { path.to_owned() } else { volumes::path(path, 1) };
    let Ok(expected) = layout::header(layout::OCI_LAYOUT, layout::OCI_LAYOUT_CONTENT.len() as u64) else {
        return false;
    };
    let mut begin = vec![0; expected.len()];
    let read = open_regular(&first).ok().and_then(|(file, _)| file::read_at(&file, &mut begin, 0).ok());
    read == Some(begin.len()) && begin == expected
}

impl Reader {
    pub(in crate::bundle) fn open(path: &Utf8Path, folders: &[Utf8PathBuf]) -> Result<Self, BundleError> {
        let archive = volumes::archive_of(path);
        let is_one_file = archive.symlink_metadata().is_ok();
        if is_one_file || (archive == path && volumes::find(&archive, folders).is_empty()) {
            let (file, size) = open_regular(&archive)?;
            let handle = Handle::new(archive.clone(), file, size);
            let files =
                ArchiveFiles::new(vec![ArchiveFile { start: 0, size, path: archive.clone(), handle }]);
            let (volumes, list_path, in_volumes) = (None, None, false);
            return Ok(Self {
                files,
                path: archive,
                volumes,
                list_path,
                in_volumes,
                volume_size: size,
                size,
            });
        }
        Self::open_volumes(archive, folders)
    }

    fn open_volumes(archive: Utf8PathBuf, folders: &[Utf8PathBuf]) -> Result<Self, BundleError> {
        let (list_path, list) = match read_list(&archive, folders)? {
            None => (None, None),
            Some((path, bytes)) => {
                let list = VolumeList::parse(&bytes);
                let list = list.map_err(|source| BundleError::Manifest { path: path.clone(), source })?;
                (Some(path), Some(list))
            }
        };
        let mut found = BTreeMap::new();
        for (n, path) in volumes::find(&archive, folders) {
            let (file, size) = open_regular(&path)?;
            found.insert(n, (path, file, size));
        }
        // All but the last have the same size, which is the largest: a truncated volume does not change the offsets of the
        // others.
        let largest = found.values().map(|(.., size)| *size).max().unwrap_or(0);
        let volume_size = list.as_ref().map_or(largest, |list| list.volume_size).max(1);
        let parts = found.into_iter().map(|(n, (path, file, size))| {
            let start = (n - 1).saturating_mul(volume_size);
            // Bytes beyond the volume size are ignored here; the sizes are compared when they are known.
            let size = size.min(volume_size);
            ArchiveFile { start, size, handle: Handle::new(path.clone(), file, size), path }
        });
        let files = ArchiveFiles::new(parts.collect());
        let size = files.end();
        Ok(Self { files, path: archive, volumes: list, list_path, in_volumes: true, volume_size, size })
    }

    /// The error for missing or incomplete volumes of a range, before the manifest tells their content.
    fn gap(&self, offset: u64, size: u64) -> BundleError {
        let (first, last) = (offset / self.volume_size, (offset + size.max(1) - 1) / self.volume_size);
        let incomplete = (first..=last.min(first + volumes::MAX_VOLUMES)).filter_map(|n| {
            let held = self.files.covers(n * self.volume_size, 1);
            (!held || last == first).then(|| {
                self.incomplete_volume(
                    n + 1,
                    None,
                    "the manifest, which says what the other volumes hold".to_owned(),
                )
            })
        });
        let count = self.volumes.as_ref().map(|list| list.volumes.len() as u64);
        BundleError::Volumes { path: self.path.clone(), count, incomplete: incomplete.collect() }
    }

    fn incomplete_volume(&self, n: u64, expected: Option<u64>, holds: String) -> IncompleteVolume {
        let part = self.files.holding((n - 1) * self.volume_size, 1).next();
        let path = volumes::path(&self.path, n);
        let name = path.file_name().unwrap_or_default().to_owned();
        IncompleteVolume { name, expected, got: part.map(|part| part.size), holds }
    }

    /// Checks that every volume is present with its full size.
    fn check_volumes(&self, manifest: &BundleManifest, layout: &Layout) -> Result<(), BundleError> {
        let total = layout.size();
        if let Some(list) = &self.volumes
            && (list.size != total
                || manifest.encode().map(|bytes| Digest::of(&bytes)).ok() != Some(list.bundle))
        {
            let path = self.list_path.clone().unwrap_or_else(|| volumes::list_path(&self.path));
            let source = ManifestError::Inconsistent(FOREIGN_LIST.to_owned());
            return Err(BundleError::Manifest { path, source });
        }
        let count = volumes::count(total, self.volume_size).min(volumes::MAX_VOLUMES);
        let incomplete = (1..=count).filter_map(|n| {
            let (start, size) = ((n - 1) * self.volume_size, volumes::size_of(n, total, self.volume_size));
            let held = self.files.covers(start, size);
            (!held).then(|| self.incomplete_volume(n, Some(size), holds(manifest, layout, start, size)))
        });
        let incomplete = incomplete.collect::<Vec<_>>();
        if incomplete.is_empty() {
            return Ok(());
        }
        Err(BundleError::Volumes { path: self.path.clone(), count: Some(count), incomplete })
    }

    /// Volumes after the last one, such as those of a longer bundle that had this name before.
    fn no_foreign_volumes(&self, size: u64) -> Result<(), BundleError> {
        let end = volumes::count(size, self.volume_size).saturating_mul(self.volume_size);
        let after = self.files.holding(end, u64::MAX - end);
        let names = after.filter_map(|part| part.path.file_name().map(str::to_owned)).collect::<Vec<_>>();
        if names.is_empty() {
            return Ok(());
        }
        Err(BundleError::ForeignVolumes { path: self.path.clone(), names })
    }

    fn incomplete(&self, expected: u64, missing: &str) -> BundleError {
        let (path, missing) = (self.path.clone(), missing.to_owned());
        BundleError::Incomplete { path, expected, got: self.size, missing }
    }

    /// Reads `size` bytes at `offset`, which must be there.
    pub(in crate::bundle) fn exactly(
        &self,
        offset: u64,
        size: u64,
        name: &str,
    ) -> Result<Vec<u8>, BundleError> {
        // The size is compared before memory is taken for it.
        if self.in_volumes && !self.files.covers(offset, size) {
            return Err(self.gap(offset, size));
        }
        if offset.saturating_add(size) > self.size {
            return Err(self.incomplete(offset.saturating_add(size), name));
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        let read = self.files.read_at(&mut bytes, offset).map_err(|source| BundleError::Read {
            path: self.path.clone(),
            offset,
            source,
        })?;
        if read < bytes.len() { Err(self.incomplete(offset + size, name)) } else { Ok(bytes) }
    }

    /// The size of `krs/bundle.json`: the only number that is read from a header, and then the header must be the
    /// one that this number makes.
    pub(in crate::bundle) fn manifest_size(&self) -> Result<u64, BundleError> {
        let not =
            |reason: &str| BundleError::NotABundle { path: self.path.clone(), reason: reason.to_owned() };
        if self.size == 0 {
            return Err(self.incomplete(MANIFEST_AT, "everything"));
        }
        let magic = self.exactly(0, self.size.min(4), "its beginning")?;
        let formats =
            [("gzip", &[0x1f, 0x8b][..]), ("zstd", &[0x28, 0xb5, 0x2f, 0xfd]), ("ZIP", b"PK\x03\x04")];
        for (with, number) in formats {
            if magic.starts_with(number) {
                return Err(BundleError::Compressed { path: self.path.clone(), with });
            }
        }
        let first = layout::header(layout::OCI_LAYOUT, layout::OCI_LAYOUT_CONTENT.len() as u64)?;
        let begin = self.exactly(0, self.size.min(HEADER), "its beginning")?;
        if !first.starts_with(&begin) {
            return Err(not("it does not begin as one"));
        }
        let header = self.exactly(MANIFEST_AT - HEADER, HEADER, layout::MANIFEST)?;
        let header = <[u8; 512]>::try_from(header).unwrap_or([0; 512]);
        let size = tar::Header::from_byte_slice(&header).entry_size();
        let size = size.map_err(|_| not("its second header is damaged"))?;
        if size > MAX_MANIFEST {
            return Err(not(&format!("its manifest would have {size} bytes, more than {MAX_MANIFEST}")));
        }
        if layout::header(layout::MANIFEST, size)? != header {
            return Err(not("its second entry is not krs/bundle.json"));
        }
        Ok(size)
    }

    pub(in crate::bundle) fn complete(
        &self,
        manifest: &BundleManifest,
        layout: &Layout,
    ) -> Result<(), BundleError> {
        let expected = layout.size();
        if self.in_volumes {
            self.check_volumes(manifest, layout)?;
            self.no_foreign_volumes(expected)?;
        }
        if self.size > expected {
            return Err(BundleError::Trailing { path: self.path.clone(), expected, got: self.size });
        }
        if self.size == expected {
            return Ok(());
        }
        let cut =
            |blob: &&BundleBlob| layout::next_header(layout.blobs_at + blob.offset, blob.size) > self.size;
        let missing = if self.size < layout.blobs_at {
            layout::INDEX.to_owned()
        } else {
            let blob = manifest.blobs.iter().find(cut);
            blob.map_or_else(|| "its end".to_owned(), |blob| layout::blob_path(&blob.digest))
        };
        Err(self.incomplete(expected, &missing))
    }

    pub(in crate::bundle) fn sets(
        &self,
        manifest: &BundleManifest,
        layout: &Layout,
    ) -> Result<Vec<CheckedSet>, BundleError> {
        let mut sets = Vec::with_capacity(manifest.sets.len());
        for (entry, at) in manifest.sets.iter().zip(&layout.sets_at) {
            let content = self.exactly(*at, entry.size, &entry.path)?;
            is_set(&self.path, entry, *at, &content)?;
            let unacceptable = |e| BundleError::Set { path: self.path.clone(), source: Box::new(e) };
            let mut set = set::check(&content, &entry.file).map_err(unacceptable)?;
            set.choose(&manifest.platforms);
            sets.push(set);
        }
        self.same_images(manifest, &sets)?;
        Ok(sets)
    }

    /// The images of the sets and those of the manifest must be the same: no image is pushed that no set lists, and no
    /// image that a set lists is left out silently.
    fn same_images(&self, manifest: &BundleManifest, sets: &[CheckedSet]) -> Result<(), BundleError> {
        let key = |reference: &crate::oci::reference::Reference,
                   platforms: &[crate::oci::platform::Platform]| {
            (reference.to_string(), platforms.to_vec())
        };
        let wanted = sets.iter().flat_map(|set| &set.images);
        let wanted = wanted.map(|image| key(&image.reference, &image.platforms)).collect::<BTreeSet<_>>();
        let held = manifest.images.iter();
        let held = held.map(|image| key(&image.reference, &image.platforms));
        let missing = manifest.missing.iter().map(|missing| key(&missing.reference, &missing.platforms));
        let held = held.chain(missing).collect::<BTreeSet<_>>();
        let say = |what: &str, (image, _): &(String, _)| {
            Err(BundleError::SetImages { path: self.path.clone(), reason: format!("{what} {image}") })
        };
        if let Some(image) = wanted.difference(&held).next() {
            return say("its sets ask for an image that it does not list:", image);
        }
        if let Some(image) = held.difference(&wanted).next() {
            return say("it lists an image that none of its sets asks for:", image);
        }
        Ok(())
    }
}

/// Checks that `content` is the set that the manifest lists.
pub(in crate::bundle) fn is_set(
    path: &Utf8Path,
    entry: &BundleSet,
    offset: u64,
    content: &[u8],
) -> Result<(), BundleError> {
    let got = Digest::of(content);
    if got == entry.digest {
        return Ok(());
    }
    let source = ContentMismatch::Digest { expected: entry.digest, got };
    Err(BundleError::Content { path: path.to_owned(), name: entry.path.clone(), offset, source })
}

/// Describes the content of a part of an archive.
fn holds(manifest: &BundleManifest, layout: &Layout, start: u64, size: u64) -> String {
    let within = |blob: &&BundleBlob| {
        let at = layout.blobs_at + blob.offset;
        at < start + size && at + blob.size > start
    };
    let blobs = manifest.blobs.iter().filter(within).collect::<Vec<_>>();
    let all = manifest.blobs.len();
    match blobs.as_slice() {
        [] => "no content of an image".to_owned(),
        [one] => format!("a part of {}", layout::blob_path(&one.digest)),
        [first, .., last] => {
            let (first, last) = (layout::blob_path(&first.digest), layout::blob_path(&last.digest));
            format!("{} of {all} blobs, from {first} to {last}", blobs.len())
        }
    }
}
