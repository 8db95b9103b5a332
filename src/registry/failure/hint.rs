// SPDX-License-Identifier: Apache-2.0
//! Advice that is only known where a failure occurs.

/// Advice for a failed exchange. The caller that shows it names the flag or the field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// Advice in words.
    Words(String),
    /// Trust the CA that issued the registry's certificate.
    TrustCa,
    /// Correct the port, or leave TLS out: the server does not speak TLS.
    LeaveOutTls,
    /// Perhaps use TLS: the server accepted a connection, and its response to plain HTTP was no HTTP.
    UseTls,
}

/// Help for a proxy that requires credentials.
pub(in crate::registry) const PROXY_CREDENTIALS: &str =
    "put user and password for the proxy into HTTPS_PROXY: http://USER:PASSWORD@PROXY:PORT";
