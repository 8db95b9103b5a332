// SPDX-License-Identifier: Apache-2.0
//! Logging in, and who gets to see a login.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::error::{Classify, ErrorKind};
use crate::oci::reference::Selector;
use crate::redact::Secret;

const LOGIN: &str = "Basic bWU6aHVudGVyMg==";

fn logged_in(server: &Server) -> Repository {
    let keychain = Keychain::empty().with(&server.host, "me", Secret::new("hunter2"));
    server.repository_with(ClientOptions { keychain, ..options() })
}

#[tokio::test]
async fn t55_a_password_is_sent_to_who_asks_for_it_and_once_only_when_it_is_refused() {
    let server = Server::start(|request| match request.authorization() {
        Some(LOGIN) => Reply::ok(b"x"),
        _ => Reply::new(401).with("www-authenticate", "Basic realm=\"x\""),
    });
    let server = server.await;
    let repository = logged_in(&server);
    assert_eq!(fetch(&repository, b"x").await.unwrap(), b"x");
    assert_eq!(fetch(&repository, b"x").await.unwrap(), b"x");
    assert_eq!(server.count("GET"), 3, "the second blob is asked for with the password at once");

    let server = Server::start(|_| Reply::new(401).with("www-authenticate", "Basic realm=\"x\"")).await;
    let error = fetch(&logged_in(&server), b"x").await.unwrap_err();
    assert_eq!((error.kind(), server.count("GET")), (ErrorKind::Auth, 2));
    let error = fetch(&server.repository(), b"x").await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("no credentials were given") && shown.contains("team/app"), "{shown}");
}

