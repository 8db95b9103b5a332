// SPDX-License-Identifier: Apache-2.0
//! Which media wait for the receipt of the site. They wait for a limited time: a receipt that cannot be written is no reason to
//! keep media.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::oci::digest::Digest;
use tokio::sync::watch;
use tokio::time::Instant;

use super::entry::Entry;
use super::files::Files;
use super::removal::safe_to_remove;
use super::usage::{ReceiptOnMedia, Usage};
use crate::model::media_record::{BundlesOfMedia, MediaBundles, MediaRecords};

/// How long media wait: longer than a receipt for the cluster and one for media that hang take together.
const LIMIT: Duration = Duration::from_secs(180);

/// The media that wait.
pub(super) struct ReceiptWaits {
    records: watch::Receiver<Arc<MediaRecords>>,
    limit: Duration,
    /// Since when, by the folder and the bundle.
    since: BTreeMap<(Utf8PathBuf, Digest), Instant>,
}

impl ReceiptWaits {
    pub(super) const fn new(records: watch::Receiver<Arc<MediaRecords>>) -> Self {
        Self { records, limit: LIMIT, since: BTreeMap::new() }
    }

    pub(super) const fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Something was written, or failed.
    pub(super) async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.records.changed().await
    }

    /// Whether time alone changes what there is to say.
    pub(super) fn is_idle(&self) -> bool {
        self.since.is_empty()
    }

    /// Takes into `usages`, which are those of the files in their order, how the receipts stand, and answers what receipts are to
    /// be written: of media with an imported bundle that nothing else keeps. Media that bring nothing that the site trusts
    /// learn nothing of it.
    pub(super) fn update(&mut self, files: &Files, usages: &mut [Usage]) -> MediaBundles {
        let (now, records) = (Instant::now(), Arc::clone(&self.records.borrow_and_update()));
        let (mut wanted, mut waiting) = (MediaBundles::new(), BTreeSet::new());
        for ((path, entry), usage) in files.entries().iter().zip(usages) {
            let Some((folder, digest, device)) = removable(path, entry, usage) else { continue };
            let one = BundlesOfMedia { device, bundles: BTreeSet::from([digest]) };
            let record = records.get(folder).filter(|record| record.covers(&one));
            let key = (folder.to_owned(), digest);
            usage.receipt = match record.map(|record| &record.problem) {
                Some(None) => ReceiptOnMedia::Written,
                Some(Some(problem)) => ReceiptOnMedia::Failed(problem.clone()),
                None if now.duration_since(*self.since.entry(key.clone()).or_insert(now)) < self.limit => {
                    ReceiptOnMedia::Awaited
                }
                None => ReceiptOnMedia::Failed("it was not written in time".to_owned()),
            };
            if record.is_none() {
                waiting.insert(key);
            }
            // What is no longer waited for is not begun either: the media may be pulled at any time.
            if record.is_some() || usage.receipt == ReceiptOnMedia::Awaited {
                let media = wanted.entry(folder.to_owned()).or_insert_with(|| one.clone());
                media.bundles.extend(one.bundles);
            }
        }
        self.since.retain(|key, _| waiting.contains(key));
        wanted
    }
}

/// The folder, the bundle and the file system of a file that nothing keeps. Of volumes in several folders, the media with the
/// first one get the receipt.
fn removable<'a>(path: &'a Utf8Path, entry: &Entry, usage: &Usage) -> Option<(&'a Utf8Path, Digest, u64)> {
    let (stamp, accepted) = (entry.stamp?, entry.accepted()?);
    let (is_safe, ..) = safe_to_remove(entry, path.as_str(), usage, entry.is_verified());
    is_safe.then_some((path.parent()?, accepted.stock.digest, stamp.device))
}
