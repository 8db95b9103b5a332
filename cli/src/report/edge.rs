// SPDX-License-Identifier: Apache-2.0
use std::time::Duration;

use krs_core::bundle::Bundle;
use krs_core::error::chain;
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::Destination;
use krs_core::registry::Statistics;
use krs_core::sync::push::{
    Delivery, PushError, PushReport, RebuildForecast, ReferrerProblem, TagBefore, TagState, Target,
};
use serde::Serialize;

use super::SCHEMA_VERSION;
use super::human::{count, duration, rate, retries, seconds, size};
use super::images::short_name;
use super::patched::RebuildFacts;
use super::table::{Align, Table, sentence};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TargetFacts {
    destination: String,
    repository: String,
    tags: Vec<String>,
    tag_states: Vec<TagFacts>,
    digest: Digest,
    references: Vec<String>,
}

/// What a tag named before.
#[derive(Debug, Serialize)]
struct TagFacts {
    tag: String,
    /// `created`, `moved`, `unchanged`, or `unknown` where the registry did not say.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Digest>,
}

impl From<&TagState> for TagFacts {
    fn from(state: &TagState) -> Self {
        let from = state.moved_from();
        let name = match state.before {
            TagBefore::Absent => "created",
            TagBefore::Unknown => "unknown",
            TagBefore::Digest(_) if from.is_some() => "moved",
            TagBefore::Digest(_) => "unchanged",
        };
        Self { tag: state.tag.to_string(), state: name, from }
    }
}

impl TargetFacts {
    fn new(destination: &Destination, target: &Target, states: &[TagState]) -> Self {
        let own = states.iter().filter(|state| state.repository == target.repository);
        let own = own.filter(|state| target.tags.contains(&state.tag));
        Self {
            destination: destination.to_string(),
            repository: target.repository.to_string(),
            tags: target.tags.iter().map(ToString::to_string).collect(),
            tag_states: own.map(TagFacts::from).collect(),
            digest: target.digest,
            references: target.references.iter().cloned().collect(),
        }
    }
}

/// A signature, SBOM or attestation that is not at the edge as it should be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProblemFacts {
    registry: String,
    repository: String,
    subject: Digest,
    digest: Digest,
    /// `missing`, or `unlisted`: there, and found by its digest alone.
    state: &'static str,
    reason: String,
}

impl ProblemFacts {
    fn new(destination: &Destination, problem: &ReferrerProblem) -> Self {
        Self {
            registry: destination.registry.to_string(),
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
    file: String,
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
            file: bundle.path().to_string(),
            digest: bundle.digest(),
            stream: bundle.manifest().stream.to_string(),
            sequence: bundle.manifest().sequence,
            signers: signers.iter().map(ToString::to_string).collect(),
            trusted,
            warnings,
        }
    }

    /// Adds what must be known of it.
    pub(crate) fn add_warning(&mut self, text: String) {
        self.warnings.push(text);
    }

    /// The last line of a report: which bundle it was.
    fn line(&self) -> String {
        let signers = self.signers.join(", ");
        let signed = match (self.trusted, self.signers.is_empty()) {
            (true, _) => format!("signed by {signers}"),
            (false, true) => "not signed".to_owned(),
            (false, false) => format!("signed by {signers}, which was not checked"),
        };
        let Self { file, stream, sequence, .. } = self;
        sentence(&format!("{file}: stream {stream}, sequence {sequence}, {signed}"))
    }
}

/// How many tags are in which state.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct TagCounts {
    tags_moved: u64,
    tags_created: u64,
    tags_unchanged: u64,
    tags_unknown: u64,
}

impl TagCounts {
    fn of(states: &[TagState]) -> Self {
        let mut counts = Self::default();
        for state in states {
            let counter = match TagFacts::from(state).state {
                "moved" => &mut counts.tags_moved,
                "created" => &mut counts.tags_created,
                "unchanged" => &mut counts.tags_unchanged,
                _ => &mut counts.tags_unknown,
            };
            *counter += 1;
        }
        counts
    }

    fn text(self) -> String {
        let all = self.tags_moved + self.tags_created + self.tags_unchanged + self.tags_unknown;
        let numbers = [
            (self.tags_moved, "moved"),
            (self.tags_created, "new"),
            (self.tags_unchanged, "unchanged"),
            (self.tags_unknown, "not known"),
        ];
        let numbers = numbers.iter().filter(|(number, _)| *number > 0);
        let numbers = numbers.map(|(number, what)| format!("{number} {what}")).collect::<Vec<_>>();
        format!("{}: {}", count(all, "tag"), numbers.join(", "))
    }
}

