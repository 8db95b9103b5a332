// SPDX-License-Identifier: Apache-2.0
//! One side of a copy: a registry, how the connection to it is secured, and the credentials, which are read again each time
//! because Secrets and tokens are replaced while the runner works.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::oci::reference::{RegistryHost, RepositoryName};
use krs_core::redact::Secret;
use krs_core::registry::{Client, ClientOptions, Repository, RetryPolicy};

use super::failure::Failure;
use super::paths::Paths;
use super::role::EndpointRole;
use crate::adapters::credentials::{Credentials, ca_certificates, read_folder};
use crate::model::task::{CopyTarget, CopyTask, MAX_TOKEN, TaskSource};

/// How long the importer's registry may ask for patience in all: long enough for a restart of the importer. Media that are
/// away for longer hold no slot for copy Jobs; the set waits for them without one.
const BUNDLE_WAIT: Duration = Duration::from_secs(60);
/// User name beside a Pod's token.
const TOKEN_USER: &str = "krs";

/// One side of a copy.
#[derive(Debug)]
pub(super) struct RegistryEndpoint<'a> {
    pub(super) role: EndpointRole,
    pub(super) registry: RegistryHost,
    plain_http: bool,
    insecure: bool,
    ca: Option<&'a str>,
    paths: &'a Paths,
}

/// What skopeo is told about one side.
#[derive(Debug)]
pub(super) struct EndpointFiles {
    pub(super) auth_file: Utf8PathBuf,
    pub(super) cert_dir: Utf8PathBuf,
    pub(super) verify: bool,
}

impl<'a> RegistryEndpoint<'a> {
    pub(super) fn destination(task: &'a CopyTask, paths: &'a Paths) -> Self {
        let to = &task.destination;
        let (registry, plain_http, insecure) = (to.registry.clone(), to.plain_http, to.insecure_skip_verify);
        Self { role: EndpointRole::Destination, registry, plain_http, insecure, ca: None, paths }
    }

    pub(super) fn source(task: &'a CopyTask, target: &CopyTarget, paths: &'a Paths) -> Self {
        let (role, plain_http, ca) = match &task.source {
            TaskSource::Bundle { ca, .. } => (EndpointRole::Bundle, false, Some(ca.as_str())),
            TaskSource::Registry { plain_http } => (EndpointRole::Source, *plain_http, None),
            // Nobody gets here: such a task is refused when it is read. Without the source's credentials, in any case.
            TaskSource::Later => (EndpointRole::Bundle, false, None),
        };
        Self { role, registry: target.source_registry.clone(), plain_http, insecure: false, ca, paths }
    }

    /// The port that the connection goes to, unless by a proxy.
    pub(super) fn port(&self) -> u16 {
        self.registry.port().unwrap_or(if self.plain_http { 80 } else { 443 })
    }

    /// How long connecting may take.
    pub(super) const fn connect_limit(&self) -> Duration {
        self.paths.connect
    }

    fn credentials(&self) -> Result<Credentials, Failure> {
        let unusable = |error| Failure::credentials(self.role, &error);
        let from = |folder: &Utf8Path| {
            if folder.exists() { Credentials::from_folder(folder) } else { Ok(Credentials::default()) }
        };
        match self.role {
            EndpointRole::Bundle => {
                let token = read_folder(&self.paths.token).map_err(unusable)?.remove("token");
                let token = token.filter(|token| token.len() <= MAX_TOKEN).unwrap_or_default();
                let token = String::from_utf8(token).unwrap_or_default();
                let credentials = Credentials::password(TOKEN_USER, Secret::new(token.trim_end()));
                Ok(credentials.trusting(self.ca.unwrap_or_default().as_bytes()))
            }
            EndpointRole::Source => from(&self.paths.source).map_err(unusable),
            EndpointRole::Destination => {
                let found = from(&self.paths.destination).map_err(unusable)?;
                let folder = &self.paths.destination_ca;
                if !folder.exists() {
                    return Ok(found);
                }
                let ca =
                    read_folder(folder).and_then(|entries| ca_certificates(&entries)).map_err(unusable)?;
                Ok(found.trusting(&ca.pem))
            }
        }
    }

    /// A client that logs in with what the files hold now.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let mut retry = self.paths.retry.clone();
        if self.role == EndpointRole::Bundle {
            retry = RetryPolicy { max_wait: retry.max_wait.min(BUNDLE_WAIT), ..retry };
        }
        self.client_with(&self.credentials()?, retry)
    }

    /// A client that asks once, without credentials: wrong ones count towards the registry's limit for guesses. (T-55)
    pub(super) fn probe(&self) -> Result<Client, Failure> {
        let retry = RetryPolicy { attempts: 1, ..self.paths.retry.clone() };
        self.client_with(&self.credentials()?.without_authentication(), retry)
    }

    fn client_with(&self, credentials: &Credentials, retry: RetryPolicy) -> Result<Client, Failure> {
        let one = |set: bool| if set { vec![self.registry.clone()] } else { Vec::new() };
        let mut options = ClientOptions {
            certs_dirs: Vec::new(),
            plain_http: one(self.plain_http),
            insecure: one(self.insecure),
            connect_timeout: self.paths.connect,
            retry,
            user_agent: crate::USER_AGENT.to_owned(),
            ..ClientOptions::default()
        };
        credentials.apply(&self.registry, &mut options);
        Client::new(options).map_err(|error| Failure::registry(self.role, &error))
    }

    pub(super) fn repository(&self, name: &RepositoryName) -> Result<Repository, Failure> {
        Ok(self.client()?.repository(&self.registry, name))
    }

    /// Writes credentials and certificates for one skopeo process.
    pub(super) fn prepare(&self) -> Result<EndpointFiles, Failure> {
        let credentials = self.credentials()?;
        let folder = match self.role {
            EndpointRole::Destination => self.paths.work.join("destination"),
            EndpointRole::Bundle | EndpointRole::Source => self.paths.work.join("source"),
        };
        let failed = |error| Failure::files(&folder, &error);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(failed)?;
        }
        let cert_dir = folder.join("certs");
        std::fs::create_dir_all(&cert_dir).map_err(failed)?;
        let write = |path: &Utf8Path, bytes: &[u8]| {
            let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            file.and_then(|mut file| file.write_all(bytes)).map_err(failed)
        };
        if let Some(pem) = credentials.ca_certificates() {
            write(&cert_dir.join("ca.crt"), pem)?;
        }
        if let Some(identity) = credentials.identity() {
            write(&cert_dir.join("client.cert"), identity.certificate.as_bytes())?;
            write(&cert_dir.join("client.key"), identity.key.expose().as_bytes())?;
        }
        // Always there, so that skopeo looks nowhere else.
        let auth_file = folder.join("auth.json");
        let logins =
            credentials.auth_file(&self.registry).map_err(|error| Failure::credentials(self.role, &error))?;
        let logins = logins.unwrap_or_else(|| Secret::new(r#"{"auths":{}}"#));
        write(&auth_file, logins.expose().as_bytes())?;
        Ok(EndpointFiles { auth_file, cert_dir, verify: !self.plain_http && !self.insecure })
    }
}
