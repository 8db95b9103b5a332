// SPDX-License-Identifier: Apache-2.0
//! Nouns: what the site allows, what sets need, what bundles hold, what a copy Job is told. Plain data without I/O.

pub mod answer;
pub mod bundle_inventory;
pub mod bundle_outcomes;
pub mod clock;
pub mod config;
pub mod job;
pub mod marks;
pub mod media_record;
pub(crate) mod packed;
pub mod policy;
pub mod readers;
pub mod required_images;
pub mod site_content;
pub mod state;
pub mod target;
pub mod task;
