// SPDX-License-Identifier: Apache-2.0
//! What a bundle will hold and where every byte of it comes from. Pure: made from data, printed by `--dry-run`,
//! carried out by [`crate::pull`].

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use jiff::Timestamp;
use thiserror::Error;

use crate::bundle::layout::{HEADER, next_header};
use crate::bundle::{
    BundleBlob, BundleImage, BundleManifest, BundleReferrer, BundleSet, BundleSource, FORMAT_VERSION, Layout,
    MAX_SET, MAX_SETS, ManifestError, StreamName, layout,
};
use crate::digest::Digest;
use crate::error::{Classify, ErrorKind};
use crate::oci::Descriptor;
use crate::reference::Reference;
use crate::resolve::{Origin, Resolved, ResolvedImage};
use crate::set::{Loaded, Source};

/// Most places that are remembered for one blob: enough to try elsewhere, however many images share it.
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
}

/// A blob to fetch.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// The blob and its place.
    pub blob: BundleBlob,
    /// Where it can be had, in the order of the images.
    pub origins: Vec<Origin>,
    /// The images that need it.
    pub images: Vec<Reference>,
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
}

impl Plan {
    /// Bytes to fetch.
    pub fn fetch_size(&self) -> u64 {
        self.fetches.iter().map(|fetch| fetch.blob.size).sum()
    }
}

/// Why there can be no such bundle.
#[derive(Debug, Error)]
pub enum PlanError {
    /// Nothing to bundle.
    #[error("no EdgeImageSet was found")]
    NoSets,
    /// More sets than a bundle may hold.
    #[error("{0} EdgeImageSets were found, more than the {MAX_SETS} that a bundle may hold")]
    TooManySets(usize),
    /// A set larger than a bundle may hold.
    #[error("{file} is too large: {size} bytes, at most {MAX_SET} are allowed")]
    LargeSet {
        /// Its file.
        file: String,
        /// Its bytes.
        size: u64,
    },
    /// Two images describe one digest with different sizes.
    #[error("{digest} has {one} bytes by one image and {other} by another")]
    Sizes {
        /// The blob.
        digest: Digest,
        /// One size.
        one: u64,
        /// The other.
        other: u64,
    },
    /// The time of the commit cannot be expressed.
    #[error("{0} is not a time that a bundle can carry")]
    Time(i64),
    /// The manifest cannot be made.
    #[error("the manifest of the bundle is not acceptable: {0}")]
    Manifest(#[from] ManifestError),
}

impl Classify for PlanError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Sizes { .. } => ErrorKind::Corrupt,
            _ => ErrorKind::Usage,
        }
    }

    fn help(&self) -> Option<String> {
        let text = match self {
            Self::NoSets => {
                "pass the folder that holds them; `krs validate PATH` says what was passed over and why"
            }
            Self::TooManySets(_) | Self::LargeSet { .. } => "make several bundles",
            Self::Sizes { .. } => "one of the registries lies: build and push the image again",
            Self::Time(_) => "check the commit's date and SOURCE_DATE_EPOCH",
            Self::Manifest(_) => return None,
        };
        Some(text.to_owned())
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
    let created_at = decided_at(loaded.source.as_ref(), resolved, options, now)?;
    let mut blobs = Blobs::default();
    // Documents lie together at the front: who inspects a slow medium reads one place.
    for image in &resolved.images {
        for document in closures(image).flat_map(|closure| closure.documents.iter().rev()) {
            blobs.add(document, image)?;
        }
    }
    let documents = blobs.list.len();
    for image in &resolved.images {
        for content in closures(image).flat_map(|closure| &closure.contents) {
            blobs.add(content, image)?;
        }
    }
    let sequence =
        options.sequence.unwrap_or_else(|| u64::try_from(created_at.as_second()).unwrap_or_default());
    let manifest = BundleManifest {
        audience: options.audience.clone(),
        blobs: blobs.list.iter().map(|fetch| fetch.blob).collect(),
        created_at,
        format_version: FORMAT_VERSION,
        images: resolved.images.iter().map(bundle_image).collect(),
        not_after: options.not_after,
        sequence,
        sets,
        source: loaded.source.as_ref().map(|s| BundleSource { commit: s.commit.clone(), dirty: s.dirty }),
        stream: options.stream.clone(),
        tool: format!("krs {}", env!("CARGO_PKG_VERSION")),
    };
    manifest.check()?;
    let size = Layout::new(&manifest, &manifest.encode()?)?.size();
    let fetches = blobs.list.split_off(documents);
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
        unshared: resolved.images.iter().flat_map(closures).map(crate::closure::Closure::size).sum(),
    })
}

