// SPDX-License-Identifier: Apache-2.0
//! The closure of an image: all content without which it is incomplete. Pure: a registry client or a bundle reader supplies the
//! manifests.

mod images;
mod optional;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use thiserror::Error;

use crate::error::{Classify, ErrorKind};
use crate::oci::digest::Digest;
use crate::oci::platform::{self, Platform};
use crate::oci::{self, Choice, Descriptor, Index, ManifestOrIndex, ParseManifestError};

pub use images::Images;
pub use optional::{OptionalChild, OptionalContent};

/// Most indexes and manifests of one image.
pub const MAX_MANIFESTS: usize = 10_000;
/// Most bytes of all indexes and manifests of one image.
pub const MAX_MANIFEST_BYTES: u64 = 128 << 20;

/// The bytes of an index or manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredManifest {
    /// Media type by its descriptor.
    pub media_type: String,
    /// The exact bytes.
    pub bytes: Bytes,
}

/// Why an optional child of an index is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absence {
    /// In one line.
    pub reason: String,
    /// What class the failure is of.
    pub kind: ErrorKind,
}

/// Manifests by digest. The caller that inserts bytes must have checked their digest.
#[derive(Debug, Clone, Default)]
pub struct Manifests {
    stored: BTreeMap<Digest, StoredManifest>,
    /// OptionalContent children of indexes that could not be fetched, and why.
    absent: BTreeMap<Digest, Absence>,
    /// OptionalContent children of indexes that are left out although they are stored, and why.
    withdrawn: BTreeMap<Digest, Absence>,
    /// Blobs that were fetched with the manifests and need not be fetched again.
    blobs: BTreeMap<Digest, Bytes>,
}

/// Why an image has no closure.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages explain the fields")]
pub enum ClosureError {
    /// A manifest is not acceptable.
    #[error("{digest} is not acceptable: {source}")]
    Manifest {
        digest: Digest,
        /// What is wrong with it.
        source: ParseManifestError,
    },
    /// A manifest of the image is missing.
    #[error("{media_type} {digest} is missing")]
    Missing {
        digest: Digest,
        /// What it should be.
        media_type: String,
    },
    /// Indexes are nested too deeply. (T-47)
    #[error("indexes lie in each other too deeply at {0} (more than {max} deep)", max = oci::MAX_INDEX_DEPTH)]
    Depth(Digest),
    /// Two descriptors disagree on the size of one digest.
    #[error("{digest} is described with {one} and with {other} bytes")]
    Sizes {
        digest: Digest,
        /// One size.
        one: u64,
        /// The other size.
        other: u64,
    },
    /// Two descriptors disagree on what one manifest is.
    #[error("{digest} is described as `{one}` and as `{other}`")]
    MediaTypes {
        digest: Digest,
        /// One media type.
        one: String,
        /// The other media type.
        other: String,
    },
    /// More manifests than an image can sensibly have.
    #[error(
        "its indexes and manifests, {0} among them, are more than {MAX_MANIFESTS} or larger than {MAX_MANIFEST_BYTES} bytes"
    )]
    TooMany(Digest),
    /// None of the children is for a requested platform.
    #[error("the index {digest} has no image for {requested}; it lists {}", if .listed.is_empty() { "no platform" } else { .listed })]
    NoPlatform {
        digest: Digest,
        /// Platforms asked for.
        requested: String,
        /// Platforms listed.
        listed: String,
    },
}

impl Classify for ClosureError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoPlatform { .. } => ErrorKind::Usage,
            _ => ErrorKind::Corrupt,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::NoPlatform { .. } => {
                Some("ask for a platform that the index lists, or leave `platforms` out".to_owned())
            }
            _ => None,
        }
    }
}

/// All content of one image, each digest once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Closure {
    /// Indexes and manifests, inner before outer: the order in which a registry accepts them.
    pub manifests: Vec<Descriptor>,
    /// Configs and layers, in the order in which the manifests name them.
    pub blobs: Vec<Descriptor>,
    /// Those of `blobs` that a manifest names as its config.
    pub configs: HashSet<Digest>,
    /// Those of `blobs` that an index lists as a child of an unknown type, so that it is not known what else they need.
    pub opaque: HashSet<Digest>,
    /// OptionalContent children that could not be fetched.
    pub absent: Vec<AbsentChild>,
    /// Requested platforms that no index of the image lists. Empty if no index lists any platform.
    pub missing_platforms: Vec<Platform>,
    /// Platforms that the indexes of the image list, each once. Empty if there is no index, or none names a platform.
    pub listed_platforms: Vec<Platform>,
}

/// A child that an index lists, that the index is complete without, and that could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsentChild {
    /// Digest of the content.
    pub digest: Digest,
    /// What it is, as in [`oci::Index::name_of`].
    pub name: String,
    /// What it describes, if it is an attestation.
    pub subject: Option<Digest>,
    /// Why it could not be fetched.
    pub absence: Absence,
}

