// SPDX-License-Identifier: Apache-2.0
//! Layers that nothing has any more but the patches of earlier bundles: they are made again, as a site makes them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use krs_compact::patch::FileBytes;

use super::choose::{EdgeNames, Layer};
use super::error::CompactError;
use super::fetch::Fetcher;
use super::work;
use crate::bundle::{Bundle, BundlePatch};
use crate::oci::digest::Digest;
use crate::sync::rebuild::{
    Bundles, Chain, RebuildError, RebuildSource, RebuiltLayer, RebuiltLayers, Scratch, StoredBlob,
};

/// Makes those of the `absent` layers that patches of the bundles at hand make, in the work folder, where `present` layers are
/// already. Returns the others, each with the reason why it is not there.
pub(super) async fn restore(
    fetcher: &Fetcher<'_>,
    edge: &EdgeNames,
    mut present: HashSet<Digest>,
    mut absent: HashMap<Digest, String>,
) -> Result<HashMap<Digest, String>, CompactError> {
    let patches = fetcher.bundles.iter().flat_map(|bundle| &bundle.manifest().patches).collect::<Vec<_>>();
    let is_patched =
        |digest: &Digest| fetcher.bundles.iter().any(|bundle| bundle.patched_layer(digest).is_some());
    let wanted = absent.keys().copied().filter(is_patched).collect::<BTreeSet<_>>();
    if wanted.is_empty() {
        return Ok(absent);
    }
    let find = |present: &HashSet<Digest>| find(&patches, &wanted, present, fetcher.bundles);
    // What the patches read, and no bundle has, may still be where the images came from.
    let leaves = find(&present).missing.into_values().flatten().collect::<BTreeSet<_>>();
    let layers = leaves.iter().filter_map(|digest| read_by_patch(fetcher.bundles, edge, digest));
    let layers = layers.filter(|layer| !absent.contains_key(&layer.digest)).collect::<Vec<_>>();
    let gone = fetcher.fetch(&layers.iter().collect::<Vec<_>>()).await?;
    let gone = gone.into_iter().collect::<HashMap<_, _>>();
    let fetched = layers.iter().map(|layer| layer.digest).filter(|digest| !gone.contains_key(digest));
    present.extend(fetched);
    let chain = find(&present);
    for (layer, leaves) in &chain.missing {
        let Some(leaf) = leaves.first() else { continue };
        let of_leaf = gone.get(leaf).or_else(|| absent.get(leaf)).cloned();
        let of_leaf = of_leaf.map(|reason| format!(" ({reason})")).unwrap_or_default();
        if let Some(reason) = absent.get_mut(layer) {
            *reason = format!(
                "{reason}; an earlier bundle at hand has it as a patch, which reads layer {leaf}, and nothing has that{of_leaf}: name a bundle that has it with --reuse"
            );
        }
    }
    let restorer = Restorer {
        folder: fetcher.folder,
        files: &present,
        bundles: Bundles(fetcher.bundles.to_vec()),
        fetcher,
    };
    for (layer, result) in restorer.make(&patches, chain).await? {
        match result {
            Ok(()) => drop(absent.remove(&layer)),
            Err(reason) => drop(absent.insert(layer, reason)),
        }
    }
    Ok(absent)
}

fn find(
    patches: &[&BundlePatch],
    wanted: &BTreeSet<Digest>,
    present: &HashSet<Digest>,
    bundles: &[Arc<Bundle>],
) -> Chain {
    let is_stored =
        |layer: &Digest| present.contains(layer) || bundles.iter().any(|bundle| bundle.blob(layer).is_some());
    Chain::new(patches, wanted, is_stored)
}

/// A layer that a patch of a bundle reads, which that bundle leaves to the sites.
fn read_by_patch(bundles: &[Arc<Bundle>], edge: &EdgeNames, digest: &Digest) -> Option<Layer> {
    let layer = bundles.iter().find_map(|bundle| bundle.base_layer(digest))?;
    Some(Layer {
        digest: *digest,
        size: layer.size,
        origins: edge.origins(&layer.repositories),
        name: layer.repositories.first().cloned().unwrap_or_default(),
    })
}

/// The work folder and the bundles at hand.
struct Restorer<'a> {
    folder: &'a Utf8Path,
    /// Layers that are files of the work folder.
    files: &'a HashSet<Digest>,
    bundles: Bundles,
    fetcher: &'a Fetcher<'a>,
}

impl Restorer<'_> {
    /// Makes all layers at once, and one after the other where that fails: then it is known which cannot be made, and why.
    async fn make(
        &self,
        patches: &[&BundlePatch],
        chain: Chain,
    ) -> Result<Vec<(Digest, Result<(), String>)>, CompactError> {
        if chain.layers.is_empty() {
            return Ok(Vec::new());
        }
        if let Err(error) = self.make_chain(&chain).await {
            self.refuse_own(error)?;
        } else {
            return Ok(chain.layers.into_iter().map(|layer| (layer, Ok(()))).collect());
        }
        let mut results = Vec::new();
        for layer in chain.layers {
            let alone = find(patches, &BTreeSet::from([layer]), self.files, &self.bundles.0);
            let made = match self.make_chain(&alone).await {
                Ok(()) => Ok(()),
                Err(error) => Err(self.refuse_own(error)?),
            };
            results.push((layer, made));
        }
        Ok(results)
    }

    async fn make_chain(&self, chain: &Chain) -> Result<(), RebuildError> {
        let rebuilt = RebuiltLayers::new(Scratch::new(self.folder, None));
        rebuilt.make_chain(chain, self, self.fetcher.progress).await?;
        for digest in &chain.layers {
            let Some(layer) = rebuilt.get(digest) else { continue };
            let (path, folder) = (work::file(self.folder, digest), Scratch::new(self.folder, None));
            rebuilt.remove(digest);
            let stored = tokio::task::spawn_blocking(move || store(&layer, &path)).await;
            stored.map_err(io::Error::other).flatten().map_err(|source| folder.error(source))?;
        }
        Ok(())
    }

    /// What is wrong with the space for the work ends the run; all else costs the layer, with this reason.
    fn refuse_own(&self, error: RebuildError) -> Result<String, CompactError> {
        match error {
            RebuildError::Scratch { source, .. } => {
                Err(CompactError::Work { folder: self.folder.to_owned(), source })
            }
            RebuildError::Space { .. } => Err(CompactError::Restore(error)),
            error => Ok(error.to_string()),
        }
    }
}

impl RebuildSource for Restorer<'_> {
    async fn blob(&self, digest: &Digest, scratch: &Scratch) -> Result<StoredBlob, RebuildError> {
        if !self.files.contains(digest) {
            return self.bundles.blob(digest, scratch).await;
        }
        // It was compared with its digest when it was fetched.
        let file = File::open(work::file(self.folder, digest)).and_then(FileBytes::new);
        Ok(Arc::new(file.map_err(|source| scratch.error(source))?))
    }

    fn scratch_size(&self, _: &Digest) -> u64 {
        0
    }
}

/// Writes a layer that was made, and compared with its digest, into the work folder. Blocking.
fn store(layer: &RebuiltLayer, path: &Utf8Path) -> io::Result<()> {
    let part = Utf8PathBuf::from(format!("{path}.part"));
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&part)?);
    let (mut buf, mut offset) = (vec![0; 1 << 20], 0);
    loop {
        let read = layer.read_at(offset, &mut buf)?;
        if read == 0 {
            break;
        }
        file.write_all(&buf[..read])?;
        offset += read as u64;
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&part, path)
}
