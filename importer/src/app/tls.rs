// SPDX-License-Identifier: Apache-2.0
//! CA certificate, certificate and key of the embedded registry: made at the first start, kept in a Secret of the importer,
//! renewed in time.
//!
//! The CA's key is kept too (`ca.key`): a certificate that is renewed under the same CA is trusted by Jobs
//! that run already. Whoever may read the Secret could have taken the server's key as well. A Secret that somebody else
//! made (with cert-manager, say) is used as it is and never written; it needs no `ca.key`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use krs_core::oci::reference::RegistryHost;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;

use crate::adapters::own_secret::{OwnSecret, OwnSecretError, SecretUse};
use crate::app::start::StepError;

/// The Secret with the certificate of the embedded registry.
const NAME: &str = "krs-importer-tls";
/// Says whose Secret it is.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "krs-importer");
/// When the CA ends, as RFC 3339 says it: written with it.
const CA_END: &str = "kuberegistrysync.io/ca-not-after";
/// Keys of the Secret.
const CA: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a CA is valid.
const CA_LIFE: Duration = DAY.saturating_mul(3650);
/// How long a certificate is valid.
const LIFE: Duration = DAY.saturating_mul(365);
/// A certificate that is valid for less than this is renewed.
const RENEW: Duration = DAY.saturating_mul(30);
/// When everything made here begins to be valid (2020-01-01): long before any of it was made, because the clock may be
/// ahead while it is made, and clients refuse a CA from the future.
const BEGINNING: Timestamp = Timestamp::constant(1_577_836_800, 0);

/// What the embedded registry shows, and what its clients must trust.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerIdentity {
    /// Certificate of the CA, in PEM: goes into the Jobs.
    pub ca: String,
    /// The server's chain, in PEM.
    pub certificate: String,
    /// Its key, in PEM.
    pub key: String,
}

impl ServerIdentity {
    /// Whether it is due to be renewed: it ends soon, or the clock says by now that it is not valid yet.
    pub fn is_due(&self, host: &RegistryHost, now: Timestamp) -> bool {
        check(self, host, now + RENEW).is_err() || check_authority(&self.ca, now).is_err()
    }
}

impl std::fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerIdentity(***)")
    }
}

/// Why there is no certificate.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages explain the fields")]
pub enum TlsError {
    /// The Secret cannot be read or written.
    #[error(transparent)]
    Secret(#[from] OwnSecretError),
    /// A Secret that somebody else made cannot be used.
    #[error(
        "Secret {namespace}/{NAME} cannot be used: {why}; it was not made by the importer, which therefore leaves it alone: \
         correct it, or delete it so that the importer makes its own"
    )]
    Foreign {
        /// The importer's namespace.
        namespace: String,
        /// What is wrong.
        why: String,
    },
    /// Making one failed.
    #[error("no certificate can be made for {host}: {why}")]
    Make {
        host: String,
        /// What is wrong.
        why: String,
    },
}

impl StepError for TlsError {
    fn is_temporary(&self) -> bool {
        match self {
            // A Role may come later than the Pod.
            Self::Secret(_) => true,
            Self::Foreign { .. } | Self::Make { .. } => false,
        }
    }
}

/// Reads the identity from Secret `krs-importer-tls` in `namespace`, or makes one for `host` and keeps it there. One that
/// ends soon is renewed under the same CA, where that lives long enough.
///
/// # Errors
/// [`TlsError`].
pub async fn identity(
    client: &kube::Client,
    namespace: &str,
    host: &RegistryHost,
) -> Result<ServerIdentity, TlsError> {
    identity_at(client, namespace, host, Timestamp::now()).await
}

async fn identity_at(
    client: &kube::Client,
    namespace: &str,
    host: &RegistryHost,
    now: Timestamp,
) -> Result<ServerIdentity, TlsError> {
    let secret = OwnSecret::new(client, namespace, NAME);
    secret.read_or_write(|secret| next(secret, namespace, host, now)).await
}

