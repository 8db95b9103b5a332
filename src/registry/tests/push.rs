// SPDX-License-Identifier: Apache-2.0
//! Sending to registries that fail or lose what they were sent.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::error::{Classify, ErrorKind};
use crate::oci::OCI_MANIFEST;
use crate::reference::Selector;

async fn push(repository: &Repository, content: &[u8]) -> Result<Pushed, RegistryError> {
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
        assert_eq!(push(&repository, &content).await.unwrap(), Pushed::Uploaded);
        let seen = server.seen();
        let [post, put] = &seen[seen.len() - 2..] else { panic!("{seen:?}") };
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
async fn a_blob_of_another_repository_is_mounted_where_the_registry_can() {
    let mounting = |status: u16| {
        move |r: &Request| match r.method.as_str() {
            "POST" if r.path.contains("mount=") && status == 202 => opened(),
            "POST" if r.path.contains("mount=") => Reply::new(status),
            "POST" => opened(),
            _ => Reply::new(201),
        }
    };
    let from = "other/app".parse().unwrap();
    let digest = Digest::of(b"x");
    for (status, pushed, posts) in [
        (201, Pushed::Mounted, 1),
        (202, Pushed::Uploaded, 1),
        (404, Pushed::Uploaded, 2),
        (405, Pushed::Uploaded, 2),
        (403, Pushed::Uploaded, 2),
    ] {
        let server = Server::start(mounting(status)).await;
        let source = Arc::new(Slice(b"x".to_vec()));
        let outcome = server.repository().push_blob(&digest, 1, source, Some(&from)).await.unwrap();
        assert_eq!((outcome, server.count("POST")), (pushed, posts), "{status}");
        let query = format!("?mount=sha256%3A{}&from=other%2Fapp", digest.hex());
        assert!(server.seen()[0].path.ends_with(&query), "{:?}", server.seen()[0]);
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
        let put = server.seen().into_iter().rfind(|r| r.method == "PUT");
        assert!(put.is_none_or(|put| put.body.len() < content.len()), "the registry never has all of it");
    }
    assert_eq!(server.count("DELETE"), 2);
}

/// A registry that takes `most` bytes of each request and then cuts the connection.
struct Cutting {
    stored: Mutex<Vec<u8>>,
    most: usize,
    done: AtomicBool,
    /// Keeps what it got of a request that was cut.
    keeps: bool,
}

impl Cutting {
    fn answer(&self, request: &Request) -> Reply {
        let mut stored = self.stored.lock().unwrap();
        let range = |stored: &[u8]| format!("0-{}", stored.len().saturating_sub(1));
        let cut = Reply::new(0);
        match request.method.as_str() {
            "POST" => {
                stored.clear();
                opened()
            }
            "GET" if self.keeps => {
                Reply::new(204).with("range", range(&stored)).with("location", &request.path)
            }
            "GET" => Reply::new(404),
            "PATCH" | "PUT" => {
                let start = request
                    .header("content-range")
                    .map_or(stored.len(), |range| range.split('-').next().unwrap().parse::<usize>().unwrap());
                if start != stored.len() {
                    return Reply::new(416);
                }
                if request.body.len() > self.most {
                    if self.keeps {
                        stored.extend_from_slice(&request.body[..self.most]);
                    } else {
                        stored.clear();
                    }
                    return cut;
                }
                stored.extend_from_slice(&request.body);
                if request.method == "PUT" {
                    self.done.store(true, Ordering::Relaxed);
                    return Reply::new(201);
                }
                Reply::new(202).with("range", range(&stored)).with("location", &request.path)
            }
            _ => Reply::new(204),
        }
    }
}

#[tokio::test]
async fn t53_an_upload_that_is_cut_is_gone_on_with_where_the_registry_got_to() {
    let content = noise(3_000_000);
    let registry =
        Cutting { stored: Mutex::default(), most: 250_000, done: AtomicBool::new(false), keeps: true };
    let registry = Arc::new(registry);
    let answering = Arc::clone(&registry);
    let server = Server::start(move |request| answering.answer(request)).await;
    assert_eq!(push(&server.repository(), &content).await.unwrap(), Pushed::Uploaded);
    assert!(registry.done.load(Ordering::Relaxed));
    assert!(*registry.stored.lock().unwrap() == content);
    assert_eq!(server.count("POST"), 1);
}

#[tokio::test]
async fn t53_where_a_cut_upload_is_lost_it_is_sent_anew_in_parts() {
    let content = noise(9_000_000);
    let registry =
        Cutting { stored: Mutex::default(), most: 5_000_000, done: AtomicBool::new(false), keeps: false };
    let registry = Arc::new(registry);
    let answering = Arc::clone(&registry);
    let server = Server::start(move |request| answering.answer(request)).await;
    let mut options = options();
    options.retry.attempts = 8;
    assert_eq!(push(&server.repository_with(options), &content).await.unwrap(), Pushed::Uploaded);
    assert!(*registry.stored.lock().unwrap() == content);
    assert!(server.count("PATCH") >= 2);
}

#[tokio::test]
async fn t200_a_registry_that_keeps_a_byte_of_each_part_is_given_up() {
    let kept = AtomicUsize::new(100_000);
    let server = Server::start(move |r| {
        let range = || format!("0-{}", kept.load(Ordering::Relaxed) - 1);
        match r.method.as_str() {
            "POST" => opened(),
            "GET" if r.path.contains("/uploads/") => Reply::new(204).with("range", range()),
            "PATCH" => {
                kept.fetch_add(1, Ordering::Relaxed);
                Reply::new(202).with("range", range()).with("location", &r.path)
            }
            "PUT" => Reply::new(0),
            "DELETE" => Reply::new(204),
            _ => Reply::new(404),
        }
    });
    let server = server.await;
    let mut options = options();
    options.retry.attempts = 4;
    let error = push(&server.repository_with(options), &noise(200_000)).await.unwrap_err();
    assert!(
        matches!(&error, RegistryError::Protocol { detail, .. } if detail.contains("keeps 1 of ")),
        "{error}"
    );
    assert!(server.count("PATCH") <= 4, "{}", server.count("PATCH"));
}

#[tokio::test]
async fn t119_an_upload_that_the_registry_has_lost_track_of_is_started_again() {
    let content = noise(4_000_000);
    let stored = Arc::new(Mutex::new(Vec::new()));
    let (posts, cut) = (AtomicUsize::new(0), AtomicBool::new(false));
    let keeping = Arc::clone(&stored);
    // As Gitea: after a part that was cut, every other part is an error, though the offset is the one before it.
    let server = Server::start(move |r| {
        let mut stored = keeping.lock().unwrap();
        let range = format!("0-{}", stored.len().saturating_sub(1));
        let second = posts.load(Ordering::Relaxed) == 2 && !stored.is_empty();
        match r.method.as_str() {
            "POST" => {
                posts.fetch_add(1, Ordering::Relaxed);
                stored.clear();
                opened()
            }
            "PUT" if posts.load(Ordering::Relaxed) == 1 => Reply::new(0),
            "GET" if stored.is_empty() => Reply::new(404),
            "GET" => Reply::new(204).with("range", range),
            "PATCH" if second => Reply::new(if cut.swap(true, Ordering::Relaxed) { 500 } else { 0 }),
            "PATCH" | "PUT" => {
                stored.extend_from_slice(&r.body);
                let range = format!("0-{}", stored.len() - 1);
                Reply::new(if r.method == "PUT" { 201 } else { 202 })
                    .with("range", range)
                    .with("location", &r.path)
            }
            _ => Reply::new(204),
        }
    });
    let server = server.await;
    let mut options = options();
    options.retry.attempts = 8;
    assert_eq!(push(&server.repository_with(options), &content).await.unwrap(), Pushed::Uploaded);
    assert!(*stored.lock().unwrap() == content);
    assert_eq!(server.count("POST"), 3);
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
    assert_eq!(push(&repository, &noise(600_000)).await.unwrap(), Pushed::Uploaded);
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
    let put = server.seen().pop().unwrap();
    assert!(put.is("PUT", "/v2/team/app/manifests/v1"));
    assert_eq!((put.header("content-type"), put.body.as_slice()), (Some(OCI_MANIFEST), &b"{}"[..]));
    let other = Selector::Digest(Digest::of(b"other"));
    assert!(matches!(
        repository.push_manifest(&other, OCI_MANIFEST, bytes).await,
        Err(RegistryError::Source { .. })
    ));
}

/// A registry that stores what is put, and then answers like this. The second answer counts the bytes of all bodies.
async fn losing(answer: Reply, head: Reply) -> (Server, Arc<AtomicUsize>) {
    let (stored, bytes) = (AtomicBool::new(false), Arc::<AtomicUsize>::default());
    let counted = Arc::clone(&bytes);
    let server = Server::start(move |r| match r.method.as_str() {
        "POST" => opened(),
        "PUT" => {
            counted.fetch_add(r.body.len(), Ordering::Relaxed);
            stored.store(true, Ordering::Relaxed);
            answer.clone()
        }
        "HEAD" if stored.load(Ordering::Relaxed) => head.clone(),
        "GET" if r.header("range").is_some() && stored.load(Ordering::Relaxed) => {
            Reply { status: 206, ..Reply::ok(b"x") }.with("content-range", "bytes 0-0/700000")
        }
        _ => Reply::new(404),
    });
    (server.await, bytes)
}

#[tokio::test]
async fn t99_a_lost_answer_to_the_last_request_costs_a_question_and_not_the_blob() {
    let content = noise(700_000);
    let there = || Reply::new(200).with("content-length", content.len());
    // Also where HEAD is of no use.
    for head in [there(), Reply::new(403), Reply::new(200).with("content-length", 0)] {
        for answer in [0, 500, 502, 503, 504, 404] {
            let (server, bytes) = losing(Reply::new(answer), head.clone()).await;
            assert_eq!(push(&server.repository(), &content).await.unwrap(), Pushed::Uploaded, "{answer}");
            assert_eq!(bytes.load(Ordering::Relaxed), content.len(), "{answer}");
        }
    }
    // With the last try, too.
    let mut options = options();
    options.retry.attempts = 1;
    let (server, _) = losing(Reply::new(504), there()).await;
    assert_eq!(push(&server.repository_with(options), &content).await.unwrap(), Pushed::Uploaded);
}

#[tokio::test]
async fn t99_what_was_not_stored_is_sent_again() {
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |r| match r.method.as_str() {
        "POST" => opened(),
        "PUT" if tries.fetch_add(1, Ordering::Relaxed) == 0 => Reply::new(504),
        "PUT" | "PATCH" => Reply::new(if r.method == "PUT" { 201 } else { 202 })
            .with("location", "/v2/team/app/blobs/uploads/1"),
        _ => Reply::new(404),
    });
    let server = server.await;
    assert_eq!(push(&server.repository(), &noise(700_000)).await.unwrap(), Pushed::Uploaded);
    assert_eq!((server.count("HEAD"), server.count("PUT")), (1, 2));
}

