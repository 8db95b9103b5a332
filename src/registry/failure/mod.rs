// SPDX-License-Identifier: Apache-2.0
//! The failures of the registry client, with their messages and classes. Uses no other layer of the registry client.

pub(in crate::registry) mod classify;
pub(in crate::registry) mod denial;
pub(in crate::registry) mod denied_address;
pub(in crate::registry) mod error;
pub(in crate::registry) mod hint;
pub(in crate::registry) mod keychain;
pub(in crate::registry) mod outcome;
pub(in crate::registry) mod redirect_refusal;
pub(in crate::registry) mod storage;
