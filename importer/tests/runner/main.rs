// SPDX-License-Identifier: Apache-2.0
//! The runner with the real skopeo between two registries.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod connection;
mod failures;
mod harness;
mod images;
mod killed;
mod patched;
mod tls;
