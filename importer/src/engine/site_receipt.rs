// SPDX-License-Identifier: Apache-2.0
//! What the receipt of the site says, from what the sets and the bundles say. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use krs_core::bundle::sign::SecretKey;
use krs_core::oci::digest::Digest;
use krs_core::oci::platform::Platform;
use krs_core::oci::reference::{Reference, RegistryHost, RepositoryName, Tag};
use krs_core::sync::receipt::{
    AwaitedImage, ImportedBundle, MAX_AWAITED, MAX_REFUSED, ReceiptError, RegistryCapabilities, ShortReceipt,
    ShortReceiptContent, SiteName, SiteReceipt, SiteRegistry, SiteRepository, SiteRoot,
};

use crate::model::bundle_outcomes::BundleOutcomes;
use crate::model::required_images::RequiredImages;

/// What a receipt is made of.
#[derive(Debug, Clone, Copy)]
pub struct ReceiptInputs<'a> {
    /// The site.
    pub site: &'a SiteName,
    /// The time, in seconds.
    pub now: Timestamp,
    /// Name and version of the importer.
    pub tool: &'a str,
    /// What the sets have and wait for.
    pub demand: &'a RequiredImages,
    /// What became of the bundles.
    pub bundles: &'a BundleOutcomes,
    /// The receipt that was written last.
    pub previous: Option<&'a SiteReceipt>,
}

/// Images with one digest in one repository, told apart by what of them was requested.
type Roots = BTreeMap<(Digest, Vec<Platform>, Reference), BTreeSet<Tag>>;

/// The receipt of the site as it is now.
///
/// # Guarantees
/// An image is in it only where a set lists it and the importer has verified it. The newest imported bundle of each stream
/// stays in it after its ImageBundle is gone, as the last receipt has it.
pub fn site_receipt(inputs: ReceiptInputs<'_>) -> SiteReceipt {
    let ReceiptInputs { site, now, tool, demand, bundles, previous } = inputs;
    let mut registries = BTreeMap::<RegistryHost, BTreeMap<RepositoryName, Roots>>::new();
    let (mut awaited, mut refusing) = (BTreeSet::<AwaitedImage>::new(), BTreeSet::new());
    for set in demand.sets.values() {
        let images = set.content.images();
        awaited.extend(images.awaited);
        let Some(registry) = images.registry else { continue };
        if images.refuses_sparse_index {
            refusing.insert(registry.clone());
        }
        let repositories = registries.entry(registry).or_default();
        for image in images.present {
            let SiteRoot { digest, platforms, reference, tags } = image.root;
            let roots = repositories.entry(image.repository).or_default();
            roots.entry((digest, platforms, reference)).or_default().extend(tags);
        }
    }
    let registry = |(registry, repositories): (RegistryHost, BTreeMap<RepositoryName, Roots>)| SiteRegistry {
        abilities: RegistryCapabilities { sparse_index: refusing.contains(&registry).then_some(false) },
        registry,
        repositories: repositories.into_iter().map(repository).collect(),
    };
    let refused = bundles.refused.iter().take(MAX_REFUSED).cloned().collect();
    SiteReceipt {
        awaited: awaited.into_iter().take(MAX_AWAITED).collect(),
        imported: imported(site, bundles, previous),
        refused,
        registries: registries.into_iter().map(registry).collect(),
        ..SiteReceipt::empty(site.clone(), now, tool.to_owned())
    }
}

fn repository((name, roots): (RepositoryName, Roots)) -> SiteRepository {
    let root =
        |((digest, platforms, reference), tags): ((Digest, Vec<Platform>, Reference), BTreeSet<Tag>)| {
            SiteRoot { digest, platforms, reference, tags: tags.into_iter().collect() }
        };
    let mut roots = roots.into_iter().map(root).collect::<Vec<_>>();
    roots.sort();
    SiteRepository { name, roots }
}

/// The imported bundles. What the last receipt says holds for those that are not decided, and for the newest of each stream
/// whose ImageBundle is gone.
fn imported(
    site: &SiteName,
    bundles: &BundleOutcomes,
    previous: Option<&SiteReceipt>,
) -> Vec<ImportedBundle> {
    let previous = previous.filter(|previous| previous.site == *site);
    let before = previous.into_iter().flat_map(|previous| &previous.imported);
    let undecided = before.filter(|bundle| bundles.undecided.contains(&bundle.digest));
    let newest = previous.into_iter().flat_map(SiteReceipt::newest_imported);
    let gone = newest.filter(|bundle| !bundles.listed.contains(&bundle.digest));
    let all = bundles.imported.iter().chain(undecided).chain(gone);
    let all = all.map(|bundle| ((bundle.stream.clone(), bundle.sequence, bundle.digest), bundle.clone()));
    all.collect::<BTreeMap<_, _>>().into_values().collect()
}

/// Whether two receipts differ only by when they were made.
pub fn is_same_content(a: &SiteReceipt, b: &SiteReceipt) -> bool {
    SiteReceipt { created_at: b.created_at, ..a.clone() } == *b
}

/// One short receipt for each stream, for its newest imported bundle, and why some cannot be made.
pub fn short_receipts(receipt: &SiteReceipt, key: &SecretKey) -> (Vec<ShortReceipt>, Vec<ReceiptError>) {
    let (mut made, mut failed) = (Vec::new(), Vec::new());
    for bundle in receipt.newest_imported() {
        let content = ShortReceiptContent {
            site: receipt.site.clone(),
            stream: bundle.stream.clone(),
            sequence: bundle.sequence,
            digest: bundle.digest,
            created_at: receipt.created_at,
            reads: receipt.reads.bundle,
        };
        match ShortReceipt::sign(content, key) {
            Ok(short) => made.push(short),
            Err(error) => failed.push(error),
        }
    }
    (made, failed)
}

#[cfg(test)]
mod tests;
