// SPDX-License-Identifier: Apache-2.0
//! Credentials, challenges and tokens: requests with the authentication that a registry requires. Uses `transport`.

pub(in crate::registry) mod auth_file;
pub(in crate::registry) mod authenticator;
pub(in crate::registry) mod challenge;
pub(in crate::registry) mod context;
pub(in crate::registry) mod credential_file;
pub(in crate::registry) mod credential_store;
pub(in crate::registry) mod credentials;
pub(in crate::registry) mod helper;
pub(in crate::registry) mod keychain;
pub(in crate::registry) mod session;
pub(in crate::registry) mod token;
