// SPDX-License-Identifier: Apache-2.0
use krs_core::bundle::{Bundle, BundleError, BundledImages};
use krs_core::redact::printable;
use krs_core::sync::rebuild::DescribedLayer;
use serde::Serialize;

use super::SCHEMA_VERSION;
use super::facts::Facts;
use super::human::size;
use super::images::{self, ImageFacts, Input, Node, Referrer, short_name};
use super::patched::{self, PatchedLayerFacts};
use super::table::{Align, Table, facts, sentence};

/// What is in a bundle.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InspectReport {
    schema_version: u32,
    #[serde(flatten)]
    facts: Facts,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    sets: Vec<SetFacts>,
    images: Vec<ImageFacts>,
    /// Layers that a site makes of patches, the largest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    patched_layers: Vec<PatchedLayerFacts>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SetFacts {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    name: String,
    file: String,
    destination_registry: String,
    images: usize,
}

impl InspectReport {
    /// Of a bundle. Reads the configs of images without an index, for their platforms.
    ///
    /// # Errors
    /// A config that is damaged.
    pub(crate) fn new(
        bundle: &Bundle,
        bundled: &BundledImages,
        described: Vec<DescribedLayer>,
        warnings: Vec<String>,
    ) -> Result<Self, BundleError> {
        let pairs = bundle.manifest().images.iter().zip(&bundled.images);
        let input = |(image, bundled)| {
            let (image, bundled): (&krs_core::bundle::BundleImage, &krs_core::bundle::BundledImage) =
                (image, bundled);
            Input {
                reference: &image.reference,
                requested: &image.platforms,
                artifact_type: image.artifact_type.as_deref(),
                root: &bundled.root,
                closure: &bundled.closure,
                referrers: image
                    .referrers
                    .iter()
                    .zip(&bundled.referrers)
                    .map(|(entry, (root, closure))| Referrer { subject: entry.subject, root, closure })
                    .collect(),
                missing_referrers: usize::try_from(image.missing_referrers).unwrap_or(usize::MAX),
            }
        };
        let inputs = pairs.map(input).collect::<Vec<_>>();
        let mut images = images::describe(&inputs, &bundled.manifests, bundle.sets());
        images::add_config_platforms(&mut images, &inputs, &bundled.manifests, |config| {
            images::bundled_config(bundle, config)
        })?;
        let sets = bundle.sets().iter().zip(&bundle.manifest().sets).map(|(set, entry)| SetFacts {
            namespace: set.namespace.clone(),
            name: set.name.clone(),
            file: entry.file.clone(),
            destination_registry: set.spec.destination_registry.clone(),
            images: set.images.len(),
        });
        Ok(Self {
            schema_version: SCHEMA_VERSION,
            facts: Facts::of_bundle(bundle, bundled),
            warnings,
            sets: sets.collect(),
            images,
            patched_layers: patched::patched_layers(described, bundle, bundled),
        })
    }

    /// For people; with `tree` each image down to its layers.
    pub(crate) fn text(&self, tree: bool) -> String {
        let mut text = facts(&self.facts.lines());
        text.push('\n');
        if tree {
            for image in &self.images {
                text.push_str(&printable(&image.reference, 400));
                text.push('\n');
                branches(&mut text, "", &image.tree);
            }
        } else {
            text.push_str(&images::table(&self.images));
        }
        text.push('\n');
        if !self.patched_layers.is_empty() {
            text.push_str(&patched::patched_text(&self.patched_layers));
            text.push('\n');
        }
        text.push_str(&self.names());
        text.push('\n');
        text.push_str(&self.set_table());
        if self.facts.is_signed() && !self.facts.is_trusted() {
            text.push('\n');
            text.push_str(&sentence("No signature was checked: pass --public-key FILE."));
        }
        text
    }

    fn names(&self) -> String {
        let mut table =
            Table::new(&[("EDGE REGISTRY", Align::Left), ("DIGEST", Align::Left), ("IMAGE", Align::Left)]);
        for image in &self.images {
            for name in &image.edge {
                table.row([name.clone(), image.digest.to_string(), short_name(&image.reference)]);
            }
        }
        table.render()
    }

    fn set_table(&self) -> String {
        let mut table = Table::new(&[
            ("SET", Align::Left),
            ("IMAGES", Align::Right),
            ("DESTINATION", Align::Left),
            ("FILE", Align::Left),
        ]);
        for set in &self.sets {
            let name = krs_core::set::full_name(set.namespace.as_deref(), &set.name);
            table.row([name, set.images.to_string(), set.destination_registry.clone(), set.file.clone()]);
        }
        table.render()
    }
}

fn branches(text: &mut String, indent: &str, nodes: &[Node]) {
    for (n, node) in nodes.iter().enumerate() {
        let last = n + 1 == nodes.len();
        let (branch, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let mut line = format!("{indent}{branch}{}  {}  {}", node.role, node.digest.short(), size(node.size));
        for word in node.platform.iter().chain(&node.artifact_type) {
            line.push_str("  ");
            line.push_str(&printable(word, 100));
        }
        if matches!(node.role, "layer" | "config") {
            line.push_str("  ");
            line.push_str(&printable(short_type(&node.media_type), 80));
        }
        if indent.is_empty()
            && n > 0
            && let Some(subject) = &node.subject
        {
            line.push_str(&format!("  refers to {}", subject.short()));
        }
        if node.shared {
            line.push_str("  (shared)");
        }
        text.push_str(&line);
        text.push('\n');
        branches(text, &format!("{indent}{below}"), &node.children);
    }
}

/// The part of a media type that tells layers apart.
fn short_type(media_type: &str) -> &str {
    let prefixes =
        ["application/vnd.oci.image.", "application/vnd.docker.", "application/vnd.", "application/"];
    prefixes.iter().find_map(|prefix| media_type.strip_prefix(prefix)).unwrap_or(media_type)
}
