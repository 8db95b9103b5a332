// SPDX-License-Identifier: Apache-2.0
//! Reading from registries that fail, lie or misbehave.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::error::{Classify, ErrorKind};
use crate::oci::OCI_MANIFEST;
use crate::oci::reference::Selector;

/// The part of `content` that a request asks for.
fn ranged(request: &Request, content: &[u8]) -> Reply {
    let range = request.header("range").and_then(|range| range.strip_prefix("bytes="));
    let Some(first) = range.and_then(|range| range.trim_end_matches('-').parse::<usize>().ok()) else {
        return Reply::ok(content);
    };
    let total = content.len();
    Reply { status: 206, ..Reply::ok(&content[first..]) }
        .with("content-range", format!("bytes {first}-{}/{total}", total - 1))
}

#[tokio::test]
async fn t53_a_blob_that_is_interrupted_repeatedly_is_resumed() {
    let content = noise(3 << 20);
    let served = content.clone();
    // Many more cuts than tries: each one brings the transfer on.
    let server = Server::start(move |request| Reply { cut: Some(200_000), ..ranged(request, &served) }).await;
    let repository = server.repository();
    assert_eq!(fetch(&repository, &content).await.unwrap(), content);
    let requests = server.requests();
    assert!(requests.len() > 10, "{}", requests.len());
    assert!(requests.iter().skip(1).all(|request| request.header("range").is_some()));
}

#[tokio::test]
async fn t53_without_progress_the_tries_come_to_an_end() {
    let server = Server::start(|_| Reply { cut: Some(10), ..Reply::ok(&[1; 1000]) }).await;
    let error = fetch(&server.repository(), &[2; 1000]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(server.count("GET"), 6);
}

#[tokio::test]
async fn t53_if_ranges_are_refused_the_received_bytes_are_skipped() {
    for refusal in [200, 206, 416] {
        let content = noise(500_000);
        let served = content.clone();
        let tries = AtomicUsize::new(0);
        let server = Server::start(move |request| {
            let complete = Reply::ok(&served);
            match (tries.fetch_add(1, Ordering::Relaxed), request.header("range")) {
                (0, None) => Reply { cut: Some(200_000), ..complete },
                (_, Some(_)) => {
                    Reply { status: refusal, ..complete }.with("content-range", "bytes 0-499999/500000")
                }
                (_, None) => complete,
            }
        });
        let server = server.await;
        assert_eq!(fetch(&server.repository(), &content).await.unwrap(), content);
        let unranged = server.requests().iter().filter(|request| request.header("range").is_none()).count();
        assert_eq!(unranged, if refusal == 200 { 1 } else { 2 });
    }
}

#[tokio::test]
async fn t53_a_stalled_transfer_is_resumed() {
    let content = noise(400_000);
    let served = content.clone();
    let server = Server::start(move |request| {
        let stall = request.header("range").is_none().then_some(150_000);
        Reply { stall, ..ranged(request, &served) }
    });
    let server = server.await;
    let options = ClientOptions { stall_timeout: Duration::from_millis(300), ..options() };
    assert_eq!(fetch(&server.repository_with(options), &content).await.unwrap(), content);
}

#[tokio::test]
async fn t54_a_registry_is_paused_for_as_long_as_it_requests() {
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |_| match tries.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::new(429).with("retry-after", "1"),
        _ => Reply::ok(b"x"),
    });
    let server = server.await;
    let messages = Arc::<Mutex<Vec<String>>>::default();
    let heard = Arc::clone(&messages);
    let notify: Notify = Arc::new(move |text: &str| heard.lock().unwrap().push(text.to_owned()));
    let begun = std::time::Instant::now();
    let repository = server.repository_with(ClientOptions { notify: Some(notify), ..options() });
    assert_eq!(fetch(&repository, b"x").await.unwrap(), b"x");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let messages = messages.lock().unwrap().join("\n");
    assert!(messages.contains("rate limited by") && messages.contains("paused for 1.0 s"), "{messages}");
}

