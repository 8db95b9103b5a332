// SPDX-License-Identifier: Apache-2.0
//! Puts patches in place of layers of a plan: fetches the layers and those that the sites have, finds how each is compressed, and
//! writes what differs. A layer for which that does not pay travels as it is.
//!
//! `outcome` ← `choose`, `error` ← `work` ← `fetch`, `recipes` ← `restore`, `layers` ← `group` ← this file.

mod choose;
mod error;
mod fetch;
mod group;
mod layers;
mod outcome;
mod recipes;
mod restore;
mod work;

use std::collections::{HashMap, HashSet};
use std::num::NonZero;
use std::sync::Arc;

pub use krs_compact::diff::Mode;

use crate::bundle::{ArchiveLock, Bundle};
use crate::local::LocalSource;
use crate::oci::digest::Digest;
use crate::progress::Progress;
use crate::registry::Client;
use crate::set::CheckedSet;
use crate::sync::plan::{Base, Patches, Plan, PlanOptions};
use crate::sync::resolve::Resolved;

pub use error::CompactError;
pub use outcome::{FileOutcome, LayerOutcome, PatchOutcome};
pub use recipes::RecipeCache;
pub use work::WorkFolder;

use choose::{EdgeNames, Group, Layer};
use fetch::Fetcher;
use group::Maker;

/// How patches are made.
#[derive(Debug, Clone)]
pub struct CompactOptions {
    /// How much time it may take.
    pub mode: Mode,
    /// Recipes of earlier runs.
    pub recipes: Option<RecipeCache>,
    /// Layers that are fetched at once.
    pub jobs: usize,
    /// Bundles at hand, whose layers need not be fetched.
    pub bundles: Vec<Arc<Bundle>>,
    /// Local sources, whose layers need not be fetched either.
    pub sources: Vec<Arc<LocalSource>>,
}

/// A plan with patches.
#[derive(Debug)]
pub struct Compacted {
    /// The plan.
    pub plan: Plan,
    /// Each layer that might have travelled as a patch.
    pub layers: Vec<LayerOutcome>,
    /// What a person should know: layers of the sites that could not be fetched.
    pub remarks: Vec<String>,
    /// The files of the patches: to be removed when the archive is complete.
    pub work: WorkFolder,
}

/// Puts patches in place of layers of `plan`, whose images were `resolved` from `sets`.
///
/// # Expected flow
/// [`plan`](crate::sync::plan::plan), then this, then [`pull`](crate::sync::pull::pull) with the same lock, then the work folder is
/// removed. It is beside the archive of the `lock`, and what an earlier run left there is used.
///
/// # Guarantees
/// - Layers that only the patches of [`CompactOptions::bundles`] have are made of these, and compared with their digests.
/// - Every layer that is fetched is compared with its digest. The recipe of a layer restores it bit for bit: that was tried.
/// - A layer travels as a patch only if that makes the bundle smaller. A base layer that nothing has costs its use, not the bundle.
/// - Layers share a patch only if the same sets list them, and are made only of layers of repositories of these sets.
///
/// # Errors
/// [`CompactError`]; a layer of the plan that cannot be fetched is no error here, [`pull`](crate::sync::pull::pull) names it.
///
/// # Cancellation
/// The future may be dropped, and the process may end, at any time. What was fetched stays in the folder for the next run.
pub async fn compact(
    client: &Client,
    plan: Plan,
    (resolved, sets): (&Resolved, &[&CheckedSet]),
    plan_options: &PlanOptions,
    options: &CompactOptions,
    lock: &Arc<ArchiveLock>,
    progress: &Arc<dyn Progress>,
) -> Result<Compacted, CompactError> {
    let work = WorkFolder::open(lock)?;
    let edge = EdgeNames::new(resolved, sets);
    let groups = choose::choose(&plan, resolved, &edge, &plan_options.base);
    let folder = work.path().to_owned();
    let CompactOptions { bundles, sources, jobs, .. } = options;
    let fetcher = Fetcher { client, folder: &folder, bundles, sources, jobs: *jobs, progress };
    let wanted = unique(&groups);
    let absent = fetcher.fetch(&wanted).await?.into_iter().collect::<HashMap<_, _>>();
    let present = wanted.iter().map(|layer| layer.digest).filter(|digest| !absent.contains_key(digest));
    let absent = restore::restore(&fetcher, &edge, present.collect(), absent).await?;
    let mut compacted = Compacted { plan, layers: Vec::new(), remarks: remarks(&groups, &absent), work };
    let (mut patches, mut files) = (Patches::default(), HashMap::new());
    for mut group in groups {
        if group.left_out > 0 {
            let (read, left_out) = (group.bases.len(), group.left_out);
            let remark = format!(
                "of the layers of the sites, patches read {read} at most; {left_out} more are not used"
            );
            compacted.remarks.push(remark);
        }
        group.retain(|digest| !absent.contains_key(digest));
        files.extend(group.targets.iter().map(|layer| (layer.digest, work::file(&folder, &layer.digest))));
        let maker = Maker {
            folder: folder.clone(),
            recipes: options.recipes.clone(),
            mode: options.mode,
            threads: std::thread::available_parallelism().map_or(1, NonZero::get),
            progress: Arc::clone(progress),
        };
        let made = tokio::task::spawn_blocking(move || maker.make(&group)).await??;
        patches.patches.extend(made.patches);
        patches.blobs.extend(made.blobs);
        compacted.layers.extend(made.layers);
        compacted.remarks.extend(made.remarks);
    }
    // What is wrong with a folder is said by each layer.
    let mut unique = HashSet::new();
    compacted.remarks.retain(|remark| unique.insert(remark.clone()));
    patches.blobs.sort_by_key(|blob| blob.digest);
    patches.blobs.dedup_by_key(|blob| blob.digest);
    compacted.plan = compacted.plan.with_patches(plan_options, patches, &files)?;
    Ok(compacted)
}

