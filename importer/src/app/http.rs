// SPDX-License-Identifier: Apache-2.0
//! What the kubelet and Prometheus ask: `/healthz`, `/readyz`, `/metrics`. Nothing here is secret, and nothing can be changed.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use krs_core::sync::serve::{Listener, ServeError, ServeOptions, read_only};
use prometheus_client::registry::Registry;

use crate::adapters::heartbeat::Heartbeats;
use crate::adapters::metrics;

/// The type of what `/metrics` answers.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Most connections of one address at once. The kubelet has one for each probe, and Prometheus one; whoever can reach the
/// port takes no connection from them.
const PER_PEER: usize = 16;

/// Something that must be so before the importer counts as ready, and may stop to be so.
pub type Condition = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What is asked for.
pub struct Health {
    /// While one of these makes no progress, the process should be restarted.
    pub heartbeats: Heartbeats,
    /// While one of these fails, nobody should count on the importer.
    pub ready: Vec<Condition>,
    /// What `/metrics` shows.
    pub metrics: Registry,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Health")
    }
}

/// A condition that holds once `flag` is set.
pub fn once(flag: Arc<AtomicBool>, until_then: &'static str) -> Condition {
    Box::new(move || if flag.load(Ordering::Acquire) { Ok(()) } else { Err(until_then.to_owned()) })
}

/// Answers at `address` until `stop` is done.
///
/// # Errors
/// The address is taken or not ours.
pub async fn serve(
    address: SocketAddr,
    health: Health,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    // With the limits of the registry's listener: on the number of connections, and on how long one may be idle.
    let listener = match Listener::bind(&ServeOptions { address, tls: None }).await {
        Ok(listener) => listener,
        Err(ServeError::Listen { source, .. }) => return Err(source),
        Err(error) => return Err(std::io::Error::other(error)),
    };
    run(listener, health, stop).await;
    Ok(())
}

async fn run(listener: Listener, health: Health, stop: impl Future<Output = ()> + Send) {
    let health = Arc::new(health);
    let answer = move |request: Request<()>| std::future::ready(answer(&health, &request));
    listener.one_request_each(PER_PEER).run(answer, stop).await;
}

fn answer(health: &Health, request: &Request<()>) -> Response<Body> {
    if let Err(refusal) = read_only(request.method()) {
        return refusal;
    }
    match request.uri().path() {
        "/healthz" => alive(&health.heartbeats).into_response(),
        "/readyz" => judge(&health.ready).into_response(),
        "/metrics" => {
            ([(header::CONTENT_TYPE, OPEN_METRICS)], metrics::encode(&health.metrics)).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Whether every loop makes progress, and the seconds since each did.
fn alive(heartbeats: &Heartbeats) -> (StatusCode, String) {
    if let Err(late) = heartbeats.check() {
        return (StatusCode::SERVICE_UNAVAILABLE, late + "\n");
    }
    let list = heartbeats.list().into_iter().map(|(name, seconds)| format!("{name}: {seconds} s\n"));
    (StatusCode::OK, "ok\n".to_owned() + &list.collect::<String>())
}

fn judge(conditions: &[Condition]) -> (StatusCode, String) {
    let failures = conditions.iter().filter_map(|holds| holds().err()).collect::<Vec<_>>();
    if failures.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, failures.join("\n") + "\n")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn get(address: SocketAddr, path: &str) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn t171_whoever_takes_connections_to_the_health_port_takes_none_from_the_kubelet() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let health = Health {
            heartbeats: Heartbeats::default(),
            ready: Vec::new(),
            metrics: metrics::Metrics::new().1,
        };
        let options = ServeOptions { address: "127.0.0.1:0".parse().unwrap(), tls: None };
        let listener = Listener::bind(&options).await.unwrap();
        let address = listener.address();
        let server = tokio::spawn(run(listener, health, std::future::pending()));
        let mut taken = Vec::new();
        for _ in 0..260 {
            taken.push(tokio::net::TcpStream::connect(address).await.unwrap());
        }
        let probe = async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
            let mut stream = socket.connect(address).await.unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            // To the end: the connection is free after one answer.
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answer = tokio::time::timeout(std::time::Duration::from_secs(15), probe).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
        drop(taken);
        server.abort();
    }

    #[tokio::test]
    async fn the_importer_is_ready_once_every_condition_holds_and_says_what_is_missing_until_then() {
        let flag = Arc::new(AtomicBool::new(false));
        let heartbeats = Heartbeats::default();
        let health = Health {
            heartbeats: heartbeats.clone(),
            ready: vec![once(Arc::clone(&flag), "the drop folder was not read yet")],
            metrics: metrics::Metrics::new().1,
        };
        let options = ServeOptions { address: "127.0.0.1:0".parse().unwrap(), tls: None };
        let listener = Listener::bind(&options).await.unwrap();
        let address = listener.address();
        let server = tokio::spawn(run(listener, health, std::future::pending()));
        let intake = heartbeats.begin("the intake", std::time::Duration::from_secs(60));
        let answer = get(address, "/healthz").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("the intake: 0 s"), "{answer}");
        let hanging = heartbeats.begin("a reconcile", std::time::Duration::ZERO);
        let answer = get(address, "/healthz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("a reconcile"), "{answer}");
        drop((intake, hanging));
        let answer = get(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("drop folder"), "{answer}");
        flag.store(true, Ordering::Release);
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        let answer = get(address, "/metrics").await;
        assert!(answer.contains(OPEN_METRICS) && answer.trim_end().ends_with("# EOF"), "{answer}");
        assert!(get(address, "/else").await.starts_with("HTTP/1.1 404"));
        server.abort();
    }
}