impl Closure {
    /// The blobs that are only layers.
    pub fn layers(&self) -> impl Iterator<Item = &Descriptor> {
        self.blobs.iter().filter(|content| self.is_layer(&content.digest))
    }

    /// Whether a blob is only a layer.
    pub fn is_layer(&self, digest: &Digest) -> bool {
        !self.configs.contains(digest) && !self.opaque.contains(digest)
    }

    /// Bytes of all content.
    pub fn size(&self) -> u64 {
        self.manifests.iter().chain(&self.blobs).map(|descriptor| descriptor.size).sum()
    }
}

impl Manifests {
    /// Adds a manifest whose digest was checked.
    pub fn insert(&mut self, digest: Digest, manifest: StoredManifest) {
        self.stored.insert(digest, manifest);
    }

    /// Adds a blob whose digest was checked.
    pub fn insert_content(&mut self, digest: Digest, bytes: Bytes) {
        self.blobs.insert(digest, bytes);
    }

    /// A blob that was fetched with the manifests.
    pub fn content(&self, digest: &Digest) -> Option<&Bytes> {
        self.blobs.get(digest)
    }

    /// Records that an optional child of an index could not be fetched.
    pub fn mark_absent(&mut self, digest: Digest, absence: Absence) {
        self.absent.insert(digest, absence);
    }

    /// Leaves out an optional child of an index, because content that it needs could not be fetched.
    pub fn withdraw(&mut self, digest: Digest, absence: Absence) {
        self.withdrawn.insert(digest, absence);
    }

    /// The manifest, if it is known.
    pub fn get(&self, digest: &Digest) -> Option<&StoredManifest> {
        self.stored.get(digest)
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: Self) {
        self.stored.extend(other.stored);
        self.absent.extend(other.absent);
        self.withdrawn.extend(other.withdrawn);
        self.blobs.extend(other.blobs);
    }

    /// Parses a known manifest with the media type of `descriptor`.
    ///
    /// # Errors
    /// [`ClosureError::Missing`], [`ClosureError::Manifest`], and [`ClosureError::Sizes`] if the descriptor
    /// lies about the size.
    pub fn read(&self, descriptor: &Descriptor) -> Result<ManifestOrIndex, ClosureError> {
        let digest = descriptor.digest;
        let stored = self
            .get(&digest)
            .ok_or_else(|| ClosureError::Missing { digest, media_type: printable(&descriptor.media_type) })?;
        let size = stored.bytes.len() as u64;
        if size != descriptor.size {
            return Err(ClosureError::Sizes { digest, one: descriptor.size, other: size });
        }
        ManifestOrIndex::parse(&descriptor.media_type, &stored.bytes)
            .map_err(|source| ClosureError::Manifest { digest, source })
    }

    /// The closure of `root`. All of its manifests must be known, except optional children that are marked as absent.
    ///
    /// # Errors
    /// [`ClosureError`] names the first manifest that is missing or not acceptable.
    pub fn closure(&self, root: &Descriptor, platforms: &[Platform]) -> Result<Closure, ClosureError> {
        self.closure_by(root, platforms.into())
    }

    /// As [`Self::closure`], with another way to select the children of indexes.
    ///
    /// # Errors
    /// As for [`Self::closure`].
    pub fn closure_by(&self, root: &Descriptor, choice: Choice<'_>) -> Result<Closure, ClosureError> {
        let mut walk = Walk {
            manifests: self,
            choice,
            sizes: HashMap::new(),
            visited: HashMap::new(),
            listed: HashSet::new(),
            unstated: false,
            out: Closure::default(),
        };
        walk.visit(root, 0)?;
        let Walk { mut out, unstated, .. } = walk;
        // An image whose platform no index states may be for the requested one.
        if !unstated && !out.listed_platforms.is_empty() {
            out.missing_platforms = platform::unmatched(choice.platforms, &out.listed_platforms);
        }
        Ok(out)
    }
}

fn printable(text: &str) -> String {
    crate::redact::printable(text, 100)
}

struct Walk<'a> {
    manifests: &'a Manifests,
    choice: Choice<'a>,
    sizes: HashMap<Digest, u64>,
    /// The visited manifests: the media type of their descriptor, and whether they hold anything for the requested
    /// platforms.
    visited: HashMap<Digest, (String, bool)>,
    listed: HashSet<Digest>,
    /// Whether the closure has a manifest whose platform no index states.
    unstated: bool,
    out: Closure,
}

/// How a walk treats a child of an index.
enum Child {
    /// An index or manifest.
    Known,
    /// Content of an unknown type.
    Opaque,
    /// OptionalContent and not available.
    Absent(Absence),
}

