// SPDX-License-Identifier: Apache-2.0
//! Why a receipt is not written.

use krs_core::bundle::sign::SignError;
use krs_core::sync::receipt::{MAX_RECEIPT, ReceiptError};
use thiserror::Error;

use crate::adapters::site_key::SiteKeyError;

/// Why the receipt of the site is not written.
#[derive(Debug, Error)]
pub enum ReceiptsError {
    /// The key of the site.
    #[error(transparent)]
    Key(#[from] SiteKeyError),
    /// The API server.
    #[error("the ConfigMaps of the receipt cannot be {verb}: {source}")]
    Api {
        /// What was tried.
        verb: &'static str,
        /// What the API server, or the way to it, says.
        source: kube::Error,
    },
    /// The receipt contradicts itself.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// It cannot be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// No krs would read it.
    #[error("the receipt has {0} bytes; at most {MAX_RECEIPT} are read")]
    TooLarge(usize),
    /// It is not UTF-8.
    #[error("the receipt is not UTF-8")]
    NotText,
}

impl ReceiptsError {
    pub(super) const fn api(verb: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { verb, source }
    }
}
