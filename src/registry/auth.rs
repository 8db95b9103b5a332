// SPDX-License-Identifier: Apache-2.0
//! Logging in: Basic, and tokens of token servers (Distribution's token protocol and its OAuth2 form).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;
use url::Url;

use super::authfile::Login;
use super::challenge::{self, Challenge};
use super::client::Inner;
use super::error::RegistryError;
use super::keychain::{Found, KeychainError};
use super::redirect::check_realm;
use super::retry::Failure;
use super::transport::{Answer, Lane, Payload, Purpose, lock, protocol};
use crate::redact::{SafeUrl, Secret, printable};
use crate::reference::{RegistryHost, RepositoryName};

/// How long a token is valid that does not say so (Distribution's token protocol).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// A token is renewed so long before its end, or a tenth of its life before, whichever is less.
const RENEW_BEFORE: Duration = Duration::from_secs(10);
/// Largest answer of a token server, in bytes.
const MAX_TOKEN: u64 = 1 << 20;
/// How long the answer of a credential helper is used.
const HELPER_LIFETIME: Duration = Duration::from_secs(300);

/// What a request may do to which repositories.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Scope(Vec<String>);

impl Scope {
    pub(super) fn pull(name: &RepositoryName) -> Self {
        Self(vec![format!("repository:{name}:pull")])
    }

    pub(super) fn push(name: &RepositoryName) -> Self {
        Self(vec![format!("repository:{name}:pull,push")])
    }

    /// Also reading `name`, which a mount needs.
    pub(super) fn and_pull(mut self, name: &RepositoryName) -> Self {
        self.0.push(format!("repository:{name}:pull"));
        self
    }
}

#[derive(Debug, Clone)]
struct Token {
    header: HeaderValue,
    // Not a time of day: clocks step.
    until: Instant,
}

type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

/// What a credential helper knows, or how it failed.
type HelperAnswer = Result<Option<Found>, KeychainError>;