impl Walk<'_> {
    /// Returns whether the manifest holds anything for the requested platforms. An inner index without any is in the closure
    /// too, so that readers of the outer one see why its children are missing.
    fn visit(&mut self, descriptor: &Descriptor, depth: usize) -> Result<bool, ClosureError> {
        self.check_size(descriptor)?;
        let Descriptor { digest, media_type, .. } = descriptor;
        // Before the manifest is parsed, so that one that is listed a thousand times is parsed once.
        match self.visited.get(digest) {
            None => {}
            Some((other, useful)) if other == media_type => return Ok(*useful),
            Some((other, _)) => {
                let (one, other) = (printable(other), printable(media_type));
                return Err(ClosureError::MediaTypes { digest: *digest, one, other });
            }
        }
        self.visited.insert(*digest, (media_type.clone(), true));
        if self.visited.len() > MAX_MANIFESTS {
            return Err(ClosureError::TooMany(*digest));
        }
        let content = self.manifests.read(descriptor)?;
        let mut useful = true;
        match &content {
            ManifestOrIndex::Index(_) if depth == oci::MAX_INDEX_DEPTH => {
                return Err(ClosureError::Depth(*digest));
            }
            ManifestOrIndex::Index(index) => {
                useful = false;
                for platform in index.manifests.iter().filter_map(Descriptor::runs_on) {
                    if !self.out.listed_platforms.contains(&platform) {
                        self.out.listed_platforms.push(platform);
                    }
                }
                for child in oci::select(index, self.choice) {
                    let holds = match self.kind_of(child) {
                        Child::Known => self.visit(child, depth + 1)?,
                        Child::Opaque => self.add_opaque(child)?,
                        Child::Absent(absence) => {
                            self.add_absent((digest, index), child, absence);
                            continue;
                        }
                    };
                    useful |= holds;
                    let is_attestation = child.attests().is_some() || child.is_attestation();
                    let has_platform = child.runs_on().is_some() || is_attestation || child.is_index();
                    self.unstated |= holds && !has_platform;
                }
                if !useful && depth == 0 {
                    return Err(self.nothing_useful(*digest, index));
                }
            }
            ManifestOrIndex::Manifest(manifest) => {
                self.out.configs.insert(manifest.config.digest);
                for blob in content.children() {
                    self.check_size(blob)?;
                    if self.listed.insert(blob.digest) {
                        self.out.blobs.push(blob.clone());
                    }
                }
            }
        }
        self.visited.insert(*digest, (media_type.clone(), useful));
        self.out.manifests.push(descriptor.clone());
        Ok(useful)
    }

    fn kind_of(&self, child: &Descriptor) -> Child {
        let Manifests { absent, withdrawn, .. } = self.manifests;
        let absence = withdrawn
            .get(&child.digest)
            .or_else(|| absent.get(&child.digest).filter(|_| self.manifests.get(&child.digest).is_none()));
        match absence.filter(|_| child.is_optional()) {
            Some(absence) => Child::Absent(absence.clone()),
            None if oci::is_manifest(&child.media_type) => Child::Known,
            None => Child::Opaque,
        }
    }

    /// Adds a child of an unknown type. It is not known what else it needs.
    fn add_opaque(&mut self, child: &Descriptor) -> Result<bool, ClosureError> {
        self.check_size(child)?;
        self.out.opaque.insert(child.digest);
        if self.listed.insert(child.digest) {
            self.out.blobs.push(child.clone());
        }
        Ok(true)
    }

    fn add_absent(&mut self, (of, index): (&Digest, &Index), child: &Descriptor, absence: Absence) {
        let digest = child.digest;
        if !self.out.absent.iter().any(|absent| absent.digest == digest) {
            self.out.absent.push(AbsentChild {
                digest,
                name: index.name_of(child),
                // An attestation that does not name its subject describes the index.
                subject: child.attests().or_else(|| child.is_attestation().then_some(*of)),
                absence,
            });
        }
    }

    fn nothing_useful(&self, digest: Digest, index: &Index) -> ClosureError {
        match index.manifests.first() {
            // All that it lists is optional, and absent.
            Some(first) if self.choice.platforms.is_empty() => {
                ClosureError::Missing { digest: first.digest, media_type: printable(&first.media_type) }
            }
            _ => ClosureError::NoPlatform {
                digest,
                requested: platform::list(self.choice.platforms),
                listed: platform::list(&self.out.listed_platforms),
            },
        }
    }

    fn check_size(&mut self, descriptor: &Descriptor) -> Result<(), ClosureError> {
        let Descriptor { digest, size, .. } = *descriptor;
        match self.sizes.insert(digest, size) {
            Some(other) if other != size => Err(ClosureError::Sizes { digest, one: other, other: size }),
            _ => Ok(()),
        }
    }
}
