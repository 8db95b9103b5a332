// SPDX-License-Identifier: Apache-2.0
//! From Git to the edge, as it should go.

use krs_core::error::{Classify as _, ErrorKind};
use krs_testing::image::{
    self, ImageBuilder, cosign_signature, cosign_tag, docker_list, helm_chart, index, layers_null, sbom,
    signature, with_attestations,
};
use krs_testing::referrers::referrers_of;
use krs_testing::registry::Options;

use crate::harness::{Site, client};

fn app(name: &str, seed: u64) -> ImageBuilder {
    // The first layer is the same in all of them.
    ImageBuilder::new(name).layer_random(50_000, 1).layer_random(20_000, seed)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_image_arrives_byte_for_byte() {
    let mut site = Site::new();
    let (amd64, arm64) = (app("a", 2).build(), app("a", 3).platform("linux/arm64").build());
    let both = index(&[(&amd64, Some("linux/amd64")), (&arm64, Some("linux/arm64"))]);
    let images = [
        ("plain", app("plain", 4).build()),
        ("docker", app("docker", 5).docker().gzip().build()),
        ("zstd", app("zstd", 6).zstd().build()),
        ("nested", index(&[(&both, None), (&app("inner", 7).build(), Some("linux/s390x"))])),
        ("list", docker_list(&[(&app("l", 8).docker().build(), Some("linux/amd64"))])),
        ("attested", with_attestations(&[&app("att", 9).build()])),
        ("both", both),
        ("chart", helm_chart("chart", "1.2.3")),
        ("null", layers_null("null")),
        ("empty", app("empty", 10).empty_layer().build()),
    ];
    for (name, image) in &images {
        site.add(image, &format!("team/{name}"), "1.0");
    }
    let (bundle, opened) = site.open("all.krs.tar").await;
    let report = site.push(&bundle, &opened).await.unwrap();
    assert_eq!(report.targets.len(), images.len());
    for (name, image) in &images {
        let repository = format!("team/{name}");
        for manifest in image.manifests() {
            let (media_type, bytes) = site.edge.manifest(&repository, &manifest.digest.to_string()).unwrap();
            assert_eq!((&media_type, &bytes), (&manifest.media_type, &manifest.manifest), "{name}");
            for (digest, content) in &manifest.blobs {
                assert_eq!(site.edge.blob(&repository, digest).as_ref(), Some(content), "{name}");
            }
        }
        assert_eq!(site.edge.digest(&repository, "1.0"), Some(image.digest), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_push_moves_no_blob_and_shared_layers_are_sent_once() {
    let mut site = Site::new();
    for n in 0..5 {
        site.add(&app("app", 10 + n).build(), &format!("team/app{n}"), "1.0");
    }
    let (bundle, images) = site.open("one.krs.tar").await;
    let first = site.push(&bundle, &images).await.unwrap();
    let distinct = bundle.manifest().blobs.len() as u64 - 5;
    assert_eq!(first.blobs_sent, distinct, "each blob is sent once");
    assert!(first.blobs_mounted >= 4, "the shared layer is linked into the other repositories");
    site.edge.clear_requests();
    let again = site.push(&bundle, &images).await.unwrap();
    assert_eq!((again.blobs_sent, again.bytes_sent, again.manifests_sent), (0, 0, 0));
    assert!(site.edge.requests().iter().all(|request| request.method == "HEAD" || request.path == "/v2/"));

    // A new version moves what is new.
    site.add(&app("app", 99).build(), "team/app0", "1.1");
    let (bundle, images) = site.open("two.krs.tar").await;
    let second = site.push(&bundle, &images).await.unwrap();
    assert_eq!(second.blobs_sent, 2, "one layer and one config are new");
}

#[tokio::test(flavor = "multi_thread")]
async fn t66_a_registry_that_cannot_mount_gets_every_blob_in_every_repository() {
    let mut site = Site::with(Options::default(), Options { mounts: false, ..Options::default() });
    for n in 0..3 {
        site.add(&app("app", 10 + n).build(), &format!("team/app{n}"), "1.0");
    }
    let (bundle, images) = site.open("one.krs.tar").await;
    let report = site.push(&bundle, &images).await.unwrap();
    assert_eq!(report.blobs_mounted, 0);
    assert_eq!(report.targets.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn t61_a_layer_that_was_lost_at_the_edge_is_sent_again() {
    let mut site = Site::new();
    let image = app("app", 2).build();
    site.add(&image, "team/app", "1.0");
    let (bundle, images) = site.open("one.krs.tar").await;
    site.push(&bundle, &images).await.unwrap();
    let lost = image.blobs[1].0;
    assert!(site.edge.delete_blob(&lost));
    let report = site.push(&bundle, &images).await.unwrap();
    assert_eq!(report.blobs_sent, 1);
    assert!(site.edge.has_blob("team/app", &lost));
}

#[tokio::test(flavor = "multi_thread")]
async fn t89_the_same_commit_gives_the_same_bytes() {
    let mut site = Site::new();
    for n in 0..4 {
        site.add(&app("app", 10 + n).build(), &format!("team/app{n}"), "1.0");
    }
    let one = site.bundle(&client(), "one.krs.tar").await.unwrap();
    let two = site.bundle(&client(), "two.krs.tar").await.unwrap();
    assert!(std::fs::read(one).unwrap() == std::fs::read(two).unwrap(), "the archives differ");
    assert!(!site.archive("one.krs.tar.part").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn t50_signatures_and_sboms_travel_with_their_image() {
    // One registry has the referrers API, the other only the fallback tag.
    for api in [true, false] {
        let options = || Options { referrers_api: api, ..Options::default() };
        let mut site = Site::with(options(), options());
        let image = app("app", 2).build();
        site.add(&image, "team/app", "1.0");
        let (bill, seal) = (sbom(&image), signature(&image));
        let sealed_bill = signature(&bill);
        for referrer in [&bill, &seal, &sealed_bill] {
            referrer.push_to(&site.source, "team/app", None);
        }
        if !api {
            let fallback = image::referrers_index(&[&bill, &seal]);
            fallback.push_to(&site.source, "team/app", Some(&image::referrers_tag(&image.digest)));
            image::referrers_index(&[&sealed_bill]).push_to(
                &site.source,
                "team/app",
                Some(&image::referrers_tag(&bill.digest)),
            );
        }
        let cosign = cosign_signature(&image);
        cosign.push_to(&site.source, "team/app", Some(&cosign_tag(&image.digest, "sig")));
        let (bundle, images) = site.open("one.krs.tar").await;
        assert_eq!(bundle.manifest().images[0].referrers.len(), 4, "referrers API: {api}");
        site.push(&bundle, &images).await.unwrap();
        for referrer in [&bill, &seal, &sealed_bill, &cosign] {
            let arrived = site.edge.manifest("team/app", &referrer.digest.to_string());
            assert_eq!(
                arrived.map(|(_, bytes)| bytes).as_ref(),
                Some(&referrer.manifest),
                "referrers API: {api}"
            );
        }
        let edge = client().repository(&site.edge.host(), &"team/app".parse().unwrap());
        let found = referrers_of(&edge, &image.digest).await;
        assert_eq!(found.len(), 2, "referrers API: {api}: an SBOM and a signature are found at the edge");
        assert_eq!(referrers_of(&edge, &bill.digest).await.len(), 1, "referrers API: {api}");
        let again = site.push(&bundle, &images).await.unwrap();
        assert_eq!((again.blobs_sent, again.manifests_sent), (0, 0), "referrers API: {api}");
        assert_eq!(site.edge.digest("team/app", &cosign_tag(&image.digest, "sig")), Some(cosign.digest));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_platforms_of_the_set_travel_and_the_index_keeps_its_digest() {
    let mut site = Site::with(Options::default(), Options { sparse_indexes: true, ..Options::default() });
    let (amd64, arm64) = (app("a", 2).build(), app("a", 3).platform("linux/arm64").build());
    let both = index(&[(&amd64, Some("linux/amd64")), (&arm64, Some("linux/arm64"))]);
    site.add(&both, "team/app", "1.0");
    let loaded = site.load();
    let text = String::from_utf8(loaded.sets[0].raw.clone()).unwrap();
    let narrowed = text.replace("spec:\n", "spec:\n  platforms: [linux/arm64]\n");
    site.checkout.write("site/images.yaml", narrowed);
    site.checkout.commit("Only arm64");
    let loaded = krs_core::set::load(&[site.checkout.path().to_owned()], None).unwrap();
    let merged = krs_core::set::merge(&loaded.sets).unwrap();
    let referrers = krs_core::sync::resolve::Referrers::None;
    let options = krs_core::sync::resolve::ResolveOptions {
        jobs: 4,
        referrers,
        require_platforms: false,
        sources: Vec::new(),
    };
    let resolved = krs_core::sync::resolve::resolve(&client(), &merged, options, &crate::harness::silent())
        .await
        .unwrap();
    let closure = &resolved.images[0].closure;
    assert_eq!(resolved.images[0].root.digest, both.digest);
    assert!(closure.manifests.iter().any(|d| d.digest == arm64.digest));
    assert!(!closure.manifests.iter().any(|d| d.digest == amd64.digest));
}

#[tokio::test(flavor = "multi_thread")]
async fn t88_every_image_that_fails_is_named_and_no_archive_is_left() {
    let mut site = Site::new();
    site.add(&app("good", 2).build(), "team/good", "1.0");
    let missing = app("missing", 3).build();
    for name in ["one", "two"] {
        let host = site.source.host();
        site.name(format!("{host}/team/{name}:1.0@{}", missing.digest));
    }
    let error = site.resolve(&client()).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("2 images failed") && text.contains("team/one") && text.contains("team/two"),
        "{text}"
    );
    assert!(!text.contains("team/good"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t88_a_blob_that_is_gone_fails_the_images_that_need_it() {
    let mut site = Site::new();
    let (one, two, good) =
        (app("one", 2).build(), app("two", 3).build(), ImageBuilder::new("g").layer_random(9, 9).build());
    for (image, name) in [(&one, "team/one"), (&two, "team/two"), (&good, "team/good")] {
        site.add(image, name, "1.0");
    }
    let shared = one.blobs.iter().find(|(digest, _)| two.blobs.iter().any(|(other, _)| other == digest));
    site.source.delete_blob(&shared.unwrap().0);
    let error = site.bundle(&client(), "x.krs.tar").await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("team/one") && text.contains("team/two") && !text.contains("team/good"), "{text}");
    assert!(!site.archive("x.krs.tar").exists());
    assert_ne!(error.kind(), ErrorKind::Usage);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_for_one_name_do_not_write_into_each_other() {
    let mut site = Site::new();
    site.add(&app("app", 2).build(), "team/app", "1.0");
    let plan = site.plan(&client()).await;
    let sets = plan.sets.iter().map(Vec::as_slice).collect::<Vec<_>>();
    let begin = || {
        krs_core::bundle::Writer::create(
            &site.archive("x.krs.tar"),
            &plan.manifest,
            &sets,
            &Default::default(),
            None,
        )
    };
    let first = begin().unwrap();
    let second = begin().unwrap_err();
    assert!(second.to_string().contains("is being written by another krs"), "{second}");
    drop(first);
    assert!(begin().is_ok(), "what a run that was killed left is begun anew");
}
