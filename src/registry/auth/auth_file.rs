// SPDX-License-Identifier: Apache-2.0
//! Files with credentials as docker and the containers tools write them (`config.json`, `auth.json`).

use std::collections::{BTreeMap, HashMap};

use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine as _, alphabet};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;
use serde_json::Value;

use crate::oci::reference::RepositoryName;
use crate::redact::Secret;
use crate::registry::auth::credentials::Credentials;
use crate::registry::failure::keychain::KeychainError;

/// Credentials of one entry, or what is wrong with it. An error matters only for the registry of the entry.
type Entry = Result<Credentials, &'static str>;

/// The content of one file. Keys are normalized: `host[:port][/path]`.
#[derive(Debug, Clone)]
pub(in crate::registry) struct AuthFile {
    pub(in crate::registry) path: Utf8PathBuf,
    entries: HashMap<String, Entry>,
    /// Names of credential helpers as the file has them; an empty name means the file itself.
    pub(in crate::registry) helpers: HashMap<String, String>,
    pub(in crate::registry) store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RawFile {
    auths: Option<BTreeMap<String, Value>>,
    cred_helpers: Option<BTreeMap<String, Value>>,
    creds_store: Option<Value>,
}

/// Base64 as it is found in files: with and without padding, and with stray bits in its last character.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[derive(Deserialize)]
struct RawEntry {
    auth: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
    #[serde(alias = "identityToken")]
    identitytoken: Option<Secret>,
}

/// `host[:port][/path]` of a key, as files write it: also `https://host/v1/`, and Docker Hub's several names.
pub(in crate::registry) fn normalize(key: &str) -> String {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest).trim_end_matches('/');
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io",
        other => other,
    };
    let host = host.to_ascii_lowercase();
    if matches!(path, "" | "v1" | "v2") { host } else { format!("{host}/{path}") }
}

/// The credentials of an entry; `None` if it has none, because a helper keeps them.
fn parse_entry(raw: Value) -> Option<Entry> {
    if raw.is_null() {
        return None;
    }
    // The error's own text would show parts of the content.
    let Ok(raw) = serde_json::from_value::<RawEntry>(raw) else {
        return Some(Err("it has an unexpected shape"));
    };
    if let Some(token) = raw.identitytoken.filter(|token| !token.is_empty()) {
        return Some(Ok(Credentials::IdentityToken(token)));
    }
    if let Some(auth) = raw.auth.filter(|auth| !auth.expose().trim().is_empty()) {
        return Some(parse_pair(auth.expose()));
    }
    match (raw.username, raw.password) {
        (Some(user), Some(password)) if !user.is_empty() => Some(Ok(Credentials::new(user, password))),
        _ => None,
    }
}

/// Base64 of `USER:PASSWORD`, also broken into lines, as `base64` prints it.
fn parse_pair(auth: &str) -> Entry {
    let auth = auth.split_ascii_whitespace().collect::<String>();
    let bytes = BASE64.decode(auth).map_err(|_| "`auth` is not base64")?;
    let text = String::from_utf8(bytes).map_err(|_| "`auth` is not text")?;
    let (user, password) = text.split_once(':').ok_or("`auth` is not USER:PASSWORD")?;
    // docker pads with NUL; `echo` ends the line.
    let password = password.trim_end_matches('\0').trim_end_matches(['\r', '\n']);
    Ok(Credentials::new(user.to_owned(), Secret::new(password)))
}

/// Whether `docker-credential-NAME` is the name of a program and not a path.
pub(in crate::registry) fn is_helper_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// The name of a credential helper. A value that is not a string becomes a name that no helper has.
fn helper_name(name: Value) -> String {
    match name {
        Value::String(name) => name,
        Value::Null => String::new(),
        _ => "?".to_owned(),
    }
}

