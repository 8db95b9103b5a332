// SPDX-License-Identifier: Apache-2.0
//! The files of a call: finding, naming and reading them.

pub(super) mod ignore_rules;
pub(super) mod names;
pub(super) mod origin;
pub(super) mod read;
pub(super) mod root;
pub(super) mod walk;