#[tokio::test]
async fn t101_a_mount_that_is_refused_or_fails_is_an_upload() {
    let from = "other/app".parse().unwrap();
    let digest = Digest::of(b"x");
    for status in [0, 400, 401, 403, 404, 405, 409, 500, 501, 502, 503, 504] {
        let refused = Reply::new(status).with("www-authenticate", "Basic realm=\"x\"");
        let server = Server::start(move |r| match r.method.as_str() {
            "POST" if r.path.contains("mount=") => refused.clone(),
            "POST" => opened(),
            _ => Reply::new(201),
        });
        let server = server.await;
        let keychain = Keychain::empty().with(&server.host, "me", crate::redact::Secret::new("pw"));
        let repository = server.repository_with(ClientOptions { keychain, ..options() });
        let source = Arc::new(Slice(b"x".to_vec()));
        let pushed = repository.push_blob(&digest, 1, source, Some(&from)).await.unwrap();
        assert_eq!(pushed, Pushed::Uploaded, "{status}");
        assert!(server.count("POST") <= 4, "{status}: {}", server.count("POST"));
    }
}

#[tokio::test]
async fn t101_nothing_is_mounted_across_two_credentials() {
    let server = Server::start(|r| match (r.method.as_str(), r.authorization()) {
        (_, None) => Reply::new(401).with("www-authenticate", "Basic realm=\"x\""),
        ("POST", _) => opened(),
        _ => Reply::new(201),
    });
    let server = server.await;
    let host = server.host.as_str();
    let text = format!(
        r#"{{"auths":{{"{host}/team":{{"auth":"bWU6YQ=="}},"{host}/other":{{"auth":"bWU6Yg=="}}}}}}"#
    );
    let keychain = Keychain::from_bytes("auth.json", text.as_bytes()).unwrap();
    let repository = server.repository_with(ClientOptions { keychain, ..options() });
    let push = async |from: &str| {
        let source = Arc::new(Slice(b"x".to_vec()));
        let from = from.parse().unwrap();
        repository.push_blob(&Digest::of(b"x"), 1, source, Some(&from)).await.unwrap();
        server.seen().iter().filter(|r| r.path.contains("mount=")).count()
    };
    assert_eq!(push("other/app").await, 0);
    assert_eq!(push("team/more").await, 1, "the same credentials");
}