#[tokio::test]
async fn t55_a_refusal_names_registry_repository_and_user_but_no_secret() {
    let server =
        Server::start(|_| Reply { status: 403, ..Reply::ok(br#"{"errors":[{"code":"DENIED"}]}"#) }).await;
    let text = r#"{"auths":{"HOST":{"auth":"bWU6aHVudGVyMg=="}}}"#.replace("HOST", server.host.as_str());
    let keychain = Keychain::from_bytes("/home/me/auth.json", text.as_bytes()).unwrap();
    let repository = server.repository_with(ClientOptions { keychain, ..options() });
    let error = fetch(&repository, b"x").await.unwrap_err();
    let shown = format!("{error} {error:?}");
    for part in [server.host.as_str(), "team/app", "/home/me/auth.json", "DENIED"] {
        assert!(shown.contains(part), "{shown}");
    }
    assert!(!shown.contains("hunter2") && !shown.contains("bWU6"), "{shown}");
    assert_eq!((error.kind(), server.count("GET")), (ErrorKind::Auth, 1));
}

#[tokio::test]
async fn t214_a_helper_that_is_not_there_matters_where_the_registry_refuses_to_do_without() {
    let (tokens, count) = token_server("").await;
    let realm = tokens.url("/token");
    let server = Server::start(move |request| match request.authorization() {
        Some(_) => Reply::ok(b"x"),
        None => Reply::new(401).with("www-authenticate", format!("Bearer realm=\"{realm}\"")),
    });
    let server = server.await;
    let text = r#"{"auths":{"HOST":{}},"credsStore":"krs-none.exe"}"#.replace("HOST", server.host.as_str());
    let keychain = Keychain::from_bytes("/home/me/config.json", text.as_bytes()).unwrap();
    let repository = server.repository_with(ClientOptions { keychain: keychain.clone(), ..options() });
    assert_eq!(fetch(&repository, b"x").await.unwrap(), b"x");
    assert_eq!(count.load(Ordering::Relaxed), 1, "an anonymous token");

    let server = Server::start(|_| Reply::new(401).with("www-authenticate", "Basic realm=\"x\"")).await;
    let repository = server.repository_with(ClientOptions { keychain, ..options() });
    let error = fetch(&repository, b"x").await.unwrap_err();
    let shown = error.to_string();
    assert!(shown.contains("docker-credential-krs-none.exe, which /home/me/config.json names"), "{shown}");
    assert_eq!(error.kind(), ErrorKind::Auth);
}

/// A token server that hands out `token-1`, `token-2`, ...
async fn token_server(more: &'static str) -> (Server, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let server = Server::start(move |_| {
        let n = counted.fetch_add(1, Ordering::Relaxed) + 1;
        Reply::ok(format!(r#"{{"token":"token-{n}"{more}}}"#).as_bytes())
    });
    (server.await, count)
}

fn bearer(realm: &str) -> Reply {
    Reply::new(401).with("www-authenticate", format!("Bearer realm=\"{realm}\",service=\"the registry\""))
}

#[tokio::test]
async fn a_token_is_fetched_once_for_many_requests() {
    let (tokens, _) = token_server("").await;
    let realm = tokens.url("/token?account=a");
    let server = Server::start(move |request| match request.authorization() {
        Some("Bearer token-1") => Reply::ok(b"x"),
        _ => bearer(&realm),
    });
    let server = server.await;
    let repository = logged_in(&server);
    let fetches = (0..20).map(|_| fetch(&repository, b"x"));
    for outcome in futures::future::join_all(fetches).await {
        assert_eq!(outcome.unwrap(), b"x");
    }
    let requests = tokens.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].authorization(), Some(LOGIN));
    assert_eq!(
        requests[0].path,
        "/token?account=a&service=the+registry&scope=repository%3Ateam%2Fapp%3Apull"
    );
    assert!(server.requests().iter().all(|request| request.authorization() != Some(LOGIN)));
}

#[tokio::test]
async fn t55_a_token_that_runs_out_in_the_middle_of_a_blob_is_renewed() {
    let (tokens, issued) = token_server("").await;
    let realm = tokens.url("/token");
    let content = noise(1 << 20);
    let served = content.clone();
    // Each token is good for one answer, and each answer is cut.
    let server = Server::start(move |request| {
        let newest = format!("Bearer token-{}", issued.load(Ordering::Relaxed));
        if request.authorization() != Some(&newest)
            || request.header("range").is_some() != (newest != "Bearer token-1")
        {
            return bearer(&realm);
        }
        let first = request.header("range").map_or(0, |r| r[6..r.len() - 1].parse().unwrap());
        let reply = Reply { cut: Some(600_000), status: 206, ..Reply::ok(&served[first..]) };
        match first {
            0 => Reply { status: 200, ..reply },
            _ => reply.with("content-range", format!("bytes {first}-1048575/1048576")),
        }
    });
    let server = server.await;
    assert_eq!(fetch(&logged_in(&server), &content).await.unwrap(), content);
    assert_eq!(tokens.count("GET"), 2);
}

#[tokio::test]
async fn a_token_is_renewed_before_its_time_is_over() {
    let (tokens, issued) = token_server(r#","expires_in":1"#).await;
    let realm = tokens.url("/token");
    let server = Server::start(move |request| match request.authorization() {
        Some(_) => Reply::ok(b"x"),
        None => bearer(&realm),
    });
    let server = server.await;
    let repository = logged_in(&server);
    fetch(&repository, b"x").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1000)).await;
    fetch(&repository, b"x").await.unwrap();
    assert_eq!(issued.load(Ordering::Relaxed), 2);
    assert_eq!(server.count("GET"), 3, "a registry does not have to refuse a token that has run out");
}

