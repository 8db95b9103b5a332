// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use camino::Utf8PathBuf;
use proptest::prelude::*;

use super::*;
use crate::crd::EdgeImageSet;

const D1: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
const D2: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";

fn set(name: &str, images: &[&str]) -> String {
    let mut text = format!(
        "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: {name}\nspec:\n  \
         destinationRegistry: edge.local:5000\n  images:\n"
    );
    for image in images {
        text += &format!("  - image: {image}\n");
    }
    text
}

fn nginx() -> String {
    format!("docker.io/nginx:1.25@{D1}")
}

/// What a person reads about a set in which one text is replaced by another.
fn fault(find: &str, put: &str) -> String {
    let text = set("shop", &[&nginx()]);
    assert!(text.contains(find), "{find}");
    check(text.replace(find, put).as_bytes(), "sets/shop.yaml").unwrap_err().to_string()
}

fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Utf8PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
    (folder, path)
}

fn load_files(files: &[(&str, &str)]) -> Result<Loaded, SetErrors> {
    let (_folder, path) = folder(files);
    load(&[path], None)
}

fn places(loaded: &Loaded) -> Vec<(&str, u64, &str)> {
    loaded.sets.iter().map(|set| (set.file.as_str(), set.line, set.set.name.as_str())).collect()
}

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
        sets/shop.yaml:7:16: expected a whole number
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
        sets/shop.yaml:5:1: the key `kind` stands twice
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
fn t85_a_checkout_is_read_in_order_and_without_what_it_ignores() {
    let a = set("a", &[&nginx()]);
    let b = set("b", &[&nginx()]);
    let loaded = load_files(&[
        ("z.yaml", &format!("# head\n---\n{a}---\nkind: Secret\ndata: {{x: ]}}\n---\n{b}")),
        ("m/one.yml", &set("c", &["quay.io/a/b:1"])),
        ("m/notes.txt", &a),
        (".gitignore", "out/\n"),
        ("out/x.yaml", &a),
        (".krsignore", "old*.yaml\n"),
        ("old-1.yaml", "kind: EdgeImageSet ]"),
        (".hidden/x.yaml", &a),
        ("other.yaml", "kind: Deployment # for the EdgeImageSet\n"),
    ])
    .unwrap();
    assert_eq!(places(&loaded), [("m/one.yml", 1, "c"), ("z.yaml", 3, "a"), ("z.yaml", 15, "b")]);
    assert_eq!(loaded.sets[1].raw, a.as_bytes());
    let skipped = loaded.skipped.iter().map(|skipped| format!("{} {}", skipped.file, skipped.reason));
    assert_eq!(
        skipped.collect::<Vec<_>>(),
        [
            ".hidden/x.yaml is hidden (a part of its path begins with a dot)",
            "old-1.yaml is excluded by `old*.yaml` in .krsignore",
            "out/x.yaml is excluded by `out/` in .gitignore",
        ]
    );
    assert_eq!(loaded.ignored_files, 2);
    let places = loaded.warnings.iter().map(|warning| (warning.file.as_str(), warning.line));
    assert_eq!(places.collect::<Vec<_>>(), [(".hidden/x.yaml", 0), ("m/one.yml", 8)]);
    assert_eq!(loaded.source, None);
}

#[test]
fn t85_patches_and_templates_are_skipped_with_a_line_each() {
    let set = set("a", &[&nginx()]);
    let patch = "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata: {name: a}\n";
    let loaded = load_files(&[
        ("base/set.yaml", &set),
        (
            "prod/kustomization.yaml",
            "resources: [../base]\npatches:\n- path: set.yaml\n- path: ../more.yml\n",
        ),
        ("prod/set.yaml", patch),
        ("more.yml", patch),
        ("chart/Chart.yaml", "name: chart\n"),
        ("chart/templates/sub/set.yaml", "{{- if .x }}\nkind: EdgeImageSet\n{{- end }}\n"),
        ("chart/templates/pod.yaml", "{{- if .x }}\nkind: Pod # EdgeImageSet\n"),
        ("foreign.yaml", "apiVersion: example.com/v1\nkind: EdgeImageSet\n"),
    ])
    .unwrap();
    assert_eq!(places(&loaded), [("base/set.yaml", 1, "a")]);
    let lines = loaded.skipped.iter().map(|over| format!("{} {}", over.file, over.reason));
    assert_eq!(
        lines.collect::<Vec<_>>(),
        [
            "chart/templates/sub/set.yaml is a template of a Helm chart",
            "foreign.yaml is of apiVersion example.com/v1, not of kuberegistrysync.io",
            "more.yml is a Kustomize patch (listed in kustomization.yaml)",
            "prod/set.yaml is a Kustomize patch (listed in kustomization.yaml)",
        ]
    );
}

