// SPDX-License-Identifier: Apache-2.0
//! Hosts that limit the rate of requests. (T-54)

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::*;
use crate::error::{Classify, ErrorKind};

/// A server that refuses its request number `refused` (from 0) with `reply`, and when each request came.
async fn refusing(refused: usize, reply: Reply) -> (Server, Arc<Mutex<Vec<Instant>>>) {
    let (count, times) = (AtomicUsize::new(0), Arc::<Mutex<Vec<Instant>>>::default());
    let log = Arc::clone(&times);
    let server = Server::start(move |_| {
        log.lock().unwrap().push(Instant::now());
        if count.fetch_add(1, Ordering::Relaxed) == refused { reply.clone() } else { Reply::ok(b"x") }
    });
    (server.await, times)
}

#[tokio::test]
async fn t54_a_refusal_pauses_all_requests_to_the_host_and_uses_up_no_retry() {
    for status in [429, 503] {
        let (server, times) = refusing(1, Reply::new(status).with("retry-after", "1")).await;
        let mut options = options();
        (options.retry.attempts, options.retry.budget, options.connections_per_host) = (1, 0, 2);
        let client = Client::new(options).unwrap();
        let repository = client.repository(&server.host, &"team/app".parse().unwrap());
        let outcomes = futures::future::join_all((0..10).map(|_| fetch(&repository, b"x"))).await;
        assert!(outcomes.iter().all(Result::is_ok), "{status}: {outcomes:?}");
        let times = times.lock().unwrap();
        // Two connections: at most two more requests were under way when the refusal arrived.
        let early = times.iter().filter(|time| **time < times[1] + Duration::from_millis(900)).count();
        assert!(early <= 4, "{status}: {early} requests before the pause was over");
        let statistics = client.statistics();
        assert_eq!((statistics.retries, statistics.retries_left), (0, 0));
        assert_eq!(statistics.paused, Duration::from_secs(1), "a pause of several requests counts once");
    }
}

#[tokio::test]
async fn t54_a_refusal_that_states_no_time_counts_as_a_try() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0..5 => Reply::new(429),
        _ => Reply::ok(b"x"),
    });
    let server = server.await;
    assert_eq!(fetch(&server.repository(), b"x").await.unwrap(), b"x");
    assert_eq!(server.count("GET"), 6);

    let server = Server::start(|_| Reply::new(429)).await;
    let mut options = options();
    (options.retry.attempts, options.retry.budget) = (3, 10);
    let client = Client::new(options).unwrap();
    let repository = client.repository(&server.host, &"team/app".parse().unwrap());
    let error = fetch(&repository, b"x").await.unwrap_err();
    assert!(matches!(error, RegistryError::RateLimited { .. }), "{error}");
    assert!(error.to_string().contains("no Retry-After"), "{error}");
    assert_eq!((server.count("GET"), client.statistics().retries_left), (3, 10));
}

/// A server that refuses look-ups of referrers, and answers everything else.
async fn refusing_referrers(reply: Reply) -> Server {
    Server::start(move |request| match request.path.contains("/referrers/") {
        true => reply.clone(),
        false => Reply::ok(b"x"),
    })
    .await
}

#[tokio::test]
async fn t127_what_is_optional_leaves_most_of_the_waits_to_what_is_not() {
    let server = refusing_referrers(Reply::new(429).with("retry-after", "1")).await;
    let mut options = options();
    options.retry.max_wait = Duration::from_secs(11);
    let client = Client::new(options).unwrap();
    let repository = client.repository(&server.host, &"team/app".parse().unwrap());
    let optional = repository.optional();
    for _ in 0..3 {
        let error = optional.referrers_by_api(&Digest::of(b"x")).await.unwrap_err();
        assert!(error.to_string().contains("the quarter of --max-wait"), "{error}");
    }
    assert_eq!(server.count("GET"), 5, "after 2 pauses of 1 s there is no more of 11 s / 4");
    assert_eq!(client.statistics().paused, Duration::from_secs(2));
    // Nor does it close the host to what is not optional.
    assert_eq!(fetch(&repository, b"x").await.unwrap(), b"x");
    assert!(optional.optional_once().referrers_by_api(&Digest::of(b"x")).await.is_err());
    assert_eq!(client.statistics().paused, Duration::from_secs(2));
}