#[tokio::test]
async fn t55_tokens_that_are_never_good_enough_cause_no_storm() {
    let (tokens, issued) = token_server("").await;
    let realm = tokens.url("/token");
    let server = Server::start(move |_| bearer(&realm)).await;
    let error = fetch(&logged_in(&server), b"x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    assert!(server.count("GET") <= 3 && issued.load(Ordering::Relaxed) <= 2);
}

#[tokio::test]
async fn t55_credentials_that_the_token_server_refuses_are_named() {
    let tokens = Server::start(|_| Reply::new(401)).await;
    let realm = tokens.url("/token");
    let server = Server::start(move |_| bearer(&realm)).await;
    let error = fetch(&logged_in(&server), b"x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert!(error.to_string().contains("a token for"), "{error}");
    assert_eq!(tokens.count("GET"), 1);
}

#[tokio::test]
async fn an_identity_token_is_changed_for_an_access_token() {
    let tokens = Server::start(|_| Reply::ok(br#"{"access_token":"at","expires_in":300}"#)).await;
    let realm = tokens.url("/token");
    let server = Server::start(move |request| match request.authorization() {
        Some("Bearer at") => Reply::ok(b"x"),
        _ => bearer(&realm),
    });
    let server = server.await;
    let text = format!(r#"{{"auths":{{"{}/team":{{"identitytoken":"re fresh"}}}}}}"#, server.host);
    let keychain = Keychain::from_bytes("x", text.as_bytes()).unwrap();
    let repository = server.repository_with(ClientOptions { keychain, ..options() });
    assert_eq!(fetch(&repository, b"x").await.unwrap(), b"x");
    let request = tokens.requests().remove(0);
    assert!(request.is("POST", "/token"));
    assert_eq!(
        String::from_utf8(request.body).unwrap(),
        "grant_type=refresh_token&client_id=krs&service=the+registry&scope=repository%3Ateam%2Fapp%3Apull&refresh_token=re+fresh"
    );
}

#[tokio::test]
async fn t57_a_realm_of_another_domain_gets_no_credentials() {
    let server = Server::start(|_| bearer("https://evil.example.net/token?x=1")).await;
    let error = fetch(&logged_in(&server), b"x").await.unwrap_err();
    assert!(matches!(error, RegistryError::Realm { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Trust);
    assert!(error.to_string().contains("https://evil.example.net/token"), "{error}");
    assert_eq!(server.count("GET"), 1);
}

#[tokio::test]
async fn t57_a_redirect_to_another_server_does_not_carry_the_credentials() {
    let storage = Server::start(|_| Reply::ok(b"x")).await;
    let away = storage.url("/bucket/x?sig=1");
    let server = Server::start(move |request| match request.authorization() {
        Some(_) => Reply::new(307).with("location", &away),
        None => Reply::new(401).with("www-authenticate", "Basic realm=\"x\""),
    });
    let server = server.await;
    assert_eq!(fetch(&logged_in(&server), b"x").await.unwrap(), b"x");
    let requests = storage.requests();
    assert_eq!(
        (requests.len(), requests[0].authorization(), requests[0].path.as_str()),
        (1, None, "/bucket/x?sig=1")
    );
}

#[tokio::test]
async fn t57_redirects_within_the_registry_carry_the_credentials_and_are_limited() {
    let server = Server::start(|request| match (request.authorization(), request.path.contains("/moved")) {
        (None, _) => Reply::new(401).with("www-authenticate", "Basic realm=\"x\""),
        (Some(_), false) => Reply::new(302).with("location", "/moved"),
        (Some(_), true) => Reply::ok(b"x"),
    });
    let server = server.await;
    assert_eq!(fetch(&logged_in(&server), b"x").await.unwrap(), b"x");
    let circle = Server::start(|request| Reply::new(302).with("location", &request.path)).await;
    let error = fetch(&circle.repository(), b"x").await.unwrap_err();
    assert!(matches!(error, RegistryError::Redirect { .. }), "{error}");
    assert_eq!(circle.count("GET"), 6);
    let file = Server::start(|_| Reply::new(302).with("location", "file:///etc/passwd")).await;
    let error = fetch(&file.repository(), b"x").await.unwrap_err();
    assert!(matches!(error, RegistryError::Redirect { .. }), "{error}");
}

#[tokio::test]
async fn t57_an_upload_elsewhere_does_not_carry_the_credentials() {
    let storage = Server::start(|_| Reply::new(201)).await;
    let away = storage.url("/upload");
    let server = Server::start(move |request| match request.authorization() {
        Some(_) => Reply::new(202).with("location", &away),
        None => Reply::new(401).with("www-authenticate", "Basic realm=\"x\""),
    });
    let server = server.await;
    let pushed =
        logged_in(&server).push_blob(&Digest::of(b"x"), 1, Arc::new(Slice(b"x".to_vec())), None).await;
    assert_eq!(pushed.unwrap(), PushOutcome::Uploaded);
    let requests = storage.requests();
    assert_eq!((requests.len(), requests[0].authorization()), (1, None));
}

#[tokio::test]
async fn an_anonymous_token_is_requested_without_credentials() {
    let (tokens, _) = token_server("").await;
    let realm = tokens.url("/token");
    let server = Server::start(move |request| match request.authorization() {
        Some("Bearer token-1") => Reply::new(404),
        _ => bearer(&realm),
    });
    let server = server.await;
    let tag: Selector = "v1".parse().unwrap();
    assert_eq!(server.repository().head_manifest(&tag).await.unwrap(), None);
    assert_eq!(tokens.requests()[0].authorization(), None);
}

#[tokio::test]
async fn each_path_of_a_registry_can_have_credentials_of_its_own() {
    // `me:app` and `me:rest` in base64.
    let (app, rest) = ("bWU6YXBw", "bWU6cmVzdA==");
    let server = Server::start(move |request| {
        let wanted = if request.path.starts_with("/v2/team/app/") { app } else { rest };
        match request.authorization() {
            Some(given) if given == format!("Basic {wanted}") => Reply::ok(b"x"),
            _ => Reply::new(401).with("www-authenticate", "Basic realm=\"x\""),
        }
    });
    let server = server.await;
    let host = server.host.as_str();
    let text =
        format!(r#"{{"auths":{{"{host}/team/app":{{"auth":"{app}"}},"{host}":{{"auth":"{rest}"}}}}}}"#);
    let keychain = Keychain::from_bytes("auth.json", text.as_bytes()).unwrap();
    let repository = server.repository_with(ClientOptions { keychain, ..options() });
    for name in ["team/app", "team/other", "app"] {
        assert_eq!(fetch(&repository.sibling(&name.parse().unwrap()), b"x").await.unwrap(), b"x", "{name}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn t92_a_helper_that_hangs_costs_its_time_limit_once_and_not_for_every_image() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let script = format!("#!/bin/sh\necho asked >> {}\nexec sleep 100\n", log.display());
    let server = Server::start(|_| Reply::new(401).with("www-authenticate", "Basic realm=\"x\"")).await;
    let keychain =
        Keychain::with_helper(folder.path(), &script, server.host.as_str(), Duration::from_millis(300));
    let repository = server.repository_with(ClientOptions { keychain, ..options() });
    for outcome in futures::future::join_all((0..20).map(|_| fetch(&repository, b"x"))).await {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
        assert!(error.to_string().contains("docker-credential-test"), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "asked\n");
}

/// A token server for the repositories below `namespace`, which refuses others, and hands out the token `NAMESPACE`.
async fn tokens_for(namespace: &'static str) -> Server {
    let server =
        Server::start(move |request| match request.path.contains(&format!("repository%3A{namespace}%2F")) {
            true => Reply::ok(format!(r#"{{"token":"{namespace}"}}"#).as_bytes()),
            false => Reply::new(403),
        });
    server.await
}

#[tokio::test]
async fn t116_repositories_of_one_registry_can_have_token_servers_of_their_own() {
    let (one, two) = (tokens_for("one").await, tokens_for("two").await);
    let realms = [one.url("/token"), two.url("/token")];
    let server = Server::start(move |request| {
        let (namespace, realm) = if request.path.starts_with("/v2/one/") { ("one", 0) } else { ("two", 1) };
        match request.authorization() {
            Some(given) if given == format!("Bearer {namespace}") => Reply::ok(b"x"),
            _ => {
                let own = request.path.split('/').take(4).skip(2).collect::<Vec<_>>().join("/");
                let more = format!("{own}/of-the-challenge");
                let realm = &realms[realm];
                let challenge = format!("Bearer realm=\"{realm}\",scope=\"repository:{more}:pull\"");
                Reply::new(401).with("www-authenticate", challenge)
            }
        }
    });
    let server = server.await;
    let repository = logged_in(&server);
    let names = (0..10).flat_map(|n| [format!("one/app{n}"), format!("two/app{n}")]);
    let repositories = names.map(|name| repository.sibling(&name.parse().unwrap())).collect::<Vec<_>>();
    for _ in 0..3 {
        let fetches = repositories.iter().map(|repository| fetch(repository, b"x"));
        for outcome in futures::future::join_all(fetches).await {
            assert_eq!(outcome.unwrap(), b"x");
        }
    }
    let refused = server.requests().iter().filter(|request| request.authorization().is_none()).count();
    assert!(refused <= 1 + 20, "{refused}: the challenge of each repository is learnt once");
    for request in one.requests().iter().chain(&two.requests()) {
        let scopes =
            request.path.split(['?', '&']).filter_map(|pair| pair.strip_prefix("scope=repository%3A"));
        let own = scopes.map(|scope| scope.split("%2Fof").next().unwrap().split("%3A").next().unwrap());
        let own = own.collect::<std::collections::HashSet<_>>();
        assert_eq!(own.len(), 1, "nothing of what another repository was asked for: {}", request.path);
    }
}

#[tokio::test]
async fn one_request_learns_what_a_registry_wants_for_all_that_wait() {
    for wanted in ["Basic", "Bearer"] {
        let (tokens, _) = token_server("").await;
        let realm = tokens.url("/token");
        let server = Server::start(move |request| match request.authorization() {
            Some(_) => Reply::ok(b"x"),
            None if wanted == "Basic" => Reply::new(401).with("www-authenticate", "Basic realm=\"x\""),
            None => bearer(&realm),
        });
        let server = server.await;
        let mut options = options();
        options.keychain = Keychain::empty().with(&server.host, "me", Secret::new("hunter2"));
        // Without a probe for TLS.
        options.plain_http = vec![server.host.clone()];
        let repository = server.repository_with(options);
        let names = (0..16).map(|n| repository.sibling(&format!("team/app{n}").parse().unwrap()));
        let repositories = names.collect::<Vec<_>>();
        let fetches = repositories.iter().map(|repository| fetch(repository, b"x"));
        for outcome in futures::future::join_all(fetches).await {
            assert_eq!(outcome.unwrap(), b"x");
        }
        let refused = server.requests().iter().filter(|request| request.authorization().is_none()).count();
        assert_eq!((refused, server.count("GET")), (1, 17), "{wanted}");
    }
}

#[tokio::test]
async fn t57_a_password_goes_to_the_registry_if_its_token_server_is_in_another_domain() {
    let server = Server::start(|request| match request.authorization() {
        Some(LOGIN) => Reply::ok(b"x"),
        _ => Reply::new(401)
            .with("www-authenticate", "Bearer realm=\"https://evil.example.net/token\"")
            .with("www-authenticate", "Basic realm=\"x\""),
    });
    let server = server.await;
    assert_eq!(fetch(&logged_in(&server), b"x").await.unwrap(), b"x");
}

#[tokio::test]
async fn tokens_are_asked_for_with_what_the_registry_says_and_read_as_servers_write_them() {
    let answers = [
        r#"{"token":"t"}"#,
        r#"{"access_token":"t","expires_in":"300"}"#,
        r#"{"token":"","access_token":"t","expires_in":300.5}"#,
        r#"{"token":"t","access_token":"other","expires_in":-1,"issued_at":"yesterday"}"#,
        r#"{"token":"t","expires_in":null}"#,
    ];
    for answer in answers {
        let tokens = Server::start(move |_| Reply::ok(answer.as_bytes())).await;
        let challenge =
            format!("Bearer realm=\"{}\",scope=\"repository:library/app:pull\"", tokens.url("/token"));
        let server = Server::start(move |request| match request.authorization() {
            Some("Bearer t") => Reply::ok(b"x"),
            _ => Reply::new(401).with("www-authenticate", &challenge),
        });
        let server = server.await;
        assert_eq!(fetch(&logged_in(&server), b"x").await.unwrap(), b"x", "{answer}");
        let path = tokens.requests().remove(0).path;
        for scope in ["repository%3Ateam%2Fapp%3Apull", "repository%3Alibrary%2Fapp%3Apull"] {
            assert!(path.contains(scope), "{path}");
        }
    }
}

#[tokio::test]
async fn a_refusal_names_the_user() {
    let server = Server::start(|_| Reply::new(401).with("www-authenticate", "Basic realm=\"x\"")).await;
    let text = r#"{"auths":{"HOST":{"auth":"bWU6aHVudGVyMg=="}}}"#.replace("HOST", server.host.as_str());
    let keychain = Keychain::from_bytes("/home/me/auth.json", text.as_bytes()).unwrap();
    let repository = server.repository_with(ClientOptions { keychain, ..options() });
    let error = fetch(&repository, b"x").await.unwrap_err();
    let shown = error.to_string();
    for part in ["refused user `me`", "/home/me/auth.json", "wrong or expired password"] {
        assert!(shown.contains(part), "{shown}");
    }
    assert!(
        error.help().unwrap().starts_with("if the password is wrong or expired, replace it"),
        "{:?}",
        error.help()
    );
}

#[tokio::test]
async fn t217_logging_in_is_advised_only_if_no_credentials_were_used() {
    let server = Server::start(|_| Reply { status: 403, ..Reply::ok(b"{}") }).await;
    let help = |error: RegistryError| error.help().unwrap();
    let without = help(fetch(&server.repository(), b"x").await.unwrap_err());
    assert!(without.contains("krs login"), "{without}");
    let with = help(fetch(&logged_in(&server), b"x").await.unwrap_err());
    // No challenge asked for the credentials, and they are there all the same.
    assert!(with.contains("ask for the permission") && !with.contains("login"), "{with}");
}
