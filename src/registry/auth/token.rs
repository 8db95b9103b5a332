// SPDX-License-Identifier: Apache-2.0
//! Tokens of token servers (Distribution's token protocol and its OAuth2 form).

use std::time::{Duration, Instant};

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::oci::reference::RegistryHost;
use crate::redact::{SafeUrl, Secret, printable};
use crate::registry::auth::auth_file::Login;
use crate::registry::auth::authenticator::{Asking, basic, header};
use crate::registry::auth::keychain::Found;
use crate::registry::client::Inner;
use crate::registry::failure::error::RegistryError;
use crate::registry::failure::outcome::Failure;
use crate::registry::host::authority;
use crate::registry::transport::exchange::{Lane, Payload, Purpose, protocol};
use crate::registry::transport::redirect::check_realm;

/// How long a token is valid that does not say so (Distribution's token protocol).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// Longest time for which a token is used.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// A token is renewed so long before its end, or a tenth of its life before, whichever is less.
const RENEW_BEFORE: Duration = Duration::from_secs(10);
/// Largest answer of a token server, in bytes.
const MAX_TOKEN: u64 = 1 << 20;

/// What a token server gives for credentials: leave to do something at a registry, for a while.
#[derive(Debug, Clone)]
pub(in crate::registry) struct Token {
    pub(in crate::registry) header: HeaderValue,
    // Not a time of day: clocks step.
    pub(in crate::registry) until: Instant,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    // A number, or for some token servers a text.
    expires_in: serde_json::Value,
}

impl TokenAnswer {
    /// How long the token is valid, in seconds, where the answer says so.
    fn lifetime(&self) -> Option<Duration> {
        let stated = &self.expires_in;
        let seconds = stated.as_f64().or_else(|| stated.as_str()?.trim().parse().ok())?;
        Duration::try_from_secs_f64(seconds).ok().filter(|lifetime| !lifetime.is_zero())
    }
}

/// What a token may be used for: what the request needs, and what the registry asked for.
fn scopes<'a>(asking: &'a Asking<'_>, wanted: &'a [String]) -> Vec<&'a str> {
    let own = asking.scope.0.iter();
    let more = wanted.iter().filter(|scope| !asking.scope.0.contains(scope));
    own.chain(more).map(String::as_str).collect()
}

/// The body of an OAuth2 request that changes a refresh token for an access token.
fn refresh_form(scopes: &[&str], service: Option<&str>, token: &Secret) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token").append_pair("client_id", "krs");
    form.extend_pairs(service.map(|service| ("service", service)));
    form.append_pair("scope", &scopes.join(" "));
    form.append_pair("refresh_token", token.expose());
    form.finish()
}

impl Inner {
    /// Whether the token server at `realm` may be asked, and sent the credentials where there are some.
    pub(in crate::registry) fn check_realm(
        &self,
        asking: &Asking<'_>,
        realm: &Url,
        login: bool,
    ) -> Result<(), &'static str> {
        let also = self.options.realm_hosts.iter().map(RegistryHost::host).collect::<Vec<_>>();
        check_realm(&asking.home, realm, login, &also)
    }

    /// A token, by a request whose failures are the token server's and not the registry's.
    pub(in crate::registry) async fn fetch_token(
        &self,
        asking: &Asking<'_>,
        realm: &Url,
        service: Option<&str>,
        wanted: &[String],
        found: Found,
    ) -> Result<Token, Failure> {
        let outcome = self.try_token(asking, realm, service, wanted, found).await;
        outcome.map_err(|failure| match authority(realm).parse::<RegistryHost>() {
            Ok(server) => failure.map(|error| error.of_token_server(&server)),
            Err(_) => failure,
        })
    }

    async fn try_token(
        &self,
        asking: &Asking<'_>,
        realm: &Url,
        service: Option<&str>,
        wanted: &[String],
        found: Found,
    ) -> Result<Token, Failure> {
        let (registry, scopes) = (asking.purpose.registry, scopes(asking, wanted));
        self.check_realm(asking, realm, found.login.is_some()).map_err(|detail| {
            let realm = printable(&SafeUrl::new(realm.clone()).to_string(), 200);
            RegistryError::Realm { registry: registry.clone(), realm, detail }
        })?;
        let what = format!("a token for {} from {}", asking.purpose.what, authority(realm));
        let purpose = Purpose { registry, what, lane: Lane::Tokens, importance: asking.purpose.importance };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut answer = if let Some(Login::IdentityToken(token)) = &found.login {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            let payload = Payload::small(refresh_form(&scopes, service, token).into());
            let answer = self.send(&purpose, &Method::POST, realm, headers, Some(&payload)).await?;
            if answer.status().is_redirection() {
                let (registry, status) = (registry.clone(), answer.status().as_u16());
                let detail =
                    ": a redirect, and an identity token is sent to the token server alone".to_owned();
                return Err(RegistryError::Refused { registry, what: purpose.what, status, detail }.into());
            }
            answer
        } else {
            let mut url = realm.clone();
            {
                let mut query = url.query_pairs_mut();
                query.extend_pairs(service.map(|service| ("service", service)));
                query.extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
            }
            let login = match &found.login {
                Some(Login::Basic { user, password }) => basic(user, password),
                _ => None,
            };
            self.follow(&purpose, &Method::GET, &url, &headers, login, None).await?
        };
        if answer.status() == StatusCode::NOT_FOUND {
            return Err(protocol(&purpose, "there is no token server (HTTP status 404)").into());
        }
        if !answer.status().is_success() {
            return Err(self.rejection(answer, true, self.looked(asking), &purpose).await);
        }
        let received = Instant::now();
        let body = answer.body(MAX_TOKEN, &purpose).await?;
        // The cause would show parts of the answer, which holds a token.
        let parsed = serde_json::from_slice::<TokenAnswer>(&body).map_err(|_| {
            let no_token = || protocol(&purpose, "the token server's answer is not a token").into();
            answer.intercepted(&purpose, &body).unwrap_or_else(no_token)
        })?;
        let lifetime = parsed.lifetime().unwrap_or(DEFAULT_LIFETIME).min(MAX_LIFETIME);
        let token =
            parsed.token.filter(|token| !token.is_empty()).or(parsed.access_token).unwrap_or_default();
        let header = header("Bearer", &token)
            .filter(|_| !token.is_empty())
            .ok_or_else(|| protocol(&purpose, "the token server's answer holds no usable token"))?;
        Ok(Token { header, until: received + (lifetime - RENEW_BEFORE.min(lifetime / 10)) })
    }
}
