// SPDX-License-Identifier: Apache-2.0
//! Blobs that the registry has in another of its repositories.

use super::*;

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
        (201, PushOutcome::Mounted, 1),
        (202, PushOutcome::Uploaded, 1),
        (404, PushOutcome::Uploaded, 2),
        (405, PushOutcome::Uploaded, 2),
        (403, PushOutcome::Uploaded, 2),
    ] {
        let server = Server::start(mounting(status)).await;
        let source = Arc::new(Slice(b"x".to_vec()));
        let outcome = server.repository().push_blob(&digest, 1, source, Some(&from)).await.unwrap();
        assert_eq!((outcome, server.count("POST")), (pushed, posts), "{status}");
        let query = format!("?mount=sha256%3A{}&from=other%2Fapp", digest.hex());
        assert!(server.requests()[0].path.ends_with(&query), "{:?}", server.requests()[0]);
    }
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
        assert_eq!(pushed, PushOutcome::Uploaded, "{status}");
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
        server.requests().iter().filter(|r| r.path.contains("mount=")).count()
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
        assert_eq!(pushed, PushOutcome::Uploaded, "{status}");
    }
}
