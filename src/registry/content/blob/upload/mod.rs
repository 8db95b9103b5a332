// SPDX-License-Identifier: Apache-2.0
//! Uploads: a blob is mounted if the registry has it, or else sent in one request, which is resumed after an
//! interruption.

pub(in crate::registry) mod cancel;
pub(in crate::registry) mod content;
pub(in crate::registry) mod push;
pub(in crate::registry) mod requests;
pub(in crate::registry) mod sending;
pub(in crate::registry) mod state;
pub(in crate::registry) mod strategy;
