// SPDX-License-Identifier: Apache-2.0
//! Attestations inside of an index that are missing, damaged or refused: they cost themselves alone.

use super::*;

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
async fn t149_an_image_is_complete_without_a_blob_of_an_attestation() {
    let (top, attestation, blob) = attested();
    let edge = Registry::start(Options::default());
    top.push_to(&edge, "team/app", Some("1"));
    let repository = client().repository(&edge.host(), &"team/app".parse().unwrap());
    let absent = async || match verify_present(&repository, &top.digest, &[], &[]).await.unwrap() {
        Presence::Complete { absent, blobs, .. } => {
            assert_eq!(blobs.iter().any(|of| of.digest == blob), absent.is_empty());
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
    let gone = verify_present(&repository, &top.digest, &[], &[]).await.unwrap();
    assert!(matches!(gone, Presence::Missing { .. }), "a blob of the image is needed: {gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t149_a_delta_without_a_layer_of_an_attestation_in_its_base_is_pushed_without_the_attestation() {
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