/// The images of one destination by their names, and below them the tags that name something else now.
fn table(destination: &Destination, targets: &[Target], states: &[TagState], moves: &str) -> String {
    let registry = &destination.registry;
    let mut table =
        Table::new(&[("EDGE REGISTRY", Align::Left), ("DIGEST", Align::Left), ("IMAGE", Align::Left)]);
    for target in targets {
        let from = target.references.first().map(|reference| short_name(reference)).unwrap_or_default();
        for tag in &target.tags {
            let name = format!("{registry}/{}:{tag}", target.repository);
            table.row([name, target.digest.short(), from.clone()]);
        }
    }
    let mut text = format!("{}\n", table.render());
    for state in states {
        if let Some(from) = state.moved_from() {
            let TagState { repository, tag, digest, .. } = state;
            text.push_str(&format!(
                "{registry}/{repository}:{tag} {moves}\n  from {from}\n  to   {digest}\n"
            ));
        }
    }
    text
}

/// The destination, where there is one only.
fn only<'a>(mut deliveries: impl Iterator<Item = &'a Delivery>) -> Option<String> {
    let first = deliveries.next()?;
    deliveries.next().is_none().then(|| first.destination.to_string())
}

/// What a push would do at one destination.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DryDestination {
    destination: String,
    images: usize,
    #[serde(flatten)]
    tags: TagCounts,
    /// What would be made of patches.
    #[serde(skip_serializing_if = "Option::is_none")]
    rebuild: Option<RebuildFacts>,
    #[serde(skip)]
    text: String,
}

/// What a push would do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DryPushReport {
    schema_version: u32,
    dry_run: bool,
    #[serde(flatten)]
    bundle: PushedBundle,
    /// Where there is one only.
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<String>,
    destinations: Vec<DryDestination>,
    targets: Vec<TargetFacts>,
}

impl DryPushReport {
    /// Of deliveries, with what their tags name now, and what would be made for them.
    pub(crate) fn new(
        bundle: PushedBundle,
        deliveries: &[Delivery],
        states: &[Vec<TagState>],
        forecasts: &[Option<RebuildForecast>],
    ) -> Self {
        let (mut destinations, mut targets) = (Vec::new(), Vec::new());
        for ((delivery, states), forecast) in deliveries.iter().zip(states).zip(forecasts) {
            let to = &delivery.destination;
            let (tags, images) = (TagCounts::of(states), delivery.targets.len());
            let table = table(to, &delivery.targets, states, "would move");
            let shown = count(images as u64, "image");
            let mut text = table + &sentence(&format!("{shown} would be brought to {to}; {}", tags.text()));
            let rebuild = forecast.map(RebuildFacts::from);
            text.extend(rebuild.iter().map(|rebuild| sentence(&rebuild.text())));
            destinations.push(DryDestination { destination: to.to_string(), images, tags, rebuild, text });
            targets.extend(delivery.targets.iter().map(|target| TargetFacts::new(to, target, states)));
        }
        let destination = only(deliveries.iter());
        Self { schema_version: SCHEMA_VERSION, dry_run: true, bundle, destination, destinations, targets }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let parts = self.destinations.iter().map(|one| one.text.as_str()).collect::<Vec<_>>();
        format!("{}Nothing was sent.\n{}", parts.join("\n"), self.bundle.line())
    }
}

/// What was moved.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct TransferCounts {
    blobs_sent: u64,
    bytes_sent: u64,
    blobs_mounted: u64,
    blobs_present: u64,
    #[serde(rename = "documentsSent")]
    manifests_sent: u64,
}

impl From<&PushReport> for TransferCounts {
    fn from(report: &PushReport) -> Self {
        Self {
            blobs_sent: report.blobs_sent,
            bytes_sent: report.bytes_sent,
            blobs_mounted: report.blobs_mounted,
            blobs_present: report.blobs_present,
            manifests_sent: report.manifests_sent,
        }
    }
}

impl std::ops::AddAssign for TransferCounts {
    fn add_assign(&mut self, other: Self) {
        self.blobs_sent += other.blobs_sent;
        self.bytes_sent += other.bytes_sent;
        self.blobs_mounted += other.blobs_mounted;
        self.blobs_present += other.blobs_present;
        self.manifests_sent += other.manifests_sent;
    }
}

impl TransferCounts {
    fn text(self) -> String {
        if self.blobs_sent + self.blobs_mounted + self.manifests_sent == 0 {
            return "everything was there already".to_owned();
        }
        format!(
            "{} sent ({}), {} linked, {} there already; {} sent",
            count(self.blobs_sent, "blob"),
            size(self.bytes_sent),
            self.blobs_mounted,
            self.blobs_present,
            count(self.manifests_sent, "manifest"),
        )
    }
}

