// SPDX-License-Identifier: Apache-2.0
//! Registries that change while they are pushed to, or that do not let everything be changed; and how many requests a
//! push needs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use krs_core::bundle::{Bundle, BundledImages, Policy};
use krs_core::error::{Classify as _, ErrorKind};
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::RepositoryName;
use krs_core::registry::{Client, ClientOptions};
use krs_core::sync::plan::{Base, PlanOptions, plan};
use krs_core::sync::push::{PushError, TargetError, find_layer, push};
use krs_testing::image::{Image, ImageBuilder, index};
use krs_testing::registry::{Matcher, Options, Registry, Request, What};

use crate::harness::{Site, client, options, silent};

fn image(seed: u64) -> Image {
    ImageBuilder::new("app").layer_random(300_000, seed).layer_random(5_000, 2).build()
}

fn is_complete(edge: &Registry, repository: &str, image: &Image) -> bool {
    let stored = |image: &Image| {
        edge.manifest(repository, &image.digest.to_string()).is_some()
            && image.blobs.iter().all(|(digest, bytes)| edge.blob(repository, digest).as_ref() == Some(bytes))
    };
    stored(image) && image.children.iter().all(stored)
}

#[tokio::test(flavor = "multi_thread")]
async fn t63_what_garbage_collection_takes_during_a_push_is_sent_again() {
    for on in [
        Matcher::any().method("PUT").path("/manifests/").once(),
        Matcher::any().method("PUT").path("/manifests/").nth(3..=3),
        // The manifest itself is gone before it is read back.
        Matcher::any().method("GET").path("/manifests/").once(),
    ] {
        let mut site = Site::new();
        let both = index(&[(&image(3), Some("linux/amd64")), (&image(4), Some("linux/arm64"))]);
        site.add(&image(1), "team/app", "1.0");
        site.add(&both, "team/both", "1.0");
        let (bundle, images) = site.open("x.krs.tar").await;
        site.edge.fail(on.clone(), What::CollectGarbage);
        let report = site.push(&bundle, &images).await.unwrap_or_else(|error| panic!("{on:?}: {error}"));
        assert_eq!(report.targets.len(), 2);
        assert!(
            is_complete(&site.edge, "team/app", &image(1)) && is_complete(&site.edge, "team/both", &both),
            "{on:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t63_a_registry_that_always_loses_everything_is_not_pushed_to_endlessly() {
    let mut site = Site::new();
    site.add(&image(1), "team/app", "1.0");
    let (bundle, images) = site.open("x.krs.tar").await;
    site.edge.fail(Matcher::any().method("PUT").path("/manifests/"), What::CollectGarbage);
    let error = site.push(&bundle, &images).await.unwrap_err();
    assert!(error.to_string().contains("MANIFEST_BLOB_UNKNOWN"), "{error}");
    let requests = site.edge.requests();
    let puts = requests.iter().filter(|r| r.method == "PUT" && r.path.contains("/manifests/"));
    assert_eq!(puts.count(), 2, "put once more, and no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn t64_two_that_push_the_same_at_once_both_succeed_and_nothing_changes_afterwards() {
    let mut site = Site::new();
    for number in 0..6 {
        site.add(&image(number), &format!("team/app-{}", number % 3), &format!("1.{number}"));
    }
    let (bundle, images) = site.open("x.krs.tar").await;
    let (one, other) = tokio::join!(site.push(&bundle, &images), site.push(&bundle, &images));
    assert_eq!((one.unwrap().targets.len(), other.unwrap().targets.len()), (6, 6));
    for number in 0..6 {
        let repository = format!("team/app-{}", number % 3);
        assert!(is_complete(&site.edge, &repository, &image(number)));
        assert_eq!(site.edge.digest(&repository, &format!("1.{number}")), Some(image(number).digest));
    }
    let again = site.push(&bundle, &images).await.unwrap();
    assert_eq!((again.blobs_sent, again.blobs_mounted, again.manifests_sent), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn t65_a_tag_that_may_not_be_changed_is_reported_and_its_image_is_there_under_its_digest() {
    let mut site = Site::with(Options::default(), Options { mutable_tags: false, ..Options::default() });
    image(1).push_to(&site.edge, "team/app", Some("1.0"));
    site.add(&image(2), "team/app", "1.0");
    site.add(&image(3), "team/other", "1.0");
    let (bundle, images) = site.open("x.krs.tar").await;
    let error = site.push(&bundle, &images).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
    let text = error.to_string();
    let PushError::Targets { total: 2, failed, .. } = error else { panic!("{text}") };
    let [(_, TargetError::FixedTag { tag, found, digest, .. })] = failed.as_slice() else { panic!("{text}") };
    assert_eq!((tag.as_str(), *found, *digest), ("1.0", image(1).digest, image(2).digest));
    assert!(text.contains("team/app:1.0") && text.contains("configured as immutable"), "{text}");
    assert!(
        is_complete(&site.edge, "team/app", &image(2)) && is_complete(&site.edge, "team/other", &image(3))
    );
    assert_eq!(site.edge.digest("team/app", "1.0"), Some(image(1).digest), "the tag is as it was");
    // What is right already may not be changed either, and need not.
    let mut right = Site::with(Options::default(), Options { mutable_tags: false, ..Options::default() });
    image(2).push_to(&right.edge, "team/app", Some("1.0"));
    right.add(&image(2), "team/app", "1.0");
    let (bundle, images) = right.open("x.krs.tar").await;
    assert_eq!(right.push(&bundle, &images).await.unwrap().manifests_sent, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn t99_a_manifest_whose_answer_was_lost_is_there() {
    let mut site = Site::with(Options::default(), Options { mutable_tags: false, ..Options::default() });
    site.add(&image(1), "team/app", "1.0");
    let (bundle, images) = site.open("x.krs.tar").await;
    site.edge.fail(Matcher::any().method("PUT").nth(1..=2), What::LoseAnswer(0));
    site.edge.fail(Matcher::any().method("PUT").path("/manifests/").once(), What::LoseAnswer(502));
    assert_eq!(site.push(&bundle, &images).await.unwrap().targets.len(), 1);
    let sent = site.edge.requests().iter().map(|request| request.bytes_in).sum::<u64>();
    assert!(sent < 320_000, "{sent} bytes were sent for 305,000");
}

/// The requests of a push into a registry, in which each takes a while, so that those are under way together that may
/// be.
async fn push_slowly(edge: &Registry, bundle: &Arc<Bundle>, images: &BundledImages) -> Vec<Request> {
    edge.fail(Matcher::any(), What::Delay(Duration::from_millis(50)));
    edge.clear_requests();
    let destination = edge.host().to_string().parse().unwrap();
    let client = Client::new(ClientOptions::default()).unwrap();
    push(&client, bundle, images, &destination, 6, &silent()).await.unwrap();
    edge.requests()
}

/// How many requests were under way at once, at most, when one of this kind came.
fn together(requests: &[Request], method: &str, path: &str) -> u64 {
    let of_kind = requests.iter().filter(|request| request.method == method && request.path.contains(path));
    of_kind.map(|request| request.under_way).max().unwrap()
}

/// An image with a layer of all, and two layers and a config of its own.
fn small(number: u64) -> Image {
    let own = |n: u64| format!("layer {n} of app {number}");
    ImageBuilder::new(&format!("app {number}")).layer("a layer of all").layer(own(1)).layer(own(2)).build()
}

#[tokio::test(flavor = "multi_thread")]
async fn small_images_need_few_requests_and_they_are_under_way_together() {
    let mut site = Site::new();
    let count = 40;
    for number in 0..count {
        site.add(&small(number), &format!("team/app-{number}"), "1.0");
    }
    let (bundle, images) = site.open("x.krs.tar").await;
    let requests = push_slowly(&site.edge, &bundle, &images).await;
    // 4 blobs are asked for, 3 are opened and sent, 1 is linked; the tag is asked for; image and tag are put and read back.
    let needed = count as usize * (4 + 6 + 1 + 1 + 4);
    assert!(requests.len() <= needed + 4, "{} requests, {needed} are needed", requests.len());
    // Of 32 connections.
    for (method, path) in [
        ("HEAD", "/blobs/"),
        ("POST", "/blobs/"),
        ("PUT", "/blobs/"),
        ("HEAD", "/manifests/"),
        ("PUT", "/manifests/"),
    ] {
        let together = together(&requests, method, path);
        assert!(together >= 16, "{together} requests at once, {method} {path} among them");
    }
}

/// A bundle of `count` images of `layers` layers each, all of which an edge has in other repositories, if it was
/// brought by an earlier bundle.
async fn delta(site: &mut Site, count: u64, layers: u64) -> (Arc<Bundle>, BundledImages) {
    let image = |number: u64, version: &str| {
        let builder = ImageBuilder::new(&format!("app {number} {version}"));
        (0..layers).fold(builder, |image, layer| image.layer_random(2000, number * 1000 + layer)).build()
    };
    for number in 0..count {
        site.add(&image(number, "1"), &format!("old/app-{number}"), "1.0");
    }
    let (first, images) = site.open("first.krs.tar").await;
    site.push(&first, &images).await.unwrap();
    let base = Base::of_bundle(&first, &images).unwrap();
    for number in 0..count {
        site.add(&image(number, "2"), &format!("new/app-{number}"), "2.0");
    }
    let (loaded, resolved) = site.resolve(&client()).await.unwrap();
    let options = PlanOptions { base, ..PlanOptions::default() };
    let plan = plan(&loaded, &resolved, &options, jiff::Timestamp::now()).unwrap();
    let path = site.archive("delta.krs.tar");
    krs_core::sync::pull::pull(&client(), &plan, Default::default(), &path, 4, &silent()).await.unwrap();
    let bundle = Bundle::open(&path, &Policy::default()).unwrap();
    let images = bundle.images().unwrap();
    (Arc::new(bundle), images)
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_of_a_base_are_looked_for_together() {
    let mut site = Site::new();
    let (bundle, images) = delta(&mut site, 4, 50).await;
    let requests = push_slowly(&site.edge, &bundle, &images).await;
    let heads = requests.iter().filter(|r| r.method == "HEAD" && r.path.contains("/blobs/")).count();
    // 8 images have a config, and 200 layers are asked for where they are needed and where they are.
    assert!(heads <= 2 * 200 + 8, "{heads}");
    // Those in the base's repositories come after those in the image's own.
    for repository in ["/new/", "/old/"] {
        let together = together(&requests, "HEAD", repository);
        assert!(together >= 16, "{together} look-ups at once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t103_a_delta_needs_one_connection_at_a_registry_that_mounts_nothing_and_knows_no_ranges() {
    let nothing = Options { mounts: false, ranges: false, ..Options::default() };
    let mut site = Site::with(Options::default(), nothing);
    let (bundle, images) = delta(&mut site, 2, 4).await;
    site.edge.clear_requests();
    let options = ClientOptions { connections_per_host: 1, ..options() };
    let destination = site.edge.host().to_string().parse().unwrap();
    let client = Client::new(options).unwrap();
    let silent = silent();
    let pushed = push(&client, &bundle, &images, &destination, 1, &silent);
    let report = tokio::time::timeout(Duration::from_secs(60), pushed).await.expect("it ends").unwrap();
    assert_eq!(report.targets.len(), 4);
    let requests = site.edge.requests();
    let reads = requests.iter().filter(|r| r.method == "GET" && r.path.contains("/blobs/sha256:"));
    let mut layers = BTreeSet::new();
    for read in reads {
        let (repository, digest) = read.path["/v2/".len()..].split_once("/blobs/").unwrap();
        let digest = digest.parse::<Digest>().unwrap();
        let size = site.edge.blob(repository, &digest).unwrap().len() as u64;
        assert!(layers.insert(digest) && read.bytes_out == size, "each layer is read once: {read:?}");
    }
    assert_eq!(layers.len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn t203_a_layer_of_the_base_is_found_though_another_repository_fails() {
    let names = ["team/a", "team/b", "team/c"].map(|name| name.parse::<RepositoryName>().unwrap());
    let found_at = async |edge: &Registry, digest: &Digest| {
        let repository = client().repository(&edge.host(), &names[0]);
        find_layer(&repository, (digest, 5), &names).await
    };
    // 500 is an answer about this blob: HEAD decides nothing then. The others may come from a proxy.
    for status in [500, 503] {
        for heads in [true, false] {
            let edge = Registry::start(Options::default());
            edge.fail(
                Matcher::any().path("/blobs/").repository("team/a"),
                What::Status(status, Vec::new(), String::new()),
            );
            if !heads {
                // Nothing is known by HEAD, so that each repository is asked a second time.
                edge.fail(
                    Matcher::any().path("/blobs/").method("HEAD"),
                    What::Status(404, Vec::new(), String::new()),
                );
            }
            let digest = Digest::of(b"layer");
            let error = found_at(&edge, &digest).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "it may be in the one that fails: {error}");
            edge.put_blob("team/c", b"layer");
            let found = found_at(&edge, &digest).await;
            assert_eq!(found.unwrap().as_ref(), Some(&names[2]), "{status}, HEAD: {heads}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t203_where_all_repositories_fail_only_the_first_is_asked_again() {
    let names = (0..20).map(|n| format!("team/app-{n}").parse().unwrap()).collect::<Vec<RepositoryName>>();
    let edge = Registry::start(Options::default());
    edge.fail(Matcher::any().path("/blobs/"), What::Status(503, Vec::new(), String::new()));
    let repository = client().repository(&edge.host(), &names[0]);
    let error = find_layer(&repository, (&Digest::of(b"layer"), 5), &names).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let request_count =
        edge.requests().into_iter().filter(|request| request.path.contains("/blobs/")).count();
    assert_eq!(request_count, 4 + 19 + 20, "4 tries of the first, then one request for each");
}
