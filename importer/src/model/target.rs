// SPDX-License-Identifier: Apache-2.0
//! Targets: what has to be at the edge for a set. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use krs_core::oci::digest::{Digest, Hasher};
use krs_core::oci::platform::Platform;
use krs_core::oci::reference::{
    Destination, ParseReferenceError, Reference, RegistryHost, RepositoryName, Tag,
};
use krs_core::set::SetImage;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// One repository and digest at the edge, with all that a set says about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Names it in the state of the set.
    pub key: TargetKey,
    /// Edge registry.
    pub registry: RegistryHost,
    /// Repository there, with the prefix of the destination.
    pub repository: RepositoryName,
    /// Top document.
    pub digest: Digest,
    /// Tags that name it there; at least one, sorted.
    pub tags: Vec<Tag>,
    /// Platforms that must be there, sorted; empty: all.
    pub platforms: Vec<Platform>,
    /// Where the image comes from, in normal form.
    pub reference: Reference,
    /// Secret with the credentials of the image's own registry.
    pub source_secret: Option<String>,
    /// Its positions in `spec.images`, ascending.
    pub images: Vec<usize>,
}

/// The identity of a target: half of the SHA-256 over registry, repository, digest, tags and platforms. What is verified is
/// verified for exactly these.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetKey([u8; 16]);

/// Puts the images of a set together by repository and digest. `digest` answers what a reference stands for; an image
/// without an answer has no target yet.
///
/// # Errors
/// The repository at the edge would be too long; [`krs_core::set::check_spec`] has refused such a set before.
pub fn targets(
    destination: &Destination,
    images: &[SetImage],
    secret: impl Fn(usize) -> Option<String>,
    digest: impl Fn(&Reference) -> Option<Digest>,
) -> Result<Vec<Target>, ParseReferenceError> {
    let mut positions = BTreeMap::<(RepositoryName, Digest), usize>::new();
    let mut targets = Vec::<Target>::new();
    for (n, image) in images.iter().enumerate() {
        let Some(digest) = digest(&image.reference) else { continue };
        let repository = destination.repository(&image.repository)?;
        let position = *positions.entry((repository.clone(), digest)).or_insert_with(|| {
            targets.push(Target {
                key: TargetKey([0; 16]),
                registry: destination.registry.clone(),
                repository,
                digest,
                tags: Vec::new(),
                platforms: image.platforms.clone(),
                reference: image.reference.clone(),
                source_secret: secret(n),
                images: Vec::new(),
            });
            targets.len() - 1
        });
        let Some(target) = targets.get_mut(position) else { continue };
        target.images.push(n);
        if !target.tags.contains(&image.tag) {
            target.tags.push(image.tag.clone());
        }
        if image.platforms.is_empty() || target.platforms.is_empty() {
            target.platforms.clear();
        } else {
            target.platforms.extend(image.platforms.iter().cloned());
        }
    }
    for target in &mut targets {
        target.tags.sort();
        target.platforms.sort();
        target.platforms.dedup();
        target.key = TargetKey::of(target);
    }
    Ok(targets)
}

impl Target {
    /// Takes a tag away. What would have none gets that of its digest: registries collect what has no tag.
    pub(crate) fn take_tag(&mut self, tag: &Tag) {
        self.tags.retain(|own| own != tag);
        if self.tags.is_empty() {
            self.tags.push(Tag::of_digest(&self.digest));
        }
        self.key = TargetKey::of(self);
    }
}

impl TargetKey {
    fn of(target: &Target) -> Self {
        let mut hasher = Hasher::new();
        let mut add = |text: &str| {
            hasher.update(text.as_bytes());
            hasher.update(b"\n");
        };
        add(target.registry.as_str());
        add(target.repository.as_str());
        add(&target.digest.to_string());
        target.tags.iter().for_each(|tag| add(tag.as_str()));
        target.platforms.iter().for_each(|platform| add(&platform.to_string()));
        let mut key = [0; 16];
        let hex = hasher.finish().hex();
        for (byte, pair) in key.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = std::str::from_utf8(pair)
                .ok()
                .and_then(|p| u8::from_str_radix(p, 16).ok())
                .unwrap_or_default();
        }
        Self(key)
    }
}

impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TargetKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "`{}` is no key of a target: expected 32 hex digits",
                krs_core::redact::printable(text, 40)
            )
        };
        if text.len() != 32 || !text.is_ascii() {
            return Err(bad());
        }
        let mut key = [0; 16];
        for (n, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self(key))
    }
}

impl Serialize for TargetKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TargetKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
