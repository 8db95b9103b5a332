// SPDX-License-Identifier: Apache-2.0
//! What is said of one image: of a plan, or of a bundle.

use std::collections::{BTreeSet, HashMap, HashSet};

use krs_core::bundle::{Bundle, BundleError};
use krs_core::oci::closure::{Closure, Manifests};
use krs_core::oci::digest::Digest;
use krs_core::oci::platform::Platform;
use krs_core::oci::reference::Reference;
use krs_core::oci::{self, Descriptor, ManifestOrIndex, StatedPlatform};
use krs_core::redact::printable;
use krs_core::set::CheckedSet;
use krs_core::sync::resolve::MissingReferrer;
use serde::Serialize;

use super::human::size;
use super::table::{Align, SHORT_DIGEST, Table};

/// Largest config that is read for its platform, in bytes.
const MAX_CONFIG: u64 = 4 << 20;
/// Most configs of one image that are read for their platforms.
const MAX_CONFIGS: usize = 100;

/// An image with its closure, wherever it comes from.
#[derive(Debug)]
pub(super) struct Input<'a> {
    pub(super) reference: &'a Reference,
    pub(super) requested: &'a [Platform],
    pub(super) artifact_type: Option<&'a str>,
    pub(super) root: &'a Descriptor,
    pub(super) closure: &'a Closure,
    pub(super) referrers: Vec<Referrer<'a>>,
    /// How many it travels without.
    pub(super) missing_referrers: usize,
}

/// What refers to an image.
#[derive(Debug)]
pub(super) struct Referrer<'a> {
    pub(super) subject: Digest,
    pub(super) root: &'a Descriptor,
    pub(super) closure: &'a Closure,
}

/// An image as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImageFacts {
    pub(super) reference: String,
    /// The local source that it is read from, where it is not its registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<String>,
    pub(super) digest: Digest,
    media_type: String,
    /// `image`, `index`, `helmChart` or `artifact`.
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    /// Platforms that it runs on, where they are known.
    pub(super) platforms: Vec<String>,
    /// Whether only a config states a platform, and the config was not read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    platforms_not_read: bool,
    /// Platforms that the set chose; empty: all.
    chosen_platforms: Vec<String>,
    /// Bytes of all its content, with what refers to it.
    size: u64,
    /// Bytes of it that other images of the bundle have too.
    shared_bytes: u64,
    referrer_count: usize,
    /// Signatures, SBOMs and attestations that could not be read, and look-ups of them that failed.
    pub(super) missing_referrer_count: usize,
    /// Which and why, where it was found out in this run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) missing_referrers: Vec<MissingFacts>,
    /// What is to be known of it, where it was found out in this run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) warnings: Vec<String>,
    /// Names at the edge, by the sets.
    pub(super) edge: Vec<String>,
    pub(super) tree: Vec<Node>,
}

/// A signature, SBOM or attestation that an image travels without, or a look-up of them that failed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MissingFacts {
    subject: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    reason: String,
}

impl From<MissingReferrer> for MissingFacts {
    fn from(missing: MissingReferrer) -> Self {
        Self {
            subject: missing.subject,
            digest: missing.digest,
            tag: missing.tag.as_ref().map(ToString::to_string),
            artifact_type: missing.artifact_type,
            reason: missing.reason,
        }
    }
}

/// A document or blob of an image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    /// `index`, `manifest`, `attestation`, `config`, `layer`.
    pub(super) role: &'static str,
    pub(super) digest: Digest,
    pub(super) media_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    pub(super) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<String>,
    /// Whether another image of the bundle has it too.
    pub(super) shared: bool,
    /// What it refers to, for signatures, SBOMs and attestations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<Digest>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) children: Vec<Self>,
}

/// Describes every image; `sets` say what they are called at the edge.
pub(super) fn describe<'a>(
    inputs: &[Input<'_>],
    manifests: &Manifests,
    sets: impl IntoIterator<Item = &'a CheckedSet>,
) -> Vec<ImageFacts> {
    let closures = inputs.iter().map(|input| (input.root.digest, input.closure)).collect::<Vec<_>>();
    let shared = krs_core::sync::plan::shared(&closures);
    let mut names = HashMap::<_, BTreeSet<String>>::new();
    for set in sets {
        for image in &set.images {
            let name = format!("{}/{}:{}", set.spec.destination_registry, image.repository, image.tag);
            names.entry((&image.reference, image.platforms.as_slice())).or_default().insert(name);
        }
    }
    let describe = |input: &Input<'_>| {
        let names = names.get(&(input.reference, input.requested)).cloned().unwrap_or_default();
        describe_one(input, manifests, &shared, names.into_iter().collect())
    };
    inputs.iter().map(describe).collect()
}

