// SPDX-License-Identifier: Apache-2.0
//! Decisions: pure functions over [`crate::model`]. Nothing here has a client of anything.

pub(crate) mod advice;
pub(crate) mod condition;
pub mod decide;
pub(crate) mod failures;
pub mod job;
pub(crate) mod job_targets;
pub(crate) mod needed;
pub mod receipt_parts;
pub(crate) mod registry_reason;
pub(crate) mod set_content;
pub mod site_receipt;
pub mod status;
pub mod update_state;
