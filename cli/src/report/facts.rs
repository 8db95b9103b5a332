// SPDX-License-Identifier: Apache-2.0
//! What a report says of a bundle.

use std::collections::HashSet;

use camino::Utf8Path;
use jiff::Timestamp;
use krs_core::bundle::sign::KeyId;
use krs_core::bundle::{
    BaseSource, Bundle, BundleBase, BundleManifest, BundleMissing, BundledImages, has_expired,
};
use krs_core::error::{Cause, by_cause, list};
use krs_core::oci::closure::Closure;
use krs_core::oci::digest::Digest;
use krs_core::sync::plan::{Plan, PlanError};
use serde::Serialize;

use super::human::{count, size};
use super::patched::rebuild_seconds;

/// A bundle as one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Facts {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// Bytes of the archive.
    size: u64,
    /// Of the manifest; names the bundle.
    digest: Digest,
    identity: Digest,
    format_version: u32,
    stream: String,
    sequence: u64,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<Timestamp>,
    audience: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<Commit>,
    tool: String,
    image_count: usize,
    set_count: usize,
    blob_count: usize,
    blob_bytes: u64,
    /// Bytes that the archive would have more, were nothing shared between its images.
    saved_bytes: u64,
    /// What a delta assumes at the site.
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<Base>,
    /// Layers that a site makes of patches.
    #[serde(skip_serializing_if = "Option::is_none")]
    patched: Option<Patched>,
    /// Signatures, SBOMs and attestations of its images that could not be fetched.
    #[serde(skip_serializing_if = "is_zero")]
    missing_referrers: u64,
    /// How many of these are look-ups that failed, where that is known.
    #[serde(skip)]
    failed_lookups: Option<u64>,
    /// Images that it was made without.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<BundleMissing>,
    signatures: Vec<SignatureFacts>,
}

// The shape that serde asks for.
#[expect(clippy::trivially_copy_pass_by_ref)]
const fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[derive(Debug, Serialize)]
struct Base {
    layers: usize,
    bytes: u64,
    sources: Vec<BaseSource>,
}

impl From<&BundleBase> for Base {
    fn from(base: &BundleBase) -> Self {
        let bytes = base.layers.iter().map(|layer| layer.size).sum();
        Self { layers: base.layers.len(), bytes, sources: base.sources.clone() }
    }
}

/// Patches in place of layers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Patched {
    layers: usize,
    /// Of these layers.
    bytes: u64,
    patches: usize,
    /// Of the patches and recipes.
    patch_bytes: u64,
    /// By [`rebuild_seconds`].
    estimated_seconds: u64,
}

impl Patched {
    /// Of a bundle; `None` if it has no patches.
    pub(crate) fn of(manifest: &BundleManifest) -> Option<Self> {
        let layers = manifest.patches.iter().flat_map(|patch| &patch.layers);
        let recipes = layers.clone().map(|layer| layer.recipe);
        let own = manifest.patches.iter().map(|patch| patch.digest).chain(recipes).collect::<HashSet<_>>();
        let blobs = manifest.blobs.iter().filter(|blob| own.contains(&blob.digest));
        let bytes = layers.clone().map(|layer| layer.size).sum();
        (!manifest.patches.is_empty()).then(|| Self {
            layers: layers.count(),
            bytes,
            patches: manifest.patches.len(),
            patch_bytes: blobs.map(|blob| blob.size).sum(),
            estimated_seconds: rebuild_seconds(bytes),
        })
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let Self { layers, bytes, patches, patch_bytes, estimated_seconds } = self;
        let (layers, bytes) = (count(*layers as u64, "layer"), size(*bytes));
        let patches = if *patches == 1 { "1 patch".to_owned() } else { format!("{patches} patches") };
        let patch_bytes = size(*patch_bytes);
        format!(
            "{layers} ({bytes}), which a site makes of {patches} ({patch_bytes}) in about {estimated_seconds} s"
        )
    }
}

