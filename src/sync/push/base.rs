// SPDX-License-Identifier: Apache-2.0
//! The layers of a delta's base: the repositories in which they are expected, and those that have them. (T-32)

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
/// or fails, counts as one without the layer, unless no other has it. Only if none of them confirms the layer with a single
/// request, each is queried with retries. After one has failed in spite of its retries, the others are not retried, because
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
    // Failures that another run may repair come first.
    failure.filter(|_| unknown).or(refusal).map_or(Ok(None), Err)
}

/// A layer that no repository has, and the repositories that were queried.
pub(super) fn missing(
    layer: &BaseLayer,
    images: BTreeSet<String>,
    searched: &BTreeSet<RepositoryName>,
) -> MissingLayer {
    let expected = searched.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    MissingLayer { digest: layer.digest, size: layer.size, images: images.into_iter().collect(), expected }
}
