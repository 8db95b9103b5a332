// SPDX-License-Identifier: Apache-2.0
//! What the intake and what writes receipts tell each other of media.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use krs_core::oci::digest::Digest;

/// Media that wait for a receipt with their bundles, by their folders below the drop folder.
pub type MediaBundles = BTreeMap<Utf8PathBuf, BundlesOfMedia>;

/// The bundles of media that nothing is to be copied from any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundlesOfMedia {
    /// Number of the file system.
    pub device: u64,
    /// Digests of their manifests.
    pub bundles: BTreeSet<Digest>,
}

/// What became of the receipts for media, by their folders.
pub type MediaRecords = BTreeMap<Utf8PathBuf, MediaRecord>;

/// What became of the receipt for media.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaRecord {
    /// What it was written for.
    pub media: BundlesOfMedia,
    /// Why it is not there; none: it is there, durably.
    pub problem: Option<String>,
}

impl MediaRecord {
    /// Whether it was written, or failed, for all of these.
    pub fn covers(&self, media: &BundlesOfMedia) -> bool {
        self.media.device == media.device && media.bundles.is_subset(&self.media.bundles)
    }
}
