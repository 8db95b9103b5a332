// SPDX-License-Identifier: Apache-2.0
//! Why a receipt is not accepted.

use thiserror::Error;

use super::site_name::SiteName;
use crate::bundle::sign::{KeyId, SignError};
use crate::error::{Classify, ErrorKind};
use crate::format::FORMAT_VERSION;
use crate::json::JsonError;

/// Why a receipt is not accepted.
#[derive(Debug, Error)]
pub enum ReceiptError {
    /// Not JSON of this shape.
    #[error("the receipt cannot be read: {0}")]
    Json(#[from] JsonError),
    /// Made by a later version of krs.
    #[error("the receipt is of format version {0}; this krs reads up to version {FORMAT_VERSION}")]
    Version(u32),
    /// It contradicts itself.
    #[error("the receipt contradicts itself: {0}")]
    Inconsistent(String),
    /// A text that begins as a short receipt and is none.
    #[error("the short receipt cannot be read: {0}")]
    Short(String),
    /// Names that leave no room in a short receipt.
    #[error("a short receipt of site {site} and stream {stream} has {length} bytes; at most {limit} fit")]
    TooLong {
        /// The site.
        site: SiteName,
        /// The stream.
        stream: String,
        /// Bytes that it would have.
        length: usize,
        /// Bytes that it may have.
        limit: usize,
    },
    /// Its signature cannot be made or read.
    #[error("the signature of the receipt: {0}")]
    Sign(#[from] SignError),
    /// Signed by a known key, and changed since, or signed for something else.
    #[error("the signature of key {0} does not fit: the receipt was changed after it was signed")]
    Forged(KeyId),
    /// The keys of its site are known, and none of them signed it.
    #[error("the receipt says that it is of site {site}, and {signed}; expected a signature of {expected}")]
    NotOfSite {
        /// The site that it names.
        site: SiteName,
        /// Who signed it.
        signed: String,
        /// The keys of the site.
        expected: String,
    },
}

impl Classify for ReceiptError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Forged(_) | Self::NotOfSite { .. } => ErrorKind::Trust,
            Self::TooLong { .. } => ErrorKind::Usage,
            Self::Sign(error) => error.kind(),
            Self::Json(_) | Self::Version(_) | Self::Inconsistent(_) | Self::Short(_) => ErrorKind::Corrupt,
        }
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Version(_) => {
                format!("update krs, or make the receipt with krs receipt --format-version {FORMAT_VERSION}")
            }
            Self::Short(_) => "copy all of it, from `krs-receipt:` on; line breaks do no harm".to_owned(),
            Self::TooLong { .. } => "choose shorter names, or use the receipt itself".to_owned(),
            Self::Sign(error) => return error.help(),
            Self::Forged(_) | Self::NotOfSite { .. } => {
                "fetch the receipt from the site again, and check which key --site-key names for it"
                    .to_owned()
            }
            Self::Json(_) | Self::Inconsistent(_) => {
                "make it again at the site: krs receipt REGISTRY --set PATH -o FILE".to_owned()
            }
        })
    }
}
