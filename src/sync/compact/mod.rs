// SPDX-License-Identifier: Apache-2.0
//! Puts patches in place of layers of a plan: fetches the layers and those that the sites have, finds how each is compressed, and
//! writes what differs. A layer for which that does not pay travels as it is.
//!
//! `outcome` ← `choose`, `error` ← `fetch`, `recipes` ← `layers` ← `group` ← this file.

mod choose;
mod error;
mod fetch;
mod group;
mod layers;
mod outcome;
mod recipes;

use std::collections::HashMap;
use std::io;
use std::num::NonZero;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
pub use krs_compact::diff::Mode;

use crate::bundle::Bundle;
use crate::local::LocalSource;
use crate::oci::digest::Digest;
use crate::progress::Progress;
use crate::registry::Client;
use crate::set::CheckedSet;
use crate::sync::plan::{Patches, Plan, PlanOptions};
use crate::sync::resolve::Resolved;

pub use error::CompactError;
pub use outcome::LayerOutcome;
pub use recipes::RecipeCache;

use choose::{Group, Layer};
use fetch::Fetcher;
use group::Maker;

/// How patches are made.
#[derive(Debug, Clone)]
pub struct CompactOptions {
    /// How much time it may take.
    pub mode: Mode,
    /// A folder for what is fetched and made. What an earlier run left there is used.
    pub folder: Utf8PathBuf,
    /// Recipes of earlier runs.
    pub recipes: Option<RecipeCache>,
    /// Layers that are fetched at once.
    pub jobs: usize,
    /// Bundles at hand, whose layers need not be fetched.
    pub bundles: Vec<Arc<Bundle>>,
}

/// A plan with patches.
#[derive(Debug, Clone)]
pub struct Compacted {
    /// The plan.
    pub plan: Plan,
    /// Each layer that might have travelled as a patch.
    pub layers: Vec<LayerOutcome>,
    /// What a person should know: layers of the sites that could not be fetched.
    pub remarks: Vec<String>,
}

/// Puts patches in place of layers of `plan`, whose images were `resolved` from `sets`.
///
/// # Expected flow
/// [`plan`](crate::sync::plan::plan), then this, then [`pull`](crate::sync::pull::pull), then the folder is removed.
///
/// # Guarantees
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
    progress: &Arc<dyn Progress>,
) -> Result<Compacted, CompactError> {
    let work_error = |source| CompactError::Work { folder: options.folder.clone(), source };
    if options.folder.symlink_metadata().is_ok_and(|found| !found.is_dir()) {
        return Err(work_error(io::ErrorKind::NotADirectory.into()));
    }
    std::fs::create_dir_all(&options.folder).map_err(work_error)?;
    let groups = choose::choose(&plan, resolved, sets, &plan_options.base);
    let fetcher =
        Fetcher { client, folder: &options.folder, bundles: &options.bundles, jobs: options.jobs, progress };
    let absent = fetcher.fetch(&with_sources(&groups, &plan)).await?.into_iter().collect::<HashMap<_, _>>();
    let mut compacted = Compacted { plan, layers: Vec::new(), remarks: remarks(&groups, &absent) };
    let (mut patches, mut files) = (Patches::default(), HashMap::new());
    for group in groups {
        let present = |layers: Vec<Layer>| {
            layers.into_iter().filter(|layer| !absent.contains_key(&layer.digest)).collect::<Vec<_>>()
        };
        let group = Group { targets: present(group.targets), bases: present(group.bases) };
        let fetched =
            group.targets.iter().map(|layer| (layer.digest, fetch::path(&options.folder, &layer.digest)));
        files.extend(fetched);
        let maker = Maker {
            folder: options.folder.clone(),
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
    patches.blobs.sort_by_key(|blob| blob.digest);
    patches.blobs.dedup_by_key(|blob| blob.digest);
    compacted.plan = compacted.plan.with_patches(plan_options, patches, &files)?;
    Ok(compacted)
}

/// Removes the work folder of a bundle that is complete, with what [`compact`] wrote there and nothing else.
///
/// # Errors
/// It cannot be removed.
pub fn remove_work(folder: &Utf8Path) -> io::Result<()> {
    let entries = match folder.read_dir_utf8() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let stem = name.strip_suffix(".part").unwrap_or(name);
        let is_digest = stem.len() == 64 && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
        // What somebody else put there stays, and the folder with it.
        if is_digest || ["patch.part", "recipe.part"].contains(&name) {
            std::fs::remove_file(entry.path())?;
        }
    }
    std::fs::remove_dir(folder)
}

/// Each layer once, with the local source that has it.
fn with_sources<'a>(groups: &'a [Group], plan: &Plan) -> Vec<(&'a Layer, Option<Arc<LocalSource>>)> {
    let sources = plan
        .fetches
        .iter()
        .filter_map(|fetch| Some((fetch.blob.digest, Arc::clone(&plan.sources.get(fetch.source?)?.source))));
    let sources = sources.collect::<HashMap<_, _>>();
    let targets = groups.iter().flat_map(|group| &group.targets);
    let targets = targets.map(|layer| (layer, sources.get(&layer.digest).cloned()));
    let bases = groups.iter().flat_map(|group| &group.bases).map(|layer| (layer, None));
    let mut unique = std::collections::HashSet::new();
    targets.chain(bases).filter(|(layer, _)| unique.insert(layer.digest)).collect()
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
