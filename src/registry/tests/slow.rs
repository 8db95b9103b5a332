// SPDX-License-Identifier: Apache-2.0
//! Slow registries, and a client that is slow on purpose.

use std::num::NonZeroU64;
use std::time::Instant;

use super::*;
use crate::error::{Classify, ErrorKind};

fn limited(server: &Server, rate: u64) -> Repository {
    server.repository_with(ClientOptions { bandwidth: NonZeroU64::new(rate), ..options() })
}

/// What the limit saves up while nothing passes, in seconds.
const BURST: f64 = 0.1;

/// The least time that `bytes` take at `rate`. That they take no more is shown with a clock of its own, in `pace`.
fn least(bytes: usize, rate: u64) -> f64 {
    bytes as f64 / rate as f64 - BURST
}

#[tokio::test]
async fn transfers_in_both_directions_share_one_limit() {
    let content = noise(150_000);
    let served = content.clone();
    let server = Server::start(move |request| match request.method.as_str() {
        "POST" => Reply::new(202).with("location", "/v2/team/app/blobs/uploads/1"),
        "PUT" => Reply::new(201),
        _ => Reply::ok(&served),
    });
    let server = server.await;
    let repository = limited(&server, 1_000_000);
    let begun = Instant::now();
    let source = Arc::new(Slice(content.clone()));
    let digest = Digest::of(&content);
    let (one, two, sent) = tokio::join!(
        fetch(&repository, &content),
        fetch(&repository, &content),
        repository.push_blob(&digest, content.len() as u64, source, None)
    );
    let took = begun.elapsed().as_secs_f64();
    assert!(one.unwrap() == content && two.unwrap() == content && sent.unwrap() == PushOutcome::Uploaded);
    assert!(took >= least(3 * content.len(), 1_000_000), "{took} s");
    let put = server.requests().into_iter().find(|request| request.method == "PUT").unwrap();
    assert!(put.body == content, "all pieces arrive, in order");
}

#[tokio::test]
async fn manifests_count_too() {
    let server = Server::start(|_| Reply::new(201)).await;
    let repository = limited(&server, 100_000);
    let begun = Instant::now();
    let bytes = Bytes::from(noise(30_000));
    repository.push_manifest(&"v1".parse().unwrap(), crate::oci::OCI_MANIFEST, bytes).await.unwrap();
    assert!(begun.elapsed().as_secs_f64() >= least(30_000, 100_000));
}

#[tokio::test]
async fn a_wait_for_the_limit_is_not_taken_for_a_stall() {
    let content = noise(100_000);
    let served = content.clone();
    let server = Server::start(move |request| match request.method.as_str() {
        "POST" => Reply::new(202).with("location", "/v2/team/app/blobs/uploads/1"),
        "PUT" => Reply::new(201),
        _ => Reply::ok(&served),
    });
    let server = server.await;
    let options = ClientOptions {
        bandwidth: NonZeroU64::new(200_000),
        stall_timeout: Duration::from_millis(200),
        ..options()
    };
    let client = Client::new(options).unwrap();
    let repository = client.repository(&server.host, &"team/app".parse().unwrap());
    assert_eq!(fetch(&repository, &content).await.unwrap(), content);
    let source = Arc::new(Slice(content.clone()));
    let pushed = repository.push_blob(&Digest::of(&content), content.len() as u64, source, None).await;
    assert_eq!(pushed.unwrap(), PushOutcome::Uploaded);
    assert_eq!(client.statistics().retries, 0);
}

#[tokio::test]
async fn t53_a_registry_that_sends_a_byte_now_and_then_is_given_up() {
    let drop_by_drop = |body: &[u8]| Reply { drops: Some((1, Duration::from_millis(50))), ..Reply::ok(body) };
    let server = Server::start(move |request| match request.path.contains("/manifests/") {
        true => drop_by_drop(&[b' '; 1000]).with("content-type", crate::oci::OCI_MANIFEST),
        false => drop_by_drop(&[0; 1000]),
    });
    let server = server.await;
    let mut options = options();
    options.stall_timeout = Duration::from_millis(400);
    options.retry.attempts = 2;
    let repository = server.repository_with(options);
    for error in [
        fetch(&repository, &[0; 1000]).await.unwrap_err(),
        repository.manifest(&"v1".parse().unwrap()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("bytes came in"), "{error}");
    }
    assert_eq!(server.count("GET"), 4);
}

#[tokio::test]
async fn a_registry_that_is_slow_all_the_time_is_waited_for() {
    let content = noise(1500);
    let served = content.clone();
    let slow =
        move |_: &Request| Reply { drops: Some((100, Duration::from_millis(50))), ..Reply::ok(&served) };
    let server = Server::start(slow).await;
    let options = ClientOptions { stall_timeout: Duration::from_millis(400), ..options() };
    assert_eq!(fetch(&server.repository_with(options), &content).await.unwrap(), content);
    assert_eq!(server.count("GET"), 1);
}

#[tokio::test]
async fn t53_retries_and_the_rest_of_the_budget_are_counted() {
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |_| match tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0..3 => Reply::new(503),
        _ => Reply::ok(b"x"),
    });
    let server = server.await;
    let mut options = options();
    options.retry.budget = 10;
    let client = Client::new(options).unwrap();
    let repository = client.repository(&server.host, &"team/app".parse().unwrap());
    assert_eq!(fetch(&repository, b"x").await.unwrap(), b"x");
    let Statistics { retries, retries_left, .. } = client.statistics();
    assert_eq!((retries, retries_left), (3, 7));
}

#[tokio::test]
async fn one_connection_is_enough_for_everything() {
    let content = noise(200_000);
    let served = content.clone();
    // Logging in, redirects and cuts, all at one host.
    let server = Server::start(move |request| {
        let (path, known) = (request.path.clone(), request.authorization().is_some());
        match (known, request.header("range")) {
            (false, _) => Reply::new(401).with("www-authenticate", "Basic realm=\"x\""),
            (true, None) if !path.contains("moved") => {
                Reply::new(307).with("location", format!("{path}?moved"))
            }
            (true, None) => Reply { cut: Some(100_000), ..Reply::ok(&served) },
            (true, Some(_)) => Reply { status: 206, ..Reply::ok(&served[100_000..]) }
                .with("content-range", "bytes 100000-199999/200000"),
        }
    });
    let server = server.await;
    let keychain = Keychain::empty().with(&server.host, "me", crate::redact::Secret::new("pw"));
    let options = ClientOptions { keychain, connections_per_host: 1, ..options() };
    let repository = server.repository_with(options);
    let many = (0..5).map(|_| fetch(&repository, &content));
    for outcome in futures::future::join_all(many).await {
        assert!(outcome.unwrap() == content);
    }
}
