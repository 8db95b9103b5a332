// SPDX-License-Identifier: Apache-2.0
//! Uploads in parts, and proxies that limit the size of a request.

use super::*;

/// A registry that loses what was cut at first, refuses parts, and then accepts all of it in one request.
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
        assert_eq!(push(&server.repository(), &content).await.unwrap(), PushOutcome::Uploaded, "{status}");
        assert_eq!((server.count("PATCH"), server.count("PUT")), (1, 2), "{status}");
        let last = server.requests().into_iter().rfind(|r| r.method == "PUT").unwrap();
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
    assert_eq!(push(&repository, &content).await.unwrap(), PushOutcome::Uploaded);
    let refused = |server: &Server| server.requests().iter().filter(|r| r.body.len() > 1 << 20).count();
    let (first, requests) = (refused(&server), server.requests().len());
    assert!(first <= 4, "{first}");
    // The next blob begins with parts that pass.
    assert_eq!(push(&repository, &noise(5_000_000)).await.unwrap(), PushOutcome::Uploaded);
    assert_eq!(refused(&server), first);
    assert!(server.requests().len() - requests <= 8);
}

#[tokio::test]
async fn t102_where_no_part_is_small_enough_the_proxy_s_limit_is_named() {
    for size in [100, 3_000_000] {
        let server = Server::start(behind_proxy(10)).await;
        let error = push(&server.repository(), &noise(size)).await.unwrap_err();
        assert!(matches!(error, RegistryError::Refused { status: 413, .. }), "{error}");
        assert!(error.help().unwrap().contains("client_max_body_size"));
        assert!(server.requests().len() < 12);
    }
}
