// SPDX-License-Identifier: Apache-2.0
//! The catalog: the connected side's record of the bundles that went out, as JSON lines. With it, a few bytes from a
//! site are enough to know what the site has: which bundle it imported. It is not signed: it never leaves the
//! connected side, and decides only what a delta may leave out, which the site checks.

mod confirmation;
mod error;
mod file;
mod record;
mod scan;
#[cfg(test)]
mod tests;

pub use confirmation::Confirmation;
pub use error::CatalogError;
pub use file::{Line, LinePosition, Lines, append, check_appendable, has_record};
pub use record::{MAX_LINE, Record, SentBundle, SentImage};
pub use scan::{
    BundleLayers, BundleLine, ImageLine, LayersOfImage, LineSummary, read_bundle, read_layers, summarize,
};
