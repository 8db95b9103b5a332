// SPDX-License-Identifier: Apache-2.0
//! Advice that only the place of a failure knows.

/// What helps against an exchange that failed. Who tells it to people names the flag or the field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// What these words say.
    Words(String),
    /// To trust the CA that issued the registry's certificate.
    TrustCa,
    /// To correct the port, or to leave TLS out: the server does not speak TLS.
    LeaveOutTls,
    /// Perhaps to use TLS: the server took a connection, and what came back for plain HTTP was no HTTP.
    UseTls,
}

/// What helps where a proxy wants credentials.
pub(in crate::registry) const PROXY_CREDENTIALS: &str =
    "put user and password for the proxy into HTTPS_PROXY: http://USER:PASSWORD@PROXY:PORT";
