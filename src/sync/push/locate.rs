// SPDX-License-Identifier: Apache-2.0
//! Finds which blobs of a bundle the registry has, before anything is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use futures::stream::{self, StreamExt as _};

use super::base;
use super::error::PushError;
use super::run::{Failures, MAX_QUERIES, Need, Present, Run};
use super::target::Target;
use crate::bundle::BaseLayer;
use crate::oci::digest::Digest;
use crate::oci::reference::RepositoryName;
use crate::registry::RegistryError;

impl Run<'_> {
    /// Queries the registry for the blobs of each repository. A layer of the base that is expected only in other repositories
    /// is not queried in its own one, unless that is known to have such a layer: [`Self::find_base`] queries the repositories
    /// where it is expected, and the mount from there does the rest.
    pub(super) async fn query(&self, needs: &[Need]) -> (Present, Failures) {
        let (mut queries, mut later) = (Vec::new(), Vec::new());
        let mut sampled = BTreeSet::new();
        for (need, name) in
            needs.iter().flat_map(|need| need.repositories.iter().map(move |name| (need, name)))
        {
            let skipped = self.is_expected_elsewhere(need, name) && !sampled.insert(name);
            if skipped { later.push((need, name)) } else { queries.push((need, name)) }
        }
        let (mut present, mut failures) = (Present::new(), BTreeMap::new());
        self.heads(queries, &mut present, &mut failures).await;
        let has_base = |name: &RepositoryName| {
            let base = needs.iter().filter(|need| self.is_expected_elsewhere(need, name));
            base.take(1).any(|need| present.contains(&(name.clone(), need.digest)))
        };
        let resumed = sampled.into_iter().filter(|name| has_base(name)).collect::<BTreeSet<_>>();
        later.retain(|(_, name)| resumed.contains(name));
        self.heads(later, &mut present, &mut failures).await;
        self.counts.blobs_present.store(present.len() as u64, Ordering::Relaxed);
        (present, Failures::new(failures))
    }

    async fn heads(
        &self,
        pairs: Vec<(&Need, &RepositoryName)>,
        present: &mut Present,
        failures: &mut BTreeMap<(Digest, RepositoryName), Option<RegistryError>>,
    ) {
        let heads = pairs.into_iter().map(|(need, name)| async move {
            let has = self.repository_for(need, name).has_blob_for_push(&need.digest, need.size).await;
            (need.digest, name.clone(), has)
        });
        for (digest, name, answer) in
            stream::iter(heads).buffer_unordered(MAX_QUERIES).collect::<Vec<_>>().await
        {
            match answer {
                Ok(true) => {
                    present.insert((name, digest));
                }
                Ok(false) => {}
                Err(error) => {
                    failures.insert((digest, name), Some(error));
                }
            }
        }
    }

    /// Whether a blob is in the base and is expected in other repositories than the one that needs it.
    fn is_expected_elsewhere(&self, need: &Need, name: &RepositoryName) -> bool {
        let layer = self.bundle.base_layer(&need.digest).filter(|_| need.blob.is_none());
        layer.is_some_and(|layer| {
            let expected = base::expected(layer, self.destination);
            need.repositories.contains(name) && !expected.is_empty() && !expected.contains(name)
        })
    }

    /// Finds the repositories that have the layers of the base.
    pub(super) async fn find_base(
        &self,
        needs: &mut [Need],
        present: &Present,
        targets: &[Target],
    ) -> Result<(), PushError> {
        let searched = needs.iter().enumerate().filter_map(|(index, need)| {
            let has = |name: &RepositoryName| present.contains(&(name.clone(), need.digest));
            let wanted = need.blob.is_none() && !need.repositories.iter().any(has);
            let layer = self.bundle.base_layer(&need.digest).filter(|_| wanted)?;
            Some((index, layer, &need.repositories))
        });
        let searches = searched
            .map(|(index, layer, own)| async move { (index, layer, self.find_layer(layer, own).await) });
        let found = stream::iter(searches).buffered(MAX_QUERIES).collect::<Vec<_>>().await;
        let mut missing = Vec::new();
        for (index, layer, found) in found {
            let Some(need) = needs.get_mut(index) else { continue };
            let needing = |target: &&Target| {
                let image = self.images.images.get(target.image);
                let is_optional = self.optional(target.image).blobs.contains_key(&need.digest);
                image.is_some_and(|image| image.closure.blobs.iter().any(|c| c.digest == need.digest))
                    && !is_optional
            };
            // A layer that only a referrer or an attestation needs does not stop the push; its blob fails when it is sent.
            if !targets.iter().any(|target| needing(&target)) {
                need.elsewhere = found.ok().flatten();
                continue;
            }
            need.elsewhere = found?;
            if need.elsewhere.is_none() {
                let images = targets.iter().filter(needing).flat_map(|target| target.references.clone());
                let expected = base::expected(layer, self.destination);
                let searched = need.repositories.union(&expected).cloned().collect();
                missing.push(base::missing(layer, images.collect(), &searched));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(PushError::Base { registry: self.destination.registry.clone(), missing })
    }

    /// A repository in which the registry has a layer of the base.
    pub(super) async fn find_layer(
        &self,
        layer: &BaseLayer,
        own: &BTreeSet<RepositoryName>,
    ) -> Result<Option<RepositoryName>, RegistryError> {
        let Some(any) = own.first() else { return Ok(None) };
        let expected = base::expected(layer, self.destination);
        // Its own repositories come last: they were queried before, but that response may have been inconclusive.
        let candidates = expected.difference(own).chain(own);
        base::find(&self.repository(any), (&layer.digest, layer.size), candidates).await
    }
}
