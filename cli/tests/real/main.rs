// SPDX-License-Identifier: Apache-2.0
//! Real parts: Distribution 2.8 and 3, a registry of another family, the conformance suite of the distribution-spec,
//! skopeo, containerd, regctl, oras, crane, minisign, Python and GNU tar.
//! `cargo xtask test` installs them and runs these tests.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod conformance;
mod cosign;
mod damaged;
mod differential;
mod gitea;
mod harness;
mod local_sources;
mod other_family;
mod readers;
mod refusal;
mod registries;
mod renovate;
