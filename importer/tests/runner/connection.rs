// SPDX-License-Identifier: Apache-2.0
//! A registry that cannot be reached is named in seconds, with what the network must allow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use krs_core::oci::digest::Digest;
use krs_core::oci::reference::RegistryHost;
use krs_importer::model::task::{CopyTask, DestinationEndpoint, TaskSource};
use krs_importer::runner;
use krs_testing::image::ImageBuilder;
use krs_testing::log::Log;
use krs_testing::registry::{Options, Registry};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::harness::*;

/// An address where packets are dropped, as by a NetworkPolicy: the queue of the listener is full.
struct Dropping {
    listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl Dropping {
    async fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) =
            tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
        {
            queued.push(stream.unwrap());
        }
        Self { listener, _queued: queued }
    }

    fn host(&self) -> RegistryHost {
        self.listener.local_addr().unwrap().to_string().parse().unwrap()
    }
}

/// Whether a line of the log has all of these parts.
fn has(line: &Value, parts: &[&str]) -> bool {
    let text = line.to_string();
    parts.iter().all(|part| text.contains(part))
}

/// Whether these lines are there in this order.
fn in_order(log: &[Value], lines: &[&[&str]]) -> bool {
    let mut all = log.iter();
    lines.iter().all(|parts| all.any(|line| has(line, parts)))
}

const LABELS: &str = "app.kubernetes.io/managed-by=krs-importer,app.kubernetes.io/component=copy";

#[tokio::test]
async fn t212_a_way_that_is_blocked_is_named_within_the_limit_for_connecting() {
    let (blocked, other) = (Dropping::new().await, Registry::start(Options::default()));
    let plain = |registry: RegistryHost| DestinationEndpoint {
        registry,
        plain_http: true,
        insecure_skip_verify: false,
    };
    let bundle = || {
        let ca = krs_testing::tls::Authority::new("krs test").pem();
        TaskSource::Bundle { digest: Digest::of(b"b"), name: "prod-7".to_owned(), ca }
    };
    let online = TaskSource::Registry { plain_http: true };
    let targets = |source: &RegistryHost| {
        (0..5_u8).map(|n| target(source, "team/app", &Digest::of(&[n]), "v1")).collect::<Vec<_>>()
    };
    let (dead, live) = (blocked.host(), other.host());
    for (role, task) in [
        (
            "the importer's registry",
            CopyTask { destination: plain(live.clone()), source: bundle(), targets: targets(&dead) },
        ),
        (
            "the source registry",
            CopyTask { destination: plain(live.clone()), source: online.clone(), targets: targets(&dead) },
        ),
        (
            "the destination registry",
            CopyTask { destination: plain(dead.clone()), source: online.clone(), targets: targets(&live) },
        ),
    ] {
        let (log, pod) = (Log::capture(), Pod::new());
        pod.mount("token", &[("token", "t")]);
        let paths = runner::Paths { connect: Duration::from_millis(500), ..pod.paths() };
        let in_time = tokio::time::timeout(Duration::from_secs(60), runner::run(&task, &paths)).await;
        let (report, code) = in_time.unwrap_or_else(|_| panic!("{role}: the limit for connecting is 0.5 s"));
        let log = log.take();
        // One attempt to connect for all targets and requests.
        let attempts = |step: &str| {
            log.iter().filter(|line| line["registry"] == dead.as_str() && has(line, &[step])).count()
        };
        assert_eq!((attempts("connecting"), attempts("checking what is present")), (1, 0), "{log:?}");
        assert_eq!((code, report.failed), (8, 5), "{role}");
        let failure = &report.failures[0];
        assert_eq!(failure.reason, "ConnectionTimedOut", "{role}: {failure:?}");
        let port = format!("port {}/TCP", dead.port().unwrap());
        for part in [role, dead.as_str(), &port, LABELS, "NetworkPolicy", "DNS"] {
            assert!(failure.message.contains(part), "{role}: {part}: {failure:?}");
        }
        assert!(
            in_order(&log, &[&["connecting", role, dead.as_str()], &["ERROR", "ConnectionTimedOut"]]),
            "{log:?}"
        );
    }
}

/// A way to a registry that lets everything pass until it is blocked; then packets are dropped, also of new connections.
struct Way {
    host: RegistryHost,
    blocked: Arc<AtomicBool>,
}