#[tokio::test]
async fn t101_a_token_server_that_refuses_the_other_repository_costs_the_mount_only() {
    for status in [400, 401, 403] {
        let tokens =
            Server::start(move |r| match r.path.contains("other%2Fapp") || r.path.contains("other/app") {
                true => Reply::new(status),
                false => Reply::ok(br#"{"token":"t"}"#),
            });
        let tokens = tokens.await;
        let challenge = format!("Bearer realm=\"{}\",service=\"s\"", tokens.url("/token"));
        let server = Server::start(move |r| match (r.method.as_str(), r.authorization()) {
            (_, None) => Reply::new(401).with("www-authenticate", &challenge),
            ("POST", _) => opened(),
            _ => Reply::new(201),
        });
        let server = server.await;
        let (repository, source) = (server.repository(), Arc::new(Slice(b"x".to_vec())));
        let from = "other/app".parse().unwrap();
        let pushed = repository.push_blob(&Digest::of(b"x"), 1, source, Some(&from)).await.unwrap();
        assert_eq!(pushed, Pushed::Uploaded, "{status}");
    }
}

/// A registry that loses what was cut at first, refuses parts, and then takes the whole.
#[tokio::test]
async fn t101_where_parts_are_refused_the_blob_goes_in_one_request() {
    let content = noise(3_000_000);
    for status in [400, 403, 404, 405, 409, 411, 415, 416, 422, 501] {
        let tries = AtomicUsize::new(0);
        let server = Server::start(move |r| match r.method.as_str() {
            "POST" => opened(),
            "PUT" if tries.fetch_add(1, Ordering::Relaxed) == 0 => Reply::new(0),
            "PUT" => Reply::new(201),
            "PATCH" => Reply::new(status),
            _ => Reply::new(404),
        });
        let server = server.await;
        assert_eq!(push(&server.repository(), &content).await.unwrap(), Pushed::Uploaded, "{status}");
        assert_eq!((server.count("PATCH"), server.count("PUT")), (1, 2), "{status}");
        let last = server.seen().into_iter().rfind(|r| r.method == "PUT").unwrap();
        assert!(last.body == content, "{status}");
    }
}

/// A registry behind a proxy that lets bodies of so many bytes pass.
fn behind_proxy(most: usize) -> impl Fn(&Request) -> Reply + Send + Sync + 'static {
    let stored = Mutex::new(Vec::new());
    move |r| {
        if r.body.len() > most {
            return Reply::new(413);
        }
        let mut stored = stored.lock().unwrap();
        stored.extend_from_slice(&r.body);
        match r.method.as_str() {
            "POST" => {
                stored.clear();
                opened()
            }
            "PATCH" => Reply::new(202)
                .with("location", "/v2/team/app/blobs/uploads/1")
                .with("range", format!("0-{}", stored.len() - 1)),
            "PUT" => Reply::new(201).with("docker-content-digest", Digest::of(&stored)),
            _ => Reply::new(404),
        }
    }
}

