// SPDX-License-Identifier: Apache-2.0
//! The core of KubeRegistrySync: everything that needs neither a terminal nor a cluster.
//!
//! Layers, each of which uses only those before it: `redact`, `json`, `yaml`, `format`, `files`, `error`, `program` ← `oci` ← `progress`, `crd` ←
//! `set`, `registry`, `local` ← `bundle` ← `sync`. `registry`, `local` and `bundle` do not know each other; only `sync` joins
//! them. `collect` uses `set` and what comes before it. A test holds the code to it.

pub mod bundle;
pub mod collect;
pub mod crd;
pub mod error;
pub mod files;
pub mod format;
#[doc(hidden)]
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod json;
pub mod local;
pub mod oci;
mod program;
pub mod progress;
pub mod redact;
pub mod registry;
pub mod set;
pub mod sync;
mod yaml;
