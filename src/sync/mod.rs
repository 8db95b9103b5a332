// SPDX-License-Identifier: Apache-2.0
//! Connects sets, registries and bundles: resolves images, plans bundles, and transfers blobs.
//!
//! `plain`, `file_sink`, `receipt` ← `catalog` ← `fleet`, `source` ← `fetch` ← `verify_present`, `scan`, `resolve` ← `plan`, `compare`, `pin`, `rebuild` ← `compact`, `pull`, `push`, `serve`.

pub mod catalog;
pub mod compact;
pub mod compare;
pub mod fetch;
mod file_sink;
pub mod fleet;
pub mod pin;
mod plain;
pub mod plan;
pub mod pull;
pub mod push;
pub mod rebuild;
pub mod receipt;
pub mod resolve;
pub mod scan;
pub mod serve;
pub mod source;
pub mod verify_present;