/// All that belongs to an image: itself, then what refers to it.
fn closures(image: &ResolvedImage) -> impl Iterator<Item = &crate::closure::Closure> {
    std::iter::once(&image.closure).chain(image.referrers.iter().map(|referrer| &referrer.closure))
}

/// Blobs in the order of their first use.
#[derive(Default)]
struct Blobs {
    list: Vec<Fetch>,
    places: HashMap<Digest, usize>,
    end: u64,
}

impl Blobs {
    fn add(&mut self, descriptor: &Descriptor, image: &ResolvedImage) -> Result<(), PlanError> {
        let Descriptor { digest, size, .. } = *descriptor;
        let place = *self.places.entry(digest).or_insert_with(|| {
            let blob = BundleBlob { digest, offset: self.end + HEADER, size };
            self.end = next_header(blob.offset, size);
            self.list.push(Fetch { blob, origins: Vec::new(), images: Vec::new() });
            self.list.len() - 1
        });
        let Some(fetch) = self.list.get_mut(place) else { return Ok(()) };
        if fetch.blob.size != size {
            return Err(PlanError::Sizes { digest, one: fetch.blob.size, other: size });
        }
        let origin = image.origin();
        if fetch.origins.len() < MAX_ORIGINS && !fetch.origins.contains(&origin) {
            fetch.origins.push(origin);
        }
        if fetch.images.last() != Some(&image.reference) {
            fetch.images.push(image.reference.clone());
        }
        Ok(())
    }
}

fn bundle_image(image: &ResolvedImage) -> BundleImage {
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
        platforms: image.platforms.clone(),
        reference: image.reference.clone(),
        referrers: referrers.collect(),
        repository: image.reference.name(),
        tag: image.reference.tag.clone(),
    }
}

fn bundle_sets(loaded: &Loaded) -> Result<Vec<BundleSet>, PlanError> {
    if loaded.sets.is_empty() {
        return Err(PlanError::NoSets);
    }
    if loaded.sets.len() > MAX_SETS {
        return Err(PlanError::TooManySets(loaded.sets.len()));
    }
    let entry = |(n, set): (usize, &crate::set::LoadedSet)| {
        let (file, size) = (crate::redact::printable(&set.file, 300), set.raw.len() as u64);
        if size > MAX_SET {
            return Err(PlanError::LargeSet { file, size });
        }
        Ok(BundleSet { digest: Digest::of(&set.raw), file, path: layout::set_path(n), size })
    };
    loaded.sets.iter().enumerate().map(entry).collect()
}

/// The time that decides what the bundle holds: of the commit where the checkout is clean and every reference has
/// a digest, so that the same commit gives the same bytes; else when the references were resolved.
fn decided_at(
    source: Option<&Source>,
    resolved: &Resolved,
    options: &PlanOptions,
    now: Timestamp,
) -> Result<Timestamp, PlanError> {
    let pinned = resolved.images.iter().all(|image| image.reference.digest.is_some());
    let seconds = match (options.source_date, source) {
        (Some(date), _) => date.as_second(),
        (None, Some(source)) if pinned && !source.dirty => source.commit_time,
        _ => now.as_second(),
    };
    match Timestamp::from_second(seconds) {
        Ok(time) if seconds >= 0 => Ok(time),
        _ => Err(PlanError::Time(seconds)),
    }
}

/// The digests that are in more than one image, for tables that show what is shared.
pub fn shared(images: &[(Digest, &crate::closure::Closure)]) -> BTreeSet<Digest> {
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