#[test]
fn t85_items_of_a_list_become_documents_of_their_own() {
    let item = |name: &str| {
        let text = set(name, &[&nginx()]);
        text.lines().map(|line| format!("  {line}\n")).collect::<String>().replacen("  ", "- ", 1)
    };
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n{}# between\n- {{apiVersion: v1, kind: Secret, data: {{a: b}}}}\n{}",
        item("a"),
        item("b")
    );
    let json = serde_json::json!({"kind": "List", "apiVersion": "v1", "items": [
        serde_saphyr::from_str::<serde_json::Value>(&set("c", &["quay.io/a:1"])).unwrap()
    ]});
    let loaded =
        load_files(&[("list.yaml", &list), ("sets.yaml", &serde_json::to_string_pretty(&json).unwrap())])
            .unwrap();
    assert_eq!(places(&loaded), [("list.yaml", 4, "a"), ("list.yaml", 14, "b"), ("sets.yaml", 4, "c")]);
    assert_eq!(String::from_utf8_lossy(&loaded.sets[1].raw), set("b", &[&nginx()]));
    assert_eq!(loaded.sets[1].set.images[0].line, 21);
    for found in &loaded.sets {
        assert_eq!(check(&found.raw, "raw").unwrap().spec, found.set.spec);
    }
    let wrong = list.replace("edge.local:5000", "https://edge.local");
    let errors = load_files(&[("list.yaml", &wrong)]).unwrap_err();
    let at = errors.0.iter().map(|error| (error.line, error.column)).collect::<Vec<_>>();
    assert_eq!(at, [(9, 26), (19, 26)]);
    assert!(!errors.to_string().contains("Secret"));
}

#[test]
fn t85_all_faults_are_reported_at_once_and_other_documents_are_not_shown() {
    let a = set("a", &["nginx:1", "quay.io/a"]);
    let errors = load_files(&[
        ("a.yaml", &format!("kind: Secret\nstringData: {{password: hunter2}}\n---\n{a}")),
        ("b.yaml", "kind: EdgeImageSet\nspec: [\n"),
        ("c.yaml", "apiVersion: kuberegistrysync.io/v1alpha1\nkind: Edgeimageset\n"),
        (
            "d.yaml",
            "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nspec: {{ .Values.spec }}\n",
        ),
    ])
    .unwrap_err();
    let files = errors.0.iter().map(|error| (error.file.as_str(), error.line)).collect::<Vec<_>>();
    assert_eq!(files, [("a.yaml", 11), ("a.yaml", 12), ("b.yaml", 2), ("c.yaml", 2), ("d.yaml", 3)]);
    assert!(errors.0[4].help.as_ref().unwrap().contains("render"));
    assert!(!errors.0[0].source_text.as_ref().unwrap().contains("hunter2"));
}

#[test]
fn t85_line_ends_marks_and_encodings_of_other_systems() {
    let text = set("a", &[&nginx()]);
    let crlf = text.replace('\n', "\r\n");
    let loaded = load_files(&[("a.yaml", &format!("\u{feff}{crlf}---\r\n{crlf}"))]).unwrap();
    assert_eq!(places(&loaded), [("a.yaml", 1, "a"), ("a.yaml", 10, "a")]);
    assert_eq!(loaded.sets[0].raw, crlf.as_bytes());

    let (folder, path) = folder(&[("x", "")]);
    let wide = text.encode_utf16().flat_map(u16::to_le_bytes);
    fs::write(folder.path().join("a.yaml"), [0xff, 0xfe].into_iter().chain(wide).collect::<Vec<_>>())
        .unwrap();
    fs::write(folder.path().join("b.yaml"), [text.as_bytes(), b"# \xff\n"].concat()).unwrap();
    let errors = load(&[path], None).unwrap_err().0;
    let messages = errors.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(messages, ["a.yaml: is UTF-16\n  help: save it as UTF-8", "b.yaml: is not UTF-8 (line 9)"]);
}

