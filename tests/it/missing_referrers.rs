// SPDX-License-Identifier: Apache-2.0
//! Signatures, SBOMs and attestations are optional: trouble with one costs that one, is said, and never costs the image.

use krs_core::oci::closure::Manifests;
use krs_core::registry::{Client, ClientOptions, RetryPolicy};
use krs_core::sync::fetch;
use krs_core::sync::resolve::{ImageError, MissingReferrer, Referrers, Resolved, find_referrers};
use krs_testing::image::{
    Image, ImageBuilder, cosign_signature, cosign_tag, index, referrers_index, referrers_tag, sbom,
    signature, with_attestations,
};
use krs_testing::registry::{Matcher, Options, Registry, What};
use serde_json::{Value, json};

use crate::harness::{Site, client, options};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn without_api() -> Options {
    Options { referrers_api: false, ..Options::default() }
}

fn app() -> Image {
    ImageBuilder::new("app").layer_random(5_000, 1).build()
}

/// An image in `team/app` of a source with these options.
fn site(source: Options) -> (Site, Image) {
    let mut site = Site::with(source, Options::default());
    let image = app();
    site.add(&image, "team/app", "1.0");
    (site, image)
}

async fn resolved(site: &mut Site) -> Resolved {
    site.resolve(&client()).await.unwrap().1
}

fn missing(resolved: &Resolved) -> &[MissingReferrer] {
    &resolved.images[0].missing_referrers
}

fn put_list(registry: &Registry, subject: &Image, list: &Value) {
    registry.put_manifest("team/app", &referrers_tag(&subject.digest), INDEX, list.to_string().as_bytes());
}

/// An index of two platforms.
fn both() -> Image {
    let arm64 = ImageBuilder::new("app").layer_random(5_000, 2).platform("linux/arm64").build();
    index(&[(&app(), Some("linux/amd64")), (&arm64, Some("linux/arm64"))])
}

