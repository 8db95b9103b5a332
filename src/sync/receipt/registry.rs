// SPDX-License-Identifier: Apache-2.0
//! The content of one registry, as `krs receipt` scanned it. On the connected side, `krs bundle --against` leaves out the
//! layers that it lists.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::ReceiptError;
use crate::format::{self, LaterField};
use crate::json::{self, JsonError};
use crate::oci::digest::Digest;
use crate::oci::reference::{RegistryHost, RepositoryName, Tag};
use crate::redact::printable;

/// Largest receipt, in bytes.
pub const MAX_RECEIPT: usize = 64 << 20;
/// Most entries of [`Receipt::incomplete`].
pub const MAX_INCOMPLETE: usize = 10_000;
/// Longest name and longest reason of such an entry, in characters.
pub const MAX_INCOMPLETE_TEXT: usize = 300;

/// The verified content of one registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receipt {
    /// The detected capabilities of the registry.
    pub abilities: RegistryCapabilities,
    /// When the registry was scanned.
    pub created_at: Timestamp,
    /// Version of the format: at least [`Receipt::lowest_version`].
    pub format_version: u32,
    /// What is not in the receipt, sorted by repository and name. Since format version 2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<ReceiptIncomplete>,
    /// The registry, by the name that was used.
    pub registry: RegistryHost,
    /// Its repositories, sorted by name, each once.
    pub repositories: Vec<ReceiptRepository>,
    /// The site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Name and version of the program that made it.
    pub tool: String,
}

/// The detected capabilities of a registry; absent: not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegistryCapabilities {
    /// Whether it accepts an index whose images are not all present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparse_index: Option<bool>,
}

/// A repository and its verified content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReceiptRepository {
    /// Configs and layers of the complete images, sorted by digest.
    pub blobs: Vec<ReceiptBlob>,
    /// Indexes and manifests, sorted.
    pub manifests: Vec<Digest>,
    /// Its name, with the destination's prefix.
    pub name: RepositoryName,
    /// What each tag names.
    pub tags: BTreeMap<Tag, Digest>,
}

/// An image that is incomplete in the registry, or that could not be read. Its blobs are not in the receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReceiptIncomplete {
    /// Tag or digest; absent: the list of the repository's tags could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Why, in one line.
    pub reason: String,
    /// Repository, with the destination's prefix.
    pub repository: RepositoryName,
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

impl Receipt {
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
    /// None in practice: every field can be expressed in JSON.
    pub fn encode(&self) -> Result<Vec<u8>, ReceiptError> {
        Ok(json::canonical(self)?)
    }

    /// The fields in use that came with a later version than the first.
    pub fn later_fields(&self) -> Vec<LaterField> {
        let field = || LaterField { version: 2, name: "incomplete", owner: "the receipt".to_owned() };
        (!self.incomplete.is_empty()).then(field).into_iter().collect()
    }

    /// The lowest version that can express this receipt.
    pub fn lowest_version(&self) -> u32 {
        format::lowest_version(&self.later_fields())
    }

    /// Removes the fields that came with a later version than `highest`, sets the lowest version that is left, and
    /// returns the removed fields. The listed content stays the same.
    pub fn restrict_to(&mut self, highest: u32) -> Vec<LaterField> {
        let removed = self.later_fields().into_iter().filter(|field| field.version > highest).collect();
        if highest < 2 {
            self.incomplete.clear();
        }
        self.format_version = self.lowest_version();
        removed
    }

