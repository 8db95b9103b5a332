// SPDX-License-Identifier: Apache-2.0
//! The OCI image layout (OCI image-spec, "Image Layout"), as skopeo, containerd, BuildKit, regctl, oras, newer versions of
//! `docker save`, and krs write it.

use std::collections::HashSet;

use serde::Deserialize;

use super::error::{FileError, LocalError};
use super::listing::Listing;
use super::store::Store;
use crate::json;
use crate::oci::digest::{ContentMismatch, Digest};
use crate::oci::{self, Descriptor, MAX_INDEX_DEPTH, MAX_MANIFEST, ManifestOrIndex};

/// The file that lists the images.
pub(super) const INDEX: &str = "index.json";
/// Largest `index.json`, in bytes.
pub(super) const MAX_INDEX: u64 = 32 << 20;
/// Most manifests that a source may have.
const MAX_MANIFESTS: usize = 50_000;
/// Most bytes of all manifests of a source; they are read, but not kept.
const MAX_MANIFEST_BYTES: u64 = 1 << 30;

/// Names of an image, the first that is a full one counts. `org.opencontainers.image.ref.name` is often a tag alone.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// `index.json`, which may list more than an index of a registry, and nothing.
#[derive(Deserialize)]
struct Root {
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
}

/// The name of the file of a digest.
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Reads `index.json`, and the manifests that it leads to.
pub(super) fn read(store: &Store, index: &[u8], location: &str) -> Result<Listing, LocalError> {
    let limit = usize::try_from(MAX_INDEX).unwrap_or(usize::MAX);
    let root = json::parse::<Root>(index, limit).map_err(|e| LocalError::file(location, INDEX, e))?;
    let entries = root.manifests.unwrap_or_default();
    let mut listing = Listing::default();
    for entry in entries.iter().filter(|entry| oci::is_manifest(&entry.media_type)) {
        listing.add(entry);
        let names = NAMES.iter().filter_map(|name| entry.annotation(name)).collect::<Vec<_>>();
        let full = names.iter().find(|name| name.parse::<oci::reference::Reference>().is_ok());
        if let Some(name) = full.or(names.first()) {
            listing.add_name(name, entry);
        }
    }
    let mut seen = HashSet::new();
    let mut bytes = 0_u64;
    let mut level = entries;
    // One level more than indexes may lie in each other: what is deeper is refused where it is used.
    for _ in 0..=MAX_INDEX_DEPTH + 1 {
        let mut next = Vec::new();
        for descriptor in level {
            if !oci::is_manifest(&descriptor.media_type) || !seen.insert(descriptor.digest) {
                continue;
            }
            let name = blob_name(&descriptor.digest);
            let too_many = || FileError::TooMany { what: "manifests", limit: MAX_MANIFESTS };
            // One that is absent matters only where its image is needed: exports of containerd for one platform have
            // such indexes.
            let Some(content) = store.read(&name, MAX_MANIFEST).map_err(|e| e.of(location, &name))? else {
                continue;
            };
            bytes = bytes.saturating_add(content.len() as u64);
            if seen.len() > MAX_MANIFESTS || bytes > MAX_MANIFEST_BYTES {
                return Err(LocalError::file(location, INDEX, too_many()));
            }
            check(&descriptor.digest, &content).map_err(|e| LocalError::file(location, &name, e))?;
            listing.add(&descriptor);
            // What is not acceptable is refused where it is used, with the image that needs it.
            let Ok(manifest) = ManifestOrIndex::parse(&descriptor.media_type, &content) else { continue };
            if let Some(subject) = manifest.subject() {
                listing.add_referrer(subject.digest, &descriptor);
            }
            if let ManifestOrIndex::Index(index) = manifest {
                next.extend(index.manifests);
            }
        }
        level = next;
    }
    Ok(listing)
}

/// Compares content with its digest.
pub(super) fn check(digest: &Digest, content: &[u8]) -> Result<(), ContentMismatch> {
    let got = Digest::of(content);
    if got == *digest { Ok(()) } else { Err(ContentMismatch::Digest { expected: *digest, got }) }
}
