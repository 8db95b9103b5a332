// SPDX-License-Identifier: Apache-2.0
//! Reading a bundle: finding and opening it, its blobs, and the structure of its images.

pub(super) mod find;
pub(super) mod images;
pub(super) mod list;
pub(super) mod open;
mod read_files;
pub(super) mod reader;
mod regular;
pub(super) mod verify;
pub(super) mod volume_check;
