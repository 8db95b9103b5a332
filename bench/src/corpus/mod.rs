// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask corpus`: real images for tests and benchmarks, made of Debian and PyPI packages.
//!
//! The same package files give the same bytes.

mod image;
mod layer;
mod layout;
mod packages;
mod push;
mod recipe;
mod updates;
mod wheel;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use clap::Subcommand;
use serde_json::{Value, json};

use self::image::{CorpusEntry, Maker};
use self::layer::Built;
use self::layout::Layout;
use self::packages::Packages;
pub(crate) use self::push::push as push_to;
use self::recipe::{FULL, Recipe, SMALL};
use self::updates::{SMALL_UPDATES, UPDATES};
use xtask::cache::Cache;
use xtask::run::{Result, step};
use xtask::tools::{self, Need};

/// The file with the digests of the layers, and who compressed each.
const LAYERS: &str = "layers.json";

/// Arguments of `cargo xtask corpus`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Build the small variant: one image of each kind, about 20 MB, in seconds
    #[arg(long)]
    small: bool,
    /// Build images before and after updates instead: a patch day, a patch release, a rebuilt program, other times only
    #[arg(long)]
    updates: bool,
    /// Directory to write to [default: the cache]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Push every image with its tag into a registry
    Push {
        /// `HOST[:PORT][/PREFIX]`; without TLS when it is on this machine
        registry: String,
        /// Directory of the corpus [default: the full one in the cache]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Makes or pushes a corpus.
pub(crate) fn run(cache: &Cache, args: &Args) -> Result<()> {
    match &args.action {
        Some(Action::Push { registry, dir }) => {
            tools::install(cache, &[Need::Push])?;
            push::push(cache, registry, dir.as_deref().unwrap_or(&cache.corpus(false)))
        }
        None => {
            tools::install(cache, &[Need::Corpus])?;
            let (recipe, folder) = if args.updates {
                (updates(args.small), cache.corpus_of_updates(args.small))
            } else {
                (recipe(args.small), cache.corpus(args.small))
            };
            make(cache, recipe, args.out.as_deref().unwrap_or(&folder))
        }
    }
}

/// Makes a corpus in the cache unless it exists, and returns its folder.
pub(crate) fn in_cache(cache: &Cache, small: bool) -> Result<PathBuf> {
    let folder = cache.corpus(small);
    if !is_made(&folder) {
        make(cache, recipe(small), &folder)?;
    }
    Ok(folder)
}

/// The same for the images before and after updates.
pub(crate) fn updates_in_cache(cache: &Cache, small: bool) -> Result<PathBuf> {
    let folder = cache.corpus_of_updates(small);
    if !is_made(&folder) {
        make(cache, updates(small), &folder)?;
    }
    Ok(folder)
}

/// `corpus.json` is written last: a corpus whose creation was interrupted has none. An older one has no list of layers.
fn is_made(folder: &Path) -> bool {
    ["corpus.json", LAYERS].iter().all(|name| folder.join(name).exists())
}

const fn updates(small: bool) -> &'static Recipe {
    if small { &SMALL_UPDATES } else { &UPDATES }
}

const fn recipe(small: bool) -> &'static Recipe {
    if small { &SMALL } else { &FULL }
}

/// Who compressed each layer of a corpus, by digest.
pub(crate) fn writers(folder: &Path) -> Result<BTreeMap<String, String>> {
    Ok(serde_json::from_slice(&std::fs::read(folder.join(LAYERS))?)?)
}

fn make(cache: &Cache, recipe: &Recipe, folder: &Path) -> Result<()> {
    let packages = Packages::fetch(cache, recipe)?;
    let out = Layout::create(folder)?;
    let layers = step("compress layers", || build_layers(cache, &packages, &out, recipe))?;
    let built = layers.values().flatten();
    out.write(LAYERS, &built.map(|layer| (layer.digest.to_string(), json!(layer.writer.name()))).collect())?;
    let mut maker = Maker { out: &out, layers, listed: Vec::new() };
    recipe.images.iter().try_for_each(|image| maker.make(image))?;
    let listed = maker.listed;
    let entries: Vec<Value> = listed.iter().map(entry).collect();
    out.write("index.json", &json!({"schemaVersion": 2, "manifests": entries}))?;
    out.write("corpus.json", &listed.iter().map(line).collect())?;
    let (blobs, bytes) = out.totals()?;
    #[expect(clippy::cast_precision_loss, reason = "a number for people")]
    let megabytes = bytes as f64 / 1e6;
    println!("\n{} images, {blobs} blobs, {megabytes:.1} MB in {}", listed.len(), folder.display());
    Ok(())
}

/// As many at once as there are cores; the recipe lists the large ones first.
fn build_layers(
    cache: &Cache,
    packages: &Packages,
    out: &Layout,
    recipe: &Recipe,
) -> Result<BTreeMap<&'static str, Vec<Built>>> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || -> Result<()> {
        while let Some(layer) = recipe.layers.get(next.fetch_add(1, Ordering::Relaxed)) {
            let built = layer::build(cache, packages, out, layer)
                .map_err(|error| format!("layer {}: {error}", layer.id))?;
            done.lock().map_err(|_| "another layer failed")?.insert(layer.id, built);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
    })?;
    Ok(done.into_inner().map_err(|_| "a worker panicked")?)
}

fn entry(image: &CorpusEntry) -> Value {
    let mut entry = image.stored.json();
    if let Some(entry) = entry.as_object_mut() {
        let name = format!("{}:{}", image.name, image.tag);
        entry.insert("annotations".to_owned(), json!({"org.opencontainers.image.ref.name": name}));
    }
    entry
}

fn line(image: &CorpusEntry) -> Value {
    let mut line = image.stored.json();
    if let Some(line) = line.as_object_mut() {
        line.insert("name".to_owned(), json!(image.name));
        line.insert("tag".to_owned(), json!(image.tag));
        line.insert("note".to_owned(), json!(image.note));
    }
    line
}
