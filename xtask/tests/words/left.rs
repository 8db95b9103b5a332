// SPDX-License-Identifier: Apache-2.0
//! What is left to clean. Exact: nothing may be added, and what is clean must leave the list.

use crate::list::Scope;

/// Words, by the first of their forms, that a scope still has.
pub(crate) const LEFT: &[(Scope, &[&str])] = &[];
