// SPDX-License-Identifier: Apache-2.0
//! Which content an image has.
#![allow(clippy::unwrap_used)]

use super::*;

const EMPTY: &str = "application/vnd.oci.empty.v1+json";

fn manifest(manifests: &mut Manifests, layers: &[(&[u8], u64)]) -> Descriptor {
    let layers = layers
        .iter()
        .map(|(content, size)| {
            format!(r#"{{"mediaType":"x/y","digest":"{}","size":{size}}}"#, Digest::of(content))
        })
        .collect::<Vec<_>>();
    let config = format!(r#"{{"mediaType":"{EMPTY}","digest":"{}","size":2}}"#, Digest::of(b"{}"));
    let text = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, layers.join(","));
    store(manifests, oci::OCI_MANIFEST, text)
}

fn index(manifests: &mut Manifests, children: &[Descriptor], platforms: &[&str]) -> Descriptor {
    let entry = |(n, child): (usize, &Descriptor)| {
        let platform = platforms
            .get(n)
            .map_or(String::new(), |arch| format!(r#","platform":{{"os":"linux","architecture":"{arch}"}}"#));
        format!(
            r#"{{"mediaType":"{}","digest":"{}","size":{}{platform}}}"#,
            child.media_type, child.digest, child.size
        )
    };
    let children = children.iter().enumerate().map(entry).collect::<Vec<_>>().join(",");
    store(manifests, oci::OCI_INDEX, format!(r#"{{"schemaVersion":2,"manifests":[{children}]}}"#))
}

fn store(manifests: &mut Manifests, media_type: &str, text: String) -> Descriptor {
    let (digest, size) = (Digest::of(text.as_bytes()), text.len() as u64);
    manifests.insert(digest, StoredManifest { media_type: media_type.to_owned(), bytes: text.into() });
    Descriptor::new(media_type, digest, size)
}

#[test]
fn inner_manifests_come_before_outer_ones_and_shared_content_once() {
    let mut manifests = Manifests::default();
    let one = manifest(&mut manifests, &[(b"a", 1), (b"b", 1)]);
    let two = manifest(&mut manifests, &[(b"b", 1), (b"c", 1)]);
    let inner = index(&mut manifests, std::slice::from_ref(&two), &[]);
    let outer = index(&mut manifests, &[one.clone(), inner.clone()], &[]);
    let closure = manifests.closure(&outer, &[]).unwrap();
    let digests = |list: &[Descriptor]| list.iter().map(|d| d.digest).collect::<Vec<_>>();
    assert_eq!(digests(&closure.manifests), digests(&[one, two, inner, outer]));
    let blobs = [&b"{}"[..], b"a", b"b", b"c"].map(Digest::of);
    assert_eq!(digests(&closure.blobs), blobs);
}

#[test]
fn only_the_platforms_asked_for_travel() {
    let mut manifests = Manifests::default();
    let one = manifest(&mut manifests, &[(b"a", 1)]);
    let two = manifest(&mut manifests, &[(b"b", 1)]);
    let both = index(&mut manifests, &[one.clone(), two], &["amd64", "arm64"]);
    let amd64 = manifests.closure(&both, &["linux/amd64".parse().unwrap()]).unwrap();
    let digests = amd64.manifests.iter().map(|d| d.digest).collect::<Vec<_>>();
    assert_eq!(digests, [one.digest, both.digest]);
    let none = manifests.closure(&both, &["windows/amd64".parse().unwrap()]);
    assert!(none.unwrap_err().to_string().contains("linux/amd64, linux/arm64"));
}

#[test]
fn t94_missing_platforms_are_reported_and_an_image_with_none_of_them_is_an_error() {
    let mut manifests = Manifests::default();
    let one = manifest(&mut manifests, &[(b"a", 1)]);
    let two = manifest(&mut manifests, &[(b"b", 1)]);
    let both = index(&mut manifests, &[one.clone(), two.clone(), two], &["amd64", "arm64", "arm64"]);
    let ask = |platforms: &[&str]| {
        let platforms = platforms.iter().map(|text| text.parse().unwrap()).collect::<Vec<Platform>>();
        manifests.closure(&both, &platforms).map(|closure| platform::list(&closure.missing_platforms))
    };
    assert_eq!(ask(&["linux/amd64", "linux/arm64/v8"]).unwrap(), "");
    assert_eq!(manifests.closure(&both, &[]).unwrap().listed_platforms.len(), 2, "each platform once");
    assert_eq!(ask(&["linux/amd64", "linux/s390x", "windows/amd64"]).unwrap(), "linux/s390x, windows/amd64");
    let error = ask(&["linux/s390x"]).unwrap_err().to_string();
    assert!(error.contains("no image for linux/s390x; it lists linux/amd64, linux/arm64"), "{error}");
    assert_eq!(error.matches("linux/arm64").count(), 1, "{error}");
    let mut manifests = manifests.clone();
    let unstated = index(&mut manifests, std::slice::from_ref(&one), &[]);
    let outer = index(&mut manifests, &[both, unstated], &[]);
    let closure = manifests.closure(&outer, &["linux/s390x".parse().unwrap()]).unwrap();
    assert!(closure.missing_platforms.is_empty(), "nobody knows what the second one is for");
}

#[test]
fn t98_a_child_that_is_optional_may_be_absent_where_that_was_found_out() {
    let mut manifests = Manifests::default();
    let one = manifest(&mut manifests, &[(b"a", 1)]);
    let gone = Digest::of(b"gone");
    let list = |child: String| {
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{}","size":{},"platform":{{"os":"linux","architecture":"amd64"}}}},{child}]}}"#,
            one.media_type, one.digest, one.size
        )
    };
    let attestation = format!(
        r#"{{"mediaType":"{}","digest":"{gone}","size":9,"annotations":{{"vnd.docker.reference.digest":"{}"}}}}"#,
        oci::OCI_MANIFEST,
        one.digest
    );
    let unknown = format!(r#"{{"mediaType":"application/x","digest":"{gone}","size":9}}"#);
    let attested = store(&mut manifests, oci::OCI_INDEX, list(attestation));
    let odd = store(&mut manifests, oci::OCI_INDEX, list(unknown));
    assert!(matches!(manifests.closure(&attested, &[]), Err(ClosureError::Missing { .. })));
    let closure = manifests.closure(&odd, &[]).unwrap();
    assert!(closure.opaque.contains(&gone) && closure.blobs.iter().any(|content| content.digest == gone));
    assert!(!closure.is_layer(&gone) && closure.absent.is_empty());
    let absence = Absence { reason: "not found".to_owned(), kind: ErrorKind::Incomplete };
    manifests.mark_absent(gone, absence);
    for (root, name) in [(attested, "attestation of linux/amd64"), (odd, "entry of type application/x")] {
        let closure = manifests.closure(&root, &["linux/amd64".parse().unwrap()]).unwrap();
        assert_eq!(closure.manifests.last().map(|d| d.digest), Some(root.digest));
        assert!(!closure.blobs.iter().any(|content| content.digest == gone));
        let absent =
            closure.absent.iter().map(|absent| (absent.name.as_str(), absent.absence.reason.as_str()));
        assert_eq!(absent.collect::<Vec<_>>(), [(name, "not found")]);
    }
}

#[test]
fn t98_what_an_image_needs_is_not_optional_where_an_attestation_needs_it_too() {
    let mut manifests = Manifests::default();
    let image = manifest(&mut manifests, &[(b"a", 1), (b"shared", 6)]);
    let attestation = manifest(&mut manifests, &[(b"shared", 6), (b"in-toto", 7)]);
    let entry = |child: &Descriptor, of: &str| {
        let Descriptor { media_type, digest, size, .. } = child;
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}{of}}}"#)
    };
    let describes = format!(r#","annotations":{{"vnd.docker.reference.digest":"{}"}}"#, image.digest);
    // The image is listed a second time, as if it were an attestation.
    let image_twice = [entry(&image, &describes), entry(&attestation, &describes), entry(&image, "")];
    let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, image_twice.join(","));
    let root = store(&mut manifests, oci::OCI_INDEX, text);
    let closure = manifests.closure(&root, &[]).unwrap();
    let optional = manifests.optional(&root, &closure);
    assert_eq!(optional.children.keys().collect::<Vec<_>>(), [&attestation.digest]);
    assert_eq!(optional.manifests, HashMap::from([(attestation.digest, vec![attestation.digest])]));
    assert_eq!(optional.blobs, HashMap::from([(Digest::of(b"in-toto"), vec![attestation.digest])]));
}

#[test]
fn t47_t92_depth_and_contradictions_are_refused() {
    let mut manifests = Manifests::default();
    let mut root = manifest(&mut manifests, &[]);
    for _ in 0..oci::MAX_INDEX_DEPTH {
        root = index(&mut manifests, &[root], &[]);
    }
    assert!(manifests.closure(&root, &[]).is_ok());
    root = index(&mut manifests, &[root], &[]);
    assert!(matches!(manifests.closure(&root, &[]), Err(ClosureError::Depth(_))));
    let sizes = manifest(&mut manifests, &[(b"a", 1), (b"a", 2)]);
    assert!(matches!(manifests.closure(&sizes, &[]), Err(ClosureError::Sizes { .. })));
    let gone = Descriptor::new(oci::OCI_MANIFEST, Digest::of(b"gone"), 4);
    assert!(matches!(manifests.closure(&gone, &[]), Err(ClosureError::Missing { .. })));
}

#[test]
fn t47_a_manifest_that_is_listed_a_thousand_times_is_read_once() {
    let mut manifests = Manifests::default();
    let mut root = manifest(&mut manifests, &[(b"a", 1)]);
    for _ in 0..oci::MAX_INDEX_DEPTH {
        root = index(&mut manifests, &vec![root; 1000], &[]);
    }
    let closure = manifests.closure(&root, &[]).unwrap();
    assert_eq!((closure.manifests.len(), closure.blobs.len()), (oci::MAX_INDEX_DEPTH + 1, 2));
}

#[test]
fn content_that_is_also_a_manifest_is_both() {
    let mut manifests = Manifests::default();
    let inner = manifest(&mut manifests, &[]);
    let text = manifests.get(&inner.digest).unwrap().bytes.clone();
    let outer = manifest(&mut manifests, &[(&text, text.len() as u64)]);
    let both = index(&mut manifests, &[outer, inner.clone()], &[]);
    let closure = manifests.closure(&both, &[]).unwrap();
    assert!(closure.manifests.iter().any(|d| d.digest == inner.digest));
    assert!(closure.blobs.iter().any(|d| d.digest == inner.digest));
}

#[test]
fn the_children_of_an_inner_index_for_other_platforms_stay_behind() {
    let mut manifests = Manifests::default();
    let (one, two) = (manifest(&mut manifests, &[(b"a", 1)]), manifest(&mut manifests, &[(b"b", 1)]));
    let inner = index(&mut manifests, &[two], &["arm64"]);
    let outer = index(&mut manifests, &[one.clone(), inner.clone()], &["amd64"]);
    let closure = manifests.closure(&outer, &["linux/amd64".parse().unwrap()]).unwrap();
    let digests = closure.manifests.iter().map(|d| d.digest).collect::<Vec<_>>();
    assert_eq!(digests, [one.digest, inner.digest, outer.digest]);
    assert!(manifests.closure(&outer, &["windows/amd64".parse().unwrap()]).is_err());
}
