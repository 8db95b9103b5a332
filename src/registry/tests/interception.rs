// SPDX-License-Identifier: Apache-2.0
//! Proxies, login pages and registries that do not know under which name they are reached. (T-57, T-117)

use super::*;
use crate::error::{Classify, ErrorKind};
use crate::oci::OCI_MANIFEST;
use crate::oci::reference::Selector;

const PAGE: &[u8] = b"<!DOCTYPE html><html><head><title>Guest  network: sign in</title></head></html>";

fn page() -> Reply {
    Reply::ok(PAGE).with("content-type", "text/html; charset=utf-8")
}

fn is_named(error: &RegistryError) {
    assert!(matches!(error, RegistryError::Intercepted { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    assert!(text.contains("a web page (text/html, title `Guest network: sign in`)"), "{text}");
    assert!(text.contains("a proxy or a sign-in page is in between"), "{text}");
    assert!(error.help().unwrap().contains("NO_PROXY"));
}

#[tokio::test]
async fn t117_a_web_page_in_place_of_a_list_of_referrers_is_named_and_the_tag_can_be_asked() {
    const TYPE: &str = "application/vnd.oci.image.index.v1+json";
    let (subject, referrer) = (Digest::of(b"image"), Digest::of(b"signature"));
    let list = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{referrer}","size":9}}]}}"#
    );
    let server = Server::start(move |request| match request.path.contains("/referrers/") {
        true => page(),
        false if request.path.contains("sha256-") => Reply::ok(list.as_bytes()).with("content-type", TYPE),
        false => Reply::new(404),
    });
    let server = server.await;
    let repository = server.repository();
    is_named(&repository.referrers_by_api(&subject).await.unwrap_err());
    let ReferrersTag::List(bytes) = repository.referrers_tag(&subject).await.unwrap() else { panic!() };
    assert_eq!(ReferrerList::parse(&bytes).unwrap().found[0].digest, referrer);
    // A page that is called a list, and a list that is encoded.
    let server = Server::start(|_| Reply::ok(PAGE).with("content-type", TYPE)).await;
    is_named(&server.repository().referrers_by_api(&subject).await.unwrap_err());
    let encoded = Reply::ok(b"\x1f\x8b\x08").with("content-type", TYPE).with("content-encoding", "gzip");
    let server = Server::start(move |_| encoded.clone()).await;
    let error = server.repository().referrers_by_api(&subject).await.unwrap_err();
    assert!(error.to_string().contains("Content-Encoding: gzip"), "{error}");
    // Anything else that is no list says that there is no API.
    let server = Server::start(|_| Reply::ok(b"{}").with("content-type", "application/json")).await;
    let answer = server.repository().referrers_by_api(&subject).await.unwrap();
    assert!(matches!(answer, ReferrersApi::Unsupported), "{answer:?}");
}

#[tokio::test]
async fn t117_a_web_page_is_named_whatever_was_asked_for() {
    let server = Server::start(|_| page()).await;
    let repository = server.repository();
    let tag: Selector = "v1".parse().unwrap();
    is_named(&repository.manifest(&tag).await.unwrap_err());
    is_named(&repository.manifest(&Selector::Digest(Digest::of(b"x"))).await.unwrap_err());
    is_named(&repository.head_manifest(&tag).await.unwrap_err());
    is_named(&tags_of(&repository).await.unwrap_err());
    is_named(&fetch(&repository, b"x").await.unwrap_err());
    let bytes = Bytes::from_static(b"{}");
    is_named(&repository.push_manifest(&tag, OCI_MANIFEST, bytes).await.unwrap_err());
    let source = Arc::new(Slice(b"x".to_vec()));
    is_named(&repository.push_blob(&Digest::of(b"x"), 1, source, None).await.unwrap_err());
    is_named(&Client::new(options()).unwrap().ping(&server.host).await.unwrap_err());
    let requests = server.requests().len();
    // One HEAD is followed by its GET.
    assert!(requests <= 9, "{requests} requests: a page does not go away by a retry");
}

#[tokio::test]
async fn t117_a_page_of_the_size_of_a_blob_is_named_too() {
    let server = Server::start(|_| page()).await;
    let content = vec![0; PAGE.len()];
    let error = fetch(&server.repository(), &content).await.unwrap_err();
    assert!(error.to_string().contains("a web page (text/html)"), "{error}");
}

#[tokio::test]
async fn t117_a_page_without_a_length_is_named_too() {
    // Longer than the blob.
    let server = Server::start(|_| Reply { endless: true, ..page() }).await;
    is_named(&fetch(&server.repository(), b"x").await.unwrap_err());
    // Shorter: the type of the page is known, and its beginning was taken for content.
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n";
    let (host, task) = super::pull::verbatim([&head[..], PAGE].concat()).await;
    let options = ClientOptions { plain_http: vec![host.clone()], ..options() };
    let repository = Client::new(options).unwrap().repository(&host, &"team/app".parse().unwrap());
    let error = fetch(&repository, &[0; 500]).await.unwrap_err();
    assert!(error.to_string().contains("a web page (text/html)"), "{error}");
    task.abort();
}

#[tokio::test]
async fn t117_a_login_page_elsewhere_and_a_token_server_that_is_one_are_named() {
    let portal = Server::start(|_| page()).await;
    let away = portal.url("/login?from=x");
    let server = Server::start(move |_| Reply::new(302).with("location", &away)).await;
    let error = server.repository().manifest(&"v1".parse().unwrap()).await.unwrap_err();
    is_named(&error);
    assert!(error.to_string().starts_with(portal.host.as_str()), "{error}");

    let realm = portal.url("/token");
    let server =
        Server::start(move |_| Reply::new(401).with("www-authenticate", format!("Bearer realm=\"{realm}\"")));
    let server = server.await;
    let error = server.repository().manifest(&"v1".parse().unwrap()).await.unwrap_err();
    is_named(&error);
    let help = error.help().unwrap();
    assert!(
        help.contains(&format!("open {} ", portal.url("/"))) && help.contains("NO_PROXY=127.0.0.1"),
        "{help}"
    );
}

#[tokio::test]
async fn t117_an_address_to_open_has_the_scheme_of_the_request() {
    let server = Server::start(|_| page()).await;
    let error = tags_of(&server.repository()).await.unwrap_err();
    assert!(error.help().unwrap().contains(&format!("open {} ", server.url("/v2/"))), "{:?}", error.help());
}

#[tokio::test]
async fn t117_a_failure_of_the_token_server_names_the_token_server() {
    for (status, kind) in [
        (500, ErrorKind::Unavailable),
        (302, ErrorKind::Other),
        (404, ErrorKind::Other),
        (418, ErrorKind::Other),
    ] {
        let tokens = Server::start(move |_| Reply::new(status)).await;
        let (realm, host) = (tokens.url("/token"), tokens.host.to_string());
        let server = Server::start(move |_| {
            Reply::new(401).with("www-authenticate", format!("Bearer realm=\"{realm}\""))
        });
        let server = server.await;
        let mut options = options();
        options.retry.attempts = 1;
        let error = server.repository_with(options).manifest(&"v1".parse().unwrap()).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{text}");
        assert!(
            text.starts_with(&host) || text.starts_with(&format!("invalid response of {host}")),
            "{text}"
        );
        assert!(text.contains(server.host.as_str()), "for which registry: {text}");
    }
    // What it says of the credentials is about those of the registry.
    let tokens = Server::start(|_| Reply::new(401)).await;
    let realm = tokens.url("/token");
    let server =
        Server::start(move |_| Reply::new(401).with("www-authenticate", format!("Bearer realm=\"{realm}\"")));
    let server = server.await;
    let error = server.repository().manifest(&"v1".parse().unwrap()).await.unwrap_err();
    assert!(error.help().unwrap().contains(&format!("krs login {}", server.host)), "{:?}", error.help());
}

#[tokio::test]
async fn t117_a_page_with_an_error_keeps_the_errors_meaning() {
    for (status, kind) in
        [(403, ErrorKind::Auth), (404, ErrorKind::Incomplete), (502, ErrorKind::Unavailable)]
    {
        let server = Server::start(move |_| Reply { status, ..page() }).await;
        let mut options = options();
        options.retry.attempts = 1;
        let error = fetch(&server.repository_with(options), b"x").await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains("title `Guest network: sign in`"), "{error}");
    }
    // Only what is in between a client and the registry answers with this one.
    let server = Server::start(move |_| Reply { status: 511, ..page() }).await;
    is_named(&fetch(&server.repository(), b"x").await.unwrap_err());
}

#[tokio::test]
async fn t117_content_that_was_encoded_on_the_way_is_not_called_damaged() {
    const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;
    let encoded = |body: &'static [u8]| {
        move |_: &Request| Reply::ok(body).with("content-encoding", "gzip").with("content-type", OCI_MANIFEST)
    };
    let server = Server::start(encoded(b"\x1f\x8b\x08\x00 and so on")).await;
    let repository = server.repository();
    let digest = Selector::Digest(Digest::of(MANIFEST));
    let tag: Selector = "v1".parse().unwrap();
    for error in [
        repository.manifest(&digest).await.unwrap_err(),
        repository.manifest(&tag).await.unwrap_err(),
        repository.head_manifest(&tag).await.unwrap_err(),
        fetch(&repository, MANIFEST).await.unwrap_err(),
        fetch(&repository, &[0; 21]).await.unwrap_err(),
        tags_of(&repository).await.unwrap_err(),
    ] {
        assert!(matches!(error, RegistryError::Intercepted { .. }), "{error}");
        assert!(error.to_string().contains("Content-Encoding: gzip"), "{error}");
    }
    assert!(server.requests().iter().all(|request| request.header("accept-encoding") == Some("identity")));
    // The registry's digest is that of what it sent.
    let encode = encoded(b"\x1f\x8b\x08\x00 and so on");
    let server = Server::start(move |r| encode(r).with("docker-content-digest", Digest::of(MANIFEST))).await;
    let error = server.repository().manifest(&tag).await.unwrap_err();
    assert!(error.to_string().contains("Content-Encoding: gzip"), "{error}");
    assert_eq!(server.count("GET"), 1, "the next answer would be encoded too");
    // Some storage keeps this header with layers that are compressed by themselves.
    let server = Server::start(encoded(MANIFEST)).await;
    for selector in [&digest, &tag] {
        assert_eq!(server.repository().manifest(selector).await.unwrap().bytes, MANIFEST);
    }
    assert_eq!(fetch(&server.repository(), MANIFEST).await.unwrap(), MANIFEST);
}

