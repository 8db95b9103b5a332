// SPDX-License-Identifier: Apache-2.0
//! The receipt of a site, as its importer writes it. It names images and not blobs: which layers an image has follows from
//! its digest, on the side that has the catalog or reaches the source registries, so that the receipt of 3000 images stays
//! below one mebibyte.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::ReceiptError;
use super::registry::{MAX_RECEIPT, RegistryCapabilities, parse_checked};
use super::site_name::SiteName;
use crate::bundle::StreamName;
use crate::format::{self, FORMAT_VERSION};
use crate::json;
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::{Reference, RegistryHost, RepositoryName, Tag};
use crate::redact::printable;

/// The format version that receipts of sites came with.
const SINCE: u32 = 2;
/// Most entries of [`SiteReceipt::awaited`].
pub const MAX_AWAITED: usize = 10_000;
/// Most entries of [`SiteReceipt::refused`].
pub const MAX_REFUSED: usize = 1000;
/// Longest text that a person reads, in characters.
const MAX_TEXT: usize = 1024;

/// What a site has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SiteReceipt {
    /// Images that the sets of the site list and that are not present yet, sorted, each once; the first
    /// [`MAX_AWAITED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub awaited: Vec<AwaitedImage>,
    /// When this was so.
    pub created_at: Timestamp,
    /// Version of the format.
    pub format_version: u32,
    /// Bundles that were imported, sorted, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imported: Vec<ImportedBundle>,
    /// Always `site`: distinguishes it from the receipt of one registry.
    pub kind: SiteKind,
    /// Formats that the importer reads.
    pub reads: ReadableFormats,
    /// Bundles that were refused, sorted; the first [`MAX_REFUSED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedBundle>,
    /// The edge registries, sorted by name, each once.
    pub registries: Vec<SiteRegistry>,
    /// The site.
    pub site: SiteName,
    /// Name and version of the program that made it.
    pub tool: String,
}

/// Distinguishes a [`SiteReceipt`] from the receipt of one registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SiteKind {
    /// A receipt of a site.
    #[default]
    Site,
}

/// An image that is not present yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AwaitedImage {
    /// Requested platforms; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// The reference of the sets.
    pub reference: Reference,
}

/// A bundle of which nothing is left to copy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportedBundle {
    /// When its content was decided.
    pub created_at: Timestamp,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Its number in the stream.
    pub sequence: u64,
    /// The stream.
    pub stream: StreamName,
}

/// A bundle that the importer does not use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RefusedBundle {
    /// Its file in the drop folder.
    pub file: String,
    /// What a person should know or do.
    pub message: String,
    /// The reason of the condition, for example `SignatureInvalid`.
    pub reason: String,
    /// Its number in the stream; absent: not known, or not to be trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The stream; absent: not known, or not to be trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamName>,
}

/// The highest format versions that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReadableFormats {
    /// Of bundles.
    pub bundle: u32,
    /// Of receipts.
    pub receipt: u32,
}

impl ReadableFormats {
    /// What this code reads.
    pub const CURRENT: Self = Self { bundle: FORMAT_VERSION, receipt: FORMAT_VERSION };
}

/// The images at one registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SiteRegistry {
    /// The detected capabilities of the registry: only what it refused. The importer does not probe it.
    pub abilities: RegistryCapabilities,
    /// The registry, by the name that the sets use.
    pub registry: RegistryHost,
    /// Its repositories, sorted by name, each once.
    pub repositories: Vec<SiteRepository>,
}

/// The images in one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SiteRepository {
    /// Its name, with the destination's prefix.
    pub name: RepositoryName,
    /// The images, sorted.
    pub roots: Vec<SiteRoot>,
}

/// An image that is present: the manifest or index that a set names. All of it that was requested is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SiteRoot {
    /// Digest of the manifest or index.
    pub digest: Digest,
    /// The platforms that are present; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// The reference of the sets, at the source.
    pub reference: Reference,
    /// Tags that name it, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

