// SPDX-License-Identifier: Apache-2.0
//! Images that readers could disagree about, in archives that are otherwise right.

use krs_core::bundle::{BundleError, Policy};
use krs_core::error::ErrorKind;
use krs_core::oci::digest::Digest;
use krs_core::oci::{self, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};

use super::forge::{CONFIG, LAYER, Parts, descriptor, image, index, noise, refused, sample, verdict};

/// The refusal of a bundle whose only image is this one.
#[track_caller]
fn refused_image(media_type: &str, root: &[u8], others: &[&[u8]]) -> String {
    match refused(&Parts::of(media_type, root, others).archive(), ErrorKind::Corrupt) {
        error @ BundleError::Image { .. } => error.to_string(),
        other => panic!("{other}"),
    }
}

#[track_caller]
fn accepted(media_type: &str, root: &[u8], others: &[&[u8]]) {
    verdict(&Parts::of(media_type, root, others).archive(), &Policy::default()).unwrap();
}

/// A manifest with these layers, written as JSON.
fn with_layers(layers: &str) -> Vec<u8> {
    let config = descriptor(CONFIG, b"{}", "");
    format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]}}"#).into_bytes()
}

#[test]
fn t42_one_wrong_byte_in_any_blob_is_refused_and_the_blob_is_named() {
    let mut parts = Parts::new(1);
    for blob in parts.manifest.blobs.clone() {
        let content = parts.contents.get_mut(&blob.digest).unwrap();
        let Some(last) = content.last_mut() else { continue };
        *last ^= 1;
        let error = refused(&parts.archive(), ErrorKind::Corrupt);
        assert!(matches!(error, BundleError::Content { .. }), "{error}");
        assert!(error.to_string().contains(&blob.digest.hex()), "{error}");
        *parts.contents.get_mut(&blob.digest).unwrap().last_mut().unwrap() ^= 1;
    }
    assert!(parts.archive() == sample().unsigned, "all is as it was");
}

