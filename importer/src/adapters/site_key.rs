// SPDX-License-Identifier: Apache-2.0
//! The key that signs the receipts of the site: Secret `krs-site-key` in the importer's own namespace. The importer makes it
//! once. One that exists is never changed, also if a person made it: the connected side knows the key.
//!
//! The Secret belongs to no release and to no application: it has none of the labels and annotations by which Helm, Argo CD and
//! Flux know what is theirs, and no owner, so that none of them prunes or makes it again.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use krs_core::bundle::sign::{PublicKey, SecretKey, SignError, generate};
use thiserror::Error;

use crate::adapters::own_secret::{OwnSecret, OwnSecretError, SecretUse};

/// The Secret.
pub const NAME: &str = "krs-site-key";
/// The key that signs, as `krs keygen` writes it without a passphrase.
pub const SECRET_KEY: &str = "site.key";
/// What its signatures are checked with.
pub const PUBLIC_KEY: &str = "site.pub";
/// Largest key that is read, in bytes.
const MAX_KEY: usize = 4096;

/// The key of the site.
#[derive(Debug)]
pub struct SigningKey {
    /// What signs.
    pub secret: SecretKey,
    /// The content of `site.pub`.
    pub public: String,
}

/// Why receipts cannot be signed.
#[derive(Debug, Error)]
pub enum SiteKeyError {
    /// The Secret cannot be read or written.
    #[error(transparent)]
    Secret(#[from] OwnSecretError),
    /// The Secret holds no key that can be used.
    #[error(
        "Secret {namespace}/{NAME} cannot be used: {why}; it is left as it is: correct it, or delete it so that the importer \
         makes a new key, whose public half the connected side must then get"
    )]
    Unusable {
        /// The importer's namespace.
        namespace: String,
        /// What is wrong.
        why: String,
    },
    /// No key can be made.
    #[error("no key can be made for the site: {0}")]
    Make(#[from] SignError),
}

/// Reads the key of the site, or makes it.
///
/// # Errors
/// [`SiteKeyError`]; a Secret that exists was not changed.
pub async fn site_key(client: &kube::Client, namespace: &str) -> Result<SigningKey, SiteKeyError> {
    let unusable = |why| SiteKeyError::Unusable { namespace: namespace.to_owned(), why };
    let secret = OwnSecret::new(client, namespace, NAME);
    let decide = |secret: Option<Secret>| match secret {
        Some(secret) => parse(&secret).map(SecretUse::Read).map_err(unusable),
        None => {
            let secret = new_secret()?;
            let key = parse(&secret).map_err(unusable)?;
            Ok(SecretUse::Write(Box::new(secret), key))
        }
    };
    secret.read_or_write(decide).await
}

fn new_secret() -> Result<Secret, SignError> {
    let pair = generate(None)?;
    let labels =
        [("app.kubernetes.io/managed-by", "krs-importer"), ("app.kubernetes.io/component", "receipts")];
    let mut secret = Secret { type_: Some("Opaque".to_owned()), immutable: Some(true), ..Secret::default() };
    secret.metadata.name = Some(NAME.to_owned());
    secret.metadata.labels =
        Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
    let data = [(SECRET_KEY, pair.secret.expose().to_owned()), (PUBLIC_KEY, pair.public)];
    let data = data.map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes())));
    secret.data = Some(BTreeMap::from(data));
    Ok(secret)
}

fn parse(secret: &Secret) -> Result<SigningKey, String> {
    let text = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        let ByteString(bytes) = bytes.ok_or_else(|| format!("it has no key `{key}`"))?;
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_KEY);
        text.map(str::to_owned).ok_or_else(|| format!("`{key}` is not a key"))
    };
    let (secret_key, public) = (text(SECRET_KEY)?, text(PUBLIC_KEY)?);
    let secret = SecretKey::parse(&secret_key, None, SECRET_KEY).map_err(|error| error.to_string())?;
    let key = PublicKey::parse(&public, PUBLIC_KEY).map_err(|error| error.to_string())?;
    // Also where both have one number: a signature tells.
    let (sample, trust) = (b"krs", krs_core::bundle::sign::Trust::Keys(vec![key]));
    let mut signatures = krs_core::bundle::sign::Signatures::default();
    let signed = signatures.sign(sample, &secret, "krs").and_then(|()| signatures.check(sample, &trust));
    signed.map_err(|_| format!("`{PUBLIC_KEY}` does not belong to `{SECRET_KEY}`"))?;
    Ok(SigningKey { secret, public })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_new_key_can_be_used_and_belongs_to_no_release_and_no_application() {
        let secret = new_secret().unwrap();
        assert!(parse(&secret).is_ok());
        let labels = secret.metadata.labels.unwrap();
        assert!(!labels.contains_key("app.kubernetes.io/instance"), "Argo CD prunes what has its label");
        assert_eq!(labels["app.kubernetes.io/managed-by"], "krs-importer", "not Helm");
        assert_eq!((secret.metadata.annotations, secret.metadata.owner_references), (None, None));
    }

    #[test]
    fn halves_that_do_not_belong_together_are_refused() {
        let (mut one, other) = (new_secret().unwrap(), new_secret().unwrap());
        let public = other.data.unwrap().remove(PUBLIC_KEY).unwrap();
        one.data.as_mut().unwrap().insert(PUBLIC_KEY.to_owned(), public);
        assert!(parse(&one).unwrap_err().contains("does not belong"), "{:?}", parse(&one));
        one.data.as_mut().unwrap().remove(SECRET_KEY);
        assert!(parse(&one).unwrap_err().contains("site.key"));
    }

    #[test]
    fn errors_and_debug_output_hold_no_key() {
        let secret = new_secret().unwrap();
        let data = secret.data.clone().unwrap();
        let text = String::from_utf8(data[SECRET_KEY].0.clone()).unwrap();
        let key = text.lines().nth(1).unwrap();
        assert!(!format!("{:?}", parse(&secret).unwrap()).contains(key));
        let mut damaged = secret;
        let half = ByteString(text.as_bytes()[..text.len() / 2].to_vec());
        damaged.data.as_mut().unwrap().insert(SECRET_KEY.to_owned(), half);
        assert!(!parse(&damaged).unwrap_err().contains(&key[..20]));
    }
}
