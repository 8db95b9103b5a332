// SPDX-License-Identifier: Apache-2.0
//! The canonical form of an archive: the offset and value of every byte that is not content. Pure.
//!
//! ```text
//! oci-layout │ krs/bundle.json │ krs/signatures │ krs/sets/*.yaml │ index.json │ blobs/sha256/* │ 1024 zero bytes
//! ```
//! Each entry is a 512-byte ustar header, the content, and zero bytes up to the next multiple of 512. A size of
//! 8 GiB or more is written in base-256, as GNU tar, Go and Python read it; there are no other extensions, no
//! directory entries, and all times and owners are 0. So everything but the content follows from `krs/bundle.json`.

use std::collections::{BTreeSet, HashMap};

use oci_spec::image::{ANNOTATION_REF_NAME, Descriptor, MediaType};

use super::content::BundleImage;
pub use super::entries::{
    HEADER, HeaderError, INDEX, MANIFEST, MANIFEST_AT, OCI_LAYOUT, OCI_LAYOUT_CONTENT, SIGNATURES, TRAILER,
    blob_path, header, next_header, padded, set_path,
};
use super::error::ManifestError;
use super::manifest::BundleManifest;
use crate::bundle::sign::SIGNATURES_SIZE;
use crate::oci::digest::Digest;
use crate::oci::written;

/// Annotation of an image with the name under which containerd registers it.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// Annotation of `index.json` with the digest of `krs/bundle.json`, so that no byte of an unsigned bundle can
/// change unnoticed either.
const MANIFEST_ANNOTATION: &str = "io.kuberegistrysync.bundle";

/// A piece of the archive that follows from the manifest, or that the manifest names by digest (the sets).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What it is, for messages.
    pub name: String,
    /// Where it begins in the archive.
    pub offset: u64,
    /// The entries, as they are in the archive.
    pub bytes: Vec<u8>,
}

/// Where the parts of an archive lie, in bytes from its beginning. Always the content, not its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of `krs/bundle.json`.
    pub manifest_size: u64,
    /// Offset of the signatures.
    pub signatures_at: u64,
    /// Offset of each set.
    pub sets_at: Vec<u64>,
    /// The OCI index.
    pub index_at: u64,
    /// The OCI index itself.
    pub index: Vec<u8>,
    /// The header of the first blob, from which the manifest counts.
    pub blobs_at: u64,
    /// The zero bytes at the end.
    pub trailer_at: u64,
}

impl Layout {
    /// Computes the offsets for `manifest`, whose encoding is `encoded`.
    ///
    /// # Errors
    /// None in practice, as for [`BundleManifest::encode`].
    pub fn new(manifest: &BundleManifest, encoded: &[u8]) -> Result<Self, ManifestError> {
        let index = index(manifest, Digest::of(encoded))?;
        let manifest_size = encoded.len() as u64;
        let signatures_at = next_header(MANIFEST_AT, manifest_size) + HEADER;
        let mut at = next_header(signatures_at, SIGNATURES_SIZE as u64) + HEADER;
        let mut sets_at = Vec::with_capacity(manifest.sets.len());
        for set in &manifest.sets {
            sets_at.push(at);
            at = next_header(at, set.size) + HEADER;
        }
        let index_at = at;
        let blobs_at = next_header(index_at, index.len() as u64);
        let blobs = manifest.blobs.last().map_or(0, |blob| next_header(blob.offset, blob.size));
        Ok(Self {
            manifest_size,
            signatures_at,
            sets_at,
            index_at,
            index,
            blobs_at,
            trailer_at: blobs_at + blobs,
        })
    }

    /// Bytes of the archive.
    pub const fn size(&self) -> u64 {
        self.trailer_at + TRAILER
    }