impl SiteReceipt {
    /// A receipt without content, of this version of the program.
    pub fn empty(site: SiteName, created_at: Timestamp, tool: String) -> Self {
        Self {
            awaited: Vec::new(),
            created_at,
            format_version: SINCE,
            imported: Vec::new(),
            kind: SiteKind::Site,
            reads: ReadableFormats::CURRENT,
            refused: Vec::new(),
            registries: Vec::new(),
            site,
            tool,
        }
    }

    /// Reads a receipt, strictly.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        Self::parse_version(bytes, format::stated_version(bytes, MAX_RECEIPT)?)
    }

    /// Reads a receipt whose version was read, with all limits of [`json::parse`].
    pub(super) fn parse_version(bytes: &[u8], version: u32) -> Result<Self, ReceiptError> {
        parse_checked(bytes, version, Self::check)
    }

    /// The receipt as JSON, in canonical form.
    ///
    /// # Errors
    /// [`ReceiptError::Inconsistent`] for a value that [`SiteReceipt::parse`] would refuse.
    pub fn encode(&self) -> Result<Vec<u8>, ReceiptError> {
        self.check()?;
        Ok(json::canonical(self)?)
    }

    /// All images that are present, with their registry and repository.
    pub fn roots(&self) -> impl Iterator<Item = (&RegistryHost, &RepositoryName, &SiteRoot)> {
        self.registries.iter().flat_map(|registry| {
            registry.repositories.iter().flat_map(move |repository| {
                repository.roots.iter().map(move |root| (&registry.registry, &repository.name, root))
            })
        })
    }

    /// The newest imported bundle of each stream.
    pub fn newest_imported(&self) -> impl Iterator<Item = &ImportedBundle> {
        let groups = self.imported.chunk_by(|a, b| a.stream == b.stream);
        groups.filter_map(<[ImportedBundle]>::last)
    }

    fn check(&self) -> Result<(), ReceiptError> {
        let bad = |what: String| Err(ReceiptError::Inconsistent(what));
        if self.format_version < SINCE {
            let version = self.format_version;
            return bad(format!(
                "receipts of sites came with format version {SINCE}, and it is of {version}"
            ));
        }
        if self.awaited.len() > MAX_AWAITED || !is_sorted(&self.awaited) {
            return bad("`awaited` is not in order or has too many entries".to_owned());
        }
        if self.refused.len() > MAX_REFUSED || !self.refused.is_sorted() {
            return bad("`refused` is not in order or has too many entries".to_owned());
        }
        let order = |bundle: &ImportedBundle| (bundle.stream.clone(), bundle.sequence, bundle.digest);
        if !self.imported.is_sorted_by(|a, b| order(a) < order(b)) {
            return bad("`imported` is not in order".to_owned());
        }
        if !self.registries.is_sorted_by(|a, b| a.registry < b.registry) {
            return bad("`registries` is not in order".to_owned());
        }
        for registry in &self.registries {
            if !registry.repositories.is_sorted_by(|a, b| a.name < b.name) {
                return bad(format!("the repositories of {} are not in order", registry.registry));
            }
            let wrong = registry.repositories.iter().find(|repository| {
                !is_sorted(&repository.roots) || repository.roots.iter().any(|root| !is_sorted(&root.tags))
            });
            if let Some(repository) = wrong {
                return bad(format!("the images of {} are not in order", repository.name));
            }
        }
        let refused = self.refused.iter().flat_map(|bundle| [&bundle.file, &bundle.message, &bundle.reason]);
        for text in refused.chain([&self.tool]) {
            let shown = printable(text, MAX_TEXT);
            if shown != *text || text.is_empty() {
                return bad(format!("`{}` is not plain text", printable(text, 300)));
            }
        }
        Ok(())
    }
}

/// Whether each is greater than the one before.
fn is_sorted<T: Ord>(values: &[T]) -> bool {
    values.is_sorted_by(|a, b| a < b)
}
