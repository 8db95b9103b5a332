// SPDX-License-Identifier: Apache-2.0
//! What a bundle will hold and where every byte of it comes from. Pure: [`plan`] only computes, `--dry-run` prints the
//! plan, and [`crate::sync::pull`] carries it out.

mod base;
mod blobs;
mod error;
mod image_layers;
mod later;
mod patched;
mod sets;
mod sources;

use std::collections::{BTreeSet, HashSet};

use bytes::Bytes;
use jiff::Timestamp;

use crate::bundle::{
    BundleBlob, BundleImage, BundleManifest, BundleMissing, BundleReferrer, BundleSource, Layout, StreamName,
};
use crate::format::{FIRST_VERSION, LaterField};
use crate::oci::closure::Closure;
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::set::{LoadedSets, Source};
use crate::sync::resolve::{MissingImage, Origin, Resolved, ResolvedImage};

pub use base::Base;
pub use blobs::Fetch;
use blobs::{Blobs, Owner, owners};
pub use error::PlanError;
pub use image_layers::ImageLayers;
pub use patched::{PatchBlob, Patches};
use sets::bundle_sets;
pub use sources::SourceShare;
use sources::shares;

/// The most repositories that one blob is requested from: enough alternatives, however many images share the blob.
const MAX_ORIGINS: usize = 4;

/// The choices that a user makes for a bundle, besides its sets.
#[derive(Debug, Clone, Default)]
pub struct PlanOptions {
    /// The stream that the bundle belongs to.
    pub stream: StreamName,
    /// The sequence; `None`: the bundle's time, in seconds since 1970.
    pub sequence: Option<u64>,
    /// Sites that the bundle is for; empty: any site.
    pub audience: Vec<String>,
    /// The time after which sites refuse the bundle.
    pub not_after: Option<Timestamp>,
    /// Replaces the time of the commit (`SOURCE_DATE_EPOCH`).
    pub source_date: Option<Timestamp>,
    /// Platforms of the images whose sets name none (see [`crate::set::CheckedSet::choose`]).
    pub platforms: Vec<Platform>,
    /// The layers that the sites already have.
    pub base: Base,
    /// The highest format version that the sites read; `None`: what this code writes.
    pub format_version: Option<u32>,
}

/// A bundle before its content is fetched.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The manifest of the bundle.
    pub manifest: BundleManifest,
    /// The bytes of the sets' files, in the order of the manifest.
    pub sets: Vec<Vec<u8>>,
    /// The indexes and manifests, which were fetched when the images were resolved.
    pub manifests: Vec<(BundleBlob, Bytes)>,
    /// Blobs to fetch, in the order of the archive.
    pub fetches: Vec<Fetch>,
    /// Bytes of the archive.
    pub size: u64,
    /// Bytes of all images together, if they shared nothing.
    pub unshared: u64,
    /// Bytes of the layers that are not in the bundle because the sites have them.
    pub left_out: u64,
    /// Bytes of the layers in whose place the bundle has patches.
    pub patched: u64,
    /// Fields that [`PlanOptions::format_version`] does not have.
    pub omitted: Vec<LaterField>,
    /// Why the bundle's time is the current time; `None`: it is the time of the commit, or `SOURCE_DATE_EPOCH`.
    pub present_time: Option<PresentTime>,
    /// What comes from each local source.
    pub sources: Vec<SourceShare>,
}

/// Why the time of a bundle is not that of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresentTime {
    /// The commit of the sets is not known.
    NoCommit,
    /// The sets differ from those in the commit.
    Dirty,
    /// This many images have no digest, so each run may resolve them differently.
    Tags(usize),
}

impl Plan {
    /// Bytes that are still to be fetched from registries.
    pub fn fetch_size(&self) -> u64 {
        self.unknown_size(|fetch| fetch.source.is_none() && fetch.file.is_none())
    }

    /// Bytes that are still to be fetched from registries or read from local sources.
    pub(in crate::sync) fn read_size(&self) -> u64 {
        self.unknown_size(|_| true)
    }

    fn unknown_size(&self, is_counted: impl Fn(&Fetch) -> bool) -> u64 {
        let fetches = self.fetches.iter().filter(|fetch| fetch.known.is_none() && is_counted(fetch));
        fetches.map(|fetch| fetch.blob.size).sum()
    }

    /// The images that need a blob, for themselves or for optional content.
    pub fn images<'a>(&'a self, fetch: &'a Fetch) -> impl Iterator<Item = &'a Reference> {
        let indexes = fetch.image_indexes();
        indexes.filter_map(|index| Some(&self.manifest.images.get(*index)?.reference))
    }

