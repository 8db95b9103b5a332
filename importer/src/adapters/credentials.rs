// SPDX-License-Identifier: Apache-2.0
//! Credentials and CA certificates as Secrets and ConfigMaps hold them, in all the shapes that people use, in one form.

mod certificates;
mod error;
mod mounted;

use std::collections::BTreeMap;

use camino::Utf8Path;
use krs_core::oci::reference::RegistryHost;
use krs_core::redact::{Secret, printable};
use krs_core::registry::{ClientIdentity, ClientOptions, Keychain};

pub use certificates::{CaCertificates, ca_certificates};
use certificates::{collect, identity};
pub use error::CredentialsError;
use error::{MAX_ENTRY, keys};
pub use mounted::read_folder;

/// Keys under which a file of docker or of the containers tools lies.
const FILES: [&str; 4] = [".dockerconfigjson", ".dockercfg", "config.json", "auth.json"];

/// What a Secret holds for one registry: credentials, CA certificates, a client certificate; any of them may be absent.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    authentication: Authentication,
    ca_certificates: Option<Vec<u8>>,
    identity: Option<ClientIdentity>,
}

#[derive(Debug, Clone, Default)]
enum Authentication {
    #[default]
    None,
    /// Credentials for several registries; no helpers.
    File(Box<Keychain>),
    /// For whatever registry the Secret is named for.
    Password { user: String, password: Secret },
}

impl Credentials {
    /// Reads the entries of a Secret of this type.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn from_secret(
        kind: Option<&str>,
        entries: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Self, CredentialsError> {
        let expected: &[&'static str] = match kind {
            Some("kubernetes.io/dockerconfigjson") => &[".dockerconfigjson"],
            Some("kubernetes.io/dockercfg") => &[".dockercfg"],
            Some("kubernetes.io/basic-auth") => &["username", "password"],
            Some("kubernetes.io/tls") => &["tls.crt", "tls.key"],
            _ => &[],
        };
        if let Some(key) = expected.iter().find(|key| !entries.contains_key(**key)) {
            let kind = kind.unwrap_or_default().to_owned();
            return Err(CredentialsError::Missing { key, kind });
        }
        if let Some((key, _)) = entries.iter().find(|(_, value)| value.len() > MAX_ENTRY) {
            return Err(CredentialsError::TooLarge(printable(key, 100)));
        }
        let found = Self {
            authentication: authentication(entries)?,
            ca_certificates: collect(entries)?.map(|ca| ca.pem),
            identity: identity(entries)?,
        };
        if matches!(found.authentication, Authentication::None)
            && found.ca_certificates.is_none()
            && found.identity.is_none()
        {
            return Err(CredentialsError::Nothing(keys(entries)));
        }
        Ok(found)
    }

    /// Reads a Secret that is mounted as a folder.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn from_folder(folder: &Utf8Path) -> Result<Self, CredentialsError> {
        Self::from_secret(None, &read_folder(folder)?)
    }

    /// Credentials for whatever registry they are used for.
    pub fn password(user: &str, password: Secret) -> Self {
        Self {
            authentication: Authentication::Password { user: user.to_owned(), password },
            ..Self::default()
        }
    }

    /// The same, trusting also these CA certificates in PEM.
    #[must_use]
    pub fn trusting(mut self, pem: &[u8]) -> Self {
        self.ca_certificates.get_or_insert_default().extend_from_slice(pem);
        self
    }

    /// What secures the connection, without the credentials.
    #[must_use]
    pub fn without_authentication(self) -> Self {
        Self { authentication: Authentication::None, ..self }
    }

    /// Makes a client authenticate at `registry`, trust its CA certificates, and show the client certificate.
    pub fn apply(&self, registry: &RegistryHost, options: &mut ClientOptions) {
        if let Some(keychain) = self.keychain(registry) {
            options.keychain = keychain;
        }
        options.ca_certs.extend(self.ca_certificates.iter().map(|pem| (registry.clone(), pem.clone())));
        options.identities.extend(self.identity.iter().map(|identity| (registry.clone(), identity.clone())));
    }

    fn keychain(&self, registry: &RegistryHost) -> Option<Keychain> {
        match &self.authentication {
            Authentication::None => None,
            Authentication::File(keychain) => Some((**keychain).clone()),
            Authentication::Password { user, password } => {
                Some(Keychain::empty().with(registry, user, password.clone()))
            }
        }
    }

    /// The credentials for `registry`, and for paths in it, as a file that the containers tools read; those for other
    /// registries stay out of it. `None` where there are none.
    ///
    /// # Errors
    /// An entry for the registry is damaged; one for another does not matter.
    pub fn auth_file(&self, registry: &RegistryHost) -> Result<Option<Secret>, CredentialsError> {
        Ok(self.keychain(registry).map_or(Ok(None), |keychain| keychain.auth_file(registry))?)
    }

    /// Whether it says by itself which registries its credentials are for: a password does not.
    pub const fn names_hosts(&self) -> bool {
        !matches!(self.authentication, Authentication::Password { .. })
    }

    /// CA certificates, in PEM.
    pub fn ca_certificates(&self) -> Option<&[u8]> {
        self.ca_certificates.as_deref()
    }

    /// The certificate to show.
    pub const fn identity(&self) -> Option<&ClientIdentity> {
        self.identity.as_ref()
    }
}

