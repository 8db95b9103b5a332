// SPDX-License-Identifier: Apache-2.0
//! `krs.yaml` at the top of a checkout: values that a call leaves out, and what every bundle of the checkout must keep.
//!
//! Whoever can change the sets can change this file, so it can only make more strict what is accepted: it names no keys,
//! certificates, registries or paths.

mod check;
pub(in crate::set) mod find;
pub(in crate::set) mod model;
mod parse;
#[cfg(test)]
mod tests;

pub use find::settings;
pub use model::{Requirements, SETTINGS_FILE, Setting, Settings};
