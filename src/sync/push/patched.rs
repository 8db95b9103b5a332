// SPDX-License-Identifier: Apache-2.0
//! Layers that travel as patches: those that the registry does not have are made of layers that it has.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};

use super::base;
use super::error::PushError;
use super::run::{MAX_QUERIES, Need, Present, Run};
use super::target::Target;
use crate::bundle::{Bundle, BundlePatch};
use crate::oci::digest::Digest;
use crate::oci::reference::RepositoryName;
use crate::registry::Repository;
use crate::sync::rebuild::{self, Bundles, RebuildError, RebuildSource, Scratch, StoredBlob, fetch};

impl Run<'_> {
    /// Makes the layers of patches that nothing at the destination has. Before anything is written, so that a base that is
    /// missing or damaged changes nothing.
    pub(super) async fn make_layers(
        &self,
        needs: &mut [Need],
        present: &Present,
        targets: &[Target],
    ) -> Result<(), PushError> {
        let (wanted, sources) = self.find_work(needs, present, targets).await?;
        let patches = &self.bundle.manifest().patches;
        self.rebuilt.make(patches, &wanted, &sources, self.progress).await?;
        for need in needs.iter_mut().filter(|need| wanted.contains(&need.digest)) {
            need.rebuilt = self.rebuilt.get(&need.digest);
        }
        Ok(())
    }

    /// What [`make_layers`](Self::make_layers) would do, after it found the bases and the scratch space.
    pub(super) async fn forecast(
        &self,
        needs: &[Need],
        present: &Present,
        targets: &[Target],
    ) -> Result<RebuildForecast, PushError> {
        let (wanted, sources) = self.find_work(needs, present, targets).await?;
        let patches = &self.bundle.manifest().patches;
        let (work, scratch_bytes) = self.rebuilt.work(patches, &wanted, &sources);
        if work.steps.is_empty() {
            return Ok(RebuildForecast::default());
        }
        self.rebuilt.scratch().check()?;
        self.rebuilt.scratch().check_space(scratch_bytes)?;
        let made = patches.iter().flat_map(|patch| &patch.layers);
        let made = made.filter(|layer| wanted.contains(&layer.digest));
        Ok(RebuildForecast {
            layers: wanted.len(),
            bytes: made.map(|layer| layer.size).sum(),
            plain_bytes: work.plain,
            base_layers: work.steps.iter().map(|step| step.read_first.len()).sum(),
            scratch_bytes,
        })
    }

    /// The layers that have to be made, and where what they are made of is.
    async fn find_work(
        &self,
        needs: &[Need],
        present: &Present,
        targets: &[Target],
    ) -> Result<(BTreeSet<Digest>, Sources<'_>), PushError> {
        let is_wanted = |need: &&Need| {
            let has = |name: &RepositoryName| present.contains(&(name.clone(), need.digest));
            need.elsewhere.is_none()
                && self.bundle.patched_layer(&need.digest).is_some()
                && !need.repositories.iter().any(has)
        };
        let wanted = needs.iter().filter(is_wanted);
        let (wanted, own): (BTreeSet<_>, Vec<_>) =
            wanted.map(|need| (need.digest, &need.repositories)).unzip();
        let own = own.into_iter().flatten().cloned().collect::<BTreeSet<_>>();
        let edge = self.find_bases(&wanted, &own, targets).await?;
        Ok((wanted, Sources { bundle: self.bundle, edge }))
    }

    /// Finds the repositories that have the layers from which the `wanted` ones are made.
    async fn find_bases(
        &self,
        wanted: &BTreeSet<Digest>,
        own: &BTreeSet<RepositoryName>,
        targets: &[Target],
    ) -> Result<BTreeMap<Digest, (u64, Repository)>, PushError> {
        let patches = &self.bundle.manifest().patches;
        let work = rebuild::work(patches, wanted);
        let read = work.steps.iter().flat_map(|step| &step.read_first);
        let searched = read.filter_map(|layer| self.bundle.base_layer(&layer.digest));
        let searches = searched.map(|layer| async move { (layer, self.find_layer(layer, own).await) });
        let results = stream::iter(searches).buffered(MAX_QUERIES).collect::<Vec<_>>().await;
        let (mut bases, mut missing, mut made_of) = (BTreeMap::new(), Vec::new(), None);
        for (layer, result) in results {
            if let Some(name) = result? {
                bases.insert(layer.digest, (layer.size, self.repository(&name)));
                continue;
            }
            let made_of_it = made_of.get_or_insert_with(|| made_of_each(patches, wanted)).get(&layer.digest);
            let needing = targets.iter().filter(|target| {
                let image = self.images.images.get(target.image);
                let blobs = image.into_iter().flat_map(|image| &image.closure.blobs);
                blobs.into_iter().any(|blob| made_of_it.is_some_and(|made| made.contains(&blob.digest)))
            });
            let images = needing.flat_map(|target| target.references.clone()).collect();
            let expected = base::expected(layer, self.destination);
            missing.push(base::missing(layer, images, &own.union(&expected).cloned().collect()));
        }
        if missing.is_empty() {
            return Ok(bases);
        }
        Err(PushError::Base { registry: self.destination.registry.clone(), missing })
    }
}

/// Which of the `wanted` layers are made of each layer that is read.
fn made_of_each(patches: &[BundlePatch], wanted: &BTreeSet<Digest>) -> HashMap<Digest, BTreeSet<Digest>> {
    let mut made_of = HashMap::<_, BTreeSet<_>>::new();
    for made in wanted {
        let alone = rebuild::work(patches, &BTreeSet::from([*made]));
        for read in alone.steps.iter().flat_map(|step| &step.read_first) {
            made_of.entry(read.digest).or_default().insert(*made);
        }
    }
    made_of
}

/// What making the layers of one delivery takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RebuildForecast {
    /// Layers that are made.
    pub layers: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that are expanded and made, without compression.
    pub plain_bytes: u64,
    /// Layers that are read first: from the registry, or the archive.
    pub base_layers: usize,
    /// Most bytes of scratch space at one time.
    pub scratch_bytes: u64,
}

/// What layers are made of: what the archive has, and layers at the destination, each with a repository that has it.
struct Sources<'a> {
    bundle: &'a Arc<Bundle>,
    edge: BTreeMap<Digest, (u64, Repository)>,
}

impl RebuildSource for Sources<'_> {
    async fn blob(&self, digest: &Digest, scratch: &Scratch) -> Result<StoredBlob, RebuildError> {
        if let Some((size, repository)) = self.edge.get(digest) {
            return fetch(repository, (digest, *size), scratch).await;
        }
        Bundles(vec![Arc::clone(self.bundle)]).blob(digest, scratch).await
    }

    fn scratch_size(&self, digest: &Digest) -> u64 {
        self.edge.get(digest).map_or(0, |(size, _)| *size)
    }
}
