// SPDX-License-Identifier: Apache-2.0
//! Images as registries and tools really have them: layers that lie elsewhere, content in descriptors, indexes with odd
//! entries, and indexes some of whose children were deleted.

use krs_core::digest::Digest;
use krs_core::error::{Classify as _, ErrorKind};
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
        ("http://example.com/x", "only https"),
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
