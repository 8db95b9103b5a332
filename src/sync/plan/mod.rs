// SPDX-License-Identifier: Apache-2.0
//! What a bundle will hold and where every byte of it comes from. Pure: made from data, printed by `--dry-run`,
//! carried out by [`crate::sync::pull`].

mod base;
mod blobs;
mod error;
mod later;
mod sets;

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
use crate::set::{Loaded, Source};
use crate::sync::resolve::{MissingImage, Origin, Resolved, ResolvedImage};

pub use base::Base;
pub use blobs::Fetch;
use blobs::{Blobs, Owner, owners};
pub use error::PlanError;
use sets::bundle_sets;

/// Most places that one blob is asked for at: enough to try elsewhere, however many images share it.
const MAX_ORIGINS: usize = 4;

/// What a person decides about a bundle, besides its sets.
#[derive(Debug, Clone, Default)]
pub struct PlanOptions {
    /// The stream.
    pub stream: StreamName,
    /// The sequence; `None`: seconds since 1970 of the time that decides.
    pub sequence: Option<u64>,
    /// Sites that it is for; empty: any.
    pub audience: Vec<String>,
    /// Its end.
    pub not_after: Option<Timestamp>,
    /// Stands for the time of the commit (`SOURCE_DATE_EPOCH`).
    pub source_date: Option<Timestamp>,
    /// Platforms that were chosen for images whose sets say nothing of them (with [`crate::set::CheckedSet::choose`]).
    pub platforms: Vec<Platform>,
    /// What the sites have already.
    pub base: Base,
    /// The highest format version that the sites read; `None`: what this code writes.
    pub format_version: Option<u32>,
}

/// A bundle before its content is fetched.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the bundle will say of itself.
    pub manifest: BundleManifest,
    /// The documents of the sets, in the order of the manifest.
    pub sets: Vec<Vec<u8>>,
    /// Blobs that are already here: the indexes and manifests.
    pub documents: Vec<(BundleBlob, Bytes)>,
    /// Blobs to fetch, in the order of the archive.
    pub fetches: Vec<Fetch>,
    /// Bytes of the archive.
    pub size: u64,
    /// Bytes of all images together, were nothing shared between them.
    pub unshared: u64,
    /// Bytes of the layers that are left to the site.
    pub left_out: u64,
    /// Fields that are left out for [`PlanOptions::format_version`].
    pub omitted: Vec<LaterField>,
    /// Why its time is the present one; `None`: it is that of the commit, or `SOURCE_DATE_EPOCH`.
    pub present_time: Option<PresentTime>,
}

/// Why the time of a bundle is not that of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresentTime {
    /// It is not known which commit the sets are of.
    NoCommit,
    /// The sets are not those of the commit.
    Dirty,
    /// So many images have no digest, and are resolved again each time.
    Tags(usize),
}

impl Plan {
    /// Bytes to fetch.
    pub fn fetch_size(&self) -> u64 {
        self.fetches.iter().filter(|fetch| fetch.known.is_none()).map(|fetch| fetch.blob.size).sum()
    }

    /// The images that need a blob, for themselves or for what is optional.
    pub fn images<'a>(&'a self, fetch: &'a Fetch) -> impl Iterator<Item = &'a Reference> {
        let places = fetch.images.iter().chain(fetch.optional.iter().map(|(image, _)| image));
        places.filter_map(|place| Some(&self.manifest.images.get(*place)?.reference))
    }

