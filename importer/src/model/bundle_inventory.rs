// SPDX-License-Identifier: Apache-2.0
//! What the drop folder holds, as far as decisions need it: written by the intake, read by everybody else.

mod images;

use std::collections::BTreeMap;

use jiff::Timestamp;
use krs_core::bundle::StreamName;
use krs_core::crd::BundleReference;
use krs_core::oci::digest::Digest;
use krs_core::oci::platform::Platform;
use krs_core::oci::reference::{Reference, RepositoryName};
use krs_core::sync::rebuild::PatchListBlob;

use crate::model::marks::{Mark, MarkComparison, UsedDecisions};
use crate::model::readers::Readers;
use crate::model::state::{DecidedBy, ResolvedTag};
pub use images::StockImages;

/// The bundles of the drop folder at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BundleInventory {
    /// Whether the folder was read to its end at least once since the importer started.
    pub scanned: bool,
    /// Whether the site shares the images of bundles across namespaces, so that [`StockImage::readers`] does not count.
    pub shared: bool,
    /// Bundles whose signature, freshness and completeness were checked, the highest sequence of a stream first.
    pub bundles: Vec<StockBundle>,
    /// What keeps some of the folder from being read, for people.
    pub trouble: Option<String>,
    /// Files that look like bundles and are not accepted.
    pub refused: Vec<Refusal>,
}

/// A bundle that passed the checks that come before copying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockBundle {
    /// Name of the file without `.krs.tar`.
    pub name: String,
    /// Line of bundles that it belongs to.
    pub stream: StreamName,
    /// SHA-256 over what it decides.
    pub identity: Digest,
    /// What the mark of its stream says of it: whether it may decide.
    pub standing: MarkComparison,
    /// Its number in the stream.
    pub sequence: u64,
    /// Digest of its manifest, which names it.
    pub digest: Digest,
    /// When its content was decided.
    pub created_at: Timestamp,
    /// Whether the media are there, so that it can be copied from now.
    pub present: bool,
    /// Whether the policy lets copying begin: always, or after a full pass over the media (`intake.checkFirst`).
    pub ready: bool,
    /// What the bundle can provide.
    pub images: StockImages,
}

/// An image of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockImage {
    /// The reference of the sets, in normal form.
    pub reference: Reference,
    /// What it was resolved to.
    pub digest: Digest,
    /// Platforms that travel; empty: all.
    pub platforms: Vec<Platform>,
    /// Bytes of its content, referrers included.
    pub size: u64,
    /// Digests of its configs and layers, for finding repositories to link blobs from.
    pub contents: Vec<Digest>,
    /// Whether the bundle leaves layers of it to the site.
    pub partial: bool,
    /// Repositories in which the bundle expects these layers; the first few that hold all of them.
    pub expected_in: Vec<RepositoryName>,
    /// The blob that lists how its layers are made that travel as patches.
    pub patches: Option<PatchListBlob>,
    /// Which namespaces list it in the bundle.
    pub readers: Readers,
}

/// A file that is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Name of the file without `.krs.tar`.
    pub name: String,
    /// One word for machines, for example `UntrustedKey`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

impl StockImage {
    /// Whether it holds what `platforms` asks for (empty: all).
    pub fn covers(&self, platforms: &[Platform]) -> bool {
        let has =
            |requested: &Platform| self.platforms.iter().any(|own| own.canonical() == requested.canonical());
        self.platforms.is_empty() || (!platforms.is_empty() && platforms.iter().all(has))
    }
}

impl StockBundle {
    /// What the mark of its stream is raised to when its decisions are used.
    pub const fn mark(&self) -> Mark {
        Mark { sequence: self.sequence, identity: self.identity, created_at: self.created_at }
    }

    /// Whether it may decide what a tag stands for. One whose media are away does not: a person may have taken it out because
    /// it is bad, or removed the key that it was signed with, and its decision would raise the mark again. (T-251)
    pub fn can_decide(&self) -> bool {
        self.standing == MarkComparison::Current && self.ready && self.present
    }

    /// Orders bundles of all streams from the oldest to the newest.
    fn age(&self) -> (Timestamp, &StreamName, u64, &str) {
        (self.created_at, &self.stream, self.sequence, &self.name)
    }

    /// How a status names it.
    pub fn reference(&self) -> BundleReference {
        BundleReference {
            name: self.name.clone(),
            stream: self.stream.to_string(),
            sequence: i64::try_from(self.sequence).unwrap_or(i64::MAX),
            digest: self.digest.to_string(),
        }
    }
}

impl BundleInventory {
    /// The bundle to copy an image from: it holds this digest for these platforms. One that can be copied from now comes
    /// before one whose media are away or that is still being checked, one that holds all of it before one that leaves
    /// layers to the site, then one that is not superseded, then the newest counts. Sequences of different streams say
    /// nothing of each other. An image that a set names by digest may come from any bundle that lists it
    /// for the set's `namespace`.
    pub fn find(
        &self,
        namespace: &str,
        digest: &Digest,
        platforms: &[Platform],
    ) -> Option<(&StockBundle, &StockImage)> {
        let serves = |image: &&StockImage| image.covers(platforms) && self.serves(namespace, image);
        let held = self.bundles.iter().filter_map(|bundle| {
            let image = bundle.images.of_digest(digest).find(serves)?;
            Some((bundle, image))
        });
        held.max_by_key(|(bundle, image)| {
            let can_decide = bundle.standing == MarkComparison::Current;
            (bundle.present && bundle.ready, !image.partial, can_decide, bundle.age())
        })
    }

