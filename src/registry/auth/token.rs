// SPDX-License-Identifier: Apache-2.0
//! Tokens of token servers (Distribution's token protocol and its OAuth2 form).

use std::time::{Duration, Instant};

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::oci::reference::RegistryHost;
use crate::redact::{SafeUrl, Secret, printable};
use crate::registry::auth::context::RequestContext;
use crate::registry::auth::credentials::{Credentials, authorization_header};
use crate::registry::failure::error::{CredentialUse, RegistryError};
use crate::registry::failure::outcome::Failure;
use crate::registry::host::authority;
use crate::registry::limits::lane::Lane;
use crate::registry::transport::exchange::Transport;
use crate::registry::transport::operation::Operation;
use crate::registry::transport::redirect::check_realm;
use crate::registry::transport::rejection::rejection;
use crate::registry::transport::request_body::RequestBody;
use crate::registry::transport::response::Response;

/// How long a token is valid if its response does not say (Distribution's token protocol).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// Longest time for which a token is used.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// How long before it expires a token is renewed, or a tenth of its lifetime, whichever is less.
const RENEW_BEFORE: Duration = Duration::from_secs(10);
/// Largest response of a token server, in bytes.
const MAX_RESPONSE: u64 = 1 << 20;

/// What a token server issues for credentials: permission to do something at a registry, for a while.
#[derive(Debug, Clone)]
pub(in crate::registry) struct Token {
    pub(in crate::registry) header: HeaderValue,
    // Not wall-clock time, because the clock may be set.
    pub(in crate::registry) expires_at: Instant,
}

#[derive(Deserialize)]
struct TokenResponse {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    // A number, or for some token servers a text.
    expires_in: serde_json::Value,
}

impl TokenResponse {
    /// How long the token is valid; `None` if the response does not say.
    fn lifetime(&self) -> Option<Duration> {
        let value = &self.expires_in;
        let seconds = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
        Duration::try_from_secs_f64(seconds).ok().filter(|lifetime| !lifetime.is_zero())
    }
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

/// What a token is requested with.
#[derive(Debug)]
pub(in crate::registry) struct TokenRequest<'a> {
    pub(in crate::registry) context: &'a RequestContext<'a>,
    /// The token server.
    pub(in crate::registry) realm: &'a Url,
    /// The name of the registry at the token server (`service`).
    pub(in crate::registry) service: Option<&'a str>,
    /// Scopes that the registry requested.
    pub(in crate::registry) scopes: &'a [String],
    pub(in crate::registry) credentials: Option<&'a Credentials>,
}

impl TokenRequest<'_> {
    /// Fetches the token. Failures are the token server's and not the registry's. `realm_hosts` may be sent the
    /// credentials besides hosts of the registry's own domain.
    pub(in crate::registry) async fn send(
        &self,
        transport: &Transport,
        realm_hosts: &[RegistryHost],
        credential_use: impl Future<Output = CredentialUse>,
    ) -> Result<Token, Failure> {
        let outcome = self.try_send(transport, realm_hosts, credential_use).await;
        outcome.map_err(|failure| match authority(self.realm).parse::<RegistryHost>() {
            Ok(server) => failure.map(|error| error.of_token_server(&server)),
            Err(_) => failure,
        })
    }

    async fn try_send(
        &self,
        transport: &Transport,
        realm_hosts: &[RegistryHost],
        credential_use: impl Future<Output = CredentialUse>,
    ) -> Result<Token, Failure> {
        let (context, realm, registry) = (self.context, self.realm, self.context.operation.registry);
        check_realm(&context.base_url, realm, self.credentials.is_some(), realm_hosts).map_err(|detail| {
            let realm = printable(&SafeUrl::new(realm.clone()).to_string(), 200);
            RegistryError::Realm { registry: registry.clone(), realm, detail }
        })?;
        let what = format!("a token for {} from {}", context.operation.what, authority(realm));
        let importance = context.operation.importance;
        let operation = Operation { registry, what, lane: Lane::Tokens, importance };
        let mut response = match self.credentials {
            Some(Credentials::IdentityToken(token)) => self.refresh(transport, &operation, token).await?,
            credentials => {
                let header = credentials.and_then(Credentials::basic_header);
                let url = self.url();
                transport.follow(&operation, &Method::GET, &url, &accept_json(), header, None).await?
            }
        };
        if response.status() == StatusCode::NOT_FOUND {
            return Err(operation.invalid_response("there is no token server (HTTP status 404)").into());
        }
        if !response.status().is_success() {
            return Err(rejection(response, true, credential_use, &operation).await);
        }
        let received = Instant::now();
        let body = response.body(MAX_RESPONSE, &operation).await?;
        // The cause would show parts of the response, which holds a token.
        let parsed = serde_json::from_slice::<TokenResponse>(&body).map_err(|_| {
            let no_token = || operation.invalid_response("the token server's answer is not a token").into();
            response.intercepted(&operation, &body).unwrap_or_else(no_token)
        })?;
        let lifetime = parsed.lifetime().unwrap_or(DEFAULT_LIFETIME).min(MAX_LIFETIME);
        let token =
            parsed.token.filter(|token| !token.is_empty()).or(parsed.access_token).unwrap_or_default();
        let no_token = || operation.invalid_response("the token server's answer holds no usable token");
        let header = authorization_header("Bearer", &token).filter(|_| !token.is_empty());
        let header = header.ok_or_else(no_token)?;
        Ok(Token { header, expires_at: received + (lifetime - RENEW_BEFORE.min(lifetime / 10)) })
    }

    /// Exchanges a refresh token for an access token (OAuth2).
    async fn refresh(
        &self,
        transport: &Transport,
        operation: &Operation<'_>,
        token: &Secret,
    ) -> Result<Response, Failure> {
        let mut headers = accept_json();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let body = RequestBody::small(refresh_form(&self.all_scopes(), self.service, token).into());
        let response = transport.send(operation, &Method::POST, self.realm, headers, Some(&body)).await?;
        if response.status().is_redirection() {
            let (registry, status) = (operation.registry.clone(), response.status().as_u16());
            let what = operation.what.clone();
            let detail = ": a redirect, and an identity token is sent to the token server alone".to_owned();
            return Err(RegistryError::Refused { registry, what, status, detail }.into());
        }
        Ok(response)
    }

    /// The URL of a token by Distribution's token protocol.
    fn url(&self) -> Url {
        let mut url = self.realm.clone();
        let scopes = self.all_scopes();
        let mut query = url.query_pairs_mut();
        query.extend_pairs(self.service.map(|service| ("service", service)));
        query.extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
        drop(query);
        url
    }

    /// The scopes that the request needs, and those that the registry requested.
    fn all_scopes(&self) -> Vec<&str> {
        let own = &self.context.scope.0;
        let more = self.scopes.iter().filter(|scope| !own.contains(scope));
        own.iter().chain(more).map(String::as_str).collect()
    }
}

fn accept_json() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers
}