fn authentication(entries: &BTreeMap<String, Vec<u8>>) -> Result<Authentication, CredentialsError> {
    let mut files = FILES.iter().filter_map(|key| Some((*key, entries.get(*key)?)));
    let (file, other) = (files.next(), files.next());
    let text = |key: &'static str| {
        let Some(bytes) = entries.get(key) else { return Ok(None) };
        let text = std::str::from_utf8(bytes).map_err(|_| CredentialsError::Text(key))?;
        // What was written with an editor or with `echo` ends in a new line that nobody meant.
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() { Err(CredentialsError::Text(key)) } else { Ok(Some(text.to_owned())) }
    };
    if let (Some((one, _)), Some((two, _))) = (file, other) {
        return Err(CredentialsError::Ambiguous(one, two));
    }
    if let (Some((file, _)), true) = (file, entries.contains_key("password")) {
        return Err(CredentialsError::Ambiguous(file, "password"));
    }
    if let Some((key, bytes)) = file {
        return Ok(Authentication::File(Box::new(without_helpers(key, bytes)?)));
    }
    match (text("username")?, text("password")?) {
        (Some(user), Some(password)) => {
            Ok(Authentication::Password { user, password: Secret::new(password) })
        }
        (Some(_), None) => Err(CredentialsError::Half { has: "username", missing: "password" }),
        (None, Some(_)) => Err(CredentialsError::Half { has: "password", missing: "username" }),
        (None, None) => Ok(Authentication::None),
    }
}

