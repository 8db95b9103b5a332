// SPDX-License-Identifier: Apache-2.0
//! A short receipt: one line that says which bundle a site has imported, short enough to be typed into a mail or shown as a
//! QR code where no media may come back. What the site has after that bundle, the catalog knows.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::error::ReceiptError;
use super::site_name::SiteName;
use crate::bundle::StreamName;
use crate::bundle::sign::{CompactSignature, KeyId, SecretKey};
use crate::oci::digest::Digest;
use crate::redact::printable;

/// Longest short receipt, in bytes.
pub const MAX_SHORT_RECEIPT: usize = 300;
/// What each begins with. No receipt of another kind, and no manifest of a bundle, does: the keys may be the same.
pub const SHORT_RECEIPT_PREFIX: &str = "krs-receipt:";
/// Version of the form of the text.
const VERSION: &str = "1";
/// Most short receipts in one text: a site has few streams.
const MAX_IN_TEXT: usize = 1000;
/// How the time is written: RFC 3339 without what separates, so that no `:` is in it.
const TIME: &str = "%Y%m%dT%H%M%SZ";

/// What a short receipt says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortReceiptContent {
    /// The site.
    pub site: SiteName,
    /// The stream.
    pub stream: StreamName,
    /// Sequence of the newest bundle of the stream that was imported.
    pub sequence: u64,
    /// Digest of its manifest.
    pub digest: Digest,
    /// When this was so, in seconds.
    pub created_at: Timestamp,
    /// The highest format version of bundles that the importer reads.
    pub reads: u32,
}

/// A short receipt: `krs-receipt:1:SITE:STREAM:SEQUENCE:DIGEST:TIME:READS:KEY:SIGNATURE`.
///
/// `DIGEST` is the SHA-256 of the bundle's manifest and `SIGNATURE` the Ed25519 signature over the BLAKE2b-512 of all before the
/// last `:`, both in base64url without padding; `TIME` is `YYYYMMDDThhmmssZ`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortReceipt {
    content: ShortReceiptContent,
    signature: CompactSignature,
}

impl ShortReceipt {
    /// Signs `content`.
    ///
    /// # Errors
    /// [`ReceiptError::TooLong`], [`ReceiptError::Sign`].
    pub fn sign(content: ShortReceiptContent, key: &SecretKey) -> Result<Self, ReceiptError> {
        let seconds = content.created_at.as_second();
        let created_at = Timestamp::from_second(seconds).unwrap_or(content.created_at);
        let content = ShortReceiptContent { created_at, ..content };
        let signature = CompactSignature::sign(message(&content, key.id()).as_bytes(), key)?;
        let receipt = Self { content, signature };
        let length = receipt.to_string().len();
        if length > MAX_SHORT_RECEIPT {
            let ShortReceiptContent { site, stream, .. } = receipt.content;
            return Err(ReceiptError::TooLong {
                site,
                stream: stream.to_string(),
                length,
                limit: MAX_SHORT_RECEIPT,
            });
        }
        Ok(receipt)
    }

    /// Reads all short receipts in a text: each begins with [`SHORT_RECEIPT_PREFIX`]. White space, also within one, has no
    /// meaning, because mail programs break lines.
    ///
    /// # Errors
    /// [`ReceiptError::Short`] for the first that cannot be read.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, ReceiptError> {
        let text = text.chars().filter(|c| !c.is_ascii_whitespace()).collect::<String>();
        let mut parts = text.split(SHORT_RECEIPT_PREFIX);
        if parts.next().is_none_or(|before| !before.is_empty()) {
            return Err(ReceiptError::Short(format!("it does not begin with `{SHORT_RECEIPT_PREFIX}`")));
        }
        let parts = parts.collect::<Vec<_>>();
        if parts.is_empty() || parts.len() > MAX_IN_TEXT {
            return Err(ReceiptError::Short(format!("{} receipts in one text", parts.len())));
        }
        parts.into_iter().map(parse_fields).collect()
    }

    /// What it says, whether or not the signature is valid.
    pub const fn content(&self) -> &ShortReceiptContent {
        &self.content
    }

    /// Its signature.
    pub const fn signature(&self) -> &CompactSignature {
        &self.signature
    }

    /// The signed text.
    pub fn message(&self) -> String {
        message(&self.content, self.signature.key())
    }
}

fn message(content: &ShortReceiptContent, key: KeyId) -> String {
    let ShortReceiptContent { site, stream, sequence, digest, created_at, reads } = content;
    let digest = URL_SAFE_NO_PAD.encode(digest.as_bytes());
    let time = created_at.strftime(TIME);
    format!("{SHORT_RECEIPT_PREFIX}{VERSION}:{site}:{stream}:{sequence}:{digest}:{time}:{reads}:{key}")
}

/// Reads what follows the prefix.
fn parse_fields(text: &str) -> Result<ShortReceipt, ReceiptError> {
    let bad = |what: String| ReceiptError::Short(what);
    if text.len() + SHORT_RECEIPT_PREFIX.len() > MAX_SHORT_RECEIPT {
        return Err(bad(format!("it has {} bytes, more than {MAX_SHORT_RECEIPT}", text.len())));
    }
    let fields = text.split(':').collect::<Vec<_>>();
    if fields.first().is_some_and(|version| *version != VERSION) {
        return Err(bad(format!(
            "it is of version {}; this krs reads version {VERSION}",
            printable(fields[0], 20)
        )));
    }
    let [_, site, stream, sequence, digest, time, reads, key, signature] = fields[..] else {
        return Err(bad(format!("it has {} fields, not 9: a part is missing", fields.len())));
    };
    let number = |text: &str| {
        let is_number = text.bytes().all(|c| c.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        text.parse::<u64>().ok().filter(|_| is_number)
    };
    let not = |what: &str, text: &str| bad(format!("`{}` is not {what}", printable(text, 80)));
    let digest = URL_SAFE_NO_PAD.decode(digest).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let key = key.parse::<KeyId>().map_err(bad)?;
    let content = ShortReceiptContent {
        site: site.parse().map_err(bad)?,
        stream: stream.parse().map_err(bad)?,
        sequence: number(sequence).ok_or_else(|| not("a sequence", sequence))?,
        digest: Digest::from_bytes(digest.ok_or_else(|| bad("its digest is damaged".to_owned()))?),
        created_at: parse_time(time).ok_or_else(|| not("a time", time))?,
        reads: number(reads)
            .and_then(|reads| reads.try_into().ok())
            .ok_or_else(|| not("a version", reads))?,
    };
    let receipt = ShortReceipt { content, signature: CompactSignature::parse(key, signature)? };
    // One text for one receipt: base64 and times could be written in several ways.
    if receipt.to_string().strip_prefix(SHORT_RECEIPT_PREFIX) != Some(text) {
        return Err(bad("it is not written as krs writes it".to_owned()));
    }
    Ok(receipt)
}

fn parse_time(text: &str) -> Option<Timestamp> {
    let time = DateTime::strptime(TIME, text).ok()?;
    time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

impl fmt::Display for ShortReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.message(), self.signature.text())
    }
}

impl FromStr for ShortReceipt {
    type Err = ReceiptError;

    fn from_str(text: &str) -> Result<Self, ReceiptError> {
        let all = Self::parse_all(text)?;
        let number = all.len();
        let [one] = <[Self; 1]>::try_from(all)
            .map_err(|_| ReceiptError::Short(format!("{number} receipts where one is expected")))?;
        Ok(one)
    }
}
