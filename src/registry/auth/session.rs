// SPDX-License-Identifier: Apache-2.0
//! What is known about the authentication to one registry: its challenges, and the tokens that answer them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderValue;
use parking_lot::Mutex;

use crate::registry::auth::challenge::Challenge;
use crate::registry::auth::context::Scope;
use crate::registry::auth::token::Token;

/// Most tokens that are kept: more are only possible if a registry keeps requesting different ones.
const MAX_TOKENS: usize = 10_000;

/// Holds a token; locked while it is fetched, because many requests wait for one token.
pub(in crate::registry) type TokenSlot = Arc<tokio::sync::Mutex<Option<Token>>>;

/// A token is for one challenge and one scope, and comes from the credentials of one entry, if any.
type TokenKey = (Challenge, Scope, Option<String>);

/// The challenges of a registry. Repositories of one registry may have different token servers.
#[derive(Debug, Default)]
struct Challenges {
    /// The last 401 to a request of each scope.
    by_scope: HashMap<Scope, Challenge>,
    latest: Option<Challenge>,
}

/// What one request is authenticated with.
#[derive(Debug)]
pub(in crate::registry) struct Authorization {
    pub(in crate::registry) header: HeaderValue,
    /// The slot of the token; `None` for a password.
    pub(in crate::registry) slot: Option<TokenSlot>,
}

/// Held by the first request to a registry until its response arrives.
#[derive(Debug)]
pub(in crate::registry) struct FirstRequest<'a> {
    session: &'a Session,
    _others: tokio::sync::MutexGuard<'a, ()>,
}

impl Drop for FirstRequest<'_> {
    fn drop(&mut self) {
        self.session.answered.store(true, Ordering::Release);
    }
}

/// What is known about the authentication to one registry.
#[derive(Debug, Default)]
pub(in crate::registry) struct Session {
    challenges: Mutex<Challenges>,
    /// Whether a request was answered, or failed.
    answered: AtomicBool,
    first: tokio::sync::Mutex<()>,
    tokens: Mutex<HashMap<TokenKey, TokenSlot>>,
}

impl Session {
    /// The first request is sent alone. The requests that wait for it then use its challenge, and are not all refused
    /// once.
    pub(in crate::registry) async fn first_request(&self) -> Option<FirstRequest<'_>> {
        if self.answered.load(Ordering::Acquire) {
            return None;
        }
        let others = self.first.lock().await;
        let answered = self.answered.load(Ordering::Acquire);
        (!answered).then_some(FirstRequest { session: self, _others: others })
    }

    /// The slot of a token. If there are very many, those that are not in use are dropped.
    pub(in crate::registry) fn slot(&self, key: TokenKey) -> TokenSlot {
        let mut tokens = self.tokens.lock();
        if tokens.len() >= MAX_TOKENS {
            tokens.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(tokens.entry(key).or_default())
    }

    /// The challenge for a request of this scope, and whether it came with a request of another scope.
    pub(in crate::registry) fn challenge(&self, scope: &Scope) -> Option<(Challenge, bool)> {
        let challenges = self.challenges.lock();
        if let Some(known) = challenges.by_scope.get(scope) {
            return Some((known.clone(), false));
        }
        challenges.latest.clone().map(|latest| (latest.without_scopes(), true))
    }

    /// Whether a request was refused with a challenge.
    pub(in crate::registry) fn was_challenged(&self) -> bool {
        self.challenges.lock().latest.is_some()
    }

    /// Records the challenge to a request of this scope. Returns whether it differs from the one that was answered.
    pub(in crate::registry) fn record(&self, scope: &Scope, challenge: &Challenge) -> bool {
        let mut challenges = self.challenges.lock();
        challenges.latest = Some(challenge.clone());
        challenges.by_scope.insert(scope.clone(), challenge.clone()).as_ref() != Some(challenge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_keeps_requesting_other_tokens_does_not_fill_memory() {
        let (session, scope) = (Session::default(), Scope(vec!["repository:a:pull".to_owned()]));
        let key = |n: usize| (Challenge::Basic, scope.clone(), Some(n.to_string()));
        let used = session.slot(key(0));
        for n in 1..2 * MAX_TOKENS {
            session.slot(key(n));
            assert!(session.tokens.lock().len() <= MAX_TOKENS);
        }
        assert!(Arc::ptr_eq(&used, &session.slot(key(0))), "one that is in use stays");
    }
}
