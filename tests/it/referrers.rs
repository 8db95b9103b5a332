// SPDX-License-Identifier: Apache-2.0
//! Signatures, SBOMs and attestations: which travel, what is said of the others, and how they are found at the edge.

use std::collections::BTreeMap;
use std::sync::Arc;

use krs_core::bundle::{Bundle, BundledImages};
use krs_core::oci::digest::Digest;
use krs_core::sync::push::{PushOptions, PushReport, push};
use krs_core::sync::resolve::{ImageError, LeftBehind, Referrers};
use krs_testing::image::{
    Image, ImageBuilder, cosign_signature, cosign_tag, index, referrers_index, referrers_tag, sbom, signature,
};
use krs_testing::referrers::referrers_of;
use krs_testing::registry::{Matcher, Options, Registry, What};
use serde_json::Value;
use tokio::sync::Barrier;

use crate::harness::{Site, client, silent};

const SPDX: &str = "application/spdx+json";
const SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const DSSE: &str = "application/vnd.dsse.envelope.v1+json";

fn app() -> Image {
    ImageBuilder::new("app").layer_random(5_000, 1).build()
}

/// What cosign puts under a tag, of layers of this type.
fn tagged(image: &Image, layer: &str) -> Image {
    ImageBuilder::new("cosign").layer_type(layer).layer(format!("{layer} of {}", image.digest)).build()
}

/// A signed image with a signed SBOM, both by OCI 1.1, and a signature and an attestation under cosign's tags.
fn signed() -> (Site, Image) {
    let mut site = Site::new();
    let image = app();
    site.add(&image, "team/app", "1.0");
    let bill = sbom(&image);
    for referrer in [&bill, &signature(&image), &signature(&bill)] {
        referrer.push_to(&site.source, "team/app", None);
    }
    cosign_signature(&image).push_to(&site.source, "team/app", Some(&cosign_tag(&image.digest, "sig")));
    tagged(&image, DSSE).push_to(&site.source, "team/app", Some(&cosign_tag(&image.digest, "att")));
    (site, image)
}

fn types(types: &[&str]) -> Referrers {
    Referrers::Types(types.iter().map(|&of| of.to_owned()).collect())
}

