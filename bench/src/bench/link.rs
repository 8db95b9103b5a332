// SPDX-License-Identifier: Apache-2.0
//! A link between a client and a registry that counts what it carries, and that may be slow or break: a forwarder of
//! TCP connections. All connections share the rate of a direction, as on a real line.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use xtask::run::Result;

/// Bytes that are read at once: small, so that connections take turns.
const CHUNK: usize = 16 << 10;
/// Pieces of one connection and direction that may be under way.
const UNDER_WAY: usize = 256;
/// How far a late sender may catch up; otherwise threads that wake late would make the link slower than configured.
const BURST: Duration = Duration::from_millis(5);

/// What a link does to what it carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// How long a byte is under way, in each direction.
    pub(crate) delay: Duration,
    /// Bytes per second in each direction; absent: as fast as it goes.
    pub(crate) rate: Option<u64>,
    /// After how many bytes, both directions together, a connection breaks.
    pub(crate) cut_after: Option<u64>,
}

#[derive(Debug)]
struct State {
    shape: Shape,
    to: SocketAddr,
    up: Direction,
    down: Direction,
    cuts: AtomicU64,
    stopped: AtomicBool,
}

#[derive(Debug, Default)]
struct Direction {
    carried: AtomicU64,
    /// When the line is free again.
    free: Mutex<Option<Instant>>,
}

/// A running link. After it is dropped it accepts no more connections; open ones continue until they end.
#[derive(Debug)]
pub(crate) struct Link {
    state: Arc<State>,
    address: SocketAddr,
}

/// What a link has carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkTraffic {
    /// Bytes from the client to the registry.
    pub(crate) up: u64,
    /// Bytes from the registry to the client.
    pub(crate) down: u64,
    /// Connections that broke.
    pub(crate) cuts: u64,
}

impl Link {
    /// Opens a link to the registry at `to`, on a free port.
    pub(crate) fn open(to: SocketAddr, shape: Shape) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (up, down) = (Direction::default(), Direction::default());
        let (cuts, stopped) = (AtomicU64::new(0), AtomicBool::new(false));
        let state = Arc::new(State { shape, to, up, down, cuts, stopped });
        let own = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(std::result::Result::ok) {
                if own.stopped.load(Ordering::Relaxed) {
                    break;
                }
                carry(&own, &client);
            }
        });
        Ok(Self { state, address })
    }

    /// Where clients find it.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has carried so far.
    pub(crate) fn carried(&self) -> LinkTraffic {
        let State { up, down, cuts, .. } = &*self.state;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LinkTraffic { up: read(&up.carried), down: read(&down.carried), cuts: read(cuts) }
    }
}

impl LinkTraffic {
    /// What was carried since `earlier`.
    pub(crate) const fn since(self, earlier: Self) -> Self {
        Self { up: self.up - earlier.up, down: self.down - earlier.down, cuts: self.cuts - earlier.cuts }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a client.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

/// What one connection may still carry, both directions together.
#[derive(Debug)]
struct Budget {
    left: AtomicU64,
    broken: AtomicBool,
}

/// Starts to carry the bytes of one connection.
fn carry(state: &Arc<State>, client: &TcpStream) {
    let Ok(server) = TcpStream::connect(state.to) else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    // A connection takes a round trip to be made before its first byte leaves.
    let open_at = Instant::now() + 2 * state.shape.delay;
    let (left, broken) = (state.shape.cut_after.unwrap_or(u64::MAX), AtomicBool::new(false));
    let budget = Arc::new(Budget { left: AtomicU64::new(left), broken });
    let copies = [client.try_clone(), server.try_clone(), client.try_clone(), server.try_clone()];
    let [Ok(client_in), Ok(server_in), Ok(client_out), Ok(server_out)] = copies else { return };
    for (from, to, is_up) in [(client_in, server_out, true), (server_in, client_out, false)] {
        let (sender, receiver) = sync_channel(UNDER_WAY);
        let (own, budget) = (Arc::clone(state), Arc::clone(&budget));
        let ends = (client.try_clone(), server.try_clone());
        thread::spawn(move || {
            let cut =
                take_in(&own, if is_up { &own.up } else { &own.down }, from, &sender, open_at, &budget.left);
            if cut && let (Ok(client), Ok(server)) = ends {
                if !budget.broken.swap(true, Ordering::Relaxed) {
                    own.cuts.fetch_add(1, Ordering::Relaxed);
                }
                let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
            }
        });
        thread::spawn(move || hand_out(&receiver, to));
    }
}

/// Reads as fast as the link allows. Returns whether the connection must break.
fn take_in(
    state: &State,
    direction: &Direction,
    mut from: TcpStream,
    to: &SyncSender<(Instant, Vec<u8>)>,
    open_at: Instant,
    left: &AtomicU64,
) -> bool {
    let mut buffer = vec![0; CHUNK];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let departure = direction.reserve(read as u64, state.shape.rate, open_at);
        thread::sleep(departure.saturating_duration_since(Instant::now()));
        direction.carried.fetch_add(read as u64, Ordering::Relaxed);
        let bytes = buffer.get(..read).unwrap_or_default().to_vec();
        if to.send((departure + state.shape.delay, bytes)).is_err() {
            return false;
        }
        let spent = |left: u64| Some(left.saturating_sub(read as u64));
        let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent).unwrap_or_default();
        if before <= read as u64 {
            return true;
        }
    }
    false
}

