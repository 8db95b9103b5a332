// SPDX-License-Identifier: Apache-2.0
//! The patches of one group of layers. Blocking.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use camino::Utf8PathBuf;
use krs_compact::diff::{self, Mode, Options};
use krs_compact::patch::ReadAt;
use parking_lot::Mutex;

use super::choose::{Group, Layer};
use super::error::CompactError;
use super::layers::{self, Plain, Target};
use super::outcome::{self, LayerOutcome, PatchOutcome};
use super::recipes::RecipeCache;
use super::work::{self, PARTS};
use crate::bundle::{BundlePatch, PATCH_MEDIA_TYPE, PatchBase, PatchedLayer};
use crate::oci::digest::{Digest, HashWriter};
use crate::progress::{Activity, Progress};
use crate::sync::plan::PatchBlob;

/// About how many bytes without compression one patch makes: a site needs as much scratch space, and begins a patch again after a
/// crash.
const PATCH_SIZE: u64 = 1 << 30;
/// Layers whose recipes are found at once: each takes some 60 MiB of memory.
const LAYERS_AT_ONCE: usize = 4;
/// What a blob costs in an archive besides its content, in bytes.
const BLOB_COST: u64 = 1024;

pub(super) struct Maker {
    pub(super) folder: Utf8PathBuf,
    pub(super) recipes: Option<RecipeCache>,
    pub(super) mode: Mode,
    pub(super) threads: usize,
    pub(super) progress: Arc<dyn Progress>,
}

/// What was made of a group.
#[derive(Default)]
pub(super) struct Made {
    pub(super) patches: Vec<BundlePatch>,
    pub(super) blobs: Vec<PatchBlob>,
    pub(super) layers: Vec<LayerOutcome>,
    /// What a person should know.
    pub(super) remarks: Vec<String>,
}

impl Maker {
    pub(super) fn make(&self, group: &Group) -> Result<Made, CompactError> {
        let mut made = Made::default();
        let sizes = group.targets.iter().chain(&group.bases).map(|layer| layer.size);
        self.progress.begin(Activity::Compact, sizes.sum());
        let result = self.make_all(group, &mut made);
        self.progress.end(Activity::Compact);
        result.map(|()| made)
    }

    fn make_all(&self, group: &Group, made: &mut Made) -> Result<(), CompactError> {
        let mut sources = Vec::new();
        let expanded = self.each(&group.bases, |layer| layers::expand(&self.folder, layer))?;
        for (layer, plain) in group.bases.iter().zip(expanded) {
            match plain {
                Ok(plain) => sources.push(plain),
                Err(reason) => made.remarks.push(format!(
                    "layer {} of {} cannot be expanded, so nothing is made of it: {reason}",
                    layer.digest, layer.name
                )),
            }
        }
        let mut open = Vec::new();
        let mut open_bytes = 0;
        let targets = self.each(&group.targets, |layer| {
            let mut remarks = Vec::new();
            Ok((self.target(layer, &mut remarks)?, remarks))
        })?;
        for (layer, (target, remarks)) in group.targets.iter().zip(targets) {
            made.remarks.extend(remarks);
            match target {
                Ok(target) => {
                    open_bytes += target.plain.content.length();
                    open.push((layer, target));
                }
                Err(reason) => made.layers.push(outcome(layer, Err(reason))),
            }
            if open_bytes >= PATCH_SIZE {
                let targets = std::mem::take(&mut open);
                open_bytes = 0;
                self.patch(&sources, &targets, made)?;
                sources.extend(targets.into_iter().map(|(_, target)| target.plain));
            }
        }
        self.patch(&sources, &open, made)
    }

