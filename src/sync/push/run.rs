// SPDX-License-Identifier: Apache-2.0
//! The state that all steps of one push share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use tokio::sync::Semaphore;

use super::referrers::ReferrerProblem;
use super::tags_before::{TagState, TagsBefore};
use super::target::{Delivery, Target};
use crate::bundle::{Bundle, BundleBlob, BundledImage, BundledImages};
use crate::oci::Descriptor;
use crate::oci::closure::{Closure, OptionalContent};
use crate::oci::digest::Digest;
use crate::oci::reference::{Destination, RepositoryName, Tag};
use crate::progress::Progress;
use crate::registry::{Client, RegistryError, Repository};
use crate::sync::rebuild::{RebuiltLayer, RebuiltLayers};

/// The result of a push.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushReport {
    /// Targets that are complete, tagged and read back.
    pub targets: Vec<Target>,
    /// What the tags of all targets named before the push.
    pub tags: Vec<TagState>,
    /// Blobs that were sent.
    pub blobs_sent: u64,
    /// Size of the blobs that were sent, in bytes.
    pub bytes_sent: u64,
    /// Blobs that the registry mounted from another of its repositories.
    pub blobs_mounted: u64,
    /// Blobs that were already present.
    pub blobs_present: u64,
    /// Indexes and manifests that were sent.
    pub manifests_sent: u64,
    /// Signatures, SBOMs and attestations that are not at the edge as they should be, and why.
    pub referrers: Vec<ReferrerProblem>,
}

/// The most queries and manifests in flight at once, if the client has as many connections. Over a slow link each of
/// them takes a round trip and only a few bytes.
pub(super) const MAX_QUERIES: usize = 64;

#[derive(Default)]
pub(super) struct Counts {
    pub(super) blobs_sent: AtomicU64,
    pub(super) bytes_sent: AtomicU64,
    pub(super) blobs_mounted: AtomicU64,
    pub(super) blobs_present: AtomicU64,
    pub(super) manifests_sent: AtomicU64,
}

impl Counts {
    pub(super) fn report(&self, targets: Vec<Target>) -> PushReport {
        PushReport {
            targets,
            blobs_sent: self.blobs_sent.load(Ordering::Relaxed),
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
            blobs_mounted: self.blobs_mounted.load(Ordering::Relaxed),
            blobs_present: self.blobs_present.load(Ordering::Relaxed),
            manifests_sent: self.manifests_sent.load(Ordering::Relaxed),
            referrers: Vec::new(),
            tags: Vec::new(),
        }
    }
}

/// A blob and the repositories that need it.
pub(super) struct Need {
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// Its entry in the archive; `None`: it is a layer of the base, which the site must have, or one that a patch makes.
    pub(super) blob: Option<BundleBlob>,
    /// The layer, if a patch made it.
    pub(super) rebuilt: Option<Arc<RebuiltLayer>>,
    pub(super) repositories: BTreeSet<RepositoryName>,
    /// Whether an image needs it, and not only a signature or the like.
    pub(super) required: bool,
    /// A repository that has it, besides those that need it.
    pub(super) elsewhere: Option<RepositoryName>,
}

/// The present blobs: repository and digest.
pub(super) type Present = BTreeSet<(RepositoryName, Digest)>;

/// Failures of blobs, by digest and repository. The first target that needs the blob takes the error.
pub(super) type Failures = parking_lot::Mutex<BTreeMap<(Digest, RepositoryName), Option<RegistryError>>>;

pub(super) struct Run<'a> {
    pub(super) client: &'a Client,
    pub(super) destination: &'a Destination,
    pub(super) bundle: &'a Arc<Bundle>,
    pub(super) images: &'a BundledImages,
    /// The layers that were made of patches.
    pub(super) rebuilt: &'a RebuiltLayers,
    /// One permit for each transfer that may be under way.
    pub(super) transfers: Arc<Semaphore>,
    pub(super) referrers: bool,
    /// For each image, the content that only optional children of its indexes need.
    pub(super) optional: Vec<OptionalContent>,
    /// The tags that the sets give.
    pub(super) claimed: BTreeSet<(RepositoryName, Tag)>,
    pub(super) progress: &'a Arc<dyn Progress>,
    pub(super) counts: Counts,
    pub(super) tags_before: TagsBefore,
}

impl Run<'_> {
    pub(super) fn repository(&self, name: &RepositoryName) -> Repository {
        self.client.repository(&self.destination.registry, name)
    }

    /// The repository for requests about a blob.
    pub(super) fn repository_for(&self, need: &Need, name: &RepositoryName) -> Repository {
        let repository = self.repository(name);
        if need.required { repository } else { repository.optional() }
    }

    /// Configs and layers by the repositories that need them, in the order of the archive.
    pub(super) fn needs(&self, targets: &[Target]) -> Vec<Need> {
        let mut needs = BTreeMap::<(u64, Digest), Need>::new();
        for target in targets {
            // The image is the first of its closures.
            for (content, required) in self
                .closures(target)
                .zip(std::iter::once(true).chain(std::iter::repeat(false)))
                .flat_map(|((_, closure), of_image)| closure.blobs.iter().map(move |c| (c, of_image)))
            {
                let Descriptor { digest, size, .. } = *content;
                let required = required && !self.optional(target.image).blobs.contains_key(&digest);
                let blob = self.bundle.blob(&digest).copied();
                let repositories = BTreeSet::new();
                let rebuilt = self.rebuilt.get(&digest);
                let need = || Need { digest, size, blob, rebuilt, repositories, required, elsewhere: None };
                let position = (blob.map_or(0, |blob| blob.offset), digest);
                let need = needs.entry(position).or_insert_with(need);
                need.required |= required;
                need.repositories.insert(target.repository.clone());
            }
        }
        needs.into_values().collect()
    }

    /// Records for each blob that an earlier delivery sent to the same registry which repository has it.
    pub(super) fn find_earlier(&self, needs: &mut [Need], earlier: &[Delivery]) {
        let earlier = earlier.iter().filter(|one| one.destination.registry == self.destination.registry);
        let brought = earlier.flat_map(|one| self.needs(&one.targets));
        let brought = brought.filter_map(|need| Some((need.digest, need.repositories.first()?.clone())));
        let brought = brought.collect::<BTreeMap<_, _>>();
        for need in needs.iter_mut().filter(|need| need.elsewhere.is_none()) {
            need.elsewhere = brought.get(&need.digest).cloned();
        }
    }

    pub(super) fn optional(&self, image: usize) -> &OptionalContent {
        static NOTHING: LazyLock<OptionalContent> = LazyLock::new(OptionalContent::default);
        self.optional.get(image).unwrap_or(&NOTHING)
    }

    /// The closure of a target's image, and those of its referrers if they are pushed.
    pub(super) fn closures(&self, target: &Target) -> impl Iterator<Item = (&Descriptor, &Closure)> {
        let (image, wanted) = (self.images.images.get(target.image).into_iter(), self.referrers);
        image.flat_map(move |BundledImage { root, closure, referrers, .. }| {
            let referrers = referrers.iter().filter(move |_| wanted);
            std::iter::once((root, closure)).chain(referrers.map(|(root, closure)| (root, closure)))
        })
    }
}