#[tokio::test]
async fn t127_pauses_of_what_is_optional_count_as_tries() {
    let server = refusing_referrers(Reply::new(429).with("retry-after", "0.01")).await;
    let mut options = options();
    (options.retry.attempts, options.retry.max_wait) = (3, Duration::from_secs(4));
    let client = Client::new(options).unwrap();
    let repository = client.repository(&server.host, &"team/app".parse().unwrap()).optional();
    assert!(repository.referrers_by_api(&Digest::of(b"x")).await.is_err());
    assert_eq!(server.count("GET"), 3);
    // Where one has failed, the next one waits for nothing.
    let paused = client.statistics().paused;
    assert!(repository.optional_once().referrers_by_api(&Digest::of(b"x")).await.is_err());
    assert_eq!((server.count("GET"), client.statistics().paused), (4, paused));
}

#[tokio::test]
async fn t127_what_is_optional_uses_a_quarter_of_the_retries() {
    let server = refusing_referrers(Reply::new(500)).await;
    let mut options = options();
    options.retry.budget = 8;
    let client = Client::new(options).unwrap();
    let repository = client.repository(&server.host, &"team/app".parse().unwrap());
    let optional = repository.optional();
    assert!(optional.optional_once().referrers_by_api(&Digest::of(b"x")).await.is_err());
    assert_eq!((server.count("GET"), client.statistics().retries_left), (1, 8));
    for _ in 0..3 {
        assert!(optional.referrers_by_api(&Digest::of(b"x")).await.is_err());
    }
    assert_eq!((server.count("GET"), client.statistics().retries_left), (1 + 3 + 2, 6));
    // What is not optional has the rest, also where it goes by the same request.
    assert!(repository.optional_once().referrers_by_api(&Digest::of(b"x")).await.is_err());
    assert_eq!(client.statistics().retries_left, 1);
}

#[tokio::test]
async fn t54_a_pause_that_is_longer_than_there_is_time_for_ends_the_run_at_once() {
    let (server, _) = refusing(0, Reply::new(429).with("retry-after", "600")).await;
    let mut options = options();
    options.retry.max_wait = Duration::from_secs(300);
    let repository = server.repository_with(options);
    let begun = Instant::now();
    for _ in 0..3 {
        let error = fetch(&repository, b"x").await.unwrap_err();
        assert!(matches!(error, RegistryError::RateLimited { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("rate limited by"), "{error}");
        assert!(error.help().unwrap().contains("--max-wait"));
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "nothing was waited for");
    assert_eq!(server.count("GET"), 1, "the others were not even sent");
}

#[tokio::test]
async fn t54_token_servers_and_storage_are_left_alone_as_well() {
    let (tokens, token_times) = refusing(0, Reply::new(429).with("retry-after", "1")).await;
    let (storage, storage_times) = refusing(0, Reply::new(429).with("retry-after", "1")).await;
    let (realm, away) = (tokens.url("/token"), storage.url("/x"));
    let server = Server::start(move |request| match request.authorization() {
        None => Reply::new(401).with("www-authenticate", format!("Bearer realm=\"{realm}\"")),
        Some(_) => Reply::new(307).with("location", &away),
    });
    let server = server.await;
    let mut options = options();
    options.retry.attempts = 1;
    // The second answer of the token server is no token, which is final.
    let error = fetch(&server.repository_with(options), b"x").await.unwrap_err();
    assert!(matches!(error, RegistryError::Protocol { .. }), "{error}");
    let apart = |times: &Mutex<Vec<Instant>>| {
        let times = times.lock().unwrap();
        assert_eq!(times.len(), 2);
        times[1] - times[0]
    };
    assert!(apart(&token_times) >= Duration::from_millis(950));

    let away = storage.url("/x");
    let server = Server::start(move |_| Reply::new(307).with("location", &away)).await;
    assert_eq!(fetch(&server.repository(), b"x").await.unwrap(), b"x");
    assert!(apart(&storage_times) >= Duration::from_millis(950));
}

#[tokio::test]
async fn t54_one_connection_is_enough_for_a_host_that_limits() {
    let (server, _) = refusing(3, Reply::new(429)).await;
    let repository = server.repository_with(ClientOptions { connections_per_host: 1, ..options() });
    for outcome in futures::future::join_all((0..8).map(|_| fetch(&repository, b"x"))).await {
        assert_eq!(outcome.unwrap(), b"x");
    }
}
