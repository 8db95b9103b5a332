// SPDX-License-Identifier: Apache-2.0
//! Reading a bundle. Each step runs only after all earlier ones have passed:
//!
//! 1. open without following links; a regular file
//! 2. signature over the raw bytes of `krs/bundle.json`
//! 3. strict parse
//! 4. sequence, audience, expiry
//! 5. completeness
//! 6. every byte before the first blob and after the last
//! 7. the sets
//!
//! The methods of [`Bundle`] then check each blob's header, size and digest while it is read, and the structure of the
//! images ([`Bundle::images`]).

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read};
use std::time::Duration;

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};

use super::read_files::{ArchiveFile, ArchiveFiles};
use super::reader::{Reader, is_set};
use crate::bundle::disk::hash::hash;
use crate::bundle::disk::media::ReadFrom;
use crate::bundle::error::BundleError;
use crate::bundle::format::content::{BundleBlob, BundleSet};
use crate::bundle::format::delta::BaseLayer;
use crate::bundle::format::freshness::{self, Freshness};
use crate::bundle::format::layout::{self, HEADER, Layout, MANIFEST_AT};
use crate::bundle::format::manifest::BundleManifest;
use crate::bundle::format::patch::PatchedLayer;
use crate::bundle::format::volumes::VolumeList;
use crate::bundle::sign::{KeyId, SIGNATURES_SIZE, SignError, Signatures, Trust};
use crate::oci::digest::{ContentMismatch, Digest, VerifyReader};
use crate::set::CheckedSet;

/// Bytes that are compared at once.
const CHUNK: usize = 64 << 10;

/// What a bundle must satisfy to be opened.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Who must have signed it.
    pub trust: Trust,
    /// What it may follow, and whom and when it is for.
    pub freshness: Freshness,
}

/// A bundle whose signature, manifest, freshness, completeness and sets were checked. Its blobs are checked when they are
/// read.
#[derive(Debug)]
pub struct Bundle {
    files: ArchiveFiles,
    path: Utf8PathBuf,
    volumes: Option<VolumeList>,
    list_path: Option<Utf8PathBuf>,
    volume_size: u64,
    manifest: BundleManifest,
    manifest_digest: Digest,
    identity: Digest,
    layout: Layout,
    blob_indexes: HashMap<Digest, usize>,
    /// The patch that makes each layer, and the layer's index in it.
    patched_layers: HashMap<Digest, (usize, usize)>,
    signatures: Signatures,
    signers: BTreeSet<KeyId>,
    sets: Vec<CheckedSet>,
}

impl Bundle {
    /// Opens the bundle at `path` and checks everything but its blobs.
    ///
    /// # Expected flow
    /// Open, then [`Bundle::images`] for the structure of the images, then [`Bundle::read`] or [`Bundle::reader`] for each
    /// blob. [`Bundle::open_with`] takes volumes from several folders; [`Bundle::open_from_media`] does not read from the
    /// page cache.
    ///
    /// # Guarantees
    /// - The checks run in the order of this module's documentation. If `policy` has keys, no field of the manifest is
    ///   parsed before one of them has signed its bytes.
    /// - Links are not followed, and nothing but regular files is opened.
    /// - Every byte outside of the blobs is the one that the manifest requires, and every blob lies in the files with its
    ///   full size. Whether blobs are undamaged is known only when they are read.
    /// - The bundle is only read. Memory is bounded by the limits of the format, not by the size of the archive.
    ///
    /// # Errors
    /// [`BundleError`] names the first check that failed. No part of the bundle is available then.
    ///
    /// # Cancellation
    /// The call blocks and cannot be cancelled; a file system that does not answer blocks it. It changes nothing. The files
    /// stay open until [`Bundle::close_if_idle`] or until the bundle is dropped.
    pub fn open(path: &Utf8Path, policy: &Policy) -> Result<Self, BundleError> {
        Self::open_with(path, &[], policy)
    }

