// SPDX-License-Identifier: Apache-2.0
//! Descriptors (OCI image-spec, "OCI Content Descriptors"). Descriptive fields may be absent, empty or null, as tools
//! write them; digest, size and media type are read strictly.

use std::collections::BTreeMap;

use base64::Engine as _;
use bytes::Bytes;
use serde::Deserialize;

use super::media_type::{DOCKER_INDEX, OCI_INDEX, is_manifest};
use super::stated_platform::StatedPlatform;
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;

/// Most addresses outside the registry that are tried for one blob.
pub const MAX_URLS: usize = 8;
/// Longest of them, in bytes.
const MAX_URL: usize = 4096;

/// Points to content.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the content.
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Bytes of the content.
    pub size: u64,
    /// Platform that an index states for a child.
    #[serde(default)]
    platform: Option<StatedPlatform>,
    /// What kind of artifact a referrer is.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// Free text, e.g. which image an attestation belongs to.
    #[serde(default)]
    annotations: Option<BTreeMap<String, Option<String>>>,
    /// Addresses outside the registry from which the content may be downloaded (foreign layers).
    #[serde(default)]
    urls: Option<Vec<String>>,
    /// The content itself, in Base64.
    #[serde(default)]
    data: Option<String>,
}

/// The content that a descriptor carries (`data`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inline {
    /// The content has the descriptor's size and digest.
    Content(Bytes),
    /// The content has another size or digest.
    Damaged,
}

impl Descriptor {
    /// A descriptor without any of the optional fields.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            platform: None,
            artifact_type: None,
            annotations: None,
            urls: None,
            data: None,
        }
    }

    /// Whether it describes an index.
    pub fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), OCI_INDEX | DOCKER_INDEX)
    }

    /// The platform, if one is stated and it is not `unknown`.
    pub fn runs_on(&self) -> Option<Platform> {
        self.platform.as_ref()?.platform()
    }

    /// Whether a platform is stated as `unknown`.
    pub fn is_unknown(&self) -> bool {
        self.platform.as_ref().is_some_and(StatedPlatform::is_unknown)
    }

    /// The child that this one describes, if it is an attestation inside an index (BuildKit's convention).
    pub fn attests(&self) -> Option<Digest> {
        self.annotation("vnd.docker.reference.digest")?.parse().ok()
    }

    /// Whether it describes an attestation inside an index (BuildKit's convention).
    pub fn is_attestation(&self) -> bool {
        self.annotation("vnd.docker.reference.type").is_some()
            && self.platform.is_some()
            && self.runs_on().is_none()
    }

    /// An annotation, where it is a text.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(name)?.as_deref()
    }

    /// Whether an index is complete without this child: an attestation, or content of an unknown type.
    pub fn is_optional(&self) -> bool {
        self.attests().is_some() || self.is_attestation() || !is_manifest(&self.media_type)
    }

    /// Addresses outside the registry from which the content may be downloaded, at most [`MAX_URLS`].
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        let urls = self.urls.iter().flatten().map(String::as_str);
        urls.filter(|url| !url.is_empty() && url.len() <= MAX_URL).take(MAX_URLS)
    }

    /// Whether the descriptor names addresses outside the registry, or a type whose content registries need not have.
    pub fn is_foreign(&self) -> bool {
        self.urls().next().is_some()
            || self.media_type.contains(".layer.nondistributable.")
            || self.media_type.contains(".rootfs.foreign.")
    }

    /// The content that the descriptor carries itself, compared with its size and digest.
    pub fn inline(&self) -> Option<Inline> {
        let data = self.data.as_deref()?;
        let decoded = base64::engine::general_purpose::STANDARD.decode(data).ok();
        let fits = |bytes: &Vec<u8>| bytes.len() as u64 == self.size && Digest::of(bytes) == self.digest;
        Some(decoded.filter(fits).map_or(Inline::Damaged, |bytes| Inline::Content(bytes.into())))
    }

    /// Whether krs 0.1 reads a manifest or index that holds this descriptor.
    pub(super) fn is_plain(&self) -> bool {
        let is_present = |text: &Option<String>| text.is_some();
        let platform =
            self.platform.as_ref().is_none_or(|p| is_present(&p.os) && is_present(&p.architecture));
        let annotations = self.annotations.iter().flatten().all(|(_, value)| value.is_some());
        let urls = self.urls.as_ref().is_none_or(Vec::is_empty);
        platform && annotations && urls && self.inline() != Some(Inline::Damaged)
    }
}