/// What is known about the login to one registry.
#[derive(Debug, Default)]
pub(super) struct Session {
    challenge: Mutex<Option<Challenge>>,
    // One lock for each scope, held while its token is fetched: many requests wait for one token.
    tokens: Mutex<HashMap<(Scope, Option<String>), Slot>>,
    // Also what a helper failed with: one that hangs costs its time limit once, not for every image.
    helper: tokio::sync::Mutex<HashMap<String, (Instant, HelperAnswer)>>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

fn header(scheme: &str, value: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("{scheme} {value}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

fn basic(user: &str, password: &Secret) -> Option<HeaderValue> {
    header("Basic", &STANDARD.encode(format!("{user}:{}", password.expose())))
}

/// The body of an OAuth2 request that changes a refresh token for an access token.
fn refresh_form(asking: &Asking<'_>, service: Option<&str>, token: &Secret) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token").append_pair("client_id", "krs");
    form.extend_pairs(service.map(|service| ("service", service)));
    form.append_pair("scope", &asking.scope.0.join(" "));
    form.append_pair("refresh_token", token.expose());
    form.finish()
}

/// What is being asked for, of whom, with which rights.
#[derive(Debug, Clone)]
pub(super) struct Asking<'a> {
    pub(super) purpose: Purpose<'a>,
    pub(super) repository: Option<&'a RepositoryName>,
    pub(super) scope: Scope,
    /// The registry's address.
    pub(super) home: Url,
}

impl Inner {
    fn session(&self, registry: &RegistryHost) -> Arc<Session> {
        Arc::clone(lock(&self.sessions).entry(registry.clone()).or_default())
    }

    /// The login for a repository; answers of helpers are kept for a while.
    async fn login(&self, asking: &Asking<'_>) -> Result<Found, Failure> {
        let (registry, repository) = (asking.purpose.registry, asking.repository);
        let keychain = &self.options.keychain;
        let Some(helper) = keychain.helper(registry, repository) else {
            return Ok(keychain.stored(registry, repository));
        };
        let session = self.session(registry);
        let mut kept = session.helper.lock().await;
        let known = kept.get(&helper.program).filter(|(at, _)| at.elapsed() < HELPER_LIFETIME);
        let answer = match known {
            Some((_, answer)) => answer.clone(),
            None => {
                let answer = keychain.ask(&helper, registry).await;
                kept.insert(helper.program.clone(), (Instant::now(), answer.clone()));
                answer
            }
        };
        let found = answer.map_err(RegistryError::from)?;
        Ok(found.unwrap_or_else(|| keychain.beside(&helper, registry, repository)))
    }

    /// Whether two repositories of a registry are reached with the same credentials.
    pub(super) async fn same_credentials(
        &self,
        one: &Asking<'_>,
        other: &RepositoryName,
    ) -> Result<bool, Failure> {
        let other = Asking { repository: Some(other), ..one.clone() };
        let (one, other) = (self.login(one).await?, self.login(&other).await?);
        Ok(one.origin == other.origin)
    }

    /// Where a login was looked for, for a message.
    pub(super) async fn looked(&self, asking: &Asking<'_>) -> String {
        match self.login(asking).await {
            Ok(Found { origin: Some(origin), .. }) => format!("the login from {origin} was used"),
            _ => self.options.keychain.searched(),
        }
    }

    /// What to send with a request, as far as it is known what the registry wants.
    pub(super) async fn authorization(&self, asking: &Asking<'_>) -> Result<Option<HeaderValue>, Failure> {
        let session = self.session(asking.purpose.registry);
        let challenge = lock(&session.challenge).clone();
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => match self.login(asking).await?.login {
                Some(Login::Basic { user, password }) => Ok(basic(&user, &password)),
                Some(Login::IdentityToken(_)) | None => Ok(None),
            },
            Some(Challenge::Bearer { realm, service }) => {
                let found = self.login(asking).await?;
                let slot = {
                    let mut tokens = lock(&session.tokens);
                    Arc::clone(tokens.entry((asking.scope.clone(), found.origin.clone())).or_default())
                };
                let mut token = slot.lock().await;
                if let Some(token) = token.as_ref().filter(|token| token.until > Instant::now()) {
                    return Ok(Some(token.header.clone()));
                }
                let fresh = self.fetch_token(asking, &realm, service.as_deref(), found).await?;
                Ok(Some(token.insert(fresh).header.clone()))
            }
        }
    }

    /// The registry refused `used` with 401: learns what it wants. The answer says whether trying again with
    /// [`Self::authorization`] can help.
    pub(super) async fn challenged(
        &self,
        asking: &Asking<'_>,
        answer: Answer,
        used: Option<HeaderValue>,
    ) -> Failure {
        let wanted = challenge::pick(answer.headers());
        let session = self.session(asking.purpose.registry);
        let rejection = self.rejection(answer, true, self.looked(asking), &asking.purpose).await;
        let (Some(wanted), Failure::Final(error)) = (wanted, rejection) else {
            let looked = self.looked(asking).await;
            let (registry, what) = (asking.purpose.registry.clone(), asking.purpose.what.clone());
            let detail = ", in a way that is not supported (neither Basic nor Bearer)".to_owned();
            return RegistryError::Unauthorized { registry, what, detail, looked }.into();
        };
        let bearer = matches!(wanted, Challenge::Bearer { .. });
        let changed = lock(&session.challenge).replace(wanted.clone()).as_ref() != Some(&wanted);
        if bearer {
            let slots = lock(&session.tokens).values().cloned().collect::<Vec<_>>();
            for slot in slots {
                let mut token = slot.lock().await;
                token.take_if(|token| used.as_ref() == Some(&token.header));
            }
        }
        let has_login = match self.login(asking).await {
            Ok(found) => found.login.is_some(),
            Err(failure) => return failure,
        };
        // A password that was refused stays refused; a token may have run out.
        if (used.is_some() && !bearer && !changed) || (!bearer && !has_login) {
            return Failure::Final(error);
        }
        Failure::LoggedIn(error)
    }

    async fn fetch_token(
        &self,
        asking: &Asking<'_>,
        realm: &Url,
        service: Option<&str>,
        found: Found,
    ) -> Result<Token, Failure> {
        let registry = asking.purpose.registry;
        let also = self.options.realm_hosts.iter().map(RegistryHost::host).collect::<Vec<_>>();
        check_realm(&asking.home, realm, found.login.is_some(), &also).map_err(|detail| {
            let realm = printable(&SafeUrl::new(realm.clone()).to_string(), 200);
            RegistryError::Realm { registry: registry.clone(), realm, detail }
        })?;
        let what = format!("a token for {} from {}", asking.purpose.what, super::transport::authority(realm));
        let purpose = Purpose { registry, what, lane: Lane::Tokens };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut answer = if let Some(Login::IdentityToken(token)) = &found.login {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            let payload = Payload::small(refresh_form(asking, service, token).into());
            self.send(&purpose, &Method::POST, realm, headers, Some(payload)).await?
        } else {
            let mut url = realm.clone();
            {
                let mut query = url.query_pairs_mut();
                query.extend_pairs(service.map(|service| ("service", service)));
                query.extend_pairs(asking.scope.0.iter().map(|scope| ("scope", scope)));
            }
            let login = match &found.login {
                Some(Login::Basic { user, password }) => basic(user, password),
                _ => None,
            };
            self.follow(&purpose, &Method::GET, &url, &headers, login).await?
        };
        if answer.status() == http::StatusCode::NOT_FOUND {
            return Err(protocol(&purpose, "there is no token server (HTTP status 404)").into());
        }
        if !answer.status().is_success() {
            return Err(self.rejection(answer, true, self.looked(asking), &purpose).await);
        }
        let received = Instant::now();
        let body = answer.body(MAX_TOKEN, &purpose).await?;
        // The cause would show parts of the answer, which holds a token.
        let parsed = serde_json::from_slice::<TokenAnswer>(&body)
            .map_err(|_| protocol(&purpose, "the token server's answer is not a token"))?;
        let token = parsed.token.filter(|t| !t.is_empty()).or(parsed.access_token).unwrap_or_default();
        let header = header("Bearer", &token)
            .filter(|_| !token.is_empty())
            .ok_or_else(|| protocol(&purpose, "the token server's answer holds no usable token"))?;
        let lifetime = parsed.expires_in.filter(|s| *s > 0).map_or(DEFAULT_LIFETIME, Duration::from_secs);
        let lifetime = lifetime.min(Duration::from_secs(24 * 3600));
        Ok(Token { header, until: received + (lifetime - RENEW_BEFORE.min(lifetime / 10)) })
    }

    /// One request to a registry, logged in as far as it wants that, redirects followed. The answer may have
    /// any status but 401 from the registry.
    pub(super) async fn ask(
        &self,
        asking: &Asking<'_>,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<Answer, Failure> {
        let own = super::redirect::same_origin(url, &asking.home);
        let authorization = if own { self.authorization(asking).await? } else { None };
        let answer = self.follow(&asking.purpose, method, url, headers, authorization.clone()).await?;
        self.checked(asking, answer, authorization).await
    }

    /// One request with a body; redirects are not followed.
    pub(super) async fn ask_with(
        &self,
        asking: &Asking<'_>,
        method: &Method,
        url: &Url,
        mut headers: HeaderMap,
        payload: Payload,
    ) -> Result<Answer, Failure> {
        let own = super::redirect::same_origin(url, &asking.home);
        let authorization = if own { self.authorization(asking).await? } else { None };
        if let Some(authorization) = &authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let answer = self.send(&asking.purpose, method, url, headers, Some(payload)).await?;
        self.checked(asking, answer, authorization).await
    }

    async fn checked(
        &self,
        asking: &Asking<'_>,
        answer: Answer,
        used: Option<HeaderValue>,
    ) -> Result<Answer, Failure> {
        let own = super::redirect::same_origin(&answer.url, &asking.home);
        if answer.status() == http::StatusCode::UNAUTHORIZED && own {
            return Err(self.challenged(asking, answer, used).await);
        }
        Ok(answer)
    }

    /// [`Self::rejection`] for an answer to `asking`.
    pub(super) async fn rejected(&self, asking: &Asking<'_>, answer: Answer) -> Failure {
        let home = super::redirect::same_origin(&answer.url, &asking.home);
        self.rejection(answer, home, self.looked(asking), &asking.purpose).await
    }
}
