// SPDX-License-Identifier: Apache-2.0
//! Texts as editors, other systems and templates leave them: several sets in one, marks, anchors, JSON.

use super::*;

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
    assert_eq!(locations(&loaded), [("base/set.yaml", 1, "a")]);
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
    assert_eq!(locations(&loaded), [("list.yaml", 4, "a"), ("list.yaml", 14, "b"), ("sets.yaml", 4, "c")]);
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
    assert_eq!(locations(&loaded), [("a.yaml", 1, "a"), ("a.yaml", 10, "a")]);
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
fn t85_files_that_were_joined_are_divided() {
    let (a, b) = (set("a", &[&nginx()]), set("b", &[&nginx()]));
    for (joined, line) in [
        (format!("{a}\u{feff}---\n{b}"), 10),
        (format!("{a}---\n\u{feff}{b}"), 10),
        (format!("{a}\u{feff}--- # b\n{b}"), 10),
        (format!("\u{feff}{}\u{feff}---\r\n{}", a.replace('\n', "\r\n"), b.replace('\n', "\r\n")), 10),
    ] {
        let loaded = load_files(&[("a.yaml", &joined)]).unwrap();
        assert_eq!(locations(&loaded), [("a.yaml", 1, "a"), ("a.yaml", line, "b")], "{joined:?}");
        for found in &loaded.sets {
            assert_eq!(check(&found.raw, "raw").unwrap().spec, found.set.spec);
        }
    }
    let error = load_files(&[("a.yaml", &format!("{a}\u{feff}{b}"))]).unwrap_err().to_string();
    assert!(error.contains("a.yaml:9:1: a byte order mark (U+FEFF) stands inside"), "{error}");
}

#[test]
fn t85_invisible_characters_are_named() {
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
        let error = fault(&nginx(), &put);
        assert!(error.contains(message), "{error}");
    }
    let error = fault("edge.local:5000", "edge.local:5000\u{a0}");
    assert!(error.contains("the value ends with a no-break space"), "{error}");
    let error = fault("  name: shop", "\u{a0}\u{a0}name: shop");
    assert!(
        error.starts_with("sets/shop.yaml:4:1: the line is indented with a no-break space (U+00A0)"),
        "{error}"
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
    assert_eq!(locations(&loaded), [("list.yaml", 5, "a"), ("list.yaml", 12, "b")]);
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
