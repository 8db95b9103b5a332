// SPDX-License-Identifier: Apache-2.0
//! The network and the registries at their worst: the run ends well, or says exactly why not.

use std::time::Duration;

use krs_core::error::{Classify as _, ErrorKind};
use krs_core::redact::Secret;
use krs_core::registry::{Client, ClientOptions, Keychain};
use krs_core::sync::resolve::ImageErrors;
use krs_testing::image::{Image, ImageBuilder};
use krs_testing::registry::{Auth, Matcher, Options, Registry, What};

use crate::harness::{Site, client, options};

fn image() -> Image {
    ImageBuilder::new("app").layer_random(300_000, 1).layer_random(5_000, 2).build()
}

fn site(source: Options, edge: Options) -> Site {
    let mut site = Site::with(source, edge);
    site.add(&image(), "team/app", "1.0");
    site
}

fn plain() -> Site {
    site(Options::default(), Options::default())
}

/// A client that knows the user of both registries of `site`.
fn knowing(site: &Site, password: &str) -> Client {
    let mut keychain = Keychain::empty();
    let mut ca_files = Vec::new();
    for registry in [&site.source, &site.edge] {
        keychain = keychain.with(&registry.host(), "robot", Secret::new(password));
        ca_files.extend(registry.ca_file().map(ToOwned::to_owned));
    }
    Client::new(ClientOptions { keychain, ca_files, ..options() }).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn t53_an_interrupted_connection_is_resumed_in_the_middle_of_the_blob() {
    let mut site = plain();
    site.source.fail(Matcher::blobs().method("GET"), What::CutAfter(70_000));
    site.bundle(&client(), "x.krs.tar").await.unwrap();
    let ranges = site.source.requests().into_iter().filter_map(|request| request.range).collect::<Vec<_>>();
    assert!(ranges.iter().any(|range| range == "bytes=70000-"), "{ranges:?}");
    let sent = site.source.requests().iter().map(|request| request.bytes_out).sum::<u64>();
    assert!(sent < 400_000, "{sent} bytes were sent for 305,000");
}

#[tokio::test(flavor = "multi_thread")]
async fn t53_a_registry_that_refuses_ranges_is_read_from_the_start_and_the_bundle_is_complete() {
    let mut site = site(Options { ranges: false, ..Options::default() }, Options::default());
    site.source.fail(Matcher::blobs().method("GET").nth(1..=2), What::CutAfter(70_000));
    let (bundle, _) = site.open("x.krs.tar").await;
    assert_eq!(bundle.manifest().images.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn t53_a_stalled_connection_is_closed_and_resumed() {
    let mut site = plain();
    site.source.fail(Matcher::blobs().method("GET").once(), What::Stall(50_000, Duration::from_secs(30)));
    let options = ClientOptions { stall_timeout: Duration::from_millis(300), ..options() };
    site.bundle(&Client::new(options).unwrap(), "x.krs.tar").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn t53_t54_errors_that_pass_are_retried() {
    for what in [What::RetryAfter(429, 0), What::Status(503, vec![], String::new()), What::CutRequestAfter(0)]
    {
        let mut site = plain();
        site.source.fail(Matcher::any().method("GET").path("team/app").nth(1..=2), what.clone());
        let path = site.bundle(&client(), "x.krs.tar").await;
        assert!(path.is_ok(), "{what:?}: {path:?}");
    }
}

fn first(errors: &ImageErrors) -> ErrorKind {
    errors.kind()
}

#[tokio::test(flavor = "multi_thread")]
async fn t53_a_registry_that_stays_down_is_reported_as_unavailable() {
    let mut site = plain();
    site.source.fail(Matcher::any(), What::Status(503, vec![], String::new()));
    let error = site.resolve(&client()).await.unwrap_err();
    assert_eq!(first(&error), ErrorKind::Unavailable);
    assert!(site.source.requests().len() < 30, "no storm of retries");
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_wrong_bytes_under_a_right_digest_leave_no_archive() {
    for what in [What::WrongBytes, What::Truncate(1000), What::Endless] {
        let mut site = plain();
        site.source.fail(Matcher::blobs().method("GET"), what.clone());
        let error = site.bundle(&client(), "x.krs.tar").await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unavailable), "{what:?}: {error}");
        assert!(error.to_string().contains("team/app:1.0"), "{error}");
        assert!(!site.archive("x.krs.tar").exists(), "{what:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t90_a_wrong_manifest_is_refused() {
    let mut site = plain();
    site.source.fail(Matcher::manifests().method("GET"), What::WrongBytes);
    let error = site.resolve(&client()).await.unwrap_err();
    assert_eq!(first(&error), ErrorKind::Corrupt);
}

#[tokio::test(flavor = "multi_thread")]
async fn t55_credentials_work_by_password_and_by_token_over_tls() {
    for auth in [Auth::basic("robot", "s3cret"), Auth::bearer("robot", "s3cret")] {
        let options = || Options { tls: true, auth: auth.clone(), ..Options::default() };
        let mut site = site(options(), options());
        let client = knowing(&site, "s3cret");
        let plan = site.plan(&client).await;
        // As if time had passed between the manifests and the blobs.
        site.source.expire_tokens();
        let path = site.archive("x.krs.tar");
        let silent = crate::harness::silent();
        krs_core::sync::pull::pull(&client, &plan, Default::default(), &path, 4, &silent).await.unwrap();
        let bundle = krs_core::bundle::Bundle::open(&path, &krs_core::bundle::Policy::default()).unwrap();
        let images = bundle.images().unwrap();
        let destination = site.edge.host().to_string().parse().unwrap();
        let bundle = std::sync::Arc::new(bundle);
        let report = krs_core::sync::push::push(&client, &bundle, &images, &destination, 4, &silent).await;
        assert_eq!(report.unwrap().targets.len(), 1, "{auth:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t55_a_wrong_password_is_reported_once_and_never_shown() {
    for auth in [Auth::basic("robot", "s3cret"), Auth::bearer("robot", "s3cret")] {
        let mut site = site(Options { auth, ..Options::default() }, Options::default());
        let client = knowing(&site, "hunter2");
        let error = site.resolve(&client).await.unwrap_err();
        assert_eq!(first(&error), ErrorKind::Auth);
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        assert!(site.source.requests().len() < 20, "no storm of logins");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t56_a_certificate_of_an_unknown_authority_is_refused_and_never_worked_around() {
    let mut site = site(Options { tls: true, ..Options::default() }, Options::default());
    let error = site.resolve(&client()).await.unwrap_err();
    assert!(error.help().is_some_and(|help| help.contains("--ca-file")), "{error}: {:?}", error.help());
    assert!(site.source.requests().is_empty(), "nothing was asked without TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn t57_credentials_follow_no_redirect_to_another_host() {
    let elsewhere = Registry::start(Options::default());
    let mut site =
        site(Options { auth: Auth::basic("robot", "s3cret"), ..Options::default() }, Options::default());
    for (digest, bytes) in &image().blobs {
        assert_eq!(elsewhere.put_blob("team/app", bytes), *digest);
    }
    let target = format!("{}{{path}}", elsewhere.url().trim_end_matches('/'));
    site.source.fail(Matcher::blobs().method("GET"), What::Redirect(target));
    let client = knowing(&site, "s3cret");
    site.bundle(&client, "x.krs.tar").await.unwrap();
    assert!(!elsewhere.requests().is_empty());
    assert!(elsewhere.requests().iter().all(|request| !request.had_authorization));
}

#[tokio::test(flavor = "multi_thread")]
async fn t58_a_registry_that_stores_something_else_is_found_out() {
    let mut site = plain();
    let (bundle, images) = site.open("x.krs.tar").await;
    site.edge.fail(Matcher::manifests().method("GET"), What::WrongBytes);
    let error = site.push(&bundle, &images).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(site.edge.tags("team/app").is_empty(), "no tag names what is not proven");
}

#[tokio::test(flavor = "multi_thread")]
async fn t59_a_full_registry_is_reported_as_full() {
    let mut site = plain();
    let (bundle, images) = site.open("x.krs.tar").await;
    site.edge
        .fail(Matcher::any().method("PUT").path("/blobs/uploads/"), What::Status(507, vec![], String::new()));
    let error = site.push(&bundle, &images).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_upload_is_resumed() {
    let mut site = plain();
    let (bundle, images) = site.open("x.krs.tar").await;
    let uploads = || Matcher::any().method("PUT").path("/blobs/uploads/");
    site.edge.fail(uploads(), What::CutRequestAfter(100_000));
    let report = site.push(&bundle, &images).await.unwrap();
    assert_eq!(report.targets.len(), 1);
    assert!(site.edge.requests().iter().any(|request| request.method == "PATCH"), "it went on in the middle");
}

#[tokio::test(flavor = "multi_thread")]
async fn t37_content_of_media_that_changes_after_it_was_verified_never_reaches_the_registry() {
    let mut site = plain();
    let (bundle, images) = site.open("x.krs.tar").await;
    let large = bundle.manifest().blobs.iter().max_by_key(|blob| blob.size).copied().unwrap();
    let path = bundle.path().to_owned();
    let mut bytes = std::fs::read(&path).unwrap();
    let content = image().blobs.into_iter().find(|(digest, _)| *digest == large.digest).unwrap().1;
    let at = bytes.windows(64).position(|window| window == &content[..64]).unwrap();
    bytes[at + 1000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = site.push(&bundle, &images).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(!site.edge.has_blob("team/app", &large.digest));
}
