// SPDX-License-Identifier: Apache-2.0
//! The trusted certificates and the client certificates of each host.

use std::collections::HashMap;
use std::fmt::Display;

use camino::{Utf8Path, Utf8PathBuf};
use reqwest::{Certificate, Identity};
use url::Url;

use crate::files;
use crate::oci::reference::RegistryHost;
use crate::redact::Secret;
use crate::registry::failure::error::RegistryError;
use crate::registry::host::{HTTPS_PORT, authority, hub_registry_for, without_default_port};

/// Largest certificate or key file that is read, in bytes. Bundles of all public CAs have a few 100 KiB.
const MAX_FILE: u64 = 4 << 20;

/// A client certificate with its key, both in PEM.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// The certificate, and the chain to its CA.
    pub certificate: String,
    /// The private key.
    pub key: Secret,
}

/// The trusted certificates and the client certificate of one host, besides those of all hosts.
#[derive(Debug, Clone, Default)]
pub(in crate::registry) struct HostCertificates {
    pub(in crate::registry) roots: Vec<Certificate>,
    pub(in crate::registry) identity: Option<Identity>,
    /// Their origin, for messages.
    pub(in crate::registry) origins: Vec<String>,
}

fn unusable(path: impl Display, detail: impl Into<String>) -> RegistryError {
    RegistryError::Certificate { path: path.to_string(), detail: detail.into() }
}

fn read(path: &Utf8Path) -> Result<Vec<u8>, RegistryError> {
    files::read_file(path, MAX_FILE).map_err(|error| unusable(path, error.to_string()))
}

/// The CA certificates in a PEM file.
fn read_roots(path: &Utf8Path) -> Result<Vec<Certificate>, RegistryError> {
    parse_roots(path, &read(path)?)
}

fn parse_roots(origin: impl Display, pem: &[u8]) -> Result<Vec<Certificate>, RegistryError> {
    let roots = Certificate::from_pem_bundle(pem).map_err(|_| unusable(&origin, "it is not PEM"))?;
    if roots.is_empty() {
        return Err(unusable(
            origin,
            "it holds no certificate (expected PEM, `-----BEGIN CERTIFICATE-----`)",
        ));
    }
    Ok(roots)
}

/// The trusted certificates of all hosts, and of single hosts.
#[derive(Debug)]
pub(in crate::registry) struct CertificateStore {
    ca_files: Vec<Utf8PathBuf>,
    certs_dirs: Vec<Utf8PathBuf>,
    shared_roots: Vec<Certificate>,
    /// From memory, by host without the default port.
    in_memory: HashMap<String, HostCertificates>,
}

impl CertificateStore {
    /// Reads `ca_files` and checks the certificates in memory; `certs_dirs` are read when a host is connected to.
    ///
    /// # Errors
    /// A CA or a client certificate that cannot be used.
    pub(in crate::registry) fn new(
        ca_files: &[Utf8PathBuf],
        certs_dirs: &[Utf8PathBuf],
        ca_certs: &[(RegistryHost, Vec<u8>)],
        identities: &[(RegistryHost, ClientIdentity)],
    ) -> Result<Self, RegistryError> {
        let mut shared_roots = Vec::new();
        for file in ca_files {
            shared_roots.extend(read_roots(file)?);
        }
        let in_memory = parse_in_memory(ca_certs, identities)?;
        Ok(Self { ca_files: ca_files.to_vec(), certs_dirs: certs_dirs.to_vec(), shared_roots, in_memory })
    }

    /// CA certificates that are trusted for all hosts besides those of the system.
    pub(in crate::registry) fn shared_roots(&self) -> &[Certificate] {
        &self.shared_roots
    }

    /// The trusted certificates and the client certificate of a registry, by its name and by the name of its API's host.
    pub(in crate::registry) fn for_host(
        &self,
        host: &RegistryHost,
    ) -> Result<Option<HostCertificates>, RegistryError> {
        let own = self.for_name(host)?;
        match hub_registry_for(host) {
            Some(name) if own.is_none() => self.for_name(&name),
            _ => Ok(own),
        }
    }