fn describe_one(
    input: &Input<'_>,
    manifests: &Manifests,
    shared: &BTreeSet<Digest>,
    edge: Vec<String>,
) -> ImageFacts {
    let content = input.closure.manifests.iter().chain(&input.closure.blobs);
    let mut here = digests(input.closure);
    here.extend(input.referrers.iter().flat_map(|referrer| digests(referrer.closure)));
    let mut tree = Tree { manifests, shared, here, visited: HashSet::new() };
    let mut nodes = vec![tree.node(input.root)];
    nodes.extend(input.referrers.iter().map(|referrer| {
        // Where only a tag says what it refers to, its document does not.
        Node { subject: Some(referrer.subject), ..tree.node(referrer.root) }
    }));
    ImageFacts {
        reference: input.reference.to_string(),
        from: None,
        digest: input.root.digest,
        media_type: input.root.media_type.clone(),
        kind: kind(input, manifests),
        artifact_type: input.artifact_type.map(ToOwned::to_owned),
        platforms: platforms(input, manifests),
        platforms_not_read: false,
        chosen_platforms: input.requested.iter().map(ToString::to_string).collect(),
        size: input.closure.size()
            + input.referrers.iter().map(|referrer| referrer.closure.size()).sum::<u64>(),
        shared_bytes: content
            .filter(|content| shared.contains(&content.digest))
            .map(|content| content.size)
            .sum(),
        referrer_count: input.referrers.len(),
        missing_referrer_count: input.missing_referrers,
        missing_referrers: Vec::new(),
        warnings: Vec::new(),
        edge,
        tree: nodes,
    }
}

fn kind(input: &Input<'_>, manifests: &Manifests) -> &'static str {
    match input.artifact_type {
        Some("application/vnd.cncf.helm.config.v1+json") => "helmChart",
        Some(_) => "artifact",
        None if matches!(manifests.read(input.root), Ok(ManifestOrIndex::Index(_))) => "index",
        None => "image",
    }
}

/// Platforms that the indexes of the image state for what of it is here, each once.
fn platforms(input: &Input<'_>, manifests: &Manifests) -> Vec<String> {
    let here = digests(input.closure);
    let mut platforms = Vec::new();
    for manifest in input.closure.manifests.iter().rev() {
        let Ok(ManifestOrIndex::Index(index)) = manifests.read(manifest) else { continue };
        let children = index.manifests.iter().filter(|child| here.contains(&child.digest));
        for platform in children.filter_map(Descriptor::runs_on) {
            let platform = platform.to_string();
            if !platforms.contains(&platform) {
                platforms.push(platform);
            }
        }
    }
    platforms
}

/// Adds the platforms that only configs state: those of an image without an index, and of the children for which an
/// index states none. `read` gives a config; `None`: it was not read.
///
/// # Errors
/// What `read` says.
pub(super) fn add_config_platforms<E>(
    images: &mut [ImageFacts],
    inputs: &[Input<'_>],
    manifests: &Manifests,
    mut read: impl FnMut(&Descriptor) -> Result<Option<Vec<u8>>, E>,
) -> Result<(), E> {
    for (image, input) in images.iter_mut().zip(inputs).filter(|(_, input)| input.artifact_type.is_none()) {
        for (n, config) in manifests.images(input.closure).unstated.iter().enumerate() {
            match if n < MAX_CONFIGS { read(config)? } else { None } {
                Some(config) => {
                    let platform = config_platform(&config).filter(|found| !image.platforms.contains(found));
                    image.platforms.extend(platform);
                }
                None => image.platforms_not_read = true,
            }
        }
    }
    Ok(())
}

/// What a config states. What is no config of an image has no platform; that is not a fault.
fn config_platform(config: &[u8]) -> Option<String> {
    let platform = serde_json::from_slice::<StatedPlatform>(config).ok()?.platform()?;
    Some(printable(&platform.to_string(), 100))
}

/// Reads a config of a bundle; `None`: it is not there, or too large.
///
/// # Errors
/// It is damaged.
pub(super) fn bundled_config(bundle: &Bundle, config: &Descriptor) -> Result<Option<Vec<u8>>, BundleError> {
    let blob = bundle.blob(&config.digest).filter(|blob| blob.size <= MAX_CONFIG);
    let Some(blob) = blob else { return Ok(None) };
    Ok(Some(bundle.read(blob, MAX_CONFIG)?.to_vec()))
}

/// Everything that a closure holds: of an index only some of the children may be here.
fn digests(closure: &Closure) -> HashSet<Digest> {
    closure.manifests.iter().chain(&closure.blobs).map(|descriptor| descriptor.digest).collect()
}

struct Tree<'a> {
    manifests: &'a Manifests,
    shared: &'a BTreeSet<Digest>,
    here: HashSet<Digest>,
    /// Documents whose children were listed; an index that stands in many places is opened in the first.
    visited: HashSet<Digest>,
}

impl Tree<'_> {
    fn node(&mut self, descriptor: &Descriptor) -> Node {
        let mut node = self.leaf(descriptor, "layer");
        if !oci::is_manifest(&descriptor.media_type) {
            return node;
        }
        let Ok(manifest) = self.manifests.read(descriptor) else { return node };
        node.artifact_type = manifest.artifact_type().map(ToOwned::to_owned);
        node.subject = manifest.subject().map(|subject| subject.digest).or_else(|| descriptor.attests());
        let first = self.visited.insert(descriptor.digest);
        match manifest {
            ManifestOrIndex::Index(index) => {
                node.role = "index";
                if first {
                    let here = |child: &&Descriptor| self.here.contains(&child.digest);
                    let children = index.manifests.iter().filter(here).collect::<Vec<_>>();
                    node.children = children.into_iter().map(|child| self.node(child)).collect();
                }
            }
            ManifestOrIndex::Manifest(manifest) => {
                node.role = if descriptor.is_optional() { "attestation" } else { "manifest" };
                if first {
                    node.children.push(self.leaf(&manifest.config, "config"));
                    node.children.extend(manifest.layers.iter().map(|layer| self.leaf(layer, "layer")));
                }
            }
        }
        node
    }

    fn leaf(&self, descriptor: &Descriptor, role: &'static str) -> Node {
        Node {
            role,
            digest: descriptor.digest,
            media_type: descriptor.media_type.clone(),
            artifact_type: None,
            size: descriptor.size,
            platform: descriptor.runs_on().map(|platform| platform.to_string()),
            shared: self.shared.contains(&descriptor.digest),
            subject: None,
            children: Vec::new(),
        }
    }
}

