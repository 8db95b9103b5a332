// SPDX-License-Identifier: Apache-2.0
//! A receipt of which it is not known of what kind it is.

use serde::Deserialize;

use super::error::ReceiptError;
use super::registry::{MAX_RECEIPT, Receipt};
use super::short::{SHORT_RECEIPT_PREFIX, ShortReceipt};
use super::site::SiteReceipt;
use crate::json;

/// A receipt of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnyReceipt {
    /// Of one registry.
    Registry(Receipt),
    /// Of a site.
    Site(SiteReceipt),
    /// Short ones, of one bundle each.
    Short(Vec<ShortReceipt>),
}

impl AnyReceipt {
    /// Reads the content of a file. A text may have several short receipts.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Head {
            format_version: u32,
            #[serde(default)]
            kind: Option<serde::de::IgnoredAny>,
        }
        if let Some(text) = text(bytes).filter(|text| text.starts_with(SHORT_RECEIPT_PREFIX)) {
            return ShortReceipt::parse_all(text).map(Self::Short);
        }
        let head = json::parse::<Head>(bytes, MAX_RECEIPT)?;
        if head.kind.is_some() {
            return SiteReceipt::parse_version(bytes, head.format_version).map(Self::Site);
        }
        Receipt::parse_version(bytes, head.format_version).map(Self::Registry)
    }
}

/// The text of a file, if it may be one of a person.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).ok().map(str::trim_start)
}
