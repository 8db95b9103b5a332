// SPDX-License-Identifier: Apache-2.0
//! Removes images and referrers that cannot be fetched, so that the rest can be bundled. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use thiserror::Error;

use super::choice::printable;
use super::error::ImageErrors;
use super::resolved::{MissingImage, MissingReferrer, Resolved, ResolvedImage, ResolvedReferrer};
use crate::error::{self, Cause, Classify, ErrorKind};
use crate::oci::closure::{Absence, AbsentChild, Manifests};
use crate::oci::digest::Digest;
use crate::oci::reference::Reference;
use crate::oci::{Descriptor, MAX_BLOB};
use crate::sync::source::ReadError;

/// A referrer or an optional child of an index whose blob could not be fetched.
#[derive(Debug)]
pub struct ReferrerFailure {
    /// Position of its image in [`Resolved::images`].
    pub image: usize,
    /// The reference of the image, as the set writes it.
    pub reference: Reference,
    /// The manifest of the referrer or child.
    pub digest: Digest,
    /// Whether it is a child of an unknown type, and not a signature, SBOM or attestation.
    pub unknown: bool,
    /// Why; referrers can share a blob.
    pub error: Arc<ReadError>,
}

/// Referrers whose blobs could not be fetched, at least one. The images themselves could be fetched.
#[derive(Debug, Error)]
#[error("{}", error::describe("signatures, SBOMs or attestations cannot be fetched", &self.causes()))]
pub struct ReferrerErrors(pub Vec<ReferrerFailure>);

impl ReferrerErrors {
    /// Whether none of them is a signature, SBOM or attestation.
    pub fn is_all_unknown(&self) -> bool {
        self.0.iter().all(|failure| failure.unknown)
    }
}

impl Classify for ReferrerErrors {
    fn kind(&self) -> ErrorKind {
        error::kind_of_all(self.0.iter().map(|failure| &*failure.error))
    }

    fn help(&self) -> Option<String> {
        Some("with --referrers all the images travel without them, and the bundle says so".to_owned())
    }

    fn causes(&self) -> Vec<Cause> {
        let one = |failure: &ReferrerFailure| {
            let ReferrerFailure { reference, digest, error, .. } = failure;
            (format!("{digest} of {reference}"), error::chain(&**error))
        };
        error::by_cause(self.0.iter().map(one))
    }
}

impl Resolved {
    /// Removes the images that failed; they count as missing.
    pub fn without(&mut self, failed: &ImageErrors) {
        let reasons = failed.0.iter().map(|(reference, error)| (reference, error::chain(error)));
        let reasons = reasons.collect::<HashMap<_, _>>();
        for image in self.images.extract_if(.., |image| reasons.contains_key(&image.reference)) {
            let reason = reasons.get(&image.reference).cloned().unwrap_or_default();
            self.missing.push(MissingImage {
                reference: image.reference,
                platforms: image.platforms,
                reason,
            });
        }
    }

    /// Removes the referrers and the optional children of indexes that failed; they count as missing.
    /// Returns whether there were any.
    pub fn without_referrers(&mut self, failed: &ReferrerErrors) -> bool {
        let mut dropped = false;
        let mut failures = BTreeMap::<usize, HashMap<Digest, (String, ErrorKind)>>::new();
        for ReferrerFailure { image, digest, error, .. } in &failed.0 {
            let of_image = failures.entry(*image).or_default();
            let (reason, kind) =
                of_image.entry(*digest).or_insert_with(|| (error::chain(&**error), error.kind()));
            let absence = Absence { reason: printable(reason), kind: *kind };
            self.manifests.withdraw(*digest, absence);
        }
        for image in &mut self.images {
            dropped |= image.drop_children(&self.manifests, failed);
        }
        for (position, reasons) in failures {
            if let Some(image) = self.images.get_mut(position) {
                dropped |= image.drop_referrers(|referrer| reasons.get(&referrer.root.digest).cloned());
            }
        }
        dropped
    }

