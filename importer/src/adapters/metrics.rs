// SPDX-License-Identifier: Apache-2.0
//! What Prometheus sees. No image name and no digest is a label: their number has no bound.

use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Labels of what is counted by set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SetLabels {
    /// Namespace of the set.
    pub namespace: String,
    /// Name of the set.
    pub name: String,
}

/// Images of a set in one state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ImageLabels {
    /// Namespace of the set.
    pub namespace: String,
    /// Name of the set.
    pub name: String,
    /// `desired`, `present`, `missing` or `failed`.
    pub state: &'static str,
}

/// Images of a set that failed for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FailureLabels {
    /// Namespace of the set.
    pub namespace: String,
    /// Name of the set.
    pub name: String,
    /// A reason of the set's failures.
    pub reason: &'static str,
}

/// Labels of what is counted by stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StreamLabels {
    /// Name of the stream.
    pub stream: String,
}

/// How something ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabels {
    /// One word.
    pub result: String,
}

/// Labels of what is counted by watch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WatchLabels {
    /// Plural name of what is watched.
    pub resource: String,
    /// Where; empty: in all namespaces.
    pub namespace: String,
}

/// A registry, and whose requests to it fail.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RegistryLabels {
    /// Its host and port.
    pub registry: String,
    /// The namespace whose credentials or CA certificates were used; empty: nobody gets an answer.
    pub namespace: String,
}

/// The time for a metric, in seconds.
pub(crate) fn unix_seconds() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// All metrics of the importer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Reconciliations of sets.
    pub reconciliations: Counter,
    /// Reconciliations that failed, by reason.
    pub reconcile_errors: Family<ResultLabels, Counter>,
    /// Duration of the reconciliation of a set, in seconds.
    pub reconcile_seconds: Histogram,
    /// Images of each set by state.
    pub images: Family<ImageLabels, Gauge>,
    /// Images of each set whose last copy failed, by reason.
    pub failed: Family<FailureLabels, Gauge>,
    /// Whether a set is ready: 0 or 1.
    pub ready: Family<SetLabels, Gauge>,
    /// When something was last synchronised, in seconds of Unix time.
    pub last_sync: Family<SetLabels, Gauge>,
    /// Highest sequence that was imported.
    pub sequence: Family<StreamLabels, Gauge>,
    /// When the content of that bundle was decided, in seconds of Unix time.
    pub created: Family<StreamLabels, Gauge>,
    /// Bundles that were verified, by verdict.
    pub verifications: Family<ResultLabels, Counter>,
    /// Files in the drop folder that are not accepted, by verdict. Beside the counter, which Prometheus does not see
    /// rise where it begins with the first refusal.
    pub refused: Family<ResultLabels, Gauge>,
    /// Folders of the drop folder that do not answer.
    pub hanging_folders: Gauge,
    /// Folders and files of the drop folder that cannot be read.
    pub unreadable_entries: Gauge,
    /// Images that became present.
    pub images_synchronized: Counter,
    /// Bytes that copy Jobs sent to edge registries.
    pub bytes_synchronized: Counter,
    /// Copy Jobs by state: `running`.
    pub jobs: Family<ResultLabels, Gauge>,
    /// Responses of the embedded registry, by status.
    pub registry_answers: Family<ResultLabels, Counter>,
    /// Bytes that the embedded registry sent.
    pub registry_bytes: Counter,
    /// Bytes that the embedded registry sent to the copy Jobs of each set.
    pub read_bytes: Family<SetLabels, Counter>,
    /// When a reconcile last succeeded, or none was waiting for a retry, in seconds of Unix time.
    pub reconcile_success: Gauge,
    /// When the drop folder was last read to its end, in seconds of Unix time.
    pub scan_success: Gauge,
    /// When the API server last answered each watch, in seconds of Unix time.
    pub watch_success: Family<WatchLabels, Gauge>,
    /// Images of a set of which the edge registry holds content that differs from its digest.
    pub corrupt: Family<SetLabels, Gauge>,
    /// When the receipt of the site was made, in seconds of Unix time; 0: there is none.
    pub receipt_created: Gauge,
    /// Whether the receipt of the site could not be written when that was last tried: 0 or 1.
    pub receipt_failing: Gauge,
    /// Media that the receipt of the site could not be written to.
    pub receipt_media_failing: Gauge,
    /// Registries that are left alone: 1.
    pub registry_back_off: Family<RegistryLabels, Gauge>,
    /// Those of them that are shown.
    left_alone: Arc<Mutex<HashSet<RegistryLabels>>>,
}

impl Metrics {
    /// Shows which registries are left alone. Those that still are stay shown all the time: an alert starts again with each
    /// gap. `open` is asked for in turn, so that the last one who shows something has asked last.
    pub(crate) fn show_left_alone(&self, open: impl FnOnce() -> HashSet<RegistryLabels>) {
        let mut shown = self.left_alone.lock();
        let open = open();
        for labels in &open {
            self.registry_back_off.get_or_create(labels).set(1);
        }
        for labels in shown.difference(&open) {
            self.registry_back_off.remove(labels);
        }
        *shown = open;
    }

