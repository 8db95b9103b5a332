// SPDX-License-Identifier: Apache-2.0
//! Where credentials come from: the files of docker and of the containers tools, and credential helpers.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use crate::files;
use crate::oci::reference::{RegistryHost, RepositoryName};
use crate::redact::Secret;
use crate::registry::auth::auth_file::{AuthFile, is_helper_name, normalize};
use crate::registry::auth::credential_file::CredentialKey;
use crate::registry::auth::credentials::{Credentials, LookupResult};
use crate::registry::auth::helper::Helper;
use crate::registry::failure::keychain::KeychainError;

/// Largest file with credentials that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// How long a credential helper may take.
const HELPER_TIME_LIMIT: Duration = Duration::from_secs(20);

/// Credentials by registry, from files and helpers. Cheap to clone. Helpers are only run for a registry that
/// wants authentication.
#[derive(Debug, Clone)]
pub struct Keychain {
    explicit: Vec<(RegistryHost, Credentials)>,
    files: Arc<Vec<AuthFile>>,
    /// Default files that cannot be read. (T-214)
    unreadable: Arc<Vec<KeychainError>>,
    /// Files that do not exist, for messages.
    absent: Arc<Vec<Utf8PathBuf>>,
    helper_time_limit: Duration,
    /// The folder of the helpers; `PATH` if absent.
    helper_folder: Option<Utf8PathBuf>,
}

impl Default for Keychain {
    fn default() -> Self {
        Self {
            explicit: Vec::new(),
            files: Arc::default(),
            unreadable: Arc::default(),
            absent: Arc::default(),
            helper_time_limit: HELPER_TIME_LIMIT,
            helper_folder: None,
        }
    }
}