#[derive(Debug, Serialize)]
struct Commit {
    hash: String,
    dirty: bool,
}

/// A signature.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SignatureFacts {
    key: String,
    /// Whether it was checked with a trusted key, and is valid.
    verified: bool,
}

impl SignatureFacts {
    /// A signature that was made just now.
    pub(crate) fn now(key: KeyId) -> Self {
        Self { key: key.to_string(), verified: true }
    }
}

impl Facts {
    /// Of a bundle that was opened.
    pub(crate) fn of_bundle(bundle: &Bundle, images: &BundledImages) -> Self {
        let closures = images.images.iter();
        let closures = closures
            .flat_map(|i| std::iter::once(&i.closure).chain(i.referrers.iter().map(|(_, closure)| closure)));
        let signed =
            |key: &KeyId| SignatureFacts { key: key.to_string(), verified: bundle.signers().contains(key) };
        Self::new(
            bundle.manifest(),
            Some(bundle.path()),
            bundle.size(),
            (bundle.digest(), bundle.identity()),
            closures.map(Closure::size).sum(),
            bundle.key_ids().iter().map(signed).collect(),
        )
    }

    /// Of a bundle that is planned, or was written just now.
    ///
    /// # Errors
    /// None in practice: the manifest was encoded before.
    pub(crate) fn of_plan(
        plan: &Plan,
        file: Option<&Utf8Path>,
        signatures: Vec<SignatureFacts>,
    ) -> Result<Self, PlanError> {
        let digests = (Digest::of(&plan.manifest.encode()?), plan.manifest.identity()?);
        Ok(Self::new(&plan.manifest, file, plan.size, digests, plan.unshared, signatures))
    }

    fn new(
        manifest: &BundleManifest,
        file: Option<&Utf8Path>,
        size: u64,
        (digest, identity): (Digest, Digest),
        unshared: u64,
        signatures: Vec<SignatureFacts>,
    ) -> Self {
        let blob_bytes = manifest.blobs.iter().map(|blob| blob.size).sum::<u64>();
        let (commit, base) = (manifest.source.as_ref(), manifest.base.as_ref().map(Base::from));
        let patched = Patched::of(manifest);
        // What is in the archive, or would be without a base and without patches.
        let elsewhere =
            base.as_ref().map_or(0, |base| base.bytes) + patched.as_ref().map_or(0, |patched| patched.bytes);
        let own = blob_bytes - patched.as_ref().map_or(0, |patched| patched.patch_bytes);
        Self {
            file: file.map(ToString::to_string),
            size,
            digest,
            identity,
            format_version: manifest.format_version,
            stream: manifest.stream.to_string(),
            sequence: manifest.sequence,
            created_at: manifest.created_at,
            not_after: manifest.not_after,
            audience: manifest.audience.clone(),
            commit: commit.map(|source| Commit { hash: source.commit.clone(), dirty: source.dirty }),
            tool: manifest.tool.clone(),
            image_count: manifest.images.len(),
            set_count: manifest.sets.len(),
            blob_count: manifest.blobs.len(),
            blob_bytes,
            saved_bytes: unshared.saturating_sub(own + elsewhere),
            base,
            patched,
            missing_referrers: manifest.images.iter().map(|image| u64::from(image.missing_referrers)).sum(),
            failed_lookups: None,
            missing: manifest.missing.clone(),
            signatures,
        }
    }

    /// Counts what is missing where the manifest may not say it (`--format-version 1`), and can only say how much it is in
    /// all: referrers that are known and could not be fetched, and look-ups that failed.
    pub(crate) const fn set_missing_referrers(&mut self, known: usize, lookups: usize) {
        self.missing_referrers = (known + lookups) as u64;
        self.failed_lookups = Some(lookups as u64);
    }

    /// Bytes of all blobs.
    pub(crate) const fn blob_bytes(&self) -> u64 {
        self.blob_bytes
    }

    /// Images that it holds.
    pub(crate) const fn images(&self) -> usize {
        self.image_count
    }

