// SPDX-License-Identifier: Apache-2.0
//! From which bundles running Jobs read when the one that they began with is away. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use camino::Utf8PathBuf;
use krs_core::oci::digest::Digest;

use super::accepted::AcceptedBundle;
use super::entry::Entry;
use crate::adapters::bundle_store::{OpenBundle, Substitutes};
use crate::model::bundle_inventory::StockImage;
use crate::model::required_images::{RequiredImages, SetDemand};

/// Whether an image can be read in place of `other` of the same digest: nothing is left out that the other one has.
fn replaces(image: &StockImage, other: &StockImage) -> bool {
    image.covers(&other.platforms) && !image.partial
}

/// For every bundle that a running Job copies from and that is not `offered`: from which of those that are, each of its
/// images can be read. (T-216)
pub(super) fn substitutes(
    entries: &BTreeMap<Utf8PathBuf, Entry>,
    offered: &HashMap<Digest, Arc<OpenBundle>>,
    demand: &RequiredImages,
) -> Substitutes {
    let copied = demand.sets.values().flat_map(|set| &set.copying_from).collect::<BTreeSet<_>>();
    let mut substitutes = Substitutes::new();
    for away in copied.into_iter().filter(|digest| !offered.contains_key(digest)) {
        let accepted = || entries.values().filter_map(Entry::accepted);
        let Some(away) = accepted().find(|accepted| accepted.stock.digest == *away) else { continue };
        for image in away.stock.images.iter() {
            let holds = |accepted: &&AcceptedBundle| {
                let is_offered =
                    offered.get(&accepted.stock.digest).is_some_and(|held| Arc::ptr_eq(held, &accepted.held));
                is_offered
                    && accepted.stock.images.of_digest(&image.digest).any(|other| replaces(other, image))
            };
            let found = accepted().filter(holds).map(|accepted| accepted.stock.digest).collect::<Vec<_>>();
            if !found.is_empty() {
                substitutes.insert((away.stock.digest, image.digest), found);
            }
        }
    }
    substitutes
}

/// Whether a running Job of the set reads from `bundle`, or may do so in place of one that is away.
pub(super) fn copies_from(set: &SetDemand, bundle: &Digest, substitutes: &Substitutes) -> bool {
    set.copying_from.contains(bundle)
        || substitutes.iter().any(|((away, image), found)| {
            found.contains(bundle) && set.copying_from.contains(away) && set.images.contains_digest(image)
        })
}