impl Keychain {
    /// No credentials at all.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The credentials of this user: `explicit` alone where it is given, else `$REGISTRY_AUTH_FILE` alone where
    /// it is set, else the files of the containers tools and of docker, in this order. Of the latter, one that cannot be
    /// read matters only for a registry that requires credentials; the same is true of an entry or a helper in any file.
    ///
    /// # Errors
    /// A file that was named and is not there, or cannot be read.
    pub fn from_environment(explicit: Option<&Utf8Path>) -> Result<Self, KeychainError> {
        Self::from_variables(explicit, |name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(
        explicit: Option<&Utf8Path>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, KeychainError> {
        let search = SearchPaths::new(explicit, variable);
        Self::from_files(&search.paths, search.named)
    }

    /// The same, and the file that credentials of this user are written to: the first of those that are read. It need
    /// not exist.
    ///
    /// # Errors
    /// A file that was named cannot be read; there is no home folder.
    pub fn for_login(explicit: Option<&Utf8Path>) -> Result<(Self, Utf8PathBuf), KeychainError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let search = SearchPaths::new(explicit, variable);
        let keychain = Self::from_files(&search.paths, false)?;
        let path = search.paths.first().cloned().ok_or_else(|| KeychainError::File {
            path: "auth.json".to_owned(),
            detail: "no folder for it is known: neither XDG_RUNTIME_DIR nor HOME is set".to_owned(),
        })?;
        Ok((keychain, path))
    }

    /// The credential helper that keeps the credentials for `key`, so that an entry in `file` would not be used, or would
    /// contradict it: one that any file names for this registry, or the one for all registries that `file` names.
    pub fn configured_helper(&self, key: &CredentialKey, file: &Utf8Path) -> Option<(String, Utf8PathBuf)> {
        let registry = normalize(key.registry().as_str());
        self.files.iter().find_map(|source| {
            let own = source.helpers.get(&registry);
            // An empty name means the file itself.
            let name = own.or(source.store.as_ref().filter(|_| source.path == file))?;
            let program = format!("docker-credential-{}", crate::redact::printable(name, 100));
            (!name.is_empty()).then(|| (program, source.path.clone()))
        })
    }

    /// The files that have an entry of exactly this key.
    pub fn files_with(&self, key: &CredentialKey) -> Vec<&Utf8Path> {
        let with = self.files.iter().filter(|source| source.has_entry(&key.to_string()));
        with.map(|source| source.path.as_path()).collect()
    }

    /// The credentials in these files; the first that has any for a registry counts.
    fn from_files(paths: &[Utf8PathBuf], required: bool) -> Result<Self, KeychainError> {
        let (mut files, mut absent, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
        for path in paths {
            match read(path) {
                Ok(Some(source)) => files.push(source),
                Ok(None) if !required => absent.push(path.clone()),
                Ok(None) => {
                    let detail = io::Error::from(io::ErrorKind::NotFound).to_string();
                    return Err(KeychainError::File { path: path.to_string(), detail });
                }
                Err(error) if required => return Err(error),
                Err(error) => unreadable.push(error),
            }
        }
        Ok(Self {
            files: Arc::new(files),
            absent: Arc::new(absent),
            unreadable: Arc::new(unreadable),
            ..Self::default()
        })
    }

    /// The credentials in `bytes`, a file of docker or of the containers tools that came from `origin` (which
    /// messages name).
    ///
    /// # Errors
    /// Not the shape of such a file.
    pub fn from_bytes(origin: &str, bytes: &[u8]) -> Result<Self, KeychainError> {
        let source = AuthFile::parse(Utf8Path::new(origin), bytes)?;
        Ok(Self { files: Arc::new(vec![source]), ..Self::default() })
    }

    /// As [`Self::from_bytes`], without credential helpers, for a file whose author may not run programs here.
    #[must_use]
    pub fn without_helpers(mut self) -> Self {
        self.files = Arc::new(self.files.iter().map(AuthFile::without_helpers).collect());
        self
    }

    /// Whether a file names credential helpers.
    pub fn has_helpers(&self) -> bool {
        self.files.iter().any(|source| source.store.is_some() || !source.helpers.is_empty())
    }

    /// Whether there are credentials in it, usable or not, besides those that helpers know.
    pub fn has_entries(&self) -> bool {
        !self.explicit.is_empty() || self.files.iter().any(AuthFile::has_entries)
    }

    /// The same keychain with these credentials for `registry` before all others.
    #[must_use]
    pub fn with(mut self, registry: &RegistryHost, user: &str, password: Secret) -> Self {
        let credentials = Credentials::Basic { user: user.to_owned(), password };
        self.explicit.insert(0, (registry.clone(), credentials));
        self
    }

    /// The credentials for `registry`, and for paths in it, as a file that the containers tools read
    /// (containers-auth.json); `None` if there are none. Helpers are not run.
    ///
    /// # Errors
    /// An entry for the registry, or for a path in it, is damaged.
    pub fn auth_file(&self, registry: &RegistryHost) -> Result<Option<Secret>, KeychainError> {
        let host = normalize(registry.as_str());
        let mut all = BTreeMap::new();
        for source in self.files.iter().rev() {
            all.extend(source.credentials_below(&host)?);
        }
        let explicit = self.explicit.iter().rev().filter(|(of, _)| of == registry);
        let explicit = explicit.map(|(_, credentials)| credentials).collect::<Vec<_>>();
        if let Some(credentials) = explicit.last() {
            all = BTreeMap::from([(host, *credentials)]);
        }
        let entries = all.into_iter().map(|(key, credentials)| (key, credentials.entry()));
        let entries = entries.collect::<serde_json::Map<_, _>>();
        let file = || Secret::new(serde_json::json!({ "auths": entries }).to_string());
        Ok((!entries.is_empty()).then(file))
    }

    /// Where credentials were searched for, for a message.
    pub(in crate::registry) fn search_summary(&self) -> String {
        let present = self.files.iter().map(|source| source.path.as_str());
        let absent = self.absent.iter().map(|path| path.as_str());
        let paths = present.chain(absent).collect::<Vec<_>>();
        if paths.is_empty() {
            return "no credentials were given".to_owned();
        }
        format!("no credentials for it were found in {}", paths.join(", "))
    }

    /// The helper to run, if no earlier file has credentials.
    pub(in crate::registry) fn helper(
        &self,
        registry: &RegistryHost,
        repository: Option<&RepositoryName>,
    ) -> Option<Helper> {
        if self.explicit.iter().any(|(host, _)| host == registry) {
            return None;
        }
        let key = normalize(registry.as_str());
        for (index, source) in self.files.iter().enumerate() {
            let own = source.helpers.get(&key);
            // An entry that is damaged is for this registry too: it is what the user has to correct.
            let here = !matches!(source.credentials(&key, repository), Ok(None));
            if here && own.is_none_or(String::is_empty) {
                return None;
            }
            if let Some(name) = own.or(source.store.as_ref()).filter(|name| !name.is_empty()) {
                let program = format!("docker-credential-{}", crate::redact::printable(name, 100));
                let valid = is_helper_name(name);
                let (file, folder) = (source.path.clone(), self.helper_folder.clone());
                return Some(Helper {
                    program,
                    valid,
                    file,
                    index,
                    folder,
                    time_limit: self.helper_time_limit,
                });
            }
        }
        None
    }

    /// The credentials that files hold, from the file number `from` on.
    fn file_credentials_from(
        &self,
        from: usize,
        registry: &RegistryHost,
        repository: Option<&RepositoryName>,
    ) -> Result<LookupResult, KeychainError> {
        let key = normalize(registry.as_str());
        for source in self.files.iter().skip(from) {
            if let Some((credentials, key)) = source.credentials(&key, repository)? {
                let origin = format!("{} (entry `{key}`)", source.path);
                return Ok(LookupResult {
                    credentials: Some(credentials.clone()),
                    origin: Some(origin),
                    unusable: None,
                });
            }
        }
        Ok(LookupResult { unusable: self.unreadable.first().cloned(), ..LookupResult::default() })
    }

    /// The credentials that need no helper.
    ///
    /// # Errors
    /// The entry for it is damaged.
    pub(in crate::registry) fn file_credentials(
        &self,
        registry: &RegistryHost,
        repository: Option<&RepositoryName>,
    ) -> Result<LookupResult, KeychainError> {
        if let Some((_, credentials)) = self.explicit.iter().find(|(host, _)| host == registry) {
            let origin = Some("the options".to_owned());
            return Ok(LookupResult { credentials: Some(credentials.clone()), origin, unusable: None });
        }
        self.file_credentials_from(0, registry, repository)
    }

    /// The credentials besides a helper that knows none, or cannot be run for the reason `unusable`.
    ///
    /// # Errors
    /// As for [`Self::file_credentials`].
    pub(in crate::registry) fn fallback_credentials(
        &self,
        helper: &Helper,
        registry: &RegistryHost,
        repository: Option<&RepositoryName>,
        unusable: Option<KeychainError>,
    ) -> Result<LookupResult, KeychainError> {
        let found = self.file_credentials_from(helper.index, registry, repository)?;
        let unusable = unusable.filter(|_| found.credentials.is_none()).or(found.unusable);
        Ok(LookupResult { unusable, ..found })
    }
}

/// The files with credentials of a user, in the order in which they are read.
#[derive(Debug)]
struct SearchPaths {
    paths: Vec<Utf8PathBuf>,
    /// Whether the one file was named, so that it has to exist.
    named: bool,
}

impl SearchPaths {
    fn new(explicit: Option<&Utf8Path>, variable: impl Fn(&str) -> Option<String>) -> Self {
        let path = |name| variable(name).map(Utf8PathBuf::from);
        if let Some(named) = explicit.map(Utf8Path::to_path_buf).or_else(|| path("REGISTRY_AUTH_FILE")) {
            return Self { paths: vec![named], named: true };
        }
        let home = path("HOME").or_else(|| path("USERPROFILE"));
        let in_home = |rest: &str| home.as_ref().map(|home| home.join(rest));
        let paths = [
            path("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json")),
            path("XDG_CONFIG_HOME").or_else(|| in_home(".config")).map(|f| f.join("containers/auth.json")),
            path("DOCKER_CONFIG").or_else(|| in_home(".docker")).map(|folder| folder.join("config.json")),
        ];
        Self { paths: paths.into_iter().flatten().collect(), named: false }
    }
}

/// The content of a file with credentials; `None` if there is no file.
fn read(path: &Utf8Path) -> Result<Option<AuthFile>, KeychainError> {
    match files::read_file(path, MAX_BYTES) {
        Ok(bytes) => AuthFile::parse(path, &bytes).map(Some),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(KeychainError::File { path: path.to_string(), detail: error.to_string() }),
    }
}

/// Whether an error means that a file does not exist.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(all(test, unix))]
impl Keychain {
    /// With a helper that is this script, for `registry`, besides credentials of the user `file`.
    pub(in crate::registry) fn with_helper(
        folder: &std::path::Path,
        script: &str,
        registry: &str,
        time: Duration,
    ) -> Self {
        #![allow(clippy::unwrap_used)]
        let root = Utf8Path::from_path(folder).unwrap();
        krs_testing::process::write_script(root.join("docker-credential-test"), script);
        let text = format!(
            r#"{{"auths":{{"{registry}":{{"auth":"ZmlsZTpw"}}}},"credHelpers":{{"{registry}":"test"}}}}"#
        );
        let keychain = Self::from_bytes("config.json", text.as_bytes()).unwrap();
        Self { helper_folder: Some(root.to_owned()), helper_time_limit: time, ..keychain }
    }
}

#[cfg(test)]
mod tests;