fn counted(left: &LeftBehind) -> BTreeMap<&str, usize> {
    left.by_type.iter().map(|(kind, digests)| (kind.as_str(), digests.len())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn t50_the_chosen_types_travel_and_the_others_are_named() {
    let (mut site, image) = signed();
    for (choice, travel, left) in [
        (Referrers::All, 5, vec![]),
        // The signature of the SBOM is looked for, as the SBOM travels; it is of another type.
        (types(&[SPDX]), 1, vec![(SIGNATURE, 2), (SIMPLE_SIGNING, 1), (DSSE, 1)]),
        (types(&[SPDX, SIGNATURE]), 3, vec![(SIMPLE_SIGNING, 1), (DSSE, 1)]),
        // What refers to what stays behind stays behind with it.
        (types(&[SIGNATURE]), 1, vec![(SPDX, 1), (SIMPLE_SIGNING, 1), (DSSE, 1)]),
        (
            types(&["Application/vnd.DSSE.envelope.v1+json"]),
            1,
            vec![(SPDX, 1), (SIGNATURE, 1), (SIMPLE_SIGNING, 1)],
        ),
    ] {
        site.referrers = choice.clone();
        let (_, resolved) = site.resolve(&client()).await.unwrap();
        assert_eq!(resolved.images[0].referrers.len(), travel, "{choice:?}");
        assert_eq!(counted(&resolved.left_behind), BTreeMap::from_iter(left), "{choice:?}");
        assert!(!resolved.left_behind.unasked);
    }
    site.referrers = types(&[SIMPLE_SIGNING]);
    let (bundle, images) = site.open("x.krs.tar").await;
    site.push(&bundle, &images).await.unwrap();
    let tags = site.edge.tags("team/app");
    assert_eq!(tags, ["1.0".to_owned(), cosign_tag(&image.digest, "sig")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_referrers_none_are_queried_and_that_is_reported() {
    let (mut site, _) = signed();
    site.referrers = Referrers::None;
    let (_, resolved) = site.resolve(&client()).await.unwrap();
    assert!(resolved.images[0].referrers.is_empty() && resolved.left_behind.unasked);
    let paths = site.source.requests().into_iter().map(|request| request.path).collect::<Vec<_>>();
    assert!(paths.iter().all(|path| !path.contains("referrers") && !path.contains("sha256-")), "{paths:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t50_all_three_of_cosigns_tags_travel_also_those_of_one_platform() {
    let mut site = Site::new();
    let amd64 = app();
    let arm64 = ImageBuilder::new("app").layer_random(5_000, 2).platform("linux/arm64").build();
    let both = index(&[(&amd64, Some("linux/amd64")), (&arm64, Some("linux/arm64"))]);
    site.add(&both, "team/app", "1.0");
    let mut expected = BTreeMap::from([("1.0".to_owned(), both.digest)]);
    for subject in [&both, &arm64] {
        for (suffix, layer) in [("sig", SIMPLE_SIGNING), ("att", DSSE), ("sbom", "text/spdx+json")] {
            let (referrer, tag) = (tagged(subject, layer), cosign_tag(&subject.digest, suffix));
            referrer.push_to(&site.source, "team/app", Some(&tag));
            expected.insert(tag, referrer.digest);
        }
    }
    let (bundle, images) = site.open("x.krs.tar").await;
    site.push(&bundle, &images).await.unwrap();
    let arrived = site.edge.tags("team/app").into_iter();
    let arrived = arrived.map(|tag| (tag.clone(), site.edge.digest("team/app", &tag).unwrap()));
    assert_eq!(arrived.collect::<BTreeMap<_, _>>(), expected);
}

async fn found_at_the_edge(site: &Site, subject: &Digest) -> Vec<Digest> {
    let edge = client().repository(&site.edge.host(), &"team/app".parse().unwrap());
    let mut found = referrers_of(&edge, subject).await;
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn t50_t66_referrers_go_between_registries_with_and_without_the_api_both_ways() {
    for (from, to) in [(true, false), (false, true)] {
        let options = |referrers_api| Options { referrers_api, ..Options::default() };
        let mut site = Site::with(options(from), options(to));
        let image = app();
        site.add(&image, "team/app", "1.0");
        let (bill, seal) = (sbom(&image), signature(&image));
        let sealed_bill = signature(&bill);
        for referrer in [&bill, &seal, &sealed_bill] {
            referrer.push_to(&site.source, "team/app", None);
        }
        if !from {
            for (subject, list) in [(&image, vec![&bill, &seal]), (&bill, vec![&sealed_bill])] {
                let tag = referrers_tag(&subject.digest);
                referrers_index(&list).push_to(&site.source, "team/app", Some(&tag));
            }
        }
        let (bundle, images) = site.open("x.krs.tar").await;
        site.push(&bundle, &images).await.unwrap();
        let mut expected = vec![bill.digest, seal.digest];
        expected.sort();
        assert_eq!(found_at_the_edge(&site, &image.digest).await, expected, "API {from} -> {to}");
        assert_eq!(found_at_the_edge(&site, &bill.digest).await, [sealed_bill.digest], "API {from} -> {to}");
        let has_list = site.edge.tags("team/app").contains(&referrers_tag(&image.digest));
        assert_eq!(has_list, !to, "a list under a tag only where there is no API");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t50_referrers_that_others_attached_at_the_edge_stay_attached() {
    let mut site = Site::with(Options::default(), Options { referrers_api: false, ..Options::default() });
    let image = app();
    site.add(&image, "team/app", "1.0");
    sbom(&image).push_to(&site.source, "team/app", None);
    // Approved at the edge, before the bundle came.
    let approval =
        ImageBuilder::new("approval").artifact_type("application/vnd.site.approval").subject(&image);
    let approval = approval.layer("yes").build();
    approval.push_to(&site.edge, "team/app", None);
    referrers_index(&[&approval]).push_to(&site.edge, "team/app", Some(&referrers_tag(&image.digest)));
    let (bundle, images) = site.open("x.krs.tar").await;
    site.push(&bundle, &images).await.unwrap();
    let mut expected = vec![sbom(&image).digest, approval.digest];
    expected.sort();
    assert_eq!(found_at_the_edge(&site, &image.digest).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn t110_of_referrers_that_refer_to_each_other_without_end_the_first_travel() {
    let mut site = Site::new();
    let image = app();
    site.add(&image, "team/app", "1.0");
    let mut last = image;
    for _ in 0..12 {
        last = signature(&last);
        last.push_to(&site.source, "team/app", None);
    }
    let (_, resolved) = site.resolve(&client()).await.unwrap();
    let image = &resolved.images[0];
    assert_eq!((image.referrers.len(), image.missing_referrers.len()), (8, 1));
    assert!(image.missing_referrers[0].reason.contains("more than 8 deep"), "{:?}", image.missing_referrers);
    site.referrers = Referrers::Required;
    let errors = site.resolve(&client()).await.unwrap_err();
    assert!(matches!(errors.0[..], [(_, ImageError::Referrers(_))]), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t110_what_a_list_names_travels_only_where_it_says_so_itself() {
    let mut site = Site::with(without_api(), Options::default());
    let (part, stranger) = (app(), ImageBuilder::new("stranger").layer_random(1_000, 9).build());
    let both = index(&[(&part, Some("linux/amd64"))]);
    site.add(&both, "team/app", "1.0");
    // A list that somebody wrote: one entry refers to the image, one to a part of it, one to another image, one to none.
    let listed = [sbom(&both), signature(&part), signature(&stranger), cosign_signature(&both)];
    for referrer in &listed {
        referrer.push_to(&site.source, "team/app", None);
    }
    let list = referrers_index(&listed.each_ref());
    list.push_to(&site.source, "team/app", Some(&referrers_tag(&both.digest)));
    let (_, resolved) = site.resolve(&client()).await.unwrap();
    let found = resolved.images[0].referrers.iter().map(|found| (found.root.digest, found.subject));
    let expected = [(listed[0].digest, both.digest), (listed[1].digest, part.digest)];
    assert_eq!(found.collect::<BTreeMap<_, _>>(), BTreeMap::from(expected));
    // The others are not of the image: nothing of it is missing, and `required` is fulfilled.
    assert_eq!(resolved.images[0].missing_referrers, []);
    site.referrers = Referrers::Required;
    site.resolve(&client()).await.unwrap();
}

async fn push_to(edge: &Registry, bundle: &Arc<Bundle>, images: &BundledImages) -> PushReport {
    let destination = edge.host().to_string().parse().unwrap();
    push(&client(), bundle, images, &destination, 4, &silent()).await.unwrap()
}

fn without_api() -> Options {
    Options { referrers_api: false, ..Options::default() }
}

/// A site whose edge has these options, with an image, its SBOM and its signature in a bundle.
async fn attached(edge: Options) -> (Site, Image, Arc<Bundle>, BundledImages) {
    let mut site = Site::with(Options::default(), edge);
    let image = app();
    site.add(&image, "team/app", "1.0");
    for referrer in [sbom(&image), signature(&image)] {
        referrer.push_to(&site.source, "team/app", None);
    }
    let (bundle, images) = site.open("x.krs.tar").await;
    (site, image, bundle, images)
}

#[tokio::test(flavor = "multi_thread")]
async fn t50_where_the_registry_says_that_it_lists_them_nothing_is_asked_and_no_list_written() {
    let (site, image, bundle, images) = attached(Options::default()).await;
    let report = site.push(&bundle, &images).await.unwrap();
    assert_eq!(report.referrers, []);
    let requests = site.edge.requests();
    assert!(!requests.iter().any(|r| r.path.contains("/referrers/") || r.path.contains("sha256-")));
    assert_eq!(found_at_the_edge(&site, &image.digest).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn t50_a_list_has_the_artifact_types_and_annotations_of_the_manifests() {
    let (site, image, bundle, images) = attached(without_api()).await;
    site.push(&bundle, &images).await.unwrap();
    let (_, written) = site.edge.manifest("team/app", &referrers_tag(&image.digest)).unwrap();
    let written = serde_json::from_slice::<Value>(&written).unwrap();
    let mut expected = [sbom(&image), signature(&image)];
    expected.sort_by_key(|referrer| referrer.digest);
    let expected = referrers_index(&expected.iter().collect::<Vec<_>>());
    let expected = serde_json::from_slice::<Value>(&expected.manifest).unwrap();
    assert_eq!(written, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn t113_at_a_registry_that_takes_the_tag_for_the_digest_the_image_is_tagged_all_the_same() {
    let (site, image, bundle, images) = attached(Options { digest_tags: true, ..without_api() }).await;
    let report = site.push(&bundle, &images).await.unwrap();
    assert_eq!(report.referrers.len(), 2);
    for problem in &report.referrers {
        assert!(problem.unlisted && problem.reason.contains("takes the tag"), "{problem:?}");
        assert!(site.edge.manifest("team/app", &problem.digest.to_string()).is_some());
    }
    assert_eq!(site.edge.tags("team/app"), ["1.0"], "nothing is put over the image");
    assert_eq!(site.edge.digest("team/app", "1.0"), Some(image.digest));
}

#[tokio::test(flavor = "multi_thread")]
async fn t114_two_pushes_that_write_one_list_at_the_same_time_are_both_found() {
    let edge = Registry::start(without_api());
    let image = app();
    let referrers = [sbom(&image), signature(&image)];
    let mut bundles = Vec::new();
    for referrer in &referrers {
        let mut site = Site::new();
        site.add(&image, "team/app", "1.0");
        referrer.push_to(&site.source, "team/app", None);
        let (bundle, images) = site.open("x.krs.tar").await;
        bundles.push((site, bundle, images));
    }
    // Both have read that there is no list when the first of them writes it.
    let first_two = Matcher::any().method("PUT").path("/manifests/sha256-").nth(1..=2);
    edge.fail(first_two, What::Together(Arc::new(Barrier::new(2))));
    let pushes = bundles.iter().map(|(_, bundle, images)| push_to(&edge, bundle, images));
    let reports = futures::future::join_all(pushes).await;
    assert!(reports.iter().all(|report| report.referrers.is_empty()), "{reports:?}");
    let mut expected = referrers.map(|referrer| referrer.digest).to_vec();
    expected.sort();
    let repository = client().repository(&edge.host(), &"team/app".parse().unwrap());
    let mut found = referrers_of(&repository, &image.digest).await;
    found.sort();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn t115_a_registry_that_lists_or_takes_no_referrers_gets_the_image_all_the_same() {
    let refused = |status| What::Status(status, vec![], String::new());
    for (on, what, unlisted) in [
        (Matcher::any().method("PUT").path("/manifests/sha256-"), refused(403), true),
        (Matcher::any().method("PUT").path("/manifests/sha256-"), refused(400), true),
        (Matcher::any().method("GET").path("/manifests/sha256-"), refused(401), true),
        (Matcher::any().method("GET").path("/referrers/"), refused(500), true),
    ] {
        let (site, image, bundle, images) = attached(without_api()).await;
        site.edge.fail(on.clone(), what);
        let report = site.push(&bundle, &images).await.unwrap();
        assert_eq!(site.edge.digest("team/app", "1.0"), Some(image.digest), "{on:?}");
        // A list is written also where the API fails.
        let expected = if on.path.as_deref() == Some("/referrers/") { 0 } else { 2 };
        assert_eq!(report.referrers.len(), expected, "{on:?}");
        assert!(report.referrers.iter().all(|problem| problem.unlisted == unlisted), "{on:?}");
    }
    // It does not take the manifest of one, or the media are damaged where a blob of one lies.
    for damaged in [false, true] {
        let (site, image, bundle, images) = attached(Options::default()).await;
        let seal = signature(&image);
        if damaged {
            let (path, (_, content)) = (site.archive("x.krs.tar"), seal.blobs.last().unwrap());
            let mut bytes = std::fs::read(&path).unwrap();
            let position = bytes.windows(content.len()).position(|window| window == content).unwrap();
            bytes[position] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        } else {
            let path = format!("/manifests/{}", seal.digest);
            site.edge.fail(Matcher::any().method("PUT").path(path), refused(405));
        }
        let report = site.push(&bundle, &images).await.unwrap();
        let missing = report.referrers.iter().map(|problem| (problem.digest, problem.unlisted));
        assert_eq!(missing.collect::<Vec<_>>(), [(seal.digest, false)], "damaged {damaged}");
        assert_eq!(site.edge.digest("team/app", "1.0"), Some(image.digest), "damaged {damaged}");
        assert_eq!(found_at_the_edge(&site, &image.digest).await, [sbom(&image).digest], "damaged {damaged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t115_what_cannot_be_read_as_a_list_is_not_overwritten() {
    let (site, image, bundle, images) = attached(without_api()).await;
    let tag = referrers_tag(&image.digest);
    app().push_to(&site.edge, "team/app", None);
    let other = ImageBuilder::new("other").layer("of somebody").build();
    other.push_to(&site.edge, "team/app", Some(&tag));
    let report = site.push(&bundle, &images).await.unwrap();
    assert_eq!(report.referrers.len(), 2);
    assert_eq!(site.edge.digest("team/app", &tag), Some(other.digest));
    assert_eq!(site.edge.digest("team/app", "1.0"), Some(image.digest));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_referrers_are_not_wanted_at_the_edge_none_are_sent() {
    let (site, image, bundle, images) = attached(without_api()).await;
    let destination = site.edge.host().to_string().parse().unwrap();
    let options = PushOptions { jobs: 4, referrers: false };
    let report = push(&client(), &bundle, &images, &destination, options, &silent()).await.unwrap();
    assert_eq!(report.referrers, []);
    assert_eq!(site.edge.tags("team/app"), ["1.0"]);
    for referrer in [sbom(&image), signature(&image)] {
        assert!(site.edge.manifest("team/app", &referrer.digest.to_string()).is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t115_what_two_images_have_in_common_is_named_once() {
    let mut site = Site::with(Options::default(), Options { digest_tags: true, ..without_api() });
    let common = ImageBuilder::new("common").layer_random(1000, 1).build();
    let seal = signature(&common);
    for number in 2..4 {
        let other = ImageBuilder::new("app").layer_random(1000, number).platform("linux/arm64").build();
        site.add(&index(&[(&common, None), (&other, None)]), "team/app", &format!("{number}.0"));
    }
    seal.push_to(&site.source, "team/app", None);
    let (bundle, images) = site.open("x.krs.tar").await;
    // The registry takes the tag of the list for the image, so that it can list nothing.
    let report = site.push(&bundle, &images).await.unwrap();
    let named = report.referrers.iter().map(|problem| (problem.digest, problem.unlisted));
    assert_eq!(named.collect::<Vec<_>>(), [(seal.digest, true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t127_a_push_spends_a_quarter_of_its_retries_on_signatures() {
    let (mut site, image) = signed();
    let (bundle, images) = site.open("x.krs.tar").await;
    let seal = signature(&image);
    let mut options = crate::harness::options();
    options.retry.budget = 8;
    // Their manifests, and the blobs that only they need.
    for path in [seal.digest.to_string(), seal.blobs.last().unwrap().0.to_string()] {
        site.edge.fail(Matcher::any().path(&path), What::Status(500, vec![], String::new()));
    }
    let client = krs_core::registry::Client::new(options).unwrap();
    let destination = site.edge.host().to_string().parse().unwrap();
    let report =
        push(&client, &bundle, &images, &destination, PushOptions::from(4), &silent()).await.unwrap();
    assert!(report.referrers.iter().any(|problem| problem.digest == seal.digest), "{report:?}");
    assert_eq!(client.statistics().retries_left, 6, "2 of 8");
}
