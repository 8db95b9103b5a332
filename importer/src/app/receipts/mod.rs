// SPDX-License-Identifier: Apache-2.0
//! Writes the receipt of the site: what its registries have, what is awaited, what became of the bundles. What it says is decided
//! in [`crate::engine::site_receipt`]; here is when.

mod error;
mod media;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use jiff::Timestamp;
use krs_core::error::chain;
use krs_core::oci::digest::Digest;
use krs_core::sync::receipt::{MAX_RECEIPT, ReceiptIndex, SiteName, SiteReceipt, sign_receipt};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::adapters::media_receipts::MediaReceipt;
use crate::adapters::metrics::Metrics;
use crate::adapters::receipt_maps::{ReceiptMaps, SignedReceipt};
use crate::adapters::site_key::{SigningKey, site_key};
use crate::engine::site_receipt::{ReceiptInputs, is_same_content, short_receipts, site_receipt};
use crate::model::bundle_outcomes::BundleOutcomes;
use crate::model::clock::{Clock, is_over};
use crate::model::config::Config;
use crate::model::media_record::{MediaBundles, MediaRecords};
use crate::model::required_images::RequiredImages;
pub use error::ReceiptsError;
use media::MediaWriter;

/// Name and version of what makes receipts.
const TOOL: &str = concat!("krs-importer/", env!("CARGO_PKG_VERSION"));

/// When receipts are written.
#[derive(Debug, Clone, Copy)]
pub struct ReceiptPace {
    /// How long further changes are waited for after one.
    pub settle: Duration,
    /// Least time between two receipts.
    pub least: Duration,
    /// How often it is checked that the receipt is there, and how soon a failure is retried at the latest.
    pub check: Duration,
    /// A receipt that is older is written again though nothing changed: its age tells the connected side how much it is worth.
    pub renew: Duration,
    /// How long writing it to one of the media may take.
    pub media: Duration,
}

impl Default for ReceiptPace {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(2),
            least: Duration::from_secs(30),
            check: Duration::from_secs(600),
            renew: Duration::from_secs(24 * 3600),
            media: Duration::from_secs(60),
        }
    }
}

/// What writes the receipt.
pub struct ReceiptWriter {
    site: SiteName,
    namespace: String,
    client: kube::Client,
    maps: ReceiptMaps,
    demand: watch::Receiver<Arc<RequiredImages>>,
    bundles: watch::Receiver<Option<Arc<BundleOutcomes>>>,
    metrics: Metrics,
    clock: Clock,
    pace: ReceiptPace,
    media: Option<MediaWriter>,
    /// The receipt in the cluster, with its digest.
    written: Option<(Digest, SiteReceipt)>,
    /// The public key that was told last.
    public_key: Option<String>,
}

impl std::fmt::Debug for ReceiptWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiptWriter").field("site", &self.site).finish_non_exhaustive()
    }
}

impl ReceiptWriter {
    /// The writer of a site that has a name; else says why there are no receipts, once.
    pub fn new(
        config: &Config,
        client: kube::Client,
        demand: watch::Receiver<Arc<RequiredImages>>,
        bundles: watch::Receiver<Option<Arc<BundleOutcomes>>>,
        metrics: Metrics,
    ) -> Option<Self> {
        let site = match config.site_name() {
            Some(Ok(site)) => site,
            Some(Err(why)) => {
                tracing::warn!(
                    "no receipts are written: the value `site` is no name that a receipt can have: {why}"
                );
                return None;
            }
            None => {
                tracing::info!("no receipts are written: the value `site` of the chart is not set");
                return None;
            }
        };
        Some(Self {
            site,
            namespace: config.namespace.clone(),
            maps: ReceiptMaps::new(client.clone(), &config.namespace),
            client,
            demand,
            bundles,
            metrics,
            clock: Arc::new(Timestamp::now),
            pace: ReceiptPace::default(),
            media: None,
            written: None,
            public_key: None,
        })
    }

    /// Writes the receipt to media, too, below `folder`, and tells `records` what came of it.
    #[must_use]
    pub fn with_media(mut self, folder: Utf8PathBuf, records: watch::Sender<Arc<MediaRecords>>) -> Self {
        self.media = Some(MediaWriter::new(folder, records, self.metrics.clone()));
        self
    }

    /// Writes at another pace.
    #[must_use]
    pub fn with_pace(self, pace: ReceiptPace) -> Self {
        Self { pace, ..self }
    }

