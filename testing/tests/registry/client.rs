// SPDX-License-Identifier: Apache-2.0
//! The smallest HTTP client that shows what came over the wire: one request per connection.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use krs_testing::registry::Registry;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the body was as long as the headers promised (or ended with the connection where they did not).
    pub is_complete: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Path and query of the `Location` header.
    pub fn location(&self) -> String {
        let url = self.header("location").expect("a Location header");
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        rest[rest.find('/').expect("a path")..].to_owned()
    }
}

/// Sends a request; `None`: the connection ended without an answer.
pub fn send(
    registry: &Registry,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<Answer> {
    let mut stream = TcpStream::connect(registry.host().as_str()).expect("the registry listens");
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", registry.host());
    if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    // The server may close before it has read everything; what it said still counts.
    let _ = stream.write_all(body);
    read(method, BufReader::new(stream))
}

fn read(method: &str, mut stream: BufReader<TcpStream>) -> Option<Answer> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let mut answer = Answer { status, headers, body: Vec::new(), is_complete: true };
    if method == "HEAD" {
        return Some(answer);
    }
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.is_complete = chunked(&mut stream, &mut answer.body).is_some();
        return Some(answer);
    }
    let length = answer.header("content-length").map(|length| length.parse::<u64>().expect("a number"));
    let ended = stream.take(length.unwrap_or(u64::MAX)).read_to_end(&mut answer.body).is_ok();
    answer.is_complete = ended && length.is_none_or(|length| length == answer.body.len() as u64);
    Some(answer)
}

/// At most 4 MiB of a chunked body; `None` if it does not end properly.
fn chunked(stream: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> Option<()> {
    while body.len() < 4 << 20 {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let size = u64::from_str_radix(line.trim(), 16).ok()?;
        let end = stream.take(size).read_to_end(body).ok()? as u64;
        stream.read_exact(&mut [0; 2]).ok().filter(|()| end == size)?;
        if size == 0 {
            return Some(());
        }
    }
    None
}
