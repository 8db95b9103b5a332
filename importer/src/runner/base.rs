// SPDX-License-Identifier: Apache-2.0
//! Layers that a delta leaves to the site: looked for at the edge before anything is written there, then linked into the
//! repository that needs them, or read through where the registry does not link. (T-32)

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use krs_core::crd::reason;
use krs_core::error::ErrorKind;
use krs_core::oci::Descriptor;
use krs_core::oci::closure::Closure;
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::RepositoryName;
use krs_core::registry::{PushOutcome, Repository};
use krs_core::sync::push::find_layer;

use super::failure::Failure;
use super::role::EndpointRole;

/// Most repositories in which one layer is looked for.
const MAX_REPOSITORIES: usize = 64;
/// Layers that are looked for at once.
const AT_ONCE: usize = 16;

/// Where the edge has the layers that neither the bundle nor the target's repository has.
#[derive(Debug, Default)]
pub(super) struct Base(BTreeMap<Digest, RepositoryName>);

impl Base {
    /// Looks for every layer of `closures` that is missing on both sides.
    pub(super) async fn find<'a>(
        source: &Repository,
        edge: &Repository,
        expected_in: &[RepositoryName],
        closures: impl Iterator<Item = &'a Closure>,
    ) -> Result<Self, Failure> {
        let candidates = candidates(edge.name(), expected_in);
        let (mut found, mut missing, mut listed) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        let layers = closures.flat_map(Closure::layers).filter(|layer| listed.insert(layer.digest));
        let layers = layers.map(|layer| (layer.digest, layer.size)).collect::<Vec<_>>();
        let candidates = &candidates;
        let searches = layers.into_iter().map(|(digest, size)| async move {
            let at_edge = |error| Failure::registry(EndpointRole::Destination, &error);
            if edge.has_blob_for_push(&digest, size).await.map_err(at_edge)? {
                return Ok(None);
            }
            let held = source.has_blob(&digest, size).await;
            if held.map_err(|error| Failure::registry(EndpointRole::Bundle, &error))? {
                return Ok(None);
            }
            let repository = find_layer(edge, (&digest, size), candidates).await.map_err(at_edge)?;
            Ok::<_, Failure>(Some((digest, repository)))
        });
        let mut searches = stream::iter(searches).buffered(AT_ONCE);
        while let Some(searched) = searches.try_next().await? {
            match searched {
                Some((digest, Some(repository))) => drop(found.insert(digest, repository)),
                Some((digest, None)) => missing.push(digest),
                None => {}
            }
        }
        drop(searches);
        let Some(first) = missing.first() else { return Ok(Self(found)) };
        let searched_names = candidates.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let text = format!(
            "the bundle is a delta, and {} that it leaves to this site are not in {}, first {first}; looked for in {}{searched_names}. \
             Make it again against a new receipt of this registry, or make a full bundle",
            count(missing.len()),
            edge.registry(),
            if searched_names.is_empty() { edge.name().to_string() } else { format!("{}, ", edge.name()) },
        );
        Err(Failure::new(reason::BASE_MISSING, ErrorKind::Incomplete, &text))
    }

    /// Brings a layer of the base into the repository `edge`. Answers how; `None` if the blob is not in the base.
    pub(super) async fn transfer(
        &self,
        edge: &Repository,
        blob: &Descriptor,
    ) -> Result<Option<PushOutcome>, Failure> {
        let Some(from) = self.0.get(&blob.digest) else { return Ok(None) };
        let pushed = edge.copy_blob(&blob.digest, blob.size, from).await;
        pushed.map(Some).map_err(|error| Failure::registry(EndpointRole::Destination, &error))
    }
}

fn count(layers: usize) -> String {
    if layers == 1 { "1 layer".to_owned() } else { format!("{layers} layers") }
}

/// Where a layer may lie: an earlier bundle names repositories without the prefix that the destination puts in front, so
/// they are looked for below each folder of the target too.
pub(super) fn candidates(target: &RepositoryName, expected_in: &[RepositoryName]) -> Vec<RepositoryName> {
    let parts = target.as_str().split('/').collect::<Vec<_>>();
    let prefixes = (1..parts.len()).map(|n| parts[..n].join("/")).collect::<Vec<_>>();
    let mut names = Vec::new();
    for name in expected_in {
        let below = prefixes.iter().filter_map(|prefix| format!("{prefix}/{name}").parse().ok());
        for candidate in std::iter::once(name.clone()).chain(below) {
            if candidate != *target && !names.contains(&candidate) && names.len() < MAX_REPOSITORIES {
                names.push(candidate);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_layer_is_searched_below_the_prefix_of_the_destination_too() {
        let name = |text: &str| text.parse::<RepositoryName>().unwrap();
        let shown = |target, expected: &[&str]| {
            let expected = expected.iter().map(|text| name(text)).collect::<Vec<_>>();
            candidates(&name(target), &expected).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(shown("team/new", &["team/web"]), ["team/web", "team/team/web"]);
        assert_eq!(
            shown("mirror/team/new", &["team/web", "team/new"]),
            ["team/web", "mirror/team/web", "mirror/team/team/web", "team/new", "mirror/team/team/new"]
        );
        assert_eq!(shown("nginx", &["nginx"]), Vec::<String>::new());
    }
}