/// Writes each piece when it has arrived.
fn hand_out(receiver: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (arrival, bytes) in receiver {
        thread::sleep(arrival.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

impl Direction {
    /// Reserves the link for `bytes`, not before `earliest`. Returns when the last of them has been sent.
    fn reserve(&self, bytes: u64, rate: Option<u64>, earliest: Instant) -> Instant {
        let now = Instant::now().max(earliest);
        let Some(rate) = rate else { return now };
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let late = now.checked_sub(BURST).unwrap_or(now);
        let departure = free.map_or(now, |free| free.max(late)) + time_for(bytes, rate);
        *free = Some(departure);
        departure
    }
}

/// How long a link of `rate` bytes per second needs for this many bytes.
#[expect(clippy::cast_precision_loss, reason = "more exact than any clock")]
pub(crate) fn time_for(bytes: u64, rate: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / rate as f64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    /// A server that sends `bytes` bytes to each client that sends one.
    fn server(bytes: usize) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut client in listener.incoming().map_while(std::result::Result::ok) {
                thread::spawn(move || {
                    if client.read_exact(&mut [0]).is_ok() {
                        let _ = client.write_all(&vec![7; bytes]);
                    }
                });
            }
        });
        address
    }

    fn fetch(link: &Link) -> usize {
        let mut client = TcpStream::connect(link.address()).unwrap();
        client.write_all(&[1]).unwrap();
        let mut all = Vec::new();
        let _ = client.read_to_end(&mut all);
        all.len()
    }

    #[test]
    fn everything_arrives_and_is_counted() {
        let link = Link::open(server(1_000_000), Shape::default()).unwrap();
        assert_eq!(fetch(&link), 1_000_000);
        assert_eq!(link.carried(), LinkTraffic { up: 1, down: 1_000_000, cuts: 0 });
    }

    #[test]
    fn a_slow_link_is_never_faster_than_it_says_and_connections_share_it() {
        let shape = Shape { delay: Duration::from_millis(5), rate: Some(2_000_000), ..Shape::default() };
        let link = Link::open(server(200_000), shape).unwrap();
        let start = Instant::now();
        thread::scope(|scope| {
            let fetches = [scope.spawn(|| fetch(&link)), scope.spawn(|| fetch(&link))];
            assert_eq!(fetches.map(|fetch| fetch.join().unwrap()), [200_000, 200_000]);
        });
        // 200 ms for the bytes, 20 ms for the way of the question and the answer and for the connection.
        assert!(start.elapsed() >= Duration::from_millis(210), "{:?}", start.elapsed());
    }

    #[test]
    fn a_link_that_breaks_carries_no_more_than_it_says() {
        let shape = Shape { cut_after: Some(100_000), ..Shape::default() };
        let link = Link::open(server(1_000_000), shape).unwrap();
        let got = fetch(&link);
        assert!(got < 100_000 + CHUNK, "{got}");
        assert_eq!(link.carried().cuts, 1);
    }
}