#[tokio::test]
async fn t54_a_limit_that_stays_is_reported_as_such() {
    let server = Server::start(|_| Reply::new(429)).await;
    let mut options = options();
    options.retry.max_wait = Duration::from_millis(300);
    let error = fetch(&server.repository_with(options), b"x").await.unwrap_err();
    assert!(matches!(error, RegistryError::RateLimited { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn t53_one_budget_of_retries_counts_for_all_requests() {
    let server = Server::start(|_| Reply::new(503)).await;
    let mut options = options();
    options.retry.budget = 3;
    let repository = server.repository_with(options);
    assert!(fetch(&repository, b"x").await.is_err());
    assert!(fetch(&repository, b"y").await.is_err());
    assert_eq!(server.count("GET"), 2 + 3);
}

#[tokio::test]
async fn t90_wrong_content_is_fetched_again_and_then_refused() {
    let server = Server::start(|_| Reply::ok(b"evil!")).await;
    let error = fetch(&server.repository(), b"right").await.unwrap_err();
    assert!(matches!(error, RegistryError::Content { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(server.count("GET"), 2);
}

#[tokio::test]
async fn t90_damage_in_transit_is_repaired_by_a_retry() {
    let tries = AtomicUsize::new(0);
    let damaged = move |_: &Request| match tries.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::ok(b"rigXt"),
        _ => Reply::ok(b"right"),
    };
    let server = Server::start(damaged).await;
    assert_eq!(fetch(&server.repository(), b"right").await.unwrap(), b"right");
}

#[tokio::test]
async fn t22_never_more_bytes_are_taken_than_were_promised() {
    let server = Server::start(|_| Reply { endless: true, ..Reply::ok(&[0; 60_000]) }).await;
    let content = vec![0; 100_000];
    let mut memory = Memory::default();
    let repository = server.repository();
    let error = repository.blob(&Digest::of(&content), 100_000, &mut memory).await.unwrap_err();
    assert!(matches!(error, RegistryError::Content { .. }), "{error}");
    assert!(memory.0.len() <= 100_000);
    for size in [4_u64, 6] {
        let server = Server::start(|_| Reply::ok(b"right")).await;
        let error =
            server.repository().blob(&Digest::of(b"right"), size, &mut Memory::default()).await.unwrap_err();
        assert!(matches!(error, RegistryError::Content { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_full_disk_ends_the_transfer_at_once() {
    struct Full;
    impl BlobSink for Full {
        fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }
    let server = Server::start(|_| Reply::ok(b"right")).await;
    let error = server.repository().blob(&Digest::of(b"right"), 5, &mut Full).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert_eq!(server.count("GET"), 1);
}

#[tokio::test]
async fn a_blob_of_another_size_counts_as_absent() {
    let server = Server::start(|request| match request.path.contains(&Digest::of(b"gone").hex()) {
        true => Reply::new(404),
        false => Reply::new(200).with("content-length", 5),
    });
    let server = server.await;
    let repository = server.repository();
    assert!(repository.has_blob(&Digest::of(b"right"), 5).await.unwrap());
    assert!(!repository.has_blob(&Digest::of(b"right"), 6).await.unwrap());
    assert!(!repository.has_blob(&Digest::of(b"gone"), 5).await.unwrap());
}

const DOCUMENT: &[u8] = br#"{"schemaVersion":2}"#;

fn document() -> Reply {
    Reply::ok(DOCUMENT).with("content-type", format!("{OCI_MANIFEST}; charset=utf-8"))
}

#[tokio::test]
async fn t90_a_manifest_is_what_its_digest_says() {
    let server = Server::start(|_| document()).await;
    let repository = server.repository();
    let digest = Selector::Digest(Digest::of(DOCUMENT));
    let found = repository.manifest(&digest).await.unwrap();
    assert_eq!((found.media_type.as_str(), &found.bytes[..]), (OCI_MANIFEST, DOCUMENT));
    let other = Selector::Digest(Digest::of(b"other"));
    assert!(matches!(repository.manifest(&other).await, Err(RegistryError::Content { .. })));
    let request = server.requests().pop().unwrap();
    assert_eq!(request.headers.iter().filter(|(name, _)| name == "accept").count(), 1);
    assert!(request.header("accept").unwrap().contains(OCI_MANIFEST));
}

#[tokio::test]
async fn t58_a_tag_with_another_digest_in_the_header_is_refused() {
    let server = Server::start(|_| document().with("docker-content-digest", Digest::of(b"other"))).await;
    let tag = Selector::Tag("v1".parse().unwrap());
    let error = server.repository().manifest(&tag).await.unwrap_err();
    assert!(matches!(error, RegistryError::OtherDigest { .. }), "{error}");
}

#[tokio::test]
async fn t52_a_manifest_that_is_too_large_is_refused() {
    let server = Server::start(|_| Reply { endless: true, ..document() }).await;
    let error = server.repository().manifest(&"v1".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
    assert_eq!(server.count("GET"), 1);
}

#[tokio::test]
async fn a_head_that_is_not_served_properly_is_made_up_for_by_a_get() {
    let complete =
        || document().with("docker-content-digest", Digest::of(DOCUMENT)).with("content-length", 19);
    let tag: Selector = "v1".parse().unwrap();
    for (head, gets) in [(complete(), 0), (Reply::new(405), 1), (Reply::new(200), 1)] {
        let server = Server::start(move |r| if r.method == "HEAD" { head.clone() } else { document() }).await;
        let found = server.repository().head_manifest(&tag).await.unwrap().unwrap();
        assert_eq!((found.digest, found.size), (Digest::of(DOCUMENT), 19));
        assert_eq!(server.count("GET"), gets);
    }
    let server = Server::start(|_| Reply::new(404)).await;
    assert_eq!(server.repository().head_manifest(&tag).await.unwrap(), None);
}

#[tokio::test]
async fn t84_what_a_registry_says_is_shown_without_control_characters() {
    let text = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"\u001b[31mgone\nforever"}]}"#;
    let server = Server::start(|_| Reply { status: 404, ..Reply::ok(text) }).await;
    let error = server.repository().manifest(&"v1".parse().unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("MANIFEST_UNKNOWN") && error.contains("forever"), "{error}");
    assert!(!error.contains(char::is_control), "{error}");
}

#[tokio::test]
async fn tags_are_read_page_by_page() {
    let server = Server::start(|request| match request.path.split_once("last=") {
        None => Reply::ok(br#"{"name":"x","tags":["b","a"]}"#)
            .with("link", "</v2/team/app/tags/list?n=1000&last=b>; rel=\"next\""),
        Some(_) => Reply::ok(br#"{"name":"x","tags":["c","not a tag"]}"#),
    });
    let server = server.await;
    let tags = tags_of(&server.repository()).await.unwrap();
    assert_eq!(tags.iter().map(crate::oci::reference::Tag::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
    let none = Server::start(|_| Reply::new(404)).await;
    assert_eq!(tags_of(&none.repository()).await.unwrap(), []);
}

#[tokio::test]
async fn t118_a_long_list_of_tags_is_read_though_each_page_fails_once() {
    let failed = Mutex::new(std::collections::HashSet::new());
    let server = Server::start(move |request| {
        let page = request.path.split_once("last=").map_or(0, |(_, last)| last.parse::<u32>().unwrap());
        if request.path == "/" || failed.lock().unwrap().insert(page) {
            return Reply::new(503);
        }
        let tags = Reply::ok(format!(r#"{{"name":"x","tags":["{page}"]}}"#).as_bytes());
        let next = format!("</v2/team/app/tags/list?n=1000&last={}>; rel=\"next\"", page + 1);
        if page < 19 { tags.with("link", next) } else { tags }
    });
    assert_eq!(tags_of(&server.await.repository()).await.unwrap().len(), 20);
}

#[tokio::test]
async fn t57_a_list_does_not_continue_elsewhere_or_endlessly() {
    let away =
        Server::start(|_| Reply::ok(b"{}").with("link", "<http://other.example/>; rel=\"next\"")).await;
    assert!(matches!(tags_of(&away.repository()).await, Err(RegistryError::Redirect { .. })));
    let endless =
        Server::start(|r| Reply::ok(b"{}").with("link", format!("<{}1>; rel=\"next\"", r.path))).await;
    assert!(matches!(tags_of(&endless.repository()).await, Err(RegistryError::Protocol { .. })));
}

#[tokio::test]
async fn t118_tags_are_listed_where_n_is_refused() {
    for status in [400, 404, 405, 406, 416, 422, 500, 501] {
        let server = Server::start(move |request| match request.path.contains("n=") {
            true => Reply::new(status),
            false => Reply::ok(br#"{"name":"x","tags":["a"]}"#),
        });
        let server = server.await;
        assert_eq!(tags_of(&server.repository()).await.unwrap().len(), 1, "{status}");
        assert_eq!(server.count("GET"), 2, "{status}");
    }
    for (status, kind) in [(401, ErrorKind::Auth), (403, ErrorKind::Auth)] {
        let server = Server::start(move |_| Reply::new(status)).await;
        assert_eq!(tags_of(&server.repository()).await.unwrap_err().kind(), kind);
    }
}

#[tokio::test]
async fn t118_a_list_in_a_circle_ends_and_keeps_what_was_read() {
    let server = Server::start(|request| match request.path.contains("last=a") {
        false => Reply::ok(br#"{"tags":["a"]}"#).with("link", "</v2/team/app/tags/list?last=a>; rel=next"),
        true => Reply::ok(br#"{"tags":["b"]}"#).with("link", "</v2/team/app/tags/list?last=a>; rel=next"),
    });
    let server = server.await;
    let ReadableTags { tags, error, .. } = server.repository().readable_tags().await;
    assert_eq!(tags.len(), 2);
    assert!(error.unwrap().to_string().contains("read already"));
    assert_eq!(server.count("GET"), 2);
    // Back to the first page.
    let server = Server::start(|request| match request.path.contains("last=a") {
        false => Reply::ok(br#"{"tags":["a"]}"#).with("link", "</v2/team/app/tags/list?last=a>; rel=next"),
        true => Reply::ok(br#"{"tags":["b"]}"#).with("link", "</v2/team/app/tags/list?n=1000>; rel=next"),
    });
    let server = server.await;
    assert!(tags_of(&server.repository()).await.is_err());
    assert_eq!(server.count("GET"), 2);
}

#[tokio::test]
async fn a_list_of_referrers_that_returns_to_its_first_page_ends_there() {
    let server = Server::start(|request| {
        let next = if request.path.contains("page=2") { "" } else { "?page=2" };
        let path = request.path.split('?').next().unwrap_or_default();
        Reply::ok(br#"{"schemaVersion":2,"manifests":[]}"#)
            .with("content-type", "application/vnd.oci.image.index.v1+json")
            .with("link", format!("<{path}{next}>; rel=next"))
    });
    let server = server.await;
    let answer = server.repository().referrers_by_api(&Digest::of(b"x")).await.unwrap();
    let ReferrersApi::Listed(list) = answer else { panic!("{answer:?}") };
    assert!(list.cut_off.unwrap().to_string().contains("read already"));
    assert_eq!(server.count("GET"), 2);
}

#[tokio::test]
async fn t118_an_entry_that_is_no_tag_costs_only_itself_and_is_named() {
    let server = Server::start(|_| Reply::ok(br#"{"tags":["a",null,"not a tag",7,"b"]}"#)).await;
    let ReadableTags { tags, invalid, error } = server.repository().readable_tags().await;
    assert_eq!((tags.len(), error.is_none()), (2, true));
    assert_eq!(invalid.into_iter().collect::<Vec<_>>(), ["7", "`not a tag`", "null"]);
}

#[tokio::test]
async fn t118_the_next_page_is_asked_for_at_the_registry_whatever_it_calls_itself() {
    let server = Server::start(|request| match request.path.contains("last=") {
        false => Reply::ok(br#"{"tags":["a"]}"#)
            .with("link", "</x>; rel=first")
            .with("link", "<http://inner:5000/v2/team/app/tags/list?n=1&last=a>; rel=\"next\""),
        true => Reply::ok(br#"{"tags":["b"]}"#),
    });
    let server = server.await;
    assert_eq!(tags_of(&server.repository()).await.unwrap().len(), 2);
}

/// A server that gives one answer to everything, byte for byte, and closes the connection.
pub(super) async fn verbatim(reply: Vec<u8>) -> (RegistryHost, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string().parse().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            if let Ok(Some(_)) = read_request(&mut stream).await {
                let _ = stream.write_all(&reply).await;
                let _ = stream.shutdown().await;
            }
        }
    });
    (host, task)
}

#[tokio::test]
async fn answers_of_old_servers_and_in_chunks_are_read() {
    let typed = format!("content-type: {OCI_MANIFEST}\r\n");
    let (length, text) = (DOCUMENT.len(), String::from_utf8(DOCUMENT.to_vec()).unwrap());
    for reply in [
        // The end of the connection is the end of the content.
        format!("HTTP/1.0 200 OK\r\n{typed}\r\n{text}"),
        format!("HTTP/1.1 200 OK\r\n{typed}connection: close\r\n\r\n{text}"),
        format!(
            "HTTP/1.1 200 OK\r\n{typed}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{text}\r\n0\r\n\r\n"
        ),
    ] {
        let (host, task) = verbatim(reply.clone().into_bytes()).await;
        let options = ClientOptions { plain_http: vec![host.clone()], ..options() };
        let repository = Client::new(options).unwrap().repository(&host, &"team/app".parse().unwrap());
        let digest = Selector::Digest(Digest::of(DOCUMENT));
        assert_eq!(repository.manifest(&digest).await.unwrap().bytes, DOCUMENT, "{reply}");
        assert_eq!(fetch(&repository, DOCUMENT).await.unwrap(), DOCUMENT, "{reply}");
        task.abort();
    }
}

fn list(digests: &[Digest]) -> Vec<u8> {
    let entry = |d: &Digest| {
        format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{d}","size":7,"artifactType":"x/y"}}"#)
    };
    let entries = digests.iter().map(entry).collect::<Vec<_>>().join(",");
    format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{entries}]}}"#, crate::oci::OCI_INDEX)
        .into_bytes()
}

/// What a repository lists by the API, else under the tag that stands in for it.
async fn referrers_of(repository: &Repository, subject: &Digest) -> Vec<crate::oci::Descriptor> {
    let list = match repository.referrers_by_api(subject).await.unwrap() {
        ReferrersApi::Listed(list) => list,
        ReferrersApi::Unsupported | ReferrersApi::UnknownManifest => {
            match repository.referrers_tag(subject).await.unwrap() {
                ReferrersTag::List(bytes) => repository.referrer_list(subject, &bytes).unwrap(),
                ReferrersTag::Absent | ReferrersTag::NotAList(_) => ReferrerList::default(),
            }
        }
    };
    assert!(list.cut_off.is_none(), "{list:?}");
    list.found
}

#[tokio::test]
async fn t50_t66_referrers_are_found_with_and_without_the_api() {
    let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
    let subject = Digest::of(b"subject");
    let index = |body: Vec<u8>| Reply::ok(&body).with("content-type", crate::oci::OCI_INDEX);
    let api = Server::start(move |request| match request.path.contains("page2") {
        false => index(list(&[one])).with("link", format!("<{}?page2>; rel=\"next\"", request.path)),
        true => index(list(&[one, two])),
    });
    let api = api.await;
    let found = referrers_of(&api.repository(), &subject).await;
    assert_eq!(found.iter().map(|d| d.digest).collect::<Vec<_>>(), [one, two]);
    assert_eq!(found[0].artifact_type.as_deref(), Some("x/y"));
    let fallback = format!("/v2/team/app/manifests/sha256-{}", subject.hex());
    let by_tag = Server::start(move |request| match request.path == fallback {
        true => index(list(&[two])),
        false => Reply::new(404),
    });
    let by_tag = by_tag.await;
    assert_eq!(referrers_of(&by_tag.repository(), &subject).await[0].digest, two);
    let none = Server::start(|_| Reply::new(404)).await;
    assert_eq!(referrers_of(&none.repository(), &subject).await, []);
    let empty = Server::start(move |_| index(list(&[]))).await;
    assert_eq!(referrers_of(&empty.repository(), &subject).await, []);
}

#[tokio::test]
async fn t53_a_registry_that_is_not_there_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host: RegistryHost = listener.local_addr().unwrap().to_string().parse().unwrap();
    drop(listener);
    let client = Client::new(options()).unwrap();
    let error = client.ping(&host).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(host.as_str()), "{error}");
    assert_eq!(client.statistics().retries, 5);
}