async fn push(repository: &Repository, content: &[u8]) -> Result<PushOutcome, RegistryError> {
    let source = Arc::new(Slice(content.to_vec()));
    repository.push_blob(&Digest::of(content), content.len() as u64, source, None).await
}

/// The registry redirects every request of a push once with `status`, within itself or to `storage`.
async fn redirecting(status: u16, storage: Option<String>) -> Server {
    let server = Server::start(move |request| {
        let at = storage.clone().unwrap_or_default();
        match (request.authorization(), request.path.contains("moved")) {
            (None, _) => Reply::new(401).with("www-authenticate", "Basic realm=\"x\""),
            (_, false) => {
                let sign = if request.path.contains('?') { '&' } else { '?' };
                Reply::new(status).with("location", format!("{at}{}{sign}moved", request.path))
            }
            _ => answer_to_push(request),
        }
    });
    server.await
}

/// The first upload is cut in half, so that there is a PATCH too.
fn answer_to_push(request: &Request) -> Reply {
    match request.method.as_str() {
        "POST" => Reply::new(202).with("location", "/v2/team/app/blobs/uploads/1"),
        _ => Reply::new(201),
    }
}

fn authenticated(server: &Server) -> Repository {
    let keychain = Keychain::empty().with(&server.host, "me", crate::redact::Secret::new("hunter2"));
    server.repository_with(ClientOptions { keychain, ..options() })
}

