// SPDX-License-Identifier: Apache-2.0
//! Decisions: pure functions over [`crate::model`]. Nothing here has a client of anything.

pub(crate) mod advice;
pub mod decide;
pub mod job;
pub mod remember;
pub mod status;
