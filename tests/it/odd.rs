// SPDX-License-Identifier: Apache-2.0
//! Images as registries and tools really have them: layers that lie elsewhere, content in descriptors, indexes with odd
//! entries, and indexes some of whose children were deleted.

use std::sync::Arc;

use krs_core::bundle::{Bundle, Policy};
use krs_core::digest::Digest;
use krs_core::error::{Classify as _, ErrorKind};
use krs_core::plan::{Base, PlanOptions, plan};
use krs_core::prove::{Proof, prove};
use krs_core::pull::{PullError, PullOptions, pull};
use krs_core::redact::Secret;
use krs_core::registry::{Client, ClientOptions, Keychain};
use krs_core::resolve::{ImageError, Referrers};
use krs_core::sign::Signatures;
use krs_testing::image::{Image, ImageBuilder, index, signature, with_attestations};
use krs_testing::registry::{Matcher, Options, Registry, What};
use serde_json::{Value, json};

use crate::harness::{Site, client, options, silent};

fn image(platform: &str, seed: u64) -> Image {
    ImageBuilder::new("app").platform(platform).layer_random(3000, seed).build()
}

/// A site whose edge takes indexes some of whose images are missing.
fn site() -> Site {
    Site::with(Options::default(), Options { sparse_indexes: true, ..Options::default() })
}

/// The index with its JSON changed.
fn changed(index: &Image, change: impl FnOnce(&mut Value)) -> Image {
    let mut document = serde_json::from_slice::<Value>(&index.manifest).unwrap();
    change(&mut document);
    let manifest = serde_json::to_vec(&document).unwrap();
    Image { digest: Digest::of(&manifest), manifest, ..index.clone() }
}

