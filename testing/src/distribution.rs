// SPDX-License-Identifier: Apache-2.0
//! The Distribution project's registry as a child process: versions 2.8 and 3.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::RegistryHost;

use crate::process::{Running, free_address};
use crate::tls::Authority;

/// The user of a registry with [`Options::password`].
pub const USER: &str = "krs";
/// The password of that user.
pub const PASSWORD: &str = "edge-registry";
/// The line of the htpasswd file for both: bcrypt, as Distribution wants it.
const HTPASSWD: &str = "krs:$2b$05$h/Rf8dCQ9DVS3GtqxTXYIuB27Qb6NsRu1bpYSJ9L6w9xAETuw9sAC";

/// How the registry is set up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Whether it requires [`USER`] and [`PASSWORD`].
    pub password: bool,
    /// Whether it uses TLS, with a certificate of its own CA.
    pub tls: bool,
    /// Version 3: takes indexes whose children are missing (`validation.manifests.indexes.platforms: none`).
    pub sparse_indexes: bool,
    /// Whether it remembers the blobs that it has, as in the configuration of its container image.
    pub descriptor_cache: bool,
}

fn serve(binary: &Utf8Path, config: &Utf8Path, address: SocketAddr) -> Running {
    let mut command = Command::new(binary);
    command.arg("serve").arg(config);
    // Distribution 3 sends traces to a collector unless it is told not to.
    command.env("OTEL_TRACES_EXPORTER", "none");
    Running::start(command, address, Duration::from_secs(30))
}

/// A running registry with storage in a temporary folder. Dropping it stops it and removes the folder.
#[derive(Debug)]
pub struct Distribution {
    running: Running,
    binary: Utf8PathBuf,
    folder: tempfile::TempDir,
    ca_pem: Option<String>,
}

impl Distribution {
    /// Starts the program `binary`, of version 2.8 or 3, on a free port.
    ///
    /// # Panics
    /// It does not start; the message has its log.
    pub fn start(binary: &Utf8Path, options: Options) -> Self {
        let folder = tempfile::Builder::new().prefix("krs-distribution-").tempdir().unwrap();
        let address = free_address();
        let authority = options.tls.then(|| Authority::new("krs test Distribution"));
        let file = |name: &str, text: &str| {
            let path = Utf8PathBuf::from_path_buf(folder.path().join(name)).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        let storage = Utf8PathBuf::from_path_buf(folder.path().join("storage")).unwrap();
        let cache = if options.descriptor_cache { "  cache:\n    blobdescriptor: inmemory\n" } else { "" };
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
             rootdirectory: {storage}\n  delete:\n    enabled: true\n{cache}http:\n  addr: {address}\n"
        );
        if let Some(authority) = &authority {
            let identity = authority.server(&["127.0.0.1", "localhost"]);
            file("ca.pem", &authority.pem());
            let (cert, key) = (file("cert.pem", &identity.certificate), file("key.pem", &identity.key));
            write!(config, "  tls:\n    certificate: {cert}\n    key: {key}\n").unwrap();
        }
        if options.password {
            let path = file("htpasswd", &format!("{HTPASSWD}\n"));
            write!(config, "auth:\n  htpasswd:\n    realm: krs\n    path: {path}\n").unwrap();
        }
        if options.sparse_indexes {
            config.push_str("validation:\n  manifests:\n    indexes:\n      platforms: none\n");
        }
        let running = serve(binary, &file("config.yml", &config), address);
        Self {
            running,
            binary: binary.to_owned(),
            folder,
            ca_pem: authority.map(|authority| authority.pem()),
        }
    }

    /// Ends it and starts it again, at the same address and with the same storage.
    ///
    /// # Panics
    /// It does not start; the message has its log.
    pub fn restart(self) -> Self {
        let Self { running, binary, folder, ca_pem } = self;
        let address = running.address();
        drop(running);
        let config = Utf8PathBuf::from_path_buf(folder.path().join("config.yml")).unwrap();
        Self { running: serve(&binary, &config, address), binary, folder, ca_pem }
    }

    /// Host and port, as in references.
    pub fn host(&self) -> RegistryHost {
        self.running.address().to_string().parse().unwrap()
    }

    /// `http://host:port` or `https://host:port`.
    pub fn url(&self) -> String {
        let scheme = if self.ca_pem.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.running.address())
    }

    /// The CA certificate that a client must trust, with TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// The same in a file that lives as long as the registry.
    pub fn ca_file(&self) -> Option<Utf8PathBuf> {
        self.ca_pem.as_ref()?;
        Utf8PathBuf::from_path_buf(self.folder.path().join("ca.pem")).ok()
    }

    /// Where it keeps its content: `docker/registry/v2/…` below this folder.
    pub fn storage(&self) -> Utf8PathBuf {
        Utf8PathBuf::from_path_buf(self.folder.path().join("storage")).unwrap()
    }

    /// The file that has the content of a blob or manifest.
    pub fn data_of(&self, digest: &Digest) -> Utf8PathBuf {
        let hex = digest.hex();
        self.storage().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]))
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        self.running.log()
    }
}