#[test]
fn t85_anchors_are_expanded_within_a_budget() {
    let text = set("a", &[&nginx()])
        .replace("edge.local:5000", "&to edge.local:5000")
        .replace("  images:", "  destinationClientSecretName: *to\n  images:");
    assert!(check(text.as_bytes(), "a").unwrap_err().message.contains("Secret"));
    let mut bomb = "status:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..30 {
        let last = format!("*a{}, ", n - 1).repeat(10);
        bomb += &format!("  a{n}: &a{n} [{last}]\n");
    }
    let start = std::time::Instant::now();
    assert!(check((set("a", &[&nginx()]) + &bomb).as_bytes(), "a").is_err());
    let deep = format!("status: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    assert!(check((set("a", &[&nginx()]) + &deep).as_bytes(), "a").is_err());
    // Without the budget the first one would take longer than anybody waits.
    assert!(start.elapsed().as_secs() < 60);
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

#[test]
fn t85_files_that_were_joined_are_divided() {
    let (a, b) = (set("a", &[&nginx()]), set("b", &[&nginx()]));
    for (joined, line) in [
        (format!("{a}\u{feff}---\n{b}"), 10),
        (format!("{a}---\n\u{feff}{b}"), 10),
        (format!("{a}\u{feff}--- # b\n{b}"), 10),
        (format!("\u{feff}{}\u{feff}---\r\n{}", a.replace('\n', "\r\n"), b.replace('\n', "\r\n")), 10),
    ] {
        let loaded = load_files(&[("a.yaml", &joined)]).unwrap();
        assert_eq!(places(&loaded), [("a.yaml", 1, "a"), ("a.yaml", line, "b")], "{joined:?}");
        for found in &loaded.sets {
            assert_eq!(check(&found.raw, "raw").unwrap().spec, found.set.spec);
        }
    }
    let error = load_files(&[("a.yaml", &format!("{a}\u{feff}{b}"))]).unwrap_err().to_string();
    assert!(error.contains("a.yaml:9:1: a byte order mark (U+FEFF) stands inside"), "{error}");
}

#[test]
fn t85_characters_that_nobody_sees_are_named() {
    for (put, message) in [
        (
            format!("docker.io/nginx:1.25@{D1}\u{a0}"),
            "8:12: the value ends with a no-break space (U+00A0); remove it",
        ),
        (format!("\"docker.io/nginx:1.25@{D1} \""), "8:12: the value ends with a blank (U+0020); remove it"),
        (
            format!("docker.io/ng\u{200b}inx:1.25@{D1}"),
            "has a zero-width space (U+200B) behind `docker.io/ng`",
        ),
        (
            format!("|\n      docker.io/nginx:1.25@{D1}"),
            "ends with a line break (U+000A); write it on one line",
        ),
        (format!("docker.io/nginx:1.25 @{D1}"), "has a blank (U+0020) behind `docker.io/nginx:1.25`"),
    ] {
        let said = fault(&nginx(), &put);
        assert!(said.contains(message), "{said}");
    }
    let said = fault("edge.local:5000", "edge.local:5000\u{a0}");
    assert!(said.contains("the value ends with a no-break space"), "{said}");
    let said = fault("  name: shop", "\u{a0}\u{a0}name: shop");
    assert!(
        said.starts_with("sets/shop.yaml:4:1: the line is indented with a no-break space (U+00A0)"),
        "{said}"
    );
}

#[test]
fn t85_items_of_a_list_may_use_the_anchors_of_other_items() {
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n- &item\n  apiVersion: kuberegistrysync.io/v1alpha1\n  kind: EdgeImageSet\n  \
         metadata: {{name: a}}\n  spec: &spec\n    destinationRegistry: edge.local:5000\n    images:\n    - image: {}\n\
         - <<: *item\n  metadata: {{name: b}}\n  spec:\n    <<: *spec\n    destinationRegistry: other.local:5000\n",
        nginx()
    );
    let loaded = load_files(&[("list.yaml", &list)]).unwrap();
    assert_eq!(places(&loaded), [("list.yaml", 5, "a"), ("list.yaml", 12, "b")]);
    let [a, b] = loaded.sets.as_slice() else { panic!("{loaded:?}") };
    assert_eq!(b.set.images[0].reference, a.set.images[0].reference);
    assert_eq!(b.set.spec.destination_registry, "other.local:5000");
    let raw = String::from_utf8(b.raw.clone()).unwrap();
    assert!(!raw.contains(['*', '&']), "{raw}");
    for found in &loaded.sets {
        assert_eq!(check(&found.raw, "raw").unwrap().spec, found.set.spec);
    }
    // What is wrong is shown where it is written; what a merge key brings, where that begins.
    let wrong =
        list.replace("other.local", "https://other.local").replace("- image: docker", "- image: Docker");
    let errors = load_files(&[("list.yaml", &wrong)]).unwrap_err().0;
    let at = errors.iter().map(|error| error.line).collect::<Vec<_>>();
    assert_eq!(at, [9, 11, 16]);
    // An anchor ends with its document.
    let two = format!(
        "{}---\n{}",
        set("a", &[&nginx()]).replace("spec:", "spec: &spec"),
        "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata: {name: b}\nspec: *spec\n"
    );
    let error = load_files(&[("a.yaml", &two)]).unwrap_err().to_string();
    assert!(error.contains("a.yaml:13:7: there is no anchor of this name"), "{error}");
}

