// SPDX-License-Identifier: Apache-2.0
//! KubeRegistrySync in the cluster: the controller (`krs-importer run`) and the process inside a copy Job
//! (`krs-importer copy`).
//!
//! Decisions are pure functions over data: [`decide`], `job`, `status`. Around them: `reconcile` talks to the API
//! server and to edge registries, `intake` to the drop folder, `registry` to the copy Jobs. They know each other only
//! by data: [`stock`] is what the drop folder holds, [`demand`] is what the sets need, [`task`] is what a Job is told.

pub mod config;
pub mod decide;
pub mod demand;
pub mod events;
pub mod metrics;
pub mod policy;
pub mod state;
pub mod stock;
pub mod target;
pub mod task;
