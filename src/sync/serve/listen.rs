// SPDX-License-Identifier: Apache-2.0
//! Accepts connections and passes their requests to a function.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, Response};
use axum::{Extension, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use parking_lot::RwLock;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use super::options::{ServeError, ServeOptions, Tls};
use super::peers::Peers;
use super::stall_timeout::{LastRead, StallTimeoutStream};

/// The most connections at once. Further ones wait, or replace idle ones.
const MAX_CONNECTIONS: usize = 256;
/// How long a connection waits for a permit before it looks for an idle one to replace again.
const PERMIT_RETRY: Duration = Duration::from_millis(500);
/// How long a client may take for the head of a request, and for a TLS handshake.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may read nothing of a response. A busy edge registry may delay a copy for a while.
const STALL_TIMEOUT: Duration = Duration::from_secs(300);
/// How long running requests may continue after the server was told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The address that a request came from, among its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// The connection that a request came on, among its extensions.
#[derive(Debug, Clone)]
pub struct Caller(Arc<AtomicBool>);

impl Caller {
    /// Records that a request of this connection had valid credentials: it is not closed in favour of others without.
    pub fn set_authenticated(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The certificate of a listener. It can be replaced at run time. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Certificate(Arc<CurrentCertificate>);

#[derive(Debug)]
struct CurrentCertificate(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

impl Certificate {
    fn new(tls: &Tls) -> Result<Self, ServeError> {
        Ok(Self(Arc::new(CurrentCertificate(RwLock::new(certified(tls)?)))))
    }

    /// Replaces the certificate, from the next connection on.
    ///
    /// # Errors
    /// [`ServeError::Tls`]: it cannot be used, and the previous one stays.
    pub fn replace(&self, tls: &Tls) -> Result<(), ServeError> {
        let next = certified(tls)?;
        *self.0.0.write() = next;
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

/// A listening socket with its options.
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<(TlsAcceptor, Certificate)>,
    /// Most connections of one address at once.
    per_peer: usize,
    /// Whether a connection stays open after a response.
    keep_alive: bool,
    /// Whether [`Caller::set_authenticated`] says which connections may stay.
    authenticates: bool,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Listener {
    /// Starts to listen.
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
        Ok(Self { listener, address, tls, per_peer: MAX_CONNECTIONS, keep_alive: true, authenticates: false })
    }

    /// Lets one address have at most `max` connections at once: further ones are closed.
    #[must_use]
    pub const fn per_peer(mut self, max: usize) -> Self {
        self.per_peer = max;
        self
    }

    /// If there are no connections left, closes those without valid credentials first. The handler of requests reports
    /// valid credentials with [`Caller::set_authenticated`].
    #[must_use]
    pub const fn unauthenticated_close_first(mut self) -> Self {
        self.authenticates = true;
        self
    }

    /// As [`Self::per_peer`], and each connection ends after one response.
    #[must_use]
    pub const fn one_request_each(mut self, max: usize) -> Self {
        (self.per_peer, self.keep_alive) = (max, false);
        self
    }

    /// The address that it listens on.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its certificate; `None` without TLS.
    pub fn certificate(&self) -> Option<Certificate> {
        self.tls.as_ref().map(|(_, certificate)| certificate.clone())
    }

    /// Serves requests until `stop` is done, then waits for the running ones.
    pub async fn run<A, F>(self, answer: A, stop: impl Future<Output = ()> + Send)
    where
        A: Fn(Request<()>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let graceful = GracefulShutdown::new();
        // A read-only registry does not read the body of a request.
        let router = Router::new().fallback(move |request: Request<Body>| answer(request.map(|_| ())));
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let peers = Peers::default();
        let limits = ConnectionLimits { idle: HEAD_TIMEOUT, keep_alive: self.keep_alive };
        let mut stop = pin!(stop);
        loop {
            let (stream, peer) = tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
                    // For example no file descriptors are left: wait for connections to end instead of a busy loop.
                    Err(_) => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
                () = &mut stop => break,
            };
            let taken = LastRead::now();
            let authenticated = Arc::new(AtomicBool::new(!self.authenticates));
            let (caller, taken_of) = (Caller(Arc::clone(&authenticated)), taken.clone());
            let Some(counted) = peers.count(peer, self.per_peer, taken_of, authenticated) else { continue };
            let permit = tokio::select! {
                permit = acquire_permit(&permits, &peers, peer) => permit,
                () = &mut stop => break,
            };
            let tls = self.tls.as_ref().map(|(acceptor, _)| acceptor.clone());
            let (router, watcher) =
                (router.clone().layer(Extension(Peer(peer))).layer(Extension(caller)), graceful.watcher());
            let counted = Arc::new(counted);
            let held = (permit, Arc::clone(&counted));
            let task = tokio::spawn(async move {
                let _held = held;
                connection(stream, taken, tls, router, watcher, limits).await;
            });
            counted.served_by(task.abort_handle());
        }
        drop(self.listener);
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await;
    }
}

/// Acquires a permit for a connection of `peer`. If there are none left, closes a connection that may be closed for it.
async fn acquire_permit(
    permits: &Arc<Semaphore>,
    peers: &Peers,
    peer: IpAddr,
) -> Option<OwnedSemaphorePermit> {
    loop {
        if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
            return Some(permit);
        }
        peers.close_one_for(peer, Instant::now());
        let permit = Arc::clone(permits).acquire_owned();
        if let Ok(permit) = tokio::time::timeout(PERMIT_RETRY, permit).await {
            return permit.ok();
        }
    }
}

/// The time limits of a connection.
#[derive(Debug, Clone, Copy)]
struct ConnectionLimits {
    /// For the head of a request.
    idle: Duration,
    /// Whether it stays open after a response.
    keep_alive: bool,
}

/// Serves one connection until it ends, or the head of a request does not come in time.
async fn connection(
    stream: TcpStream,
    taken: LastRead,
    tls: Option<TlsAcceptor>,
    router: Router,
    watcher: Watcher,
    limits: ConnectionLimits,
) {
    let _ = stream.set_nodelay(true);
    let stream = StallTimeoutStream::new(stream, STALL_TIMEOUT, taken);
    match tls {
        None => http(stream, router, watcher, limits).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(limits.idle, tls.accept(stream)).await {
                http(stream, router, watcher, limits).await;
            }
        }
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    watcher: Watcher,
    limits: ConnectionLimits,
) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .keep_alive(limits.keep_alive)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // A client that disconnects is not an error.
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
        let limits = ConnectionLimits { idle: Duration::from_millis(200), keep_alive: true };
        let serving = connection(stream, LastRead::now(), None, router, graceful.watcher(), limits);
        (client, tokio::spawn(serving))
    }

    /// A client of this loopback address.
    async fn from(client: [u8; 4], server: SocketAddr) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((client, 0))).unwrap();
        socket.connect(server).await.unwrap()
    }

    /// Whether a connection is answered. It is over afterwards.
    async fn is_answered(mut stream: TcpStream) -> bool {
        let mut answer = String::new();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        let _ = stream.read_to_string(&mut answer).await;
        answer.starts_with("HTTP/1.1 200")
    }

    #[tokio::test]
    async fn t193_clients_that_hold_all_connections_do_not_block_others() {
        let options = ServeOptions { address: "127.0.0.1:0".parse().unwrap(), tls: None };
        let listener = Listener::bind(&options).await.unwrap().per_peer(64);
        let server = listener.address();
        let answer = |_| std::future::ready(Response::new(Body::from("here")));
        let serving = tokio::spawn(listener.run(answer, std::future::pending()));
        // The share of each of four addresses is a quarter of all; some say something, and then nothing more.
        let mut held = Vec::new();
        for client in 2..6 {
            for n in 0..64 {
                let mut stream = from([127, 0, 0, client], server).await;
                if n % 2 == 0 {
                    stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
                }
                held.push(stream);
            }
        }
        let limit = HEAD_TIMEOUT / 2;
        let further = tokio::time::timeout(limit, is_answered(from([127, 0, 0, 2], server).await)).await;
        assert_eq!(further, Ok(false), "beyond its share it is closed at once");
        let others = async {
            for client in 6..9 {
                assert!(is_answered(from([127, 0, 0, client], server).await).await, "{client}");
            }
        };
        tokio::time::timeout(limit, others).await.unwrap();
        serving.abort();
        drop(held);
    }

    /// Asks again and again without credentials, until the connection is closed. Returns how often.
    async fn ask_without_end(mut stream: TcpStream) -> usize {
        let mut answer = [0; 1024];
        for count in 0.. {
            if stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.is_err()
                || stream.read(&mut answer).await.is_ok_and(|length| length == 0)
            {
                return count;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        0
    }

    #[tokio::test]
    async fn t223_busy_clients_that_never_authenticate_do_not_block_others() {
        let options = ServeOptions { address: "127.0.0.1:0".parse().unwrap(), tls: None };
        let listener = Listener::bind(&options).await.unwrap().per_peer(64).unauthenticated_close_first();
        let server = listener.address();
        let answer = |request: Request<()>| {
            let is_known = request.headers().contains_key("authorization");
            if let Some(caller) = request.extensions().get::<Caller>().filter(|_| is_known) {
                caller.set_authenticated();
            }
            let body = if is_known { "here" } else { "who is it?" };
            std::future::ready(Response::new(Body::from(body)))
        };
        let serving = tokio::spawn(listener.run(answer, std::future::pending()));
        let known = b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic eDp5\r\n\r\n";
        let mut first = from([127, 0, 0, 2], server).await;
        let mut taken = [0; 1024];
        first.write_all(known).await.unwrap();
        assert!(first.read(&mut taken).await.unwrap() > 0);
        let mut busy = tokio::task::JoinSet::new();
        for client in 2..6 {
            for _ in 0..64 {
                busy.spawn(ask_without_end(from([127, 0, 0, client], server).await));
            }
        }
        let others = async {
            for client in 6..9 {
                assert!(is_answered(from([127, 0, 0, client], server).await).await, "{client}");
            }
        };
        tokio::time::timeout(HEAD_TIMEOUT, others).await.unwrap();
        // One with credentials stays, though it is the oldest.
        first.write_all(known).await.unwrap();
        let length = first.read(&mut taken).await.unwrap();
        assert!(taken[..length].ends_with(b"here"));
        serving.abort();
    }

    /// A client that connects and sends nothing, or nothing more, holds a permit only for a limited time.
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
            // Closed, with or without a last response.
            let _ = client.read_to_end(&mut rest).await;
        }
    }
}