    /// Opens the bundle at `path`, whose volumes may also lie in `folders`. `path` is the archive, one of its volumes, or
    /// the list of its volumes. The opened bundle is the same for one file and for several. The contract is that of
    /// [`Self::open`].
    ///
    /// # Errors
    /// As for [`Self::open`]. [`BundleError::Volumes`] names the volumes that are missing or incomplete, and their content.
    pub fn open_with(path: &Utf8Path, folders: &[Utf8PathBuf], policy: &Policy) -> Result<Self, BundleError> {
        Self::checked(Reader::open(path, folders)?, policy, Signatures::parse)
    }

    /// Opens a bundle that is to be signed. Its signatures may be damaged; the error says how.
    pub(in crate::bundle) fn open_to_sign(
        path: &Utf8Path,
        folders: &[Utf8PathBuf],
    ) -> Result<(Self, Option<SignError>), BundleError> {
        let mut damage = None;
        let bundle = Self::checked(Reader::open(path, folders)?, &Policy::default(), |entry| {
            Ok(Signatures::parse(entry).unwrap_or_else(|error| {
                damage = Some(error);
                Signatures::default()
            }))
        })?;
        Ok((bundle, damage))
    }

    /// As [`Self::open_with`], but reads from the media: it first drops the kernel's cached pages of the files. Returns
    /// whether that was possible.
    ///
    /// # Errors
    /// As for [`Self::open_with`], and [`BundleError::Read`] if data that was written to a file does not reach its media.
    pub fn open_from_media(
        path: &Utf8Path,
        folders: &[Utf8PathBuf],
        policy: &Policy,
    ) -> Result<(Self, ReadFrom), BundleError> {
        let reader = Reader::open(path, folders)?;
        let from = reader.files.drop_cached()?;
        Ok((Self::checked(reader, policy, Signatures::parse)?, from))
    }

    fn checked(
        reader: Reader,
        policy: &Policy,
        parse: impl FnOnce(&[u8]) -> Result<Signatures, SignError>,
    ) -> Result<Self, BundleError> {
        let path = &reader.path.clone();
        let manifest_size = reader.manifest_size()?;
        let encoded = reader.exactly(MANIFEST_AT, manifest_size, layout::MANIFEST)?;
        let signatures_at = layout::next_header(MANIFEST_AT, manifest_size) + HEADER;
        let entry = reader.exactly(signatures_at, SIGNATURES_SIZE as u64, layout::SIGNATURES)?;
        let untrusted = |source| BundleError::Signature { path: path.to_owned(), source };
        let signatures = parse(&entry).map_err(untrusted)?;
        let signers = signatures.check(&encoded, &policy.trust).map_err(untrusted)?;

        let unacceptable = |source| BundleError::Manifest { path: path.to_owned(), source };
        let manifest = BundleManifest::parse(&encoded).map_err(unacceptable)?;
        let identity = manifest.identity().map_err(unacceptable)?;
        check_freshness(path, &manifest, identity, &policy.freshness)?;

        let layout = Layout::new(&manifest, &encoded).map_err(unacceptable)?;
        reader.complete(&manifest, &layout)?;
        for piece in layout.pieces(&manifest)? {
            compare(&reader.files, path, piece.offset, &piece.bytes, &piece.name)?;
        }
        let sets = reader.sets(&manifest, &layout)?;
        let blob_indexes = manifest.blobs.iter().enumerate().map(|(n, blob)| (blob.digest, n)).collect();
        let patches = manifest.patches.iter().enumerate();
        let patched_layers = patches.flat_map(|(patch, made)| {
            made.layers.iter().enumerate().map(move |(index, layer)| (layer.digest, (patch, index)))
        });
        let patched_layers = patched_layers.collect();
        let manifest_digest = Digest::of(&encoded);
        let Reader { files, path, volumes, list_path, volume_size, .. } = reader;
        Ok(Self {
            files,
            path,
            volumes,
            list_path,
            volume_size,
            manifest,
            manifest_digest,
            identity,
            layout,
            blob_indexes,
            patched_layers,
            signatures,
            signers,
            sets,
        })
    }