    /// The repositories that a blob can be fetched from, in the order of the images.
    pub fn origins(&self, fetch: &Fetch) -> Vec<Origin> {
        let mut origins = Vec::new();
        for image in self.images(fetch) {
            let origin = Origin { registry: image.registry.clone(), repository: image.repository.clone() };
            if !origins.contains(&origin) {
                origins.push(origin);
            }
            if origins.len() == MAX_ORIGINS {
                break;
            }
        }
        origins
    }
}

/// Plans the bundle of `resolved`, whose images come from the sets of `loaded`. `now` is when they were resolved.
///
/// # Expected flow
/// [`set::load`](crate::set::load) and [`set::merge`](crate::set::merge), then
/// [`resolve`](crate::sync::resolve::resolve), then this, then [`pull`](crate::sync::pull::pull). If
/// [`PlanOptions::base`] is not empty, layers that it contains are not fetched.
///
/// # Guarantees
/// - Pure: no I/O and no clock. The same arguments give the same plan, and so the same bytes of the archive.
/// - Each digest is stored once, however many images share it. All indexes and manifests come before the other blobs.
/// - Indexes, manifests, configs and content of unknown types are always in the bundle, even if the base has them.
/// - The manifest passes [`BundleManifest::check`], and has the lowest format version that can express the content.
///
/// # Errors
/// [`PlanError`]: there are no sets or too many, two images disagree on the size of a blob, or the requested format
/// version or the base's registry cannot express the content. Nothing was written.
///
/// # Cancellation
/// The function does not block and leaves nothing behind.
pub fn plan(
    loaded: &LoadedSets,
    resolved: &Resolved,
    options: &PlanOptions,
    now: Timestamp,
) -> Result<Plan, PlanError> {
    let sets = bundle_sets(loaded)?;
    let (created_at, present_time) = bundle_time(loaded.source.as_ref(), resolved, options, now)?;
    if let Some(registry) = options.base.requires_full_index() {
        check_no_choice(resolved, registry)?;
    }
    let always_included = digests_always_included(resolved);
    let mut left_out = BTreeSet::new();
    let mut blobs = Blobs::default();
    // Manifests lie together at the front, so that an inspection of slow media reads one range.
    for (index, image) in resolved.images.iter().enumerate() {
        for (closure, owner) in closures(image).zip(owners(index, image)) {
            closure.manifests.iter().rev().try_for_each(|manifest| blobs.add(manifest, owner))?;
        }
    }
    let manifests = blobs.list.len();
    for (index, image) in resolved.images.iter().enumerate() {
        let optional = resolved.manifests.optional(&image.root, &image.closure).blobs;
        for (closure, owner) in closures(image).zip(owners(index, image)) {
            for content in &closure.blobs {
                let children = optional.get(&content.digest).filter(|_| matches!(owner, Owner::Image(_)));
                if !always_included.contains(&content.digest)
                    && options.base.has(&content.digest, content.size)
                {
                    left_out.insert(content.digest);
                } else if let Some(children) = children {
                    let owners = children.iter().map(|child| Owner::Optional(index, *child));
                    owners.into_iter().try_for_each(|owner| blobs.add(content, owner))?;
                } else {
                    blobs.add(content, owner)?;
                }
            }
        }
    }
    let sequence =
        options.sequence.unwrap_or_else(|| u64::try_from(created_at.as_second()).unwrap_or_default());
    let mut manifest = BundleManifest {
        audience: options.audience.clone(),
        base: options.base.stated(&left_out),
        blobs: blobs.list.iter().map(|fetch| fetch.blob).collect(),
        created_at,
        format_version: FIRST_VERSION,
        images: resolved.images.iter().map(|image| bundle_image(image, &left_out)).collect(),
        missing: resolved.missing.iter().map(bundle_missing).collect(),
        not_after: options.not_after,
        patches: Vec::new(),
        platforms: options.platforms.clone(),
        sequence,
        sets,
        source: loaded.source.as_ref().map(|s| BundleSource { commit: s.commit.clone(), dirty: s.dirty }),
        stream: options.stream.clone(),
        tool: format!("krs {}", env!("CARGO_PKG_VERSION")),
    };
    let omitted = options.format_version.map(|highest| manifest.restrict_to(highest)).unwrap_or_default();
    let lowest = later::lowest_version(resolved, options.format_version)?;
    manifest.format_version = manifest.lowest_version().max(lowest);
    manifest.check()?;
    let sources = shares(resolved, &mut blobs.list);
    let size = Layout::new(&manifest, &manifest.encode()?)?.size();
    let base = manifest.base.clone();
    let mut fetches = blobs.list.split_off(manifests);
    for fetch in &mut fetches {
        fetch.known = resolved.manifests.content(&fetch.blob.digest).cloned();
    }
    let stored = |fetch: Fetch| {
        let manifest = resolved.manifests.get(&fetch.blob.digest)?;
        Some((fetch.blob, manifest.bytes.clone()))
    };
    Ok(Plan {
        manifest,
        sets: loaded.sets.iter().map(|set| set.raw.clone()).collect(),
        manifests: blobs.list.into_iter().filter_map(stored).collect(),
        fetches,
        size,
        unshared: resolved.images.iter().flat_map(closures).map(Closure::size).sum(),
        left_out: base.iter().flat_map(|base| &base.layers).map(|layer| layer.size).sum(),
        patched: 0,
        omitted,
        present_time,
        sources,
    })
}

