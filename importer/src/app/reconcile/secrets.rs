// SPDX-License-Identifier: Apache-2.0
//! Secrets and ConfigMaps that a set names: read by name when they are needed, never listed, never
//! watched, never kept for longer than one reconcile.

use parking_lot::Mutex;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use krs_core::crd::reason;
use krs_core::redact::printable;
use kube::Api;

use super::hosts::{self, Purpose};
use super::waiting_for_secret::Versions;
use crate::adapters::credentials::{CaCertificates, Credentials, ca_certificates};
use crate::engine::decide::Blocker;

/// Type of a Secret that the kubelet can pull images with.
const DOCKER_CONFIG_JSON: &str = "kubernetes.io/dockerconfigjson";

/// Most characters of the API server's refusal that are shown.
const MAX_REFUSAL: usize = 300;

/// Most Secrets that are kept during one reconcile, and the largest of them, in bytes.
const MAX_KEPT: usize = 16;
const MAX_KEPT_SIZE: usize = 16 << 10;

/// Credentials, and whether images can be pulled with the Secret that they come from.
pub(super) struct RegistrySecret {
    pub(super) credentials: Credentials,
    pub(super) is_dockerconfigjson: bool,
}

/// Why what a set names cannot be used.
pub(super) enum SecretError {
    /// It is wrong, and somebody can mend it.
    Blocker(Blocker),
    /// The API server could not be asked.
    Api(kube::Error),
}

impl From<kube::Error> for SecretError {
    fn from(error: kube::Error) -> Self {
        Self::Api(error)
    }
}

/// Reads objects of one namespace during one reconcile, and keeps which versions of them it read.
pub(super) struct Secrets<'a> {
    client: &'a kube::Client,
    namespace: &'a str,
    versions: Mutex<Versions>,
    /// Small Secrets that were read, by name: all images of a set may name the same one.
    read: Mutex<BTreeMap<String, Secret>>,
}

impl<'a> Secrets<'a> {
    pub(super) const fn new(client: &'a kube::Client, namespace: &'a str) -> Self {
        Self { client, namespace, versions: Mutex::new(BTreeMap::new()), read: Mutex::new(BTreeMap::new()) }
    }

    /// The versions of what was read.
    pub(super) fn versions(&self) -> Versions {
        self.versions.lock().clone()
    }

    /// The credentials in the Secret `name`, where they may be used for `purpose`. `whose` says which field named it.
    pub(super) async fn registry_secret(
        &self,
        name: &str,
        whose: &str,
        purpose: Purpose<'_>,
    ) -> Result<RegistrySecret, SecretError> {
        let secret = self.secret(name, whose).await?;
        let kind = secret.type_.clone();
        let annotations = secret.metadata.annotations.as_ref();
        let hosts = annotations.and_then(|annotations| annotations.get(hosts::ANNOTATION)).cloned();
        let credentials = Credentials::from_secret(kind.as_deref(), &entries(secret))
            .map_err(|error| self.invalid("Secret", name, whose, &error))?;
        hosts::check(purpose, hosts.as_deref(), credentials.names_hosts())
            .map_err(|error| self.invalid("Secret", name, whose, &error))?;
        Ok(RegistrySecret { credentials, is_dockerconfigjson: kind.as_deref() == Some(DOCKER_CONFIG_JSON) })
    }

    /// The CA certificates in the Secret `name`.
    pub(super) async fn ca_certificates(
        &self,
        name: &str,
        whose: &str,
    ) -> Result<CaCertificates, SecretError> {
        let secret = self.secret(name, whose).await?;
        ca_certificates(&entries(secret)).map_err(|error| self.invalid("Secret", name, whose, &error))
    }

