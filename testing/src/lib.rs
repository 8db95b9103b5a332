// SPDX-License-Identifier: Apache-2.0
//! Shared by tests, the demo and the benchmarks: a writable OCI registry inside the process with faults on
//! demand, builders of images, Git checkouts and certificates, and real registries as child processes.
//!
//! Nothing here is part of what users run, and nothing here is a security boundary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::result_large_err,
    reason = "a helper of a test that cannot go on should end that test, at the place that shows why; \
              and an answer of the registry may be as large as it is"
)]

pub mod conformance;
pub mod corpus;
#[cfg(unix)]
pub mod daemon;
pub mod distribution;
pub mod fleet;
pub mod git;
pub mod gitea;
pub mod image;
pub mod log;
pub mod many;
pub mod process;
pub mod proxy;
pub mod referrers;
pub mod registry;
pub mod relay;
pub mod tls;
pub mod tools;
pub mod trips;
pub mod unprivileged;

use serde_json::Value;

/// Puts the fields of `from` into `into`, object by object; anything else is replaced.
pub fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