/// Manifests, configs and content of unknown types. The bundle always contains them, even if another image has one of
/// them as a layer and the base has that layer.
fn digests_always_included(resolved: &Resolved) -> HashSet<Digest> {
    let closures = resolved.images.iter().flat_map(closures);
    let kept = |c: &Closure| {
        let manifests = c.manifests.iter().map(|manifest| manifest.digest);
        manifests.chain(c.configs.iter().copied()).chain(c.opaque.iter().copied()).collect::<Vec<_>>()
    };
    closures.flat_map(kept).collect()
}

fn check_no_choice(resolved: &Resolved, registry: &str) -> Result<(), PlanError> {
    let chosen = |image: &&ResolvedImage| {
        !image.platforms.is_empty() && !matches!(image.closure.manifests.as_slice(), [_])
    };
    let Some(image) = resolved.images.iter().find(chosen) else { return Ok(()) };
    let platforms = image.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (image, registry) = (image.reference.to_string(), registry.to_owned());
    Err(PlanError::Sparse { image, platforms, registry })
}

/// The closure of an image, then those of its referrers.
fn closures(image: &ResolvedImage) -> impl Iterator<Item = &Closure> {
    std::iter::once(&image.closure).chain(image.referrers.iter().map(|referrer| &referrer.closure))
}

fn bundle_missing(missing: &MissingImage) -> BundleMissing {
    BundleMissing {
        platforms: missing.platforms.clone(),
        reason: crate::redact::bounded(&missing.reason, 300),
        reference: missing.reference.clone(),
    }
}

fn bundle_image(image: &ResolvedImage, left_out: &BTreeSet<Digest>) -> BundleImage {
    let referrers = image.referrers.iter().map(|referrer| BundleReferrer {
        artifact_type: referrer.artifact_type.clone(),
        digest: referrer.root.digest,
        media_type: referrer.root.media_type.clone(),
        subject: referrer.subject,
        tag: referrer.tag.clone(),
    });
    BundleImage {
        artifact_type: image.artifact_type.clone(),
        digest: image.root.digest,
        media_type: image.root.media_type.clone(),
        missing_referrers: u32::try_from(image.missing_optional().count()).unwrap_or(u32::MAX),
        partial: closures(image).flat_map(|c| &c.blobs).any(|c| left_out.contains(&c.digest)),
        platforms: image.platforms.clone(),
        reference: image.reference.clone(),
        referrers: referrers.collect(),
        repository: image.reference.name(),
        tag: image.reference.tag.clone(),
    }
}

/// The bundle's time. It is the time of the commit if the checkout is clean and every reference has a digest, so that the
/// same commit gives the same bytes; otherwise it is the time when the references were resolved.
fn bundle_time(
    source: Option<&Source>,
    resolved: &Resolved,
    options: &PlanOptions,
    now: Timestamp,
) -> Result<(Timestamp, Option<PresentTime>), PlanError> {
    let tags = resolved.images.iter().filter(|image| image.reference.digest.is_none()).count();
    let (seconds, present) = match (options.source_date, source) {
        (Some(date), _) => (date.as_second(), None),
        (None, None) => (now.as_second(), Some(PresentTime::NoCommit)),
        (None, Some(source)) if source.dirty => (now.as_second(), Some(PresentTime::Dirty)),
        (None, Some(_)) if tags > 0 => (now.as_second(), Some(PresentTime::Tags(tags))),
        (None, Some(source)) => (source.commit_time, None),
    };
    match Timestamp::from_second(seconds) {
        Ok(time) if seconds >= 0 => Ok((time, present)),
        _ => Err(PlanError::Time(seconds)),
    }
}

/// The digests that are in more than one image, for tables that show what is shared.
pub fn shared(images: &[(Digest, &Closure)]) -> BTreeSet<Digest> {
    let (mut once, mut twice) = (BTreeSet::new(), BTreeSet::new());
    let mut roots = BTreeSet::new();
    for (root, closure) in images {
        // Two references to one image are one image.
        if !roots.insert(*root) {
            continue;
        }
        for descriptor in closure.manifests.iter().chain(&closure.blobs) {
            if !once.insert(descriptor.digest) {
                twice.insert(descriptor.digest);
            }
        }
    }
    twice
}