#[tokio::test]
async fn t102_a_body_that_is_too_large_for_a_proxy_goes_in_smaller_parts() {
    let content = noise(9_000_000);
    let server = Server::start(behind_proxy(1 << 20)).await;
    let repository = server.repository();
    assert_eq!(push(&repository, &content).await.unwrap(), Pushed::Uploaded);
    let refused = |server: &Server| server.seen().iter().filter(|r| r.body.len() > 1 << 20).count();
    let (first, requests) = (refused(&server), server.seen().len());
    assert!(first <= 4, "{first}");
    // The next blob begins with parts that pass.
    assert_eq!(push(&repository, &noise(5_000_000)).await.unwrap(), Pushed::Uploaded);
    assert_eq!(refused(&server), first);
    assert!(server.seen().len() - requests <= 8);
}

#[tokio::test]
async fn t102_where_no_part_is_small_enough_the_proxy_s_limit_is_named() {
    for size in [100, 3_000_000] {
        let server = Server::start(behind_proxy(10)).await;
        let error = push(&server.repository(), &noise(size)).await.unwrap_err();
        assert!(matches!(error, RegistryError::Refused { status: 413, .. }), "{error}");
        assert!(error.help().unwrap().contains("client_max_body_size"));
        assert!(server.seen().len() < 12);
    }
}

#[tokio::test]
async fn an_upload_that_the_registry_loses_again_and_again_is_no_wrong_name() {
    let server = Server::start(|request| match request.method.as_str() {
        "POST" => Reply::new(202).with("location", "/v2/team/app/blobs/uploads/1"),
        _ => Reply { status: 404, ..Reply::ok(br#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#) },
    });
    let server = server.await;
    let source = Arc::new(Slice(b"x".to_vec()));
    let error = server.repository().push_blob(&Digest::of(b"x"), 1, source, None).await.unwrap_err();
    assert!(error.to_string().contains("BLOB_UPLOAD_UNKNOWN; it lost the upload"), "{error}");
    assert!(error.help().unwrap().contains("http.secret"), "{:?}", error.help());
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