#[test]
fn sets_in_json_are_read_and_other_json_is_not_touched() {
    let json = serde_json::to_string_pretty(
        &serde_saphyr::from_str::<serde_json::Value>(&set("a", &[&nginx()])).unwrap(),
    );
    let json = json.unwrap();
    let loaded = load_files(&[
        ("a.json", &json),
        ("tabs.json", &json.replace("  ", "\t").replace("\"a\"", "\"tabs\"")),
        ("one-line.json", &json.replace(['\n', ' '], "").replace("\"a\"", "\"line\"")),
        ("package.json", "{\"name\": \"x\", // comment\n}"),
        ("schema.json", "{\"enum\": [\"EdgeImageSet\"]}"),
        ("list.json", "[1, 2]"),
    ])
    .unwrap();
    let names = loaded.sets.iter().map(|set| (set.file.as_str(), set.set.name.as_str())).collect::<Vec<_>>();
    assert_eq!(names, [("a.json", "a"), ("one-line.json", "line"), ("tabs.json", "tabs")]);
    let error = load_files(&[("a.json", &json.replace("nginx:", "NGINX:"))]).unwrap_err().to_string();
    assert!(error.starts_with("a.json:"), "{error}");
}

#[test]
fn sets_of_one_name_are_named() {
    let two = set("shop", &[&nginx()]).replace("  name:", "  namespace: apps\n  name:");
    let loaded =
        load_files(&[("a.yaml", &two), ("b.yaml", &two), ("c.yaml", &set("shop", &[&nginx()]))]).unwrap();
    let warnings = loaded.warnings.iter().map(|w| (w.file.as_str(), w.line, w.message.as_str()));
    let [(file, line, message)] = warnings.collect::<Vec<_>>()[..] else { panic!("{:?}", loaded.warnings) };
    assert_eq!((file, line), ("b.yaml", 1));
    assert!(message.starts_with("the set apps/shop is also in a.yaml:1;"), "{message}");
}

#[test]
fn where_no_set_is_found_it_is_said_what_is_there_instead() {
    let error = load_files(&[
        ("a.yaml", "apiVersion: apps/v1\nkind: Deployment\n---\napiVersion: v1\nkind: Pod\n"),
        ("b.json", "{\"apiVersion\": \"v1\", \"kind\": \"Pod\"}"),
        (".gitignore", "out\n"),
        ("out/c.yaml", ""),
        (".hidden/d.yaml", &set("d", &[&nginx()])),
    ])
    .unwrap_err();
    let [error] = error.0.as_slice() else { panic!("{error}") };
    assert_eq!(
        error.message,
        "no EdgeImageSet (3 files read: 2 Pod, 1 Deployment, 1 EdgeImageSet; 1 ignored by .gitignore or .krsignore)"
    );
    let help = error.help.as_deref().unwrap();
    assert!(help.contains("does not read images from Deployments"), "{help}");
    assert!(help.contains(".hidden/d.yaml: holds a set and was skipped: it is hidden"), "{help}");
}

#[test]
fn t85_large_files_are_refused_only_if_they_can_hold_a_set() {
    let (folder, path) = folder(&[("set.yaml", &set("a", &[&nginx()]))]);
    let large = |name: &str, tail: &[u8]| {
        let mut content = vec![b'#'; 33 << 20];
        content.extend_from_slice(tail);
        fs::write(folder.path().join(name), content).unwrap();
    };
    large("large.yaml", b"\nkind: Other\n");
    assert_eq!(load(std::slice::from_ref(&path), None).unwrap().sets.len(), 1);
    large("large.yaml", b"\nkind: EdgeImageSet\n");
    let error = load(&[path], None).unwrap_err().to_string();
    assert!(error.starts_with("large.yaml: mentions EdgeImageSet"), "{error}");
}