    /// The archive. If it is split into volumes, the name that theirs are made from.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Whether a file is open. The first read opens it, and it stays open until [`Self::close_if_idle`].
    pub fn is_open(&self) -> bool {
        self.files.is_open()
    }

    /// Closes the files if nothing has read them for `idle`, so that the media can be unmounted. The next read opens them
    /// again. Returns whether they are closed now.
    pub fn close_if_idle(&self, idle: Duration) -> bool {
        self.files.close_if_idle(idle)
    }

    /// The manifest, `krs/bundle.json`.
    pub const fn manifest(&self) -> &BundleManifest {
        &self.manifest
    }

    /// Digest of `krs/bundle.json`: names the bundle.
    pub const fn digest(&self) -> Digest {
        self.manifest_digest
    }

    /// See [`BundleManifest::identity`].
    pub const fn identity(&self) -> Digest {
        self.identity
    }

    /// Trusted keys whose signature is valid. Empty for [`Trust::Anyone`].
    pub const fn signers(&self) -> &BTreeSet<KeyId> {
        &self.signers
    }

    /// Keys that the signatures name, valid or not.
    pub fn key_ids(&self) -> Vec<KeyId> {
        self.signatures.key_ids()
    }

    /// All signatures, valid or not.
    pub(in crate::bundle) const fn signatures(&self) -> &Signatures {
        &self.signatures
    }

    /// The sets as they were written, in the order of the manifest.
    pub(in crate::bundle) fn set_files(&self) -> Result<Vec<Vec<u8>>, BundleError> {
        let sets = self.manifest.sets.iter().zip(&self.layout.sets_at);
        let read = |(set, at): (&BundleSet, &u64)| {
            let read_error = |source| BundleError::Read { path: self.path.clone(), offset: *at, source };
            let mut bytes = vec![0; usize::try_from(set.size).unwrap_or_default()];
            let read = self.files.read_at(&mut bytes, *at).map_err(read_error)?;
            if read < bytes.len() {
                return Err(read_error(io::ErrorKind::UnexpectedEof.into()));
            }
            // The file may have been replaced since it was opened.
            is_set(&self.path, set, *at, &bytes)?;
            Ok(bytes)
        };
        sets.map(read).collect()
    }

    /// The sets, in the order of the manifest.
    pub fn sets(&self) -> &[CheckedSet] {
        &self.sets
    }

    /// Bytes of the archive.
    pub const fn size(&self) -> u64 {
        self.layout.size()
    }

    /// The entry of a blob, if the bundle contains it.
    pub fn blob(&self, digest: &Digest) -> Option<&BundleBlob> {
        self.blob_indexes.get(digest).and_then(|n| self.manifest.blobs.get(*n))
    }

    /// A layer of the base: the bundle does not contain it, and the site must have it.
    pub fn base_layer(&self, digest: &Digest) -> Option<&BaseLayer> {
        let layers = &self.manifest.base.as_ref()?.layers;
        let index = layers.binary_search_by_key(digest, |layer| layer.digest).ok()?;
        layers.get(index)
    }

    /// A layer that the bundle does not contain and a patch makes, and the index of this patch.
    pub fn patched_layer(&self, digest: &Digest) -> Option<(usize, &PatchedLayer)> {
        let (patch, layer) = *self.patched_layers.get(digest)?;
        Some((patch, self.manifest.patches.get(patch)?.layers.get(layer)?))
    }

