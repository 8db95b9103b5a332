// SPDX-License-Identifier: Apache-2.0
//! Reading a bundle. Nothing of a later step runs before the earlier ones passed:
//!
//! 1. open without following links; a regular file
//! 2. signature over the raw bytes of `krs/bundle.json`
//! 3. strict parse
//! 4. freshness, audience, end
//! 5. completeness
//! 6. every byte before the first blob and after the last
//! 7. the sets
//!
//! Then, by the methods of [`Bundle`]: each blob's header, size and digest while it is read, and the structure of
//! the images ([`Bundle::images`]).

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read};
use std::time::Duration;

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};

use super::error::BundleError;
use super::file::{self, Handle};
use super::freshness::{self, Freshness};
use super::layout::{self, HEADER, Layout, MANIFEST_AT};
use super::manifest::{BundleBlob, BundleManifest, MAX_MANIFEST};
use crate::digest::{ContentMismatch, Digest, VerifyReader};
use crate::set::{self, CheckedSet};
use crate::sign::{KeyId, SIGNATURES_SIZE, Signatures, Trust};

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

/// A bundle whose signature, manifest, freshness, completeness and sets were checked. Its blobs are checked as
/// they are read.
#[derive(Debug)]
pub struct Bundle {
    file: Handle,
    path: Utf8PathBuf,
    manifest: BundleManifest,
    manifest_digest: Digest,
    identity: Digest,
    layout: Layout,
    places: HashMap<Digest, usize>,
    key_ids: Vec<KeyId>,
    signers: BTreeSet<KeyId>,
    sets: Vec<CheckedSet>,
}

impl Bundle {
    /// Opens the bundle at `path`. Reads all but the blobs.
    ///
    /// # Errors
    /// [`BundleError`] names the first check that failed; nothing was taken from the bundle then.
    pub fn open(path: &Utf8Path, policy: &Policy) -> Result<Self, BundleError> {
        let reader = Reader::open(path)?;
        let manifest_size = reader.manifest_size()?;
        let encoded = reader.exactly(MANIFEST_AT, manifest_size, layout::MANIFEST)?;
        let signatures_at = layout::next_header(MANIFEST_AT, manifest_size) + HEADER;
        let entry = reader.exactly(signatures_at, SIGNATURES_SIZE as u64, layout::SIGNATURES)?;
        let untrusted = |source| BundleError::Signature { path: path.to_owned(), source };
        let signatures = Signatures::parse(&entry).map_err(untrusted)?;
        let signers = signatures.check(&encoded, &policy.trust).map_err(untrusted)?;

        let unacceptable = |source| BundleError::Manifest { path: path.to_owned(), source };
        let manifest = BundleManifest::parse(&encoded).map_err(unacceptable)?;
        let identity = manifest.identity().map_err(unacceptable)?;
        check_freshness(path, &manifest, identity, &policy.freshness)?;

        let layout = Layout::new(&manifest, &encoded).map_err(unacceptable)?;
        reader.complete(&manifest, &layout)?;
        for piece in layout.pieces(&manifest)? {
            compare(&reader.file, path, piece.offset, &piece.bytes, &piece.name)?;
        }
        let sets = reader.sets(&manifest, &layout)?;
        let places = manifest.blobs.iter().enumerate().map(|(n, blob)| (blob.digest, n)).collect();
        let manifest_digest = Digest::of(&encoded);
        let Reader { file, path, .. } = reader;
        let key_ids = signatures.key_ids();
        Ok(Self { file, path, manifest, manifest_digest, identity, layout, places, key_ids, signers, sets })
    }

    /// The file.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Whether the file is open. It is opened by the first read and stays open until [`Self::close_if_idle`].
    pub fn is_open(&self) -> bool {
        self.file.is_open()
    }

    /// Closes the file where nobody has read it for `idle`, so that its medium can be unmounted; the next read opens it
    /// again. Answers whether it is closed now.
    pub fn close_if_idle(&self, idle: Duration) -> bool {
        self.file.close_if_idle(idle)
    }

    /// What the bundle says of itself.
    pub const fn manifest(&self) -> &BundleManifest {
        &self.manifest
    }

    /// Digest of `krs/bundle.json`: names the bundle.
    pub const fn digest(&self) -> Digest {
        self.manifest_digest
    }

