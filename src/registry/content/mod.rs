// SPDX-License-Identifier: Apache-2.0
//! The content of a repository: blobs, manifests, referrers and tags. Uses `client`.

pub(in crate::registry) mod all_tags;
pub(in crate::registry) mod blob;
pub(in crate::registry) mod manifest;
pub(in crate::registry) mod opaque_manifest;
pub(in crate::registry) mod pages;
pub(in crate::registry) mod referrers;
pub(in crate::registry) mod tags;
