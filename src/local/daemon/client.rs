// SPDX-License-Identifier: Apache-2.0
//! Requests to a daemon over its socket.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::time::timeout;

use super::error::DaemonError;
use super::socket::Socket;
use crate::redact::printable;

/// Largest response that is no export, in bytes.
const MAX_RESPONSE: usize = 4 << 20;

/// How long a daemon may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// To accept a connection, and for a response that is no export.
    pub(super) response: Duration,
    /// To begin an export: older versions write all of it to their own disk first.
    pub(super) export_begin: Duration,
    /// Between two parts of an export.
    pub(super) export_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            response: Duration::from_secs(60),
            export_begin: Duration::from_secs(30 * 60),
            export_idle: Duration::from_secs(5 * 60),
        }
    }
}

/// A request: the path with its query, and what messages call it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) socket: &'a Socket,
    pub(super) path: &'a str,
    pub(super) name: &'a str,
}

impl Request<'_> {
    /// Says that there was no complete response.
    pub(super) fn failed(&self, detail: &str) -> DaemonError {
        DaemonError::Response {
            socket: self.socket.path().to_owned(),
            request: printable(self.name, 300),
            detail: printable(detail, 200),
        }
    }

    fn timed_out(&self, limit: Duration) -> DaemonError {
        self.failed(&format!("timed out after {} s", limit.as_secs()))
    }

    /// The response as JSON; `None`: not found.
    pub(super) async fn json<T: serde::de::DeserializeOwned>(
        &self,
        timeouts: Timeouts,
    ) -> Result<Option<T>, DaemonError> {
        let response = self.send(timeouts.response).await?;
        let status = response.status();
        let body = self.body(response, timeouts.response).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => {
                let value = crate::json::parse(&body, MAX_RESPONSE);
                value.map(Some).map_err(|error| self.failed(&error.to_string()))
            }
            status => Err(self.refused(status, &body)),
        }
    }

    /// The body of a response that is an archive.
    pub(super) async fn archive(&self, timeouts: Timeouts) -> Result<Archive<'_>, DaemonError> {
        let response = self.send(timeouts.export_begin).await?;
        let status = response.status();
        if status != StatusCode::OK {
            let body = self.body(response, timeouts.response).await.unwrap_or_default();
            return Err(self.refused(status, &body));
        }
        let kind = response.headers().get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        // Docker says `application/x-tar`, Podman `application/octet`: what is surely something else is refused.
        if let Some(kind) = kind.filter(|kind| kind.starts_with("text/") || kind.contains("json")) {
            return Err(self.failed(&format!("its type is {kind}; expected a tar")));
        }
        Ok(Archive { request: *self, body: response.into_body(), idle: timeouts.export_idle })
    }

    async fn body(&self, response: Response<Incoming>, limit: Duration) -> Result<Bytes, DaemonError> {
        let body = timeout(limit, Limited::new(response.into_body(), MAX_RESPONSE).collect()).await;
        let body = body.map_err(|_| self.timed_out(limit))?;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| self.failed(&error.to_string()))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> DaemonError {
        #[derive(Deserialize)]
        struct Message {
            message: String,
        }
        let message = crate::json::parse::<Message>(body, MAX_RESPONSE).ok();
        let detail = message.map(|Message { message }| format!(": {}", printable(&message, 200)));
        DaemonError::Refused {
            socket: self.socket.path().to_owned(),
            request: printable(self.name, 300),
            status: status.as_u16(),
            detail: detail.unwrap_or_default(),
        }
    }

    /// Sends the request over a connection of its own.
    #[cfg(unix)]
    async fn send(&self, limit: Duration) -> Result<Response<Incoming>, DaemonError> {
        use std::io;

        use hyper_util::rt::TokioIo;
        let path = self.socket.path();
        let connect_error = |source| DaemonError::Connect { socket: path.to_owned(), source };
        let connect = tokio::net::UnixStream::connect(path);
        let stream =
            timeout(limit, connect).await.map_err(|_| connect_error(io::ErrorKind::TimedOut.into()))?;
        let stream = TokioIo::new(stream.map_err(connect_error)?);
        let handshake = hyper::client::conn::http1::handshake(stream).await;
        let (mut sender, connection) = handshake.map_err(|error| self.failed(&error.to_string()))?;
        // It ends with the response.
        tokio::spawn(connection);
        let message = http::Request::get(self.path).header(http::header::HOST, "docker");
        let message = message.body(http_body_util::Empty::<Bytes>::new());
        let message = message.map_err(|error| self.failed(&error.to_string()))?;
        let response = timeout(limit, sender.send_request(message)).await;
        let response = response.map_err(|_| self.timed_out(limit))?;
        response.map_err(|error| self.failed(&crate::error::chain(&error)))
    }

    #[cfg(not(unix))]
    async fn send(&self, _: Duration) -> Result<Response<Incoming>, DaemonError> {
        let _ = self.path;
        Err(DaemonError::System)
    }
}

/// An archive that arrives.
#[derive(Debug)]
pub(super) struct Archive<'a> {
    request: Request<'a>,
    body: Incoming,
    idle: Duration,
}

impl Archive<'_> {
    /// The next bytes; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, DaemonError> {
        loop {
            let frame = timeout(self.idle, self.body.frame()).await;
            let frame = frame.map_err(|_| {
                let idle = self.idle.as_secs();
                self.request.failed(&format!("timed out: no data for {idle} s"))
            })?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| self.request.failed(&crate::error::chain(&error)))?;
            // Trailers have no data.
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
    }
}
