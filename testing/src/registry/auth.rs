// SPDX-License-Identifier: Apache-2.0
//! Authentication and permissions: Basic passwords, and a token server.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde_json::json;

use super::Auth;
use super::route::{Route, pairs};
use super::server::{Reply, ServerState, error, json_reply};

/// The name by which the registry calls itself in challenges.
const SERVICE: &str = "krs-testing";

/// What a token allows: `type:name:action`.
type Access = HashSet<String>;

/// The tokens that were given.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Mutex<HashMap<String, (Instant, Access)>>);

impl Tokens {
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    fn give(&self, good_for: Duration, access: Access) -> String {
        // Randomness of the standard library's hash maps: enough to tell tokens of a test apart.
        let random = || std::hash::RandomState::new().build_hasher().finish();
        let token = format!("token-{:016x}{:016x}", random(), random());
        self.0.lock().unwrap().insert(token.clone(), (Instant::now() + good_for, access));
        token
    }

    fn access(&self, token: &str) -> Option<Access> {
        let tokens = self.0.lock().unwrap();
        let (until, access) = tokens.get(token)?;
        (Instant::now() < *until).then(|| access.clone())
    }
}

/// The access that a request needs, as `type:name` with its actions.
fn needed(
    method: &str,
    route: &Route,
    query: &HashMap<String, String>,
    mounts: bool,
) -> Vec<(String, Vec<&'static str>)> {
    let actions = match method {
        "GET" | "HEAD" => vec!["pull"],
        "DELETE" => vec!["delete"],
        _ => vec!["pull", "push"],
    };
    let Some(repository) = route.repository() else {
        return match route {
            Route::Catalog => vec![("registry:catalog".to_owned(), vec!["*"])],
            _ => Vec::new(),
        };
    };
    let mut needed = vec![(format!("repository:{repository}"), actions)];
    if let (Route::Uploads(_), "POST", true, Some(from)) = (route, method, mounts, query.get("from")) {
        needed.push((format!("repository:{from}"), vec!["pull"]));
    }
    needed
}

/// `None`: authenticated. Otherwise the 401.
pub(crate) fn check(
    shared: &ServerState,
    method: &str,
    headers: &HeaderMap,
    route: &Route,
    query: &HashMap<String, String>,
) -> Option<Reply> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match &shared.options.auth {
        Auth::None => None,
        Auth::Basic { user, password } => {
            (!is_user(given, user, password)).then(|| denied("Basic realm=\"krs-testing\""))
        }
        Auth::Bearer { .. } => {
            let needed = needed(method, route, query, shared.options.mounts);
            let token = given.and_then(|given| strip_scheme(given, "Bearer"));
            let access = token.and_then(|token| shared.tokens.access(token));
            let allowed = access.as_ref().is_some_and(|access| {
                let has = |name: &str, action: &&str| access.contains(&format!("{name}:{action}"));
                needed.iter().all(|(name, actions)| actions.iter().all(|action| has(name, action)))
            });
            if allowed {
                return None;
            }
            let mut challenge = challenge(&shared.realm(), &needed);
            if access.is_some() {
                challenge.push_str(",error=\"insufficient_scope\"");
            } else if token.is_some() {
                challenge.push_str(",error=\"invalid_token\"");
            }
            Some(denied(&challenge))
        }
    }
}

fn challenge(realm: &str, needed: &[(String, Vec<&'static str>)]) -> String {
    let scopes = needed.iter().map(|(name, actions)| format!("{name}:{}", actions.join(",")));
    let scopes = scopes.collect::<Vec<_>>().join(" ");
    let scopes = if scopes.is_empty() { scopes } else { format!(",scope=\"{scopes}\"") };
    format!("Bearer realm=\"{realm}\",service=\"{SERVICE}\"{scopes}")
}

/// A 401 that sends the client to another realm ([`super::What::Realm`]).
pub(crate) fn sent_to(realm: &str, method: &str, route: &Route, query: &HashMap<String, String>) -> Reply {
    denied(&challenge(realm, &needed(method, route, query, true)))
}

fn denied(challenge: &str) -> Reply {
    let mut reply = error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required");
    reply.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
    reply
}

fn strip_scheme<'a>(given: &'a str, scheme: &str) -> Option<&'a str> {
    let (given_scheme, rest) = given.split_once(' ')?;
    given_scheme.eq_ignore_ascii_case(scheme).then_some(rest.trim())
}

fn is_user(given: Option<&str>, user: &str, password: &str) -> bool {
    let encoded = given.and_then(|given| strip_scheme(given, "Basic"));
    encoded.and_then(|encoded| STANDARD.decode(encoded).ok())
        == Some(format!("{user}:{password}").into_bytes())
}

/// The token server: `GET` with Basic or without, or `POST` with a form (OAuth 2).
pub(crate) fn token(
    shared: &ServerState,
    method: &str,
    headers: &HeaderMap,
    query: &str,
    body: &Bytes,
) -> Reply {
    let Auth::Bearer { user, password, expires_in, anonymous_pull } = &shared.options.auth else {
        return error(StatusCode::NOT_FOUND, "UNSUPPORTED", "there is no token server");
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let form = if method == "POST" { std::str::from_utf8(body).unwrap_or_default() } else { query };
    let fields = pairs(form);
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let known = match (method, field("grant_type")) {
        ("GET", _) => is_user(given, user, password),
        (_, Some("password")) => field("username") == Some(user) && field("password") == Some(password),
        // The password doubles as the identity token that `docker login` may keep.
        (_, Some("refresh_token")) => field("refresh_token") == Some(password),
        _ => false,
    };
    let anonymous = *anonymous_pull && method == "GET" && given.is_none();
    if !known && !anonymous {
        return error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "wrong user or password");
    }
    if field("service").is_some_and(|service| service != SERVICE) {
        return error(StatusCode::BAD_REQUEST, "DENIED", "unknown service");
    }
    let mut access = Access::new();
    let scopes = fields.iter().filter(|(key, _)| key == "scope").flat_map(|(_, value)| value.split(' '));
    for (name, actions) in scopes.filter_map(|scope| scope.rsplit_once(':')) {
        let allowed = |action: &&str| known || (*action == "pull" && name.starts_with("repository:"));
        access.extend(actions.split(',').filter(allowed).map(|action| format!("{name}:{action}")));
    }
    let token = shared.tokens.give(*expires_in, access);
    let seconds = expires_in.as_secs().max(1);
    json_reply(
        StatusCode::OK,
        "application/json",
        &json!({"token": token, "access_token": token, "expires_in": seconds}),
    )
}
