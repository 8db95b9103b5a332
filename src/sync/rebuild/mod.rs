// SPDX-License-Identifier: Apache-2.0
//! Makes the layers of a bundle that travel as patches: reads the layers that a patch reads back from where they are, makes the
//! new ones in scratch space, and verifies size and digest of each before anything else sees it.
//!
//! `order` ← `chain`, `list`, `error` ← `scratch` ← `layer`, `sources` ← `describe`, `expand`, `make` ← this file.

mod chain;
mod describe;
mod error;
mod expand;
mod layer;
mod list;
mod make;
mod order;
mod scratch;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;

use crate::bundle::BundlePatch;
use crate::oci::digest::Digest;
use crate::progress::{Activity, Progress};

pub use chain::Chain;
pub use describe::{DescribedLayer, DescribedSource, Description, describe};
pub use error::{RebuildError, RebuildProblem};
pub use layer::RebuiltLayer;
pub use list::{MAX_PATCH_LIST, PatchList, PatchListBlob};
pub use order::{Step, Work, work};
pub use scratch::Scratch;
pub use sources::{Bundles, RebuildSource, StoredBlob, fetch};

/// The layers of one bundle that were made, as long as something needs them.
#[derive(Debug)]
pub struct RebuiltLayers {
    scratch: Scratch,
    layers: Mutex<HashMap<Digest, Arc<RebuiltLayer>>>,
}

impl RebuiltLayers {
    /// None yet. Files are made in `scratch`.
    pub fn new(scratch: Scratch) -> Self {
        Self { scratch, layers: Mutex::default() }
    }

    /// A layer that was made.
    pub fn get(&self, digest: &Digest) -> Option<Arc<RebuiltLayer>> {
        self.layers.lock().get(digest).cloned()
    }

    /// The work to make those of the `wanted` layers that were not made before, and the scratch space that it takes.
    pub fn work(
        &self,
        patches: &[BundlePatch],
        wanted: &BTreeSet<Digest>,
        source: &impl RebuildSource,
    ) -> (Work, u64) {
        let wanted = self.not_made(wanted);
        let work = work(patches, &wanted);
        let scratch = scratch_bytes(patches, (&wanted, &work), source);
        (work, scratch)
    }

    /// The folder in which layers are made.
    pub const fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Frees the space of a layer once nothing reads it any more.
    pub fn remove(&self, digest: &Digest) {
        self.layers.lock().remove(digest);
    }

    /// Makes those of the `wanted` layers that were not made before, of the patches of a bundle.
    ///
    /// # Expected flow
    /// Only layers that nothing has at the destination, after the base of the bundle was found there.
    ///
    /// # Guarantees
    /// - The free space is compared with what is needed before anything is read.
    /// - Each base layer is verified by its size without compression, and each layer that is made by size and digest. A layer that
    ///   is wrong is not returned.
    /// - No file is left behind, however the process ends.
    ///
    /// # Errors
    /// [`RebuildError`] names the layer.
    ///
    /// # Cancellation
    /// The future may be dropped at any time. The patch that is being applied is then finished in the background, and what it
    /// made is freed.
    pub async fn make(
        &self,
        patches: &[BundlePatch],
        wanted: &BTreeSet<Digest>,
        source: &impl RebuildSource,
        progress: &Arc<dyn Progress>,
    ) -> Result<(), RebuildError> {
        let wanted = self.not_made(wanted);
        let work = work(patches, &wanted);
        self.make_work(patches, (&wanted, &work), source, progress).await
    }

    /// Makes the layers of a chain, in the same way.
    ///
    /// # Errors
    /// [`RebuildError`] names the layer.
    pub async fn make_chain(
        &self,
        chain: &Chain,
        source: &impl RebuildSource,
        progress: &Arc<dyn Progress>,
    ) -> Result<(), RebuildError> {
        let wanted = self.not_made(&chain.layers);
        let work = order::work_with(&chain.patches, &wanted, Some(&chain.makers));
        self.make_work(&chain.patches, (&wanted, &work), source, progress).await
    }

    fn not_made(&self, wanted: &BTreeSet<Digest>) -> BTreeSet<Digest> {
        wanted.iter().filter(|digest| self.get(digest).is_none()).copied().collect()
    }

    async fn make_work(
        &self,
        patches: &[BundlePatch],
        (wanted, work): (&BTreeSet<Digest>, &Work),
        source: &impl RebuildSource,
        progress: &Arc<dyn Progress>,
    ) -> Result<(), RebuildError> {
        if work.steps.is_empty() {
            return Ok(());
        }
        self.scratch.check_space(scratch_bytes(patches, (wanted, work), source))?;
        progress.begin(Activity::Rebuild, work.plain);
        let made = self.make_all(patches, wanted, work, source, progress).await;
        progress.end(Activity::Rebuild);
        made
    }

    async fn make_all(
        &self,
        patches: &[BundlePatch],
        wanted: &BTreeSet<Digest>,
        work: &Work,
        source: &impl RebuildSource,
        progress: &Arc<dyn Progress>,
    ) -> Result<(), RebuildError> {
        let mut plain = HashMap::new();
        for (number, step) in work.steps.iter().enumerate() {
            let Some(patch) = patches.get(step.patch) else { continue };
            let reads = step.read_first.iter().map(|base| async move {
                let layer = source.blob(&base.digest, &self.scratch).await?;
                let file = expand::expand(layer, *base, self.scratch.clone()).await?;
                progress.advance(Activity::Rebuild, base.plain_size);
                Ok::<_, RebuildError>((base.digest, Arc::new(file)))
            });
            let read = stream::iter(reads).buffer_unordered(order::READ_AT_ONCE);
            plain.extend(read.try_collect::<Vec<_>>().await?);
            let mut recipes = HashMap::new();
            for layer in patch.layers.iter().filter(|layer| wanted.contains(&layer.digest)) {
                if let Entry::Vacant(entry) = recipes.entry(layer.recipe) {
                    entry.insert(source.blob(&layer.recipe, &self.scratch).await?);
                }
            }
            let task = make::Task {
                content: source.blob(&patch.digest, &self.scratch).await?,
                patch: patch.clone(),
                layers: step.layers.clone(),
                plain: plain.clone(),
                recipes,
                wanted: wanted.clone(),
                scratch: self.scratch.clone(),
                progress: Arc::clone(progress),
            };
            let made = tokio::task::spawn_blocking(move || task.run()).await;
            let made = made.map_err(|e| self.scratch.error(io::Error::other(e)))??;
            self.layers.lock().extend(made.layers);
            plain.extend(made.plain);
            plain.retain(|digest, _| work.last_use.get(digest).is_some_and(|last| *last > number));
        }
        Ok(())
    }
}

/// Most bytes of scratch space at one time.
fn scratch_bytes(
    patches: &[BundlePatch],
    (wanted, work): (&BTreeSet<Digest>, &Work),
    source: &impl RebuildSource,
) -> u64 {
    let of_steps = work.steps.iter().filter_map(|step| {
        let patch = patches.get(step.patch)?;
        let layers = patch.layers.iter().filter(|layer| wanted.contains(&layer.digest));
        let recipes = layers.map(|layer| layer.recipe).collect::<BTreeSet<_>>();
        let blobs = recipes.iter().chain([&patch.digest]).map(|digest| source.scratch_size(digest));
        Some(blobs.fold(0, u64::saturating_add))
    });
    work.peak.saturating_add(of_steps.max().unwrap_or_default())
}
