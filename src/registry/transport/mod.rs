// SPDX-License-Identifier: Apache-2.0
//! One HTTP exchange with a host: TLS, redirects, denied addresses, time limits. Uses `failure` and `limits`. Of
//! credentials it only knows the header that it is given.

pub(in crate::registry) mod base_url;
pub(in crate::registry) mod connections;
pub(in crate::registry) mod deny_list;
pub(in crate::registry) mod exchange;
pub(in crate::registry) mod exchange_failure;
pub(in crate::registry) mod interception;
pub(in crate::registry) mod operation;
pub(in crate::registry) mod options;
pub(in crate::registry) mod public_address;
pub(in crate::registry) mod redirect;
pub(in crate::registry) mod rejection;
pub(in crate::registry) mod request_body;
pub(in crate::registry) mod response;
pub(in crate::registry) mod tls;
