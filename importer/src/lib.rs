// SPDX-License-Identifier: Apache-2.0
//! KubeRegistrySync in the cluster: the controller (`krs-importer run`) and the process inside a copy Job
//! (`krs-importer copy`).
//!
//! The folders are layers; each uses only those that are named before it: [`model`] has the data, [`engine`] the decisions
//! as pure functions over it, [`adapters`] the API server, the drop folder and metrics, and [`app`] the controller, the
//! intake and the embedded registry. [`runner`] is the process inside a copy Job; it and [`app`] know each other only by
//! [`model::task`], what a Job is told and what it reports.

pub mod adapters;
pub mod app;
pub mod engine;
pub mod model;
pub mod runner;

/// How the importer and its runner call themselves to registries.
pub(crate) const USER_AGENT: &str = concat!("krs-importer/", env!("CARGO_PKG_VERSION"));
