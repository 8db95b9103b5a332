// SPDX-License-Identifier: Apache-2.0
//! What a bundle is, as data: its manifest, where every byte of the archive lies, and its volumes. Pure but for the search
//! for volumes.

mod check;
pub(super) mod content;
pub(super) mod delta;
mod entries;
pub(super) mod error;
pub(super) mod freshness;
pub mod layout;
pub(super) mod manifest;
pub(super) mod patch;
pub(super) mod stream;
pub(super) mod volumes;