    /// Reads a part of a blob's content. Returns 0 at its end. Does not check the digest: the caller must.
    ///
    /// # Errors
    /// The error of the file system; [`io::ErrorKind::UnexpectedEof`] if the file was truncated since it was opened.
    pub fn read_at(&self, blob: &BundleBlob, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let left = blob.size.saturating_sub(offset);
        let max = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        if max == 0 {
            return Ok(0);
        }
        match self.files.read_at(&mut buf[..max], self.content_at(blob) + offset)? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file was cut")),
            n => Ok(n),
        }
    }

    /// Reads a blob of at most `limit` bytes, and checks its header and digest.
    ///
    /// # Errors
    /// [`BundleError::Content`], [`BundleError::Damaged`], [`BundleError::Read`].
    pub fn read(&self, blob: &BundleBlob, limit: u64) -> Result<Bytes, BundleError> {
        if blob.size > limit {
            let source = ContentMismatch::Size { digest: blob.digest, expected: limit, got: blob.size };
            return Err(self.content_error(blob, source));
        }
        self.check_header(blob)?;
        let mut bytes = Vec::with_capacity(usize::try_from(blob.size).unwrap_or_default());
        // To its end, where the reader compares the digest.
        self.reader(blob).read_to_end(&mut bytes).map_err(|e| self.read_error(blob, e))?;
        Ok(bytes.into())
    }

    /// A reader of a blob's content. If the content is damaged, it returns an error instead of the end of file.
    pub fn reader<'a>(&'a self, blob: &'a BundleBlob) -> VerifyReader<impl Read + 'a> {
        VerifyReader::new(BlobReader { bundle: self, blob, offset: 0 }, blob.digest, blob.size)
    }

    /// Compares the header before a blob and the padding after it with what the manifest requires.
    ///
    /// # Errors
    /// [`BundleError::Damaged`], [`BundleError::Read`].
    pub fn check_header(&self, blob: &BundleBlob) -> Result<(), BundleError> {
        let (at, name) = (self.content_at(blob), layout::blob_path(&blob.digest));
        compare(
            &self.files,
            &self.path,
            at - HEADER,
            &layout::header(&name, blob.size)?,
            &format!("the header of {name}"),
        )?;
        let padding = [0; 512];
        let length = usize::try_from(layout::padded(blob.size) - blob.size).unwrap_or_default();
        compare(
            &self.files,
            &self.path,
            at + blob.size,
            &padding[..length],
            &format!("the padding of {name}"),
        )
    }

    /// The file that contains a byte of a blob, the byte's offset in it, and how many bytes follow in this file.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(in crate::bundle) fn file_at(
        &self,
        blob: &BundleBlob,
        offset: u64,
    ) -> Option<(std::sync::Arc<std::fs::File>, u64, u64)> {
        self.files.file_at(self.content_at(blob) + offset)
    }

    /// Bytes of each volume but the last. If the archive is one file, its size.
    pub(in crate::bundle) const fn volume_size(&self) -> u64 {
        self.volume_size
    }

    /// The archive, or the volumes that hold its first `size` bytes.
    pub(in crate::bundle) fn first_files(&self, size: u64) -> Vec<Utf8PathBuf> {
        self.files.holding(0, size).map(|part| part.path.clone()).collect()
    }

    /// Whether the archive is split into volumes.
    pub(in crate::bundle) fn is_in_volumes(&self) -> bool {
        self.files.locate(0).is_some_and(|(path, _)| path != self.path)
    }

    /// Volumes beside an archive that is one file. They belong to another bundle of the same name and are not read.
    pub fn volumes_beside(&self) -> Vec<Utf8PathBuf> {
        if self.is_in_volumes() {
            return Vec::new();
        }
        crate::bundle::format::volumes::find(&self.path, &[]).into_values().collect()
    }

    /// The path of `NAME.krs.json`, if it was found.
    pub(in crate::bundle) fn list_path(&self) -> Option<&Utf8Path> {
        self.list_path.as_deref()
    }

    /// The offset of a blob's content in the archive.
    fn content_at(&self, blob: &BundleBlob) -> u64 {
        self.layout.blobs_at + blob.offset
    }

    /// Turns a failure to read a blob into an error with the file and the offset.
    pub(crate) fn read_error(&self, blob: &BundleBlob, source: io::Error) -> BundleError {
        match source.downcast::<ContentMismatch>() {
            Ok(mismatch) => self.content_error(blob, mismatch),
            Err(source) => {
                let (path, offset) = self.locate(self.content_at(blob));
                BundleError::Read { path, offset, source }
            }
        }
    }

    pub(crate) fn content_error(&self, blob: &BundleBlob, source: ContentMismatch) -> BundleError {
        let name = layout::blob_path(&blob.digest);
        let (first, offset) = self.locate(self.content_at(blob));
        let path = self.damaged_volume(blob).unwrap_or(first);
        BundleError::Content { path, name, offset, source }
    }

    /// The first volume of a damaged blob that differs from the list of volumes. The list is not trusted: it only serves to
    /// name the file that should be copied again.
    fn damaged_volume(&self, blob: &BundleBlob) -> Option<Utf8PathBuf> {
        let list = self.volumes.as_ref()?;
        let differs = |part: &&ArchiveFile| {
            let volume = part.path.file_name().and_then(|name| list.volumes.iter().find(|v| v.name == name));
            let read = |buf: &mut [u8], done| part.handle.read_at(buf, done);
            volume.is_some_and(|volume| hash(part.size, read).ok() != Some(volume.digest))
        };
        let part = self.files.holding(self.content_at(blob), blob.size).find(differs)?;
        Some(part.path.clone())
    }

    /// The file or volume that contains a byte of the archive, and the byte's offset in it.
    fn locate(&self, offset: u64) -> (Utf8PathBuf, u64) {
        let found = self.files.locate(offset).map(|(path, at)| (path.to_owned(), at));
        found.unwrap_or_else(|| (self.path.clone(), offset))
    }

    /// The list of the volumes (`NAME.krs.json`), if the archive is split into volumes and has one.
    pub const fn volumes(&self) -> Option<&VolumeList> {
        self.volumes.as_ref()
    }
}

