// SPDX-License-Identifier: Apache-2.0
//! Changes one entry of a file with credentials, and leaves the rest as it is.

use std::fmt;
use std::str::FromStr;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::error::{Classify, ErrorKind};
use crate::oci::reference::{ParseReferenceError, RegistryHost, RepositoryName};
use crate::redact::Secret;
use crate::registry::auth::auth_file::{AuthFile, is_old_form, normalize, parse_json};
use crate::registry::auth::credentials::Credentials;
use crate::registry::failure::keychain::KeychainError;

/// The key of an entry: a registry, or a path in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialKey {
    registry: RegistryHost,
    path: Option<RepositoryName>,
}

impl CredentialKey {
    /// The registry.
    pub const fn registry(&self) -> &RegistryHost {
        &self.registry
    }
}

impl FromStr for CredentialKey {
    type Err = ParseReferenceError;

    /// Reads `HOST[:PORT][/PATH]`, also with a scheme, and with Docker Hub's several names.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let key = normalize(text.trim());
        let (registry, path) = key.split_once('/').map_or((key.as_str(), None), |(r, path)| (r, Some(path)));
        Ok(Self { registry: registry.parse()?, path: path.map(str::parse).transpose()? })
    }
}

impl fmt::Display for CredentialKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{}/{path}", self.registry),
            None => self.registry.fmt(f),
        }
    }
}

/// Why a user name or a password cannot be stored. Never holds any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidCredentials {
    /// There is no user name.
    #[error("the user name is empty")]
    NoUser,
    /// The form `USER:PASSWORD` cannot hold it.
    #[error(
        "the user name contains a colon or a control character, which a file with credentials cannot hold"
    )]
    User,
    /// There is no password.
    #[error("the password is empty")]
    NoPassword,
    /// More than one line, or a character that readers cut off.
    #[error("the password contains a line break or another control character: expected one line")]
    Password,
}

impl Classify for InvalidCredentials {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }

    fn help(&self) -> Option<String> {
        let help = "in CI: is the variable with the password set, and available on this branch?";
        matches!(self, Self::NoPassword).then(|| help.to_owned())
    }
}

/// The content of a file with credentials, to be changed.
#[derive(Clone)]
pub struct CredentialFile {
    path: Utf8PathBuf,
    content: Map<String, Value>,
}

impl fmt::Debug for CredentialFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl CredentialFile {
    /// Parses the content of a file. An empty file has no entries.
    ///
    /// # Errors
    /// Not the shape of a file with credentials, or the old form (`.dockercfg`), which has no room for other keys.
    pub fn parse(path: &Utf8Path, bytes: &[u8]) -> Result<Self, KeychainError> {
        let unusable =
            |detail: &str| KeychainError::File { path: path.to_string(), detail: detail.to_owned() };
        AuthFile::parse(path, bytes)?;
        let content = parse_json(path, bytes)?;
        if is_old_form(&content) {
            return Err(unusable("it has the old form (.dockercfg), which is read and not changed"));
        }
        let Value::Object(content) = content else {
            return Err(unusable("it does not have the shape of a file with credentials"));
        };
        Ok(Self { path: path.to_owned(), content })
    }

    /// Stores credentials. Replaces those that the file has for the same key in any spelling.
    ///
    /// # Errors
    /// A user name or a password that would be read back as something else.
    pub fn store(
        &mut self,
        key: &CredentialKey,
        user: &str,
        password: &Secret,
    ) -> Result<(), InvalidCredentials> {
        check(user, password)?;
        let entry = Credentials::Basic { user: user.to_owned(), password: password.clone() }.entry();
        // Another tool that wrote the entry finds it under its own spelling only.
        let spelling = self.spellings(key).into_iter().next().unwrap_or_else(|| key.to_string());
        self.remove(key);
        let auths = self.content.entry("auths").or_insert(Value::Null);
        match auths {
            Value::Object(auths) => {
                auths.insert(spelling, entry);
            }
            other => *other = Value::Object(Map::from_iter([(spelling, entry)])),
        }
        Ok(())
    }

    /// Removes the credentials for a key, in any spelling. Returns whether there were any.
    pub fn remove(&mut self, key: &CredentialKey) -> bool {
        let spellings = self.spellings(key);
        if let Some(Value::Object(auths)) = self.content.get_mut("auths") {
            auths.retain(|name, _| !spellings.contains(name));
        }
        !spellings.is_empty()
    }

    /// The new content of the file.
    pub fn to_text(&self) -> Secret {
        Secret::new(format!("{:#}\n", Value::Object(self.content.clone())))
    }

    fn spellings(&self, key: &CredentialKey) -> Vec<String> {
        let key = key.to_string();
        let auths = self.content.get("auths").and_then(Value::as_object);
        let names = auths.into_iter().flat_map(Map::keys).filter(|name| normalize(name) == key);
        names.cloned().collect()
    }
}

