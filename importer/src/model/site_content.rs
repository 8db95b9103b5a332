// SPDX-License-Identifier: Apache-2.0
//! What is verified to be at the edge for a set, and what the set waits for: the receipt of the site is made of it.

use std::sync::Arc;

use krs_core::oci::reference::{RegistryHost, RepositoryName};
use krs_core::sync::receipt::{AwaitedImage, SiteRoot};
use serde::{Deserialize, Serialize};

use crate::model::packed::CompressedJson;

/// The images of a set at the edge.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetImages {
    /// The registry of its destination; absent: the spec cannot be read.
    pub registry: Option<RegistryHost>,
    /// Images of which the registry was last verified to have everything that the set asks for.
    pub present: Vec<PresentImage>,
    /// Images that the set waits for a bundle to bring.
    pub awaited: Vec<AwaitedImage>,
    /// Whether the registry refused an index because some of its images are absent.
    pub refuses_sparse_index: bool,
}

/// An image at the edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresentImage {
    /// Its repository, with the prefix of the destination.
    pub repository: RepositoryName,
    /// The image.
    pub root: SiteRoot,
}

/// The images of a set, held in little memory. Those of a set of which nothing is known are none.
#[derive(Debug, Clone, Default)]
pub struct SetContent(Option<Arc<CompressedJson<SetImages>>>);

impl SetContent {
    /// Holds `images`.
    pub fn new(images: &SetImages) -> Self {
        Self(CompressedJson::new(images).ok().map(Arc::new))
    }

    /// The images.
    pub fn images(&self) -> SetImages {
        self.0.as_ref().and_then(|packed| packed.get().ok()).unwrap_or_default()
    }
}

impl PartialEq for SetContent {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_deref() == other.0.as_deref()
    }
}

impl Eq for SetContent {}
