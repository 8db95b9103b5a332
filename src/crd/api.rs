// SPDX-License-Identifier: Apache-2.0
//! Names of the API and the limits of its objects.

/// API group of every resource.
pub const GROUP: &str = "kuberegistrysync.io";
/// Version of the API that this build reads and writes.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of every resource.
pub const API_VERSION: &str = "kuberegistrysync.io/v1alpha1";
/// `kind` of a set.
pub const KIND: &str = "EdgeImageSet";
/// Most images that one set may list.
pub const MAX_IMAGES: usize = 1000;
/// Most failures that a status lists; the counts cover all.
pub const MAX_FAILURES: usize = 20;
/// Most platforms that a set or an image may name.
pub const MAX_PLATFORMS: usize = 16;
