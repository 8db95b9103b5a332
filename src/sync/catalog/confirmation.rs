// SPDX-License-Identifier: Apache-2.0
//! What a receipt says about a bundle that went out.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::CatalogError;
use crate::bundle::StreamName;
use crate::bundle::sign::KeyId;
use crate::format::FIRST_VERSION;
use crate::oci::digest::Digest;
use crate::sync::receipt::{ImportedBundle, Origin, ShortReceipt, SiteName, SiteReceipt};

/// A site has imported a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Confirmation {
    /// When the site said so.
    pub created_at: Timestamp,
    /// Digest of the bundle's manifest.
    pub digest: Digest,
    /// Version of the format of this line.
    pub format_version: u32,
    /// The highest format version of bundles that the importer reads.
    pub reads: u32,
    /// When the line was written.
    pub received_at: Timestamp,
    /// Sequence of the bundle.
    pub sequence: u64,
    /// The key of the receipt's signature, if it was known and is valid; absent: who made the receipt was not verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// The site.
    pub site: SiteName,
    /// Stream of the bundle.
    pub stream: StreamName,
}

impl Confirmation {
    /// What a short receipt confirms.
    pub fn of_short(receipt: &ShortReceipt, origin: &Origin, received_at: Timestamp) -> Self {
        let content = receipt.content();
        Self {
            created_at: content.created_at,
            digest: content.digest,
            format_version: FIRST_VERSION,
            reads: content.reads,
            received_at,
            sequence: content.sequence,
            signed_by: verified(origin),
            site: content.site.clone(),
            stream: content.stream.clone(),
        }
    }

    /// What the receipt of a site confirms: one bundle of each stream, the newest.
    pub fn of_site(receipt: &SiteReceipt, origin: &Origin, received_at: Timestamp) -> Vec<Self> {
        let of_bundle = |bundle: &ImportedBundle| Self {
            created_at: receipt.created_at,
            digest: bundle.digest,
            format_version: FIRST_VERSION,
            reads: receipt.reads.bundle,
            received_at,
            sequence: bundle.sequence,
            signed_by: verified(origin),
            site: receipt.site.clone(),
            stream: bundle.stream.clone(),
        };
        receipt.newest_imported().map(of_bundle).collect()
    }

    pub(super) fn check(&self) -> Result<(), CatalogError> {
        match &self.signed_by {
            Some(key) if key.parse::<KeyId>().is_err() => {
                Err(CatalogError::Inconsistent("`signedBy` is not the name of a key".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

fn verified(origin: &Origin) -> Option<String> {
    match origin {
        Origin::Verified(id) => Some(KeyId::to_string(id)),
        Origin::UnknownKey(_) | Origin::NotSigned => None,
    }
}
