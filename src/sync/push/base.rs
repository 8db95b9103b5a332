// SPDX-License-Identifier: Apache-2.0
//! Layers that a delta does not hold: where they are expected, and where the registry has them. (T-32)

use std::collections::BTreeSet;

use super::error::MissingLayer;
use crate::bundle::BaseLayer;
use crate::oci::digest::Digest;
use crate::oci::reference::{Destination, RepositoryName};
use crate::registry::{RegistryError, Repository};

/// Repositories of `destination` in which the bundle expects a layer, with and without its prefix: a receipt names them
/// in full, an earlier bundle as its sets do.
pub fn expected(layer: &BaseLayer, destination: &Destination) -> BTreeSet<RepositoryName> {
    let names = layer.repositories.iter().filter_map(|name| name.parse::<RepositoryName>().ok());
    names.flat_map(|name| destination.repository(&name).into_iter().chain([name])).collect()
}

/// The first of `candidates`, repositories of the registry of `repository`, that has the layer. One that may not be read,
/// or fails, is as good as one that lacks it, unless no other has it. Only where none says at once that it has the layer,
/// each is asked so that its answer can be relied on. After one has failed in spite of retries, there are no more of them:
/// a registry that is down fails for all. (T-203)
///
/// # Errors
/// [`RegistryError`]: it is not known whether one has it.
pub async fn find(
    repository: &Repository,
    layer: (&Digest, u64),
    candidates: impl IntoIterator<Item = &RepositoryName>,
) -> Result<Option<RepositoryName>, RegistryError> {
    let candidates = candidates.into_iter().collect::<Vec<_>>();
    let once = repository.optional().optional_once();
    let at = |candidate: &RepositoryName, failed: bool| {
        if failed { once.sibling(candidate) } else { repository.sibling(candidate) }
    };
    let mut failure = None;
    for candidate in &candidates {
        match at(candidate, failure.is_some()).has_blob_for_push(layer.0, layer.1).await {
            Ok(true) => return Ok(Some((*candidate).clone())),
            Ok(false) => {}
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    let (mut unknown, mut refusal) = (false, None);
    for candidate in candidates {
        match at(candidate, failure.is_some()).has_blob(layer.0, layer.1).await {
            Ok(true) => return Ok(Some(candidate.clone())),
            Ok(false) => {}
            Err(error) if error.is_refusal() => refusal = refusal.or(Some(error)),
            Err(error) => (unknown, failure) = (true, failure.or(Some(error))),
        }
    }
    // What another run may mend comes first.
    failure.filter(|_| unknown).or(refusal).map_or(Ok(None), Err)
}

/// A layer that no repository has, and where it was looked for.
pub(super) fn missing(
    layer: &BaseLayer,
    images: BTreeSet<String>,
    looked: &BTreeSet<RepositoryName>,
) -> MissingLayer {
    let expected = looked.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    MissingLayer { digest: layer.digest, size: layer.size, images: images.into_iter().collect(), expected }
}