/// Reads a blob from its beginning to its end.
struct BlobReader<'a> {
    bundle: &'a Bundle,
    blob: &'a BundleBlob,
    offset: u64,
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.bundle.read_at(self.blob, self.offset, buf)?;
        self.offset += read as u64;
        Ok(read)
    }
}

fn check_freshness(
    path: &Utf8Path,
    manifest: &BundleManifest,
    identity: Digest,
    freshness: &Freshness,
) -> Result<(), BundleError> {
    let path = || path.to_owned();
    freshness::follows(&manifest.stream, manifest.sequence, identity, freshness)
        .map_err(|source| BundleError::Rollback { path: path(), source })?;
    if let Some(site) = &freshness.audience
        && !manifest.audience.is_empty()
        && !manifest.audience.contains(site)
    {
        let got = crate::redact::printable(site, 100);
        return Err(BundleError::Audience { path: path(), expected: manifest.audience.join(", "), got });
    }
    match (manifest.not_after, freshness.now) {
        (Some(not_after), Some(now)) if freshness::has_expired(not_after, now) => {
            Err(BundleError::Expired { path: path(), not_after, now })
        }
        _ => Ok(()),
    }
}

/// Compares the bytes at `offset` with `expected`.
pub(in crate::bundle) fn compare(
    files: &ArchiveFiles,
    path: &Utf8Path,
    offset: u64,
    expected: &[u8],
    name: &str,
) -> Result<(), BundleError> {
    let mut buf = [0; 512];
    let mut large = Vec::new();
    let buf = if expected.len() <= buf.len() {
        &mut buf[..expected.len()]
    } else {
        large.resize(expected.len().min(CHUNK), 0);
        &mut large[..]
    };
    let mut at = offset;
    for chunk in expected.chunks(buf.len().max(1)) {
        let got = &mut buf[..chunk.len()];
        let failed = |source| BundleError::Read { path: path.to_owned(), offset: at, source };
        if files.read_at(got, at).map_err(failed)? < chunk.len() {
            // All of it was there when the file was opened.
            return Err(failed(io::Error::new(io::ErrorKind::UnexpectedEof, "the file was cut")));
        }
        if got != chunk {
            return Err(BundleError::Damaged { path: path.to_owned(), part: name.to_owned(), offset: at });
        }
        at += chunk.len() as u64;
    }
    Ok(())
}
