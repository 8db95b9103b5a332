// SPDX-License-Identifier: Apache-2.0
//! Authenticated requests: the challenge of a registry, and the credentials or the token that meet it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Method};
use url::Url;

use crate::oci::reference::{RegistryHost, RepositoryName};
use crate::redact::{Secret, printable};
use crate::registry::auth::auth_file::Login;
use crate::registry::auth::challenge::{self, Challenge};
use crate::registry::auth::keychain::Found;
use crate::registry::auth::token::Token;
use crate::registry::client::Inner;
use crate::registry::failure::error::{CredentialUse, RegistryError};
use crate::registry::failure::keychain::KeychainError;
use crate::registry::failure::outcome::Failure;
use crate::registry::transport::exchange::{Answer, Payload, Purpose, lock};

/// Tokens that are kept, at most: more only where a registry asks for ever other ones.
const MAX_TOKENS: usize = 10_000;
/// How long the answer of a credential helper is used.
const HELPER_LIFETIME: Duration = Duration::from_secs(300);

/// What a request may do to which repositories.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(in crate::registry) struct Scope(pub(in crate::registry) Vec<String>);

impl Scope {
    pub(in crate::registry) fn pull(name: &RepositoryName) -> Self {
        Self(vec![format!("repository:{name}:pull")])
    }

    pub(in crate::registry) fn push(name: &RepositoryName) -> Self {
        Self(vec![format!("repository:{name}:pull,push")])
    }

    /// Also reading `name`, which a mount needs.
    pub(in crate::registry) fn and_pull(mut self, name: &RepositoryName) -> Self {
        self.0.push(format!("repository:{name}:pull"));
        self
    }
}

type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

/// What a credential helper knows, or how it failed.
type HelperAnswer = Result<Option<Found>, KeychainError>;

/// How a registry wants to be authenticated to: repositories of one registry may have token servers of their own.
#[derive(Debug, Default)]
struct Challenges {
    /// What the last 401 to a request of each scope said.
    known: HashMap<Scope, Challenge>,
    latest: Option<Challenge>,
}

/// What one request is authenticated with.
#[derive(Debug)]
struct Authorization {
    header: HeaderValue,
    /// Where the token is kept; nothing for a password.
    slot: Option<Slot>,
}

/// Held by the first request to a registry until it is answered.
struct First<'a> {
    session: &'a Session,
    _others: tokio::sync::MutexGuard<'a, ()>,
}

impl Drop for First<'_> {
    fn drop(&mut self) {
        self.session.answered.store(true, Ordering::Release);
    }
}

/// A token is for one challenge and one scope, and comes from the credentials of one entry, where there are any.
type TokenKey = (Challenge, Scope, Option<String>);

/// What is known about the authentication to one registry.
#[derive(Debug, Default)]
pub(in crate::registry) struct Session {
    challenges: Mutex<Challenges>,
    /// Whether a request was answered, or failed.
    answered: AtomicBool,
    first: tokio::sync::Mutex<()>,
    // One lock for each token, held while it is fetched: many requests wait for one token.
    tokens: Mutex<HashMap<TokenKey, Slot>>,
    // Also what a helper failed with: one that hangs costs its time limit once, not for every image.
    helper: tokio::sync::Mutex<HashMap<String, (Instant, HelperAnswer)>>,
    /// Whether it was told that credentials may be missing.
    told_unusable: AtomicBool,
}

impl Session {
    /// The first request goes alone: with the challenge that it brings, those that wait for it meanwhile are
    /// authenticated, and are not all refused once.
    async fn first_request(&self) -> Option<First<'_>> {
        if self.answered.load(Ordering::Acquire) {
            return None;
        }
        let others = self.first.lock().await;
        let answered = self.answered.load(Ordering::Acquire);
        (!answered).then_some(First { session: self, _others: others })
    }

    /// Where the token of a kind is kept. Where there are very many, those that nobody is using are dropped.
    fn slot(&self, key: TokenKey) -> Slot {
        let mut tokens = lock(&self.tokens);
        if tokens.len() >= MAX_TOKENS {
            tokens.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(tokens.entry(key).or_default())
    }

    /// The challenge to meet with a request of this scope, and whether it is one that other requests brought.
    fn challenge(&self, scope: &Scope) -> Option<(Challenge, bool)> {
        let challenges = lock(&self.challenges);
        if let Some(known) = challenges.known.get(scope) {
            return Some((known.clone(), false));
        }
        challenges.latest.clone().map(|latest| (latest.without_scopes(), true))
    }

    /// Takes note of the challenge to a request of this scope. Answers whether it is another than was met.
    fn learn(&self, scope: &Scope, challenge: &Challenge) -> bool {
        let mut challenges = lock(&self.challenges);
        challenges.latest = Some(challenge.clone());
        challenges.known.insert(scope.clone(), challenge.clone()).as_ref() != Some(challenge)
    }
}