    /// Images of its sets that it was made without.
    pub(crate) const fn missing_images(&self) -> usize {
        self.missing.len()
    }

    /// Whether anybody signed it.
    pub(crate) const fn is_signed(&self) -> bool {
        !self.signatures.is_empty()
    }

    /// Whether a trusted key vouches for it.
    pub(crate) fn is_trusted(&self) -> bool {
        self.signatures.iter().any(|signed| signed.verified)
    }

    /// The facts as lines of a name and a value.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        match &self.file {
            Some(file) => lines.push(("Bundle", format!("{file} ({})", size(self.size)))),
            None => lines.push(("Bundle", format!("would have {}", size(self.size)))),
        }
        lines.push(("Digest", self.digest.to_string()));
        lines.push(("Stream", format!("{}, sequence {}", self.stream, self.sequence)));
        lines.push(("Created", format!("{} by {}", self.created_at, self.tool)));
        if let Some(Commit { hash, dirty }) = &self.commit {
            let dirty = if *dirty { " and changes that are not committed" } else { "" };
            lines.push(("Commit", format!("{hash}{dirty}")));
        }
        if !self.audience.is_empty() {
            lines.push(("For", self.audience.join(", ")));
        }
        if let Some(end) = self.not_after {
            let expired = if has_expired(end, Timestamp::now()) { " (expired)" } else { "" };
            lines.push(("Expires", format!("{end}{expired}")));
        }
        lines.push(("Holds", self.holds()));
        if let Some(Base { layers, bytes, sources }) = &self.base {
            let sources = sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join("; ");
            let layers = count(*layers as u64, "layer");
            lines.push(("Base", format!("{layers} ({}) that the site has, by {sources}", size(*bytes))));
        }
        lines.extend(self.patched.iter().map(|patched| ("Patched", patched.text())));
        let missing = self.missing.iter().map(|m| (m.reference.to_string(), m.reason.clone()));
        for Cause { reason, names } in by_cause(missing) {
            if let [name] = names.as_slice() {
                lines.push(("Missing", format!("{name}: {reason}")));
                continue;
            }
            lines.push(("Missing", format!("{}: {reason}", count(names.len() as u64, "image"))));
            lines.extend(list(&names, "").lines().skip(1).map(|line| ("", line.to_owned())));
        }
        if self.missing_referrers > 0 {
            lines.push(("Missing", self.missing()));
        }
        lines.push(("Signed by", self.signed_by()));
        lines
    }

    fn missing(&self) -> String {
        let optional = |number| {
            if number == 1 {
                "1 signature, SBOM or attestation".to_owned()
            } else {
                format!("{number} signatures, SBOMs or attestations")
            }
        };
        let lookups = self.failed_lookups.unwrap_or_default();
        let known = self.missing_referrers.saturating_sub(lookups);
        let mut parts = Vec::new();
        if known > 0 {
            let how = if self.failed_lookups.is_some() { "" } else { ", or looked up" };
            parts.push(format!("{} could not be fetched{how}", optional(known)));
        }
        if lookups > 0 {
            parts.push(format!("{} of signatures, SBOMs or attestations failed", count(lookups, "look-up")));
        }
        parts.join("; ")
    }

    fn holds(&self) -> String {
        let mut text = format!(
            "{} of {} in {} ({})",
            count(self.image_count as u64, "image"),
            count(self.set_count as u64, "set"),
            count(self.blob_count as u64, "blob"),
            size(self.blob_bytes)
        );
        if self.saved_bytes > 0 {
            text.push_str(&format!(", {} saved by sharing", size(self.saved_bytes)));
        }
        text
    }

    fn signed_by(&self) -> String {
        if self.signatures.is_empty() {
            return "nobody".to_owned();
        }
        let one = |signed: &SignatureFacts| {
            let verdict = if signed.verified { "valid" } else { "not checked" };
            format!("key {} ({verdict})", signed.key)
        };
        self.signatures.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}
