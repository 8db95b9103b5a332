// SPDX-License-Identifier: Apache-2.0
//! Layers that are made, and hostile bases, patches and recipes.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Arc;

use camino::Utf8PathBuf;
use flate2::Compression;
use flate2::write::GzEncoder;
use krs_compact::diff::{Mode, Options, make};
use krs_compact::recipe::{self, Found, Recipe};
use krs_testing::image::gzip_of_buildkit as gzip;
use parking_lot::Mutex;

use super::{RebuildError, RebuildProblem, RebuildSource, RebuiltLayers, Scratch, StoredBlob};
use crate::bundle::{BundlePatch, PATCH_MEDIA_TYPE, PatchBase, PatchedLayer};
use crate::error::{Classify as _, ErrorKind};
use crate::oci::digest::Digest;
use crate::progress::{NoProgress, Progress};

/// Blobs by digest, and those that were asked for.
#[derive(Default)]
struct Blobs {
    content: BTreeMap<Digest, Vec<u8>>,
    asked: Mutex<Vec<Digest>>,
}

impl Blobs {
    fn add(&mut self, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        self.content.insert(digest, content.to_vec());
        digest
    }
}

impl RebuildSource for Blobs {
    async fn blob(&self, digest: &Digest, _: &Scratch) -> Result<StoredBlob, RebuildError> {
        self.asked.lock().push(*digest);
        let content = self.content.get(digest).ok_or(RebuildError::Missing { digest: *digest })?;
        Ok(Arc::new(content.clone()))
    }

    fn scratch_size(&self, digest: &Digest) -> u64 {
        self.content.get(digest).map_or(0, |content| content.len() as u64)
    }
}

fn plain(number: u8) -> Vec<u8> {
    let mut plain = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>();
    plain[5000] = number;
    plain
}

struct World {
    blobs: Blobs,
    patches: Vec<BundlePatch>,
    folder: tempfile::TempDir,
}

