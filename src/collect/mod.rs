// SPDX-License-Identifier: Apache-2.0
//! Images that manifests, charts and lists name, found to make a set of them.
//!
//! A source is never left out in silence: what cannot be read or rendered is a [`Problem`] that says why and what to do.

mod application_set;
mod cluster;
mod copy;
mod engines;
mod error;
mod fleet;
mod flow;
mod flux;
mod helm;
mod images;
mod known;
mod kustomize;
mod lists;
mod model;
mod new_set;
mod overlay;
mod reference;
mod resource;
mod sources;
#[cfg(test)]
mod tests;
mod update;
mod usage;
mod values;
mod variables;
mod walk;
mod yaml;

pub use cluster::Cluster;
pub use error::CollectError;
pub use model::{Collection, ImageUse, Origin, Problem};
pub use new_set::{NewSet, comments, new_set};
pub use sources::{CollectOptions, Collected, collect};
pub use update::{Update, UpdateOptions, update};
pub use usage::{Coverage, UnusedImage, UsedImage, coverage, used_images};
