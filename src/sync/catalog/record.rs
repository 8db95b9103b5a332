// SPDX-License-Identifier: Apache-2.0
//! One line of a catalog.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::confirmation::Confirmation;
use super::error::CatalogError;
use crate::bundle::{BaseSource, Bundle, BundledImages, StreamName};
use crate::format::{FIRST_VERSION, is_supported, stated_version};
use crate::json::{self, JsonError};
use crate::oci::closure::Closure;
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::{Reference, RepositoryName};
use crate::redact::printable;

/// Longest line, in bytes: the largest bundle has some 100,000 blobs and 10,000 images.
pub const MAX_LINE: usize = 64 << 20;

/// What a line of a catalog records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Record {
    /// A bundle went out.
    Bundle(SentBundle),
    /// A site said that it has imported a bundle.
    Confirmation(Confirmation),
}

/// A bundle that was written, and what a site has once it has imported it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SentBundle {
    /// Sites that the bundle is meant for; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<String>,
    /// What a delta was made against; empty: it is a full bundle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base: Vec<BaseSource>,
    /// Bytes of the archive.
    pub bytes: u64,
    /// When the content was decided, as the bundle states it.
    pub created_at: Timestamp,
    /// Digest of the bundle's manifest.
    pub digest: Digest,
    /// Name of the file, without its folder.
    pub file: String,
    /// Version of the format of this line.
    pub format_version: u32,
    /// What of the bundle decides ([`crate::bundle::BundleManifest::identity`]).
    pub identity: Digest,
    /// The images, in the order of the bundle.
    pub images: Vec<SentImage>,
    /// Each layer once, also those of the base, with its bytes.
    pub layers: Vec<(Digest, u64)>,
    /// Indexes, manifests and configs, each once, with their bytes.
    pub other_blobs: Vec<(Digest, u64)>,
    /// When the line was written.
    pub sent_at: Timestamp,
    /// Its number in the stream.
    pub sequence: u64,
    /// Keys whose signatures the bundle carries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed_by: Vec<String>,
    /// The stream.
    pub stream: StreamName,
}

/// An image of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SentImage {
    /// The top manifest or index.
    pub digest: Digest,
    /// Its layers and those of its referrers, as positions in [`SentBundle::layers`].
    pub layers: Vec<u32>,
    /// Platforms of the image that the bundle has; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// The reference of the sets.
    pub reference: Reference,
    /// The repositories in which the sets put it, below the destination's prefix.
    pub repositories: Vec<RepositoryName>,
}

impl SentBundle {
    /// The record of a bundle whose images were read.
    pub fn new(bundle: &Bundle, images: &BundledImages, sent_at: Timestamp) -> Self {
        let manifest = bundle.manifest();
        let mut repositories = HashMap::<String, BTreeSet<RepositoryName>>::new();
        for image in bundle.sets().iter().flat_map(|set| &set.images) {
            let names = repositories.entry(image.reference.to_string()).or_default();
            names.insert(image.repository.clone());
        }
        let mut layers = Blobs::default();
        let mut other_blobs = Blobs::default();
        let mut sent = Vec::with_capacity(images.images.len());
        for (entry, image) in manifest.images.iter().zip(&images.images) {
            let closures =
                std::iter::once(&image.closure).chain(image.referrers.iter().map(|(_, closure)| closure));
            let mut positions = BTreeSet::new();
            for closure in closures {
                positions.extend(closure.layers().map(|layer| layers.position(layer.digest, layer.size)));
                for blob in manifests_and_configs(closure) {
                    other_blobs.position(blob.0, blob.1);
                }
            }
            sent.push(SentImage {
                digest: entry.digest,
                layers: positions.into_iter().collect(),
                platforms: entry.platforms.clone(),
                reference: entry.reference.clone(),
                repositories: repositories
                    .get(&entry.reference.to_string())
                    .map(|names| names.iter().cloned().collect())
                    .unwrap_or_default(),
            });
        }
        Self {
            audience: manifest.audience.clone(),
            base: manifest.base.iter().flat_map(|base| base.sources.clone()).collect(),
            bytes: bundle.size(),
            created_at: manifest.created_at,
            digest: bundle.digest(),
            file: printable(bundle.path().file_name().unwrap_or_default(), 200),
            format_version: FIRST_VERSION,
            identity: bundle.identity(),
            images: sent,
            layers: layers.list,
            other_blobs: other_blobs.list,
            sent_at,
            sequence: manifest.sequence,
            signed_by: bundle.key_ids().iter().map(ToString::to_string).collect(),
            stream: manifest.stream.clone(),
        }
    }

    fn check(&self) -> Result<(), CatalogError> {
        let wrong = |what: String| Err(CatalogError::Inconsistent(what));
        for text in self.audience.iter().chain([&self.file]).chain(&self.signed_by) {
            if printable(text, 300) != *text || text.is_empty() {
                return wrong(format!("`{}` is not plain text", printable(text, 300)));
            }
        }
        for blobs in [&self.layers, &self.other_blobs] {
            let mut digests = HashSet::with_capacity(blobs.len());
            if let Some((twice, _)) = blobs.iter().find(|(digest, _)| !digests.insert(digest)) {
                return wrong(format!("{twice} occurs twice"));
            }
        }
        let is_known = |position: &u32| (*position as usize) < self.layers.len();
        match self.images.iter().find(|image| !image.layers.iter().all(is_known)) {
            Some(image) => wrong(format!("{} has a layer that is not listed", image.reference)),
            None => Ok(()),
        }
    }
}

fn manifests_and_configs(closure: &Closure) -> impl Iterator<Item = (Digest, u64)> {
    let configs = closure.blobs.iter().filter(|content| !closure.is_layer(&content.digest));
    closure.manifests.iter().chain(configs).map(|blob| (blob.digest, blob.size))
}

/// Blobs in the order in which they were first named, each once.
#[derive(Default)]
struct Blobs {
    list: Vec<(Digest, u64)>,
    positions: HashMap<Digest, u32>,
}

impl Blobs {
    fn position(&mut self, digest: Digest, size: u64) -> u32 {
        // A bundle has fewer than 2^32 blobs: its manifest is bounded.
        let next = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        *self.positions.entry(digest).or_insert_with(|| {
            self.list.push((digest, size));
            next
        })
    }
}

impl Record {
    /// Reads one line, strictly.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn parse(line: &[u8]) -> Result<Self, CatalogError> {
        let version = stated_version(line, MAX_LINE)?;
        if !is_supported(version) {
            return Err(CatalogError::Version(version));
        }
        let record = serde_json::from_slice::<Self>(line).map_err(JsonError::from)?;
        match &record {
            Self::Bundle(bundle) => bundle.check()?,
            Self::Confirmation(confirmation) => confirmation.check()?,
        }
        Ok(record)
    }

    /// The line, with the new line that ends it.
    ///
    /// # Errors
    /// None in practice: every field can be expressed in JSON.
    pub fn encode(&self) -> Result<Vec<u8>, CatalogError> {
        let mut line = json::sorted(self)?;
        line.push(b'\n');
        Ok(line)
    }
}
