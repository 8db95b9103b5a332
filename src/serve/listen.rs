// SPDX-License-Identifier: Apache-2.0
//! Accepts connections and answers requests on them with any function.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::patience::Patience;
use super::{ServeError, ServeOptions, Tls};

/// Most connections at once; further ones wait.
const MAX_CONNECTIONS: usize = 256;
/// How long a client may take for the head of a request, and for a TLS handshake.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take no byte of what it asked for. An edge registry that is busy may hold up a copy for a while.
const STALL_TIMEOUT: Duration = Duration::from_secs(300);
/// How long requests that are under way may go on after the server was told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A certificate that a listener shows, and that can be replaced while it does. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Certificate(Arc<Shown>);

#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Certificate {
    fn new(tls: &Tls) -> Result<Self, ServeError> {
        Ok(Self(Arc::new(Shown(RwLock::new(certified(tls)?)))))
    }

    /// Shows another certificate from the next connection on.
    ///
    /// # Errors
    /// [`ServeError::Tls`]: it cannot be used, and the one before stays.
    pub fn replace(&self, tls: &Tls) -> Result<(), ServeError> {
        let next = certified(tls)?;
        *self.0.0.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }
}

fn certified(tls: &Tls) -> Result<Arc<CertifiedKey>, ServeError> {
    let bad = |what: String| ServeError::Tls(what);
    let chain = CertificateDer::pem_slice_iter(&tls.certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|e| bad(format!("certificate: {e}")))?;
    if chain.is_empty() {
        return Err(bad("certificate: there is none in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(&tls.key).map_err(|e| bad(format!("key: {e}")))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map(Arc::new).map_err(|e| bad(e.to_string()))
}

/// An address that is listened on.
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<(TlsAcceptor, Certificate)>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Listener {
    /// Begins to listen.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn bind(options: &ServeOptions) -> Result<Self, ServeError> {
        let tls = match &options.tls {
            Some(tls) => {
                let certificate = Certificate::new(tls)?;
                Some((acceptor(&certificate)?, certificate))
            }
            None => None,
        };
        let cannot = |source| ServeError::Listen { address: options.address, source };
        let listener = TcpListener::bind(options.address).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        Ok(Self { listener, address, tls })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate that it shows; none without TLS.
    pub fn certificate(&self) -> Option<Certificate> {
        self.tls.as_ref().map(|(_, certificate)| certificate.clone())
    }

    /// Answers requests until `stop` is done, then lets those that are under way come to an end.
    pub async fn run<A, F>(self, answer: A, stop: impl Future<Output = ()> + Send)
    where
        A: Fn(Request<()>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let graceful = GracefulShutdown::new();
        // What a client sends beside the head is of no use to a registry that cannot be written to.
        let router = Router::new().fallback(move |request: Request<Body>| answer(request.map(|_| ())));
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut stop = pin!(stop);
        loop {
            let place = tokio::select! {
                place = Arc::clone(&places).acquire_owned() => place,
                () = &mut stop => break,
            };
            let Ok(place) = place else { break };
            let stream = tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    // Out of file handles, say: wait for connections to end instead of turning in circles.
                    Err(_) => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
                () = &mut stop => break,
            };
            let tls = self.tls.as_ref().map(|(acceptor, _)| acceptor.clone());
            let (router, watcher) = (router.clone(), graceful.watcher());
            tokio::spawn(async move {
                let _place = place;
                connection(stream, tls, router, watcher, HEAD_TIMEOUT).await;
            });
        }
        drop(self.listener);
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await;
    }
}

/// Answers on one connection until it ends, or no head of a request comes for `idle`: at its start, and between requests.
async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    watcher: Watcher,
    idle: Duration,
) {
    let _ = stream.set_nodelay(true);
    let stream = Patience::new(stream, STALL_TIMEOUT);
    match tls {
        None => http(stream, router, watcher, idle).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(idle, tls.accept(stream)).await {
                http(stream, router, watcher, idle).await;
            }
        }
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    watcher: Watcher,
    idle: Duration,
) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // A client that goes away in the middle concerns nobody.
    let _ = watcher.watch(connection).await;
}

fn acceptor(certificate: &Certificate) -> Result<TlsAcceptor, ServeError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| ServeError::Tls(e.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&certificate.0) as Arc<dyn ResolvesServerCert>);
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A client, and the end of the connection that serves it.
    async fn connected(graceful: &GracefulShutdown) -> (TcpStream, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let router = Router::new().fallback(|| async { "here" });
        let serving = connection(stream, None, router, graceful.watcher(), Duration::from_millis(200));
        (client, tokio::spawn(serving))
    }

    /// Whoever connects and says nothing, or nothing more, holds a place for a bounded time only.
    #[tokio::test]
    async fn idle_connections_end() {
        let graceful = GracefulShutdown::new();
        let (mut silent, silent_ends) = connected(&graceful).await;
        let (mut half, half_ends) = connected(&graceful).await;
        half.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
        let (mut kept, kept_ends) = connected(&graceful).await;
        let mut answer = [0; 512];
        for _ in 0..2 {
            kept.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let length = kept.read(&mut answer).await.unwrap();
            assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
        }
        for (client, end) in [(&mut silent, silent_ends), (&mut half, half_ends), (&mut kept, kept_ends)] {
            tokio::time::timeout(Duration::from_secs(20), end).await.unwrap().unwrap();
            let mut rest = Vec::new();
            // Closed, with or without a last word.
            let _ = client.read_to_end(&mut rest).await;
        }
    }
}
