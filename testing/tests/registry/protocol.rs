// SPDX-License-Identifier: Apache-2.0
//! The registry for tests, seen over the wire: what the distribution-spec and the Distribution project do.

use std::time::Duration;

use krs_core::oci::digest::Digest;
use krs_core::oci::{OCI_INDEX, OCI_MANIFEST};
use krs_testing::image::{self, ImageBuilder, random_bytes};
use krs_testing::registry::{Auth, Options, Registry};

use crate::client::{Answer, send};

fn plain() -> Registry {
    Registry::start(Options::default())
}

fn get(registry: &Registry, path: &str) -> Answer {
    send(registry, "GET", path, &[], b"").expect("an answer")
}

fn ask(registry: &Registry, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    send(registry, method, path, headers, body).expect("an answer")
}

#[test]
fn an_image_is_read_by_tag_and_by_digest() {
    let registry = plain();
    let image = ImageBuilder::new("app").gzip().layer_files(&[("etc/app", "1")]).build();
    image.push_to(&registry, "team/app", Some("1.0"));

    for reference in ["1.0".to_owned(), image.digest.to_string()] {
        let answer = get(&registry, &format!("/v2/team/app/manifests/{reference}?ns=docker.io"));
        assert_eq!((answer.status, &answer.body), (200, &image.manifest));
        assert_eq!(answer.header("content-type"), Some(OCI_MANIFEST));
        assert_eq!(answer.header("docker-content-digest"), Some(image.digest.to_string().as_str()));
        assert_eq!(answer.header("docker-distribution-api-version"), Some("registry/2.0"));
    }
    for (digest, bytes) in &image.blobs {
        let path = format!("/v2/team/app/blobs/{digest}");
        assert_eq!(get(&registry, &path).body, *bytes);
        let head = ask(&registry, "HEAD", &path, &[], b"");
        assert_eq!(head.header("content-length"), Some(bytes.len().to_string().as_str()));
        assert_eq!(get(&registry, &format!("/v2/other/app/blobs/{digest}")).status, 404);
    }
    assert_eq!(get(&registry, "/v2/").status, 200);
    let missing = get(&registry, "/v2/team/app/manifests/2.0");
    assert_eq!(missing.status, 404);
    assert!(missing.text().contains("MANIFEST_UNKNOWN"), "{}", missing.text());
}

#[test]
fn accept_headers_on_several_lines_count_as_one_and_a_type_that_is_not_accepted_is_not_found() {
    let registry = plain();
    ImageBuilder::new("app").build().push_to(&registry, "app", Some("1"));
    let with = |accept: &[(&str, &str)]| ask(&registry, "GET", "/v2/app/manifests/1", accept, b"").status;
    assert_eq!(with(&[("Accept", OCI_INDEX), ("Accept", OCI_MANIFEST)]), 200);
    assert_eq!(with(&[("Accept", &format!("{OCI_INDEX},{OCI_MANIFEST};q=0.5"))]), 200);
    assert_eq!(with(&[("Accept", "*/*")]), 200);
    assert_eq!(with(&[("Accept", OCI_INDEX)]), 404);
}

#[test]
fn ranges_are_served_from_memory_and_from_files() {
    let registry = plain();
    for size in [1000, 700_000] {
        let bytes = random_bytes(size, 1);
        let path = format!("/v2/app/blobs/{}", registry.put_blob("app", &bytes));
        let range = |range: &str| ask(&registry, "GET", &path, &[("Range", range)], b"");
        let middle = range("bytes=10-19");
        assert_eq!((middle.status, middle.body.as_slice()), (206, &bytes[10..20]));
        assert_eq!(middle.header("content-range"), Some(format!("bytes 10-19/{size}").as_str()));
        assert_eq!(range("bytes=900-").body, &bytes[900..]);
        let outside = range(&format!("bytes={size}-"));
        assert_eq!(
            (outside.status, outside.header("content-range")),
            (416, Some(&*format!("bytes */{size}")))
        );
        assert_eq!(range("bytes=0-1,5-6").status, 200);
        assert_eq!(range("bytes=5-4").status, 416);
    }
    let without = Registry::start(Options { ranges: false, ..Options::default() });
    let path = format!("/v2/app/blobs/{}", without.put_blob("app", b"0123456789"));
    let complete = ask(&without, "GET", &path, &[("Range", "bytes=3-")], b"");
    assert_eq!((complete.status, complete.body.as_slice()), (200, &b"0123456789"[..]));
}

