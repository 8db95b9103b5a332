// SPDX-License-Identifier: Apache-2.0
//! Blobs: whether they are present, downloads and uploads.

pub(in crate::registry) mod download;
pub(in crate::registry) mod foreign;
pub(in crate::registry) mod io;
pub(in crate::registry) mod presence;
pub(in crate::registry) mod relay;
pub(in crate::registry) mod upload;
pub(in crate::registry) mod upload_body;
