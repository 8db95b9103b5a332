// SPDX-License-Identifier: Apache-2.0
//! `krs-importer probe`, for `helm test`: asks an importer as the kubelet and as copy Jobs do, over the cluster's network.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::oci::reference::RegistryHost;
use krs_core::redact::printable;
use krs_core::registry::{Client, ClientOptions, RegistryError, RetryPolicy};
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long one of the two may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Most bytes of an answer that are read.
const MAX_ANSWER: u64 = 64 << 10;
/// Most bytes of the CA certificate.
const MAX_CA: u64 = 64 << 10;

/// What is wrong with the importer that was asked.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages explain the fields")]
pub enum ProbeError {
    /// Its port for health and metrics cannot be reached.
    #[error(
        "http://{host}/readyz cannot be reached: {source}; is there a NetworkPolicy, or no endpoint behind the Service?"
    )]
    Unreachable {
        /// The host and port.
        host: String,
        source: std::io::Error,
    },
    /// It says that it is not ready.
    #[error("http://{host}/readyz: expected status 200, got: {answer}")]
    NotReady {
        /// The host and port.
        host: String,
        answer: String,
    },
    /// The CA certificate of its registry cannot be read.
    #[error("the CA certificate {path} cannot be read: {source}")]
    Ca { path: Utf8PathBuf, source: std::io::Error },
    /// Its registry does not answer as it should.
    #[error("the importer's registry {host} does not answer as copy Jobs need it")]
    Registry {
        /// The host and port.
        host: RegistryHost,
        /// What went wrong.
        source: Box<RegistryError>,
    },
    /// Its registry answers everybody.
    #[error("the importer's registry {host} asks for no credentials: something else answers at this address")]
    Open {
        /// The host and port.
        host: RegistryHost,
    },
}

/// Asks for readiness at `http`, and the registry, whose certificate must be good for its name and the CA in `ca`.
///
/// # Errors
/// [`ProbeError`] says what is wrong.
pub async fn probe(http: &str, registry: &RegistryHost, ca: &Utf8Path) -> Result<(), ProbeError> {
    let unreachable = |source| ProbeError::Unreachable { host: http.to_owned(), source };
    let answer = tokio::time::timeout(TIMEOUT, ready(http)).await;
    let answer = answer.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())).map_err(unreachable)?;
    if !answer.starts_with("HTTP/1.1 200 ") {
        return Err(ProbeError::NotReady { host: http.to_owned(), answer: printable(&answer, 1000) });
    }
    let ca = read(ca).map_err(|source| ProbeError::Ca { path: ca.to_owned(), source })?;
    let failed = |source| ProbeError::Registry { host: registry.clone(), source: Box::new(source) };
    let client = Client::new(ClientOptions {
        ca_certs: vec![(registry.clone(), ca)],
        certs_dirs: Vec::new(),
        proxies: false,
        retry: RetryPolicy { attempts: 1, ..RetryPolicy::default() },
        stall_timeout: TIMEOUT,
        user_agent: crate::USER_AGENT.to_owned(),
        ..ClientOptions::default()
    });
    match client.map_err(failed)?.ping(registry).await {
        // Only Pods of copy Jobs have what it wants.
        Err(RegistryError::Unauthorized { .. }) => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(()) => Err(ProbeError::Open { host: registry.clone() }),
    }
}

async fn ready(host: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(host).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn read(path: &Utf8Path) -> std::io::Result<Vec<u8>> {
    krs_core::files::read_file(path, MAX_CA)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use krs_testing::registry::{Auth, Options, Registry};

    use super::*;

    /// Answers one request with this status, and the address.
    async fn health(status: &'static str) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            assert_ne!(stream.read(&mut request).await.unwrap(), 0);
            stream.write_all(format!("HTTP/1.1 {status}\r\n\r\nwhy not").as_bytes()).await.unwrap();
        });
        address
    }

    fn tls(auth: Auth) -> (Registry, tempfile::NamedTempFile) {
        let registry = Registry::start(Options { tls: true, auth, ..Options::default() });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, registry.ca_pem().unwrap()).unwrap();
        (registry, file)
    }

    #[tokio::test]
    async fn an_importer_is_asked_for_health_and_registry() {
        let (closed, closed_ca) = tls(Auth::basic("u", "p"));
        let (open, open_ca) = tls(Auth::None);
        let path =
            |file: &tempfile::NamedTempFile| Utf8PathBuf::from_path_buf(file.path().to_owned()).unwrap();
        let (closed_ca, open_ca) = (path(&closed_ca), path(&open_ca));
        probe(&health("200 OK").await, &closed.host(), &closed_ca).await.unwrap();
        let error =
            probe(&health("503 Service Unavailable").await, &closed.host(), &closed_ca).await.unwrap_err();
        assert!(
            matches!(&error, ProbeError::NotReady { answer, .. } if answer.contains("why not")),
            "{error}"
        );
        let error = probe(&health("200 OK").await, &open.host(), &open_ca).await.unwrap_err();
        assert!(matches!(error, ProbeError::Open { .. }), "{error}");
        let error = probe(&health("200 OK").await, &closed.host(), &open_ca).await.unwrap_err();
        assert!(matches!(error, ProbeError::Registry { .. }), "another CA: {error}");
        let gone =
            tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let error = probe(&gone, &closed.host(), &closed_ca).await.unwrap_err();
        assert!(matches!(error, ProbeError::Unreachable { .. }), "{error}");
    }
}