impl Way {
    /// Blocks itself once a request has these words in it.
    async fn to(registry: &Registry, words: &'static str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let (blocked, upstream) = (Arc::<AtomicBool>::default(), registry.host().to_string());
        let state = Arc::clone(&blocked);
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while !state.load(Ordering::SeqCst) {
                let accepted = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
                let Ok(Ok((client, _))) = accepted else { continue };
                let (upstream, state) = (upstream.clone(), Arc::clone(&state));
                tokio::spawn(async move { relay(client, &upstream, words, &state).await });
            }
            // The queue of the listener is filled, and nobody takes anything from it.
            while let Ok(stream) =
                tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
            {
                kept.push(stream);
            }
            std::future::pending::<()>().await;
            drop((kept, listener));
        });
        Self { host: address.to_string().parse().unwrap(), blocked }
    }
}

/// Passes on what is sent until the way is blocked, and holds both connections from then on.
async fn relay(mut client: TcpStream, upstream: &str, words: &str, blocked: &AtomicBool) {
    let mut server = TcpStream::connect(upstream).await.unwrap();
    let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(length @ 1..) = read else { return };
                if String::from_utf8_lossy(&from_client[..length]).contains(words) {
                    blocked.store(true, Ordering::SeqCst);
                }
                if blocked.load(Ordering::SeqCst) {
                    return std::future::pending().await;
                }
                server.write_all(&from_client[..length]).await.unwrap();
            }
            read = server.read(&mut from_server) => {
                let Ok(length @ 1..) = read else { return };
                if blocked.load(Ordering::SeqCst) {
                    return std::future::pending().await;
                }
                client.write_all(&from_server[..length]).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t212_a_way_that_is_blocked_while_skopeo_copies_is_named_and_not_waited_for() {
    for role in ["the source registry", "the destination registry"] {
        let (source, edge) = (Registry::start(Options::default()), Registry::start(Options::default()));
        let image = ImageBuilder::new("app").layer_random(20_000, 1).build();
        image.push_to(&source, "team/app", None);
        let layer = image.blobs.last().unwrap().0;
        let is_source = role == "the source registry";
        let words: &'static str = if is_source {
            Box::leak(format!("GET /v2/team/app/blobs/{layer}").into_boxed_str())
        } else {
            "POST /v2/mirror/team/app/blobs/uploads/"
        };
        let way = Way::to(if is_source { &source } else { &edge }, words).await;
        let from = if is_source { way.host.clone() } else { source.host() };
        let mut task = online(&source, &edge, vec![target(&from, "team/app", &image.digest, "v1")]);
        if !is_source {
            task.destination.registry = way.host.clone();
        }
        let pod = Pod::new();
        let (connect, idle) = (Duration::from_millis(500), Duration::from_secs(1));
        let paths = runner::Paths { connect, idle, ..pod.paths() };
        let run = tokio::time::timeout(Duration::from_secs(300), runner::run(&task, &paths));
        let (report, code) = run.await.expect("the limit of ten minutes and more does not count here");
        assert!(way.blocked.load(Ordering::SeqCst), "{role}: {report:?}");
        let failure = &report.failures[0];
        assert_eq!((code, failure.reason.as_str()), (8, "ConnectionTimedOut"), "{role}: {failure:?}");
        assert!(failure.message.contains(role) && failure.message.contains(way.host.as_str()), "{failure:?}");
    }
}

/// A way to a registry on which one connection is dropped: the next one after a request of skopeo with these words. It is
/// established, and none of its data is acknowledged. All others pass, also new ones.
async fn dropping_one(registry: &Registry, words: &'static str) -> (RegistryHost, Arc<AtomicBool>) {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let host = listener.local_addr().unwrap().to_string().parse().unwrap();
    let (dropped, upstream) = (Arc::<AtomicBool>::default(), registry.host().to_string());
    let state = Arc::clone(&dropped);
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((client, _)) = listener.accept().await {
            if state.load(Ordering::SeqCst) && kept.is_empty() {
                // It has the filter of the listener, and keeps it.
                socket2::SockRef::from(&*listener).detach_filter().unwrap();
                kept.push(client);
                continue;
            }
            let (upstream, state, listener) = (upstream.clone(), Arc::clone(&state), Arc::clone(&listener));
            tokio::spawn(
                async move { relay_and_drop_next(client, &upstream, words, &state, &listener).await },
            );
        }
    });
    (host, dropped)
}

