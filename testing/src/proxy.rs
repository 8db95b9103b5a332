// SPDX-License-Identifier: Apache-2.0
//! An HTTP proxy on loopback that forwards every request, for any host name, to one address.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A running proxy. Its threads end with the connections and with the process.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<ProxyRequest>>>,
}

/// What a client asked the proxy for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyRequest {
    /// `CONNECT`, or the method of a request without TLS.
    pub method: String,
    /// `host:port`, or a complete URL without TLS.
    pub target: String,
    /// Whether it had credentials for the proxy.
    pub had_credentials: bool,
}

impl Proxy {
    /// Starts a proxy to `upstream` on a free port.
    pub fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<ProxyRequest>>>::default();
        let log = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = Arc::clone(&log);
                thread::spawn(move || relay(stream, upstream, &log));
            }
        });
        Self { address, requests }
    }

    /// `host:port`.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<ProxyRequest> {
        self.requests.lock().unwrap().clone()
    }
}

/// Serves one connection: a tunnel, or one request without TLS.
fn relay(client: TcpStream, upstream: SocketAddr, log: &Mutex<Vec<ProxyRequest>>) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        head.push(line);
    }
    let first = head.first().cloned().unwrap_or_default();
    let mut words = first.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let login = |line: &String| line.to_ascii_lowercase().starts_with("proxy-authorization:");
    let had_credentials = head.iter().any(login);
    log.lock().unwrap().push(ProxyRequest {
        method: method.clone(),
        target: target.clone(),
        had_credentials,
    });
    let mut server = TcpStream::connect(upstream)?;
    if method == "CONNECT" {
        (&client).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    } else {
        // The server needs a path; one request for each connection is enough here.
        let path = target.splitn(4, '/').nth(3).unwrap_or_default();
        write!(server, "{method} /{path} HTTP/1.1\r\nConnection: close\r\n")?;
        for line in head.iter().skip(1).filter(|line| !login(line)) {
            server.write_all(line.as_bytes())?;
        }
        server.write_all(b"\r\n")?;
    }
    let mut back = server.try_clone()?;
    let client = Arc::new(client);
    let answer = Arc::clone(&client);
    let answers = thread::spawn(move || {
        let copied = io::copy(&mut back, &mut &*answer);
        let _ = answer.shutdown(Shutdown::Write);
        copied
    });
    // Bytes that were read together with the head come first.
    let early = reader.buffer().to_vec();
    server.write_all(&early)?;
    drop(reader);
    let _ = io::copy(&mut &*client, &mut server);
    let _ = server.shutdown(Shutdown::Write);
    answers.join().map_err(|_| io::Error::other("the thread of the answers ended"))?.map(drop)
}
