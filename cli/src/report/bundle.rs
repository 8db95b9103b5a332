// SPDX-License-Identifier: Apache-2.0
use std::collections::BTreeMap;
use std::time::Duration;

use krs_core::bundle::{Bundle, BundleError};
use krs_core::registry::Statistics;
use krs_core::set::LoadedSets;
use krs_core::sync::compact::{Candidates, LayerOutcome};
use krs_core::sync::plan::{Plan, SourceShare};
use krs_core::sync::pull::PullReport;
use krs_core::sync::resolve::{LeftBehind, Resolved, ResolvedImage};
use serde::Serialize;

use super::SCHEMA_VERSION;
use super::facts::Facts;
use super::forecast::Forecast;
use super::human::{count, duration, rate, retries, seconds, size};
use super::images::{self, ImageFacts, Input, MissingFacts, Referrer};
use super::patched::{self, CandidateFacts, OutcomeFacts};
use super::sets::FileRemark;
use super::settings::SettingsFacts;
use super::table::facts;

/// A bundle that was written, or would be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BundleReport {
    schema_version: u32,
    dry_run: bool,
    #[serde(flatten)]
    facts: Facts,
    /// Bytes that have to be fetched besides the manifests.
    fetch_bytes: u64,
    #[serde(flatten)]
    forecast: Forecast,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<Run>,
    images: Vec<ImageFacts>,
    /// Local sources, in the order of the call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sources: Vec<SourceFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_behind: Option<Left>,
    /// What became of layers that might travel as patches, the largest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    compact_layers: Option<Vec<OutcomeFacts>>,
    /// What would be tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    compact_plan: Option<CandidateFacts>,
    /// Fields that a site with an older krs could not read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    omitted: Vec<String>,
    warnings: Vec<FileRemark>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<SettingsFacts>,
}

/// What comes from a local source, and not from a registry.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SourceFacts {
    source: String,
    image_count: usize,
    bytes: u64,
}

impl From<&SourceShare> for SourceFacts {
    fn from(share: &SourceShare) -> Self {
        Self { source: share.source.location().to_owned(), image_count: share.images, bytes: share.bytes }
    }
}

/// What refers to the images and stays behind.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Left {
    /// Whether registries were queried for them.
    #[serde(rename = "asked")]
    is_queried: bool,
    /// How many of which artifact type.
    referrers: BTreeMap<String, usize>,
}

impl Left {
    fn new(left: &LeftBehind) -> Option<Self> {
        let referrers = left.by_type.iter().map(|(kind, digests)| (kind.clone(), digests.len())).collect();
        (left.unasked || !left.by_type.is_empty()).then_some(Self { is_queried: !left.unasked, referrers })
    }

    fn text(&self) -> String {
        if !self.is_queried {
            return "signatures, SBOMs and attestations were not looked for (--referrers none)".to_owned();
        }
        let total = self.referrers.values().sum::<usize>();
        let kinds = self.referrers.iter().map(|(kind, number)| format!("{number} of {kind}"));
        format!("{} ({})", count(total as u64, "referrer"), kinds.collect::<Vec<_>>().join(", "))
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    elapsed_seconds: f64,
    bytes_received: u64,
    requests: u64,
    retries: u64,
    /// Bytes that an interrupted run had fetched.
    bytes_resumed: u64,
    /// Bytes that came from earlier bundles.
    bytes_reused: u64,
    /// Bytes that were read from local sources.
    bytes_local: u64,
    files: Vec<String>,
    retries_left: u32,
}

/// How a run went.
#[derive(Debug)]
pub(crate) struct Done {
    /// From the first request to the finished file.
    pub(crate) elapsed: Duration,
    /// What the client did.
    pub(crate) statistics: Statistics,
    /// What was fetched, and what did not have to be.
    pub(crate) pulled: PullReport,
    /// What was written.
    pub(crate) bundle: Bundle,
}

impl BundleReport {
    /// Of a plan; `done` where it was carried out. Configs are read for the platforms of images without an index: those
    /// of the bundle, or those that the plan needed anyway.
    ///
    /// # Errors
    /// A config that cannot be read.
    pub(crate) fn new(
        mut facts: Facts,
        loaded: &LoadedSets,
        resolved: &Resolved,
        plan: &Plan,
        forecast: Forecast,
        done: Option<Done>,
    ) -> Result<Self, BundleError> {
        let input = |image| {
            let image: &ResolvedImage = image;
            Input {
                reference: &image.reference,
                requested: &image.platforms,
                artifact_type: image.artifact_type.as_deref(),
                root: &image.root,
                closure: &image.closure,
                referrers: image
                    .referrers
                    .iter()
                    .map(|r| Referrer { subject: r.subject, root: &r.root, closure: &r.closure })
                    .collect(),
                missing_referrers: image.missing_optional().count(),
            }
        };
        let inputs = resolved.images.iter().map(input).collect::<Vec<_>>();
        let sets = loaded.sets.iter().map(|set| &set.set);
        let mut images = images::describe(&inputs, &resolved.manifests, sets);
        for (described, image) in images.iter_mut().zip(&resolved.images) {
            described.missing_referrers = image.missing_optional().map(MissingFacts::from).collect();
            described.warnings = image.remarks();
            let source = image.source.and_then(|index| resolved.sources.get(index));
            described.from = source.map(|source| source.location().to_owned());
        }
        images::add_config_platforms(&mut images, &inputs, &resolved.manifests, |config| match &done {
            Some(Done { bundle, .. }) => images::bundled_config(bundle, config),
            // A plan fetches no blob for this alone: it would cost a request for each image.
            None => Ok(resolved.manifests.content(&config.digest).map(|content| content.to_vec())),
        })?;
        let missing = resolved.images.iter().flat_map(ResolvedImage::missing_optional);
        let (known, lookups): (Vec<_>, Vec<_>) = missing.partition(|missing| missing.digest.is_some());
        facts.set_missing_referrers(known.len(), lookups.len());
        Ok(Self {
            schema_version: SCHEMA_VERSION,
            dry_run: done.is_none(),
            facts,
            fetch_bytes: plan.fetch_size(),
            forecast,
            run: done.map(|Done { elapsed, statistics, pulled, .. }| Run {
                elapsed_seconds: seconds(elapsed),
                bytes_received: statistics.bytes_received,
                requests: statistics.requests,
                retries: statistics.retries,
                bytes_resumed: pulled.resumed,
                bytes_reused: pulled.reused,
                bytes_local: pulled.local,
                files: pulled.files.iter().map(ToString::to_string).collect(),
                retries_left: statistics.retries_left,
            }),
            images,
            sources: plan.sources.iter().map(SourceFacts::from).collect(),
            left_behind: Left::new(&resolved.left_behind),
            compact_layers: None,
            compact_plan: None,
            omitted: plan.omitted.iter().map(ToString::to_string).collect(),
            warnings: loaded.warnings.iter().map(FileRemark::from).collect(),
            settings: None,
        })
    }