    /// Does something with each layer, with several at once, and returns the results in the order of the layers; or the first
    /// error, after which no other layer is begun.
    fn each<R: Send>(
        &self,
        layers: &[Layer],
        work: impl Fn(&Layer) -> Result<R, CompactError> + Sync,
    ) -> Result<Vec<R>, CompactError> {
        let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for _ in 0..self.threads.clamp(1, LAYERS_AT_ONCE).min(layers.len()) {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(layer) = layers.get(number) else { return };
                        let result = work(layer);
                        if result.is_err() {
                            next.store(layers.len(), Ordering::Relaxed);
                        }
                        self.progress.advance(Activity::Compact, layer.size);
                        results.lock().push((number, result));
                    }
                });
            }
        });
        let mut results = results.into_inner();
        results.sort_by_key(|(number, _)| *number);
        results.into_iter().map(|(_, result)| result).collect()
    }

    fn target(
        &self,
        layer: &Layer,
        remarks: &mut Vec<String>,
    ) -> Result<Result<Target, String>, CompactError> {
        let plain = match layers::expand(&self.folder, layer)? {
            Ok(plain) => plain,
            Err(reason) => return Ok(Err(reason)),
        };
        let recipe = layers::recipe(&self.folder, layer, &plain, self.recipes.as_ref(), remarks)?;
        Ok(recipe.map(|recipe| Target { plain, recipe }))
    }

    /// Makes one patch, and keeps it if it is smaller than its layers.
    fn patch(
        &self,
        sources: &[Plain],
        targets: &[(&Layer, Target)],
        made: &mut Made,
    ) -> Result<(), CompactError> {
        let work_error = |source| CompactError::Work { folder: self.folder.clone(), source };
        let Some((first, _)) = targets.first() else { return Ok(()) };
        let content = |plain: &Plain| Arc::clone(&plain.content);
        let bases = sources.iter().map(content).collect::<Vec<_>>();
        let layers = targets.iter().map(|(_, target)| content(&target.plain)).collect::<Vec<_>>();
        let bases = bases.iter().map(|bytes| &**bytes as &dyn ReadAt).collect::<Vec<_>>();
        let layers = layers.iter().map(|bytes| &**bytes as &dyn ReadAt).collect::<Vec<_>>();
        let part = self.folder.join(PARTS[0]);
        let file = File::create(&part).map_err(work_error)?;
        let mut out = HashWriter::new(BufWriter::with_capacity(1 << 20, file), u64::MAX);
        let options = Options { mode: self.mode, threads: self.threads, scratch: self.folder.clone().into() };
        let report = diff::make(&bases, &layers, &options, &mut out)
            .map_err(|source| CompactError::Diff { layers: targets.len(), first: first.digest, source })?;
        let (file, hasher) = out.into_parts();
        let file = file.into_inner().map_err(|e| work_error(e.into_error()))?;
        file.sync_all().map_err(work_error)?;
        let size = hasher.bytes();
        let recipes = targets.iter().map(|(_, target)| target.recipe.len() as u64 + BLOB_COST);
        let travels = size + BLOB_COST + recipes.sum::<u64>();
        let as_they_are = targets.iter().map(|(layer, _)| layer.size + BLOB_COST).sum::<u64>();
        if travels >= as_they_are {
            fs::remove_file(&part).map_err(work_error)?;
            let reason = "a patch would not be smaller".to_owned();
            made.layers.extend(targets.iter().map(|(layer, _)| outcome(layer, Err(reason.clone()))));
            return Ok(());
        }
        let digest = hasher.finish();
        let path = work::file(&self.folder, &digest);
        fs::rename(&part, &path).map_err(work_error)?;
        made.blobs.push(PatchBlob { digest, size, file: path });
        let mut layers = Vec::with_capacity(targets.len());
        for ((layer, target), report) in targets.iter().zip(&report.targets) {
            let recipe = self.store(&target.recipe).map_err(work_error)?;
            layers.push(PatchedLayer {
                digest: layer.digest,
                plain_size: target.plain.content.length(),
                recipe: recipe.digest,
                size: layer.size,
                sources: report.sources.clone(),
            });
            made.blobs.push(recipe);
            let (files, file_count) = outcome::files(&report.files);
            let bytes = report.travels + target.recipe.len() as u64;
            made.layers.push(outcome(layer, Ok(PatchOutcome { patch: digest, bytes, files, file_count })));
        }
        let bases = report.bases.iter().filter_map(|number| sources.get(*number));
        let bases = bases.map(|plain| PatchBase { digest: plain.digest, plain_size: plain.content.length() });
        made.patches.push(BundlePatch {
            bases: bases.collect(),
            digest,
            layers,
            media_type: PATCH_MEDIA_TYPE.to_owned(),
        });
        Ok(())
    }

    /// Writes a recipe into the work folder.
    fn store(&self, recipe: &[u8]) -> io::Result<PatchBlob> {
        let digest = Digest::of(recipe);
        let file = work::file(&self.folder, &digest);
        if !file.exists() {
            let part = self.folder.join(PARTS[1]);
            fs::write(&part, recipe)?;
            fs::rename(&part, &file)?;
        }
        Ok(PatchBlob { digest, size: recipe.len() as u64, file })
    }
}

fn outcome(layer: &Layer, travels: Result<PatchOutcome, String>) -> LayerOutcome {
    LayerOutcome { digest: layer.digest, size: layer.size, name: layer.name.clone(), travels }
}
