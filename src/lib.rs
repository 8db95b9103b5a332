// SPDX-License-Identifier: Apache-2.0
//! The core of KubeRegistrySync: everything that knows no terminal and no cluster.
//!
//! Direction of use: `digest`, `reference`, `platform`, `redact`, `json` ← `oci`, `crd` ← `closure`, `set` ←
//! `receipt` ← `fetch` ← `prove`, `survey`, `resolve` ← `plan`, `compare` ← `pull`, `push`, `serve`. `registry` and `bundle` do not know each other; only
//! `pull`, `push` and `serve` join them. A test holds the code to it.

pub mod bundle;
pub mod closure;
pub mod compare;
pub mod crd;
pub mod digest;
pub mod error;
pub mod fetch;
pub mod format;
#[doc(hidden)]
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod json;
pub mod oci;
pub mod plan;
pub mod platform;
pub mod progress;
pub mod prove;
pub mod pull;
pub mod push;
pub mod receipt;
pub mod redact;
pub mod reference;
pub mod registry;
pub mod resolve;
pub mod serve;
pub mod set;
pub mod sign;
pub mod survey;