async fn is_whole(edge: &Registry, repository: &str, image: &Image) -> bool {
    let repository = client().repository(&edge.host(), &repository.parse().unwrap());
    let proof = prove(&repository, &image.digest, &[], &["1".parse().unwrap()]).await.unwrap();
    matches!(proof, Proof::Whole { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn t97_indexes_with_odd_platforms_and_annotations_arrive_byte_for_byte() {
    let mut site = site();
    let plain = index(&[(&image("linux/amd64", 1), None)]);
    let shapes = [
        json!({"platform": {}}),
        json!({"platform": {"architecture": "amd64"}}),
        json!({"platform": {"os": "", "architecture": ""}}),
        json!({"platform": {"os": null, "architecture": null}}),
        json!({"platform": {"os": "linux", "architecture": "amd64", "variant": null, "os.features": null}}),
        json!({"annotations": null}),
        json!({"annotations": {"a": null}}),
        json!({"urls": null, "data": null, "artifactType": null}),
    ];
    let images = shapes.iter().enumerate().map(|(n, shape)| {
        let image = changed(&plain, |index| krs_testing::merge(&mut index["manifests"][0], shape));
        (format!("team/odd{n}"), image)
    });
    let images = images.collect::<Vec<_>>();
    for (name, image) in &images {
        site.add(image, name, "1");
    }
    let (bundle, opened) = site.open("a.krs.tar").await;
    site.push(&bundle, &opened).await.unwrap();
    for (name, image) in &images {
        let (_, bytes) = site.edge.manifest(name, "1").unwrap();
        assert_eq!(bytes, image.manifest, "{name}");
        assert!(is_whole(&site.edge, name, image).await, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t97_a_child_of_an_unknown_type_travels_where_it_can_be_had() {
    let mut site = site();
    let plain = index(&[(&image("linux/amd64", 1), None)]);
    let child = |bytes: &[u8]| json!({"mediaType": "application/vnd.example.unknown", "digest": Digest::of(bytes), "size": bytes.len()});
    let contents: [&[u8]; 3] = [b"as a blob", br#"{"as": "a manifest"}"#, b"nowhere"];
    let odd = changed(&plain, |index| {
        index["manifests"].as_array_mut().unwrap().extend(contents.map(child));
    });
    site.add(&odd, "team/app", "1");
    site.source.put_blob("team/app", contents[0]);
    let [_, manifest, nowhere] = contents.map(Digest::of);
    site.source.put_manifest(
        "team/app",
        &manifest.to_string(),
        "application/vnd.example.unknown",
        contents[1],
    );
    let (_, resolved) = site.resolve(&client()).await.unwrap();
    let remarks = resolved.images[0].remarks();
    assert_eq!(remarks.len(), 1, "{remarks:?}");
    assert!(remarks[0].contains("without the entry of type application/vnd.example.unknown"), "{remarks:?}");
    assert!(remarks[0].contains(&nowhere.to_string()), "{remarks:?}");
    let (bundle, opened) = site.open("a.krs.tar").await;
    site.push(&bundle, &opened).await.unwrap();
    assert_eq!(site.edge.manifest("team/app", "1").unwrap().1, odd.manifest);
    for content in &contents[..2] {
        assert_eq!(site.edge.blob("team/app", &Digest::of(content)).as_deref(), Some(*content));
    }
    assert!(is_whole(&site.edge, "team/app", &odd).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn t98_a_deleted_attestation_costs_a_warning_and_a_deleted_platform_is_named() {
    let mut site = site();
    let top = with_attestations(&[&image("linux/amd64", 1), &image("linux/arm64", 2)]);
    site.add(&top, "team/app", "1");
    let attestation = &top.children[3];
    site.source.delete_manifest("team/app", &attestation.digest.to_string());
    let (_, resolved) = site.resolve(&client()).await.unwrap();
    let remarks = resolved.images[0].remarks();
    assert_eq!(remarks.len(), 1, "{remarks:?}");
    assert!(remarks[0].contains("without the attestation of linux/arm64"), "{remarks:?}");
    assert!(remarks[0].contains(&attestation.digest.to_string()), "{remarks:?}");
    let (bundle, opened) = site.open("a.krs.tar").await;
    assert_eq!(opened.images[0].closure.absent.len(), 1);
    site.push(&bundle, &opened).await.unwrap();
    assert!(is_whole(&site.edge, "team/app", &top).await);
    // An edge that takes no index without it refuses this one, and says that it was missing before.
    let mut strict = Site::new();
    strict.name(format!("{}/team/app:1@{}", site.source.host(), top.digest));
    let (bundle, opened) = strict.open("b.krs.tar").await;
    let help = strict.push(&bundle, &opened).await.unwrap_err().help().unwrap();
    assert!(help.starts_with("missing at the source when the bundle was made: attestation of linux/arm64."));
    assert!(help.contains("validation.manifests.indexes.platforms: none"), "{help}");

    site.source.delete_manifest("team/app", &top.children[1].digest.to_string());
    let error = site.resolve(&client()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incomplete);
    assert!(error.to_string().contains("image for linux/arm64 sha256:"), "{error}");
    assert!(error.help().unwrap().contains("deletes untagged"), "{:?}", error.help());
    site.platforms = vec!["linux/amd64".to_owned()];
    let (_, resolved) = site.resolve(&client()).await.unwrap();
    assert!(resolved.images[0].remarks().is_empty(), "nobody asked for what is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn t98_an_attestation_whose_blob_turns_out_to_be_missing_costs_itself_and_what_refers_to_it() {
    let mut site = site();
    let top = with_attestations(&[&image("linux/amd64", 1), &image("linux/arm64", 2)]);
    site.add(&top, "team/app", "1");
    let attestation = &top.children[3];
    signature(attestation).push_to(&site.source, "team/app", None);
    let seal = signature(&top);
    seal.push_to(&site.source, "team/app", None);
    let shared = |digest: &Digest| {
        let others = top.children.iter().filter(|child| child.digest != attestation.digest);
        others.flat_map(|child| &child.blobs).any(|(other, _)| other == digest)
    };
    let gone = attestation.blobs.iter().map(|(digest, _)| *digest).find(|digest| !shared(digest)).unwrap();
    assert!(site.source.delete_blob(&gone));
    let (bundle, opened) = site.open("a.krs.tar").await;
    assert_eq!(opened.images[0].closure.absent.len(), 1);
    let stated = &bundle.manifest().images[0];
    assert_eq!(stated.referrers.iter().map(|of| of.digest).collect::<Vec<_>>(), [seal.digest]);
    assert!(bundle.blob(&attestation.digest).is_none() && bundle.blob(&gone).is_none());
    site.push(&bundle, &opened).await.unwrap();
    assert!(is_whole(&site.edge, "team/app", &top).await);

    // A blob that an image needs too costs the image.
    let (layer, _) = top.children[0].blobs.last().unwrap();
    assert!(site.source.delete_blob(layer));
    let error = site.bundle(&client(), "b.krs.tar").await.unwrap_err();
    assert!(matches!(error, PullError::Images(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t98_an_attestation_that_is_no_manifest_costs_itself() {
    let mut site = site();
    let plain = with_attestations(&[&image("linux/amd64", 1)]);
    let broken = br#"{"schemaVersion": 2}"#;
    let top = changed(&plain, |index| {
        index["manifests"][1]["digest"] = Digest::of(broken).to_string().into();
        index["manifests"][1]["size"] = broken.len().into();
    });
    site.add(&top, "team/app", "1");
    let kind = "application/vnd.oci.image.manifest.v1+json";
    site.source.put_manifest("team/app", &Digest::of(broken).to_string(), kind, broken);
    let (_, resolved) = site.resolve(&client()).await.unwrap();
    assert_eq!(resolved.images[0].missing_optional().count(), 1);
    let (bundle, opened) = site.open("a.krs.tar").await;
    site.push(&bundle, &opened).await.unwrap();
    assert_eq!(site.edge.manifest("team/app", "1").unwrap().1, top.manifest);
}

#[tokio::test(flavor = "multi_thread")]
async fn t98_an_attestation_that_does_not_say_what_it_describes_is_optional_too() {
    let mut site = site();
    let plain = with_attestations(&[&image("linux/amd64", 1)]);
    let top = changed(&plain, |index| {
        let annotations = index["manifests"][1]["annotations"].as_object_mut().unwrap();
        annotations.remove("vnd.docker.reference.digest").unwrap();
    });
    site.add(&top, "team/app", "1");
    let attestation = &top.children[1];
    site.source.delete_manifest("team/app", &attestation.digest.to_string());
    let (_, resolved) = site.resolve(&client()).await.unwrap();
    let missing = resolved.images[0].missing_optional().collect::<Vec<_>>();
    assert_eq!(missing.len(), 1);
    assert_eq!((missing[0].digest, missing[0].subject), (Some(attestation.digest), top.digest));
    assert!(missing[0].reason.starts_with("the attestation: "), "{missing:?}");
    let (bundle, opened) = site.open("a.krs.tar").await;
    site.push(&bundle, &opened).await.unwrap();
    assert!(is_whole(&site.edge, "team/app", &top).await);
    site.platforms = vec!["linux/s390x".to_owned()];
    let error = site.resolve(&client()).await.unwrap_err().to_string();
    assert!(error.contains("no image for linux/s390x"), "it is no image for anything: {error}");
}

/// An index with an attestation, a digest of its manifest and one of a blob that only it needs.
fn attested() -> (Image, Digest, Digest) {
    let top = with_attestations(&[&image("linux/amd64", 1)]);
    let (image, attestation) = (&top.children[0], &top.children[1]);
    let own = |digest: &&Digest| image.blobs.iter().all(|(other, _)| other != *digest);
    let blob = *attestation.blobs.iter().map(|(digest, _)| digest).rev().find(own).unwrap();
    let digest = attestation.digest;
    (top, digest, blob)
}

#[tokio::test(flavor = "multi_thread")]
async fn t149_an_attestation_that_an_edge_does_not_take_costs_itself() {
    let refuse = || What::Status(403, Vec::new(), String::new());
    let broken = || What::Status(500, Vec::new(), String::new());
    let (top, attestation, _) = attested();
    let manifest = || Matcher::any().path(attestation);
    for (on, what) in [(manifest().method("PUT"), refuse()), (manifest(), broken())] {
        let mut site = site();
        site.add(&top, "team/app", "1");
        let (bundle, opened) = site.open("a.krs.tar").await;
        site.edge.fail(on.clone(), what);
        let report = site.push(&bundle, &opened).await.unwrap();
        let [problem] = report.referrers.as_slice() else { panic!("{on:?}: {report:?}") };
        assert_eq!((problem.digest, problem.subject), (attestation, top.children[0].digest), "{on:?}");
        assert!(!problem.unlisted && problem.reason.starts_with("the attestation of linux/amd64: "));
        assert_eq!(site.edge.digest("team/app", "1"), Some(top.digest), "{on:?}");
        site.edge.clear_faults();
        assert!(is_whole(&site.edge, "team/app", &top).await);
        let report = site.push(&bundle, &opened).await.unwrap();
        assert_eq!(report.referrers, [], "the next run brings it");
        assert!(site.edge.manifest("team/app", &attestation.to_string()).is_some());
    }
    // A blob of it that cannot be sent, because it is damaged on the media.
    let (_, _, blob) = attested();
    let mut site = self::site();
    site.add(&top, "team/app", "1");
    let (bundle, opened) = site.open("a.krs.tar").await;
    let path = site.archive("a.krs.tar");
    let content = &top.children[1].blobs.iter().find(|(digest, _)| *digest == blob).unwrap().1;
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(content.len()).position(|window| window == content).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let report = site.push(&bundle, &opened).await.unwrap();
    let [problem] = report.referrers.as_slice() else { panic!("{report:?}") };
    assert!(problem.digest == attestation && problem.reason.contains(&blob.to_string()), "{problem:?}");
    assert!(site.edge.manifest("team/app", &attestation.to_string()).is_none(), "nor is its manifest sent");
    assert!(is_whole(&site.edge, "team/app", &top).await);
    // An edge that takes no index without it says so.
    let mut site = Site::new();
    site.add(&top, "team/app", "1");
    let (bundle, opened) = site.open("a.krs.tar").await;
    site.edge.fail(manifest().method("PUT"), refuse());
    let error = site.push(&bundle, &opened).await.unwrap_err();
    let help = error.help().unwrap();
    assert!(help.contains(&format!("did not take attestation of linux/amd64 {attestation}: ")), "{help}");
    assert!(help.contains("validation.manifests.indexes.platforms"), "{help}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t149_an_image_is_whole_without_a_blob_of_an_attestation() {
    let (top, attestation, blob) = attested();
    let edge = Registry::start(Options::default());
    top.push_to(&edge, "team/app", Some("1"));
    let repository = client().repository(&edge.host(), &"team/app".parse().unwrap());
    let absent = async || match prove(&repository, &top.digest, &[], &[]).await.unwrap() {
        Proof::Whole { absent, contents, .. } => {
            assert_eq!(contents.iter().any(|of| of.digest == blob), absent.is_empty());
            absent.into_iter().map(|child| (child.digest, child.absence.reason)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(absent().await, []);
    edge.fail(Matcher::any().path(blob), What::Status(500, Vec::new(), String::new()));
    let [(digest, reason)] = &absent().await[..] else { panic!() };
    assert!(*digest == attestation && reason.contains("500"), "{reason}");
    edge.clear_faults();
    edge.delete_blob(&blob);
    assert_eq!(absent().await, [(attestation, format!("blob {blob} is not there"))]);
    edge.delete_blob(&top.children[0].blobs[1].0);
    let gone = prove(&repository, &top.digest, &[], &[]).await.unwrap();
    assert!(matches!(gone, Proof::Missing { .. }), "a blob of the image is needed: {gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t149_a_delta_whose_base_lacks_a_layer_of_an_attestation_is_pushed_without_it() {
    let mut site = site();
    let (top, attestation, blob) = attested();
    site.add(&top, "team/app", "1");
    let (bundle, opened) = site.open("a.krs.tar").await;
    site.push(&bundle, &opened).await.unwrap();
    let base = Base::of_bundle(&bundle, &opened).unwrap();
    let (loaded, resolved) = site.resolve(&client()).await.unwrap();
    let options = PlanOptions { base, ..PlanOptions::default() };
    let plan = plan(&loaded, &resolved, &options, jiff::Timestamp::now()).unwrap();
    let path = site.archive("b.krs.tar");
    pull(&client(), &plan, Default::default(), &path, 4, &silent()).await.unwrap();
    let delta = Arc::new(Bundle::open(&path, &Policy::default()).unwrap());
    let opened = delta.images().unwrap();
    assert!(delta.blob(&blob).is_none(), "the base has it");
    site.edge.delete_blob(&blob);
    site.edge.delete_manifest("team/app", &attestation.to_string());
    let report = site.push(&delta, &opened).await.unwrap();
    assert_eq!(report.referrers.iter().map(|problem| problem.digest).collect::<Vec<_>>(), [attestation]);
}

/// An index with an entry of an unknown type.
fn opaque(content: &[u8]) -> Image {
    let plain = index(&[(&image("linux/amd64", 1), None)]);
    let child = json!({
        "mediaType": "application/vnd.example.unknown", "digest": Digest::of(content), "size": content.len(),
    });
    changed(&plain, |index| index["manifests"].as_array_mut().unwrap().push(child))
}

#[tokio::test(flavor = "multi_thread")]
async fn t150_an_entry_of_an_unknown_type_is_put_as_a_manifest_where_an_edge_wants_that() {
    let content = br#"{"is": "neither an index nor a manifest"}"#;
    let image = opaque(content);
    let of_any_type = Options { unknown_types: true, ..Options::default() };
    for (edge, taken) in [(of_any_type, true), (Options::default(), false)] {
        let mut site = Site::with(Options { sparse_indexes: true, ..Options::default() }, edge);
        site.add(&image, "team/app", "1");
        site.source.put_blob("team/app", content);
        let (bundle, opened) = site.open("a.krs.tar").await;
        let pushed = site.push(&bundle, &opened).await;
        assert_eq!(site.edge.digest("team/app", "1").is_some(), taken);
        if taken {
            assert_eq!(pushed.unwrap().referrers, []);
            assert!(is_whole(&site.edge, "team/app", &image).await);
            continue;
        }
        let help = pushed.unwrap_err().help().unwrap();
        let named = format!("entry of type application/vnd.example.unknown {}: ", Digest::of(content));
        assert!(help.contains(&named) && help.contains("is not accepted"), "{help}");
        assert!(help.contains("validation.manifests.indexes.platforms"), "{help}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t98_where_they_are_required_a_missing_attestation_fails_the_image_and_unknown_content_does_not() {
    let mut site = site();
    site.referrers = Referrers::Required;
    let plain = with_attestations(&[&image("linux/amd64", 1)]);
    let unknown =
        json!({"mediaType": "application/vnd.example.unknown", "digest": Digest::of(b"nowhere"), "size": 7});
    let top = changed(&plain, |index| index["manifests"].as_array_mut().unwrap().push(unknown));
    site.add(&top, "team/app", "1");
    let (_, resolved) = site.resolve(&client()).await.unwrap();
    assert_eq!(resolved.images[0].closure.absent.len(), 1, "of unknown type");
    let attestation = &top.children[1];
    site.source.delete_manifest("team/app", &attestation.digest.to_string());
    let errors = site.resolve(&client()).await.unwrap_err();
    let [(_, ImageError::Referrers(missing))] = &errors.0[..] else { panic!("{errors}") };
    assert_eq!(missing[0].digest, Some(attestation.digest));
    assert_eq!(errors.kind(), ErrorKind::Incomplete);
}

#[tokio::test(flavor = "multi_thread")]
async fn t96_content_in_a_descriptor_is_used_without_asking_and_sent_as_a_blob() {
    let mut site = site();
    let artifact = |data: &str| {
        ImageBuilder::new("tool").artifact_type("application/x-tool").layer_random(2000, 1).build_with(
            |manifest| {
                manifest["config"]["data"] = data.into();
            },
        )
    };
    let (sound, damaged) = (artifact("e30="), artifact("eyJ9"));
    site.add(&sound, "team/sound", "1");
    let config = sound.blobs.iter().find(|(_, bytes)| bytes == b"{}").unwrap().0;
    site.source.delete_blob(&config);
    site.source.clear_requests();
    let (bundle, opened) = site.open("a.krs.tar").await;
    let asked = site.source.requests();
    assert!(!asked.iter().any(|request| request.path.contains(&config.to_string())));
    site.push(&bundle, &opened).await.unwrap();
    assert_eq!(site.edge.blob("team/sound", &config).as_deref(), Some(&b"{}"[..]));

    // What is not the content is not used, and that is said.
    site.add(&damaged, "team/damaged", "1");
    let (_, resolved) = site.resolve(&client()).await.unwrap();
    assert!(resolved.images[0].remarks().is_empty());
    let remarks = resolved.images[1].remarks();
    assert!(remarks[0].contains("`data`") && remarks[0].contains(&config.to_string()), "{remarks:?}");
    site.open("b.krs.tar").await;
}

/// An image whose first layer lies at `urls`, and that layer.
fn foreign(urls: &[String]) -> (Image, Digest, Vec<u8>) {
    let kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let image =
        ImageBuilder::new("win").docker().platform("windows/amd64").layer_type(kind).layer_random(90_000, 5);
    let image = image.build_with(|manifest| manifest["layers"][0]["urls"] = json!(urls));
    let (digest, bytes) = image.blobs.last().cloned().unwrap();
    (image, digest, bytes)
}

/// Bundles what the site has; `elsewhere` is trusted, and downloaded from where it is named.
async fn pulled(site: &mut Site, elsewhere: &Registry, named: bool) -> Result<(), PullError> {
    let ca = elsewhere.ca_file().unwrap().to_owned();
    // Credentials for a registry at that host: they are not for whoever wrote the manifest to have them sent.
    let keychain = Keychain::empty().with(&elsewhere.host(), "robot", Secret::new("s3cret"));
    let client = Client::new(ClientOptions { ca_files: vec![ca], keychain, ..options() }).unwrap();
    let plan = site.plan(&client).await;
    let foreign_hosts = if named { vec![elsewhere.host()] } else { Vec::new() };
    let options = PullOptions { foreign_hosts, ..PullOptions::from(2) };
    let path = site.archive("foreign.krs.tar");
    pull(&client, &plan, Signatures::default(), &path, options, &silent()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn t95_a_foreign_layer_comes_from_the_registry_where_that_has_it_and_is_sent_to_the_edge() {
    let mut site = site();
    let (image, digest, bytes) = foreign(&["https://layers.invalid/x".to_owned()]);
    site.add(&index(&[(&image, None)]), "team/win", "1");
    let (bundle, opened) = site.open("a.krs.tar").await;
    site.push(&bundle, &opened).await.unwrap();
    assert_eq!(site.edge.blob("team/win", &digest), Some(bytes));
    assert_eq!(site.edge.manifest("team/win", &image.digest.to_string()).unwrap().1, image.manifest);
}

#[tokio::test(flavor = "multi_thread")]
async fn t95_a_foreign_layer_is_downloaded_from_a_host_that_was_named_and_never_from_a_private_one() {
    let elsewhere = Registry::start(Options { tls: true, ..Options::default() });
    let at = |path: &str| format!("{}/v2/{path}", elsewhere.url());
    let (_, digest, bytes) = foreign(&[]);
    let good = at(&format!("base/blobs/{digest}"));
    let (image, digest, _) = foreign(&[at("gone/blobs/sha256:00"), good]);
    elsewhere.put_blob("base", &bytes);
    let mut site = site();
    site.add(&image, "team/win", "1");
    site.source.delete_blob(&digest);

    let error = pulled(&mut site, &elsewhere, false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Trust, "{error}");
    assert!(error.to_string().contains("a loopback address"), "{error}");
    let flag = format!("--foreign-layer-host {}", elsewhere.host());
    assert!(error.help().unwrap().contains(&flag), "{:?}", error.help());
    assert_eq!(elsewhere.connections(), 0, "no connection was made");

    pulled(&mut site, &elsewhere, true).await.unwrap();
    assert!(elsewhere.requests().iter().all(|request| !request.had_authorization));
    let path = site.archive("foreign.krs.tar");
    let bundle = krs_core::bundle::Bundle::open(&path, &krs_core::bundle::Policy::default()).unwrap();
    bundle.verify(2, &krs_core::progress::Silent).unwrap();
    assert!(bundle.blob(&digest).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn t95_redirects_of_foreign_layers_are_checked_and_content_that_is_another_is_refused() {
    let elsewhere = Registry::start(Options { tls: true, ..Options::default() });
    let (_, digest, bytes) = foreign(&[]);
    let (image, ..) = foreign(&[format!("{}/v2/base/blobs/{digest}", elsewhere.url())]);
    elsewhere.put_blob("base", &bytes);
    let mut site = site();
    site.add(&image, "team/win", "1");
    site.source.delete_blob(&digest);
    for (target, said) in [
        ("https://169.254.169.254/latest/meta-data", "a link-local address"),
        ("https://[::ffff:10.0.0.1]/x", "a private address"),
        ("https://0.0.0.0/x", "not a public address"),
        ("https://localhost/x", "a loopback address"),
        ("http://example.com/x", "it redirects to http://example.com/x: only https"),
        ("https://user:secret@example.com/x", "carries credentials"),
    ] {
        elsewhere.fail(Matcher::blobs(), What::Redirect(target.to_owned()));
        let error = pulled(&mut site, &elsewhere, true).await.unwrap_err();
        assert!(error.to_string().contains(said), "{target}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        elsewhere.clear_faults();
    }
    elsewhere.fail(Matcher::blobs(), What::Redirect("{path}".to_owned()));
    let error = pulled(&mut site, &elsewhere, true).await.unwrap_err();
    assert!(error.to_string().contains("redirects more often"), "{error}");
    elsewhere.clear_faults();
    let page = |body: String| {
        let html = vec![("content-type".to_owned(), "text/html".to_owned())];
        What::Status(200, html, format!("<html><title>Sign in</title>{body}"))
    };
    // Shorter and longer than the layer.
    for body in [String::new(), " ".repeat(2 * bytes.len())] {
        elsewhere.fail(Matcher::blobs(), page(body));
        let error = pulled(&mut site, &elsewhere, true).await.unwrap_err();
        assert!(error.to_string().contains("a web page (text/html"), "{error}");
        elsewhere.clear_faults();
    }
    elsewhere.fail(Matcher::blobs(), What::WrongBytes);
    let error = pulled(&mut site, &elsewhere, true).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    elsewhere.clear_faults();
    // A download that is cut is resumed.
    elsewhere.fail(Matcher::blobs().once(), What::CutAfter(40_000));
    pulled(&mut site, &elsewhere, true).await.unwrap();
    let ranges = elsewhere.requests().into_iter().filter_map(|request| request.range).collect::<Vec<_>>();
    assert!(ranges.iter().any(|range| range != "bytes=0-"), "{ranges:?}");
}
