// SPDX-License-Identifier: Apache-2.0
//! Faults of the registry for tests, seen over the wire.

use std::time::{Duration, Instant};

use krs_core::oci::digest::Digest;
use krs_testing::image::{Image, ImageBuilder, random_bytes};
use krs_testing::registry::{Auth, Fault, Matcher, Options, Registry, What};

use crate::client::{Answer, send};

const SIZE: usize = 700_000;

struct Case {
    registry: Registry,
    bytes: Vec<u8>,
    path: String,
}

impl Case {
    /// A registry with one blob whose next request fails in this way.
    fn new(what: What) -> Self {
        let registry = Registry::start(Options::default());
        let bytes = random_bytes(SIZE, 3);
        let path = format!("/v2/app/blobs/{}", registry.put_blob("app", &bytes));
        registry.fault(Fault { on: Matcher::any().once(), what });
        Self { registry, bytes, path }
    }

    fn ask(&self, method: &str, headers: &[(&str, &str)]) -> Option<Answer> {
        send(&self.registry, method, &self.path, headers, b"")
    }

    fn get(&self) -> Answer {
        self.ask("GET", &[]).expect("an answer")
    }

    /// After the fault all is well.
    fn and_then_sound(&self) {
        let answer = self.get();
        assert!(answer.is_complete && answer.body == self.bytes && answer.status == 200);
    }
}

#[test]
fn answers_can_be_replaced() {
    let headers = vec![("x-reason".to_owned(), "maintenance".to_owned())];
    let case = Case::new(What::Status(503, headers, "closed".to_owned()));
    let answer = case.get();
    assert_eq!((answer.status, answer.text().as_str()), (503, "closed"));
    assert_eq!(answer.header("x-reason"), Some("maintenance"));
    case.and_then_sound();

    let case = Case::new(What::RetryAfter(429, 7));
    let answer = case.get();
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("7")));

    let case = Case::new(What::Redirect("http://cdn.example{path}".to_owned()));
    let answer = case.get();
    let location = format!("http://cdn.example{}", case.path);
    assert_eq!((answer.status, answer.header("location")), (307, Some(location.as_str())));
}

#[test]
fn bodies_can_break_off_end_early_and_lie_about_their_length() {
    let case = Case::new(What::CutAfter(300_000));
    let answer = case.get();
    assert_eq!((answer.status, answer.is_complete, answer.body.len()), (200, false, 300_000));
    assert_eq!(answer.header("content-length"), Some("700000"));
    assert_eq!(answer.body, case.bytes[..300_000]);
    assert_eq!(case.registry.requests()[0].bytes_out, 300_000);
    case.and_then_sound();

    let case = Case::new(What::CutAfter(0));
    let answer = case.get();
    assert_eq!((answer.status, answer.is_complete, answer.body.len()), (200, false, 0));

    let case = Case::new(What::Truncate(300_000));
    let answer = case.get();
    assert_eq!((answer.is_complete, answer.body.len()), (true, 300_000));

    let case = Case::new(What::LyingLength(12));
    assert_eq!(case.ask("HEAD", &[]).unwrap().header("content-length"), Some("12"));
    case.and_then_sound();

    let case = Case::new(What::LyingLength(SIZE as u64 + 5));
    let answer = case.get();
    assert_eq!((answer.is_complete, answer.body.len()), (false, SIZE));
}

#[test]
fn bodies_can_be_wrong_endless_and_slow() {
    let case = Case::new(What::WrongBytes);
    let answer = case.get();
    let differ = answer.body.iter().zip(&case.bytes).filter(|(a, b)| a != b).count();
    assert_eq!((answer.is_complete, answer.body.len(), differ), (true, SIZE, 1));
    case.and_then_sound();

    let case = Case::new(What::Endless);
    let answer = case.get();
    assert_eq!(answer.header("content-length"), None);
    assert!(!answer.is_complete && answer.body.len() >= 4 << 20 && answer.body.starts_with(&case.bytes));

    for what in [What::Stall(1000, Duration::from_millis(300)), What::Delay(Duration::from_millis(300))] {
        let case = Case::new(what);
        let start = Instant::now();
        case.and_then_sound();
        assert!(start.elapsed() >= Duration::from_millis(300));
    }
}

#[test]
fn headers_can_lie() {
    let case = Case::new(What::NoRange);
    assert_eq!(case.ask("GET", &[("Range", "bytes=5-")]).unwrap().status, 200);
    assert_eq!(case.ask("GET", &[("Range", "bytes=5-")]).unwrap().status, 206);

    let case = Case::new(What::WrongDigestHeader);
    let header_digest = case.get().header("docker-content-digest").unwrap().parse::<Digest>().unwrap();
    assert_ne!(header_digest, Digest::of(&case.bytes));

    let registry = Registry::start(Options::default());
    let on = Matcher::any().method("POST");
    registry.fail(on, What::Location("http://evil.example:1{path}".to_owned()));
    let answer = send(&registry, "POST", "/v2/app/blobs/uploads/", &[], b"").unwrap();
    let location = answer.header("location").unwrap();
    assert!(location.starts_with("http://evil.example:1/v2/app/blobs/uploads/"), "{location}");
}

