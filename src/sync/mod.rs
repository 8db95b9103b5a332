// SPDX-License-Identifier: Apache-2.0
//! Connects sets, registries and bundles: resolves images, plans bundles, and transfers blobs.
//!
//! `receipt` ← `catalog` ← `fleet`, `source` ← `fetch` ← `verify_present`, `scan`, `resolve` ← `plan`, `compare`, `pin` ← `pull`, `push`, `serve`.

pub mod catalog;
pub mod compare;
pub mod fetch;
pub mod fleet;
pub mod pin;
pub mod plan;
pub mod pull;
pub mod push;
pub mod receipt;
pub mod resolve;
pub mod scan;
pub mod serve;
pub mod source;
pub mod verify_present;