/// What to do with the Secret. Pure, but for new keys.
fn next(
    secret: Option<Secret>,
    namespace: &str,
    host: &RegistryHost,
    now: Timestamp,
) -> Result<SecretUse<ServerIdentity>, TlsError> {
    let Some(mut secret) = secret else {
        let mut secret = Secret { type_: Some("kubernetes.io/tls".to_owned()), ..Secret::default() };
        secret.metadata.name = Some(NAME.to_owned());
        let labels = [MANAGED_BY, ("app.kubernetes.io/component", "registry")];
        secret.metadata.labels =
            Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
        return renew(secret, host, now);
    };
    let labels = secret.metadata.labels.as_ref();
    let ours = labels.and_then(|labels| labels.get(MANAGED_BY.0)).is_some_and(|by| by == MANAGED_BY.1);
    // Whoever made another one renews it as late as they like.
    let until = if ours { RENEW } else { Duration::ZERO };
    let checked = read(&secret).and_then(|identity| {
        check(&identity, host, now + until)?;
        if ours {
            check_authority(&identity.ca, now)?;
        }
        Ok(identity)
    });
    match checked {
        Ok(identity) => Ok(SecretUse::Read(identity)),
        Err(why) if ours => {
            tracing::info!("the certificate of the embedded registry is created again: {why}");
            // Data that is given as text would win over what is written.
            secret.string_data = None;
            renew(secret, host, now)
        }
        Err(why) => Err(TlsError::Foreign { namespace: namespace.to_owned(), why }),
    }
}

fn text(secret: &Secret, key: &str) -> Result<String, String> {
    let bytes = secret.data.as_ref().and_then(|data| data.get(key));
    let ByteString(bytes) = bytes.ok_or_else(|| format!("it has no key `{key}`"))?;
    String::from_utf8(bytes.clone()).map_err(|_| format!("`{key}` is not PEM"))
}

fn read(secret: &Secret) -> Result<ServerIdentity, String> {
    Ok(ServerIdentity {
        ca: text(secret, CA)?,
        certificate: text(secret, CERTIFICATE)?,
        key: text(secret, KEY)?,
    })
}

/// Whether a client that trusts the CA accepts the certificate for `host` at that time, and the key belongs to it.
fn check(identity: &ServerIdentity, host: &RegistryHost, at: Timestamp) -> Result<(), String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|error| format!("`{CERTIFICATE}`: {error}"))?;
    let [leaf, between @ ..] = chain.as_slice() else {
        return Err(format!("`{CERTIFICATE}` holds no certificate"));
    };
    let key = rustls_pki_types::PrivateKeyDer::from_pem_slice(identity.key.as_bytes())
        .map_err(|error| format!("`{KEY}`: {error}"))?;
    rustls::sign::CertifiedKey::from_der(chain.clone(), key, &provider)
        .map_err(|error| format!("`{KEY}` does not belong to `{CERTIFICATE}`: {error}"))?;
    let mut roots = rustls::RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(identity.ca.as_bytes()) {
        let added = ca.map_err(|error| error.to_string()).map(|ca| roots.add(ca));
        added.and_then(|added| added.map_err(|e| e.to_string())).map_err(|e| format!("`{CA}`: {e}"))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| format!("`{CA}`: {error}"))?;
    let name = ServerName::try_from(host.host().to_owned()).map_err(|error| error.to_string())?;
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at.as_second().unsigned_abs()));
    let verified = verifier.verify_server_cert(leaf, between, &name, &[], at);
    verified.map(|_| ()).map_err(|error| format!("`{CERTIFICATE}` for {host}: {error}"))
}