    /// The CA certificates in the ConfigMap `name`.
    pub(super) async fn config_map_authorities(
        &self,
        name: &str,
        whose: &str,
    ) -> Result<CaCertificates, SecretError> {
        let map = Api::<ConfigMap>::namespaced(self.client.clone(), self.namespace).get_opt(name).await;
        let map = readable(map)?;
        self.note("configmap", name, map.as_ref().ok().and_then(|map| Some(&map.as_ref()?.metadata)));
        let map = map.map_err(|refusal| self.forbidden("ConfigMap", name, whose, &refusal))?;
        let map = map.ok_or_else(|| self.absent("ConfigMap", name, whose))?;
        let text = map.data.unwrap_or_default().into_iter().map(|(key, text)| (key, text.into_bytes()));
        let bytes = map.binary_data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0));
        let entries = text.chain(bytes).collect();
        ca_certificates(&entries).map_err(|error| self.invalid("ConfigMap", name, whose, &error))
    }

    async fn secret(&self, name: &str, whose: &str) -> Result<Secret, SecretError> {
        if let Some(secret) = self.read.lock().get(name) {
            return Ok(secret.clone());
        }
        let secret = Api::<Secret>::namespaced(self.client.clone(), self.namespace).get_opt(name).await;
        let secret = readable(secret)?;
        self.note("secret", name, secret.as_ref().ok().and_then(|secret| Some(&secret.as_ref()?.metadata)));
        let secret = secret.map_err(|refusal| self.forbidden("Secret", name, whose, &refusal))?;
        let secret = secret.ok_or_else(|| self.absent("Secret", name, whose))?;
        let mut read = self.read.lock();
        if read.len() < MAX_KEPT && size(&secret) <= MAX_KEPT_SIZE {
            read.insert(name.to_owned(), secret.clone());
        }
        Ok(secret)
    }

    fn note(&self, kind: &str, name: &str, meta: Option<&kube::api::ObjectMeta>) {
        let version = meta.map(|meta| meta.resource_version.clone().unwrap_or_default());
        self.versions.lock().insert(format!("{kind}/{name}"), version);
    }

    fn absent(&self, kind: &str, name: &str, whose: &str) -> SecretError {
        let namespace = self.namespace;
        let message = format!(
            "{kind} {name}, which {whose} names, does not exist in namespace {namespace}: create it there"
        );
        SecretError::Blocker(Blocker { reason: reason::SECRET_NOT_FOUND, message, stalled: false })
    }

    fn forbidden(&self, kind: &str, name: &str, whose: &str, refusal: &str) -> SecretError {
        let namespace = self.namespace;
        let message = format!(
            "the importer may not read {kind} {name} in namespace {namespace}, which {whose} names: {refusal}; allow it `get` there (the chart's Role does), or name another one"
        );
        SecretError::Blocker(Blocker { reason: reason::SECRET_FORBIDDEN, message, stalled: false })
    }

    fn invalid(&self, kind: &str, name: &str, whose: &str, error: &dyn std::fmt::Display) -> SecretError {
        let namespace = self.namespace;
        let message =
            format!("{kind} {name} in namespace {namespace}, which {whose} names, cannot be used: {error}");
        SecretError::Blocker(Blocker { reason: reason::SECRET_INVALID, message, stalled: false })
    }
}

/// What the API server answered; the inner error is its refusal to let the importer read the object, which is a fault of the
/// set or of the site, not of the API server.
fn readable<T>(answer: Result<Option<T>, kube::Error>) -> Result<Result<Option<T>, String>, kube::Error> {
    match answer {
        Ok(found) => Ok(Ok(found)),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            Ok(Err(printable(&status.message, MAX_REFUSAL)))
        }
        Err(error) => Err(error),
    }
}

/// The versions that the objects of `known` have now; their content is not asked for.
pub(super) async fn versions(
    client: &kube::Client,
    namespace: &str,
    known: &Versions,
) -> Result<Versions, kube::Error> {
    let mut now = Versions::new();
    for key in known.keys() {
        let Some((kind, name)) = key.split_once('/') else { continue };
        let meta = match kind {
            "secret" => {
                let api = Api::<Secret>::namespaced(client.clone(), namespace);
                readable(api.get_metadata_opt(name).await)?.ok().flatten().map(|object| object.metadata)
            }
            _ => {
                let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
                readable(api.get_metadata_opt(name).await)?.ok().flatten().map(|object| object.metadata)
            }
        };
        now.insert(key.clone(), meta.map(|meta| meta.resource_version.unwrap_or_default()));
    }
    Ok(now)
}

fn size(secret: &Secret) -> usize {
    secret.data.iter().flatten().map(|(key, value)| key.len() + value.0.len()).sum()
}

fn entries(secret: Secret) -> BTreeMap<String, Vec<u8>> {
    secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()
}
