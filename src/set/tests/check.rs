// SPDX-License-Identifier: Apache-2.0
//! One set: what is wrong with it is shown, and what is right is understood.

use super::*;

#[test]
fn faults_are_shown_with_their_place() {
    insta::assert_snapshot!(fault("destinationRegistry", "destinationRegistri"), @r"
        sets/shop.yaml:6:3: unknown field `destinationRegistri`; did you mean `destinationRegistry`? expected one of destinationRegistry, destinationClientSecretName, destinationTLS, source, naming, platforms, parallelism, resyncInterval, verifyInterval, suspend, images
          |
        6 |   destinationRegistri: edge.local:5000
          |   ^^^^^^^^^^^^^^^^^^^
    ");
    insta::assert_snapshot!(fault("- image:", "- imge:"), @r"
        sets/shop.yaml:8:5: unknown field `imge`; did you mean `image`? expected one of image, sourceClientSecretName, platforms, destinationRepository
          |
        8 |   - imge: docker.io/nginx:1.25@sha256:11111111111111111111111111111111111111111111111111111111111111…
          |     ^^^^
    ");
    insta::assert_snapshot!(fault("  images:", "  parallelism: many\n  images:"), @r"
        sets/shop.yaml:7:16: expected an integer, without quotes
          |
        7 |   parallelism: many
          |                ^^^^
    ");
    insta::assert_snapshot!(fault("- image: docker", "- docker"), @r"
        sets/shop.yaml:8:5: expected fields, in lines of `key: value`
          |
        8 |   - docker.io/nginx:1.25@sha256:1111111111111111111111111111111111111111111111111111111111111111
          |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    ");
    insta::assert_snapshot!(fault("  destinationRegistry: edge.local:5000\n", ""), @r"
        sets/shop.yaml:6:3: missing field `destinationRegistry`
          |
        6 |   images:
          |   ^^^^^^
    ");
    insta::assert_snapshot!(fault("docker.io/nginx", "nginx"), @r"
        sets/shop.yaml:8:12: image must name its registry, for example docker.io/library/nginx:1.25@sha256:…
          |
        8 |   - image: nginx:1.25@sha256:1111111111111111111111111111111111111111111111111111111111111111
          |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    ");
    insta::assert_snapshot!(fault("@sha256:1111", "@sha256:1"), @r"
        sets/shop.yaml:8:12: the digest of image must be sha256: and 64 lower-case hex digits
          |
        8 |   - image: docker.io/nginx:1.25@sha256:1111111111111111111111111111111111111111111111111111111111111
          |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    ");
    insta::assert_snapshot!(fault("  - image:", "  - {image: quay.io/a:1}\n  - image: quay.io/a:1\n  - image:"), @r"
        sets/shop.yaml:9:12: image is listed twice
          |
        9 |   - image: quay.io/a:1
          |            ^^^^^^^^^^^
    ");
    insta::assert_snapshot!(fault("edge.local:5000", "http://edge.local:5000"), @r"
        sets/shop.yaml:6:24: destinationRegistry must not have a scheme: write host[:port][/prefix], without http:// or https://
          |
        6 |   destinationRegistry: http://edge.local:5000
          |                        ^^^^^^^^^^^^^^^^^^^^^^
    ");
    insta::assert_snapshot!(fault("  images:", "\timages:"), @r"
        sets/shop.yaml:7:1: a tab stands where YAML takes only spaces
          |
        7 |  images:
          | ^
          help: indent with spaces; most editors do so for YAML if asked
    ");
    insta::assert_snapshot!(fault("v1alpha1", "v2"), @r"
        sets/shop.yaml:1:13: apiVersion `kuberegistrysync.io/v2` is not supported; expected kuberegistrysync.io/v1alpha1
          |
        1 | apiVersion: kuberegistrysync.io/v2
          |             ^^^^^^^^^^^^^^^^^^^^^^
    ");
    insta::assert_snapshot!(fault("1.25", "${TAG}"), @r"
        sets/shop.yaml:8:12: image must not hold a variable: render the file first (kustomize build, helm template, flux envsubst)
          |
        8 |   - image: docker.io/nginx:${TAG}@sha256:11111111111111111111111111111111111111111111111111111111111…
          |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    ");
    insta::assert_snapshot!(fault("name: shop", "name: 12"), @r"
        sets/shop.yaml:4:9: expected text, got `12`; put it in quotes
          |
        4 |   name: 12
          |         ^^
    ");
    insta::assert_snapshot!(fault("spec:", "kind: EdgeImageSet\nspec:"), @r"
        sets/shop.yaml:5:1: the key `kind` occurs twice
          |
        5 | kind: EdgeImageSet
          | ^^^^
    ");
    insta::assert_snapshot!(fault("  images:", "  naming: Path\n  images:"), @r"
        sets/shop.yaml:7:11: `Path` is not one of PathOnly, HostInPath
          |
        7 |   naming: Path
          |           ^^^^
    ");
    insta::assert_snapshot!(fault("  images:", "  resyncInterval: 1d\n  images:"), @r"
        sets/shop.yaml:7:19: must be a duration from 10s to 8760h, such as 30s, 10m or 1h30m
          |
        7 |   resyncInterval: 1d
          |                   ^^
    ");
}

#[test]
fn a_set_is_understood() {
    let text = set("shop", &[&nginx(), "quay.io:8443/a/b:v1", &format!("ghcr.io/x@{D2}")])
        .replace("  images:", "  naming: HostInPath\n  platforms: [linux/arm64, linux/amd64]\n  images:");
    let set = check(text.as_bytes(), "a.yaml").unwrap();
    assert_eq!((set.namespace.as_deref(), set.name.as_str()), (None, "shop"));
    let edge = set.images.iter().map(|image| format!("{}:{} {}", image.repository, image.tag, image.line));
    assert_eq!(
        edge.collect::<Vec<_>>(),
        [
            "docker.io/library/nginx:1.25 10",
            "quay.io_8443/a/b:v1 11",
            "ghcr.io/x:krs-22222222222222222222222222222222 12",
        ]
    );
    assert_eq!(set.images[0].platforms, ["linux/amd64".parse().unwrap(), "linux/arm64".parse().unwrap()]);
    assert_eq!(set.spec.resync_interval, "10m");
}

#[test]
fn variables_are_accepted_in_the_destination_only() {
    for destination in ["${REGISTRY}", "${HOST}:${PORT}/${PREFIX}", "edge.${SITE:=a}.local/x"] {
        let text = set("shop", &[&nginx()]).replace("edge.local:5000", destination);
        assert!(check(text.as_bytes(), "a.yaml").is_ok(), "{destination}");
    }
    for destination in ["https://${REGISTRY}", "${REGISTRY", "${A} ${B}", "Edge.local", ""] {
        let text = set("shop", &[&nginx()]).replace("edge.local:5000", &format!("\"{destination}\""));
        assert!(check(text.as_bytes(), "a.yaml").is_err(), "{destination}");
    }
}

#[test]
fn the_strict_reader_and_the_definition_have_the_same_fields() {
    let full = EDGE_IMAGE_SET_FULL;
    let strict = check(full.as_bytes(), "full.yaml").unwrap();
    let lenient: EdgeImageSet = serde_saphyr::from_str(full).unwrap();
    assert_eq!(strict.spec, lenient.spec);
    // Every field that the definition has stands in the text above.
    let crd = crate::crd::edge_image_set_crd_yaml().unwrap();
    let crd: serde_json::Value = serde_saphyr::from_str(&crd).unwrap();
    let full: serde_json::Value = serde_saphyr::from_str(full).unwrap();
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    for (schema, value) in [
        ("", "/spec"),
        ("/destinationTLS/properties", "/spec/destinationTLS"),
        ("/images/items/properties", "/spec/images/0"),
    ] {
        let known = crd.pointer(&format!("{spec}{schema}")).unwrap().as_object().unwrap();
        let value = full.pointer(value).unwrap().as_object().unwrap();
        assert_eq!(known.keys().collect::<Vec<_>>(), value.keys().collect::<Vec<_>>());
    }
}

const EDGE_IMAGE_SET_FULL: &str = "
apiVersion: kuberegistrysync.io/v1alpha1
kind: EdgeImageSet
metadata: {name: full, namespace: shop, labels: {a: b}}
spec:
  destinationRegistry: edge.local:5000/mirror
  destinationClientSecretName: creds
  destinationTLS: {caSecretName: ca, insecureSkipVerify: false, plainHTTP: false, caConfigMapName: null}
  source: Bundle
  naming: HostInPath
  platforms: [linux/amd64]
  parallelism: 3
  resyncInterval: 30m
  verifyInterval: 12h
  suspend: true
  images:
  - image: docker.io/library/nginx:1.25
    sourceClientSecretName: source
    platforms: [linux/arm64]
    destinationRepository: web/nginx
status: {observedGeneration: 3, whatever: {}}
";

#[test]
fn the_examples_are_sets_that_go_together() {
    let examples = Utf8PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/examples"));
    let loaded = load(&[examples], None).unwrap();
    let names = loaded.sets.iter().map(|set| set.set.name.as_str()).collect::<Vec<_>>();
    assert_eq!(names, ["factory", "tills", "back-office"]);
    assert_eq!(loaded.warnings.iter().filter(|warning| warning.line > 0).count(), 0);
    let merged = merge(&loaded.sets).unwrap();
    let shared = merged.images.iter().filter(|image| image.uses.len() == 2).count();
    assert_eq!(shared, 1);
}

#[test]
fn t78_the_largest_set_is_read_and_a_larger_one_refused() {
    let image = |n: usize| format!("registry.example/{n:04}/{}:1@{D1}", "x".repeat(224));
    let images = (0..1000).map(image).collect::<Vec<_>>();
    assert_eq!(images[0].len(), 320);
    let images = images.iter().map(String::as_str).collect::<Vec<_>>();
    let text = set("a", &images);
    assert_eq!(check(text.as_bytes(), "a").unwrap().images.len(), 1000);
    let more = check((text + "  - image: quay.io/a:1\n").as_bytes(), "a").unwrap_err();
    assert_eq!((more.line, more.message.as_str()), (8, crate::crd::message::IMAGES));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn t85_no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = check(&bytes, "x");
    }

    #[test]
    fn t85_no_damage_to_a_set_makes_reading_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), "[\\PC\n\t:{}&*|-]{0,4}", 0usize..4), 1..6),
        list in any::<bool>(),
    ) {
        let mut text = if list {
            format!("kind: List\nitems:\n- {}", EDGE_IMAGE_SET_FULL.trim().replace('\n', "\n  "))
        } else {
            EDGE_IMAGE_SET_FULL.to_owned()
        };
        for (at, put, cut) in edits {
            let mut chars = text.chars().collect::<Vec<_>>();
            let at = at.index(chars.len() + 1);
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, put.chars());
            text = chars.into_iter().collect();
        }
        if let Err(error) = check(text.as_bytes(), "x") {
            let _ = error.to_string();
        }
        let mut stdin = text.as_bytes();
        if let Err(errors) = load(&[Utf8PathBuf::from("-")], Some(&mut stdin)) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }
}

/// The parser counts comments in a row only where a feature of it is on, as in the importer.
#[test]
fn any_number_of_comments_may_stand_between_images() {
    let comments = "  # not yet\n".repeat(500);
    let text = set("shop", &[&nginx()]).replace("  images:\n", &format!("  images:\n{comments}"));
    assert_eq!(check(text.as_bytes(), "a.yaml").unwrap().images.len(), 1);
}
