// SPDX-License-Identifier: Apache-2.0
//! Optional children of the indexes of an image that stay behind: attestations, and entries of types that are not known.

use std::collections::BTreeMap;

use super::error::TargetError;
use super::referrers::ReferrerProblem;
use super::run::Failures;
use super::target::Target;
use crate::error;
use crate::oci::closure::{Closure, Optional, OptionalChild};
use crate::oci::digest::Digest;

/// The optional children of the indexes of one image that stay behind, and why.
#[derive(Debug)]
pub(super) struct LeftBehind<'a> {
    optional: &'a Optional,
    reasons: BTreeMap<Digest, String>,
}

impl<'a> LeftBehind<'a> {
    /// What stays behind because its blobs did not arrive.
    ///
    /// # Errors
    /// Why a blob did not arrive without which the image is not complete.
    pub(super) fn of_blobs(
        target: &Target,
        closure: &Closure,
        optional: &'a Optional,
        failures: &Failures,
    ) -> Result<Self, TargetError> {
        let mut left = Self { optional, reasons: BTreeMap::new() };
        let mut failures = failures.lock();
        for content in &closure.blobs {
            let Some(failure) = failures.get_mut(&(content.digest, target.repository.clone())) else {
                continue;
            };
            if let Some(children) = optional.blobs.get(&content.digest) {
                // The error stays for an image that needs the blob.
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

    /// The children because of which `manifest` is there, where the image is complete without it.
    pub(super) fn needing(&self, manifest: &Digest) -> Option<&'a [Digest]> {
        self.optional.manifests.get(manifest).map(Vec::as_slice)
    }

    /// Whether nothing that is still on its way needs `manifest`.
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

    /// As a message names them.
    pub(super) fn names(&self) -> Vec<String> {
        self.children().map(|(digest, child, reason)| format!("{} {digest}: {reason}", child.name)).collect()
    }

    /// As the report has them.
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