    /// Drops referrers that contradict the images, or those before them, on the size of a blob, and those with blobs that
    /// are too large for a bundle: they would make the bundle fail.
    pub(super) fn drop_contradicting(&mut self) {
        let own = self.images.iter().flat_map(|image| parts(&image.closure));
        let mut sizes = own.map(|part| (part.digest, part.size)).collect::<HashMap<_, _>>();
        for image in &mut self.images {
            image.drop_referrers(|referrer| {
                let wrong = parts(&referrer.closure).find(|part| {
                    part.size > MAX_BLOB || sizes.get(&part.digest).is_some_and(|size| *size != part.size)
                });
                if let Some(Descriptor { digest, size, .. }) = wrong {
                    let reason = format!("it describes {digest} with {size} bytes, which cannot be right");
                    return Some((reason, ErrorKind::Corrupt));
                }
                sizes.extend(parts(&referrer.closure).map(|part| (part.digest, part.size)));
                None
            });
        }
    }
}

fn parts(closure: &crate::oci::closure::Closure) -> impl Iterator<Item = &Descriptor> {
    closure.manifests.iter().chain(&closure.blobs)
}

impl ResolvedImage {
    /// All missing signatures, SBOMs and attestations, including those that its indexes list.
    pub fn missing_optional(&self) -> impl Iterator<Item = MissingReferrer> {
        let attestation = |child: &AbsentChild| {
            Some(MissingReferrer {
                subject: child.subject?,
                digest: Some(child.digest),
                tag: None,
                artifact_type: None,
                reason: format!("the {}: {}", child.name, child.absence.reason),
                kind: child.absence.kind,
            })
        };
        self.missing_referrers.iter().cloned().chain(self.closure.absent.iter().filter_map(attestation))
    }

    /// Drops the optional children of its indexes that are among `failed`. Returns whether there were any.
    fn drop_children(&mut self, manifests: &Manifests, failed: &ReferrerErrors) -> bool {
        let held = parts(&self.closure).map(|part| part.digest).collect::<HashSet<_>>();
        if !failed.0.iter().any(|failure| held.contains(&failure.digest)) {
            return false;
        }
        // An index of optional children alone is useless without them.
        let Ok(closure) = manifests.closure(&self.root, &self.platforms) else { return false };
        let dropped = closure.absent != self.closure.absent;
        self.set_closure(closure);
        dropped
    }

    /// Drops the referrers that `reason` has a reason for, and referrers of only these. Returns whether there were
    /// any.
    fn drop_referrers(
        &mut self,
        mut reason: impl FnMut(&ResolvedReferrer) -> Option<(String, ErrorKind)>,
    ) -> bool {
        let before = self.referrers.len();
        let mut kept = Vec::with_capacity(before);
        for referrer in std::mem::take(&mut self.referrers) {
            match reason(&referrer) {
                Some((reason, kind)) => self.missing_referrers.push(missing(referrer, reason, kind)),
                None => kept.push(referrer),
            }
        }
        self.referrers = kept;
        loop {
            let there = std::iter::once(&self.closure).chain(self.referrers.iter().map(|r| &r.closure));
            let there = there.flat_map(|c| c.manifests.iter().map(|d| d.digest)).collect::<HashSet<_>>();
            let Some(position) = self.referrers.iter().position(|r| !there.contains(&r.subject)) else {
                break;
            };
            let orphan = self.referrers.remove(position);
            let reason = format!("it refers to {}, which is missing", orphan.subject);
            self.missing_referrers.push(missing(orphan, reason, ErrorKind::Incomplete));
        }
        self.referrers.len() < before
    }
}

fn missing(referrer: ResolvedReferrer, reason: String, kind: ErrorKind) -> MissingReferrer {
    let ResolvedReferrer { subject, root, artifact_type, tag, .. } = referrer;
    MissingReferrer { subject, digest: Some(root.digest), tag, artifact_type, reason, kind }
}
