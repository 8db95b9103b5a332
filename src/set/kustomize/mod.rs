// SPDX-License-Identifier: Apache-2.0
//! Warns of what a GitOps engine would change in the sets, which krs reads without rendering: overlays of Kustomize,
//! templates of Helm, resources of Flux and Argo CD.
//!
//! Nothing is rendered. A warning names the change, and the command that renders it.

mod changes;
mod effect;
mod effects;
mod engines;
mod graph;
mod kustomizations;
mod parse;
mod rendered;
#[cfg(test)]
mod rendered_tests;
#[cfg(test)]
mod tests;
mod unread_sources;

pub(super) use effect::{Effect, Render};
pub(super) use effects::effects;
pub(super) use engines::Engines;
pub(super) use graph::{Extent, FoundSet};
pub(super) use kustomizations::{Kustomizations, chart_of_template, patch_files};