    /// What the bundle decides, see [`BundleManifest::identity`].
    pub const fn identity(&self) -> Digest {
        self.identity
    }

    /// Trusted keys whose signature is valid; none where no trust was asked for.
    pub const fn signers(&self) -> &BTreeSet<KeyId> {
        &self.signers
    }

    /// Keys that the signatures name, valid or not.
    pub fn key_ids(&self) -> &[KeyId] {
        &self.key_ids
    }

    /// The sets, in the order of the manifest.
    pub fn sets(&self) -> &[CheckedSet] {
        &self.sets
    }

    /// Bytes of the archive.
    pub const fn size(&self) -> u64 {
        self.layout.size()
    }

    /// The place of a blob, where the bundle holds it.
    pub fn blob(&self, digest: &Digest) -> Option<&BundleBlob> {
        self.places.get(digest).and_then(|n| self.manifest.blobs.get(*n))
    }

    /// Reads a part of a blob's content; answers 0 at its end. Does not check the digest: whoever reads a whole
    /// blob with it has to.
    ///
    /// # Errors
    /// What the medium says; [`io::ErrorKind::UnexpectedEof`] where the file was cut since it was opened.
    pub fn read_at(&self, blob: &BundleBlob, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let left = blob.size.saturating_sub(offset);
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        if most == 0 {
            return Ok(0);
        }
        match self.file.read_at(&mut buf[..most], self.content_at(blob) + offset)? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file was cut")),
            n => Ok(n),
        }
    }

    /// Reads a whole blob of at most `limit` bytes, and checks it.
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
        // To its very end, where the reader compares the digest.
        self.reader(blob).read_to_end(&mut bytes).map_err(|e| self.read_error(blob, e))?;
        Ok(bytes.into())
    }

    /// A reader of a blob's content that gives an error in place of its end when the content is damaged.
    pub fn reader<'a>(&'a self, blob: &'a BundleBlob) -> VerifyReader<impl Read + 'a> {
        VerifyReader::new(Positioned { bundle: self, blob, offset: 0 }, blob.digest, blob.size)
    }

    /// Compares the header before a blob and the zero bytes behind it with what they must be.
    ///
    /// # Errors
    /// [`BundleError::Damaged`], [`BundleError::Read`].
    pub fn check_header(&self, blob: &BundleBlob) -> Result<(), BundleError> {
        let (at, name) = (self.content_at(blob), layout::blob_path(&blob.digest));
        compare(
            &self.file,
            &self.path,
            at - HEADER,
            &layout::header(&name, blob.size)?,
            &format!("the header of {name}"),
        )?;
        let padding = [0; 512];
        let length = usize::try_from(layout::padded(blob.size) - blob.size).unwrap_or_default();
        compare(&self.file, &self.path, at + blob.size, &padding[..length], &format!("the padding of {name}"))
    }

    /// Where a blob's content begins in the file.
    fn content_at(&self, blob: &BundleBlob) -> u64 {
        self.layout.blobs_at + blob.offset
    }

    /// What a failure to read a blob means.
    pub(crate) fn read_error(&self, blob: &BundleBlob, source: io::Error) -> BundleError {
        match source.downcast::<ContentMismatch>() {
            Ok(mismatch) => self.content_error(blob, mismatch),
            Err(source) => {
                BundleError::Read { path: self.path.clone(), offset: self.content_at(blob), source }
            }
        }
    }

    pub(crate) fn content_error(&self, blob: &BundleBlob, source: ContentMismatch) -> BundleError {
        let name = layout::blob_path(&blob.digest);
        BundleError::Content { path: self.path.clone(), name, offset: self.content_at(blob), source }
    }
}

/// Reads a blob from its beginning to its end.
struct Positioned<'a> {
    bundle: &'a Bundle,
    blob: &'a BundleBlob,
    offset: u64,
}

impl Read for Positioned<'_> {
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
        (Some(not_after), Some(now)) if now > not_after => {
            Err(BundleError::Expired { path: path(), not_after, now })
        }
        _ => Ok(()),
    }
}

/// Compares the bytes at `offset` with `expected`.
fn compare(
    file: &Handle,
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
        let read = file.read_at(got, at);
        let read = read.map_err(|source| BundleError::Read { path: path.to_owned(), offset: at, source })?;
        if read < chunk.len() || got != chunk {
            return Err(BundleError::Damaged { path: path.to_owned(), part: name.to_owned(), offset: at });
        }
        at += chunk.len() as u64;
    }
    Ok(())
}

