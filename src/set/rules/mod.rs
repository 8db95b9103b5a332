// SPDX-License-Identifier: Apache-2.0
//! The rules of sets: for one YAML document, for a spec, and for several sets.

pub(super) mod document;
pub(super) mod merge;
pub(super) mod rule;
pub(super) mod scalar;
pub(super) mod spec;