/// Whether a user name and a password are read back from a file as they are.
fn check(user: &str, password: &Secret) -> Result<(), InvalidCredentials> {
    if user.is_empty() {
        return Err(InvalidCredentials::NoUser);
    }
    if user.contains(|c: char| c == ':' || c.is_control()) {
        return Err(InvalidCredentials::User);
    }
    if password.is_empty() {
        return Err(InvalidCredentials::NoPassword);
    }
    if password.expose().contains(char::is_control) {
        return Err(InvalidCredentials::Password);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(text: &str) -> CredentialFile {
        CredentialFile::parse(Utf8Path::new("auth.json"), text.as_bytes()).unwrap()
    }

    fn key(text: &str) -> CredentialKey {
        text.parse().unwrap()
    }

    fn content(file: &CredentialFile) -> Value {
        serde_json::from_str(file.to_text().expose()).unwrap()
    }

    /// What a reader finds for a registry.
    fn found(file: &CredentialFile, registry: &str) -> Option<Credentials> {
        let read = AuthFile::parse(Utf8Path::new("auth.json"), file.to_text().expose().as_bytes()).unwrap();
        read.credentials(registry, None).unwrap().map(|(credentials, _)| credentials.clone())
    }

    fn basic(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Basic { user: user.to_owned(), password: Secret::new(password) })
    }

    #[test]
    fn what_was_stored_is_what_is_read() {
        let mut file = file("");
        for password in ["p", "p:ä ß", " spaces ", "$'\"\\"] {
            file.store(&key("reg.example:5000"), "robot$shop", &Secret::new(password)).unwrap();
            assert_eq!(found(&file, "reg.example:5000"), basic("robot$shop", password));
        }
        assert_eq!(content(&file)["auths"].as_object().unwrap().len(), 1);
        assert!(!format!("{file:?}").contains("auths"), "{file:?}");
    }

    #[test]
    fn nothing_but_the_one_entry_changes() {
        let text = r#"{"auths": {"a.example": {"auth": "YTpi", "email": "x"}, "b.example": {}, "b.example/p": {"auth": "?"}},
            "credHelpers": {"c.example": "x"}, "HttpHeaders": {"n": 18446744073709551615}, "other": null}"#;
        let before = serde_json::from_str::<Value>(text).unwrap();
        let mut file = file(text);
        file.store(&key("b.example"), "u", &Secret::new("p")).unwrap();
        let mut expected = before.clone();
        expected["auths"]["b.example"] = serde_json::json!({"auth": "dTpw"});
        assert_eq!(content(&file), expected);
        assert!(file.remove(&key("b.example")));
        expected["auths"].as_object_mut().unwrap().remove("b.example");
        assert_eq!(content(&file), expected);
        assert!(!file.remove(&key("b.example")), "there is nothing left");
        assert_eq!(content(&file), expected);
    }

    /// Of two spellings of one registry a reader takes one: it must not be the old one.
    #[test]
    fn all_spellings_of_a_registry_are_one_entry() {
        for (old, new) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("https://reg.example/v2/", "reg.example"),
            ("REG.example", "reg.example/"),
        ] {
            let mut file = file(&format!(r#"{{"auths": {{"{old}": {{"auth": "b2xkOm9sZA=="}}}}}}"#));
            file.store(&key(new), "new", &Secret::new("pw")).unwrap();
            let auths = content(&file)["auths"].as_object().unwrap().clone();
            assert_eq!(auths.keys().collect::<Vec<_>>(), [old]);
            assert_eq!(found(&file, key(new).registry().as_str()), basic("new", "pw"), "{old}");
            assert!(file.remove(&key(new)));
            assert_eq!(content(&file)["auths"], serde_json::json!({}));
        }
    }

    #[test]
    fn what_would_be_read_back_as_something_else_is_refused_and_not_shown() {
        use InvalidCredentials as I;
        for (user, password, expected) in [
            ("", "p", I::NoUser),
            ("a:b", "p", I::User),
            ("a\n", "p", I::User),
            ("a", "", I::NoPassword),
            ("a", "secret\n", I::Password),
            ("a", "sec\r\nret", I::Password),
            ("a", "secret\0", I::Password),
        ] {
            let mut file = file("");
            let error = file.store(&key("a.example"), user, &Secret::new(password)).unwrap_err();
            assert_eq!(error, expected, "{user:?} {password:?}");
            assert!(!error.to_string().contains("secret"));
            assert_eq!(content(&file), serde_json::json!({}));
        }
    }

    #[test]
    fn a_file_that_is_not_understood_is_not_changed() {
        for text in
            ["{", "[]", r#"{"auths": []}"#, r#"{"a.example": {"auth": "YTpi"}}"#, "\u{feff}{\"auths\": 1}"]
        {
            assert!(CredentialFile::parse(Utf8Path::new("f"), text.as_bytes()).is_err(), "{text}");
        }
        for empty in ["", "\u{feff}", "{}", r#"{"auths": null}"#] {
            let mut file = file(empty);
            file.store(&key("a.example"), "u", &Secret::new("p")).unwrap();
            assert_eq!(found(&file, "a.example"), basic("u", "p"), "{empty}");
        }
    }

    #[test]
    fn a_key_is_a_registry_or_a_path_in_it() {
        for (text, shown) in [
            ("reg.example", "reg.example"),
            ("https://Reg.Example:5000/", "reg.example:5000"),
            ("reg.example/team/app", "reg.example/team/app"),
            ("index.docker.io", "docker.io"),
            ("[::1]:5000", "[::1]:5000"),
        ] {
            assert_eq!(key(text).to_string(), shown);
        }
        for wrong in ["", "/", "reg.example/Team", "reg.example/a b", "reg example", "user:pw@reg.example"] {
            assert!(wrong.parse::<CredentialKey>().is_err(), "{wrong}");
        }
    }
}
