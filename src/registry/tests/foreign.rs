// SPDX-License-Identifier: Apache-2.0
//! Layers outside of registries: what they use of the limits of a run.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::tls::serving;
use super::*;
use crate::error::{Classify as _, ErrorKind};
use crate::oci::digest::Hasher;

/// A client for registries, and one for foreign layers at a server that refuses its first `refused` requests with `reply`.
async fn layers_at(
    refused: usize,
    reply: Reply,
    change: impl FnOnce(&mut ClientOptions),
) -> (Client, ForeignLayers, Server, tempfile::TempDir) {
    let count = AtomicUsize::new(0);
    let reply = move |_: &Request| {
        if count.fetch_add(1, Ordering::Relaxed) < refused { reply.clone() } else { Reply::ok(b"x") }
    };
    let (server, folder, ca) = serving("127.0.0.1", reply).await;
    let insecure = vec![server.host.clone()];
    let mut options = ClientOptions { ca_files: vec![ca], insecure, ..options() };
    change(&mut options);
    let client = Client::new(options).unwrap();
    let named = [server.host.clone()];
    let layers = ForeignLayers::with_proxy(&client, &named, false).unwrap();
    (client, layers, server, folder)
}

async fn download(layers: &ForeignLayers, server: &Server) -> Result<Vec<u8>, RegistryError> {
    let (urls, mut memory) = ([format!("https://{}/layer", server.host)], Memory::default());
    let blob = layers.blob(&urls, &Digest::of(b"x"), 1, &Hasher::new(), &mut memory).await;
    blob.map(|()| memory.0)
}

#[tokio::test]
async fn t204_foreign_layers_use_the_retries_of_the_run() {
    let few = |options: &mut ClientOptions| options.retry.budget = 3;
    let (client, layers, server, _folder) = layers_at(usize::MAX, Reply::new(500), few).await;
    assert!(download(&layers, &server).await.is_err());
    assert_eq!((server.count("GET"), client.statistics().retries_left), (1 + 3, 0));
    // Neither has any left.
    assert!(download(&layers, &server).await.is_err());
    let repository = client.repository(&server.host, &"team/app".parse().unwrap());
    assert!(fetch(&repository, b"x").await.is_err());
    assert_eq!((server.count("GET"), client.statistics().retries), (1 + 3 + 1 + 1, 3));
}

#[tokio::test]
async fn t204_pauses_for_foreign_layers_are_pauses_of_the_run_and_use_up_no_retry() {
    let one = |options: &mut ClientOptions| (options.retry.attempts, options.retry.budget) = (1, 0);
    let limited = Reply::new(429).with("retry-after", "0.05");
    let (client, layers, server, _folder) = layers_at(3, limited, one).await;
    assert_eq!(download(&layers, &server).await.unwrap(), b"x");
    assert_eq!((server.count("GET"), client.statistics().retries), (4, 0));
    assert_eq!(client.statistics().paused, Duration::from_millis(150));
}

#[tokio::test]
async fn t204_all_pauses_together_are_no_longer_than_max_wait() {
    let short = |options: &mut ClientOptions| options.retry.max_wait = Duration::from_millis(120);
    let limited = Reply::new(429).with("retry-after", "0.05");
    let (client, layers, server, _folder) = layers_at(usize::MAX, limited, short).await;
    let error = download(&layers, &server).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("--max-wait"), "{error}");
    assert!(error.help().unwrap().contains("again later"), "{error}");
    assert_eq!(server.count("GET"), 3);
    let repository = client.repository(&server.host, &"team/app".parse().unwrap());
    let error = fetch(&repository, b"x").await.unwrap_err();
    assert!(matches!(error, RegistryError::RateLimited { .. }), "{error}");
    assert!(server.count("GET") <= 4, "the registry is not waited for again: {}", server.count("GET"));
    assert_eq!(client.statistics().paused, Duration::from_millis(100));
}
