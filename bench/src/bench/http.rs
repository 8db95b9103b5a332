// SPDX-License-Identifier: Apache-2.0
//! A minimal HTTP/1.1 client that pushes to a registry on this machine without unnecessary work.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use xtask::run::Result;

/// A connection that is used again and again.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    host: SocketAddr,
}

/// What goes with a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Body<'a> {
    Nothing,
    Bytes(&'a [u8], &'a str),
    File(&'a File, u64),
}

/// Status and `Location` of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
}

impl Connection {
    pub(crate) fn open(host: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        let reader = BufReader::new(stream.try_clone()?);
        Ok(Self { stream, reader, host })
    }

    /// Sends a request and reads the complete response.
    pub(crate) fn ask(&mut self, method: &str, target: &str, body: Body<'_>) -> Result<Answer> {
        let (size, media_type) = match &body {
            Body::Nothing => (0, "application/octet-stream"),
            Body::Bytes(bytes, media_type) => (bytes.len() as u64, *media_type),
            Body::File(_, size) => (*size, "application/octet-stream"),
        };
        let host = self.host;
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {media_type}\r\nContent-Length: {size}\r\n\r\n"
        );
        self.stream.write_all(head.as_bytes())?;
        match body {
            Body::Nothing => {}
            Body::Bytes(bytes, _) => self.stream.write_all(bytes)?,
            // From the page cache to the socket, without passing through this program.
            Body::File(mut file, _) => {
                io::copy(&mut file, &mut self.stream)?;
            }
        }
        self.answer()
    }

    fn answer(&mut self) -> Result<Answer> {
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut answer = Answer { status: status.ok_or("an answer without a status")?, location: None };
        let mut length = 0;
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "location" => answer.location = Some(value.trim().to_owned()),
                "content-length" => length = value.trim().parse()?,
                "transfer-encoding" => return Err("an answer in pieces, which is not known here".into()),
                _ => {}
            }
        }
        io::copy(&mut self.reader.by_ref().take(length), &mut io::sink())?;
        Ok(answer)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err("the registry has closed the connection".into());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

/// Path and query of an address that may be absolute.
pub(crate) fn path_of(location: &str) -> &str {
    match location.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => location,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::*;

    #[test]
    fn addresses_lose_their_host() {
        assert_eq!(path_of("http://127.0.0.1:5000/v2/x?_state=a%3D"), "/v2/x?_state=a%3D");
        assert_eq!(path_of("/v2/x"), "/v2/x");
        assert_eq!(path_of("http://host"), "/");
    }

    #[test]
    fn one_connection_serves_several_requests() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(client.try_clone().unwrap());
            for answer in
                ["202 Accepted\r\nLocation: /up?s=1\r\ncontent-length: 2\r\n\r\n{}", "201 Created\r\n\r\n"]
            {
                let mut line = String::new();
                while reader.read_line(&mut line).unwrap() > 2 {
                    line.clear();
                }
                client.write_all(format!("HTTP/1.1 {answer}").as_bytes()).unwrap();
            }
        });
        let mut connection = Connection::open(address).unwrap();
        let first = connection.ask("POST", "/v2/x/blobs/uploads/", Body::Nothing).unwrap();
        assert_eq!(first, Answer { status: 202, location: Some("/up?s=1".to_owned()) });
        assert_eq!(connection.ask("PUT", "/up?s=1&digest=x", Body::Nothing).unwrap().status, 201);
        server.join().unwrap();
    }
}
