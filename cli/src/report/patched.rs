// SPDX-License-Identifier: Apache-2.0
//! Layers that travel as patches, by layer and by file.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use krs_core::bundle::{Bundle, BundledImages};
use krs_core::oci::digest::Digest;
use krs_core::sync::compact::{Candidates, LayerOutcome};
use krs_core::sync::push::RebuildForecast;
use krs_core::sync::rebuild::{DescribedLayer, DescribedSource};
use serde::Serialize;

use super::human::{count, size};
use super::images::short_name;
use super::table::{Align, Table, sentence};

/// Most rows of a table for people; documents for programs have all.
const MAX_ROWS: usize = 10;

/// What became of a layer that might have travelled as a patch.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OutcomeFacts {
    digest: Digest,
    /// The first image that has it.
    image: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<Digest>,
    /// What travels: of the patch and the recipe, about, or the layer.
    travel_bytes: u64,
    /// Why it travels as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Files that changed or are new.
    #[serde(skip_serializing_if = "Option::is_none")]
    file_count: Option<usize>,
    /// Those of them that take most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<FileFacts>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FileFacts {
    path: String,
    size: u64,
    travel_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
}

impl From<&LayerOutcome> for OutcomeFacts {
    fn from(layer: &LayerOutcome) -> Self {
        let (digest, image, size) = (layer.digest, layer.name.clone(), layer.size);
        match &layer.travels {
            Ok(made) => {
                let files = made.files.iter().map(|file| FileFacts {
                    path: file.path.clone(),
                    size: file.size,
                    travel_bytes: file.bytes,
                    from: file.from.clone(),
                });
                Self {
                    digest,
                    image,
                    size,
                    patch: Some(made.patch),
                    travel_bytes: made.bytes,
                    reason: None,
                    file_count: Some(made.file_count),
                    files: files.collect(),
                }
            }
            Err(reason) => Self {
                digest,
                image,
                size,
                patch: None,
                travel_bytes: size,
                reason: Some(reason.clone()),
                file_count: None,
                files: Vec::new(),
            },
        }
    }
}

/// All layers, the largest first.
pub(super) fn outcomes(layers: &[LayerOutcome]) -> Vec<OutcomeFacts> {
    let mut facts = layers.iter().map(OutcomeFacts::from).collect::<Vec<_>>();
    facts.sort_by_key(|layer| (Reverse(layer.size), layer.digest));
    facts
}

/// The layers that are largest, and the files that take most, for people.
pub(super) fn outcome_text(layers: &[OutcomeFacts]) -> String {
    let mut table = Table::new(&[
        ("LAYER", Align::Left),
        ("IMAGE", Align::Left),
        ("SIZE", Align::Right),
        ("TRAVELS", Align::Right),
        ("AS", Align::Left),
    ]);
    for layer in layers.iter().take(MAX_ROWS) {
        let form = layer.reason.as_ref().map_or_else(|| "patch".to_owned(), |why| format!("layer: {why}"));
        let sizes = [layer.size, layer.travel_bytes].map(size);
        let [of_layer, travels] = sizes;
        table.row([layer.digest.short(), short_name(&layer.image), of_layer, travels, form]);
    }
    let mut text = table.render();
    text.push_str(&smaller_layers(layers, |layer| (layer.size, layer.travel_bytes)));
    let files = file_text(layers);
    if !files.is_empty() {
        text.push('\n');
        text.push_str(&files);
    }
    text
}

fn file_text(layers: &[OutcomeFacts]) -> String {
    let of_layer = |layer| {
        let layer: &OutcomeFacts = layer;
        layer.files.iter().map(move |file| (layer, file))
    };
    let mut files = layers.iter().flat_map(of_layer).collect::<Vec<_>>();
    files.sort_by_key(|(_, file)| Reverse(file.travel_bytes));
    let mut table = Table::new(&[
        ("FILE", Align::Left),
        ("LAYER", Align::Left),
        ("SIZE", Align::Right),
        ("TRAVELS", Align::Right),
        ("FROM", Align::Left),
    ]);
    for (layer, file) in files.iter().take(MAX_ROWS) {
        let path = if file.path.is_empty() { "(no file)".to_owned() } else { file.path.clone() };
        let from = match &file.from {
            Some(from) if *from == file.path => "its older version".to_owned(),
            Some(from) => from.clone(),
            None => "-".to_owned(),
        };
        table.row([path, layer.digest.short(), size(file.size), size(file.travel_bytes), from]);
    }
    let mut text = table.render();
    let all = layers.iter().filter_map(|layer| layer.file_count).sum::<usize>();
    if let Some(rest) = all.checked_sub(MAX_ROWS).filter(|rest| *rest > 0) {
        text.push_str(&sentence(&format!(
            "and {} that changed or are new",
            count(rest as u64, "smaller file")
        )));
    }
    text
}

