// SPDX-License-Identifier: Apache-2.0
//! What can fail, in words and classes. Uses no other layer of the registry client.

pub(in crate::registry) mod denial;
pub(in crate::registry) mod error;
pub(in crate::registry) mod help;
pub(in crate::registry) mod keychain;
pub(in crate::registry) mod storage;
