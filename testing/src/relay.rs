// SPDX-License-Identifier: Apache-2.0
//! A relay on loopback in front of a real server: its first connections break after so many bytes from the client.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// A running relay. Its threads end with the connections and with the process.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    broken: Arc<AtomicU64>,
}

impl Relay {
    /// Starts a relay to `upstream` on a free port. A connection ends after `limit` bytes from the client, until
    /// `times` of them have.
    pub fn start(upstream: SocketAddr, limit: u64, times: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let broken = Arc::<AtomicU64>::default();
        let count = Arc::clone(&broken);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let count = Arc::clone(&count);
                thread::spawn(move || serve(&client, upstream, (limit, times), &count));
            }
        });
        Self { address, broken }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it broke.
    pub fn broken(&self) -> u64 {
        self.broken.load(Ordering::SeqCst)
    }
}

fn serve(
    client: &TcpStream,
    upstream: SocketAddr,
    (limit, times): (u64, u64),
    broken: &AtomicU64,
) -> io::Result<()> {
    let server = TcpStream::connect(upstream)?;
    let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
    let answers = thread::spawn(move || {
        let copied = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
        copied
    });
    let (mut sent, mut buffer) = (0, vec![0; 64 << 10]);
    let mut receive = client;
    let mut send = &server;
    loop {
        let count = receive.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        sent += count as u64;
        let next = |broken: u64| (sent > limit && broken < times).then_some(broken + 1);
        if broken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).is_ok() {
            let _ = client.shutdown(Shutdown::Both);
            break;
        }
        send.write_all(&buffer[..count])?;
    }
    let _ = server.shutdown(Shutdown::Write);
    let _ = answers.join();
    Ok(())
}