#[test]
fn a_blob_is_uploaded_in_one_request_in_two_and_in_chunks() {
    let registry = plain();
    let blob = random_bytes(600_000, 2);
    let digest = Digest::of(&blob);
    let stored = |repository: &str| registry.blob(repository, &digest).as_ref() == Some(&blob);

    let one = ask(&registry, "POST", &format!("/v2/one/blobs/uploads/?digest={digest}"), &[], &blob);
    assert!(one.status == 201 && stored("one"));

    let start = ask(&registry, "POST", "/v2/two/blobs/uploads/", &[], b"");
    assert_eq!((start.status, start.header("range")), (202, Some("0-0")));
    assert!(start.header("location").unwrap().starts_with(&registry.url()));
    let end = ask(&registry, "PUT", &format!("{}&digest={digest}", start.location()), &[], &blob);
    assert_eq!(end.location(), format!("/v2/two/blobs/{digest}"));
    assert!(end.status == 201 && stored("two"));

    let start = ask(&registry, "POST", "/v2/chunks/blobs/uploads/", &[], b"");
    let chunk = |range: &str, bytes: &[u8]| {
        ask(&registry, "PATCH", &start.location(), &[("Content-Range", range)], bytes)
    };
    let first = chunk("0-399999", &blob[..400_000]);
    assert_eq!((first.status, first.header("range")), (202, Some("0-399999")));
    let wrong = chunk("0-199999", &blob[..200_000]);
    assert_eq!((wrong.status, wrong.header("range")), (416, Some("0-399999")));
    let state = ask(&registry, "GET", &start.location(), &[], b"");
    assert_eq!((state.status, state.header("range")), (204, Some("0-399999")));
    assert_eq!(chunk("400000-599999", &blob[400_000..]).status, 202);
    let end = ask(&registry, "PUT", &format!("{}&digest={digest}", start.location()), &[], b"");
    assert!(end.status == 201 && stored("chunks"));
    assert_eq!(ask(&registry, "GET", &start.location(), &[], b"").status, 404);
    assert_eq!(registry.stored_bytes(), 600_000);
}

#[test]
fn an_upload_with_another_digest_or_repository_or_without_its_query_is_refused() {
    let registry = plain();
    let start = ask(&registry, "POST", "/v2/app/blobs/uploads/", &[], b"");
    let without = start.location().split_once('?').unwrap().0.to_owned();
    assert_eq!(ask(&registry, "PATCH", &without, &[], b"abc").status, 400);
    let elsewhere = start.location().replace("/v2/app/", "/v2/other/");
    assert_eq!(ask(&registry, "PATCH", &elsewhere, &[], b"abc").status, 400);
    let other = Digest::of(b"other");
    let end = ask(&registry, "PUT", &format!("{}&digest={other}", start.location()), &[], b"abc");
    assert_eq!(end.status, 400);
    assert!(end.text().contains("DIGEST_INVALID"), "{}", end.text());
    assert!(!registry.has_blob("app", &other));

    let start = ask(&registry, "POST", "/v2/app/blobs/uploads/", &[], b"");
    assert_eq!(ask(&registry, "DELETE", &start.location(), &[], b"").status, 204);
    assert_eq!(ask(&registry, "PATCH", &start.location(), &[], b"abc").status, 404);
}

#[test]
fn a_blob_is_mounted_from_a_repository_that_has_it_and_uploaded_otherwise() {
    let registry = plain();
    let digest = registry.put_blob("from", b"shared");
    let mount = |from: &str| {
        let path = format!("/v2/to/blobs/uploads/?mount={digest}&from={from}");
        ask(&registry, "POST", &path, &[], b"").status
    };
    assert_eq!(mount("nowhere"), 202);
    assert!(!registry.has_blob("to", &digest));
    assert_eq!(mount("from"), 201);
    assert!(registry.has_blob("to", &digest));

    let without = Registry::start(Options { mounts: false, ..Options::default() });
    let digest = without.put_blob("from", b"shared");
    let path = format!("/v2/to/blobs/uploads/?mount={digest}&from=from");
    assert_eq!(ask(&without, "POST", &path, &[], b"").status, 202);
}

fn put(registry: &Registry, image: &image::Image, repository: &str, reference: &str) -> Answer {
    let path = format!("/v2/{repository}/manifests/{reference}");
    ask(registry, "PUT", &path, &[("Content-Type", &image.media_type)], &image.manifest)
}

