// SPDX-License-Identifier: Apache-2.0
//! What the embedded registry serves: the bundles that are present, and of running Jobs whose bundle is absent, from which
//! other bundles they read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use krs_core::oci::digest::Digest;

use super::accepted::AcceptedBundle;
use super::entry::Entry;
use super::files::Files;
use super::substitutes;
use crate::adapters::bundle_store::{BundleStore, OpenBundle, Substitutes};
use crate::model::required_images::RequiredImages;

/// How long after the last byte a file is closed.
const IDLE: Duration = Duration::from_secs(2);

/// What the library was told.
pub(super) struct Offers {
    library: Arc<BundleStore>,
    /// What may be read, by manifest.
    offered: HashMap<Digest, Arc<OpenBundle>>,
    /// What is read in place of bundles that are absent.
    substitutes: Substitutes,
    /// Withdrawn, and perhaps still read from: closed as all others.
    closing: Vec<Arc<OpenBundle>>,
}

impl Offers {
    pub(super) fn new(library: Arc<BundleStore>) -> Self {
        Self { library, offered: HashMap::new(), substitutes: Substitutes::new(), closing: Vec::new() }
    }

    /// The bundle with this manifest, where it is offered.
    pub(super) fn get(&self, digest: &Digest) -> Option<&Arc<OpenBundle>> {
        self.offered.get(digest)
    }

    pub(super) const fn substitutes(&self) -> &Substitutes {
        &self.substitutes
    }

    /// Whether nothing that was withdrawn may still be read from.
    pub(super) const fn is_closed(&self) -> bool {
        self.closing.is_empty()
    }

    /// Whether a file of this manifest that was withdrawn is open.
    pub(super) fn is_closing(&self, digest: &Digest) -> bool {
        self.closing.iter().any(|held| held.bundle.digest() == *digest && held.bundle.is_open())
    }

    /// Gives the library what may be read from, takes back the rest, closes files that nobody reads, and says from where
    /// running Jobs read whose bundles are absent.
    pub(super) fn update(&mut self, files: &Files, demand: &RequiredImages, check_first: bool) {
        let wanted = wanted(files, check_first);
        for (digest, held) in std::mem::take(&mut self.offered) {
            if !wanted.get(&digest).is_some_and(|wanted| Arc::ptr_eq(wanted, &held)) {
                self.library.remove(&digest);
                if !self.closing.iter().any(|other| Arc::ptr_eq(other, &held)) {
                    self.closing.push(held);
                }
            }
        }
        for (digest, held) in &wanted {
            let same = self.library.get(digest).is_some_and(|old| Arc::ptr_eq(&old, held));
            if !same {
                self.library.put(Arc::clone(held));
            }
        }
        self.offered = wanted;
        self.close(files);
        let substitutes = substitutes::substitutes(files.entries(), &self.offered, demand);
        if self.substitutes != substitutes {
            self.library.substitute(substitutes.clone());
            self.substitutes = substitutes;
        }
    }

    fn close(&mut self, files: &Files) {
        let opened = || files.entries().values().filter_map(Entry::opened);
        for accepted in opened() {
            accepted.held.bundle.close_if_idle(IDLE);
        }
        // Whoever still reads from one of these holds it, too; so does the entry of a file that is absent.
        self.closing.retain(|held| {
            let is_it = |accepted: &&AcceptedBundle| Arc::ptr_eq(&accepted.held, held);
            let entries = opened().filter(is_it).count();
            !held.bundle.close_if_idle(IDLE) || Arc::strong_count(held) > 1 + entries
        });
    }
}

/// What may be read from now, by manifest.
fn wanted(files: &Files, check_first: bool) -> HashMap<Digest, Arc<OpenBundle>> {
    let mut wanted = HashMap::new();
    for entry in files.entries().values().filter(|entry| entry.present()) {
        if let Some(accepted) = entry.accepted().filter(|_| entry.ready(check_first)) {
            wanted.entry(accepted.stock.digest).or_insert_with(|| Arc::clone(&accepted.held));
        }
    }
    wanted
}
