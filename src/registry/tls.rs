// SPDX-License-Identifier: Apache-2.0
//! Which certificates are trusted, and which are shown, host by host.

use std::fs::File;
use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};
use reqwest::{Certificate, Identity};

use super::error::RegistryError;
use crate::reference::RegistryHost;

/// Largest certificate or key file that is read, in bytes. Bundles of all public CAs have a few 100 KiB.
const MAX_FILE: u64 = 4 << 20;

/// What `certs.d` folders hold for one host.
#[derive(Debug, Default)]
pub(super) struct HostCertificates {
    pub(super) roots: Vec<Certificate>,
    pub(super) identity: Option<Identity>,
    /// The files, for messages.
    pub(super) files: Vec<Utf8PathBuf>,
}

fn unusable(path: &Utf8Path, detail: impl Into<String>) -> RegistryError {
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
pub(super) fn read_roots(path: &Utf8Path) -> Result<Vec<Certificate>, RegistryError> {
    let bytes = read(path)?;
    let roots = Certificate::from_pem_bundle(&bytes).map_err(|_| unusable(path, "it is not PEM"))?;
    if roots.is_empty() {
        return Err(unusable(path, "it holds no certificate (expected PEM, `-----BEGIN CERTIFICATE-----`)"));
    }
    Ok(roots)
}

/// What the folders `DIR/HOST[:PORT]` hold: `*.crt` are CAs, `NAME.cert` with `NAME.key` is shown to the host.
/// `None` where there is no such folder.
pub(super) fn for_host(
    folders: &[Utf8PathBuf],
    host: &RegistryHost,
) -> Result<Option<HostCertificates>, RegistryError> {
    let mut found = None;
    for folder in folders {
        let folder = folder.join(host.as_str());
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
            certificates.files.push(file);
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