/// What a bundle with patches would try, before they are made.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CandidateFacts {
    /// Layers of the sites that would be read.
    base_layers: usize,
    base_bytes: u64,
    layers: Vec<CandidateLayer>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CandidateLayer {
    digest: Digest,
    image: String,
    size: u64,
    /// Whether the sites have layers of which it may be made.
    has_base: bool,
}

impl From<&Candidates> for CandidateFacts {
    fn from(candidates: &Candidates) -> Self {
        let layers = candidates.layers.iter().map(|layer| CandidateLayer {
            digest: layer.digest,
            image: layer.name.clone(),
            size: layer.size,
            has_base: layer.has_base,
        });
        let mut layers = layers.collect::<Vec<_>>();
        layers.sort_by_key(|layer| (Reverse(layer.size), layer.digest));
        Self { base_layers: candidates.base_layers, base_bytes: candidates.base_bytes, layers }
    }
}

impl CandidateFacts {
    pub(super) fn text(&self) -> String {
        if self.layers.is_empty() {
            return "no layer that travels may be a patch".to_owned();
        }
        let (with, without): (Vec<_>, Vec<_>) = self.layers.iter().partition(|layer| layer.has_base);
        let named = |layers: &[&CandidateLayer]| {
            let bytes = layers.iter().map(|layer| layer.size).sum();
            format!("{} ({})", count(layers.len() as u64, "layer"), size(bytes))
        };
        let mut parts = Vec::new();
        if !with.is_empty() {
            let bases = count(self.base_layers as u64, "layer");
            let bytes = size(self.base_bytes);
            parts.push(format!("{} from {bases} ({bytes}) that the site has", named(&with)));
        }
        if !without.is_empty() {
            parts.push(format!("{} from what layers of the bundle share", named(&without)));
        }
        format!(
            "{}; the sizes above are without patches, whose sizes are known after they are made",
            parts.join(", ")
        )
    }
}

/// Bytes of compressed layers that a site makes in a second: less than `cargo xtask bench` measures with two cores, and assumed for
/// any site.
const REBUILD_RATE: u64 = 20_000_000;

/// About how many seconds a site makes layers of so many compressed bytes.
pub(super) const fn rebuild_seconds(bytes: u64) -> u64 {
    bytes.div_ceil(REBUILD_RATE)
}

/// What a push would make of patches at one destination.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RebuildFacts {
    layers: usize,
    bytes: u64,
    /// Expanded and made, without compression.
    plain_bytes: u64,
    /// Layers that are read first.
    base_layers: usize,
    scratch_bytes: u64,
    /// By [`rebuild_seconds`].
    estimated_seconds: u64,
}

impl From<RebuildForecast> for RebuildFacts {
    fn from(forecast: RebuildForecast) -> Self {
        let RebuildForecast { layers, bytes, plain_bytes, base_layers, scratch_bytes } = forecast;
        let estimated_seconds = rebuild_seconds(bytes);
        Self { layers, bytes, plain_bytes, base_layers, scratch_bytes, estimated_seconds }
    }
}

impl RebuildFacts {
    pub(super) fn text(&self) -> String {
        if self.layers == 0 {
            return "No layer would be made of patches: what travels as patches is there already".to_owned();
        }
        let (made, bases) = (count(self.layers as u64, "layer"), count(self.base_layers as u64, "layer"));
        format!(
            "{made} ({}; {} uncompressed, with what is read) would be made of {bases} and patches, in {} of scratch space: \
             about {} s, if a site makes 20 MB of compressed layers in a second",
            size(self.bytes),
            size(self.plain_bytes),
            size(self.scratch_bytes),
            self.estimated_seconds,
        )
    }
}

