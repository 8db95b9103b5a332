// SPDX-License-Identifier: Apache-2.0
//! Images that sets of the cluster list and that a bundle lists for sets of other namespaces only: people see them on the
//! ImageBundle, also where the site still shares them. Pure.

use krs_core::crd::{MAX_NAMESPACE_MISMATCHES, NamespaceMismatch};
use krs_core::redact::bounded;

use crate::model::bundle_inventory::StockBundle;
use crate::model::readers::Readers;
use crate::model::required_images::RequiredImages;

/// Most namespaces of the bundle that are named for one image.
const MAX_LISTED: usize = 8;

/// Longest texts in the status, in characters, as the CRD says. A reference in its normal form may be longer than what the set
/// has written.
const MAX_IMAGE: usize = 320;
const MAX_NAMESPACE: usize = 63;
const MAX_NAME: usize = 253;

/// Text of at most `most` characters.
fn fit(text: &str, most: usize) -> String {
    if text.chars().nth(most).is_none() { text.to_owned() } else { bounded(text, most - 1) }
}

/// The first of these images, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mismatches {
    pub(super) first: Vec<NamespaceMismatch>,
    pub(super) count: usize,
}

/// Compares what the sets of the cluster list with what `bundle` lists for their namespaces.
pub(super) fn mismatches(bundle: &StockBundle, demand: &RequiredImages) -> Mismatches {
    let mut found = Mismatches::default();
    for (name, set) in &demand.sets {
        for listed in set.images.iter() {
            let image = match &listed.digest {
                Some(digest) => bundle.images.of_digest(digest).next(),
                None => listed.reference().and_then(|tag| bundle.images.named(&tag).next()),
            };
            let Some(image) = image.filter(|image| !image.readers.include(&name.namespace)) else { continue };
            found.count += 1;
            if found.first.len() < MAX_NAMESPACE_MISMATCHES {
                let listed_for = match &image.readers {
                    Readers::Any => &[][..],
                    Readers::Namespaces(names) => names.as_slice(),
                };
                found.first.push(NamespaceMismatch {
                    image: fit(&listed.to_string(), MAX_IMAGE),
                    namespace: fit(&name.namespace, MAX_NAMESPACE),
                    set: fit(&name.name, MAX_NAME),
                    listed_for: listed_for.iter().take(MAX_LISTED).map(|name| fit(name, MAX_NAME)).collect(),
                });
            }
        }
    }
    found
}

impl Mismatches {
    /// What to say of them, as part of a sentence.
    pub(super) fn sentence(&self, shared: bool) -> Option<String> {
        let first = self.first.first()?;
        let images =
            if self.count == 1 { "1 image is".to_owned() } else { format!("{} images are", self.count) };
        let consequence = if shared {
            "copied only because the site sets shareAcrossNamespaces"
        } else {
            "not copied from it (NamespaceNotListed)"
        };
        Some(format!(
            "{images} {consequence}: {} is wanted by set {}/{} and listed for {}; see status.namespaceMismatches",
            first.image,
            first.namespace,
            first.set,
            first.listed_for.join(", ")
        ))
    }
}
