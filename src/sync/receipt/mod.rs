// SPDX-License-Identifier: Apache-2.0
//! Receipts: what a site has, so that the next bundle leaves it out.
//!
//! [`Receipt`] lists the content of one registry and is made by `krs receipt`. [`SiteReceipt`] is written by the importer:
//! it names the images that are present at all registries of the site, and what became of the bundles. [`ShortReceipt`]
//! confirms one bundle in a line of text. All are untrusted: a wrong receipt causes a refusal at the site, never a broken
//! image.
//!
//! `error` ← `registry`, `site_name` ← `site`, `short` ← `any`, `signed`. `index` is how the importer keeps
//! it, and `cluster` reads that.

mod any;
mod cluster;
mod error;
mod index;
mod registry;
mod short;
mod signed;
mod site;
mod site_name;

pub use any::AnyReceipt;
pub use cluster::{ClusterReceipt, ClusterReceiptError, ImporterLocation, read_from_cluster};
pub use error::ReceiptError;
pub use index::{MAX_RECEIPT_PART, RECEIPT_MAP, RECEIPT_PART_KEY, ReceiptIndex, part_name};
pub use registry::{
    MAX_INCOMPLETE, MAX_INCOMPLETE_TEXT, MAX_RECEIPT, Receipt, ReceiptBlob, ReceiptIncomplete,
    ReceiptRepository, RegistryCapabilities,
};
pub use short::{MAX_SHORT_RECEIPT, SHORT_RECEIPT_PREFIX, ShortReceipt, ShortReceiptContent};
pub use signed::{Origin, SiteKey, SiteKeys, sign_receipt};
pub use site::{
    AwaitedImage, ImportedBundle, MAX_AWAITED, MAX_REFUSED, ReadableFormats, RefusedBundle, SiteKind,
    SiteReceipt, SiteRegistry, SiteRepository, SiteRoot,
};
pub use site_name::SiteName;

#[cfg(test)]
mod tests;
