// SPDX-License-Identifier: Apache-2.0
//! Which lines of a catalog a call needs, from one pass over it. Bundles are read later, and only those that are needed: a
//! catalog of years is larger than memory may be.

use std::collections::{BTreeMap, HashSet};

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::bundle::StreamName;
use krs_core::oci::digest::Digest;
use krs_core::sync::catalog::{BundleLine, Confirmation, LineSummary, SentBundle, read_bundle, summarize};
use krs_core::sync::plan::ImageLayers;
use krs_core::sync::receipt::SiteName;

use super::catalog_name::{CatalogName, unused_line};
use crate::console::Console;
use crate::diagnostic::Failure;

/// The bundles of a catalog, and what some sites confirmed.
pub(super) struct CatalogIndex {
    path: Utf8PathBuf,
    bundles: Vec<BundleLine>,
    newest: BTreeMap<(SiteName, StreamName), Confirmation>,
}

impl CatalogIndex {
    /// Reads the lines of a catalog: the confirmations of `sites`, and the layers of the wanted images. Lines that cannot be
    /// read are warnings.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn read(
        path: &Utf8Path,
        sites: &HashSet<SiteName>,
        images: &mut ImageLayers,
        console: &Console,
    ) -> Result<Self, Failure> {
        let mut index = Self { path: path.to_owned(), bundles: Vec::new(), newest: BTreeMap::new() };
        summarize(path, |position, line| {
            let damaged = |error| console.warning(&unused_line(path, position.number, &error));
            match line {
                Ok(LineSummary::Bundle(bundle, lines)) => {
                    if images.needs_any(&lines) {
                        match read_bundle(path, position) {
                            Ok(sent) => images.insert_sent(&sent),
                            Err(error) => return damaged(error),
                        }
                    }
                    index.bundles.push(bundle);
                }
                Ok(LineSummary::Confirmation(confirmation)) => {
                    if sites.contains(&confirmation.site) {
                        index.insert(confirmation);
                    }
                }
                Err(error) => damaged(error),
            }
        })?;
        Ok(index)
    }

    /// Takes a confirmation, unless there is a newer one of its site and stream.
    pub(super) fn insert(&mut self, confirmation: Confirmation) {
        let age = |one: &Confirmation| (one.created_at, one.sequence);
        let key = (confirmation.site.clone(), confirmation.stream.clone());
        if self.newest.get(&key).is_none_or(|other| age(other) < age(&confirmation)) {
            self.newest.insert(key, confirmation);
        }
    }

    /// Whether a bundle is known that the site confirmed.
    pub(super) fn has_confirmation_of(&self, site: &SiteName) -> bool {
        self.newest.keys().any(|(confirmed, _)| confirmed == site)
    }

    /// The newest confirmation of each site and stream.
    pub(super) fn confirmations(&self) -> impl Iterator<Item = &Confirmation> {
        self.newest.values()
    }

    /// The bundle of that name; the last one, where the catalog has several.
    ///
    /// # Errors
    /// The catalog does not have it, or its line cannot be read.
    pub(super) fn named(&self, name: &CatalogName) -> Result<SentBundle, Failure> {
        let line =
            self.bundles.iter().rfind(|line| name.is_of(line)).ok_or_else(|| name.not_in(&self.path))?;
        Ok(read_bundle(&self.path, line.position)?)
    }

    /// The bundle with this digest; the last one, where the catalog has several.
    ///
    /// # Errors
    /// Its line cannot be read.
    pub(super) fn with_digest(&self, digest: &Digest) -> Result<Option<SentBundle>, Failure> {
        let line = self.bundles.iter().rfind(|line| line.digest == *digest);
        Ok(line.map(|line| read_bundle(&self.path, line.position)).transpose()?)
    }
}