/// The file while it is checked.
struct Reader {
    file: Handle,
    path: Utf8PathBuf,
    size: u64,
}

impl Reader {
    fn open(path: &Utf8Path) -> Result<Self, BundleError> {
        let special = |what| BundleError::Special { path: path.to_owned(), what };
        let file = file::open(path, false).map_err(|source| match file::special(path) {
            Some(what) => special(what),
            None => BundleError::Open { path: path.to_owned(), source },
        })?;
        let metadata =
            file.metadata().map_err(|source| BundleError::Open { path: path.to_owned(), source })?;
        if !metadata.is_file() {
            return Err(special(file::special(path).unwrap_or("not a regular file")));
        }
        let size = metadata.len();
        Ok(Self { file: Handle::new(path.to_owned(), file, size), path: path.to_owned(), size })
    }

    fn incomplete(&self, expected: u64, missing: &str) -> BundleError {
        let (path, missing) = (self.path.clone(), missing.to_owned());
        BundleError::Incomplete { path, expected, got: self.size, missing }
    }

    /// Reads `size` bytes at `offset`, which must be there.
    fn exactly(&self, offset: u64, size: u64, name: &str) -> Result<Vec<u8>, BundleError> {
        // The size is compared before memory is taken for it.
        if offset.saturating_add(size) > self.size {
            return Err(self.incomplete(offset.saturating_add(size), name));
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        let read = self.file.read_at(&mut bytes, offset).map_err(|source| BundleError::Read {
            path: self.path.clone(),
            offset,
            source,
        })?;
        if read < bytes.len() { Err(self.incomplete(offset + size, name)) } else { Ok(bytes) }
    }

    /// The size of `krs/bundle.json`: the only number that is read from a header, and then the header must be the
    /// one that this number makes.
    fn manifest_size(&self) -> Result<u64, BundleError> {
        let not =
            |reason: &str| BundleError::NotABundle { path: self.path.clone(), reason: reason.to_owned() };
        if self.size == 0 {
            return Err(self.incomplete(MANIFEST_AT, "everything"));
        }
        let magic = self.exactly(0, self.size.min(4), "its beginning")?;
        for (with, number) in [("gzip", &[0x1f, 0x8b][..]), ("zstd", &[0x28, 0xb5, 0x2f, 0xfd])] {
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

    fn complete(&self, manifest: &BundleManifest, layout: &Layout) -> Result<(), BundleError> {
        let expected = layout.size();
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

    fn sets(&self, manifest: &BundleManifest, layout: &Layout) -> Result<Vec<CheckedSet>, BundleError> {
        let mut sets = Vec::with_capacity(manifest.sets.len());
        for (entry, at) in manifest.sets.iter().zip(&layout.sets_at) {
            let document = self.exactly(*at, entry.size, &entry.path)?;
            let got = Digest::of(&document);
            if got != entry.digest {
                let source = ContentMismatch::Digest { expected: entry.digest, got };
                let name = entry.path.clone();
                return Err(BundleError::Content { path: self.path.clone(), name, offset: *at, source });
            }
            let unacceptable = |e| BundleError::Set { path: self.path.clone(), source: Box::new(e) };
            sets.push(set::check(&document, &entry.file).map_err(unacceptable)?);
        }
        self.same_images(manifest, &sets)?;
        Ok(sets)
    }

    /// The images of the sets and those of the manifest must be the same: nothing is pushed that no set asks for,
    /// and nothing that a set asks for was left out unsaid.
    fn same_images(&self, manifest: &BundleManifest, sets: &[CheckedSet]) -> Result<(), BundleError> {
        let key = |reference: &crate::reference::Reference, platforms: &[crate::platform::Platform]| {
            (reference.to_string(), platforms.to_vec())
        };
        let wanted = sets.iter().flat_map(|set| &set.images);
        let wanted = wanted.map(|image| key(&image.reference, &image.platforms)).collect::<BTreeSet<_>>();
        let held = manifest.images.iter();
        let held = held.map(|image| key(&image.reference, &image.platforms)).collect::<BTreeSet<_>>();
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
