// SPDX-License-Identifier: Apache-2.0
//! Writing a bundle so that an interrupted run can be resumed, copying one to a drive, and signing one in place.

pub(super) mod copy;
mod journal;
mod list;
pub(super) mod lock;
mod resume;
pub(super) mod signing;
pub(super) mod write_files;
pub(super) mod writer;