    /// Registers everything in a registry of its own.
    pub fn new() -> (Self, Registry) {
        let metrics = Self {
            reconciliations: Counter::default(),
            reconcile_errors: Family::default(),
            reconcile_seconds: Histogram::new(exponential_buckets(0.01, 4.0, 8)),
            images: Family::default(),
            failed: Family::default(),
            ready: Family::default(),
            last_sync: Family::default(),
            sequence: Family::default(),
            created: Family::default(),
            verifications: Family::default(),
            refused: Family::default(),
            hanging_folders: Gauge::default(),
            unreadable_entries: Gauge::default(),
            images_synchronized: Counter::default(),
            bytes_synchronized: Counter::default(),
            jobs: Family::default(),
            registry_answers: Family::default(),
            registry_bytes: Counter::default(),
            read_bytes: Family::default(),
            reconcile_success: Gauge::default(),
            scan_success: Gauge::default(),
            watch_success: Family::default(),
            corrupt: Family::default(),
            registry_back_off: Family::default(),
            receipt_created: Gauge::default(),
            receipt_failing: Gauge::default(),
            receipt_media_failing: Gauge::default(),
            left_alone: Arc::default(),
        };
        // Until something succeeds, the start counts: an alert is due once it has been in vain for long.
        metrics.reconcile_success.set(unix_seconds());
        metrics.scan_success.set(unix_seconds());
        let mut all = Registry::with_prefix("krs");
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION")), ("commit", env!("KRS_COMMIT"))]);
        all.register("build", "The importer that runs", build);
        all.register("reconciliations", "Reconciliations of sets", metrics.reconciliations.clone());
        all.register(
            "reconcile_errors",
            "Reconciliations of sets that failed",
            metrics.reconcile_errors.clone(),
        );
        all.register(
            "reconcile_duration_seconds",
            "Duration of the reconciliation of a set, in seconds",
            metrics.reconcile_seconds.clone(),
        );
        all.register("edgeimageset_images", "Images of a set by state", metrics.images.clone());
        all.register(
            "edgeimageset_failed_images",
            "Images of a set whose last copy failed, by reason",
            metrics.failed.clone(),
        );
        all.register("edgeimageset_ready", "Whether every image of a set is present", metrics.ready.clone());
        all.register(
            "edgeimageset_last_sync_timestamp_seconds",
            "When something was last synchronised",
            metrics.last_sync.clone(),
        );
        all.register("bundle_sequence", "Highest sequence that was imported", metrics.sequence.clone());
        all.register(
            "bundle_created_timestamp_seconds",
            "When the content of that bundle was decided",
            metrics.created.clone(),
        );
        all.register("bundle_verifications", "Bundles that were verified", metrics.verifications.clone());
        all.register(
            "bundles_refused",
            "Files in the drop folder that are not accepted",
            metrics.refused.clone(),
        );
        all.register(
            "drop_folders_hanging",
            "Folders of the drop folder that do not answer",
            metrics.hanging_folders.clone(),
        );
        all.register(
            "drop_folder_unreadable_entries",
            "Folders and files of the drop folder that cannot be read",
            metrics.unreadable_entries.clone(),
        );
        all.register(
            "images_synchronized",
            "Images that became present",
            metrics.images_synchronized.clone(),
        );
        all.register(
            "synchronized_bytes",
            "Bytes that copy Jobs sent to edge registries",
            metrics.bytes_synchronized.clone(),
        );
        all.register("copy_jobs", "Copy Jobs by state", metrics.jobs.clone());
        all.register(
            "registry_answers",
            "Responses of the embedded registry",
            metrics.registry_answers.clone(),
        );
        all.register(
            "registry_sent_bytes",
            "Bytes that the embedded registry sent",
            metrics.registry_bytes.clone(),
        );
        all.register(
            "edgeimageset_read_bytes",
            "Bytes of bundles that the copy Jobs of a set have read, also while they run",
            metrics.read_bytes.clone(),
        );
        all.register(
            "reconcile_last_success_timestamp_seconds",
            "When a reconcile last succeeded, or none was waiting for a retry",
            metrics.reconcile_success.clone(),
        );
        all.register(
            "scan_last_success_timestamp_seconds",
            "When the drop folder was last read to its end",
            metrics.scan_success.clone(),
        );
        all.register(
            "watch_last_success_timestamp_seconds",
            "When the API server last answered a watch",
            metrics.watch_success.clone(),
        );
        all.register(
            "edgeimageset_corrupt_images",
            "Images of which the edge registry holds content that differs from its digest",
            metrics.corrupt.clone(),
        );
        all.register(
            "registry_back_off",
            "Registries that receive no requests for some time, because they failed or asked for a pause",
            metrics.registry_back_off.clone(),
        );
        all.register(
            "receipt_created_timestamp_seconds",
            "When the receipt of the site was made; 0: there is none",
            metrics.receipt_created.clone(),
        );
        all.register(
            "receipt_failing",
            "Whether the receipt of the site could not be written when that was last tried",
            metrics.receipt_failing.clone(),
        );
        all.register(
            "receipt_media_failing",
            "Media in the drop folder that the receipt of the site could not be written to",
            metrics.receipt_media_failing.clone(),
        );
        (metrics, all)
    }
}

/// The text that Prometheus reads.
pub fn encode(registry: &Registry) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = text::encode(&mut out, registry);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_the_documented_names() {
        let (metrics, registry) = Metrics::new();
        metrics.reconciliations.inc();
        metrics.verifications.get_or_create(&ResultLabels { result: "Succeeded".to_owned() }).inc();
        let text = encode(&registry);
        for line in ["krs_reconciliations_total 1", "krs_bundle_verifications_total{result=\"Succeeded\"} 1"]
        {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("KRS_COMMIT"));
        let build = format!("krs_build_info{{version=\"{version}\",commit=\"{commit}\"}} 1");
        assert!(text.contains(&build), "{build} is not in\n{text}");
    }
}
