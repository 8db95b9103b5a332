// SPDX-License-Identifier: Apache-2.0
//! The ConfigMaps in which the importer keeps the receipt of its site, as it writes them and `krs` reads them.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::registry::MAX_RECEIPT;
use super::site_name::SiteName;
use crate::oci::digest::Digest;

/// The ConfigMap that names the parts of the receipt. Its data is a [`ReceiptIndex`].
pub const RECEIPT_MAP: &str = "krs-receipt";
/// The key of the text in the ConfigMap of a part.
pub const RECEIPT_PART_KEY: &str = "part";
/// Most bytes of the receipt in one ConfigMap, which takes one mebibyte with its names.
pub const MAX_RECEIPT_PART: usize = 900 << 10;
const MAX_PARTS: usize = MAX_RECEIPT / MAX_RECEIPT_PART + 1;
/// Hex digits of the receipt's digest in the names of its parts.
const DIGITS: usize = 12;

/// The data of [`RECEIPT_MAP`]: what a reader must know of a receipt whose JSON is in other ConfigMaps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptIndex {
    /// When the receipt was made.
    pub created_at: Timestamp,
    /// SHA-256 of the JSON.
    pub digest: Digest,
    /// Into how many parts it is divided; as text, because the values of a ConfigMap are.
    #[serde(serialize_with = "write_number", deserialize_with = "read_number")]
    pub parts: usize,
    /// The public key of the site.
    #[serde(rename = "site.pub")]
    pub public_key: String,
    /// Short receipts, one in a line; empty: no bundle was imported.
    #[serde(default)]
    pub short: String,
    /// The detached signature of the JSON.
    #[serde(rename = "receipt.json.minisig")]
    pub signature: String,
    /// The site.
    pub site: SiteName,
}

impl ReceiptIndex {
    /// The names of the ConfigMaps with the parts, in their order.
    pub fn part_names(&self) -> impl Iterator<Item = String> {
        (0..self.parts).map(|number| part_name(&self.digest, number))
    }
}

/// The name of the ConfigMap with part `number` of the receipt with this digest. Parts of two receipts never have one name, so
/// that a receipt can be read until the next one is complete.
pub fn part_name(digest: &Digest, number: usize) -> String {
    format!("{RECEIPT_MAP}-{}-{number}", digest.hex().chars().take(DIGITS).collect::<String>())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn write_number<S: Serializer>(number: &usize, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

fn read_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let text = String::deserialize(deserializer)?;
    let number = text.parse::<usize>().ok().filter(|number| (1..=MAX_PARTS).contains(number));
    number.ok_or_else(|| {
        serde::de::Error::custom(format_args!("its number of parts is not one of 1 to {MAX_PARTS}"))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn data() -> Value {
        json!({
            "createdAt": "2026-11-27T20:00:00Z",
            "digest": Digest::of(b"receipt").to_string(),
            "parts": "2",
            "receipt.json.minisig": "s",
            "short": "t",
            "site": "berlin",
            "site.pub": "p",
        })
    }

    #[test]
    fn the_index_is_the_text_of_a_config_map() {
        let index = serde_json::from_value::<ReceiptIndex>(data()).unwrap();
        assert_eq!(serde_json::to_value(&index).unwrap(), data());
        assert!(serde_json::from_value::<BTreeMap<String, String>>(data()).is_ok());
        let names = index.part_names().collect::<Vec<_>>();
        assert_eq!(names, [part_name(&index.digest, 0), part_name(&index.digest, 1)]);
        assert!(names[1].starts_with("krs-receipt-") && names[1].ends_with("-1"), "{names:?}");
    }

    #[test]
    fn a_number_of_parts_that_no_receipt_has_is_refused() {
        for parts in ["0", "-1", "1000000", "", "2 "] {
            let mut data = data();
            data["parts"] = parts.into();
            assert!(serde_json::from_value::<ReceiptIndex>(data).is_err(), "{parts}");
        }
    }
}