    /// Everything before the first blob except the manifest, the signatures and the sets: headers, padding, `oci-layout`
    /// and `index.json`; and the end of the archive. The pieces do not overlap.
    ///
    /// # Errors
    /// None in practice: the names are ours.
    pub fn pieces(&self, manifest: &BundleManifest) -> Result<Vec<Piece>, HeaderError> {
        let mut pieces = Vec::with_capacity(2 * manifest.sets.len() + 6);
        let mut entry = |name: &str, at: u64, size: u64, content: Option<&[u8]>| {
            let mut bytes = header(name, size)?.to_vec();
            let padding = vec![0; usize::try_from(padded(size) - size).unwrap_or_default()];
            if let Some(content) = content {
                bytes.extend_from_slice(content);
                bytes.extend_from_slice(&padding);
                pieces.push(Piece { name: name.to_owned(), offset: at - HEADER, bytes });
            } else {
                pieces.push(Piece { name: format!("the header of {name}"), offset: at - HEADER, bytes });
                pieces.push(Piece {
                    name: format!("the padding of {name}"),
                    offset: at + size,
                    bytes: padding,
                });
            }
            Ok(())
        };
        entry(OCI_LAYOUT, HEADER, OCI_LAYOUT_CONTENT.len() as u64, Some(OCI_LAYOUT_CONTENT))?;
        entry(MANIFEST, MANIFEST_AT, self.manifest_size, None)?;
        entry(SIGNATURES, self.signatures_at, SIGNATURES_SIZE as u64, None)?;
        for (set, at) in manifest.sets.iter().zip(&self.sets_at) {
            entry(&set.path, *at, set.size, None)?;
        }
        entry(INDEX, self.index_at, self.index.len() as u64, Some(&self.index))?;
        let bytes = vec![0; usize::try_from(TRAILER).unwrap_or_default()];
        pieces.push(Piece { name: "the end of the archive".to_owned(), offset: self.trailer_at, bytes });
        Ok(pieces)
    }
}

/// A descriptor in `index.json`, with a name if it has one.
fn entry(
    (media_type, artifact_type): (&str, Option<&String>),
    digest: &Digest,
    size: u64,
    name: Option<String>,
) -> Result<Descriptor, ManifestError> {
    let mut entry = written::descriptor(media_type, digest, size)?;
    entry.set_artifact_type(artifact_type.map(|kind| MediaType::from(kind.as_str())));
    let names = |name: String| {
        HashMap::from([(CONTAINERD_NAME.to_owned(), name.clone()), (ANNOTATION_REF_NAME.to_owned(), name)])
    };
    entry.set_annotations(name.map(names));
    Ok(entry)
}