    /// Whether sets of `namespace` may copy the image.
    pub fn serves(&self, namespace: &str, image: &StockImage) -> bool {
        self.shared || image.readers.include(namespace)
    }

    /// An image of this digest for these platforms that a bundle holds, though not for `namespace`; what [`Self::find`]
    /// answers comes before it.
    pub fn withheld(
        &self,
        namespace: &str,
        digest: &Digest,
        platforms: &[Platform],
    ) -> Option<(&StockBundle, &StockImage)> {
        let withheld = |image: &&StockImage| image.covers(platforms) && !self.serves(namespace, image);
        self.newest(|bundle| bundle.images.of_digest(digest).find(withheld))
    }

    /// As [`Self::withheld`], of a tag; what [`Self::resolve`] answers comes before it.
    pub fn withheld_tag(
        &self,
        namespace: &str,
        reference: &Reference,
    ) -> Option<(&StockBundle, &StockImage)> {
        self.newest(|bundle| bundle.images.named(reference).find(|image| !self.serves(namespace, image)))
    }

    /// What `find` finds in the newest bundle in which it finds something.
    fn newest<'a>(
        &'a self,
        find: impl Fn(&'a StockBundle) -> Option<&'a StockImage>,
    ) -> Option<(&'a StockBundle, &'a StockImage)> {
        let found = self.bundles.iter().filter_map(|bundle| Some((bundle, find(bundle)?)));
        found.max_by_key(|(bundle, _)| bundle.age())
    }

    /// What the bundles say that a reference without a digest stands for in sets of `namespace`, where
    /// `held` is what it stands for so far.
    ///
    /// Only bundles at or above the mark of their stream answer, and within a stream the one with the highest sequence.
    /// Across streams the time counts at which the content was decided: another stream replaces `held` only with what was
    /// decided later, so that bundles of two streams that come and go never take a tag back.
    pub fn resolve(
        &self,
        namespace: &str,
        reference: &Reference,
        held: Option<&ResolvedTag>,
    ) -> TagResolution<'_> {
        self.resolve_decided(namespace, reference, held.and_then(ResolvedTag::decision))
    }

    /// As [`Self::resolve`], where `held` is what a bundle decided so far.
    pub(crate) fn resolve_decided(
        &self,
        namespace: &str,
        reference: &Reference,
        held: Option<(Digest, &DecidedBy)>,
    ) -> TagResolution<'_> {
        let mut newest = BTreeMap::<&StreamName, TagAnswer<'_>>::new();
        for bundle in self.bundles.iter().filter(|bundle| bundle.can_decide()) {
            let image = bundle.images.named(reference).find(|image| self.serves(namespace, image));
            let Some(digest) = image.map(|image| image.digest) else { continue };
            let answer = TagAnswer { digest, bundle };
            let best = newest.entry(&bundle.stream).or_insert(answer);
            if bundle.sequence > best.bundle.sequence {
                *best = answer;
            }
        }
        let may_replace = |answer: &TagAnswer<'_>| {
            held.is_none_or(|(_, by)| {
                by.stream == answer.bundle.stream || answer.bundle.created_at > by.created_at
            })
        };
        let answer = newest.into_values().filter(may_replace).max_by_key(|answer| answer.bundle.age());
        match (answer, held) {
            (None, _) => TagResolution::Unanswered,
            (Some(answer), Some((digest, by))) if answer.digest == digest && answer.decided_by() == *by => {
                TagResolution::Unchanged
            }
            (Some(answer), _) => TagResolution::New(answer),
        }
    }

    /// Bundles that answer what a reference without a digest stands for, and must not decide it any more.
    pub fn superseded(&self, reference: &Reference) -> impl Iterator<Item = &StockBundle> {
        let lists = |bundle: &&StockBundle| bundle.images.named(reference).next().is_some();
        let superseded = |bundle: &&StockBundle| matches!(bundle.standing, MarkComparison::Superseded { .. });
        self.bundles.iter().filter(superseded).filter(lists)
    }
}

/// What the bundles say about a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagResolution<'a> {
    /// No bundle that may decide says anything.
    Unanswered,
    /// It stands for what it stood for.
    Unchanged,
    /// It stands for something else, or another bundle decides it.
    New(TagAnswer<'a>),
}

/// What a bundle decides that a tag stands for. The answer can be kept only with a verification that the mark of the stream was
/// raised to the bundle, so that no decision is used before a rollback below it is ruled out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagAnswer<'a> {
    digest: Digest,
    bundle: &'a StockBundle,
}

impl TagAnswer<'_> {
    /// The bundle that decides it.
    pub const fn bundle(&self) -> &StockBundle {
        self.bundle
    }

    /// What the tag would stand for: for comparison with other sets, never for copying.
    pub const fn candidate(&self) -> Digest {
        self.digest
    }

    /// The answer to keep; `None` where `used` is about another bundle.
    pub fn resolved(&self, used: &UsedDecisions, at: Timestamp) -> Option<ResolvedTag> {
        used.covers(&self.bundle.stream, &self.bundle.mark()).then(|| ResolvedTag {
            digest: self.digest,
            at,
            decided_by: Some(self.decided_by()),
        })
    }

    fn decided_by(&self) -> DecidedBy {
        let StockBundle { stream, sequence, created_at, .. } = self.bundle;
        DecidedBy { stream: stream.clone(), sequence: *sequence, created_at: *created_at }
    }
}

#[cfg(test)]
mod tests;