    /// Adds what comes from `krs.yaml`.
    #[must_use]
    pub(crate) fn with_settings(self, settings: Option<SettingsFacts>) -> Self {
        Self { settings, ..self }
    }

    /// Adds what became of layers that might travel as patches.
    #[must_use]
    pub(crate) fn with_outcomes(self, layers: Option<&[LayerOutcome]>) -> Self {
        Self { compact_layers: layers.map(patched::outcomes), ..self }
    }

    /// Adds which layers may travel as patches.
    #[must_use]
    pub(crate) fn with_candidates(self, candidates: Option<&Candidates>) -> Self {
        Self { compact_plan: candidates.map(CandidateFacts::from), ..self }
    }

    /// What stands in the way of writing what is planned.
    pub(crate) fn obstacle(&self) -> Option<String> {
        self.forecast.obstacle()
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut lines = self.facts.lines();
        lines.extend(self.settings.iter().map(|settings| ("Settings", settings.text())));
        if let Some(run) = &self.run {
            let elapsed = Duration::from_secs_f64(run.elapsed_seconds);
            let mut took = duration(elapsed);
            if run.bytes_received > 0 {
                took.push_str(&format!(", {}", rate(run.bytes_received, elapsed)));
            }
            took.push_str(&retries(run.retries, run.retries_left));
            lines.push(("Took", took));
            if run.bytes_resumed > 0 {
                lines.push((
                    "Resumed",
                    format!("{} were here from an interrupted run", size(run.bytes_resumed)),
                ));
            }
            if run.bytes_reused > 0 {
                lines.push(("Reused", format!("{} came from earlier bundles", size(run.bytes_reused))));
            }
            if run.files.len() > 1 {
                let (first, last) = (run.files.first(), run.files.last());
                let (first, last) = (first.cloned().unwrap_or_default(), last.cloned().unwrap_or_default());
                lines.push(("Volumes", format!("{}: {first} to {last}", run.files.len())));
            }
        } else {
            lines.retain(|(name, _)| *name != "Signed by");
            lines.push(("To fetch", size(self.fetch_bytes)));
            lines.extend(self.forecast.lines());
            lines.extend(self.compact_plan.iter().map(|plan| ("To patch", plan.text())));
        }
        for SourceFacts { source, image_count, bytes } in &self.sources {
            let images = count(*image_count as u64, "image");
            lines.push(("From", format!("{source}: {images}, {}", size(*bytes))));
        }
        if let Some(left) = &self.left_behind {
            lines.push(("Left behind", left.text()));
        }
        let mut text = images::table(&self.images);
        text.push('\n');
        text.push_str(&facts(&lines));
        if let Some(layers) = self.compact_layers.as_deref().filter(|layers| !layers.is_empty()) {
            text.push('\n');
            text.push_str(&patched::outcome_text(layers));
        }
        text
    }
}