/// A layer that may travel as a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The layer.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// What it belongs to.
    pub name: String,
    /// Whether the sites have layers of which it may be made. Otherwise only what it shares with other layers of the bundle is saved.
    pub has_base: bool,
}

/// What [`compact`] would try.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidates {
    /// The layers, in the order of the archive.
    pub layers: Vec<Candidate>,
    /// Layers of the sites that would be read.
    pub base_layers: usize,
    /// Their bytes.
    pub base_bytes: u64,
}

/// Finds what [`compact`] would try, from the plan alone: how small patches are is known only after they are made.
pub fn candidates(plan: &Plan, (resolved, sets): (&Resolved, &[&CheckedSet]), base: &Base) -> Candidates {
    let groups = choose::choose(plan, resolved, &EdgeNames::new(resolved, sets), base);
    let bases = groups.iter().flat_map(|group| &group.bases).map(|layer| (layer.digest, layer.size));
    let bases = bases.collect::<HashMap<_, _>>();
    let layers = groups.iter().flat_map(|group| {
        group.targets.iter().map(|layer| Candidate {
            digest: layer.digest,
            size: layer.size,
            name: layer.name.clone(),
            has_base: !group.bases.is_empty(),
        })
    });
    Candidates { layers: layers.collect(), base_layers: bases.len(), base_bytes: bases.values().sum() }
}

/// Each layer once.
fn unique(groups: &[Group]) -> Vec<&Layer> {
    let layers = groups.iter().flat_map(|group| group.targets.iter().chain(&group.bases));
    let mut unique = HashSet::new();
    layers.filter(|layer| unique.insert(layer.digest)).collect()
}

fn remarks(groups: &[Group], absent: &HashMap<Digest, String>) -> Vec<String> {
    let bases = groups.iter().flat_map(|group| &group.bases);
    let mut missing = bases.filter_map(|layer| Some((layer, absent.get(&layer.digest)?))).collect::<Vec<_>>();
    missing.sort_by_key(|(layer, _)| layer.digest);
    missing.dedup_by_key(|(layer, _)| layer.digest);
    let Some((first, reason)) = missing.first() else { return Vec::new() };
    vec![format!(
        "{} of the sites could not be fetched here, so nothing is made of them; the first is {} of {}: {reason}",
        if missing.len() == 1 { "1 layer".to_owned() } else { format!("{} layers", missing.len()) },
        first.digest,
        first.name,
    )]
}
