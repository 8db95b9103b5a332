// SPDX-License-Identifier: Apache-2.0
//! The base URLs of registries, with or without TLS.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use http::{HeaderMap, Method};
use tokio::sync::Mutex;
use url::Url;

use crate::error::find_cause;
use crate::oci::reference::RegistryHost;
use crate::registry::failure::error::RegistryError;
use crate::registry::failure::outcome::Failure;
use crate::registry::host::{HTTP_PORT, HTTPS_PORT, hub_api_host, is_listed};
use crate::registry::transport::exchange::Transport;
use crate::registry::transport::operation::Operation;

/// Longest wait for the probe whether a registry on this machine uses TLS.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The base URLs of registries on this machine, as probes found them.
#[derive(Debug, Default)]
pub(in crate::registry) struct BaseUrls(Mutex<HashMap<RegistryHost, Url>>);

impl BaseUrls {
    /// The base URL of the registry of an operation. One on this machine is probed once.
    pub(in crate::registry) async fn get(
        &self,
        transport: &Transport,
        operation: &Operation<'_>,
    ) -> Result<Url, Failure> {
        let (registry, options) = (operation.registry, transport.options());
        let host = hub_api_host(registry);
        let base_url = |scheme: &str| {
            let url = format!("{scheme}://{host}/").parse::<Url>();
            url.map_err(|_| Failure::from(operation.invalid_response("its name is not a valid host name")))
        };
        if is_listed(&options.plain_http, registry, HTTP_PORT) {
            return base_url("http");
        }
        let encrypted = !registry.is_loopback() || is_listed(&options.insecure, registry, HTTPS_PORT);
        if encrypted || transport.certificates().for_host(registry)?.is_some() {
            return base_url("https");
        }
        let mut probed = self.0.lock().await;
        if let Some(known) = probed.get(registry) {
            return Ok(known.clone());
        }
        let https = base_url("https")?;
        let found = if has_tls(transport, operation, &https).await? { https } else { base_url("http")? };
        probed.insert(registry.clone(), found.clone());
        Ok(found)
    }
}

/// Whether the server of `url` uses TLS.
async fn has_tls(transport: &Transport, operation: &Operation<'_>, url: &Url) -> Result<bool, Failure> {
    let probe = transport.send(operation, &Method::GET, url, HeaderMap::new(), None);
    Ok(match tokio::time::timeout(PROBE_TIMEOUT, probe).await {
        Ok(Ok(_)) => true,
        Ok(Err(Failure::Final(error))) => is_tls_response(&error),
        Ok(Err(Failure::Retryable(error))) => {
            let io = find_cause::<io::Error>(&*error).map(io::Error::kind);
            if io == Some(io::ErrorKind::ConnectionRefused) {
                return Err(Failure::Retryable(error));
            }
            false
        }
        Ok(Err(Failure::Challenged(_) | Failure::RateLimited { .. })) | Err(_) => false,
    })
}

/// Whether a TLS connection failed because of a TLS message of the server, so that the server does use TLS.
fn is_tls_response(error: &RegistryError) -> bool {
    let is_response = |error: &rustls::Error| {
        matches!(error, rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_))
    };
    matches!(error, RegistryError::Tls { .. }) && find_cause::<rustls::Error>(error).is_some_and(is_response)
}