    fn check(&self) -> Result<(), ReceiptError> {
        let bad = |what: String| Err(ReceiptError::Inconsistent(what));
        if let Some(field) = self.later_fields().into_iter().find(|field| field.version > self.format_version)
        {
            return bad(format!("{field}, and it is of version {}", self.format_version));
        }
        let sorted = self.incomplete.is_sorted_by_key(|entry| (&entry.repository, &entry.name));
        if self.incomplete.len() > MAX_INCOMPLETE || !sorted {
            return bad("`incomplete` is not in order or has too many entries".to_owned());
        }
        let incomplete = self.incomplete.iter().flat_map(|entry| entry.name.iter().chain([&entry.reason]));
        for text in incomplete {
            let shown = printable(text, MAX_INCOMPLETE_TEXT);
            if shown != *text || text.is_empty() {
                return bad(format!("`{shown}` is not plain text"));
            }
        }
        for text in self.site.iter().chain([&self.tool]) {
            let shown = printable(text, 300);
            if shown != *text || text.is_empty() {
                return bad(format!("`{shown}` is not plain text"));
            }
        }
        let mut seen = HashSet::new();
        for repository in &self.repositories {
            if !seen.insert(&repository.name) {
                return bad(format!("repository {} occurs twice", repository.name));
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

    /// Its name in the list of a delta's sources.
    pub fn title(&self) -> String {
        match &self.site {
            Some(site) => format!("{} of {site}", self.registry),
            None => self.registry.to_string(),
        }
    }
}

/// Reads a receipt of either kind whose version and limits were checked.
pub(super) fn parse_checked<T: DeserializeOwned>(
    bytes: &[u8],
    version: u32,
    check: impl FnOnce(&T) -> Result<(), ReceiptError>,
) -> Result<T, ReceiptError> {
    if !format::is_supported(version) {
        return Err(ReceiptError::Version(version));
    }
    let receipt = serde_json::from_slice(bytes).map_err(JsonError::from)?;
    check(&receipt)?;
    Ok(receipt)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::format::FORMAT_VERSION;

    fn example() -> Receipt {
        let (manifest, layer) = (Digest::of(b"manifest"), Digest::of(b"layer"));
        Receipt {
            abilities: RegistryCapabilities { sparse_index: Some(true) },
            created_at: "2026-11-24T04:00:00Z".parse().unwrap(),
            format_version: format::FIRST_VERSION,
            incomplete: vec![],
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
    fn what_is_incomplete_needs_version_2_and_is_left_out_for_an_older_krs() {
        let entry = |repository: &str, name: Option<&str>| ReceiptIncomplete {
            name: name.map(str::to_owned),
            reason: "its list of tags could not be read".to_owned(),
            repository: repository.parse().unwrap(),
        };
        let mut receipt = example();
        receipt.incomplete = vec![entry("a", Some("1.0")), entry("b", None), entry("b", Some("1.0"))];
        let parse = |receipt: &Receipt| Receipt::parse(&receipt.encode().unwrap());
        let error = parse(&receipt).unwrap_err().to_string();
        assert!(error.contains("`incomplete` of the receipt needs format version 2"), "{error}");
        assert_eq!(receipt.restrict_to(FORMAT_VERSION), []);
        assert_eq!(receipt.format_version, 2);
        assert!(json::is_canonical(&receipt.encode().unwrap()));
        assert_eq!(parse(&receipt).unwrap(), receipt);
        let mut wrong = receipt.clone();
        wrong.incomplete.swap(0, 1);
        assert!(parse(&wrong).is_err(), "not in order");
        wrong.incomplete = vec![entry("a", None); MAX_INCOMPLETE + 1];
        assert!(parse(&wrong).is_err(), "too many");
        wrong.incomplete = vec![entry("a", Some("\u{1b}[31m"))];
        assert!(parse(&wrong).is_err(), "not plain");
        assert_eq!(receipt.restrict_to(1).len(), 1);
        assert_eq!(receipt, example());
    }

    #[test]
    fn a_receipt_that_was_tampered_with_or_comes_from_a_later_krs_is_refused() {
        let text = String::from_utf8(example().encode().unwrap()).unwrap();
        let refused = |text: &str| Receipt::parse(text.as_bytes()).unwrap_err().to_string();
        let later = format!("\"formatVersion\":{}", FORMAT_VERSION + 1);
        let error = refused(&text.replace("\"formatVersion\":1", &later));
        assert!(error.contains(&format!("version {}; this krs reads up to", FORMAT_VERSION + 1)), "{error}");
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
