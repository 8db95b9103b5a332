// SPDX-License-Identifier: Apache-2.0
//! Why a redirect is not followed. (T-57)

use http::{Method, StatusCode};
use thiserror::Error;

use crate::oci::reference::RegistryHost;

/// Why a redirect of a registry is not followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RedirectRefusal {
    /// The address is too long.
    #[error("the address is too long")]
    TooLong,
    /// Not a URL.
    #[error("it is not a URL")]
    NotAnAddress,
    /// Neither http nor https.
    #[error("only http and https are followed")]
    Scheme,
    /// User name or password in the URL.
    #[error("the URL contains credentials")]
    Credentials,
    /// Too many redirects in a row.
    #[error("too many redirects in a row")]
    TooMany,
    /// The next page of a list at another server.
    #[error("a list continues at its own registry only")]
    List,
    /// From https to http.
    #[error("it redirects from https to http")]
    Unencrypted {
        /// Host and port of the target.
        host: String,
        /// Whether content was to be sent there.
        upload: bool,
    },
    /// From a public registry to a private or local address.
    #[error("it redirects from a remote registry {}", if *.upload { "into a private network or to this machine" } else { "to this machine or its link" })]
    Inward {
        /// Whether content was to be sent there.
        upload: bool,
    },
    /// A redirect after which the content would not be sent.
    #[error(
        "after {status} a client fetches the target and sends nothing there; only 307 and 308 keep the method {method}"
    )]
    MethodLost {
        /// The method of the request.
        method: Method,
        /// The status of the redirect.
        status: StatusCode,
        /// Whether it leads from http to https at the same host.
        to_https: bool,
    },
}

/// What to do when a registry behind a proxy gives out addresses that only work behind the proxy.
pub(in crate::registry) const OUTER_NAME: &str = "the registry does not know the name under which it is reached: have the proxy in front of it send X-Forwarded-Host, X-Forwarded-Port and X-Forwarded-Proto, or set http.host or http.relativeurls of Distribution";

impl RedirectRefusal {
    pub(in crate::registry) fn help(&self, registry: &RegistryHost) -> String {
        match self {
            Self::Unencrypted { host, upload: false } => format!(
                "is {host} the storage of {registry}, and meant to be reached without TLS? Allow this one host: --allow-http-redirect {host}. A sign-in page of a proxy in between looks the same: check the proxy"
            ),
            Self::Unencrypted { host, upload: true } => format!(
                "{OUTER_NAME}. If {host} is the storage of {registry}, and meant to be reached without TLS: --allow-http-redirect {host}"
            ),
            Self::Inward { upload: true } => OUTER_NAME.to_owned(),
            Self::MethodLost { to_https: true, .. } => {
                format!("{registry} requires TLS: leave out --plain-http {registry}")
            }
            Self::MethodLost { .. } => {
                "a proxy or its sign-in page may be in between; a registry has to redirect with 307"
                    .to_owned()
            }
            Self::TooMany => {
                "the registry, or a proxy in front of it, redirects in a circle: its configuration is wrong"
                    .to_owned()
            }
            _ => {
                "this looks like an attack or a wrong setup: ask the administrator of the registry".to_owned()
            }
        }
    }
}
