// SPDX-License-Identifier: Apache-2.0
//! What is there, at registries whose `HEAD` says something else than their `GET`.

use super::*;
use crate::oci::reference::Selector;

const CONTENT: &[u8] = b"the content of a blob";
const SIZE: u64 = CONTENT.len() as u64;

fn ranged(request: &Request) -> Reply {
    assert_eq!(request.header("range"), Some("bytes=0-0"));
    let reply = Reply { status: 206, ..Reply::ok(&CONTENT[..1]) };
    reply.with("content-range", format!("bytes 0-0/{SIZE}"))
}

/// A registry that answers `GET` as it should and `HEAD` like this.
async fn registry(head: Reply, get: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |request| if request.method == "HEAD" { head.clone() } else { get(request) }).await
}

fn useless() -> Vec<Reply> {
    let length = |length: u64| Reply::new(200).with("content-length", length);
    let [missing, refused, odd, crash] = [403, 405, 400, 500].map(Reply::new);
    vec![missing, refused, odd, crash, length(0), length(SIZE + 1)]
}

#[tokio::test]
async fn t100_a_blob_is_there_where_a_get_says_so_whatever_head_says() {
    let digest = Digest::of(CONTENT);
    for head in useless() {
        let (status, passing) = (head.status, head.status == 500);
        let server = registry(head, ranged).await;
        let repository = server.repository();
        assert!(repository.has_blob(&digest, SIZE).await.unwrap(), "{status}");
        assert!(repository.has_blob_for_push(&digest, SIZE).await.unwrap(), "{status}");
        assert!(!repository.has_blob(&digest, SIZE + 2).await.unwrap(), "{status}");
        // Once is enough to see that HEAD is not worth a request.
        assert_eq!(server.count("HEAD"), if passing { 3 } else { 1 }, "{status}");
        assert_eq!(server.count("GET"), 3, "{status}");
    }
    // Where ranges are not heeded, the length says it, and the body is not read.
    let server = registry(Reply::new(403), |_| Reply::ok(&vec![7; 1 << 20])).await;
    assert!(server.repository().has_blob(&digest, 1 << 20).await.unwrap());
    let server = registry(Reply::new(403), |_| Reply::new(404)).await;
    assert!(!server.repository().has_blob(&digest, SIZE).await.unwrap());
    let empty = Digest::of(b"");
    let server = registry(Reply::new(403), |_| Reply::new(416).with("content-range", "bytes */0")).await;
    assert!(server.repository().has_blob(&empty, 0).await.unwrap());
}

#[tokio::test]
async fn t100_a_head_to_an_address_signed_for_get_is_no_refusal() {
    let storage = Server::start(|r| if r.method == "HEAD" { Reply::new(403) } else { ranged(r) }).await;
    let target = storage.url("/bucket?signature=1");
    let server = Server::start(move |_| Reply::new(307).with("location", &target)).await;
    let repository = server.repository();
    for _ in 0..3 {
        assert!(repository.has_blob(&Digest::of(CONTENT), SIZE).await.unwrap());
    }
    assert_eq!(storage.count("HEAD"), 1, "no retries, and no HEAD again");
}

#[tokio::test]
async fn t100_a_head_that_wants_credentials_which_get_does_not_want_is_no_refusal() {
    let server = registry(Reply::new(401).with("www-authenticate", "Basic realm=\"x\""), ranged).await;
    assert!(server.repository().has_blob(&Digest::of(CONTENT), SIZE).await.unwrap());
}

#[tokio::test]
async fn t100_what_may_not_be_read_is_unknown_but_can_be_pushed() {
    let server = registry(Reply::new(403), |_| Reply::new(403)).await;
    let repository = server.repository();
    let (digest, tag) = (Digest::of(CONTENT), "v1".parse::<Selector>().unwrap());
    let error = repository.has_blob(&digest, SIZE).await.unwrap_err();
    assert!(matches!(error, RegistryError::Forbidden { .. }), "never taken for missing: {error}");
    for _ in 0..5 {
        assert!(!repository.has_blob_for_push(&digest, SIZE).await.unwrap());
    }
    // Both refusals were seen together once; then one of them is enough.
    assert_eq!((server.count("HEAD"), server.count("GET")), (6, 1));
    assert!(repository.head_manifest(&tag).await.is_err());
    for _ in 0..5 {
        assert_eq!(repository.head_manifest_for_push(&tag).await.unwrap(), None);
    }
    assert_eq!((server.count("HEAD"), server.count("GET")), (12, 2));
}

#[tokio::test]
async fn t100_a_registry_that_fails_for_one_blob_or_manifest_can_be_pushed_to() {
    let server = Server::start(|_| Reply::new(500)).await;
    let repository = server.repository();
    let (digest, tag) = (Digest::of(CONTENT), "v1".parse::<Selector>().unwrap());
    assert!(!repository.has_blob_for_push(&digest, SIZE).await.unwrap());
    assert_eq!(repository.head_manifest_for_push(&tag).await.unwrap(), None);
    let error = repository.has_blob(&digest, SIZE).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable { .. }), "never taken for missing: {error}");
    let error = repository.head_manifest(&tag).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable { .. }), "never taken for missing: {error}");
}

#[tokio::test]
async fn t100_a_registry_that_is_down_is_not_pushed_to() {
    let server = Server::start(|_| Reply::new(503)).await;
    let error = server.repository().has_blob_for_push(&Digest::of(CONTENT), SIZE).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn t100_a_manifest_is_there_where_a_get_says_so_whatever_head_says() {
    let manifest = || Reply::ok(b"{\"schemaVersion\":2}").with("content-type", crate::oci::OCI_MANIFEST);
    let tag: Selector = "v1".parse().unwrap();
    for status in [400, 401, 403, 405, 500] {
        let server = registry(Reply::new(status), move |_| manifest()).await;
        let repository = server.repository();
        for _ in 0..2 {
            let found = repository.head_manifest(&tag).await.unwrap().unwrap();
            assert_eq!(found.digest, Digest::of(b"{\"schemaVersion\":2}"), "{status}");
        }
    }
}
