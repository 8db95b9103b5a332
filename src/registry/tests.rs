// SPDX-License-Identifier: Apache-2.0
//! The client against registries that misbehave: small servers on loopback, one handler each.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod auth;
mod foreign;
mod interception;
mod limits;
mod presence;
mod pull;
mod push;
mod relay;
mod slow;
mod tls;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::oci::digest::Digest;
use crate::oci::reference::{RegistryHost, Tag};

/// A request as a server got it.
#[derive(Debug, Clone)]
struct Request {
    method: String,
    /// Path and query.
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn authorization(&self) -> Option<&str> {
        self.header("authorization")
    }

    fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path.split('?').next() == Some(path)
    }
}

/// An answer, and how it is disturbed.
#[derive(Debug, Clone, Default)]
struct Reply {
    /// 0: the connection is cut without an answer.
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// The connection is cut after so many bytes of the body.
    cut: Option<usize>,
    /// Nothing more comes after so many bytes of the body.
    stall: Option<usize>,
    /// The body is sent in chunks, over and over.
    endless: bool,
    /// The body is sent in pieces of so many bytes, with a pause before each.
    drops: Option<(usize, Duration)>,
}

impl Reply {
    fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    fn ok(body: &[u8]) -> Self {
        Self { body: body.to_vec(), ..Self::new(200) }
    }

    fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.headers.push((name.to_owned(), format!("{value}")));
        self
    }
}

type Handler = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

/// A server that ends with the test.
struct Server {
    host: RegistryHost,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, handler).await
    }

    async fn start_with(
        tls: Option<tokio_rustls::TlsAcceptor>,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string().parse().unwrap();
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let (handler, log): (Handler, _) = (Arc::new(handler), Arc::clone(&requests));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, handler, log) = (tls.clone(), Arc::clone(&handler), Arc::clone(&log));
                connections.spawn(async move {
                    stream.set_nodelay(true)?;
                    match tls {
                        None => serve(stream, handler, log).await,
                        Some(tls) => serve(tls.accept(stream).await?, handler, log).await,
                    }
                });
            }
        });
        Self { host, requests, task }
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    fn count(&self, method: &str) -> usize {
        self.requests().iter().filter(|request| request.method == method).count()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host)
    }

    fn repository(&self) -> Repository {
        self.repository_with(options())
    }

    fn repository_with(&self, options: ClientOptions) -> Repository {
        Client::new(options).unwrap().repository(&self.host, &"team/app".parse().unwrap())
    }
}

async fn read_request<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> io::Result<Option<Request>> {
    let mut first = Vec::new();
    stream.read_until(b'\n', &mut first).await?;
    // Not a request, such as a client that begins with TLS.
    let Ok(first) = String::from_utf8(first) else { return Ok(None) };
    let mut parts = first.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path), Some(_)) = (parts.next(), parts.next(), parts.next()) else {
        return Ok(None);
    };
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { method, path, headers, body: Vec::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse::<usize>().unwrap());
    let mut piece = vec![0; 64 << 10];
    while request.body.len() < length {
        let most = piece.len().min(length - request.body.len());
        match stream.read(&mut piece[..most]).await {
            Ok(0) | Err(_) => break,
            Ok(n) => request.body.extend_from_slice(&piece[..n]),
        }
    }
    Ok(Some(request))
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    handler: Handler,
    requests: Arc<Mutex<Vec<Request>>>,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream).await? {
        requests.lock().unwrap().push(request.clone());
        let reply = handler(&request);
        if reply.status == 0 {
            return Ok(());
        }
        let has = |name: &str| reply.headers.iter().any(|(key, _)| key == name);
        let mut head = format!("HTTP/1.1 {} X\r\n", reply.status);
        for (name, value) in &reply.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if reply.endless {
            head += "transfer-encoding: chunked\r\n";
        } else if !has("content-length") && reply.status != 204 {
            head += &format!("content-length: {}\r\n", reply.body.len());
        }
        stream.write_all((head + "\r\n").as_bytes()).await?;
        if request.method == "HEAD" {
            continue;
        }
        if reply.endless {
            let chunk = [format!("{:x}\r\n", reply.body.len()).as_bytes(), &reply.body, b"\r\n"].concat();
            loop {
                stream.write_all(&chunk).await?;
            }
        }
        if let Some((bytes, pause)) = reply.drops {
            for piece in reply.body.chunks(bytes) {
                tokio::time::sleep(pause).await;
                stream.write_all(piece).await?;
                stream.flush().await?;
            }
            continue;
        }
        let most = reply.cut.or(reply.stall).unwrap_or(reply.body.len()).min(reply.body.len());
        stream.write_all(&reply.body[..most]).await?;
        stream.flush().await?;
        if reply.stall.is_some() {
            std::future::pending::<()>().await;
        }
        if reply.cut.is_some() {
            return stream.shutdown().await;
        }
    }
    Ok(())
}

/// Options for tests: no waits to speak of.
fn options() -> ClientOptions {
    ClientOptions {
        certs_dirs: Vec::new(),
        proxies: false,
        stall_timeout: Duration::from_secs(20),
        retry: RetryPolicy { base: Duration::from_millis(1), jitter: false, ..RetryPolicy::default() },
        ..ClientOptions::default()
    }
}

/// Bytes that do not repeat.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[derive(Debug, Default)]
struct Memory(Vec<u8>);

impl BlobSink for Memory {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        assert!(offset == self.0.len() || offset == 0, "offsets have no gaps");
        self.0.truncate(offset);
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

struct Slice(Vec<u8>);

impl BlobSource for Slice {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = self.0.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        // Shorter than asked for, as sources may.
        let n = rest.len().min(buf.len()).min(100_000);
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

/// All tags of a repository, sorted.
async fn tags_of(repository: &Repository) -> Result<Vec<Tag>, RegistryError> {
    let ReadableTags { tags, error, .. } = repository.readable_tags().await;
    error.map_or_else(|| Ok(tags.into_iter().collect()), Err)
}

async fn fetch(repository: &Repository, content: &[u8]) -> Result<Vec<u8>, RegistryError> {
    let mut memory = Memory::default();
    repository.blob(&Digest::of(content), content.len() as u64, &mut memory).await.map(|()| memory.0)
}

#[test]
fn transfers_can_run_in_tasks_of_their_own() {
    fn is_send<T: Send>(_: T) {}
    let client = Client::new(options()).unwrap();
    let repository = client.repository(&"a.example".parse().unwrap(), &"b".parse().unwrap());
    let (digest, selector) = (Digest::of(b""), crate::oci::reference::Selector::Digest(Digest::of(b"")));
    let mut memory = Memory::default();
    is_send(repository.blob(&digest, 1, &mut memory));
    is_send(repository.push_blob(&digest, 1, Arc::new(Slice(Vec::new())), None));
    is_send(repository.head_manifest(&selector));
    is_send(repository.push_manifest(&selector, "", Bytes::new()));
    is_send(repository.readable_tags());
    is_send(repository.referrers_by_api(&digest));
    is_send(client.ping(repository.registry()));
}