/// A layer of a bundle that a site makes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PatchedLayerFacts {
    digest: Digest,
    /// All images that have it.
    images: BTreeSet<String>,
    size: u64,
    plain_size: u64,
    patch: Digest,
    /// Bytes of the patch, which may make other layers too.
    patch_bytes: u64,
    /// What travels for this layer: of the patch and the recipe, about. Absent if the patch cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    travel_bytes: Option<u64>,
    sources: Vec<SourceFacts>,
}

#[derive(Debug, Serialize)]
struct SourceFacts {
    digest: Digest,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    repositories: Vec<String>,
}

impl From<DescribedSource> for SourceFacts {
    fn from(DescribedSource { digest, repositories }: DescribedSource) -> Self {
        Self { digest, repositories }
    }
}

/// The layers that a site makes, the largest first, with the images that have them.
pub(super) fn patched_layers(
    described: Vec<DescribedLayer>,
    bundle: &Bundle,
    bundled: &BundledImages,
) -> Vec<PatchedLayerFacts> {
    let mut images = BTreeMap::<Digest, BTreeSet<String>>::new();
    for (image, content) in bundle.manifest().images.iter().zip(&bundled.images) {
        let closures =
            std::iter::once(&content.closure).chain(content.referrers.iter().map(|(_, closure)| closure));
        for blob in closures.flat_map(|closure| &closure.blobs) {
            images.entry(blob.digest).or_default().insert(image.reference.to_string());
        }
    }
    let facts = described.into_iter().map(|layer| PatchedLayerFacts {
        digest: layer.digest,
        images: images.get(&layer.digest).cloned().unwrap_or_default(),
        size: layer.size,
        plain_size: layer.plain_size,
        patch: layer.patch,
        patch_bytes: layer.patch_size,
        travel_bytes: layer.bytes,
        sources: layer.sources.into_iter().map(SourceFacts::from).collect(),
    });
    let mut facts = facts.collect::<Vec<_>>();
    facts.sort_by_key(|layer| (Reverse(layer.size), layer.digest));
    facts
}

/// The layers that are largest, for people.
pub(super) fn patched_text(layers: &[PatchedLayerFacts]) -> String {
    let mut table = Table::new(&[
        ("PATCHED LAYER", Align::Left),
        ("IMAGE", Align::Left),
        ("SIZE", Align::Right),
        ("UNCOMPRESSED", Align::Right),
        ("TRAVELS", Align::Right),
        ("FROM", Align::Left),
        ("PATCH", Align::Left),
    ]);
    for layer in layers.iter().take(MAX_ROWS) {
        let others = |shown: String, all: usize| match all {
            0 | 1 => shown,
            all => format!("{shown} and {} more", all - 1),
        };
        let image = layer.images.first().map(|image| short_name(image)).unwrap_or_default();
        let from = layer.sources.first().map_or_else(
            || "-".to_owned(),
            |first| match first.repositories.first() {
                Some(repository) => format!("{} in {repository}", first.digest.short()),
                None => format!("{} of this bundle", first.digest.short()),
            },
        );
        table.row([
            layer.digest.short(),
            others(image, layer.images.len()),
            size(layer.size),
            size(layer.plain_size),
            layer.travel_bytes.map_or_else(|| "unknown".to_owned(), size),
            others(from, layer.sources.len()),
            format!("{} ({})", layer.patch.short(), size(layer.patch_bytes)),
        ]);
    }
    let mut text = table.render();
    text.push_str(&smaller_layers(layers, |layer| (layer.size, layer.travel_bytes.unwrap_or_default())));
    text
}

/// What a table of layers leaves out, by the bytes of a layer and those of them that travel; empty if that is nothing.
fn smaller_layers<L>(layers: &[L], bytes: impl Fn(&L) -> (u64, u64)) -> String {
    let rest = layers.get(MAX_ROWS..).unwrap_or_default();
    if rest.is_empty() {
        return String::new();
    }
    let (all, travel) = rest.iter().map(bytes).fold((0, 0), |sum, layer| (sum.0 + layer.0, sum.1 + layer.1));
    let layers = count(rest.len() as u64, "smaller layer");
    sentence(&format!("and {layers} of {}, of which {} travel", size(all), size(travel)))
}
