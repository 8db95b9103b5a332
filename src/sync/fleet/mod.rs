// SPDX-License-Identifier: Apache-2.0
//! What the sites have that bundles go to, what each still misses of the newest bundle, and which of them should share
//! one. Pure: it is told what receipts and lines of a catalog say, and decides only what is shown.
//!
//! Everything is reduced as it is read. 300 receipts of one mebibyte, and a catalog of years, do not fit into the memory
//! that a status may use.
//!
//! `layer_set`, `image_id` ← `groups`, `word` ← `site`, `status` ← `fleet`.

#[expect(clippy::module_inception, reason = "the type that the module is about")]
mod fleet;
mod groups;
mod image_id;
mod layer_set;
mod site;
mod status;
#[cfg(test)]
mod tests;
mod word;

pub use fleet::Fleet;
pub use groups::{Group, group};
pub use layer_set::LayerSet;
pub use status::{
    AwaitedImages, ConfirmedBundle, FleetStatus, GroupStatus, NextBundle, RefusedBundles, SiteStatus,
    SiteStream, StreamStatus, UnconfirmedBundle, UnconfirmedBundles,
};
pub use word::{MAX_AWAITED_NAMES, MAX_REFUSED_SHOWN, SiteWord};