/// The images as a table.
pub(super) fn table(images: &[ImageFacts]) -> String {
    let mut table = Table::new(&[
        ("IMAGE", Align::Left),
        ("DIGEST", Align::Left),
        ("KIND", Align::Left),
        ("PLATFORMS", Align::Left),
        ("SIZE", Align::Right),
        ("SHARED", Align::Right),
        ("REFERRERS", Align::Right),
    ]);
    for image in images {
        table.row([
            short_name(&image.reference),
            image.digest.short(),
            match image.kind {
                "helmChart" => "Helm chart".to_owned(),
                kind => kind.to_owned(),
            },
            shown_platforms(image),
            size(image.size),
            if image.shared_bytes == 0 { "-".to_owned() } else { size(image.shared_bytes) },
            if image.referrer_count == 0 { "-".to_owned() } else { image.referrer_count.to_string() },
        ]);
    }
    table.render()
}

/// A reference without its digest where it has a tag, and with a short digest where it has none.
pub(super) fn short_name(reference: &str) -> String {
    let Some((name, digest)) = reference.split_once('@') else { return reference.to_owned() };
    let path = name.rsplit('/').next().unwrap_or(name);
    if path.contains(':') {
        return name.to_owned();
    }
    format!("{name}@{}", digest.chars().take("sha256:".len() + SHORT_DIGEST).collect::<String>())
}

fn shown_platforms(image: &ImageFacts) -> String {
    match (image.platforms_not_read, short_platforms(&image.platforms)) {
        (false, platforms) => platforms,
        (true, _) if image.platforms.is_empty() => "not read".to_owned(),
        (true, platforms) => format!("{platforms}, not all read"),
    }
}

/// The first two platforms, and how many more there are.
fn short_platforms(platforms: &[String]) -> String {
    match platforms {
        [] => "-".to_owned(),
        [one] => one.clone(),
        [one, two] => format!("{one} {two}"),
        [one, two, rest @ ..] => format!("{one} {two} +{}", rest.len()),
    }
}
