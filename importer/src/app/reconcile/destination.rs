// SPDX-License-Identifier: Apache-2.0
//! The credentials and CA certificates that a set names, and the client that they make.

use krs_core::oci::reference::RegistryHost;

use super::blocked::BlockedImages;
use super::clients::{ClientKey, Connection};
use super::error::ReconcileError;
use super::hosts::Purpose;
use super::observed::Observed;
use super::secrets::{RegistrySecret, SecretError, Secrets};
use super::set_reconcile::SetReconcile;
use super::sources;
use super::waiting_for_secret::Versions;
use crate::adapters::credentials::CaCertificates;
use crate::model::target::Target;

impl SetReconcile<'_> {
    /// What the client of the destination depends on, by the versions of the Secrets and ConfigMaps that were read.
    pub(super) fn client_key(&self, registry: &RegistryHost, versions: &Versions) -> ClientKey {
        let object = |kind: &str, name: Option<&String>| {
            let key = format!("{kind}/{}", name?);
            let version = versions.get(&key)?.clone()?;
            Some((key, version))
        };
        let tls = self.set.spec.destination_tls.as_ref();
        let ca_certs = object("secret", tls.and_then(|tls| tls.ca_secret_name.as_ref()))
            .or_else(|| object("configmap", tls.and_then(|tls| tls.ca_config_map_name.as_ref())));
        let namespace = self.name.namespace.clone();
        ClientKey {
            connection: Connection {
                registry: registry.clone(),
                plain_http: tls.is_some_and(|tls| tls.plain_http),
                insecure: tls.is_some_and(|tls| tls.insecure_skip_verify),
                proxied: false,
                ca_certs: ca_certs.map(|ca_certs| (namespace.clone(), ca_certs)),
            },
            credentials: object("secret", self.set.spec.destination_client_secret_name.as_ref()),
            namespace,
        }
    }

    /// Reads the credentials of the destination for the Jobs, where the registry did not have to be asked.
    pub(super) async fn read_destination(
        &self,
        secrets: &Secrets<'_>,
        observed: &mut Observed,
    ) -> Result<(), ReconcileError> {
        if observed.is_destination_read {
            return Ok(());
        }
        let Some(registry) = observed.wanted.as_ref().map(|wanted| wanted.destination.registry.clone())
        else {
            return Ok(());
        };
        match self.destination(secrets, &registry).await {
            Ok((registry_secret, ca_certs)) => observed.destination_read(registry_secret, ca_certs.as_ref()),
            Err(SecretError::Api(error)) => return Err(ReconcileError::api("Secrets cannot be read")(error)),
            Err(SecretError::Blocker(blocker)) => observed.blocker = Some(blocker),
        }
        Ok(())
    }

    /// The credentials and the CA certificates of the destination.
    pub(super) async fn destination(
        &self,
        secrets: &Secrets<'_>,
        registry: &RegistryHost,
    ) -> Result<(Option<RegistrySecret>, Option<CaCertificates>), SecretError> {
        let spec = &self.set.spec;
        let registry_secret = match &spec.destination_client_secret_name {
            Some(name) => {
                let purpose = Purpose::Destination(registry);
                Some(secrets.registry_secret(name, "spec.destinationClientSecretName", purpose).await?)
            }
            None => None,
        };
        let tls = spec.destination_tls.as_ref();
        let secret = tls.and_then(|tls| tls.ca_secret_name.as_deref());
        let map = tls.and_then(|tls| tls.ca_config_map_name.as_deref());
        let ca_certs = match (secret, map) {
            (Some(name), _) => Some(secrets.ca_certificates(name, "spec.destinationTLS.caSecretName").await?),
            (None, Some(name)) => {
                Some(secrets.config_map_authorities(name, "spec.destinationTLS.caConfigMapName").await?)
            }
            (None, None) => None,
        };
        Ok((registry_secret, ca_certs))
    }

    /// Whether the credentials of a target's own registry can be used; else its images are blocked.
    pub(super) async fn source_secret(
        &self,
        secrets: &Secrets<'_>,
        target: &Target,
        blocked: &mut BlockedImages,
    ) -> Result<bool, ReconcileError> {
        let (Some(name), Some(first)) = (&target.source_secret, target.images.first()) else {
            return Ok(true);
        };
        let purpose = Purpose::Source(&target.reference.registry);
        match secrets.registry_secret(name, &sources::source_field(*first), purpose).await {
            Ok(_) => Ok(true),
            Err(SecretError::Api(error)) => Err(ReconcileError::api("Secrets cannot be read")(error)),
            Err(SecretError::Blocker(why)) => {
                blocked.extend(
                    target.images.iter().map(|position| (*position, (why.reason, why.message.clone()))),
                );
                Ok(false)
            }
        }
    }
}
