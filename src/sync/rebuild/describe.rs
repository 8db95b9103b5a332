// SPDX-License-Identifier: Apache-2.0
//! What a bundle says of the layers that a site makes: from which layers, and how much of which patch.

use std::sync::Arc;

use krs_compact::patch::{Directory, Limits, Patch};

use super::error::{RebuildError, RebuildProblem};
use super::sources;
use crate::bundle::{Bundle, BundlePatch};
use crate::oci::digest::Digest;

/// A layer that travels as a part of a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedLayer {
    /// The layer.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Bytes of its content without compression.
    pub plain_size: u64,
    /// The patch.
    pub patch: Digest,
    /// Bytes of the patch, which may make other layers too.
    pub patch_size: u64,
    /// About how many bytes of the patch this layer takes, and those of its recipe; `None` if the patch cannot be read.
    pub bytes: Option<u64>,
    /// What it is made of.
    pub sources: Vec<DescribedSource>,
}

/// A layer of which another one is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedSource {
    /// The layer.
    pub digest: Digest,
    /// Repositories at the site that are said to have it; none for a layer of the bundle.
    pub repositories: Vec<String>,
}

/// What a bundle says of the layers that a site makes.
#[derive(Debug, Default)]
pub struct Description {
    /// In the order in which a site makes them.
    pub layers: Vec<DescribedLayer>,
    /// Patches that cannot be read, or that make other layers than the manifest says.
    pub errors: Vec<RebuildError>,
}

/// Describes the layers that travel as patches. Reads the directory of each patch, and compares no digest:
/// [`verify`](Bundle::verify) does.
pub fn describe(bundle: &Arc<Bundle>) -> Description {
    let size = |digest: &Digest| bundle.blob(digest).map_or(0, |blob| blob.size);
    let mut description = Description::default();
    for patch in &bundle.manifest().patches {
        let directory = directory(bundle, patch).map_err(|error| description.errors.push(error)).ok();
        for (number, layer) in patch.layers.iter().enumerate() {
            let source = |number: &usize| {
                let base = patch.bases.get(*number).map(|base| base.digest);
                let earlier = || patch.layers.get(number.checked_sub(patch.bases.len())?);
                let digest = base.or_else(|| earlier().map(|layer| layer.digest))?;
                let known = bundle.base_layer(&digest);
                let repositories = known.map(|layer| layer.repositories.clone()).unwrap_or_default();
                Some(DescribedSource { digest, repositories })
            };
            description.layers.push(DescribedLayer {
                digest: layer.digest,
                size: layer.size,
                plain_size: layer.plain_size,
                patch: patch.digest,
                patch_size: size(&patch.digest),
                bytes: directory.as_ref().map(|read| read.share(number).saturating_add(size(&layer.recipe))),
                sources: layer.sources.iter().filter_map(source).collect(),
            });
        }
    }
    description
}

fn directory(bundle: &Arc<Bundle>, patch: &BundlePatch) -> Result<Directory, RebuildError> {
    let blob = *bundle.blob(&patch.digest).ok_or(RebuildError::Missing { digest: patch.digest })?;
    bundle.check_header(&blob)?;
    let error = |source| {
        let digest = patch.layers.first().map_or(patch.digest, |layer| layer.digest);
        RebuildError::Layer { digest, patch: patch.digest, source }
    };
    let limits = Limits { memory: u64::MAX };
    let read = Patch::open(sources::in_archive(bundle, blob), limits).map_err(|e| error(e.into()))?;
    let directory = read.directory();
    if directory.targets.len() != patch.layers.len() {
        let (made, named) = (directory.targets.len(), patch.layers.len());
        return Err(error(RebuildProblem::Directory(format!("it makes {made}, the manifest names {named}"))));
    }
    Ok(directory.clone())
}
