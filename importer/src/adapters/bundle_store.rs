// SPDX-License-Identifier: Apache-2.0
//! Bundles that may be read from now: the intake puts them in and takes them out, the embedded registry reads them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use krs_core::bundle::{Bundle, BundledImages};
use krs_core::oci::digest::Digest;
use krs_core::sync::rebuild::PatchList;
use parking_lot::RwLock;
use tokio::sync::mpsc;

use crate::model::readers::{Readers, readers};

/// A bundle that passed all checks that come before reading blobs.
#[derive(Debug)]
pub struct OpenBundle {
    /// The file, opened when it is read from and closed when nobody does any more.
    pub bundle: Arc<Bundle>,
    /// Its images, in the order of its manifest, and all documents.
    pub images: BundledImages,
    /// Which namespaces may read which image.
    pub readers: HashMap<Digest, Readers>,
    /// What makes the layers of its images that travel as patches, by the index of the image. Tasks name a list by its digest,
    /// and the embedded registry serves it: both have it from here.
    pub patches: BTreeMap<usize, PatchList>,
}

impl OpenBundle {
    /// A bundle with its images, and who may read them.
    pub fn new(bundle: Bundle, images: BundledImages) -> Self {
        let readers = readers(&bundle);
        let patches = PatchList::of_images(&bundle, &images);
        Self { bundle: Arc::new(bundle), images, readers, patches }
    }

    /// Whether sets of `namespace` may copy the image.
    pub fn may_read(&self, namespace: &str, image: &Digest) -> bool {
        self.readers.get(image).is_some_and(|readers| readers.include(namespace))
    }
}

/// Something that went wrong while a bundle was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadFault {
    /// Digest of the bundle's manifest.
    pub bundle: Digest,
    /// Whether content differs from its digest; else the media failed or went away.
    pub damaged: bool,
    /// A sentence for people: which blob, where, what.
    pub message: String,
}

/// Bundles to read an image from in place of one that is not served: by the digest of that bundle and of the image, the
/// digests of the others.
pub type Substitutes = HashMap<(Digest, Digest), Vec<Digest>>;

/// The bundles, by the digest of their manifest.
#[derive(Debug)]
pub struct BundleStore {
    substitutes: RwLock<Substitutes>,
    held: RwLock<HashMap<Digest, Arc<OpenBundle>>>,
    faults: mpsc::UnboundedSender<ReadFault>,
}

impl BundleStore {
    /// An empty library, and where faults come out.
    pub fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<ReadFault>) {
        let (faults, receiver) = mpsc::unbounded_channel();
        (Arc::new(Self { substitutes: RwLock::default(), held: RwLock::default(), faults }), receiver)
    }

    /// The bundle, where it may be read from.
    pub fn get(&self, digest: &Digest) -> Option<Arc<OpenBundle>> {
        self.held.read().get(digest).cloned()
    }

    /// The bundles that hold all of what `bundle` had of the image, where that is not served.
    pub fn in_place_of(&self, bundle: &Digest, image: &Digest) -> Vec<Arc<OpenBundle>> {
        let substitutes = self.substitutes.read();
        let found = substitutes.get(&(*bundle, *image)).into_iter().flatten();
        found.filter_map(|digest| self.get(digest)).collect()
    }

    /// Says from where images are read whose bundles are not served.
    pub fn substitute(&self, substitutes: Substitutes) {
        *self.substitutes.write() = substitutes;
    }

    /// Offers a bundle.
    pub fn put(&self, held: Arc<OpenBundle>) {
        self.held.write().insert(held.bundle.digest(), held);
    }

    /// Withdraws a bundle; transfers that are under way end by themselves.
    pub fn remove(&self, digest: &Digest) {
        self.held.write().remove(digest);
    }

    /// Says what went wrong while reading.
    pub fn report(&self, fault: ReadFault) {
        // Without a receiver the importer is stopping.
        let _ = self.faults.send(fault);
    }
}