    /// Where a blob can be had, in the order of the images.
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

/// Lays out the bundle of `resolved`, whose images come from the sets of `loaded`. `now` is when they were resolved.
///
/// # Errors
/// [`PlanError`].
pub fn plan(
    loaded: &Loaded,
    resolved: &Resolved,
    options: &PlanOptions,
    now: Timestamp,
) -> Result<Plan, PlanError> {
    let sets = bundle_sets(loaded)?;
    let (created_at, present_time) = decided_at(loaded.source.as_ref(), resolved, options, now)?;
    if let Some(registry) = options.base.requires_full_index() {
        check_no_choice(resolved, registry)?;
    }
    let kept = not_layers(resolved);
    let mut left_out = BTreeSet::new();
    let mut blobs = Blobs::default();
    // Documents lie together at the front: who inspects a slow medium reads one place.
    for (place, image) in resolved.images.iter().enumerate() {
        for (closure, owner) in closures(image).zip(owners(place, image)) {
            closure.documents.iter().rev().try_for_each(|document| blobs.add(document, owner))?;
        }
    }
    let documents = blobs.list.len();
    for (place, image) in resolved.images.iter().enumerate() {
        let optional = resolved.documents.optional(&image.root, &image.closure).contents;
        for (closure, owner) in closures(image).zip(owners(place, image)) {
            for content in &closure.contents {
                let children = optional.get(&content.digest).filter(|_| matches!(owner, Owner::Image(_)));
                if !kept.contains(&content.digest) && options.base.has(&content.digest, content.size) {
                    left_out.insert(content.digest);
                } else if let Some(children) = children {
                    let owners = children.iter().map(|child| Owner::Optional(place, *child));
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
    let size = Layout::new(&manifest, &manifest.encode()?)?.size();
    let base = manifest.base.clone();
    let mut fetches = blobs.list.split_off(documents);
    for fetch in &mut fetches {
        fetch.known = resolved.documents.content(&fetch.blob.digest).cloned();
    }
    let stored = |fetch: Fetch| {
        let document = resolved.documents.get(&fetch.blob.digest)?;
        Some((fetch.blob, document.bytes.clone()))
    };
    Ok(Plan {
        manifest,
        sets: loaded.sets.iter().map(|set| set.raw.clone()).collect(),
        documents: blobs.list.into_iter().filter_map(stored).collect(),
        fetches,
        size,
        unshared: resolved.images.iter().flat_map(closures).map(Closure::size).sum(),
        left_out: base.iter().flat_map(|base| &base.layers).map(|layer| layer.size).sum(),
        omitted,
        present_time,
    })
}

/// Documents, configs and what nobody knows, which always travel, also where another image has one of them as a layer.
fn not_layers(resolved: &Resolved) -> HashSet<Digest> {
    let closures = resolved.images.iter().flat_map(closures);
    let kept = |c: &Closure| {
        let documents = c.documents.iter().map(|document| document.digest);
        documents.chain(c.configs.iter().copied()).chain(c.opaque.iter().copied()).collect::<Vec<_>>()
    };
    closures.flat_map(kept).collect()
}

fn check_no_choice(resolved: &Resolved, registry: &str) -> Result<(), PlanError> {
    let chosen = |image: &&ResolvedImage| {
        !image.platforms.is_empty() && !matches!(image.closure.documents.as_slice(), [_])
    };
    let Some(image) = resolved.images.iter().find(chosen) else { return Ok(()) };
    let platforms = image.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (image, registry) = (image.reference.to_string(), registry.to_owned());
    Err(PlanError::Sparse { image, platforms, registry })
}

/// All that belongs to an image: itself, then what refers to it.
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
        partial: closures(image).flat_map(|c| &c.contents).any(|c| left_out.contains(&c.digest)),
        platforms: image.platforms.clone(),
        reference: image.reference.clone(),
        referrers: referrers.collect(),
        repository: image.reference.name(),
        tag: image.reference.tag.clone(),
    }
}

/// The time that decides what the bundle holds: of the commit where the checkout is clean and every reference has
/// a digest, so that the same commit gives the same bytes; else when the references were resolved.
fn decided_at(
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
        // Two references to one image share it as one.
        if !roots.insert(*root) {
            continue;
        }
        for descriptor in closure.documents.iter().chain(&closure.contents) {
            if !once.insert(descriptor.digest) {
                twice.insert(descriptor.digest);
            }
        }
    }
    twice
}
