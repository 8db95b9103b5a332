// SPDX-License-Identifier: Apache-2.0
//! An address that the client may not connect to.

use std::net::IpAddr;

use thiserror::Error;

/// An address that is denied.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{address} is {reason}")]
pub struct DeniedAddress {
    /// The address that the name resolved to.
    pub address: IpAddr,
    /// Why it is denied.
    pub reason: &'static str,
}