#[cfg(unix)]
#[test]
fn t85_links_are_followed_only_below_the_root() {
    use std::os::unix::fs::symlink;
    let text = set("a", &[&nginx()]);
    let (folder, path) = folder(&[("in/real.yaml", &text), ("out/x.yaml", &text), ("in/kept.txt", &text)]);
    let root = folder.path().join("in");
    symlink("real.yaml", root.join("again.yaml")).unwrap();
    symlink("kept.txt", root.join("only.yaml")).unwrap();
    symlink(".", root.join("loop")).unwrap();
    symlink("/etc/hostname", root.join("harmless")).unwrap();
    let loaded = load(&[path.join("in")], None).unwrap();
    assert_eq!(places(&loaded), [("only.yaml", 1, "a"), ("real.yaml", 1, "a")]);
    symlink("../out", root.join("up")).unwrap();
    symlink("../out/x.yaml", root.join("up.yaml")).unwrap();
    symlink("gone", root.join("gone.yaml")).unwrap();
    let errors = load(&[path.join("in")], None).unwrap_err().0;
    let said = errors.iter().map(|error| format!("{} {}", error.file, error.message)).collect::<Vec<_>>();
    assert_eq!(
        said,
        [
            "gone.yaml is a symbolic link to a file that does not exist",
            "up is a symbolic link that leaves the folder that is read",
            "up.yaml is a symbolic link that leaves the folder that is read",
        ]
    );
}

#[test]
fn files_and_standard_input_are_read_and_nothing_is_read_twice() {
    let text = set("a", &[&nginx()]);
    let (_folder, path) = folder(&[("a.yaml", &text), ("b.txt", &set("b", &[&nginx()]))]);
    let mut stdin = text.as_bytes();
    let paths = [path.join("b.txt"), path.clone(), path.join("a.yaml"), Utf8PathBuf::from("-")];
    let loaded = load(&paths, Some(&mut stdin)).unwrap();
    assert_eq!(places(&loaded), [("-", 1, "a"), ("a.yaml", 1, "a"), ("b.txt", 1, "b")]);
    let missing = load(&[path.join("none")], None).unwrap_err().to_string();
    assert!(missing.contains("none: does not exist"), "{missing}");
    assert!(load(&[Utf8PathBuf::from("-")], None).is_err());
    let empty = load_files(&[("x.yaml", "a: 1\n")]).unwrap_err().to_string();
    assert!(empty.contains("no EdgeImageSet (1 file read)"), "{empty}");
}

