// SPDX-License-Identifier: Apache-2.0
//! Which signatures, SBOMs and attestations travel, and what is said of the others. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::oci::ManifestOrIndex;
use crate::oci::digest::Digest;

/// Which signatures, SBOMs and attestations travel with their image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Referrers {
    /// All of them. One that cannot be had is missing, and the image travels without it.
    #[default]
    All,
    /// None; registries are not asked for them.
    None,
    /// All of them. An image of which one cannot be had fails.
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
                let wanted = |found: &str| types.iter().any(|asked| asked.eq_ignore_ascii_case(found));
                match manifest.artifact_type() {
                    Some(own) => wanted(own),
                    None => manifest.children().any(|child| wanted(&child.media_type)),
                }
            }
        }
    }

    /// Whether a referrer that cannot be read, and of which a list states this type, would have stayed behind anyway.
    pub(super) fn excludes(&self, artifact_type: Option<&str>) -> bool {
        // The type of an image's config stands for no type: then the layers decide, and they are not known.
        let stated = artifact_type.filter(|stated| !stated.contains(".image."));
        match (self, stated) {
            (Self::Types(types), Some(stated)) => {
                !types.iter().any(|asked| asked.eq_ignore_ascii_case(stated))
            }
            _ => false,
        }
    }
}

/// What refers to images and does not travel, because [`super::ResolveOptions::referrers`] says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftBehind {
    /// Registries were not asked, so that nobody knows what there is.
    pub unasked: bool,
    /// By artifact type, else by the media type of the first layer. What refers to one of these alone is not looked
    /// for.
    pub by_type: BTreeMap<String, BTreeSet<Digest>>,
}

impl LeftBehind {
    pub(super) fn add(&mut self, digest: Digest, manifest: &ManifestOrIndex) {
        // The config comes first and says the least.
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

/// Text of a registry that is safe to be shown.
pub(super) fn printable(text: &str) -> String {
    crate::redact::printable(text, 200)
}