/// What became of one delivery.
#[derive(Debug)]
pub(crate) struct DeliveryOutcome<'a> {
    pub(crate) delivery: &'a Delivery,
    pub(crate) result: Result<PushReport, PushError>,
    /// Whether an older bundle of the stream will be refused there.
    pub(crate) remembered: bool,
}

impl DeliveryOutcome<'_> {
    /// Signatures, SBOMs and attestations that are not there as they should be.
    pub(crate) fn problems(&self) -> &[ReferrerProblem] {
        match &self.result {
            Ok(report) => &report.referrers,
            Err(PushError::Targets { referrers, .. }) => referrers,
            Err(_) => &[],
        }
    }
}

/// What a push did at one destination.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PushedDestination {
    destination: String,
    images: usize,
    /// Why not all images are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    tags: TagCounts,
    #[serde(flatten)]
    transferred: TransferCounts,
    remembered: bool,
    #[serde(skip)]
    text: String,
}

/// What a push did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PushedReport {
    schema_version: u32,
    dry_run: bool,
    #[serde(flatten)]
    bundle: PushedBundle,
    /// Where there is one only.
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<String>,
    destinations: Vec<PushedDestination>,
    targets: Vec<TargetFacts>,
    /// At all destinations.
    #[serde(flatten)]
    transferred: TransferCounts,
    /// Signatures, SBOMs and attestations that are not at the edge as they should be.
    referrer_problems: Vec<ProblemFacts>,
    retries: u64,
    retries_left: u32,
    elapsed_seconds: f64,
    #[serde(skip)]
    elapsed: Duration,
}

impl PushedReport {
    /// Of a push that is complete at one destination at least.
    pub(crate) fn new(
        bundle: PushedBundle,
        pushed: &[DeliveryOutcome<'_>],
        statistics: Statistics,
        elapsed: Duration,
    ) -> Self {
        let mut all = Self {
            schema_version: SCHEMA_VERSION,
            dry_run: false,
            bundle,
            destination: only(pushed.iter().map(|one| one.delivery)),
            destinations: Vec::new(),
            targets: Vec::new(),
            transferred: TransferCounts::default(),
            referrer_problems: Vec::new(),
            retries: statistics.retries,
            retries_left: statistics.retries_left,
            elapsed_seconds: seconds(elapsed),
            elapsed,
        };
        pushed.iter().for_each(|one| all.add(one));
        all
    }

    fn add(&mut self, DeliveryOutcome { delivery, result, remembered }: &DeliveryOutcome<'_>) {
        let to = &delivery.destination;
        let report = match result {
            Ok(report) => report,
            Err(error) => {
                self.destinations.push(PushedDestination {
                    destination: to.to_string(),
                    images: delivery.targets.len(),
                    error: Some(chain(error)),
                    tags: TagCounts::default(),
                    transferred: TransferCounts::default(),
                    remembered: false,
                    text: String::new(),
                });
                return;
            }
        };
        let (tags, transferred) = (TagCounts::of(&report.tags), TransferCounts::from(report));
        let images = report.targets.len();
        let (table, shown) =
            (table(to, &report.targets, &report.tags, "moved"), count(images as u64, "image"));
        let text = table + &sentence(&format!("{shown} at {to}: {}; {}", transferred.text(), tags.text()));
        self.destinations.push(PushedDestination {
            destination: to.to_string(),
            images,
            error: None,
            tags,
            transferred,
            remembered: *remembered,
            text,
        });
        self.transferred += transferred;
        self.targets.extend(report.targets.iter().map(|target| TargetFacts::new(to, target, &report.tags)));
        self.referrer_problems.extend(report.referrers.iter().map(|problem| ProblemFacts::new(to, problem)));
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let done = self.destinations.iter().filter(|one| one.error.is_none());
        let mut text = done.map(|one| one.text.as_str()).collect::<Vec<_>>().join("\n");
        for ProblemFacts { registry, repository, subject, digest, state, reason } in &self.referrer_problems {
            text.push_str(&format!(
                "{state}: {digest}, which refers to {registry}/{repository}@{subject}: {reason}\n"
            ));
        }
        let mut took = duration(self.elapsed);
        let bytes = self.transferred.bytes_sent;
        if bytes > 0 {
            took.push_str(&format!(", {}", rate(bytes, self.elapsed)));
        }
        took.push_str(&retries(self.retries, self.retries_left));
        text.push_str(&format!("Took {took}\n{}", self.bundle.line()));
        text
    }
}