impl World {
    /// A base layer at the site, and one that is made of it.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (plain(1), plain(2));
        let (old_layer, new_layer) = (gzip(&old), gzip(&new));
        let options = Options { mode: Mode::Fast, threads: 1, scratch: folder.path().to_owned() };
        let mut patch = Vec::new();
        make(&[&old], &[&new], &options, &mut patch).unwrap();
        let Found::Recipe(recipe) = recipe::find(std::io::Cursor::new(&new_layer)).unwrap() else { panic!() };
        let mut blobs = Blobs::default();
        let layer = PatchedLayer {
            digest: Digest::of(&new_layer),
            plain_size: new.len() as u64,
            recipe: blobs.add(&recipe.encode()),
            size: new_layer.len() as u64,
            sources: vec![0],
        };
        let patches = vec![BundlePatch {
            bases: vec![PatchBase { digest: blobs.add(&old_layer), plain_size: old.len() as u64 }],
            digest: blobs.add(&patch),
            layers: vec![layer],
            media_type: PATCH_MEDIA_TYPE.to_owned(),
        }];
        Self { blobs, patches, folder }
    }

    fn wanted(&self) -> Digest {
        self.patches[0].layers[0].digest
    }

    async fn make(&self, limit: Option<u64>) -> Result<RebuiltLayers, RebuildError> {
        let folder = Utf8PathBuf::from_path_buf(self.folder.path().to_owned()).unwrap();
        let rebuilt = RebuiltLayers::new(Scratch::new(folder, limit));
        let progress: Arc<dyn Progress> = Arc::new(NoProgress);
        rebuilt.make(&self.patches, &BTreeSet::from([self.wanted()]), &self.blobs, &progress).await?;
        Ok(rebuilt)
    }

    async fn problem(&self) -> RebuildProblem {
        match self.make(None).await {
            Err(RebuildError::Layer { source, .. } | RebuildError::Expanded { source, .. }) => source,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_layer_is_made_and_leaves_no_file() {
    let world = World::new();
    let rebuilt = world.make(None).await.unwrap();
    let layer = rebuilt.get(&world.wanted()).unwrap();
    let mut made = vec![0; usize::try_from(layer.size()).unwrap()];
    assert_eq!(layer.read_at(0, &mut made).unwrap(), made.len());
    assert!(made == gzip(&plain(2)));
    assert_eq!(layer.read_at(layer.size(), &mut [0; 4]).unwrap(), 0);
    assert_eq!(world.folder.path().read_dir().unwrap().count(), 0);
    rebuilt.remove(&world.wanted());
    assert!(rebuilt.get(&world.wanted()).is_none());
}

/// One patch makes the layers of all images of a set, and each image is copied alone.
#[tokio::test]
async fn of_a_patch_for_several_images_one_is_made_where_the_layers_of_the_others_are_missing() {
    let folder = tempfile::tempdir().unwrap();
    let files = |name: &str, number| krs_testing::image::archive_of(&[(name.to_owned(), plain(number))]);
    let (olds, news) = ([files("a", 1), files("b", 2)], [files("a", 3), files("b", 4)]);
    let options = Options { mode: Mode::Fast, threads: 1, scratch: folder.path().to_owned() };
    let mut patch = Vec::new();
    let [first, second] = &olds;
    make(&[first, second], &[&news[0], &news[1]], &options, &mut patch).unwrap();
    let mut blobs = Blobs::default();
    let recipe = blobs.add(&Recipe::Plain.encode());
    let layer = |(number, new): (usize, &Vec<u8>)| PatchedLayer {
        digest: Digest::of(new),
        plain_size: new.len() as u64,
        recipe,
        size: new.len() as u64,
        sources: vec![number],
    };
    let layers = news.iter().enumerate().map(layer).collect::<Vec<_>>();
    let base = |old: &Vec<u8>| PatchBase { digest: Digest::of(old), plain_size: old.len() as u64 };
    let patches = [BundlePatch {
        bases: olds.iter().map(base).collect(),
        digest: blobs.add(&patch),
        layers: layers.clone(),
        media_type: PATCH_MEDIA_TYPE.to_owned(),
    }];
    blobs.add(second);
    let rebuilt =
        RebuiltLayers::new(Scratch::new(Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap(), None));
    let progress: Arc<dyn Progress> = Arc::new(NoProgress);
    rebuilt.make(&patches, &BTreeSet::from([layers[1].digest]), &blobs, &progress).await.unwrap();
    assert_eq!(rebuilt.get(&layers[1].digest).unwrap().size(), layers[1].size);
    assert!(rebuilt.get(&layers[0].digest).is_none());
    let refused = rebuilt.make(&patches, &BTreeSet::from([layers[0].digest]), &blobs, &progress).await;
    assert!(matches!(refused, Err(RebuildError::Missing { digest }) if digest == Digest::of(first)));
}

#[tokio::test]
async fn t312_the_space_is_compared_before_anything_is_read() {
    let world = World::new();
    let error = world.make(Some(100_000)).await.unwrap_err();
    assert!(matches!(error, RebuildError::Space { available: 100_000, .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(world.blobs.asked.lock().is_empty());
    world.make(Some(10_000_000)).await.unwrap();
}

#[tokio::test]
async fn t313_a_base_that_expands_to_something_else_is_refused() {
    for bytes in [99_999_usize, 100_001, 50_000_000] {
        let mut world = World::new();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&vec![0; bytes]).unwrap();
        world.patches[0].bases[0].digest = world.blobs.add(&encoder.finish().unwrap());
        let problem = world.problem().await;
        assert!(matches!(problem, RebuildProblem::PlainSize { expected: 100_000, .. }), "{problem}");
    }
    let mut world = World::new();
    world.patches[0].bases[0].digest = world.blobs.add(&gzip(&plain(1))[..3000]);
    assert!(matches!(world.problem().await, RebuildProblem::Compressed(_)));
}

#[tokio::test]
async fn t314_a_patch_or_a_recipe_that_makes_another_layer_is_refused() {
    // Of the right size without compression.
    let mut world = World::new();
    world.patches[0].bases[0].digest =
        world.blobs.add(&gzip(&plain(9)[..].iter().rev().copied().collect::<Vec<_>>()));
    assert!(matches!(world.problem().await, RebuildProblem::Content(_) | RebuildProblem::Recompress(_)));

    // A recipe that makes more than the manifest says: it ends at the signed size.
    let mut world = World::new();
    world.patches[0].layers[0].recipe = world.blobs.add(&Recipe::Plain.encode());
    assert!(matches!(world.problem().await, RebuildProblem::Content(_) | RebuildProblem::Recompress(_)));

    for garbage in [&b""[..], b"\xff", b"\x01\x09"] {
        let mut world = World::new();
        world.patches[0].layers[0].recipe = world.blobs.add(garbage);
        assert!(matches!(world.problem().await, RebuildProblem::Recipe(_)));
        let mut world = World::new();
        world.patches[0].digest = world.blobs.add(garbage);
        assert!(matches!(world.problem().await, RebuildProblem::Patch(_)));
    }
}

#[tokio::test]
async fn t315_lengths_and_sources_in_a_patch_are_those_of_the_manifest() {
    let mut world = World::new();
    world.patches[0].layers[0].sources.clear();
    assert!(matches!(world.problem().await, RebuildProblem::Directory(_)));
    let mut world = World::new();
    world.patches[0].layers[0].plain_size += 1;
    assert!(matches!(world.problem().await, RebuildProblem::Directory(_)));
    let mut world = World::new();
    let second = PatchBase { digest: world.blobs.add(&gzip(b"x")), plain_size: 1 };
    world.patches[0].bases.push(second);
    assert!(matches!(world.problem().await, RebuildProblem::Directory(_)));
}
