// SPDX-License-Identifier: Apache-2.0
//! What a site says that it has: a JSON document that travels back to the connected side, where `krs bundle --against`
//! leaves out the layers that it lists. Untrusted like all that travels: a false receipt costs a refusal at the site,
//! never a broken image.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::digest::Digest;
use crate::error::{Classify, ErrorKind};
use crate::json::{self, JsonError};
use crate::redact::printable;
use crate::reference::{RegistryHost, RepositoryName, Tag};

/// The version of the format that this code writes and reads.
pub const FORMAT_VERSION: u32 = 1;
/// Largest receipt, in bytes.
pub const MAX_RECEIPT: usize = 64 << 20;

/// What one registry was proven to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receipt {
    /// What the registry was seen to be able to do.
    pub abilities: Abilities,
    /// When the registry was looked at.
    pub created_at: Timestamp,
    /// Version of the format.
    pub format_version: u32,
    /// The registry, as it was asked.
    pub registry: RegistryHost,
    /// Its repositories, sorted by name, each once.
    pub repositories: Vec<ReceiptRepository>,
    /// The site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Name and version of the program that made it.
    pub tool: String,
}

/// What a registry was seen to be able to do; absent: not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Abilities {
    /// It takes an index some of whose images are not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparse_index: Option<bool>,
}

/// A repository and what was proven in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReceiptRepository {
    /// Configs and layers of the images that are whole, sorted by digest.
    pub blobs: Vec<ReceiptBlob>,
    /// Indexes and manifests, sorted.
    pub manifests: Vec<Digest>,
    /// Its name, with the destination's prefix.
    pub name: RepositoryName,
    /// What each tag names.
    pub tags: BTreeMap<Tag, Digest>,
}

/// A blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReceiptBlob {
    /// Digest of its content.
    pub digest: Digest,
    /// Bytes of its content.
    pub size: u64,
}

/// Why a receipt is not accepted.
#[derive(Debug, Error)]
pub enum ReceiptError {
    /// Not JSON of this shape.
    #[error("the receipt cannot be read: {0}")]
    Json(#[from] JsonError),
    /// Made by a later version of krs.
    #[error("the receipt is of format version {0}; this krs reads version {FORMAT_VERSION}")]
    Version(u32),
    /// It contradicts itself.
    #[error("the receipt contradicts itself: {0}")]
    Inconsistent(String),
}

impl Classify for ReceiptError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Corrupt
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Version(_) => "use a newer krs".to_owned(),
            _ => "make it again at the site: krs receipt REGISTRY --set PATH -o FILE".to_owned(),
        })
    }
}

/// Reads only the version, so that a later format is told from a damaged one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    format_version: u32,
}

impl Receipt {
    /// Reads a receipt, strictly.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        let Version { format_version } = json::parse(bytes, MAX_RECEIPT)?;
        if format_version != FORMAT_VERSION {
            return Err(ReceiptError::Version(format_version));
        }
        let receipt = serde_json::from_slice::<Self>(bytes).map_err(JsonError::from)?;
        receipt.check()?;
        Ok(receipt)
    }

    /// The receipt as a document, in canonical form.
    ///
    /// # Errors
    /// None in practice: every field can be expressed in JSON.
    pub fn encode(&self) -> Result<Vec<u8>, ReceiptError> {
        Ok(json::canonical(self)?)
    }

    fn check(&self) -> Result<(), ReceiptError> {
        let bad = |what: String| Err(ReceiptError::Inconsistent(what));
        for text in self.site.iter().chain([&self.tool]) {
            let shown = printable(text, 300);
            if shown != *text || text.is_empty() {
                return bad(format!("`{shown}` is not plain text"));
            }
        }
        let mut seen = HashSet::new();
        for repository in &self.repositories {
            if !seen.insert(&repository.name) {
                return bad(format!("repository {} stands twice", repository.name));
            }
            let sorted = repository.blobs.windows(2).all(|pair| pair[0].digest < pair[1].digest);
            if !sorted || !repository.manifests.is_sorted() {
                return bad(format!("what repository {} holds is not in order", repository.name));
            }
            if let Some((tag, _)) =
                repository.tags.iter().find(|(_, digest)| repository.manifests.binary_search(digest).is_err())
            {
                return bad(format!("tag {}:{tag} names what is not in it", repository.name));
            }
        }
        Ok(())
    }

    /// What it is called in a list of what a delta is made against.
    pub fn title(&self) -> String {
        match &self.site {
            Some(site) => format!("{} of {site}", self.registry),
            None => self.registry.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn example() -> Receipt {
        let (manifest, layer) = (Digest::of(b"manifest"), Digest::of(b"layer"));
        Receipt {
            abilities: Abilities { sparse_index: Some(true) },
            created_at: "2026-11-24T04:00:00Z".parse().unwrap(),
            format_version: FORMAT_VERSION,
            registry: "edge.local:5000".parse().unwrap(),
            repositories: vec![ReceiptRepository {
                blobs: vec![ReceiptBlob { digest: layer, size: 5 }],
                manifests: vec![manifest],
                name: "library/nginx".parse().unwrap(),
                tags: BTreeMap::from([("1.25".parse().unwrap(), manifest)]),
            }],
            site: Some("berlin".to_owned()),
            tool: "krs 0.1.0".to_owned(),
        }
    }

    #[test]
    fn a_receipt_is_canonical_and_reads_as_it_was_written() {
        let receipt = example();
        let bytes = receipt.encode().unwrap();
        assert!(json::is_canonical(&bytes));
        assert_eq!(Receipt::parse(&bytes).unwrap(), receipt);
    }

    #[test]
    fn a_receipt_that_was_tampered_with_or_comes_from_a_later_krs_is_refused() {
        let text = String::from_utf8(example().encode().unwrap()).unwrap();
        let refused = |text: &str| Receipt::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(refused(&text.replace("\"formatVersion\":1", "\"formatVersion\":2")).contains("version 2"));
        assert!(refused(&text.replace("\"site\"", "\"town\"")).contains("unknown field"));
        assert!(refused(&text.replace("berlin", "ber\\u001b[31mlin")).contains("not plain text"));
        assert!(refused("{}").contains("cannot be read"));
        let mut twice = example();
        twice.repositories.push(twice.repositories[0].clone());
        assert!(refused(&String::from_utf8(twice.encode().unwrap()).unwrap()).contains("twice"));
        let mut tag = example();
        tag.repositories[0].manifests.clear();
        assert!(refused(&String::from_utf8(tag.encode().unwrap()).unwrap()).contains("1.25"));
    }
}