#[tokio::test(flavor = "multi_thread")]
async fn t110_a_referrer_whose_manifest_is_missing_or_damaged_costs_only_itself() {
    for api in [true, false] {
        for damaged in [true, false] {
            let (mut site, image) = site(Options { referrers_api: api, ..Options::default() });
            let (bill, seal) = (sbom(&image), signature(&image));
            for referrer in [&bill, &seal] {
                referrer.push_to(&site.source, "team/app", None);
            }
            if !api {
                let list = referrers_index(&[&bill, &seal]);
                site.source.put_manifest("team/app", &referrers_tag(&image.digest), INDEX, &list.manifest);
            }
            if damaged {
                let path = format!("/manifests/{}", seal.digest);
                site.source.fail(Matcher::manifests().path(path), What::WrongBytes);
            } else {
                let path = format!("/manifests/{}", seal.digest);
                site.source.fail(Matcher::any().path(path), What::Status(404, vec![], String::new()));
            }
            let resolved = resolved(&mut site).await;
            let travelling = resolved.images[0].referrers.iter().map(|r| r.root.digest).collect::<Vec<_>>();
            assert_eq!(travelling, [bill.digest], "API {api}, damaged {damaged}");
            let [missing] = missing(&resolved) else { panic!("{:?}", missing(&resolved)) };
            assert_eq!((missing.digest, missing.subject), (Some(seal.digest), image.digest));
            assert!(missing.reason.contains(&seal.digest.to_string()), "{}", missing.reason);
            let (bundle, images) = site.open("x.krs.tar").await;
            assert_eq!(bundle.manifest().images[0].referrers.len(), 1);
            site.push(&bundle, &images).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t110_a_referrer_whose_blob_turns_out_to_be_missing_costs_itself_and_what_refers_to_it() {
    let (mut site, image) = site(Options::default());
    let (bill, seal) = (sbom(&image), signature(&image));
    let sealed_bill = signature(&bill);
    for referrer in [&bill, &seal, &sealed_bill] {
        referrer.push_to(&site.source, "team/app", None);
    }
    let gone = bill.blobs.iter().find(|(_, bytes)| bytes.starts_with(br#"{"name""#) || bytes.len() > 50);
    assert!(site.source.delete_blob(&gone.unwrap().0));
    let (bundle, images) = site.open("x.krs.tar").await;
    let travelling = bundle.manifest().images[0].referrers.iter().map(|r| r.digest).collect::<Vec<_>>();
    assert_eq!(travelling, [seal.digest], "without the SBOM, and without the signature of the SBOM");
    site.push(&bundle, &images).await.unwrap();
    assert!(site.edge.digest("team/app", "1.0").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn t110_a_referrer_that_contradicts_the_image_costs_only_itself() {
    let (mut site, image) = site(Options::default());
    let lying = |digest: &str, size: u64| {
        json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x",
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest, "size": size},
            "layers": [], "subject": image.descriptor(),
        })
    };
    let config = image.blobs[0].0.to_string();
    let nowhere = format!("sha256:{}", "7".repeat(64));
    for manifest in [lying(&config, 3), lying(&nowhere, 1 << 62)] {
        let digest = krs_core::oci::digest::Digest::of(manifest.to_string().as_bytes()).to_string();
        site.source.put_manifest("team/app", &digest, MANIFEST, manifest.to_string().as_bytes());
    }
    let resolved = resolved(&mut site).await;
    assert_eq!((resolved.images[0].referrers.len(), missing(&resolved).len()), (0, 2));
    site.open("x.krs.tar").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t111_an_odd_entry_costs_only_itself() {
    let (mut site, image) = site(without_api());
    let seal = signature(&image);
    seal.push_to(&site.source, "team/app", None);
    let entry = |more: Value| {
        let mut entry = seal.descriptor();
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    };
    let harmless = entry(json!({"platform": {}, "annotations": {"a": null}, "size": 1}));
    let odd = [
        entry(json!({"digest": format!("sha512:{}", "a".repeat(128))})),
        entry(json!({"mediaType": "application/vnd.oci.artifact.manifest.v1+json"})),
        json!(null),
    ];
    let list = |entries: Vec<&Value>| json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    put_list(&site.source, &image, &list(vec![&harmless]));
    let alone = resolved(&mut site).await;
    assert_eq!((alone.images[0].referrers.len(), missing(&alone)), (1, &[][..]), "it only looks odd");
    put_list(&site.source, &image, &list(odd.iter().chain([&harmless]).collect()));
    let resolved = resolved(&mut site).await;
    assert_eq!(resolved.images[0].referrers.len(), 1);
    assert_eq!(missing(&resolved).len(), odd.len(), "{:?}", missing(&resolved));
}

#[tokio::test(flavor = "multi_thread")]
async fn t112_failed_look_ups_cost_no_image_and_are_reported_once_for_each() {
    let html = |of: &str| What::Status(200, vec![("content-type".into(), of.into())], "<html>".into());
    let status = |status| What::Status(status, vec![], String::new());
    let (mut site, _) = site(Options::default());
    for (path, what, expected) in [
        ("/referrers/", status(401), 1),
        ("/referrers/", status(403), 1),
        ("/referrers/", status(410), 1),
        ("/referrers/", status(500), 1),
        ("/referrers/", html(INDEX), 1),
        ("/referrers/", html("text/html"), 1),
        // Then there is no API.
        ("/referrers/", status(404), 0),
    ] {
        site.source.clear_faults();
        site.source.fail(Matcher::any().path(path), what.clone());
        let resolved = resolved(&mut site).await;
        assert_eq!(missing(&resolved).len(), expected, "{path}, {what:?}: {:?}", missing(&resolved));
    }
    // Tags that are not in the list of tags are absent, whatever the registry says of them.
    for answer in [401, 403, 410] {
        site.source.clear_faults();
        site.source.fail(Matcher::any().path("sha256-"), status(answer));
        assert_eq!(missing(&resolved(&mut site).await), [], "{answer}");
        // Where there is no list either, nobody knows.
        site.source.fail(Matcher::any().path("/tags/list"), status(answer));
        assert_eq!(missing(&resolved(&mut site).await).len(), 3, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t112_a_signature_that_head_refuses_to_show_travels() {
    let (mut site, image) = site(Options::default());
    let seal = cosign_signature(&image);
    seal.push_to(&site.source, "team/app", Some(&cosign_tag(&image.digest, "sig")));
    site.source.fail(Matcher::any().method("HEAD").path("sha256-"), What::Status(403, vec![], String::new()));
    let resolved = resolved(&mut site).await;
    assert_eq!((resolved.images[0].referrers.len(), missing(&resolved)), (1, &[][..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn t112_what_is_optional_leaves_the_retries_to_the_images() {
    let mut site = Site::new();
    site.add(&both(), "team/app", "1.0");
    site.source.fail(Matcher::any().path("/referrers/"), What::Status(503, vec![], String::new()));
    let client = client();
    let (_, resolved) = site.resolve(&client).await.unwrap();
    assert_eq!(missing(&resolved).len(), 3);
    assert_eq!(client.statistics().retries, 3, "the first look-up is retried, those after it are not");
}

#[tokio::test(flavor = "multi_thread")]
async fn t127_look_ups_of_all_kinds_use_a_quarter_of_the_retries_unless_they_are_required() {
    for path in ["/referrers/", "sha256-", "/tags/list"] {
        let mut site = Site::with(without_api(), Options::default());
        site.add(&both(), "team/app", "1.0");
        site.source.fail(Matcher::any().path(path), What::Status(503, vec![], String::new()));
        for (choice, least, most) in [(Referrers::All, 6, 8), (Referrers::Required, 0, 5)] {
            // The list of tags only saves requests.
            let most = if path == "/tags/list" { 8 } else { most };
            let retry = RetryPolicy { budget: 8, ..options().retry };
            let client = Client::new(ClientOptions { retry, ..options() }).unwrap();
            site.referrers = choice.clone();
            let resolved = site.resolve(&client).await;
            // What the list of tags does not hold is absent.
            let fails = choice == Referrers::Required && path == "/referrers/";
            assert_eq!(resolved.is_err(), fails, "{path} {choice:?}");
            let left = client.statistics().retries_left;
            assert!((least..=most).contains(&left), "{path} {choice:?}: {left} of 8 are left");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t113_a_registry_that_takes_the_tag_for_the_digest_has_no_list() {
    let source = Registry::start(Options { digest_tags: true, ..without_api() });
    // One platform is chosen, and the image of the other is gone: as an entry of a list it would be missing.
    let image = both();
    image.push_to(&source, "team/app", Some("1.0"));
    source.delete_manifest("team/app", &image.children[1].digest.to_string());
    let repository = client().repository(&source.host(), &"team/app".parse().unwrap());
    let mut manifests = Manifests::default();
    let root = fetch::fetch_root(&repository, &image.digest, &mut manifests).await.unwrap();
    let platforms = ["linux/amd64".parse().unwrap()];
    let closure = fetch::fetch_closure(&repository, &root, &platforms, &mut manifests).await.unwrap();
    let found = find_referrers(&repository, &closure, &mut manifests).await;
    assert_eq!((found.referrers.len(), &found.missing[..]), (0, &[][..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn t117_if_a_proxy_answers_for_the_api_with_a_web_page_the_tag_is_queried_and_the_page_is_reported() {
    let (mut site, image) = site(without_api());
    let seal = signature(&image);
    seal.push_to(&site.source, "team/app", None);
    referrers_index(&[&seal]).push_to(&site.source, "team/app", Some(&referrers_tag(&image.digest)));
    let page = vec![("content-type".to_owned(), "text/html".to_owned())];
    let page = What::Status(200, page, "<html><title>Blocked</title>".to_owned());
    site.source.fail(Matcher::any().path("/referrers/"), page);
    let found = resolved(&mut site).await;
    assert_eq!(found.images[0].referrers.len(), 1);
    // Once for the image, once for its signature.
    assert_eq!(missing(&found).len(), 2, "{:?}", missing(&found));
    assert!(missing(&found)[0].reason.contains("title `Blocked`"), "{:?}", missing(&found));
    site.referrers = Referrers::Required;
    let errors = site.resolve(&client()).await.unwrap_err();
    assert!(matches!(errors.0[..], [(_, ImageError::Referrers(_))]), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_they_are_required_trouble_with_one_fails_the_image() {
    let (mut site, image) = site(Options::default());
    signature(&image).push_to(&site.source, "team/app", None);
    site.referrers = Referrers::Required;
    assert_eq!(resolved(&mut site).await.images[0].referrers.len(), 1);
    site.source.fail(Matcher::any().path("/referrers/"), What::Status(403, vec![], String::new()));
    let errors = site.resolve(&client()).await.unwrap_err();
    assert!(matches!(errors.0[..], [(_, ImageError::Referrers(_))]), "{errors}");
}

/// Requests for an index of 8 platforms with an attestation of each, without those for blobs.
async fn requests(
    source: Options,
    expected_referrers: usize,
    add: impl Fn(&Registry, &Image),
) -> (usize, usize) {
    let platforms = ["amd64", "arm64", "arm", "386", "ppc64le", "s390x", "riscv64", "mips64le"];
    let images = platforms.iter().enumerate().map(|(n, architecture)| {
        let seed = u64::try_from(n).unwrap();
        ImageBuilder::new("app").layer_random(500, seed).platform(&format!("linux/{architecture}")).build()
    });
    let images = images.collect::<Vec<_>>();
    let top = with_attestations(&images.iter().collect::<Vec<_>>());
    let mut site = Site::with(source, Options::default());
    site.add(&top, "team/app", "1.0");
    add(&site.source, &top);
    let (bundle, _) = site.open("x.krs.tar").await;
    assert_eq!(bundle.manifest().images[0].referrers.len(), expected_referrers);
    let requests = site.source.requests();
    let requests = requests.iter().filter(|request| !request.path.contains("/blobs/")).collect::<Vec<_>>();
    let manifests =
        requests.iter().filter(|r| r.method == "GET" && r.path.contains("/manifests/") && r.status == 200);
    (requests.len(), manifests.count())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_eight_platforms_takes_few_requests() {
    // 1 index, 8 images and 8 attestations; 9 times the API, or once the API and once the tag in its place; 3 tags of
    // cosign, the list of tags, and what comes after its last one.
    let nothing = |_: &Registry, _: &Image| {};
    assert_eq!(requests(Options::default(), 0, nothing).await, (31, 17));
    assert_eq!(requests(without_api(), 0, nothing).await, (24, 17));
    // A signature of the image and one of a child, by tags and by the API: each is a manifest more, and is itself looked
    // up by the API.
    let signed = |registry: &Registry, top: &Image| {
        for subject in [top, &top.children[3]] {
            let tag = cosign_tag(&subject.digest, "sig");
            cosign_signature(subject).push_to(registry, "team/app", Some(&tag));
            signature(subject).push_to(registry, "team/app", None);
        }
    };
    let (all, manifests) = requests(Options::default(), 4, signed).await;
    assert!(all <= 45 && manifests == 21, "{all}, {manifests}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_tags_that_may_be_cut_is_not_relied_on() {
    let image = both();
    let child = &image.children[1];
    let signed = || {
        let mut site = Site::with(without_api(), Options::default());
        site.add(&image, "team/app", "1.0");
        let tag = cosign_tag(&child.digest, "sig");
        cosign_signature(child).push_to(&site.source, "team/app", Some(&tag));
        site
    };
    let list =
        |tags: &[String]| What::Status(200, vec![], json!({"name": "team/app", "tags": tags}).to_string());
    let cut =
        |count: usize| (0..count).map(|n| format!("0.{n:03}")).chain(["1.0".to_owned()]).collect::<Vec<_>>();
    let named = |tags: &[&str]| tags.iter().map(|&tag| tag.to_owned()).collect::<Vec<_>>();
    let next = vec![("link".to_owned(), "</v2/team/app/tags/list?last=1.0>; rel=\"next\"".to_owned())];
    for what in [
        What::Status(404, vec![], String::new()),
        What::Status(403, vec![], String::new()),
        What::Status(200, vec![], "<html>".to_owned()),
        // Without the tag by which the image was read: a cache that lists what it holds.
        list(&named(&["other"])),
        // Cut without a word, by a registry that pays no heed to `last`.
        list(&cut(99)),
        list(&cut(22)),
        list(&named(&["v2", "1.0"])),
        What::Status(200, next, json!({"tags": ["1.0"]}).to_string()),
    ] {
        let mut site = signed();
        site.source.fail(Matcher::any().path("/tags/list"), what.clone());
        let resolved = resolved(&mut site).await;
        assert_eq!(resolved.images[0].referrers.len(), 1, "{what:?}");
    }
    // A list that is complete spares the requests, and so does one that is cut and resumed.
    for what in [None, Some(list(&named(&["1.0"])))] {
        let mut site = signed();
        let cut = what.is_some();
        what.into_iter().for_each(|what| site.source.fail(Matcher::any().path("/tags/list").once(), what));
        assert_eq!(resolved(&mut site).await.images[0].referrers.len(), 1);
        let requests = site.source.requests();
        let count = |method: &str, path: &str| {
            requests.iter().filter(|request| request.method == method && request.path.contains(path)).count()
        };
        assert_eq!((count("HEAD", ""), count("GET", "/tags/list")), (3, if cut { 3 } else { 2 }));
    }
    // What sorts behind all of them shows that none was cut off.
    let mut site = signed();
    site.add(&app(), "team/app", "v2");
    assert_eq!(resolved(&mut site).await.images[0].referrers.len(), 1);
    let lists = site.source.requests().iter().filter(|r| r.path.contains("/tags/list")).count();
    assert_eq!(lists, 1);
}