    fn for_name(&self, host: &RegistryHost) -> Result<Option<HostCertificates>, RegistryError> {
        let in_folders = read_folders(&self.certs_dirs, host)?;
        let Some(in_memory) = self.in_memory.get(without_default_port(host, HTTPS_PORT)) else {
            return Ok(in_folders);
        };
        let mut all = in_folders.unwrap_or_default();
        all.roots.extend(in_memory.roots.iter().cloned());
        all.identity = in_memory.identity.clone().or(all.identity);
        all.origins.extend(in_memory.origins.iter().cloned());
        Ok(Some(all))
    }

    /// Which CA certificates are trusted for an address, for a message.
    pub(in crate::registry) fn describe(&self, url: &Url) -> String {
        let own = authority(url).parse().ok().and_then(|host| self.for_host(&host).ok().flatten());
        let files = self.ca_files.iter().map(ToString::to_string);
        let files = files.chain(own.unwrap_or_default().origins);
        let files = files.map(|file| format!(", {file}")).collect::<String>();
        format!("trusted are those of the system{files}")
    }
}

/// The certificates in memory, by host without the default port.
fn parse_in_memory(
    ca_certs: &[(RegistryHost, Vec<u8>)],
    identities: &[(RegistryHost, ClientIdentity)],
) -> Result<HashMap<String, HostCertificates>, RegistryError> {
    let mut hosts = HashMap::<String, HostCertificates>::new();
    let name = |host: &RegistryHost| without_default_port(host, HTTPS_PORT).to_owned();
    for (host, pem) in ca_certs {
        let roots = parse_roots(format_args!("of the CA for {host}"), pem)?;
        let own = hosts.entry(name(host)).or_default();
        own.roots.extend(roots);
        own.origins = vec![format!("the CA certificates given for {host}")];
    }
    for (host, ClientIdentity { certificate, key }) in identities {
        let pem = format!("{certificate}\n{}", key.expose());
        // The cause could show parts of the key.
        let bad =
            |_| unusable(format_args!("to show to {host}"), "it is no certificate with its key, in PEM");
        let identity = Identity::from_pem(pem.as_bytes()).map_err(bad)?;
        hosts.entry(name(host)).or_default().identity = Some(identity);
    }
    Ok(hosts)
}

/// The content of the folders `DIR/HOST[:PORT]`: `*.crt` are CAs, `NAME.cert` with `NAME.key` is a client certificate.
/// `None` if there is no such folder.
pub(in crate::registry) fn read_folders(
    folders: &[Utf8PathBuf],
    host: &RegistryHost,
) -> Result<Option<HostCertificates>, RegistryError> {
    let mut found = None;
    let name = without_default_port(host, HTTPS_PORT);
    // A name without a port and one with the default port are the same registry.
    let ported = host.as_str() == name && name.rsplit(']').next().is_some_and(|end| end.contains(':'));
    let names =
        if ported { vec![name.to_owned()] } else { vec![name.to_owned(), format!("{name}:{HTTPS_PORT}")] };
    for folder in folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name))) {
        let Ok(entries) = folder.read_dir_utf8() else { continue };
        let certificates = found.get_or_insert_with(HostCertificates::default);
        let mut files = entries.filter_map(|entry| Some(entry.ok()?.into_path())).collect::<Vec<_>>();
        files.sort();
        for file in files {
            match file.extension() {
                Some("crt") => certificates.roots.extend(read_roots(&file)?),
                Some("cert") if certificates.identity.is_none() => {
                    let key = file.with_extension("key");
                    let mut pem = read(&file)?;
                    pem.push(b'\n');
                    pem.extend(read(&key)?);
                    let bad = |_| unusable(&file, format!("it is no certificate with the key {key}"));
                    certificates.identity = Some(Identity::from_pem(&pem).map_err(bad)?);
                }
                _ => continue,
            }
            certificates.origins.push(file.into_string());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn t56_a_ca_file_that_holds_no_certificate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("ca.pem");
        std::fs::write(&path, "not a certificate").unwrap();
        let error = read_roots(&path).unwrap_err().to_string();
        assert!(error.contains("ca.pem") && error.contains("no certificate"), "{error}");
        assert!(read_roots(&path.with_extension("missing")).is_err());
    }
}