/// Whether clients may trust the CA itself at that time. Verifiers like ours do not ask when an anchor is valid,
/// others do (Go's, and so skopeo).
fn check_authority(ca: &str, at: Timestamp) -> Result<(), String> {
    let invalid = |why: String| format!("`{CA}`: {why}");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let ca = CertificateDer::from_pem_slice(ca.as_bytes()).map_err(|error| invalid(error.to_string()))?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.clone()).map_err(|error| invalid(error.to_string()))?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| invalid(error.to_string()))?;
    let name = ServerName::try_from("krs-importer").map_err(|error| error.to_string())?;
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at.as_second().unsigned_abs()));
    // As if it were a server's: its validity is what is checked first, and the only thing that counts here.
    use rustls::CertificateError as E;
    match verifier.verify_server_cert(&ca, &[], &name, &[], at) {
        Err(rustls::Error::InvalidCertificate(
            error @ (E::NotValidYet | E::NotValidYetContext { .. } | E::Expired | E::ExpiredContext { .. }),
        )) => Err(invalid(error.to_string())),
        _ => Ok(()),
    }
}

/// Writes a new certificate into `secret`, under the CA in it if that is good for as long.
fn renew(
    mut secret: Secret,
    host: &RegistryHost,
    now: Timestamp,
) -> Result<SecretUse<ServerIdentity>, TlsError> {
    let make = |why: String| TlsError::Make { host: host.to_string(), why };
    let annotations = secret.metadata.annotations.get_or_insert_default();
    let end = annotations.get(CA_END).and_then(|end| end.parse::<Timestamp>().ok());
    if end.is_some_and(|end| end >= now + LIFE)
        && let (Ok(ca), Ok(ca_key)) = (text(&secret, CA), text(&secret, CA_KEY))
        && check_authority(&ca, now).is_ok()
        && let Ok(identity) = leaf(ca, &ca_key, host, now)
        && check(&identity, host, now).is_ok()
    {
        write(&mut secret, &identity, ca_key);
        return Ok(SecretUse::Write(Box::new(secret), identity));
    }
    let key = KeyPair::generate().map_err(|error| make(error.to_string()))?;
    let params = valid(ca_params(), now, CA_LIFE);
    let ca = params.self_signed(&key).map_err(|error| make(error.to_string()))?;
    let ca_key = key.serialize_pem();
    let identity = leaf(ca.pem(), &ca_key, host, now).map_err(&make)?;
    check(&identity, host, now).map_err(make)?;
    let end = (now + CA_LIFE).to_string();
    secret.metadata.annotations.get_or_insert_default().insert(CA_END.to_owned(), end);
    write(&mut secret, &identity, ca_key);
    Ok(SecretUse::Write(Box::new(secret), identity))
}

fn write(secret: &mut Secret, identity: &ServerIdentity, ca_key: String) {
    let ServerIdentity { ca, certificate, key } = identity.clone();
    let data = [(CA, ca), (CA_KEY, ca_key), (CERTIFICATE, certificate), (KEY, key)];
    let data = data.map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes())));
    secret.data = Some(BTreeMap::from(data));
}

/// What every CA of ours has in common, so that one can sign again.
fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "krs-importer");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf(ca: String, ca_key: &str, host: &RegistryHost, now: Timestamp) -> Result<ServerIdentity, String> {
    let text = |error: rcgen::Error| error.to_string();
    let issuer = Issuer::new(ca_params(), KeyPair::from_pem(ca_key).map_err(text)?);
    let mut params = valid(CertificateParams::new(names(host)).map_err(text)?, now, LIFE);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "krs-importer registry");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(text)?;
    let certificate = params.signed_by(&key, &issuer).map_err(text)?.pem();
    Ok(ServerIdentity { ca, certificate, key: key.serialize_pem() })
}

fn valid(mut params: CertificateParams, now: Timestamp, life: Duration) -> CertificateParams {
    let date = |at: Timestamp| {
        let since_epoch = Duration::from_secs(at.as_second().unsigned_abs());
        rcgen::date_time_ymd(1970, 1, 1) + since_epoch
    };
    params.not_before = date(BEGINNING.min(now));
    params.not_after = date(now) + life;
    params
}

/// The host, and where it is a Service of the cluster also its full name.
fn names(host: &RegistryHost) -> Vec<String> {
    let host = host.host();
    let full = host.ends_with(".svc").then(|| format!("{host}.cluster.local"));
    std::iter::once(host.to_owned()).chain(full).collect()
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
