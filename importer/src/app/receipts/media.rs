// SPDX-License-Identifier: Apache-2.0
//! Receipts for media, each written in a thread of its own: a drive that hangs holds up nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use krs_core::error::chain;
use tokio::sync::{oneshot, watch};

use crate::adapters::media_receipts::{MediaError, MediaReceipt, write};
use crate::adapters::metrics::Metrics;
use crate::model::media_record::{BundlesOfMedia, MediaBundles, MediaRecord, MediaRecords};

/// Most threads that may hang.
const MAX_HANGING: usize = 16;

type End = oneshot::Receiver<Result<(), MediaError>>;

/// What writes to media.
pub(super) struct MediaWriter {
    /// The mount.
    root: Utf8PathBuf,
    records: watch::Sender<Arc<MediaRecords>>,
    metrics: Metrics,
    /// Writes that have not returned in time.
    hanging: BTreeMap<Utf8PathBuf, End>,
}

impl MediaWriter {
    pub(super) fn new(
        root: Utf8PathBuf,
        records: watch::Sender<Arc<MediaRecords>>,
        metrics: Metrics,
    ) -> Self {
        Self { root, records, metrics, hanging: BTreeMap::new() }
    }

    /// Whether media wait for a receipt.
    pub(super) fn is_due(&self, wanted: &MediaBundles) -> bool {
        let records = self.records.borrow();
        let is_done = |(folder, media): (&Utf8PathBuf, &BundlesOfMedia)| {
            records.get(folder).is_some_and(|record| record.covers(media))
        };
        !wanted.iter().all(is_done) || records.keys().any(|folder| !wanted.contains_key(folder))
    }

    /// Writes the receipt to the media of `wanted` that have none for all of their bundles, and tells what came of it, of each
    /// as soon as it is known. Each of them is tried once, for `limit` at most: those that it fails on may be pulled.
    pub(super) async fn update(
        &mut self,
        wanted: &MediaBundles,
        receipt: &Arc<MediaReceipt>,
        limit: Duration,
    ) {
        let mut records = (**self.records.borrow()).clone();
        records.retain(|folder, _| wanted.contains_key(folder));
        let is_open = |(folder, media): &(&Utf8PathBuf, &BundlesOfMedia)| {
            !records.get(*folder).is_some_and(|record| record.covers(media))
        };
        let open = wanted.iter().filter(is_open).map(|(folder, media)| (folder.clone(), media.clone()));
        let open = open.collect::<Vec<_>>();
        self.hanging.retain(|_, end| matches!(end.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
        let (root, hanging) = (&self.root, &self.hanging);
        let writes = open.into_iter().map(async |(folder, media)| {
            if hanging.contains_key(&folder) || hanging.len() >= MAX_HANGING {
                let problem = "an earlier attempt to write to them has not returned".to_owned();
                return (folder, media, Some(problem), None);
            }
            let (root, receipt, of, device) =
                (root.clone(), Arc::clone(receipt), folder.clone(), media.device);
            let (tell, mut end) = oneshot::channel();
            let work = move || drop(tell.send(write(&root, &of, device, &receipt)));
            let thread = std::thread::Builder::new().name("receipt".to_owned()).spawn(work);
            let (problem, hangs) = match (thread, tokio::time::timeout(limit, &mut end).await) {
                (Ok(_), Ok(Ok(Ok(())))) => (None, None),
                (Ok(_), Ok(Ok(Err(error)))) => (Some(chain(&error)), None),
                (Ok(_), Err(_)) => {
                    (Some(format!("the media did not answer within {} s", limit.as_secs())), Some(end))
                }
                (Err(_), _) | (Ok(_), Ok(Err(_))) => (Some("the importer could not begin".to_owned()), None),
            };
            (folder, media, problem, hangs)
        });
        self.publish(&records);
        let mut hung = Vec::new();
        let mut writes = writes.collect::<FuturesUnordered<_>>();
        while let Some((folder, media, problem, hangs)) = writes.next().await {
            match &problem {
                None => tracing::info!(media = %folder, "the receipt of the site was written to media"),
                Some(problem) => {
                    tracing::warn!(media = %folder, "the receipt of the site is not on the media: {problem}");
                }
            }
            hung.extend(hangs.map(|end| (folder.clone(), end)));
            records.insert(folder, MediaRecord { media, problem });
            self.publish(&records);
        }
        drop(writes);
        self.hanging.extend(hung);
    }

    /// Tells what came of the media.
    fn publish(&self, records: &MediaRecords) {
        let failing = records.values().filter(|record| record.problem.is_some()).count();
        self.metrics.receipt_media_failing.set(i64::try_from(failing).unwrap_or(i64::MAX));
        self.records.send_if_modified(|known| {
            let has_changed = **known != *records;
            if has_changed {
                *known = Arc::new(records.clone());
            }
            has_changed
        });
    }
}