/// `index.json`: for each image an entry `REPO:TAG` and one `REPO@DIGEST`, because a Pod that is pinned by digest
/// finds its image only under the latter; for each referrer an entry without names. A name that two digests claim
/// is given to neither, because other readers would take the first one silently. (T-46) An image whose layers are not all
/// in the archive has an entry without names, so that containerd cannot register what it cannot run.
fn index(manifest: &BundleManifest, manifest_digest: Digest) -> Result<Vec<u8>, ManifestError> {
    let sizes = manifest.blobs.iter().map(|blob| (blob.digest, blob.size)).collect::<HashMap<_, _>>();
    let size = |digest: &Digest| {
        let missing = || ManifestError::Inconsistent(format!("{digest} has no blob"));
        sizes.get(digest).copied().ok_or_else(missing)
    };
    let tag_name = |image: &BundleImage| image.tag.as_ref().map(|tag| format!("{}:{tag}", image.repository));
    let mut claims = HashMap::<String, BTreeSet<Digest>>::new();
    for image in &manifest.images {
        if let Some(name) = tag_name(image) {
            claims.entry(name).or_default().insert(image.digest);
        }
    }
    let (mut manifests, mut named) = (Vec::new(), BTreeSet::new());
    for image in &manifest.images {
        if image.partial {
            continue;
        }
        let tag = tag_name(image).filter(|name| claims.get(name).is_some_and(|digests| digests.len() == 1));
        for name in tag.into_iter().chain([format!("{}@{}", image.repository, image.digest)]) {
            if named.insert(name.clone()) {
                let kind = (image.media_type.as_str(), image.artifact_type.as_ref());
                manifests.push(entry(kind, &image.digest, size(&image.digest)?, Some(name))?);
            }
        }
    }
    let mut unnamed = BTreeSet::new();
    for image in manifest.images.iter().filter(|image| image.partial) {
        if unnamed.insert(image.digest) {
            let kind = (image.media_type.as_str(), image.artifact_type.as_ref());
            manifests.push(entry(kind, &image.digest, size(&image.digest)?, None)?);
        }
    }
    for referrer in manifest.images.iter().flat_map(|image| &image.referrers) {
        if unnamed.insert(referrer.digest) {
            let kind = (referrer.media_type.as_str(), referrer.artifact_type.as_ref());
            manifests.push(entry(kind, &referrer.digest, size(&referrer.digest)?, None)?);
        }
    }
    let annotations = HashMap::from([(MANIFEST_ANNOTATION.to_owned(), manifest_digest.to_string())]);
    Ok(written::index(manifests, Some(annotations))?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use oci_spec::image::OciLayoutBuilder;

    use super::*;
    use crate::bundle::format::manifest::tests::example;
    use crate::json;

    #[test]
    fn pieces_and_contents_fill_the_archive_without_gap_or_overlap() {
        let manifest = example();
        let encoded = manifest.encode().unwrap();
        let layout = Layout::new(&manifest, &encoded).unwrap();
        let mut parts = layout
            .pieces(&manifest)
            .unwrap()
            .iter()
            .map(|p| (p.offset, p.bytes.len() as u64))
            .collect::<Vec<_>>();
        parts.push((MANIFEST_AT, layout.manifest_size));
        parts.push((layout.signatures_at, SIGNATURES_SIZE as u64));
        parts.extend(layout.sets_at.iter().zip(&manifest.sets).map(|(at, set)| (*at, set.size)));
        let blob = |b: &crate::bundle::format::content::BundleBlob| {
            (layout.blobs_at + b.offset - HEADER, HEADER + padded(b.size))
        };
        parts.extend(manifest.blobs.iter().map(blob));
        parts.sort_unstable();
        let end = parts.into_iter().filter(|part| part.1 > 0).fold(0, |at, (offset, size)| {
            assert_eq!(at, offset);
            offset + size
        });
        assert_eq!(end, layout.size());
    }

    /// A change of these values is a change of the format: existing archives could not be read any more.
    #[test]
    fn version_1_of_the_format_does_not_drift() {
        let manifest = example();
        let encoded = manifest.encode().unwrap();
        let layout = Layout::new(&manifest, &encoded).unwrap();
        let mut all = encoded.clone();
        for piece in layout.pieces(&manifest).unwrap() {
            all.extend(piece.offset.to_be_bytes());
            all.extend(piece.bytes);
        }
        all.extend(header(&blob_path(&manifest.blobs[0].digest), 9 << 30).unwrap());
        assert_eq!(Digest::of(&encoded).short(), "ca9bd8a0162b");
        assert_eq!(Digest::of(&all).short(), "fd57b4e9d231");
    }

    #[test]
    fn the_layout_is_marked_as_oci_spec_writes_it() {
        let layout = OciLayoutBuilder::default().image_layout_version("1.0.0").build().unwrap();
        assert_eq!(json::sorted(&layout).unwrap(), OCI_LAYOUT_CONTENT);
    }

    #[test]
    fn sizes_of_eight_gibibytes_and_more_fit_a_header() {
        for size in [0, 1, 8 << 30, 1 << 40] {
            let bytes = header("blobs/sha256/x", size).unwrap();
            assert_eq!(tar::Header::from_byte_slice(&bytes).entry_size().unwrap(), size);
        }
    }

    #[test]
    fn t46_a_tag_that_two_digests_claim_names_neither() {
        let mut manifest = example();
        let text = |m: &BundleManifest| String::from_utf8(index(m, Digest::of(b"")).unwrap()).unwrap();
        assert!(json::is_canonical(text(&manifest).as_bytes()));
        assert_eq!(text(&manifest).matches("docker.io/library/nginx:1.25\"").count(), 2);
        assert_eq!(text(&manifest).matches("docker.io/library/nginx@sha256:").count(), 2);
        let mut second = manifest.images[0].clone();
        second.digest = manifest.blobs[1].digest;
        manifest.images.push(second);
        assert_eq!(text(&manifest).matches("docker.io/library/nginx:1.25\"").count(), 0);
        assert_eq!(text(&manifest).matches("docker.io/library/nginx@sha256:").count(), 4);
    }
}
