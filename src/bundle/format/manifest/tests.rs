// SPDX-License-Identifier: Apache-2.0
//! What a manifest may say.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::bundle::format::content::BundleReferrer;
use crate::bundle::format::layout;
use crate::format::FORMAT_VERSION;
use crate::oci::{self, reference::Reference};

/// A manifest of two blobs, one image and one set.
pub(crate) fn example() -> BundleManifest {
    let (manifest, layer, set) = (Digest::of(b"manifest"), Digest::of(b"layer"), Digest::of(b"set"));
    let reference = format!("docker.io/library/nginx:1.25@{manifest}").parse::<Reference>().unwrap();
    BundleManifest {
        audience: vec![],
        base: None,
        blobs: vec![
            BundleBlob { digest: manifest, offset: 512, size: 8 },
            BundleBlob { digest: layer, offset: 1536, size: 5 },
        ],
        created_at: "2026-11-23T04:00:00Z".parse().unwrap(),
        format_version: format::FIRST_VERSION,
        images: vec![BundleImage {
            artifact_type: None,
            digest: manifest,
            media_type: oci::OCI_MANIFEST.to_owned(),
            missing_referrers: 0,
            partial: false,
            platforms: vec![],
            repository: reference.name(),
            tag: reference.tag.clone(),
            reference,
            referrers: vec![],
        }],
        missing: vec![],
        not_after: None,
        patches: vec![],
        platforms: vec![],
        sequence: 118,
        sets: vec![BundleSet { digest: set, file: "eis.yaml".into(), path: layout::set_path(0), size: 3 }],
        source: Some(BundleSource { commit: "c".repeat(40), dirty: false }),
        stream: "prod".parse().unwrap(),
        tool: "krs 0.1.0".to_owned(),
    }
}

#[test]
fn a_manifest_is_canonical_and_reads_back() {
    let mut manifest = example();
    manifest.audience = vec!["site-7".to_owned()];
    manifest.not_after = Some("2027-01-01T00:00:00Z".parse().unwrap());
    manifest.images[0].artifact_type = Some("a/b".to_owned());
    manifest.images[0].platforms = vec!["linux/amd64".parse().unwrap()];
    manifest.images[0].referrers = vec![BundleReferrer {
        artifact_type: Some("a/b".into()),
        digest: Digest::of(b"r"),
        media_type: oci::OCI_MANIFEST.into(),
        subject: Digest::of(b"manifest"),
        tag: Some("x".parse().unwrap()),
    }];
    let bytes = manifest.encode().unwrap();
    assert!(json::is_canonical(&bytes), "declare the fields in the order of their JSON names");
    assert_eq!(BundleManifest::parse(&bytes).unwrap(), manifest);
}

#[test]
fn t07_a_later_format_is_told_from_a_damaged_one() {
    let text = String::from_utf8(example().encode().unwrap()).unwrap();
    let next = FORMAT_VERSION + 1;
    for version in [0, next] {
        let later = text.replace("\"formatVersion\":1", &format!("\"formatVersion\":{version},\"new\":true"));
        let error = BundleManifest::parse(later.as_bytes());
        assert!(matches!(error, Err(ManifestError::Version(v)) if v == version), "{error:?}");
    }
    let unknown = text.replace("\"formatVersion\":1", "\"formatVersion\":1,\"new\":true");
    assert!(matches!(BundleManifest::parse(unknown.as_bytes()), Err(ManifestError::Json(_))));
    assert!(matches!(BundleManifest::parse(format!("{text} ").as_bytes()), Err(ManifestError::NotCanonical)));
}

#[test]
fn a_later_field_needs_its_version_and_a_manifest_without_one_is_of_the_first() {
    let mut manifest = example();
    assert_eq!(manifest.lowest_version(), format::FIRST_VERSION);
    manifest.images[0].missing_referrers = 3;
    assert_eq!(manifest.lowest_version(), 2);
    let error = BundleManifest::parse(&manifest.encode().unwrap()).unwrap_err().to_string();
    assert!(error.contains("`missingReferrers` of image docker.io/library/nginx:1.25"), "{error}");
    manifest.format_version = 2;
    let bytes = manifest.encode().unwrap();
    assert!(json::is_canonical(&bytes), "declare the fields in the order of their JSON names");
    assert_eq!(BundleManifest::parse(&bytes).unwrap(), manifest);
    let zero = String::from_utf8(bytes).unwrap().replace("\"missingReferrers\":3", "\"missingReferrers\":0");
    assert!(matches!(BundleManifest::parse(zero.as_bytes()), Err(ManifestError::NotCanonical)));
}

#[test]
fn a_manifest_is_restricted_to_what_an_older_krs_reads() {
    let mut manifest = example();
    manifest.images[0].missing_referrers = 3;
    assert_eq!(manifest.restrict_to(2), []);
    let removed = manifest.restrict_to(1);
    assert_eq!(removed.len(), 1);
    assert!(removed[0].owner.starts_with("image docker.io/library/nginx:1.25"), "{removed:?}");
    assert_eq!(manifest, example());
}

#[test]
fn contradictions_are_refused() {
    type Change = fn(&mut BundleManifest);
    let changes: [Change; 8] = [
        |m| m.blobs[1].offset += 512,
        |m| m.blobs[1].digest = m.blobs[0].digest,
        |m| m.blobs[1].size = u64::MAX,
        |m| m.images[0].repository = "docker.io/library/other".into(),
        |m| m.images[0].digest = Digest::of(b"other"),
        |m| m.images.push(m.images[0].clone()),
        |m| m.sets[0].path = "krs/sets/../../x".into(),
        |m| m.tool = "a\u{1b}[31m".into(),
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let mut manifest = example();
        change(&mut manifest);
        let bytes = manifest.encode().unwrap();
        assert!(matches!(BundleManifest::parse(&bytes), Err(ManifestError::Inconsistent(_))), "change {n}");
    }
}

#[test]
fn identity_is_of_what_a_bundle_decides() {
    let (one, mut other) = (example(), example());
    other.tool = "krs 9".into();
    other.blobs.pop();
    assert_eq!(one.identity().unwrap(), other.identity().unwrap());
    other.sequence += 1;
    assert_ne!(one.identity().unwrap(), other.identity().unwrap());
}
