// SPDX-License-Identifier: Apache-2.0
//! Text of a file: its YAML documents and the items of lists, their kinds, and their locations.

pub(super) mod characters;
pub(super) mod expand;
pub(super) mod kind;
pub(super) mod outline;
pub(super) mod position;
pub(super) mod text;