#[test]
fn images_are_merged_and_collisions_name_both_places() {
    let load_two = |first: &str, second: &str| {
        load_files(&[("a.yaml", &set("a", &[&nginx(), first])), ("b.yaml", &set("b", &[&nginx(), second]))])
            .unwrap()
    };
    let loaded = load_two(&format!("quay.io/x/y:1@{D1}"), &format!("ghcr.io/x/y:1@{D1}"));
    let merged = merge(&loaded.sets).unwrap();
    let uses = merged.images.iter().map(|image| (image.reference.to_string(), image.uses.len()));
    assert_eq!(
        uses.collect::<Vec<_>>(),
        [
            (format!("docker.io/library/nginx:1.25@{D1}"), 2),
            (format!("quay.io/x/y:1@{D1}"), 1),
            (format!("ghcr.io/x/y:1@{D1}"), 1),
        ]
    );
    let loaded = load_two(&format!("quay.io/x/y:1@{D1}"), &format!("ghcr.io/x/y:1@{D2}"));
    let error = merge(&loaded.sets).unwrap_err().to_string();
    assert!(error.starts_with("b.yaml:9: naming collision") && error.contains("(a.yaml:9)"), "{error}");
    // Tags are compared once they are resolved.
    let loaded = load_two("quay.io/x/y:1", "ghcr.io/x/y:1");
    assert!(merge(&loaded.sets).is_ok());
    let resolved = |reference: &Reference| {
        reference
            .digest
            .or_else(|| if reference.registry.as_str() == "quay.io" { D1 } else { D2 }.parse().ok())
    };
    assert_eq!(collisions(&loaded.sets, resolved).unwrap_err().0.len(), 1);
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

/// Texts of a set whose image has no digest, and of one that does not read.
fn by_tag(name: &str) -> String {
    set(name, &["quay.io/a/b:1"])
}

fn load_below(root: &camino::Utf8Path, paths: &[&str]) -> Result<Loaded, SetErrors> {
    load(&paths.iter().map(|path| root.join(path)).collect::<Vec<_>>(), None)
}

#[test]
fn t205_files_of_several_paths_have_names_of_their_own() {
    let (_folder, root) = folder(&[
        ("sites/common/images.yaml", &by_tag("common")),
        ("sites/berlin/images.yaml", &by_tag("berlin")),
        ("sites/paris/images.yaml", &by_tag("paris").replace("images:", "imges:")),
        ("sites/paris/hidden/x.yaml", "kind: EdgeImageSet"),
        ("sites/rome/images.yaml", &by_tag("rome").replace("images:", "imges:")),
    ]);
    let both = load_below(&root, &["sites/common", "sites/berlin"]).unwrap();
    assert_eq!(places(&both), [("berlin/images.yaml", 1, "berlin"), ("common/images.yaml", 1, "common")]);
    let warned = both.warnings.iter().map(|warning| warning.file.as_str()).collect::<Vec<_>>();
    assert_eq!(warned, ["berlin/images.yaml", "common/images.yaml"], "one for each file");
    assert_eq!(both, load_below(&root, &["sites/berlin", "sites/common"]).unwrap());
    let errors = |paths: &[&str]| {
        let SetErrors(errors) = load_below(&root, paths).unwrap_err();
        errors.into_iter().map(|error| error.to_string()).collect::<Vec<_>>()
    };
    let wrong = errors(&["sites/rome", "sites/paris"]);
    assert!(wrong.iter().any(|error| error.starts_with("paris/images.yaml:7:3:")), "{wrong:?}");
    assert!(wrong.iter().any(|error| error.starts_with("rome/images.yaml:7:3:")), "{wrong:?}");
    assert_eq!(wrong, errors(&["sites/paris", "sites/rome"]));
    // Files beside each other keep their names; a folder and a file do not meet.
    let files = load_below(&root, &["sites/berlin/images.yaml", "sites/common"]).unwrap();
    assert_eq!(files, both);
}

#[test]
fn t205_what_is_named_twice_is_read_once() {
    let (_folder, root) = folder(&[
        ("sites/berlin/images.yaml", &by_tag("berlin")),
        ("sites/common/images.yaml", &by_tag("common")),
        ("sites/.drafts/images.yaml", &by_tag("draft")),
    ]);
    std::os::unix::fs::symlink("../common/images.yaml", root.join("sites/berlin/link.yaml")).unwrap();
    let all = load_below(&root, &["sites"]).unwrap();
    assert_eq!(places(&all), [("berlin/images.yaml", 1, "berlin"), ("common/images.yaml", 1, "common")]);
    for paths in [
        &["sites", "sites/."][..],
        &["sites", "sites/berlin"],
        &["sites/berlin", "sites"],
        &["sites/berlin/images.yaml", "sites", "sites/berlin/link.yaml"],
    ] {
        assert_eq!(load_below(&root, paths).unwrap(), all, "{paths:?}");
    }
    // The name of a file comes before that of a link to it, also where the link is found first.
    assert_eq!(load_below(&root, &["sites/berlin", "sites/common"]).unwrap().sets, all.sets);
    // Alone, the folder has a link that leaves it.
    assert!(load_below(&root, &["sites/berlin"]).is_err());
    // What is hidden below one path and not below another is read.
    let more = load_below(&root, &["sites", "sites/.drafts"]).unwrap();
    assert_eq!(places(&more)[0], (".drafts/images.yaml", 1, "draft"));
    assert_eq!(more, load_below(&root, &["sites/.drafts", "sites"]).unwrap());
    // Advice and errors do not depend on the order either.
    fs::create_dir(root.join("sites/berlin/.old")).unwrap();
    fs::write(root.join("sites/berlin/.old/a.yaml"), by_tag("old")).unwrap();
    let skipped = load_below(&root, &["sites/.", "sites/berlin"]).unwrap();
    assert_eq!(skipped.skipped.len(), 2);
    assert_eq!(skipped, load_below(&root, &["sites/berlin", "sites/."]).unwrap());
    assert_eq!(load_below(&root, &["no", "none"]), load_below(&root, &["none", "no", "none"]));
}
