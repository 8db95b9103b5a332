// SPDX-License-Identifier: Apache-2.0
//! KubeRegistrySync in the cluster: the controller (`krs-importer run`) and the process inside a copy Job
//! (`krs-importer copy`).
//!
//! Decisions are pure functions over data: [`decide`], [`job`], [`remember`], [`status`]. Around them: `reconcile` talks
//! to the API server and to edge registries, [`intake`] to the drop folder, [`registry`] to the copy Jobs, [`copy`] runs
//! in them. They know each other only by data: [`stock`] is what the drop folder holds, [`library`] the bundles that may
//! be read, [`demand`] what the sets need, [`task`] what a Job is told.

mod advice;
pub mod api_client;
pub mod clock;
pub mod config;
pub mod controller;
pub mod copy;
pub mod credentials;
pub mod decide;
pub mod demand;
pub mod events;
pub mod follow;
pub mod heartbeat;
pub mod http;
pub mod intake;
pub mod job;
pub mod lease;
pub mod library;
pub mod marks;
pub mod metrics;
mod packed;
pub mod policy;
pub mod probe;
pub mod readers;
pub mod reconcile;
pub mod registry;
pub mod remember;
pub mod run;
pub mod start;
pub mod state;
pub mod status;
pub mod stock;
pub mod stored;
pub mod target;
pub mod task;
pub mod tls;
mod watch_source;
mod writes;

/// How the importer and its runner call themselves to registries.
pub(crate) const USER_AGENT: &str = concat!("krs-importer/", env!("CARGO_PKG_VERSION"));
