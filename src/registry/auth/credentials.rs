// SPDX-License-Identifier: Apache-2.0
//! Credentials of a registry, and what a search for them found.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use crate::redact::Secret;
use crate::registry::failure::keychain::KeychainError;

/// A user name that helpers and files give to a refresh token.
const TOKEN_USER: &str = "<token>";

/// What authenticates to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::registry) enum Credentials {
    /// User name and password.
    Basic { user: String, password: Secret },
    /// A refresh token that a token server turns into access tokens.
    IdentityToken(Secret),
}

impl Credentials {
    /// The credentials that a user name and its secret represent.
    pub(in crate::registry) fn new(user: String, secret: Secret) -> Self {
        if user == TOKEN_USER { Self::IdentityToken(secret) } else { Self::Basic { user, password: secret } }
    }

    /// As an entry of a file with credentials.
    pub(in crate::registry) fn entry(&self) -> serde_json::Value {
        match self {
            Self::Basic { user, password } => {
                serde_json::json!({"auth": STANDARD.encode(format!("{user}:{}", password.expose()))})
            }
            // Readers take the token only together with an `auth` of the usual shape.
            Self::IdentityToken(token) => serde_json::json!({
                "auth": STANDARD.encode(format!("{TOKEN_USER}:")),
                "identitytoken": token.expose(),
            }),
        }
    }

    /// The header of Basic authentication; `None` for a refresh token.
    pub(in crate::registry) fn basic_header(&self) -> Option<HeaderValue> {
        let Self::Basic { user, password } = self else { return None };
        authorization_header("Basic", &STANDARD.encode(format!("{user}:{}", password.expose())))
    }
}

/// `Authorization: SCHEME VALUE`, which is not shown in logs.
pub(in crate::registry) fn authorization_header(scheme: &str, value: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("{scheme} {value}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// What a search for credentials found.
#[derive(Debug, Clone, Default)]
pub(in crate::registry) struct LookupResult {
    pub(in crate::registry) credentials: Option<Credentials>,
    /// Where they were found; safe to show.
    pub(in crate::registry) origin: Option<String>,
    /// Why credentials of this user may be missing. It matters if the registry refuses a request without them.
    pub(in crate::registry) unusable: Option<KeychainError>,
}
