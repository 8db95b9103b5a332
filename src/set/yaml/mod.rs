// SPDX-License-Identifier: Apache-2.0
//! Text of a file: its documents and the items of lists, what kind of object each is, and where everything stands.

pub(super) mod characters;
pub(super) mod expand;
pub(super) mod kind;
pub(super) mod outline;
pub(super) mod spot;
pub(super) mod text;
