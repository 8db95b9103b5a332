// SPDX-License-Identifier: Apache-2.0
//! Sets: [`EdgeImageSet`](crate::crd::EdgeImageSet) resources, read from Git checkouts, rendered YAML, or an archive.
//!
//! Reading is strict where a mistake would silently leave out an image: a YAML document that declares to be a set and is
//! invalid is an error with its location in the file. Other documents are skipped.

#[cfg(test)]
mod commit_tests;
mod edit;
mod error;
mod files;
mod git;
mod kustomize;
mod load;
mod model;
mod rules;
mod settings;
mod show;
#[cfg(test)]
mod tests;
mod yaml;

pub use edit::{EditableImage, Editor, NewImage};
pub use error::{SetError, SetErrors};
pub use files::names::CallPaths;
pub use files::read::MAX_FILE;
pub use files::root::path_in_checkout;
pub(crate) use files::root::{MAX_DEPTH, checkout};
pub(crate) use files::walk::{KUSTOMIZATIONS, walker};
pub use git::Source;
pub use load::load;
pub use model::{CheckedSet, LoadedSet, LoadedSets, SetImage, SkippedFile, Warning, full_name};
pub use rules::document::check;
pub use rules::merge::{MergedImage, MergedImages, SetUse, collisions, merge, names_of_sites};
pub use rules::rule::RULES;
pub use rules::spec::{Problem, SpecField, check_spec};
pub use settings::{Requirements, SETTINGS_FILE, Setting, Settings, settings};
