// SPDX-License-Identifier: Apache-2.0
//! Uploads that are cut, and whose answers the registry loses.

use std::sync::atomic::AtomicBool;

use super::*;

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
async fn t53_an_interrupted_upload_resumes_at_the_offset_of_the_registry() {
    let content = noise(3_000_000);
    let registry =
        Cutting { stored: Mutex::default(), most: 250_000, done: AtomicBool::new(false), keeps: true };
    let registry = Arc::new(registry);
    let answering = Arc::clone(&registry);
    let server = Server::start(move |request| answering.answer(request)).await;
    assert_eq!(push(&server.repository(), &content).await.unwrap(), PushOutcome::Uploaded);
    assert!(registry.done.load(Ordering::Relaxed));
    assert!(*registry.stored.lock().unwrap() == content);
    assert_eq!(server.count("POST"), 1);
}

#[tokio::test]
async fn t53_an_upload_that_the_registry_lost_is_sent_again_in_parts() {
    let content = noise(9_000_000);
    let registry =
        Cutting { stored: Mutex::default(), most: 5_000_000, done: AtomicBool::new(false), keeps: false };
    let registry = Arc::new(registry);
    let answering = Arc::clone(&registry);
    let server = Server::start(move |request| answering.answer(request)).await;
    let mut options = options();
    options.retry.attempts = 8;
    assert_eq!(push(&server.repository_with(options), &content).await.unwrap(), PushOutcome::Uploaded);
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
        matches!(&error, RegistryError::Protocol { detail, .. } if detail.contains("the upload session was lost: 1 of ")),
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
    assert_eq!(push(&server.repository_with(options), &content).await.unwrap(), PushOutcome::Uploaded);
    assert!(*stored.lock().unwrap() == content);
    assert_eq!(server.count("POST"), 3);
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
            assert_eq!(
                push(&server.repository(), &content).await.unwrap(),
                PushOutcome::Uploaded,
                "{answer}"
            );
            assert_eq!(bytes.load(Ordering::Relaxed), content.len(), "{answer}");
        }
    }
    // With the last try, too.
    let mut options = options();
    options.retry.attempts = 1;
    let (server, _) = losing(Reply::new(504), there()).await;
    assert_eq!(push(&server.repository_with(options), &content).await.unwrap(), PushOutcome::Uploaded);
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
    assert_eq!(push(&server.repository(), &noise(700_000)).await.unwrap(), PushOutcome::Uploaded);
    assert_eq!((server.count("HEAD"), server.count("PUT")), (1, 2));
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
    assert!(error.to_string().contains("BLOB_UPLOAD_UNKNOWN; the upload session was lost"), "{error}");
    assert!(error.help().unwrap().contains("http.secret"), "{:?}", error.help());
}
