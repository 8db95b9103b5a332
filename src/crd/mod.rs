// SPDX-License-Identifier: Apache-2.0
//! The Kubernetes resources of group `kuberegistrysync.io`.
//!
//! The types are lenient because the API server has already validated objects (unknown fields are ignored, names are plain
//! text), so that one invalid object never stops a watch. [`crate::set::check_spec`] validates a spec again, with the same
//! messages, offline and in the importer.

// The derive copies each type into a function, where `pub` reaches nobody.
#![allow(unreachable_pub)]
// Printer columns share the names of their settings.
#![allow(clippy::duplicated_attributes)]

mod api;
mod conditions;
mod definition;
mod edge_image_set;
mod image_bundle;
mod schema;

pub use api::{API_VERSION, GROUP, KIND, MAX_FAILURES, MAX_IMAGES, MAX_PLATFORMS, VERSION};
pub use conditions::{condition, reason};
pub use definition::{edge_image_set_crd_yaml, image_bundle_crd_yaml};
pub use edge_image_set::{
    BundleReference, DestinationTls, EdgeImage, EdgeImageSet, EdgeImageSetSpec, EdgeImageSetStatus,
    ImageCounts, ImageFailure, Naming, Source, default,
};
pub use image_bundle::{
    ImageBundle, ImageBundleSpec, ImageBundleStatus, MAX_NAMESPACE_MISMATCHES, NamespaceMismatch,
    VolumeCounts,
};
pub use schema::{interval, message};