#[test]
fn t43_a_manifest_that_is_also_an_index_is_refused() {
    let layer = noise(100, 1);
    let manifest = image(std::slice::from_ref(&layer));
    let both = String::from_utf8(manifest.clone()).unwrap();
    let child = descriptor(OCI_MANIFEST, &manifest, "");
    let both = both.replacen('{', &format!(r#"{{"manifests":[{child}],"#), 1);
    for media_type in [OCI_INDEX, OCI_MANIFEST] {
        let message = refused_image(media_type, both.as_bytes(), &[&manifest, b"{}", &layer]);
        assert!(message.contains("ambiguous"), "{message}");
    }
    let typed = |own: &str| {
        let text = String::from_utf8(manifest.clone()).unwrap();
        text.replacen('{', &format!(r#"{{"mediaType":"{own}","#), 1).into_bytes()
    };
    for (said_to_be, is) in [(OCI_MANIFEST, OCI_INDEX), (OCI_MANIFEST, DOCKER_MANIFEST)] {
        let message = refused_image(said_to_be, &typed(is), &[b"{}", &layer]);
        assert!(message.contains("the manifest itself says"), "{message}");
    }
    refused_image(OCI_INDEX, &manifest, &[b"{}", &layer]);
    accepted(OCI_MANIFEST, &typed(OCI_MANIFEST), &[b"{}", &layer]);
}

#[test]
fn t44_content_comes_from_the_archive_whatever_a_descriptor_says_beside_its_digest() {
    let layer = noise(100, 1);
    let with = |more: &str| with_layers(&descriptor(LAYER, &layer, more));
    for more in [
        "",
        r#","urls":[]"#,
        r#","urls":["http://169.254.169.254/x","file:///etc/passwd","%%%"]"#,
        r#","data":"aGVsbG8=""#,
        r#","data":"%%%""#,
    ] {
        accepted(OCI_MANIFEST, &with(more), &[b"{}", &layer]);
        // What lies elsewhere is missing here.
        let parts = Parts::of(OCI_MANIFEST, &with(more), &[b"{}"]);
        let error = refused(&parts.archive(), ErrorKind::Corrupt);
        assert!(matches!(error, BundleError::BlobMissing { .. }), "{error}");
    }
}

#[test]
fn t45_digests_of_other_kinds_in_an_image_are_refused() {
    let layer = noise(100, 1);
    let digest = Digest::of(&layer).to_string();
    let text = String::from_utf8(image(std::slice::from_ref(&layer))).unwrap();
    for bad in [
        digest.replace("sha256", "sha512"),
        digest.to_uppercase(),
        digest.to_uppercase().replace("SHA256", "sha256"),
        digest[..70].to_owned(),
        "sha256:../../../../etc/passwd".to_owned(),
    ] {
        let manifest = text.replace(&digest, &bad).into_bytes();
        refused_image(OCI_MANIFEST, &manifest, &[b"{}", &layer]);
    }
}

#[test]
fn t47_indexes_that_lie_too_deep_in_each_other_are_refused() {
    let layer = noise(100, 1);
    let manifest = image(std::slice::from_ref(&layer));
    let (mut kind, mut root) = (OCI_MANIFEST, manifest.clone());
    let mut below = vec![b"{}".to_vec(), layer];
    for depth in 1..=50 {
        below.push(root.clone());
        root = index(&[(kind, &root)]);
        kind = OCI_INDEX;
        let others = below.iter().map(Vec::as_slice).collect::<Vec<_>>();
        if depth <= oci::MAX_INDEX_DEPTH {
            accepted(OCI_INDEX, &root, &others);
        } else if depth < 7 || depth == 50 {
            refused_image(OCI_INDEX, &root, &others);
        }
    }
    // One that lists the same manifest as often as it may.
    let many = vec![(OCI_MANIFEST, manifest.as_slice()); oci::MAX_ENTRIES];
    accepted(OCI_INDEX, &index(&many), &[&manifest, b"{}", &noise(100, 1)]);
}

#[test]
fn t48_t49_images_charts_artifacts_and_attestations_are_taken_as_they_are() {
    let layer = noise(100, 1);
    let one = image(std::slice::from_ref(&layer));
    accepted(OCI_MANIFEST, &one, &[b"{}", &layer]);
    let chart = String::from_utf8(one.clone()).unwrap();
    let chart = chart.replace(CONFIG, "application/vnd.cncf.helm.config.v1+json").into_bytes();
    accepted(OCI_MANIFEST, &chart, &[b"{}", &layer]);
    // Without layers, as a cosign artifact may be; and one whose only layer is empty.
    accepted(OCI_MANIFEST, &with_layers(""), &[b"{}"]);
    accepted(OCI_MANIFEST, &image(&[Vec::new()]), &[b"{}", b""]);

    let attestation = image(&[noise(50, 3)]);
    let unknown = format!(
        r#","platform":{{"os":"unknown","architecture":"unknown"}},"annotations":{{"vnd.docker.reference.digest":"{}","vnd.docker.reference.type":"attestation-manifest"}}"#,
        Digest::of(&one)
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#,
        descriptor(OCI_MANIFEST, &one, r#","platform":{"os":"linux","architecture":"arm64"}"#),
        descriptor(OCI_MANIFEST, &attestation, &unknown),
    );
    let second = noise(50, 3);
    accepted(OCI_INDEX, index.as_bytes(), &[&one, &attestation, b"{}", &layer, &second]);
    // Version 1 promises that it is there; since version 2 it is optional, unlike the image.
    let mut without = Parts::of(OCI_INDEX, index.as_bytes(), &[&one, b"{}", &layer]);
    let error = refused(&without.archive(), ErrorKind::Corrupt);
    assert!(matches!(error, BundleError::BlobMissing { .. }), "{error}");
    without.manifest.format_version = 2;
    verdict(&without.archive(), &Policy::default()).unwrap();
    let mut without = Parts::of(OCI_INDEX, index.as_bytes(), &[&attestation, b"{}", &second]);
    without.manifest.format_version = 2;
    let error = refused(&without.archive(), ErrorKind::Corrupt);
    assert!(matches!(error, BundleError::BlobMissing { .. }), "{error}");
}

#[test]
fn t52_large_manifests_and_many_layers_have_clear_limits() {
    let layers = (0..500).map(|n| noise(10, n)).collect::<Vec<_>>();
    let mut others = layers.iter().map(Vec::as_slice).collect::<Vec<_>>();
    others.push(b"{}");
    accepted(OCI_MANIFEST, &image(&layers), &others);

    let same = vec![noise(10, 1); oci::MAX_ENTRIES + 1];
    let message = refused_image(OCI_MANIFEST, &image(&same), &[b"{}", &same[0]]);
    assert!(message.contains("4097 entries, more than the 4096 that are accepted"), "{message}");

    let padding = " ".repeat(4 << 20);
    let large = String::from_utf8(image(&layers[..1])).unwrap().replacen('{', &format!("{{{padding}"), 1);
    let error = refused(
        &Parts::of(OCI_MANIFEST, large.as_bytes(), &[b"{}", &layers[0]]).archive(),
        ErrorKind::Corrupt,
    );
    assert!(error.to_string().contains("4194304"), "{error}");
}
