// SPDX-License-Identifier: Apache-2.0
//! OptionalContent children of an image's indexes that could not be pushed: attestations, and entries of unknown types.

use std::collections::BTreeMap;

use super::error::TargetError;
use super::referrers::ReferrerProblem;
use super::run::Failures;
use super::target::Target;
use crate::error;
use crate::oci::closure::{Closure, OptionalChild, OptionalContent};
use crate::oci::digest::Digest;

/// The optional children of one image's indexes that could not be pushed, and why.
#[derive(Debug)]
pub(super) struct LeftBehind<'a> {
    optional: &'a OptionalContent,
    reasons: BTreeMap<Digest, String>,
}

impl<'a> LeftBehind<'a> {
    /// The children whose blobs were not pushed.
    ///
    /// # Errors
    /// Why a required blob of the image was not pushed.
    pub(super) fn of_blobs(
        target: &Target,
        closure: &Closure,
        optional: &'a OptionalContent,
        failures: &Failures,
    ) -> Result<Self, TargetError> {
        let mut left = Self { optional, reasons: BTreeMap::new() };
        let mut failures = failures.lock();
        for content in &closure.blobs {
            let Some(failure) = failures.get_mut(&(content.digest, target.repository.clone())) else {
                continue;
            };
            if let Some(children) = optional.blobs.get(&content.digest) {
                // The error is kept for an image that needs the blob.
                let reason = failure.as_ref().map_or_else(String::new, |failure| error::chain(failure));
                left.add(children, &format!("blob {} could not be sent: {reason}", content.digest));
                continue;
            }
            let shared = || TargetError::Shared(content.digest);
            return Err(failure.take().map_or_else(shared, TargetError::Registry));
        }
        Ok(left)
    }

    pub(super) fn add(&mut self, children: &[Digest], reason: &str) {
        for child in children {
            self.reasons.entry(*child).or_insert_with(|| reason.to_owned());
        }
    }

    /// The optional children that need `manifest`, if the image is complete without it.
    pub(super) fn needing(&self, manifest: &Digest) -> Option<&'a [Digest]> {
        self.optional.manifests.get(manifest).map(Vec::as_slice)
    }

    /// Whether every child that needs `manifest` could not be pushed.
    pub(super) fn is_left(&self, manifest: &Digest) -> bool {
        let children = self.needing(manifest).unwrap_or_default();
        !children.is_empty() && children.iter().all(|child| self.reasons.contains_key(child))
    }

    /// Names and reasons, in the order of their digests.
    fn children(&self) -> impl Iterator<Item = (&Digest, &OptionalChild, &str)> {
        self.reasons.iter().filter_map(|(digest, reason)| {
            Some((digest, self.optional.children.get(digest)?, reason.as_str()))
        })
    }

    /// Their names and digests, for a message.
    pub(super) fn names(&self) -> Vec<String> {
        self.children().map(|(digest, child, reason)| format!("{} {digest}: {reason}", child.name)).collect()
    }

    /// The problems, for the report.
    pub(super) fn problems(&self, target: &Target) -> Vec<ReferrerProblem> {
        let problem = |(digest, child, reason): (&Digest, &OptionalChild, &str)| ReferrerProblem {
            repository: target.repository.clone(),
            subject: child.subject.unwrap_or(child.listed_by),
            digest: *digest,
            unlisted: false,
            reason: format!("the {}: {reason}", child.name),
        };
        self.children().map(problem).collect()
    }
}
