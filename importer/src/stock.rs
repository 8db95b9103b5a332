// SPDX-License-Identifier: Apache-2.0
//! What the drop folder holds, as far as decisions need it: written by the intake, read by everybody else.

use jiff::Timestamp;
use krs_core::bundle::StreamName;
use krs_core::crd::BundleReference;
use krs_core::digest::Digest;
use krs_core::platform::Platform;
use krs_core::reference::{Reference, RepositoryName};

use crate::readers::Readers;

/// The bundles of the drop folder at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stock {
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
    /// Its number in the stream.
    pub sequence: u64,
    /// Digest of its manifest, which names it.
    pub digest: Digest,
    /// When its content was decided.
    pub created_at: Timestamp,
    /// Whether the medium is there, so that it can be copied from now.
    pub present: bool,
    /// Whether the policy lets copying begin: always, or after a full pass over the medium (`intake.checkFirst`).
    pub ready: bool,
    /// Its images.
    pub images: Vec<StockImage>,
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
        let has = |asked: &Platform| self.platforms.iter().any(|own| own.canonical() == asked.canonical());
        self.platforms.is_empty() || (!platforms.is_empty() && platforms.iter().all(has))
    }
}

impl StockBundle {
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

impl Stock {
    /// The bundle to copy an image from: it holds this digest for these platforms. One that can be copied from now comes
    /// before one whose medium is away or still being checked, one that holds all of it before one that leaves layers to the
    /// site, then the highest sequence counts. An image that a set names
    /// by digest may come from any bundle that lists it for the set's `namespace`.
    pub fn find(
        &self,
        namespace: &str,
        digest: &Digest,
        platforms: &[Platform],
    ) -> Option<(&StockBundle, &StockImage)> {
        let holds = |bundle: &'_ StockBundle| {
            bundle.images.iter().position(|image| {
                image.digest == *digest && image.covers(platforms) && self.serves(namespace, image)
            })
        };
        self.bundles
            .iter()
            .filter_map(|bundle| Some((bundle, &bundle.images[holds(bundle)?])))
            .max_by_key(|(bundle, image)| (bundle.present && bundle.ready, !image.partial, bundle.sequence))
    }

    /// Whether sets of `namespace` may copy the image.
    pub fn serves(&self, namespace: &str, image: &StockImage) -> bool {
        self.shared || image.readers.include(namespace)
    }

    /// An image that a bundle holds, though not for `namespace`; those that [`Self::find`] and [`Self::resolve`] answer come
    /// before it. `is_it` says which image is meant.
    pub fn withheld(
        &self,
        namespace: &str,
        is_it: impl Fn(&StockImage) -> bool,
    ) -> Option<(&StockBundle, &StockImage)> {
        let held = self.bundles.iter().filter_map(|bundle| {
            let image = bundle.images.iter().find(|i| is_it(i) && !self.serves(namespace, i))?;
            Some((bundle, image))
        });
        held.max_by_key(|(bundle, _)| bundle.sequence)
    }

    /// What a reference without a digest stands for: the answer of the bundle with the highest sequence that has one for
    /// sets of `namespace`.
    pub fn resolve(&self, namespace: &str, reference: &Reference) -> Option<Digest> {
        let answer = |bundle: &StockBundle| {
            let images = bundle.images.iter();
            let mut images = images.filter(|i| i.reference == *reference && self.serves(namespace, i));
            images.next().map(|image| image.digest)
        };
        let answers = self.bundles.iter().filter_map(|bundle| Some((bundle.sequence, answer(bundle)?)));
        answers.max_by_key(|(sequence, _)| *sequence).map(|(_, digest)| digest)
    }
}