#[test]
fn an_interrupted_upload_can_be_resumed() {
    let registry = Registry::start(Options::default());
    let blob = random_bytes(SIZE, 4);
    let start = send(&registry, "POST", "/v2/app/blobs/uploads/", &[], b"").unwrap();
    registry.fail(Matcher::any().method("PATCH").once(), What::CutRequestAfter(400_000));
    assert!(send(&registry, "PATCH", &start.location(), &[], &blob).is_none());
    assert_eq!((registry.requests()[1].status, registry.requests()[1].bytes_in), (0, 400_000));
    let state = send(&registry, "GET", &start.location(), &[], b"").unwrap();
    assert_eq!(state.header("range"), Some("0-399999"));
    let range = [("Content-Range", "400000-699999")];
    send(&registry, "PATCH", &start.location(), &range, &blob[400_000..]).unwrap();
    let digest = Digest::of(&blob);
    let end = send(&registry, "PUT", &format!("{}&digest={digest}", start.location()), &[], b"").unwrap();
    assert_eq!((end.status, registry.blob("app", &digest)), (201, Some(blob)));

    registry.fail(Matcher::any().method("HEAD"), What::CutRequestAfter(0));
    assert!(send(&registry, "HEAD", "/v2/", &[], b"").is_none());
    registry.clear_faults();
    assert!(send(&registry, "HEAD", "/v2/", &[], b"").is_some());
}

#[test]
fn faults_hit_the_requests_that_they_are_meant_for() {
    let registry = Registry::start(Options::default());
    let digest = registry.put_blob("a", b"x");
    registry.put_blob("b", b"x");
    let on = Matcher::blobs().path(digest).repository("a").nth(2..=3);
    registry.fail(on, What::Status(500, Vec::new(), String::new()));
    let get =
        |name: &str| send(&registry, "GET", &format!("/v2/{name}/blobs/{digest}"), &[], b"").unwrap().status;
    assert_eq!([get("a"), get("b"), get("a"), get("b"), get("a"), get("a")], [200, 200, 500, 200, 500, 200]);
}

#[test]
fn a_request_without_credentials_does_not_use_up_a_fault_but_can_be_sent_to_another_realm() {
    let registry = Registry::start(Options { auth: Auth::basic("user", "word"), ..Options::default() });
    registry.fail(Matcher::any().once(), What::RetryAfter(429, 1));
    let with = |headers: &[(&str, &str)]| send(&registry, "GET", "/v2/", headers, b"").unwrap();
    let known = [("Authorization", "Basic dXNlcjp3b3Jk")];
    assert_eq!((with(&[]).status, with(&known).status, with(&known).status), (401, 429, 200));

    registry.fail(Matcher::any(), What::Realm("http://evil.example/token".to_owned()));
    let answer = with(&known);
    assert_eq!(answer.status, 401);
    assert!(
        answer.header("www-authenticate").unwrap().starts_with(r#"Bearer realm="http://evil.example/token""#)
    );
}

#[test]
fn stored_content_can_be_damaged_and_lost() {
    let registry = Registry::start(Options::default());
    let bytes = random_bytes(SIZE, 5);
    let digest = registry.put_blob("app", &bytes);
    assert!(registry.corrupt_blob(&digest));
    let damaged = registry.blob("app", &digest).unwrap();
    assert!(damaged.len() == bytes.len() && Digest::of(&damaged) != digest);
    assert!(registry.delete_blob(&digest) && !registry.has_blob("app", &digest));
    assert!(!registry.corrupt_blob(&digest));
}

#[test]
fn a_request_can_be_carried_out_and_its_answer_lost() {
    let digest = Digest::of(b"kept");
    for status in [0, 504] {
        let registry = Registry::start(Options::default());
        registry.fail(Matcher::any().once(), What::LoseAnswer(status));
        let path = format!("/v2/app/blobs/uploads/?digest={digest}");
        let answer = send(&registry, "POST", &path, &[], b"kept");
        assert_eq!(answer.map(|answer| answer.status), (status > 0).then_some(status));
        assert!(registry.has_blob("app", &digest));
    }
}

#[test]
fn garbage_collection_takes_what_no_tag_leads_to() {
    let registry = Registry::start(Options::default());
    let [tagged, untagged] = [1, 2].map(|seed| ImageBuilder::new("app").layer_random(100, seed).build());
    tagged.push_to(&registry, "app", Some("1"));
    untagged.push_to(&registry, "app", None);
    let alone = registry.put_blob("app", b"alone");
    registry.fail(Matcher::any().once(), What::CollectGarbage);
    assert_eq!(send(&registry, "GET", "/v2/", &[], b"").unwrap().status, 200);
    let there = |image: &Image| {
        let manifest = registry.manifest("app", &image.digest.to_string()).is_some();
        manifest && image.blobs.iter().all(|(digest, _)| registry.has_blob("app", digest))
    };
    assert!(there(&tagged) && !there(&untagged) && !registry.has_blob("app", &alone));
}