async fn relay_and_drop_next(
    mut client: TcpStream,
    upstream: &str,
    words: &str,
    dropped: &AtomicBool,
    listener: &TcpListener,
) {
    let mut server = TcpStream::connect(upstream).await.unwrap();
    let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut is_it = false;
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(length @ 1..) = read else { return };
                let text = String::from_utf8_lossy(&from_client[..length]);
                is_it |= text.contains(words) && text.contains("skopeo");
                server.write_all(&from_client[..length]).await.unwrap();
            }
            read = server.read(&mut from_server) => {
                let Ok(length @ 1..) = read else { return };
                if is_it && !dropped.swap(true, Ordering::SeqCst) {
                    // Packets of more than the longest header have data: the kernel drops them.
                    let filter = [(0x80, 0, 0, 0), (0x25, 0, 1, 60), (0x06, 0, 0, 0), (0x06, 0, 0, 0x40000)];
                    let filter = filter.map(|(code, jt, jf, k)| socket2::SockFilter::new(code, jt, jf, k));
                    socket2::SockRef::from(listener).attach_filter(&filter).unwrap();
                }
                client.write_all(&from_server[..length]).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t265_a_connection_that_is_dropped_while_new_ones_pass_is_named_and_not_waited_for() {
    for role in ["the source registry", "the destination registry"] {
        let (source, edge) = (Registry::start(Options::default()), Registry::start(Options::default()));
        let image = ImageBuilder::new("app").layer_random(20_000, 1).build();
        image.push_to(&source, "team/app", None);
        let is_source = role == "the source registry";
        let words =
            if is_source { "GET /v2/team/app/manifests/" } else { "POST /v2/mirror/team/app/blobs/uploads/" };
        let (host, dropped) = dropping_one(if is_source { &source } else { &edge }, words).await;
        let from = if is_source { host.clone() } else { source.host() };
        let mut task = online(&source, &edge, vec![target(&from, "team/app", &image.digest, "v1")]);
        if !is_source {
            task.destination.registry = host.clone();
        }
        let pod = Pod::new();
        let paths = runner::Paths { idle: Duration::from_secs(1), ..pod.paths() };
        let run = tokio::time::timeout(Duration::from_secs(300), runner::run(&task, &paths));
        let (report, code) = run.await.expect("the limit of 15 minutes does not count here");
        assert!(dropped.load(Ordering::SeqCst) && report.failed == 1, "{role}: {report:?}");
        let failure = &report.failures[0];
        assert_eq!((code, failure.reason.as_str()), (8, "ConnectionTimedOut"), "{role}: {failure:?}");
        let named = format!("{role} {host}: the connection to {host} is blocked");
        assert!(failure.message.starts_with(&named), "{failure:?}");
        // With new connections it continues from there.
        let (report, code) = runner::run(&task, &paths).await;
        assert_eq!((code, report.done), (0, 1), "{report:?}");
    }
}

#[tokio::test]
async fn t212_each_step_of_a_copy_is_logged_with_its_registry() {
    let (source, edge) = (Registry::start(Options::default()), Registry::start(Options::default()));
    let image = ImageBuilder::new("app").gzip().layer_random(20_000, 1).build();
    image.push_to(&source, "team/app", None);
    let task = online(&source, &edge, vec![target(&source.host(), "team/app", &image.digest, "v1")]);
    let log = Log::capture();
    assert_eq!(Pod::new().run(&task).await.1, 0);
    let log = log.take();
    let (source, edge) = (source.host(), edge.host());
    let (source, edge) = (source.as_str(), edge.as_str());
    for (registry, role) in [(source, "the source registry"), (edge, "the destination registry")] {
        assert!(
            in_order(&log, &[&["connecting", registry, role], &["connected", registry, role]]),
            "{log:?}"
        );
    }
    let steps: [&[&str]; 6] = [
        &["checking what is present", edge],
        &["reading the manifests", source],
        &["copying", source, edge],
        &["verifying what was copied", edge],
        &["setting a tag", edge, "v1"],
        &["done"],
    ];
    assert!(in_order(&log, &steps), "{log:?}");
}
