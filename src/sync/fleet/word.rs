// SPDX-License-Identifier: Apache-2.0
//! What a site says of itself, reduced to what the status needs.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use jiff::Timestamp;

use super::image_id::{ImageId, ImageIds};
use crate::sync::catalog::Confirmation;
use crate::sync::receipt::{Origin, RefusedBundle, ShortReceipt, SiteName, SiteReceipt};

/// Most names of awaited images that are kept of one site; all are counted.
pub const MAX_AWAITED_NAMES: usize = 100;
/// Most refused bundles that are kept of one site; all are counted.
pub const MAX_REFUSED_SHOWN: usize = 50;

/// A receipt of a site. A receipt of 3000 images takes 50 KB.
#[derive(Debug, Clone)]
pub struct SiteWord {
    pub(super) site: SiteName,
    pub(super) created_at: Timestamp,
    pub(super) is_complete: bool,
    /// The newest imported bundle of each stream.
    pub(super) confirmations: Vec<Confirmation>,
    pub(super) reads: u32,
    pub(super) awaited: usize,
    pub(super) awaited_names: Vec<String>,
    pub(super) refused: usize,
    pub(super) refused_bundles: Vec<RefusedBundle>,
    pub(super) registries: Vec<RegistryImages>,
    /// How the call names it.
    pub(super) source: String,
    pub(super) verified_by: Option<String>,
}

/// The images at one registry.
#[derive(Debug, Clone)]
pub(super) struct RegistryImages {
    /// Sorted.
    pub(super) images: Vec<ImageId>,
    /// Names without tag and digest, by [`name_id`]; only where a site has several registries.
    pub(super) names: HashSet<u64>,
}

/// A short name of `registry/repository`.
pub(super) fn name_id(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

impl SiteWord {
    /// What the receipt of a site says. `source`: how a call names it.
    pub fn of_site(receipt: &SiteReceipt, origin: &Origin, source: String) -> Self {
        let mut ids = ImageIds::default();
        let is_one = receipt.registries.len() == 1;
        let registries = receipt.registries.iter().map(|registry| {
            let roots = || registry.repositories.iter().flat_map(|repository| &repository.roots);
            let mut images = roots().map(|root| ids.id(root.digest, &root.platforms)).collect::<Vec<_>>();
            images.sort_unstable();
            images.dedup();
            images.shrink_to_fit();
            let names = roots().filter(|_| !is_one).map(|root| name_id(&root.reference.name()));
            RegistryImages { images, names: names.collect() }
        });
        let awaited_names = receipt.awaited.iter().take(MAX_AWAITED_NAMES);
        Self {
            site: receipt.site.clone(),
            created_at: receipt.created_at,
            is_complete: true,
            registries: registries.collect(),
            confirmations: Confirmation::of_site(receipt, origin, receipt.created_at),
            reads: receipt.reads.bundle,
            awaited: receipt.awaited.len(),
            awaited_names: awaited_names.map(|image| image.reference.to_string()).collect(),
            refused: receipt.refused.len(),
            refused_bundles: receipt.refused.iter().take(MAX_REFUSED_SHOWN).cloned().collect(),
            source,
            verified_by: verified_by(origin),
        }
    }

    /// What a short receipt says: one bundle was imported.
    pub fn of_short(receipt: &ShortReceipt, origin: &Origin, source: String) -> Self {
        let confirmation = Confirmation::of_short(receipt, origin, receipt.content().created_at);
        Self {
            site: confirmation.site.clone(),
            created_at: confirmation.created_at,
            is_complete: false,
            reads: confirmation.reads,
            confirmations: vec![confirmation],
            awaited: 0,
            awaited_names: Vec::new(),
            refused: 0,
            refused_bundles: Vec::new(),
            registries: Vec::new(),
            source,
            verified_by: verified_by(origin),
        }
    }
}

fn verified_by(origin: &Origin) -> Option<String> {
    match origin {
        Origin::Verified(key) => Some(key.to_string()),
        Origin::UnknownKey(_) | Origin::NotSigned => None,
    }
}
