// SPDX-License-Identifier: Apache-2.0
//! What a bundle is, as data: its manifest, where every byte of the archive lies, and its volumes. Pure but for the search
//! for volumes.

pub(super) mod delta;
pub(super) mod freshness;
pub mod layout;
pub(super) mod manifest;
pub(super) mod volumes;
