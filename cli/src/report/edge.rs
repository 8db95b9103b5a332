// SPDX-License-Identifier: Apache-2.0
use std::time::Duration;

use krs_core::bundle::Bundle;
use krs_core::digest::Digest;
use krs_core::push::{PushReport, ReferrerProblem, Target};
use krs_core::reference::Destination;
use krs_core::registry::Statistics;
use serde::Serialize;

use super::SCHEMA_VERSION;
use super::human::{count, duration, rate, retries, seconds, size};
use super::images::short_name;
use super::table::{Align, Table};

#[derive(Debug, Serialize)]
struct TargetFacts {
    repository: String,
    tags: Vec<String>,
    digest: Digest,
    references: Vec<String>,
}

impl From<&Target> for TargetFacts {
    fn from(target: &Target) -> Self {
        Self {
            repository: target.repository.to_string(),
            tags: target.tags.iter().map(ToString::to_string).collect(),
            digest: target.digest,
            references: target.references.iter().cloned().collect(),
        }
    }
}

/// A signature, SBOM or attestation that is not at the edge as it should be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProblemFacts {
    repository: String,
    subject: Digest,
    digest: Digest,
    /// `missing`, or `unlisted`: there, and found by its digest alone.
    state: &'static str,
    reason: String,
}

impl From<&ReferrerProblem> for ProblemFacts {
    fn from(problem: &ReferrerProblem) -> Self {
        Self {
            repository: problem.repository.to_string(),
            subject: problem.subject,
            digest: problem.digest,
            state: if problem.unlisted { "unlisted" } else { "missing" },
            reason: problem.reason.clone(),
        }
    }
}

/// The bundle that is pushed, and what must be known of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PushedBundle {
    /// Digest of its manifest, as `krs inspect` shows it.
    digest: Digest,
    stream: String,
    sequence: u64,
    /// Keys that signed it: those that were checked, or else those that its signatures name.
    signers: Vec<String>,
    /// Whether a key that was asked for signed it.
    trusted: bool,
    warnings: Vec<String>,
}

impl PushedBundle {
    /// Of a bundle that is open.
    pub(crate) fn new(bundle: &Bundle, warnings: Vec<String>) -> Self {
        let trusted = !bundle.signers().is_empty();
        let names = bundle.key_ids();
        let signers = if trusted { bundle.signers().iter().copied().collect() } else { names };
        Self {
            digest: bundle.digest(),
            stream: bundle.manifest().stream.to_string(),
            sequence: bundle.manifest().sequence,
            signers: signers.iter().map(ToString::to_string).collect(),
            trusted,
            warnings,
        }
    }
}

fn table(registry: &str, targets: &[TargetFacts]) -> String {
    let mut table = Table::new(&[("AT THE EDGE", Align::Left), ("IMAGE", Align::Left)]);
    for target in targets {
        let from = target.references.first().map(|reference| short_name(reference)).unwrap_or_default();
        for tag in &target.tags {
            let name = format!("{registry}/{}:{tag}", target.repository);
            table.row([name, from.clone()]);
        }
    }
    table.render()
}

/// What a push would do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DryPushReport {
    schema_version: u32,
    dry_run: bool,
    #[serde(flatten)]
    bundle: PushedBundle,
    destination: String,
    #[serde(skip)]
    registry: String,
    targets: Vec<TargetFacts>,
}

impl DryPushReport {
    /// Of the targets at a destination.
    pub(crate) fn new(bundle: PushedBundle, destination: &Destination, targets: &[Target]) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            dry_run: true,
            bundle,
            destination: destination.to_string(),
            registry: destination.registry.to_string(),
            targets: targets.iter().map(TargetFacts::from).collect(),
        }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let images = count(self.targets.len() as u64, "image");
        let table = table(&self.registry, &self.targets);
        format!("{table}\n{images} would be brought to {}; nothing was sent\n", self.destination)
    }
}

/// What a push did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PushedReport {
    schema_version: u32,
    dry_run: bool,
    #[serde(flatten)]
    bundle: PushedBundle,
    destination: String,
    #[serde(skip)]
    registry: String,
    targets: Vec<TargetFacts>,
    blobs_sent: u64,
    bytes_sent: u64,
    blobs_mounted: u64,
    blobs_present: u64,
    documents_sent: u64,
    /// Signatures, SBOMs and attestations that are not at the edge as they should be.
    referrer_problems: Vec<ProblemFacts>,
    retries: u64,
    retries_left: u32,
    elapsed_seconds: f64,
    #[serde(skip)]
    elapsed: Duration,
}

impl PushedReport {
    /// Of a push that is complete.
    pub(crate) fn new(
        bundle: PushedBundle,
        destination: &Destination,
        report: &PushReport,
        statistics: Statistics,
        elapsed: Duration,
    ) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            dry_run: false,
            bundle,
            destination: destination.to_string(),
            registry: destination.registry.to_string(),
            targets: report.targets.iter().map(TargetFacts::from).collect(),
            blobs_sent: report.blobs_sent,
            bytes_sent: report.bytes_sent,
            blobs_mounted: report.blobs_mounted,
            blobs_present: report.blobs_present,
            documents_sent: report.documents_sent,
            referrer_problems: report.referrers.iter().map(ProblemFacts::from).collect(),
            retries: statistics.retries,
            retries_left: statistics.retries_left,
            elapsed_seconds: seconds(elapsed),
            elapsed,
        }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let images = count(self.targets.len() as u64, "image");
        let moved = if self.blobs_sent + self.blobs_mounted + self.documents_sent == 0 {
            "everything was there already".to_owned()
        } else {
            format!(
                "{} sent ({}), {} linked, {} there already; {} sent",
                count(self.blobs_sent, "blob"),
                size(self.bytes_sent),
                self.blobs_mounted,
                self.blobs_present,
                count(self.documents_sent, "document"),
            )
        };
        let mut took = duration(self.elapsed);
        if self.bytes_sent > 0 {
            took.push_str(&format!(", {}", rate(self.bytes_sent, self.elapsed)));
        }
        took.push_str(&retries(self.retries, self.retries_left));
        let table = table(&self.registry, &self.targets);
        let mut text = format!("{table}\n{images} at {}: {moved} ({took})\n", self.destination);
        for ProblemFacts { repository, subject, digest, state, reason } in &self.referrer_problems {
            text.push_str(&format!(
                "{state}: {digest}, which refers to {}/{repository}@{subject}: {reason}\n",
                self.registry
            ));
        }
        text
    }
}
