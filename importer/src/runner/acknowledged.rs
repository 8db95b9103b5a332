// SPDX-License-Identifier: Apache-2.0
//! Whether the other end of skopeo's connections acknowledges what it is sent. A registry that hashes a large blob is as
//! silent as a firewall that has dropped the state of a connection: only TCP knows the difference. (T-265)

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// State of an established connection, and what its timer may wait for, as `/proc/net/tcp` has them.
const ESTABLISHED: &str = "01";
const RETRANSMISSION: &str = "01";
/// Probes in a row without an answer: one may be lost, or be on its way.
const MIN_PROBES: u32 = 2;
/// Most bytes of a table of connections that are read: 6,000 connections.
const MAX_TABLE: u64 = 1 << 20;

/// A connection of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Connection {
    inode: u64,
    remote: SocketAddr,
    /// Bytes that were written and not acknowledged.
    queued: u32,
    /// Whether TCP sends some of them again and again.
    retransmits: bool,
    /// How many probes (keep-alive, window) were not answered since the last answer.
    probes: u32,
}

/// Which connections of a process were acknowledged when.
#[derive(Debug, Default)]
pub(super) struct Acknowledgements {
    /// Connections that retransmit: how much was not acknowledged, and since when that has not changed.
    pending: BTreeMap<u64, (u32, Instant)>,
}

impl Acknowledgements {
    /// Reads the connections of a process. Answers the remote address of one of which nothing was acknowledged for `limit`.
    pub(super) fn observe(&mut self, pid: Option<u32>, limit: Duration) -> Option<SocketAddr> {
        self.update(&connections(pid?), Instant::now(), limit)
    }

    fn update(&mut self, connections: &[Connection], now: Instant, limit: Duration) -> Option<SocketAddr> {
        let before = std::mem::take(&mut self.pending);
        let mut blocked = None;
        for connection in connections {
            let mut is_blocked = connection.probes >= MIN_PROBES;
            if connection.retransmits {
                let since = match before.get(&connection.inode) {
                    Some((queued, since)) if *queued == connection.queued => *since,
                    _ => now,
                };
                self.pending.insert(connection.inode, (connection.queued, since));
                is_blocked |= now.saturating_duration_since(since) >= limit;
            }
            if is_blocked {
                blocked = blocked.or(Some(connection.remote));
            }
        }
        blocked
    }
}

/// The established connections of a process; none where the system does not say.
fn connections(pid: u32) -> Vec<Connection> {
    let inodes = sockets(pid);
    let tables = ["tcp", "tcp6"].map(|name| read_table(&format!("/proc/{pid}/net/{name}")));
    let lines = tables.iter().flat_map(|table| table.lines());
    lines.filter_map(parse).filter(|connection| inodes.contains(&connection.inode)).collect()
}

fn read_table(path: &str) -> String {
    let mut bytes = Vec::new();
    // The table is a hint: without it, the limit for a process that does nothing counts.
    let _ = std::fs::File::open(path).and_then(|file| file.take(MAX_TABLE).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The inodes of the sockets that a process has open.
fn sockets(pid: u32) -> BTreeSet<u64> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return BTreeSet::new() };
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let inode = |target: std::path::PathBuf| {
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    targets.filter_map(inode).collect()
}

/// Reads a line of `/proc/net/tcp` or `tcp6` (`get_tcp4_sock` in the kernel's `net/ipv4/tcp_ipv4.c`). None where it is not an
/// established connection.
fn parse(line: &str) -> Option<Connection> {
    let fields = line.split_ascii_whitespace().collect::<Vec<_>>();
    let [_, _, remote, state, queues, timer, retransmits, _, probes, inode, ..] = fields.as_slice() else {
        return None;
    };
    if *state != ESTABLISHED {
        return None;
    }
    let (queued, _) = queues.split_once(':')?;
    let (timer, _) = timer.split_once(':')?;
    let retransmits = u32::from_str_radix(retransmits, 16).ok()?;
    Some(Connection {
        inode: inode.parse().ok()?,
        remote: parse_address(remote)?,
        queued: u32::from_str_radix(queued, 16).ok()?,
        retransmits: timer == RETRANSMISSION && retransmits > 0,
        probes: probes.parse().ok()?,
    })
}

/// An address as the kernel prints it: words of 32 bits in the machine's byte order, and the port.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = Vec::with_capacity(16);
    for word in address.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let address = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    /// Lines as Linux 6.18 prints them on a little-endian machine.
    const RETRANSMITS: &str = " 188: 0100007F:D4CA 0200007F:1388 01 000003E8:00000000 01:0000003E 00000002     0        0 6285329 3 000000004c05e110 80 0 0 1 -1";
    const KEEP_ALIVE: &str = " 189: 0100007F:D4CB 0200007F:1388 01 00000000:00000000 02:000005DC 00000000     0        2 6285330 2 000000004c05e111 20 4 30 10 -1";
    const SIX: &str = " 0: 0000000000000000FFFF00000100007F:D4CA 0000000000000000FFFF00000200007F:1388 01 00000000:00000000 00:00000000 00000000     0        0 7 1 0 20 0 0 10 -1";

    #[test]
    fn a_line_of_the_table_of_connections_is_read() {
        let remote = "127.0.0.2:5000".parse().unwrap();
        let retransmits = Connection { inode: 6_285_329, remote, queued: 1000, retransmits: true, probes: 0 };
        assert_eq!(parse(RETRANSMITS), Some(retransmits));
        let probed = Connection { inode: 6_285_330, remote, queued: 0, retransmits: false, probes: 2 };
        assert_eq!(parse(KEEP_ALIVE), Some(probed));
        assert_eq!(parse(SIX).map(|connection| connection.remote), Some(remote));
        let closed = RETRANSMITS.replace(" 01 000003E8", " 06 000003E8");
        let header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        for line in ["", header, closed.as_str(), &RETRANSMITS.replace("1388", "x"), &RETRANSMITS[..60]] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    /// What a process saw of one connection, each with the seconds since the first; whether it is blocked at the end.
    fn blocked(samples: &[(u64, u32, bool, u32)]) -> bool {
        let (mut state, start) = (Acknowledgements::default(), Instant::now());
        let mut last = None;
        for (second, queued, retransmits, probes) in samples.iter().copied() {
            let remote = "127.0.0.2:5000".parse().unwrap();
            let connection = Connection { inode: 7, remote, queued, retransmits, probes };
            last = state.update(&[connection], start + Duration::from_secs(second), LIMIT);
        }
        last.is_some()
    }

    #[test]
    fn t265_only_a_connection_that_acknowledges_nothing_for_the_full_limit_is_blocked() {
        assert!(blocked(&[(0, 500, true, 0), (30, 500, true, 0), (60, 500, true, 0)]));
        assert!(!blocked(&[(0, 500, true, 0), (59, 500, true, 0)]), "not for that time yet");
        assert!(!blocked(&[(0, 500, true, 0), (30, 400, true, 0), (60, 400, true, 0)]), "some were");
        assert!(!blocked(&[(0, 500, true, 0), (30, 500, false, 0), (60, 500, true, 0)]), "all were");
        assert!(!blocked(&[(0, 0, false, 0), (600, 0, false, 0)]), "a registry that hashes a blob is silent");
        assert!(!blocked(&[(0, 0, false, 1)]), "one probe may be lost");
        assert!(blocked(&[(0, 0, false, 2)]));
        let mut state = Acknowledgements::default();
        assert_eq!(state.update(&[], Instant::now(), LIMIT), None);
    }
}