/// The credentials of a file. A Secret may not name programs that would be run here.
fn without_helpers(key: &'static str, bytes: &[u8]) -> Result<Keychain, CredentialsError> {
    let keychain = Keychain::from_bytes(key, bytes)?;
    if !keychain.has_helpers() && !keychain.has_entries() && bytes.iter().all(|b| !b.is_ascii_graphic()) {
        return Err(CredentialsError::Text(key));
    }
    if keychain.has_helpers() && !keychain.has_entries() {
        return Err(CredentialsError::Helpers(key));
    }
    Ok(keychain.without_helpers())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    pub(super) fn entries(list: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        list.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
    }

    pub(super) fn registry() -> RegistryHost {
        "edge.local:5000".parse().unwrap()
    }

    pub(super) fn auth_entries(credentials: &Credentials) -> Option<serde_json::Value> {
        let file = credentials.auth_file(&registry()).unwrap()?;
        Some(serde_json::from_str::<serde_json::Value>(file.expose()).unwrap()["auths"].clone())
    }

    #[test]
    fn credentials_are_found_in_every_shape_that_a_secret_has() {
        let auth = STANDARD.encode("me:pw");
        let modern = format!(r#"{{"auths":{{"https://edge.local:5000/v2/":{{"auth":"{auth}"}}}}}}"#);
        let plain = r#"{"auths":{"edge.local:5000":{"username":"me","password":"pw"}}}"#;
        let old = format!(r#"{{"edge.local:5000":{{"auth":"{auth}"}}}}"#);
        for (kind, list) in [
            (Some("kubernetes.io/dockerconfigjson"), vec![(".dockerconfigjson", modern.as_str())]),
            (Some("kubernetes.io/dockercfg"), vec![(".dockercfg", old.as_str())]),
            (Some("kubernetes.io/basic-auth"), vec![("username", "me"), ("password", "pw\n")]),
            (Some("Opaque"), vec![("username", "me"), ("password", "pw")]),
            (Some("Opaque"), vec![(".dockerconfigjson", plain)]),
            (None, vec![("config.json", modern.as_str())]),
        ] {
            let credentials = Credentials::from_secret(kind, &entries(&list)).unwrap();
            assert_eq!(
                auth_entries(&credentials).unwrap()["edge.local:5000"]["auth"],
                auth.as_str(),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn only_what_belongs_to_the_registry_reaches_the_file_for_it() {
        let text = format!(
            r#"{{"auths":{{"edge.local:5000/team":{{"auth":"{0}"}},"edge.local:5000":{{"identitytoken":"refresh"}},
                "edge.local":{{"auth":"{0}"}},"edge.local:50001":{{"auth":"{0}"}}}}}}"#,
            STANDARD.encode("a:b")
        );
        let credentials = Credentials::from_secret(None, &entries(&[("config.json", &text)])).unwrap();
        let found = auth_entries(&credentials).unwrap();
        let keys = found.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(keys, ["edge.local:5000", "edge.local:5000/team"]);
        assert_eq!(found["edge.local:5000"]["identitytoken"], "refresh");
        let other = "other.example".parse().unwrap();
        assert!(credentials.auth_file(&other).unwrap().is_none());
    }

    #[test]
    fn t76_what_is_wrong_is_reported_without_its_content() {
        for (kind, list) in [
            (Some("kubernetes.io/dockerconfigjson"), vec![("username", "hunter2")]),
            (None, vec![("username", "hunter2")]),
            (None, vec![("password", "hunter2")]),
            (None, vec![(".dockerconfigjson", "hunter2")]),
            (None, vec![(".dockerconfigjson", "\u{feff} ")]),
            (None, vec![(".dockerconfigjson", "\u{feff}{\"credsStore\":\"hunter2\"}")]),
            (None, vec![(".dockerconfigjson", r#"{"credsStore":"hunter2"}"#)]),
            (None, vec![("username", "hunter2"), ("password", "hunter2"), (".dockercfg", "{}")]),
            (None, vec![("ca.crt", "hunter2")]),
            (None, vec![("tls.crt", "hunter2"), ("tls.key", "hunter2")]),
            (None, vec![("tls.key", "hunter2")]),
            (None, vec![("other", "hunter2")]),
            (None, vec![]),
        ] {
            let error = Credentials::from_secret(kind, &entries(&list)).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        assert!(ca_certificates(&entries(&[("other", "x")])).unwrap_err().to_string().contains("`other`"));
        let large = BTreeMap::from([("ca.crt".to_owned(), vec![b'x'; MAX_ENTRY + 1])]);
        assert!(matches!(ca_certificates(&large), Err(CredentialsError::TooLarge(_))));
    }

    #[test]
    fn t214_one_bad_entry_costs_its_own_registry_alone() {
        let text = format!(
            r#"{{"auths":{{"edge.local:5000":{{"auth":"{}"}},"x.example":{{"auth":"hunter2"}}}},"credsStore":"desktop.exe"}}"#,
            STANDARD.encode("a:b")
        );
        let secret = entries(&[(".dockerconfigjson", &text)]);
        let credentials = Credentials::from_secret(Some("kubernetes.io/dockerconfigjson"), &secret).unwrap();
        assert!(auth_entries(&credentials).is_some());
        let error = credentials.auth_file(&"x.example".parse().unwrap()).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(".dockerconfigjson") && shown.contains("`x.example`"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
        let mut options = ClientOptions::default();
        credentials.apply(&registry(), &mut options);
        assert!(!options.keychain.has_helpers(), "a Secret names no programs that are run here");
    }
}