#[tokio::test]
async fn t57_content_is_sent_again_where_a_redirect_keeps_the_method() {
    let content = noise(700_000);
    for status in [307, 308] {
        let server = redirecting(status, None).await;
        let repository = authenticated(&server);
        assert_eq!(push(&repository, &content).await.unwrap(), PushOutcome::Uploaded, "{status}");
        let bytes = Bytes::from_static(b"{}");
        repository.push_manifest(&"v1".parse().unwrap(), OCI_MANIFEST, bytes).await.unwrap();
        let moved = server.requests().into_iter().filter(|r| r.path.contains("moved")).collect::<Vec<_>>();
        let methods = moved.iter().map(|request| request.method.as_str()).collect::<Vec<_>>();
        assert_eq!(methods, ["POST", "PUT", "PUT"]);
        assert!(moved[1].body == content && moved[2].body == b"{}");
        assert!(moved.iter().all(|request| request.authorization().is_some()), "the same server");
    }
}

#[tokio::test]
async fn t57_content_that_is_redirected_elsewhere_goes_without_credentials() {
    let storage = Server::start(answer_to_push).await;
    let server = redirecting(307, Some(storage.url(""))).await;
    let content = noise(600_000);
    assert_eq!(push(&authenticated(&server), &content).await.unwrap(), PushOutcome::Uploaded);
    let requests = storage.requests();
    assert!(requests.iter().all(|request| request.authorization().is_none()), "{requests:?}");
    assert!(requests.iter().any(|request| request.method == "PUT" && request.body == content));
}

