// SPDX-License-Identifier: Apache-2.0
//! The choice of signatures, SBOMs and attestations, and the report of those that are not chosen. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::oci::ManifestOrIndex;
use crate::oci::digest::Digest;

/// Which signatures, SBOMs and attestations are bundled with their image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Referrers {
    /// All of them. One that cannot be fetched is missing, and the image is bundled without it.
    #[default]
    All,
    /// None; registries are not queried for them.
    None,
    /// All of them. If one cannot be fetched, its image fails.
    Required,
    /// Those of these artifact types, otherwise as [`Self::All`]. One without an artifact type, as older versions of
    /// cosign write them, counts by the media types of its config and layers.
    Types(Vec<String>),
}

impl Referrers {
    pub(super) fn chooses(&self, manifest: &ManifestOrIndex) -> bool {
        match self {
            Self::All | Self::Required => true,
            Self::None => false,
            Self::Types(types) => {
                let wanted =
                    |found: &str| types.iter().any(|requested| requested.eq_ignore_ascii_case(found));
                match manifest.artifact_type() {
                    Some(own) => wanted(own),
                    None => manifest.children().any(|child| wanted(&child.media_type)),
                }
            }
        }
    }

    /// Whether an unreadable referrer of this type would not be chosen anyway.
    pub(super) fn excludes(&self, artifact_type: Option<&str>) -> bool {
        // The media type of an image's config means no artifact type: then the layers decide, which are not known.
        let artifact_type = artifact_type.filter(|artifact_type| !artifact_type.contains(".image."));
        match (self, artifact_type) {
            (Self::Types(types), Some(artifact_type)) => {
                !types.iter().any(|requested| requested.eq_ignore_ascii_case(artifact_type))
            }
            _ => false,
        }
    }
}

/// Referrers that [`super::ResolveOptions::referrers`] does not choose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftBehind {
    /// Registries were not queried, so that the referrers are not known.
    pub unasked: bool,
    /// Their number by artifact type, or else by the media type of the first layer. Their own referrers are not counted.
    pub by_type: BTreeMap<String, BTreeSet<Digest>>,
}

impl LeftBehind {
    pub(super) fn add(&mut self, digest: Digest, manifest: &ManifestOrIndex) {
        // The config comes first and is the least specific.
        let content = || manifest.children().nth(1).map(|layer| layer.media_type.as_str());
        self.add_type(digest, manifest.artifact_type().or_else(content).unwrap_or("unknown"));
    }

    pub(super) fn add_type(&mut self, digest: Digest, kind: &str) {
        self.by_type.entry(printable(kind)).or_default().insert(digest);
    }

    pub(super) fn extend(&mut self, other: Self) {
        for (kind, digests) in other.by_type {
            self.by_type.entry(kind).or_default().extend(digests);
        }
    }
}

/// Escapes text of a registry.
pub(super) fn printable(text: &str) -> String {
    crate::redact::printable(text, 200)
}
