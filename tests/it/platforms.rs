// SPDX-License-Identifier: Apache-2.0
//! Which images of an index travel for the platforms that a set asks for.

use krs_core::error::{Classify as _, ErrorKind};
use krs_core::oci::digest::Digest;
use krs_core::oci::platform::Platform;
use krs_core::set;
use krs_core::sync::resolve::{ImageErrors, ResolveOptions, Resolved, resolve};
use krs_core::sync::verify_present::{Presence, verify_present};
use krs_testing::image::{Image, ImageBuilder, index, with_attestations};
use krs_testing::registry::Options;
use serde_json::{Value, json};

use crate::harness::{Site, client, silent};

fn image(platform: &str, seed: u64) -> Image {
    ImageBuilder::new("app").platform(platform).layer_random(3000, seed).build()
}

/// A site whose edge takes indexes some of whose images are missing.
fn site(platforms: &[&str]) -> Site {
    let mut site = Site::with(Options::default(), Options { sparse_indexes: true, ..Options::default() });
    site.platforms = platforms.iter().map(ToString::to_string).collect();
    site
}

async fn resolved(site: &mut Site, require_platforms: bool) -> Result<Resolved, ImageErrors> {
    let merged = set::merge(&site.load().sets).unwrap();
    let options =
        ResolveOptions { jobs: 2, referrers: site.referrers.clone(), require_platforms, sources: Vec::new() };
    resolve(&client(), &merged, options, &silent()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn t93_a_platform_in_any_spelling_travels_and_arrives() {
    let (amd64, arm64, arm) = (image("linux/amd64", 1), image("linux/arm64", 2), image("linux/arm", 3));
    let plain = index(&[(&amd64, None), (&arm64, None), (&arm, None)]);
    let with_variants = index(&[
        (&amd64, Some("linux/amd64")),
        (&arm64, Some("linux/arm64/v8")),
        (&arm, Some("linux/arm/v7")),
    ]);
    for (platforms, chosen) in [
        ("linux/arm64/v8", &arm64),
        ("linux/arm64", &arm64),
        ("linux/aarch64", &arm64),
        ("linux/arm/v7", &arm),
        ("linux/armhf", &arm),
        ("linux/x86_64", &amd64),
        ("linux/amd64/v1", &amd64),
        ("linux/amd64/v3", &amd64),
    ] {
        let mut site = site(&[platforms]);
        site.add(&plain, "team/plain", "1");
        site.add(&with_variants, "team/variants", "1");
        let (bundle, images) = site.open("a.krs.tar").await;
        site.push(&bundle, &images).await.unwrap();
        let platforms = [platforms.parse::<Platform>().unwrap()];
        for (name, top) in [("team/plain", &plain), ("team/variants", &with_variants)] {
            for child in &top.children {
                let there = site.edge.manifest(name, &child.digest.to_string()).is_some();
                assert_eq!(there, child.digest == chosen.digest, "{platforms:?} {name}");
            }
            let repository = client().repository(&site.edge.host(), &name.parse().unwrap());
            let presence =
                verify_present(&repository, &top.digest, &platforms, &["1".parse().unwrap()]).await.unwrap();
            assert!(matches!(presence, Presence::Complete { .. }), "{platforms:?} {presence:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t93_of_several_variants_the_best_travels_with_its_attestation() {
    let children = ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"];
    let children = children.iter().zip(1..).map(|(of, seed)| image(of, seed)).collect::<Vec<_>>();
    let top = with_attestations(&children.iter().collect::<Vec<_>>());
    let mut site = site(&["linux/arm"]);
    site.add(&top, "team/app", "1");
    let (bundle, images) = site.open("a.krs.tar").await;
    let held = |image: &Image| bundle.blob(&image.digest).is_some();
    assert_eq!(top.children.iter().map(held).collect::<Vec<_>>(), [false, true, false, false, true, false]);
    assert_eq!(images.images[0].closure.manifests.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn t94_missing_platforms_are_a_warning_or_an_error_and_an_image_with_none_fails() {
    let top = index(&[(&image("linux/amd64", 1), None), (&image("linux/arm64", 2), Some("linux/arm64/v8"))]);
    let mut incomplete = site(&["linux/amd64", "linux/s390x"]);
    incomplete.add(&top, "team/app", "1");
    let remarks = resolved(&mut incomplete, false).await.unwrap().images[0].remarks();
    assert_eq!(remarks, ["has no image for linux/s390x; it has linux/amd64, linux/arm64/v8"]);
    let error = resolved(&mut incomplete, true).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("no image for linux/s390x; it has linux/amd64"), "{error}");

    let mut none = site(&["linux/s390x", "windows/amd64"]);
    none.add(&top, "team/app", "1");
    for required in [false, true] {
        let error = resolved(&mut none, required).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        let text = error.to_string();
        assert!(
            text.contains("no image for linux/s390x, windows/amd64; it lists linux/amd64, linux/arm64/v8"),
            "{text}"
        );
        assert!(error.help().unwrap().contains("a platform that the index lists"));
    }

    let mut both = site(&["linux/amd64", "linux/aarch64"]);
    both.add(&top, "team/app", "1");
    assert!(resolved(&mut both, true).await.unwrap().images[0].remarks().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn t94_another_architecture_that_a_node_would_take_is_reported() {
    let mut site = site(&["linux/amd64"]);
    site.add(&index(&[(&image("linux/386", 1), None)]), "team/app", "1");
    let remarks = resolved(&mut site, false).await.unwrap().images[0].remarks();
    assert_eq!(
        remarks,
        ["has no image for linux/amd64; the one for linux/386 travels, which runs there too"]
    );
    let error = resolved(&mut site, true).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("no image for linux/amd64; it has linux/386"), "{error}");
}

/// An index of an image for linux/amd64 and of `child`, whose descriptor states this platform.
fn with_child(child: &Image, stated: &Value) -> Image {
    let plain = index(&[(&image("linux/amd64", 1), None), (child, Some("linux/amd64"))]);
    let mut manifest = serde_json::from_slice::<Value>(&plain.manifest).unwrap();
    manifest["manifests"][1]["platform"] = stated.clone();
    let manifest = serde_json::to_vec(&manifest).unwrap();
    Image { digest: Digest::of(&manifest), manifest, ..plain }
}

#[tokio::test(flavor = "multi_thread")]
async fn t94_the_config_says_the_platform_that_an_index_does_not() {
    let arm64 = image("linux/arm64", 2);
    let artifact = ImageBuilder::new("sbom").artifact_type("application/x").build();
    let unknown = json!({"os": "unknown", "architecture": "unknown"});
    for (child, stated, listed) in [
        (&arm64, json!({}), "linux/amd64, linux/arm64"),
        (&arm64, Value::Null, "linux/amd64, linux/arm64"),
        (&arm64, unknown.clone(), "linux/amd64"),
        (&artifact, json!({}), "linux/amd64"),
        (&artifact, unknown.clone(), "linux/amd64"),
    ] {
        let top = with_child(child, &stated);
        let mut none = site(&["linux/s390x"]);
        none.add(&top, "team/app", "1");
        for required in [false, true] {
            let error = resolved(&mut none, required).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage);
            let text = format!("no image for linux/s390x; it lists {listed}");
            assert!(error.to_string().contains(&text), "{stated} {error}");
        }
        let mut some = site(&["linux/amd64", "linux/s390x"]);
        some.add(&top, "team/app", "1");
        let remarks = resolved(&mut some, false).await.unwrap().images[0].remarks();
        assert_eq!(remarks, [format!("has no image for linux/s390x; it has {listed}")]);
        assert!(resolved(&mut some, true).await.is_err());
    }
    let mut arm = site(&["linux/arm64"]);
    arm.add(&with_child(&arm64, &Value::Null), "team/app", "1");
    assert!(resolved(&mut arm, true).await.unwrap().images[0].remarks().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn t94_an_index_of_artifacts_alone_is_for_no_platform() {
    let artifact = ImageBuilder::new("sbom").artifact_type("application/x").build();
    let plain = index(&[(&artifact, None)]);
    let mut manifest = serde_json::from_slice::<Value>(&plain.manifest).unwrap();
    manifest["manifests"][0]["platform"] = json!({});
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let top = Image { digest: Digest::of(&manifest), manifest, ..plain };
    let mut site = site(&["linux/s390x"]);
    site.add(&top, "team/app", "1");
    let found = resolved(&mut site, true).await.unwrap();
    assert_eq!(found.images[0].closure.manifests.len(), 2);
    assert!(found.images[0].remarks().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn t94_an_image_without_an_index_is_for_the_platform_of_its_config() {
    let mut site = site(&["linux/arm64/v8"]);
    site.add(&image("linux/amd64", 1), "team/amd64", "1");
    site.add(&image("linux/arm64", 2), "team/arm64", "1");
    site.add(&krs_testing::image::helm_chart("chart", "1.0.0"), "team/chart", "1");
    let found = resolved(&mut site, false).await.unwrap();
    let remarks =
        found.images.iter().map(krs_core::sync::resolve::ResolvedImage::remarks).collect::<Vec<_>>();
    assert_eq!(remarks[0], ["has no image for linux/arm64/v8; it has linux/amd64"]);
    assert!(remarks[1].is_empty() && remarks[2].is_empty(), "{remarks:?}");
    assert_eq!(resolved(&mut site, true).await.unwrap_err().0.len(), 1);

    // The config travels anyway, and is fetched once.
    site.source.clear_requests();
    let (bundle, _) = site.open("a.krs.tar").await;
    let configs = found.images.iter().flat_map(|image| &image.closure.configs);
    for digest in configs {
        assert!(bundle.blob(digest).is_some());
        let requests = site.source.requests();
        let requests = requests.iter().filter(|request| request.path.ends_with(&digest.to_string())).count();
        assert_eq!(requests, 1, "{digest}");
    }
}
