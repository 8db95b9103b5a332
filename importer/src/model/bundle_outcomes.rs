// SPDX-License-Identifier: Apache-2.0
//! What became of the bundles of the drop folder, as their ImageBundles say it: written by the intake, read by what writes the
//! receipt of the site.

use std::collections::BTreeSet;

use krs_core::oci::digest::Digest;
use krs_core::sync::receipt::{ImportedBundle, RefusedBundle};

use crate::model::media_record::MediaBundles;

/// What became of the bundles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BundleOutcomes {
    /// Bundles of which nothing is left to copy, sorted, each once.
    pub imported: Vec<ImportedBundle>,
    /// Bundles that are not used, sorted.
    pub refused: Vec<RefusedBundle>,
    /// All bundles that have an ImageBundle: of the others only the last receipt says that they were imported.
    pub listed: BTreeSet<Digest>,
    /// Those of them of which it is not known whether they are imported, as after a start: what the last receipt says holds.
    pub undecided: BTreeSet<Digest>,
    /// Media that wait for the receipt.
    pub media: MediaBundles,
}