    /// Takes the time from another clock than the system's.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Writes the receipt after each change, until `stop` is done.
    ///
    /// # Guarantees
    /// Nothing is written before all sets were reconciled and the drop folder was read since the importer started: the receipt of
    /// a site that was not asked would say that it has nothing. A failure is logged and measured, and retried; it stops
    /// nothing else.
    ///
    /// # Cancellation
    /// A receipt that is not complete is never named by the index.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        tokio::select! {
            () = stop => {}
            () = self.watch() => {}
        }
    }

    async fn watch(&mut self) {
        let mut failures = 0;
        let mut last_write = None::<Instant>;
        let mut wait = self.pace.check;
        loop {
            tokio::select! {
                Ok(()) = self.demand.changed() => tokio::time::sleep(self.pace.settle).await,
                Ok(()) = self.bundles.changed() => tokio::time::sleep(self.pace.settle).await,
                () = tokio::time::sleep(wait) => {}
            }
            if let Some(last) = last_write {
                tokio::time::sleep_until(last + self.pace.least).await;
            }
            match self.update().await {
                Ok(has_written) => {
                    (failures, wait) = (0, self.pace.check);
                    self.metrics.receipt_failing.set(0);
                    if has_written {
                        last_write = Some(Instant::now());
                    }
                }
                Err(error) => {
                    failures = (failures + 1).min(16);
                    wait = self.pace.least.saturating_mul(1 << (failures - 1)).min(self.pace.check);
                    self.metrics.receipt_failing.set(1);
                    last_write = Some(Instant::now());
                    tracing::warn!(
                        error = chain(&error),
                        "the receipt of the site could not be written; retrying"
                    );
                }
            }
        }
    }

    /// Makes the receipt in the cluster be what it should be. Answers whether it wrote one.
    async fn update(&mut self) -> Result<bool, ReceiptsError> {
        let demand = self.demand.borrow_and_update().clone();
        let bundles = self.bundles.borrow_and_update().clone();
        let Some(bundles) = bundles.filter(|_| demand.complete) else { return Ok(false) };
        let key = site_key(&self.client, &self.namespace).await?;
        self.tell(&key);
        let index = self.maps.index().await.map_err(ReceiptsError::api("read"))?;
        self.know(index.as_ref()).await?;
        let now = (self.clock)();
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let previous = self.written.as_ref().map(|(_, receipt)| receipt);
        let inputs =
            ReceiptInputs { site: &self.site, now, tool: TOOL, demand: &demand, bundles: &bundles, previous };
        let receipt = site_receipt(inputs);
        let is_current = |index: &ReceiptIndex| {
            let known = self.written.as_ref().filter(|(digest, _)| *digest == index.digest);
            index.public_key == key.public
                && known.is_some_and(|(_, known)| {
                    is_same_content(known, &receipt) && !is_over(known.created_at, self.pace.renew, now)
                })
        };
        if index.as_ref().is_some_and(is_current) {
            self.write_to_media(&bundles.media, &key).await?;
            return Ok(false);
        }
        let signed = self.sign(&receipt, &key)?;
        self.maps.write(&signed).await.map_err(ReceiptsError::api("written"))?;
        let (digest, bytes, images) = (signed.digest, signed.json.len(), receipt.roots().count());
        tracing::info!(site = %self.site, %digest, bytes, images, "the receipt of the site was written");
        self.metrics.receipt_created.set(now.as_second());
        self.written = Some((digest, receipt));
        self.write_to_media(&bundles.media, &key).await?;
        Ok(true)
    }

    /// Writes the receipt of the cluster to the media that wait for it: it says of their bundles that they were imported.
    async fn write_to_media(&mut self, wanted: &MediaBundles, key: &SigningKey) -> Result<(), ReceiptsError> {
        let (Some(media), Some((_, receipt))) = (&mut self.media, &self.written) else { return Ok(()) };
        if !media.is_due(wanted) {
            return Ok(());
        }
        let json = receipt.encode()?;
        let signature = sign_receipt(&json, &self.site, &key.secret)?;
        let (site, digest, limit) = (self.site.clone(), Digest::of(&json), self.pace.media);
        media.update(wanted, &Arc::new(MediaReceipt { site, digest, json, signature }), limit).await;
        Ok(())
    }

    /// Reads the receipt that the index names, where it is not known.
    async fn know(&mut self, index: Option<&ReceiptIndex>) -> Result<(), ReceiptsError> {
        let Some(index) = index else { return Ok(()) };
        if self.written.as_ref().is_some_and(|(digest, _)| *digest == index.digest) {
            return Ok(());
        }
        let Some(json) = self.maps.read(index).await.map_err(ReceiptsError::api("read"))? else {
            return Ok(());
        };
        match SiteReceipt::parse(json.as_bytes()) {
            Ok(receipt) => {
                self.metrics.receipt_created.set(receipt.created_at.as_second());
                self.written = Some((index.digest, receipt));
            }
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "the last receipt of the site cannot be read; it is made again"
                );
            }
        }
        Ok(())
    }

    fn sign(&self, receipt: &SiteReceipt, key: &SigningKey) -> Result<SignedReceipt, ReceiptsError> {
        let json = receipt.encode()?;
        if json.len() > MAX_RECEIPT {
            return Err(ReceiptsError::TooLarge(json.len()));
        }
        let signature = sign_receipt(&json, &self.site, &key.secret)?;
        let (short, failed) = short_receipts(receipt, &key.secret);
        for error in failed {
            tracing::warn!(error = chain(&error), "no short receipt can be made for a stream");
        }
        let short = short.iter().map(|short| format!("{short}\n")).collect();
        let digest = Digest::of(&json);
        let json = String::from_utf8(json).map_err(|_| ReceiptsError::NotText)?;
        Ok(SignedReceipt {
            site: self.site.clone(),
            created_at: receipt.created_at,
            json,
            digest,
            signature,
            public_key: key.public.clone(),
            short,
        })
    }

    /// Tells the public key, which the connected side checks receipts with.
    fn tell(&mut self, key: &SigningKey) {
        if self.public_key.as_ref() == Some(&key.public) {
            return;
        }
        if self.public_key.is_some() {
            tracing::warn!(
                "the key of the site is another one now: give its public half to the connected side, which refuses receipts \
                 that it signs until then"
            );
        }
        let (site, id) = (self.site.as_str(), key.secret.id());
        let public_key = key.public.lines().last().unwrap_or_default();
        tracing::info!(site, %id, public_key, "receipts are signed with the key of Secret krs-site-key");
        self.public_key = Some(key.public.clone());
    }
}
