// SPDX-License-Identifier: Apache-2.0
//! Applies one patch, and compresses the layers that it makes.

use std::collections::{BTreeSet, HashMap};
use std::io::BufWriter;
use std::num::NonZero;
use std::sync::{Arc, mpsc};
use std::thread;

use krs_compact::patch::{FileBytes, Limits, Patch, RangeReader, ReadAt};
use krs_compact::recipe::Recipe;
use parking_lot::Mutex;

use super::error::{RebuildError, RebuildProblem};
use super::layer::RebuiltLayer;
use super::scratch::Scratch;
use super::sources::StoredBlob;
use crate::bundle::{BundlePatch, PatchedLayer};
use crate::oci::digest::{self, Digest, HashWriter};
use crate::progress::{Activity, Progress};

/// Memory for windows and frames of a patch: those of `--compact=max` have 128 MiB of new content in reach.
const PATCH_MEMORY: u64 = 256 << 20;
/// Largest recipe, in bytes. It is held in memory.
const MAX_RECIPE: usize = 64 << 20;

/// A patch to be applied.
pub(super) struct Task {
    pub(super) content: StoredBlob,
    pub(super) patch: BundlePatch,
    /// Which of its layers are made, by number, ascending.
    pub(super) layers: Vec<usize>,
    pub(super) recipes: HashMap<Digest, StoredBlob>,
    /// The layers that were expanded or made, without compression.
    pub(super) plain: HashMap<Digest, Arc<FileBytes>>,
    /// The layers that are needed with their compression.
    pub(super) wanted: BTreeSet<Digest>,
    pub(super) scratch: Scratch,
    pub(super) progress: Arc<dyn Progress>,
}

/// What a patch made.
#[derive(Default)]
pub(super) struct Made {
    pub(super) plain: HashMap<Digest, Arc<FileBytes>>,
    pub(super) layers: HashMap<Digest, Arc<RebuiltLayer>>,
}

