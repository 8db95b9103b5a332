// SPDX-License-Identifier: Apache-2.0
//! The rules of sets: of one document, of a spec, and of several sets together.

pub(super) mod document;
pub(super) mod merge;
pub(super) mod spec;
