// SPDX-License-Identifier: Apache-2.0
//! Nouns: what the site allows, what sets need, what bundles hold, what a copy Job is told. Plain data without I/O.

pub mod answer;
pub mod clock;
pub mod config;
pub mod demand;
pub mod job;
pub mod marks;
pub(crate) mod packed;
pub mod policy;
pub mod readers;
pub mod state;
pub mod stock;
pub mod target;
pub mod task;
