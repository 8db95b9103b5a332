// SPDX-License-Identifier: Apache-2.0
//! Options of a server, and the errors of its start.

use std::net::SocketAddr;

use thiserror::Error;

use crate::error::{Classify, ErrorKind};

/// How to serve.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The address to listen on; port 0 selects a free one.
    pub address: SocketAddr,
    /// Certificate and key; `None`: plain HTTP.
    pub tls: Option<Tls>,
}

/// A certificate chain and its key.
#[derive(Clone)]
pub struct Tls {
    /// The chain, leaf first, in PEM.
    pub certificate: Vec<u8>,
    /// The key, in PEM.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(***)")
    }
}

/// Why a bundle cannot be served.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages explain the fields")]
pub enum ServeError {
    /// The address is in use, or not one of this machine.
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    /// Certificate or key cannot be used.
    #[error("the TLS certificate or key cannot be used: {0}")]
    Tls(String),
}

impl Classify for ServeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Listen { .. } => ErrorKind::Other,
            Self::Tls(_) => ErrorKind::Usage,
        }
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Listen { .. } => "choose another address with --listen, for example 127.0.0.1:0".to_owned(),
            Self::Tls(_) => {
                "pass a PEM file with the certificate chain, leaf first, and one with its key".to_owned()
            }
        })
    }
}