/// Parses the content of a file. An empty file has no entries.
pub(in crate::registry) fn parse_json(path: &Utf8Path, bytes: &[u8]) -> Result<Value, KeychainError> {
    let unusable = |detail: String| KeychainError::File { path: path.to_string(), detail };
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii();
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(unusable("it is UTF-16; expected UTF-8".to_owned()));
    }
    // The error's own text would show parts of the content.
    let position = |error: &serde_json::Error| format!("line {}, column {}", error.line(), error.column());
    match bytes {
        [] => Ok(Value::Object(serde_json::Map::new())),
        bytes => serde_json::from_slice::<Value>(bytes)
            .map_err(|error| unusable(format!("it is not JSON ({})", position(&error)))),
    }
}

/// Files of old versions (`.dockercfg`) are the table of entries alone.
pub(in crate::registry) fn is_old_form(value: &Value) -> bool {
    value.as_object().is_some_and(|map| {
        !map.is_empty()
            && !["auths", "credHelpers", "credsStore"].iter().any(|key| map.contains_key(*key))
            && map.values().all(|entry| entry.get("auth").is_some() || entry.get("username").is_some())
    })
}

impl AuthFile {
    /// Reads a file. An empty file has no entries.
    pub(in crate::registry) fn parse(path: &Utf8Path, bytes: &[u8]) -> Result<Self, KeychainError> {
        let unusable = |detail: String| KeychainError::File { path: path.to_string(), detail };
        let value = parse_json(path, bytes)?;
        let shape = |_| unusable("it does not have the shape of a file with credentials".to_owned());
        let raw = if is_old_form(&value) {
            RawFile { auths: Some(serde_json::from_value(value).map_err(shape)?), ..RawFile::default() }
        } else {
            serde_json::from_value::<RawFile>(value).map_err(shape)?
        };
        let entries = raw.auths.unwrap_or_default().into_iter();
        let entries = entries.filter_map(|(key, raw)| Some((normalize(&key), parse_entry(raw)?))).collect();
        let helpers = raw.cred_helpers.unwrap_or_default().into_iter();
        let helpers = helpers.map(|(key, name)| (normalize(&key), helper_name(name))).collect();
        let store = raw.creds_store.map(helper_name).filter(|store| !store.is_empty());
        Ok(Self { path: path.to_owned(), entries, helpers, store })
    }

    pub(in crate::registry) fn without_helpers(&self) -> Self {
        Self { helpers: HashMap::new(), store: None, ..self.clone() }
    }

    /// Whether it has entries, usable or not.
    pub(in crate::registry) fn has_entries(&self) -> bool {
        !self.entries.is_empty()
    }

    /// Whether it has an entry, usable or not, of this normalized key.
    pub(in crate::registry) fn has_entry(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The credentials for a registry and for paths in it.
    pub(in crate::registry) fn credentials_below(
        &self,
        registry: &str,
    ) -> Result<Vec<(String, &Credentials)>, KeychainError> {
        let belongs = |key: &str| {
            key.strip_prefix(registry).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let below = self.entries.iter().filter(|(key, _)| belongs(key));
        below.map(|(key, entry)| Ok((key.clone(), self.usable(key, entry)?))).collect()
    }

    /// The most specific credentials: for the repository, for a prefix of its path, or for the registry.
    pub(in crate::registry) fn credentials(
        &self,
        registry: &str,
        repository: Option<&RepositoryName>,
    ) -> Result<Option<(&Credentials, String)>, KeychainError> {
        let mut key = match repository {
            Some(repository) => format!("{registry}/{repository}"),
            None => registry.to_owned(),
        };
        loop {
            if let Some(entry) = self.entries.get(&key) {
                return Ok(Some((self.usable(&key, entry)?, key)));
            }
            let Some(parent) = key.rfind('/') else { return Ok(None) };
            key.truncate(parent);
        }
    }

    fn usable<'a>(&self, key: &str, entry: &'a Entry) -> Result<&'a Credentials, KeychainError> {
        entry.as_ref().map_err(|detail| {
            let detail = format!("entry `{}`: {detail}", crate::redact::printable(key, 100));
            KeychainError::File { path: self.path.to_string(), detail }
        })
    }
}