pub(in crate::registry) fn header(scheme: &str, value: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("{scheme} {value}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

pub(in crate::registry) fn basic(user: &str, password: &Secret) -> Option<HeaderValue> {
    header("Basic", &STANDARD.encode(format!("{user}:{}", password.expose())))
}

/// What is being asked for, of whom, with which rights.
#[derive(Debug, Clone)]
pub(in crate::registry) struct Asking<'a> {
    pub(in crate::registry) purpose: Purpose<'a>,
    pub(in crate::registry) repository: Option<&'a RepositoryName>,
    pub(in crate::registry) scope: Scope,
    /// The registry's address.
    pub(in crate::registry) home: Url,
}

impl Inner {
    fn session(&self, registry: &RegistryHost) -> Arc<Session> {
        Arc::clone(lock(&self.sessions).entry(registry.clone()).or_default())
    }

    /// The login for a repository; answers of helpers are kept for a while. A helper that cannot be run here is as good as
    /// one that knows nothing, until the registry refuses a request for it.
    async fn login(&self, asking: &Asking<'_>) -> Result<Found, Failure> {
        let found = self.find_login(asking).await.map_err(RegistryError::from)?;
        if let (None, Some(unusable)) = (&found.login, &found.unusable)
            && !self.session(asking.purpose.registry).told_unusable.swap(true, Ordering::Relaxed)
        {
            self.notify(&format!("{}: going on without credentials: {unusable}", asking.purpose.registry));
        }
        Ok(found)
    }

    async fn find_login(&self, asking: &Asking<'_>) -> Result<Found, KeychainError> {
        let (registry, repository) = (asking.purpose.registry, asking.repository);
        let keychain = &self.options.keychain;
        let Some(helper) = keychain.helper(registry, repository) else {
            return keychain.stored(registry, repository);
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
        match answer {
            Ok(Some(found)) => Ok(found),
            Ok(None) => keychain.beside(&helper, registry, repository, None),
            Err(absent @ KeychainError::NoHelper { .. }) => {
                keychain.beside(&helper, registry, repository, Some(absent))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether two repositories of a registry are reached with the same credentials.
    pub(in crate::registry) async fn same_credentials(
        &self,
        one: &Asking<'_>,
        other: &RepositoryName,
    ) -> Result<bool, Failure> {
        let other = Asking { repository: Some(other), ..one.clone() };
        let (one, other) = (self.login(one).await?, self.login(&other).await?);
        Ok(one.origin == other.origin)
    }

    /// Which credentials there are for a request, for a message.
    pub(in crate::registry) async fn looked(&self, asking: &Asking<'_>) -> CredentialUse {
        let used = match self.login(asking).await {
            Ok(Found { login: Some(Login::Basic { user, .. }), origin: Some(origin), .. }) => {
                Some(format!("user `{}` ({origin})", printable(&user, 100)))
            }
            Ok(Found { origin: Some(origin), .. }) => Some(format!("the credentials from {origin}")),
            Ok(Found { unusable: Some(unusable), .. }) => {
                return CredentialUse { used: None, searched: unusable.to_string() };
            }
            _ => None,
        };
        CredentialUse { used, searched: self.options.keychain.searched() }
    }

    /// What to send with a request, as far as it is known what the registry wants.
    async fn authorization(
        &self,
        session: &Session,
        asking: &Asking<'_>,
    ) -> Result<Option<Authorization>, Failure> {
        let Some((challenge, assumed)) = session.challenge(&asking.scope) else { return Ok(None) };
        match self.meet(session, asking, challenge).await {
            // The challenge to another request may not suit this one, which has not been refused yet.
            Err(Failure::Final(_)) if assumed => Ok(None),
            outcome => outcome,
        }
    }

    async fn meet(
        &self,
        session: &Session,
        asking: &Asking<'_>,
        challenge: Challenge,
    ) -> Result<Option<Authorization>, Failure> {
        let found = self.login(asking).await?;
        let Challenge::Bearer { realm, service, scopes } = &challenge else {
            let header = match &found.login {
                Some(Login::Basic { user, password }) => basic(user, password),
                Some(Login::IdentityToken(_)) | None => None,
            };
            return Ok(header.map(|header| Authorization { header, slot: None }));
        };
        let slot = {
            let key = (challenge.clone(), asking.scope.clone(), found.origin.clone());
            session.slot(key)
        };
        let mut token = slot.lock().await;
        let header = match token.as_ref().filter(|token| token.until > Instant::now()) {
            Some(token) => token.header.clone(),
            None => {
                let fresh = self.fetch_token(asking, realm, service.as_deref(), scopes, found).await?;
                token.insert(fresh).header.clone()
            }
        };
        drop(token);
        Ok(Some(Authorization { header, slot: Some(slot) }))
    }

    /// The first of the challenges that may be met: one whose token server may not be sent the credentials only where
    /// there is no other.
    fn choose(
        &self,
        asking: &Asking<'_>,
        mut offers: Vec<Challenge>,
        login: Option<&Login>,
    ) -> Option<Challenge> {
        let suits = |challenge: &Challenge| match challenge {
            Challenge::Basic => matches!(login, Some(Login::Basic { .. })),
            Challenge::Bearer { realm, .. } => self.check_realm(asking, realm, login.is_some()).is_ok(),
        };
        let index = offers.iter().position(suits).unwrap_or(0);
        (index < offers.len()).then(|| offers.swap_remove(index))
    }

    /// The registry refused a request with 401, sent with `used`: learns what it wants. The failure says whether a retry
    /// can help.
    async fn challenged(
        &self,
        session: &Session,
        asking: &Asking<'_>,
        answer: Answer,
        used: Option<Authorization>,
    ) -> Failure {
        let offers = challenge::offers(answer.headers());
        let login = match self.login(asking).await {
            Ok(found) => found.login,
            Err(failure) => return failure,
        };
        let wanted = self.choose(asking, offers, login.as_ref());
        // Before the answer is read to its end: others wait for it.
        let changed = wanted.as_ref().is_some_and(|wanted| session.learn(&asking.scope, wanted));
        let rejection = self.rejection(answer, true, self.looked(asking), &asking.purpose).await;
        let (Some(wanted), Failure::Final(error)) = (wanted, rejection) else {
            let credentials = self.looked(asking).await;
            let (registry, what) = (asking.purpose.registry.clone(), asking.purpose.what.clone());
            let detail = ", in a way that is not supported (neither Basic nor Bearer)".to_owned();
            return RegistryError::Unauthorized { registry, what, detail, credentials }.into();
        };
        let was_used = used.is_some();
        if let Some(Authorization { header, slot: Some(slot) }) = used {
            slot.lock().await.take_if(|token| token.header == header);
        }
        let bearer = matches!(wanted, Challenge::Bearer { .. });
        // A password that was refused stays refused; a token may have run out.
        if !bearer && ((was_used && !changed) || login.is_none()) {
            return Failure::Final(error);
        }
        Failure::LoggedIn(error)
    }

    /// One request to a registry, authenticated as far as it wants that, redirects followed. The answer may have any status
    /// but 401 from the registry.
    pub(in crate::registry) async fn ask(
        &self,
        asking: &Asking<'_>,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<Answer, Failure> {
        self.exchange(asking, method, url, headers, None).await
    }

    /// [`Self::ask`] with a body, which is sent again where a redirect says so (307, 308).
    pub(in crate::registry) async fn ask_with(
        &self,
        asking: &Asking<'_>,
        method: &Method,
        url: &Url,
        headers: HeaderMap,
        payload: Payload,
    ) -> Result<Answer, Failure> {
        self.exchange(asking, method, url, &headers, Some(&payload)).await
    }

    async fn exchange(
        &self,
        asking: &Asking<'_>,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        payload: Option<&Payload>,
    ) -> Result<Answer, Failure> {
        let is_home = |url: &Url| crate::registry::transport::redirect::same_origin(url, &asking.home);
        if !is_home(url) {
            return self.follow(&asking.purpose, method, url, headers, None, payload).await;
        }
        let session = self.session(asking.purpose.registry);
        let _first = session.first_request().await;
        let used = self.authorization(&session, asking).await?;
        let header = used.as_ref().map(|used| used.header.clone());
        let mut answer = self.follow(&asking.purpose, method, url, headers, header, payload).await?;
        if answer.status() == http::StatusCode::UNAUTHORIZED && is_home(&answer.url) {
            return Err(self.challenged(&session, asking, answer, used).await);
        }
        // A login page that answers 200 to everything has stored nothing.
        if payload.is_some() && answer.status().is_success() && answer.is_typed_as_page() {
            let body = answer.beginning(&asking.purpose).await;
            if let Some(failure) = answer.intercepted(&asking.purpose, &body) {
                return Err(failure);
            }
        }
        Ok(answer)
    }

    /// [`Self::rejection`] for an answer to `asking`.
    pub(in crate::registry) async fn rejected(&self, asking: &Asking<'_>, answer: Answer) -> Failure {
        let home = crate::registry::transport::redirect::same_origin(&answer.url, &asking.home);
        self.rejection(answer, home, self.looked(asking), &asking.purpose).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_asks_for_ever_other_tokens_fills_no_memory() {
        let (session, scope) = (Session::default(), Scope(vec!["repository:a:pull".to_owned()]));
        let key = |n: usize| (Challenge::Basic, scope.clone(), Some(n.to_string()));
        let used = session.slot(key(0));
        for n in 1..2 * MAX_TOKENS {
            session.slot(key(n));
            assert!(lock(&session.tokens).len() <= MAX_TOKENS);
        }
        assert!(Arc::ptr_eq(&used, &session.slot(key(0))), "one that is in use stays");
    }
}