#[tokio::test]
async fn t57_a_post_is_never_turned_into_a_get() {
    for status in [301, 302, 303] {
        let server = redirecting(status, None).await;
        let error = push(&authenticated(&server), b"x").await.unwrap_err();
        assert!(matches!(error, RegistryError::Redirect { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&status.to_string()) && text.contains("POST"), "{text}");
        assert_eq!(server.count("GET"), 0);
    }
}

#[tokio::test]
async fn t117_an_upload_at_a_name_that_only_the_registry_knows_is_explained() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let inner = format!("http://{nobody}/v2/team/app/blobs/uploads/1");
    let server = Server::start(move |r| match r.method.as_str() {
        "POST" => Reply::new(202).with("location", &inner),
        _ => Reply::new(404),
    });
    let server = server.await;
    let mut options = options();
    options.retry.attempts = 2;
    let error = push(&server.repository_with(options), b"x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("sent the client there"), "{error}");
    assert!(error.help().unwrap().contains("X-Forwarded-Host"), "{:?}", error.help());
}

/// What Go, nginx, Apache httpd, Tomcat and Jetty answer.
#[tokio::test]
async fn t230_plain_http_to_a_registry_with_tls_is_named() {
    for reply in [
        "Client sent an HTTP request to an HTTPS server.\n",
        "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n<body>\r\n",
        "Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />\n",
        "Bad Request\r\nThis combination of host and port requires TLS.\r\n",
        "<body><h1>Bad Request</h1><p>HTTP request to HTTPS port</p></body>\r\n",
    ] {
        let server = Server::start(|_| Reply { status: 400, ..Reply::ok(reply.as_bytes()) }).await;
        let repository =
            server.repository_with(ClientOptions { plain_http: vec![server.host.clone()], ..options() });
        let error = fetch(&repository, b"x").await.unwrap_err();
        assert!(matches!(error, RegistryError::PlainHttp { .. }), "{reply}: {error}");
        assert!(error.to_string().contains("it requires TLS"), "{error}");
        assert_eq!(error.help().unwrap(), format!("leave out --plain-http {}", server.host));
    }
}

/// Others close the connection, or send a TLS alert, as the server of this test does.
#[tokio::test]
async fn t230_plain_http_without_an_http_answer_makes_one_think_of_tls() {
    let closes = Server::start(|_| Reply::new(0)).await;
    let (alerts, _folder, _ca) = super::tls::serving("127.0.0.1", |_| Reply::ok(b"x")).await;
    for server in [&closes, &alerts] {
        let mut options_with_host = ClientOptions { plain_http: vec![server.host.clone()], ..options() };
        options_with_host.retry.attempts = 2;
        let error = fetch(&server.repository_with(options_with_host), b"x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "it may pass: {error}");
        let advice = format!("if the registry speaks TLS, leave out --plain-http {}", server.host);
        assert!(error.help().unwrap().starts_with(&advice), "{:?}", error.help());
    }
    // Nobody asked for plain HTTP here.
    let mut unasked = options();
    unasked.retry.attempts = 2;
    let error = fetch(&closes.repository_with(unasked), b"x").await.unwrap_err();
    assert!(!error.help().unwrap().contains("--plain-http"), "{:?}", error.help());
}

/// A server of plain HTTP calls what TLS begins with a bad request, as nginx and Go do.
#[tokio::test]
async fn t230_tls_to_a_registry_without_it_needs_the_right_port_and_no_ca() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string().parse::<RegistryHost>().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let _ = connection.read(&mut [0; 4096]).await.unwrap();
            connection.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await.unwrap();
        }
    });
    let client = Client::new(ClientOptions { insecure: vec![host.clone()], ..options() }).unwrap();
    let error = client.ping(&host).await.unwrap_err();
    assert!(error.to_string().contains("it does not speak TLS"), "{error}");
    let advice = format!("correct the port, or use --plain-http {host} if the registry has no TLS");
    assert_eq!(error.help().unwrap(), advice);
}

#[tokio::test]
async fn a_refused_connection_has_a_clear_message() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut options = options();
    options.retry.attempts = 1;
    let client = Client::new(options).unwrap();
    let error = client.ping(&address.to_string().parse().unwrap()).await.unwrap_err();
    let port = address.port();
    assert!(error.to_string().contains(&format!("nothing listens at 127.0.0.1 port {port}")), "{error}");
}

#[tokio::test]
async fn behind_a_proxy_the_message_does_not_guess_who_refused_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let proxy = Some(ProxyOptions { url: format!("http://me:hunter2@{address}"), no_proxy: Vec::new() });
    let mut options = ClientOptions { proxy, ..options() };
    options.retry.attempts = 1;
    let client = Client::new(options).unwrap();
    let error = client.ping(&"registry.invalid".parse().unwrap()).await.unwrap_err();
    let shown = format!("{error} {:?}", error.help());
    assert!(
        shown.contains(&format!("no connection to registry.invalid through the proxy {address}")),
        "{shown}"
    );
    assert!(!shown.contains("nothing listens") && !shown.contains("hunter2"), "{shown}");
}
