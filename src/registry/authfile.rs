// SPDX-License-Identifier: Apache-2.0
//! Files with logins as docker and the containers tools write them (`config.json`, `auth.json`).

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use super::keychain::KeychainError;
use crate::redact::Secret;
use crate::reference::RepositoryName;

/// A login to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Login {
    /// User name and password.
    Basic { user: String, password: Secret },
    /// A refresh token that a token server turns into access tokens.
    IdentityToken(Secret),
}

impl Login {
    /// As an entry of a file with logins.
    pub(super) fn entry(&self) -> serde_json::Value {
        match self {
            Self::Basic { user, password } => {
                serde_json::json!({"auth": STANDARD.encode(format!("{user}:{}", password.expose()))})
            }
            // Readers take the token only beside an `auth` of the usual shape.
            Self::IdentityToken(token) => serde_json::json!({
                "auth": STANDARD.encode(format!("{TOKEN_USER}:")),
                "identitytoken": token.expose(),
            }),
        }
    }
}

/// What one file holds. Keys are normalised: `host[:port][/path]`.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: Utf8PathBuf,
    logins: HashMap<String, Login>,
    pub(super) helpers: HashMap<String, String>,
    pub(super) store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RawFile {
    auths: Option<BTreeMap<String, RawEntry>>,
    cred_helpers: Option<BTreeMap<String, String>>,
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct RawEntry {
    auth: Option<Secretly>,
    username: Option<String>,
    password: Option<Secretly>,
    #[serde(alias = "identityToken")]
    identitytoken: Option<Secretly>,
}

/// A secret while it is read.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Secretly(pub(super) String);

/// The login that helpers and files call `<token>` is a refresh token.
const TOKEN_USER: &str = "<token>";

pub(super) fn login(user: String, password: String) -> Login {
    if user == TOKEN_USER {
        return Login::IdentityToken(Secret::new(password));
    }
    Login::Basic { user, password: Secret::new(password) }
}

/// `host[:port][/path]` of a key, as files write it: also `https://host/v1/`, and Docker Hub's several names.
pub(super) fn normalise(key: &str) -> String {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest).trim_end_matches('/');
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io",
        other => other,
    };
    let host = host.to_ascii_lowercase();
    if matches!(path, "" | "v1" | "v2") { host } else { format!("{host}/{path}") }
}

fn entry(raw: RawEntry) -> Result<Option<Login>, &'static str> {
    if let Some(Secretly(token)) = raw.identitytoken.filter(|token| !token.0.is_empty()) {
        return Ok(Some(Login::IdentityToken(Secret::new(token))));
    }
    if let Some(Secretly(auth)) = raw.auth.filter(|auth| !auth.0.trim().is_empty()) {
        let bytes = STANDARD.decode(auth.trim()).map_err(|_| "`auth` is not base64")?;
        let text = String::from_utf8(bytes).map_err(|_| "`auth` is not text")?;
        let (user, password) = text.split_once(':').ok_or("`auth` is not USER:PASSWORD")?;
        return Ok(Some(login(user.to_owned(), password.trim_end_matches('\0').to_owned())));
    }
    match (raw.username, raw.password) {
        (Some(user), Some(Secretly(password))) if !user.is_empty() => Ok(Some(login(user, password))),
        _ => Ok(None),
    }
}

fn is_helper_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

impl Source {
    pub(super) fn parse(path: &Utf8Path, bytes: &[u8]) -> Result<Self, KeychainError> {
        let bad = |detail: String| KeychainError::File { path: path.to_string(), detail };
        // The error's own text would show parts of the content.
        let place = |error: &serde_json::Error| format!("line {}, column {}", error.line(), error.column());
        let value = serde_json::from_slice::<serde_json::Value>(bytes)
            .map_err(|error| bad(format!("it is not JSON ({})", place(&error))))?;
        // Files of old versions (`.dockercfg`) are the table of logins alone.
        let old = value.as_object().is_some_and(|map| {
            !map.is_empty()
                && !["auths", "credHelpers", "credsStore"].iter().any(|key| map.contains_key(*key))
                && map.values().all(|entry| entry.get("auth").is_some() || entry.get("username").is_some())
        });
        let shape = |_| bad("it does not have the shape of a file with logins".to_owned());
        let raw = if old {
            RawFile { auths: Some(serde_json::from_value(value).map_err(shape)?), ..RawFile::default() }
        } else {
            serde_json::from_value::<RawFile>(value).map_err(shape)?
        };
        let mut logins = HashMap::new();
        for (key, raw) in raw.auths.unwrap_or_default() {
            let shown = crate::redact::printable(&key, 100);
            if let Some(login) = entry(raw).map_err(|detail| bad(format!("entry `{shown}`: {detail}")))? {
                logins.insert(normalise(&key), login);
            }
        }
        let helpers = raw.cred_helpers.unwrap_or_default();
        let helpers =
            helpers.into_iter().map(|(key, name)| (normalise(&key), name)).collect::<HashMap<_, _>>();
        let store = raw.creds_store.filter(|store| !store.is_empty());
        if let Some(name) = helpers.values().chain(&store).find(|name| !is_helper_name(name)) {
            let name = crate::redact::printable(name, 100);
            return Err(bad(format!("`{name}` is not the name of a credential helper")));
        }
        Ok(Self { path: path.to_owned(), logins, helpers, store })
    }

    /// The logins for a registry and for paths in it.
    pub(super) fn logins_below<'a>(
        &'a self,
        registry: &'a str,
    ) -> impl Iterator<Item = (String, &'a Login)> + 'a {
        let belongs = move |key: &str| {
            key.strip_prefix(registry).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.logins.iter().filter(move |(key, _)| belongs(key)).map(|(key, login)| (key.clone(), login))
    }

    /// The most specific login: for the repository, for a path that it lies in, for the registry.
    pub(super) fn login(
        &self,
        registry: &str,
        repository: Option<&RepositoryName>,
    ) -> Option<(&Login, String)> {
        let mut key = match repository {
            Some(repository) => format!("{registry}/{repository}"),
            None => registry.to_owned(),
        };
        loop {
            if let Some(login) = self.logins.get(&key) {
                return Some((login, key));
            }
            let parent = key.rfind('/')?;
            key.truncate(parent);
        }
    }
}