#[test]
fn a_manifest_needs_its_blobs_and_an_index_its_children() {
    let registry = plain();
    let child = ImageBuilder::new("app").layer("layer").build();
    let refused = put(&registry, &child, "app", "1");
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("MANIFEST_BLOB_UNKNOWN"), "{}", refused.text());
    for (_, bytes) in &child.blobs {
        registry.put_blob("app", bytes);
    }
    let index = image::index(&[(&child, None)]);
    assert_eq!(put(&registry, &index, "app", "all").status, 400);
    assert_eq!(put(&registry, &child, "app", &index.digest.to_string()).status, 400, "another digest");
    let stored = put(&registry, &child, "app", "1");
    assert_eq!((stored.status, stored.location()), (201, format!("/v2/app/manifests/{}", child.digest)));
    assert_eq!(put(&registry, &index, "app", "all").status, 201);
    assert_eq!(registry.tags("app"), ["1", "all"]);

    let sparse = Registry::start(Options { sparse_indexes: true, ..Options::default() });
    assert_eq!(put(&sparse, &index, "app", "all").status, 201);
    assert_eq!(put(&sparse, &child, "app", "1").status, 400);

    let only_oci = Registry::start(Options { docker_types: false, ..Options::default() });
    let docker = ImageBuilder::new("app").docker().build();
    docker.push_to(&only_oci, "app", None);
    assert_eq!(put(&only_oci, &docker, "app", "1").status, 400);
}

