// SPDX-License-Identifier: Apache-2.0
//! Sending to registries.

mod interrupted;
mod mount;
mod parts;

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::error::{Classify, ErrorKind};
use crate::oci::OCI_MANIFEST;
use crate::oci::reference::Selector;

async fn push(repository: &Repository, content: &[u8]) -> Result<PushOutcome, RegistryError> {
    let source = Arc::new(Slice(content.to_vec()));
    repository.push_blob(&Digest::of(content), content.len() as u64, source, None).await
}

fn opened() -> Reply {
    Reply::new(202).with("location", "/v2/team/app/blobs/uploads/1?_state=a%2Fb")
}

#[tokio::test]
async fn a_blob_is_sent_in_one_request() {
    let server = Server::start(|r| if r.method == "POST" { opened() } else { Reply::new(201) }).await;
    let repository = server.repository();
    for content in [noise(1_000_000), Vec::new()] {
        assert_eq!(push(&repository, &content).await.unwrap(), PushOutcome::Uploaded);
        let requests = server.requests();
        let [post, put] = &requests[requests.len() - 2..] else { panic!("{requests:?}") };
        assert!(post.is("POST", "/v2/team/app/blobs/uploads/"));
        assert_eq!(post.header("content-length"), Some("0"));
        assert_eq!(put.method, "PUT");
        let digest = Digest::of(&content).to_string().replace(':', "%3A");
        assert_eq!(put.path, format!("/v2/team/app/blobs/uploads/1?_state=a%2Fb&digest={digest}"));
        assert_eq!(put.header("content-length"), Some(content.len().to_string().as_str()));
        assert_eq!(put.body, content);
    }
}

#[tokio::test]
async fn t37_a_source_that_changed_is_refused_and_its_upload_cancelled() {
    let server = Server::start(|r| if r.method == "POST" { opened() } else { Reply::new(202) }).await;
    let content = noise(700_000);
    let mut damaged = content.clone();
    damaged[650_000] ^= 1;
    for source in [damaged, content[..600_000].to_vec()] {
        let (digest, size) = (Digest::of(&content), content.len() as u64);
        let repository = server.repository();
        let error = repository.push_blob(&digest, size, Arc::new(Slice(source)), None).await.unwrap_err();
        assert!(matches!(error, RegistryError::Source { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let put = server.requests().into_iter().rfind(|r| r.method == "PUT");
        assert!(put.is_none_or(|put| put.body.len() < content.len()), "the registry never has all of it");
    }
    assert_eq!(server.count("DELETE"), 2);
}

#[tokio::test]
async fn t55_a_token_that_runs_out_during_an_upload_is_renewed() {
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |r| match r.method.as_str() {
        "POST" => opened(),
        "PUT" if tries.fetch_add(1, Ordering::Relaxed) == 0 => {
            Reply::new(401).with("www-authenticate", "Basic realm=\"x\"")
        }
        _ => Reply::new(201),
    });
    let server = server.await;
    let keychain = Keychain::empty().with(&server.host, "me", crate::redact::Secret::new("pw"));
    let repository = server.repository_with(ClientOptions { keychain, ..options() });
    assert_eq!(push(&repository, &noise(600_000)).await.unwrap(), PushOutcome::Uploaded);
    assert_eq!((server.count("POST"), server.count("PUT")), (1, 2));
}

#[tokio::test]
async fn t59_a_full_and_a_read_only_registry_are_told_apart_and_not_tried_again() {
    let full = br#"{"errors":[{"code":"UNKNOWN","message":"write /x: no space left on device"}]}"#;
    let quota =
        br#"{"errors":[{"code":"DENIED","message":"it will exceed the configured upper limit of 1 GiB."}]}"#;
    for (reply, kind) in [
        (Reply::new(507), ErrorKind::NoSpace),
        (Reply { status: 500, ..Reply::ok(full) }, ErrorKind::NoSpace),
        (Reply::new(405), ErrorKind::Other),
        (Reply::new(413), ErrorKind::Other),
        (Reply { status: 403, ..Reply::ok(quota) }, ErrorKind::NoSpace),
    ] {
        let status = reply.status;
        let server = Server::start(move |r| if r.method == "POST" { opened() } else { reply.clone() }).await;
        let error = push(&server.repository(), b"x").await.unwrap_err();
        assert_eq!((error.kind(), server.count("PUT")), (kind, 1), "{status}: {error}");
    }
}

#[tokio::test]
async fn t57_an_upload_does_not_leave_http() {
    let server = Server::start(|_| Reply::new(202).with("location", "ftp://127.0.0.1/x")).await;
    let error = push(&server.repository(), b"x").await.unwrap_err();
    assert!(matches!(error, RegistryError::Redirect { .. }), "{error}");
}

#[tokio::test]
async fn t58_a_manifest_stored_under_another_digest_is_an_error() {
    let bytes = Bytes::from_static(b"{}");
    let server = Server::start(|_| Reply::new(201).with("docker-content-digest", Digest::of(b"other"))).await;
    let tag: Selector = "v1".parse().unwrap();
    let error = server.repository().push_manifest(&tag, OCI_MANIFEST, bytes.clone()).await.unwrap_err();
    assert!(matches!(error, RegistryError::OtherDigest { .. }), "{error}");

    let server = Server::start(|_| Reply::new(201).with("docker-content-digest", Digest::of(b"{}"))).await;
    let repository = server.repository();
    repository.push_manifest(&tag, OCI_MANIFEST, bytes.clone()).await.unwrap();
    let put = server.requests().pop().unwrap();
    assert!(put.is("PUT", "/v2/team/app/manifests/v1"));
    assert_eq!((put.header("content-type"), put.body.as_slice()), (Some(OCI_MANIFEST), &b"{}"[..]));
    let other = Selector::Digest(Digest::of(b"other"));
    assert!(matches!(
        repository.push_manifest(&other, OCI_MANIFEST, bytes).await,
        Err(RegistryError::Source { .. })
    ));
}

#[tokio::test]
async fn redirects_in_a_circle_are_no_attack() {
    let server = Server::start(|request| Reply::new(308).with("location", &request.path)).await;
    let error = server.repository().manifest(&"v1".parse().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("too many redirects"), "{error}");
    assert!(error.help().unwrap().contains("in a circle"), "{:?}", error.help());
}

#[tokio::test]
async fn t217_a_missing_project_is_named_whatever_its_status_is() {
    let body = br#"{"errors":[{"code":"FORBIDDEN","message":"project mirror not found"}]}"#;
    for status in [403, 404] {
        let server = Server::start(move |_| Reply { status, ..Reply::ok(body) }).await;
        let error = push(&server.repository(), b"x").await.unwrap_err();
        assert!(matches!(error, RegistryError::Denied { denial: Denial::NoProject, .. }), "{error}");
        assert_eq!((error.kind(), server.count("POST")), (ErrorKind::Other, 1), "{error}");
        assert!(error.help().unwrap().contains("create it there"), "{:?}", error.help());
    }
}
