// SPDX-License-Identifier: Apache-2.0
//! CA certificates and client certificates, under the keys and in the mixtures of PEM that people use.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use krs_core::redact::{Secret, printable};
use krs_core::registry::ClientIdentity;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::error::{CredentialsError, MAX_ENTRY, keys};

/// CA certificates, and where they were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaCertificates {
    /// Each certificate once, and nothing else that the entries hold.
    pub pem: Vec<u8>,
    /// The keys of the entries that hold them: nothing else of a Secret is mounted into Jobs.
    pub keys: Vec<String>,
}

/// CA certificates in PEM under any usual key (`ca.crt`, `tls.crt` of a CA, any `*.crt` or `*.pem`).
///
/// # Errors
/// There are none, or they are not PEM.
pub fn ca_certificates(entries: &BTreeMap<String, Vec<u8>>) -> Result<CaCertificates, CredentialsError> {
    if let Some((key, _)) = entries.iter().find(|(_, value)| value.len() > MAX_ENTRY) {
        return Err(CredentialsError::TooLarge(printable(key, 100)));
    }
    collect(entries)?.ok_or_else(|| CredentialsError::NoAuthority(keys(entries)))
}

/// The client certificate and its key; `None` where there are none.
pub(super) fn identity(
    entries: &BTreeMap<String, Vec<u8>>,
) -> Result<Option<ClientIdentity>, CredentialsError> {
    let (certificate, key) = match (entries.get("tls.crt"), entries.get("tls.key")) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, Some(_)) => return Err(CredentialsError::Half { has: "tls.key", missing: "tls.crt" }),
        (_, None) => return Ok(None),
    };
    let certificate = certificates("tls.crt", certificate)?;
    let bad = |key: &str, what| CredentialsError::Pem { key: key.to_owned(), what };
    if certificate.is_empty() {
        return Err(bad("tls.crt", "a certificate"));
    }
    PrivateKeyDer::from_pem_slice(key).map_err(|_| bad("tls.key", "a private key"))?;
    let key = std::str::from_utf8(key).map_err(|_| bad("tls.key", "a private key"))?;
    let certificate = certificate.iter().map(|der| pem(der)).collect();
    Ok(Some(ClientIdentity { certificate, key: Secret::new(key) }))
}

/// All CA certificates; `None` where there are none.
pub(super) fn collect(
    entries: &BTreeMap<String, Vec<u8>>,
) -> Result<Option<CaCertificates>, CredentialsError> {
    let has_identity = entries.contains_key("tls.key");
    let (mut found, mut keys) = (Vec::<CertificateDer<'_>>::new(), Vec::new());
    for (key, bytes) in entries {
        let named = key.ends_with(".crt") || key.ends_with(".pem");
        if !named || (has_identity && key == "tls.crt") {
            continue;
        }
        let certificates = certificates(key, bytes)?;
        if !certificates.is_empty() {
            keys.push(key.clone());
        }
        for der in certificates {
            if !found.contains(&der) {
                found.push(der);
            }
        }
    }
    let pem = found.iter().map(|der| pem(der)).collect::<String>().into_bytes();
    Ok((!pem.is_empty()).then_some(CaCertificates { pem, keys }))
}

fn certificates(key: &str, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let bad = || CredentialsError::Pem { key: printable(key, 100), what: "a certificate" };
    let found = CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>().map_err(|_| bad())?;
    // A private key beside its certificate is PEM, too, and is skipped.
    let pem = bytes.windows(11).any(|part| part == b"-----BEGIN ");
    if found.is_empty() && !pem { Err(bad()) } else { Ok(found) }
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for (n, c) in text.chars().enumerate() {
        if n > 0 && n % 64 == 0 {
            out.push('\n');
        }
        out.push(c);
    }
    out.push_str("\n-----END CERTIFICATE-----\n");
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use krs_core::registry::ClientOptions;
    use krs_testing::tls::Authority;

    use super::super::Credentials;
    use super::super::tests::{entries, registry};
    use super::*;

    #[test]
    fn certificates_are_taken_under_every_usual_key_and_keys_never_with_them() {
        let (one, two) = (Authority::new("one"), Authority::new("two"));
        let client = two.client("krs");
        let both = format!("{}\n{}{}", one.pem(), client.key, one.pem());
        let ca = ca_certificates(&entries(&[("site.pem", &both), ("tls.crt", &two.pem())])).unwrap();
        assert_eq!(ca.keys, ["site.pem", "tls.crt"]);
        let ca = String::from_utf8(ca.pem).unwrap();
        assert_eq!(ca.matches("BEGIN CERTIFICATE").count(), 2, "{ca}");
        assert!(!ca.contains("PRIVATE"), "{ca}");

        let list =
            entries(&[("ca.crt", &one.pem()), ("tls.crt", &client.certificate), ("tls.key", &client.key)]);
        assert_eq!(
            ca_certificates(&list).unwrap().keys,
            ["ca.crt"],
            "neither the key nor what belongs to it"
        );
        let key_only = entries(&[("ca.crt", &one.pem()), ("other.pem", &client.key)]);
        assert_eq!(ca_certificates(&key_only).unwrap().keys, ["ca.crt"]);
        let credentials = Credentials::from_secret(Some("kubernetes.io/tls"), &list).unwrap();
        let ca = std::str::from_utf8(credentials.ca_certificates().unwrap()).unwrap();
        assert_eq!(ca.matches("BEGIN CERTIFICATE").count(), 1, "the client's own is no authority");
        let mut options = ClientOptions::default();
        credentials.apply(&registry(), &mut options);
        assert_eq!((options.ca_certs.len(), options.identities.len()), (1, 1));
        assert!(krs_core::registry::Client::new(options).is_ok());
        assert!(!format!("{credentials:?}").contains("PRIVATE"));
    }
}