#[test]
fn referrers_are_listed_and_filtered_where_the_api_is_on() {
    let registry = plain();
    let app = ImageBuilder::new("app").build();
    let (sbom, signature) = (image::sbom(&app), image::signature(&app));
    for (_, bytes) in sbom.blobs.iter().chain(&signature.blobs) {
        registry.put_blob("app", bytes);
    }
    let stored = put(&registry, &sbom, "app", &sbom.digest.to_string());
    assert_eq!(stored.header("oci-subject"), Some(app.digest.to_string().as_str()));
    put(&registry, &signature, "app", &signature.digest.to_string());

    let path = format!("/v2/app/referrers/{}", app.digest);
    let all = get(&registry, &path);
    assert_eq!(all.header("content-type"), Some(OCI_INDEX));
    assert!(
        all.text().contains(&sbom.digest.to_string()) && all.text().contains(&signature.digest.to_string())
    );
    let some = get(&registry, &format!("{path}?artifactType=application%2Fspdx%2Bjson"));
    assert_eq!(some.header("oci-filters-applied"), Some("artifactType"));
    assert!(
        some.text().contains(&sbom.digest.to_string())
            && !some.text().contains(&signature.digest.to_string())
    );
    let none = get(&registry, &format!("/v2/app/referrers/{}", sbom.digest));
    assert!(none.status == 200 && none.text().contains(r#""manifests":[]"#));

    let without = Registry::start(Options { referrers_api: false, ..Options::default() });
    sbom.push_to(&without, "app", None);
    assert_eq!(get(&without, &path).status, 404);
    assert_eq!(put(&without, &sbom, "app", "sbom").header("oci-subject"), None);
}

#[test]
fn tags_come_in_pages_and_unknown_repositories_are_not_found() {
    let registry = plain();
    let image = ImageBuilder::new("app").build();
    for tag in ["a", "b", "c"] {
        image.push_to(&registry, "team/app", Some(tag));
    }
    let page = get(&registry, "/v2/team/app/tags/list?n=2");
    assert_eq!(page.text(), r#"{"name":"team/app","tags":["a","b"]}"#);
    assert_eq!(page.header("link"), Some(r#"</v2/team/app/tags/list?last=b&n=2>; rel="next""#));
    let page = get(&registry, "/v2/team/app/tags/list?last=b&n=2");
    assert_eq!((page.text().contains(r#"["c"]"#), page.header("link")), (true, None));
    assert_eq!(get(&registry, "/v2/nobody/tags/list").status, 404);
    assert_eq!(get(&registry, "/v2/_catalog").text(), r#"{"repositories":["team/app"]}"#);
}

#[test]
fn what_is_deleted_is_gone() {
    let registry = plain();
    let image = ImageBuilder::new("app").layer("x").build();
    image.push_to(&registry, "app", Some("1"));
    image.push_to(&registry, "app", Some("2"));
    let delete = |path: &str| ask(&registry, "DELETE", path, &[], b"").status;
    assert_eq!(delete("/v2/app/manifests/1"), 202);
    assert_eq!(registry.tags("app"), ["2"]);
    let path = format!("/v2/app/manifests/{}", image.digest);
    assert_eq!((delete(&path), delete(&path)), (202, 404));
    assert!(registry.tags("app").is_empty());
    let path = format!("/v2/app/blobs/{}", image.blobs[0].0);
    assert_eq!((delete(&path), delete(&path)), (202, 404));
}

#[test]
fn basic_passwords_are_asked_for() {
    let registry = Registry::start(Options { auth: Auth::basic("user", "word"), ..Options::default() });
    let denied = get(&registry, "/v2/");
    assert_eq!(denied.status, 401);
    assert!(denied.header("www-authenticate").unwrap().starts_with("Basic realm="));
    let with = |value: &str| ask(&registry, "GET", "/v2/", &[("Authorization", value)], b"").status;
    assert_eq!((with("Basic dXNlcjp3b3Jk"), with("Basic dXNlcjp3cm9uZw==")), (200, 401));
    assert!(!registry.requests()[0].had_authorization && registry.requests()[1].had_authorization);
}

fn token(registry: &Registry, scope: &str, headers: &[(&str, &str)]) -> Option<String> {
    let answer = ask(registry, "GET", &format!("/token?service=krs-testing&scope={scope}"), headers, b"");
    let text = answer.text();
    let (_, rest) = text.split_once(r#""token":""#)?;
    Some(format!("Bearer {}", rest.split('"').next()?))
}

#[test]
fn tokens_are_good_for_their_scope_and_their_time() {
    let expires_in = Duration::from_millis(1500);
    let (user, password) = ("user".to_owned(), "word".to_owned());
    let auth = Auth::Bearer { user, password, expires_in, anonymous_pull: true };
    let registry = Registry::start(Options { auth, ..Options::default() });
    registry.put_blob("app", b"x");
    let path = format!("/v2/app/blobs/{}", Digest::of(b"x"));

    let denied = get(&registry, &path);
    let challenge = denied.header("www-authenticate").unwrap();
    assert_eq!(
        challenge,
        format!(
            r#"Bearer realm="{}/token",service="krs-testing",scope="repository:app:pull""#,
            registry.url()
        )
    );
    let with = |method: &str, path: &str, token: &str| {
        ask(&registry, method, path, &[("Authorization", token)], b"").status
    };
    let anonymous = token(&registry, "repository:app:pull,push", &[]).unwrap();
    assert_eq!(with("GET", &path, &anonymous), 200);
    assert_eq!(with("GET", &path.replace("app", "other"), &anonymous), 401);
    assert_eq!(with("POST", "/v2/app/blobs/uploads/", &anonymous), 401);
    let known = [("Authorization", "Basic dXNlcjp3b3Jk")];
    let known = token(&registry, "repository:app:pull,push", &known).unwrap();
    assert_eq!(with("POST", "/v2/app/blobs/uploads/", &known), 202);
    assert_eq!(token(&registry, "repository:app:pull", &[("Authorization", "Basic bm86bm8=")]), None);

    registry.expire_tokens();
    assert_eq!(with("GET", &path, &known), 401);
    let short = token(&registry, "repository:app:pull", &[]).unwrap();
    assert_eq!(with("GET", &path, &short), 200);
    std::thread::sleep(expires_in);
    assert_eq!(with("GET", &path, &short), 401);
}

#[test]
fn the_registry_remembers_what_it_was_asked_and_stops_when_it_is_dropped() {
    let registry = plain();
    let digest = registry.put_blob("app", b"0123456789");
    let headers = [("User-Agent", "test/1"), ("Range", "bytes=2-4")];
    ask(&registry, "GET", &format!("/v2/app/blobs/{digest}?a=b"), &headers, b"");
    ask(&registry, "POST", "/v2/app/blobs/uploads/", &[], b"");
    let requests = registry.requests();
    let first = &requests[0];
    assert_eq!((first.method.as_str(), first.path.as_str()), ("GET", &*format!("/v2/app/blobs/{digest}")));
    assert_eq!((first.query.as_str(), first.status, first.bytes_in, first.bytes_out), ("a=b", 206, 0, 3));
    assert_eq!((first.user_agent.as_deref(), first.range.as_deref()), (Some("test/1"), Some("bytes=2-4")));
    assert_eq!((requests[1].status, registry.connections()), (202, 2));
    registry.clear_requests();
    assert!(registry.requests().is_empty());

    let host = registry.host();
    drop(registry);
    assert!(std::net::TcpStream::connect(host.as_str()).is_err());
}

#[tokio::test]
async fn a_registry_can_be_started_and_dropped_inside_a_runtime() {
    let registry = plain();
    assert!(registry.url().starts_with("http://127.0.0.1:"));
    drop(registry);
}

#[test]
fn a_tag_can_be_kept_from_being_changed() {
    let registry = Registry::start(Options { mutable_tags: false, ..Options::default() });
    let [one, other] = [1, 2].map(|seed| ImageBuilder::new("app").layer_random(100, seed).build());
    for (_, bytes) in one.blobs.iter().chain(&other.blobs) {
        registry.put_blob("app", bytes);
    }
    assert_eq!([&one, &one].map(|image| put(&registry, image, "app", "1").status), [201, 201]);
    let refused = put(&registry, &other, "app", "1");
    assert_eq!(refused.status, 412);
    assert!(refused.text().contains("immutable"), "{}", refused.text());
    assert_eq!(put(&registry, &other, "app", &other.digest.to_string()).status, 201);
    assert_eq!(registry.digest("app", "1"), Some(one.digest));
}