impl Task {
    /// Makes the layers one after the other; each is compressed on another thread meanwhile. Blocking.
    pub(super) fn run(&self) -> Result<Made, RebuildError> {
        let patch = &self.patch;
        let threads = thread::available_parallelism().map_or(1, NonZero::get).min(self.layers.len());
        // No more waits than is being worked on, so that a failure is seen soon.
        let (sender, receiver) = mpsc::sync_channel::<(&PatchedLayer, Arc<FileBytes>)>(threads);
        let (receiver, results) = (Mutex::new(receiver), Mutex::new(Ok(HashMap::new())));
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some((layer, plain)) = { receiver.lock().recv().ok() } {
                        let made = self.compress(patch, layer, &plain);
                        let mut results = results.lock();
                        match (results.as_mut(), made) {
                            (Ok(layers), Ok(made)) => drop(layers.insert(layer.digest, Arc::new(made))),
                            (Ok(_), Err(error)) => *results = Err(error),
                            (Err(_), _) => {}
                        }
                    }
                });
            }
            let plain = self.plain_layers(patch, |layer, plain| {
                if self.wanted.contains(&layer.digest) && results.lock().is_ok() {
                    // The receivers end only after the sender.
                    let _ = sender.send((layer, plain));
                }
            });
            drop(sender);
            plain
        })
        .and_then(|plain| Ok(Made { plain, layers: results.into_inner()? }))
    }

    /// Makes the layers without compression, and tells of each.
    fn plain_layers<'p>(
        &self,
        patch: &'p BundlePatch,
        mut on_layer: impl FnMut(&'p PatchedLayer, Arc<FileBytes>),
    ) -> Result<HashMap<Digest, Arc<FileBytes>>, RebuildError> {
        let first = patch.layers.first().map_or(patch.digest, |layer| layer.digest);
        let fail = |digest, source| RebuildError::Layer { digest, patch: patch.digest, source };
        let opened = Patch::open(&*self.content, Limits { memory: PATCH_MEMORY })
            .map_err(|e| fail(first, e.into()))?;
        check_directory(patch, &opened).map_err(|e| fail(first, RebuildProblem::Directory(e)))?;
        let mut made = HashMap::new();
        let bases = patch.bases.iter().map(|base| self.plain.get(&base.digest).cloned());
        let mut sources = bases.collect::<Vec<_>>();
        let mut rebuild = opened.rebuild();
        for (number, layer) in patch.layers.iter().enumerate() {
            if self.layers.binary_search(&number).is_err() {
                sources.push(None);
                continue;
            }
            let given = sources.iter().map(|source| source.as_deref().map(|bytes| bytes as &dyn ReadAt));
            let given = given.collect::<Vec<_>>();
            let mut out = BufWriter::with_capacity(1 << 20, self.scratch.file()?);
            rebuild.target(number, &given, &mut out).map_err(|e| fail(layer.digest, e.into()))?;
            let file = out.into_inner().map_err(|e| self.scratch.error(e.into_error()))?;
            let file = Arc::new(FileBytes::new(file).map_err(|source| self.scratch.error(source))?);
            self.progress.advance(Activity::Rebuild, layer.plain_size);
            on_layer(layer, Arc::clone(&file));
            sources.push(Some(Arc::clone(&file)));
            made.insert(layer.digest, file);
        }
        Ok(made)
    }

    fn recipe(&self, digest: &Digest) -> Result<Recipe, RebuildProblem> {
        let absent = || RebuildProblem::Directory("there is no recipe".to_owned());
        let blob = self.recipes.get(digest).ok_or_else(absent)?;
        let length = usize::try_from(blob.length()).ok().filter(|length| *length <= MAX_RECIPE);
        let mut bytes = vec![0; length.ok_or(RebuildProblem::RecipeSize(blob.length()))?];
        blob.read_exact_at(&mut bytes, 0).map_err(RebuildProblem::Compressed)?;
        Ok(Recipe::decode(&bytes)?)
    }

    /// Compresses a layer as its recipe says, and compares the result.
    fn compress(
        &self,
        patch: &BundlePatch,
        layer: &PatchedLayer,
        plain: &FileBytes,
    ) -> Result<RebuiltLayer, RebuildError> {
        let fail = |source| RebuildError::Layer { digest: layer.digest, patch: patch.digest, source };
        let recipe = self.recipe(&layer.recipe).map_err(fail)?;
        let file = BufWriter::with_capacity(1 << 20, self.scratch.file()?);
        let mut out = HashWriter::new(file, layer.size);
        let content = RangeReader::new(plain, 0, plain.length());
        krs_compact::recipe::recompress(&recipe, content, &mut out).map_err(|e| fail(e.into()))?;
        let (file, hasher) = out.into_parts();
        digest::check(hasher, layer.digest, layer.size).map_err(|e| fail(RebuildProblem::Content(e)))?;
        let file = file.into_inner().map_err(|e| self.scratch.error(e.into_error()))?;
        let file = FileBytes::new(file).map_err(|source| self.scratch.error(source))?;
        Ok(RebuiltLayer { file, size: layer.size })
    }
}

/// Whether a patch makes the layers that the signed manifest lists, from those that it lists.
fn check_directory<R: ReadAt>(patch: &BundlePatch, opened: &Patch<R>) -> Result<(), String> {
    let directory = opened.directory();
    let bases = patch.bases.iter().map(|base| base.plain_size);
    if !bases.eq(directory.bases.iter().copied()) {
        return Err("it reads layers of other sizes".to_owned());
    }
    let layers = patch.layers.iter().map(|layer| layer.plain_size);
    if !layers.eq(directory.targets.iter().map(|target| target.length)) {
        return Err("it makes layers of other sizes".to_owned());
    }
    let sources = patch.layers.iter().map(|layer| &layer.sources);
    if !sources.eq(directory.targets.iter().map(|target| &target.sources)) {
        return Err("it makes layers of other layers".to_owned());
    }
    Ok(())
}
