// SPDX-License-Identifier: Apache-2.0
//! Which certificates are trusted, and which are shown, host by host.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs::File;
use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};
use reqwest::{Certificate, Identity};

use crate::oci::reference::RegistryHost;
use crate::redact::Secret;
use crate::registry::failure::error::RegistryError;
use crate::registry::host::{HTTPS_PORT, without_default_port};

/// Largest certificate or key file that is read, in bytes. Bundles of all public CAs have a few 100 KiB.
const MAX_FILE: u64 = 4 << 20;

/// A client certificate with its key, both in PEM.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// The certificate, and the chain to its authority.
    pub certificate: String,
    /// The private key.
    pub key: Secret,
}

/// What is trusted for one host, and shown to it, beyond what all hosts share.
#[derive(Debug, Clone, Default)]
pub(in crate::registry) struct HostCertificates {
    pub(in crate::registry) roots: Vec<Certificate>,
    pub(in crate::registry) identity: Option<Identity>,
    /// Where they come from, for messages.
    pub(in crate::registry) origins: Vec<String>,
}

fn unusable(path: impl Display, detail: impl Into<String>) -> RegistryError {
    RegistryError::Certificate { path: path.to_string(), detail: detail.into() }
}

fn read(path: &Utf8Path) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| unusable(path, error.to_string()))?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| unusable(path, error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(unusable(path, format!("it is larger than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

/// The CA certificates in a PEM file.
pub(in crate::registry) fn read_roots(path: &Utf8Path) -> Result<Vec<Certificate>, RegistryError> {
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

/// What was given in memory, by host without the usual port.
pub(in crate::registry) fn given(
    authorities: &[(RegistryHost, Vec<u8>)],
    identities: &[(RegistryHost, ClientIdentity)],
) -> Result<HashMap<String, HostCertificates>, RegistryError> {
    let mut hosts = HashMap::<String, HostCertificates>::new();
    let name = |host: &RegistryHost| without_default_port(host, HTTPS_PORT).to_owned();
    for (host, pem) in authorities {
        let roots = parse_roots(format_args!("of the authority for {host}"), pem)?;
        let own = hosts.entry(name(host)).or_default();
        own.roots.extend(roots);
        own.origins = vec![format!("the authorities given for {host}")];
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

/// What the folders `DIR/HOST[:PORT]` hold: `*.crt` are CAs, `NAME.cert` with `NAME.key` is shown to the host.
/// `None` where there is no such folder.
pub(in crate::registry) fn for_host(
    folders: &[Utf8PathBuf],
    host: &RegistryHost,
) -> Result<Option<HostCertificates>, RegistryError> {
    let mut found = None;
    let name = without_default_port(host, HTTPS_PORT);
    // A name without a port, and what ends in the usual one, may stand for the same registry.
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
