// SPDX-License-Identifier: Apache-2.0
//! What is said of overlays.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use camino::Utf8PathBuf;

use crate::set::{LoadedSets, load};

pub(super) fn set(name: &str, namespace: Option<&str>) -> String {
    let namespace = namespace.map(|namespace| format!("  namespace: {namespace}\n")).unwrap_or_default();
    let digest = format!("sha256:{}", "1".repeat(64));
    format!(
        "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: {name}\n{namespace}spec:\n  \
         destinationRegistry: edge.local:5000\n  images:\n  - image: quay.io/{name}:1@{digest}\n"
    )
}

pub(super) fn with<T>(files: &[(&str, &str)], run: impl FnOnce(Utf8PathBuf) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    run(Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap())
}

/// The warnings, with the folder's own path taken out.
pub(super) fn messages(loaded: &LoadedSets, folder: &Utf8PathBuf) -> Vec<String> {
    let line = |warning: &crate::set::Warning| format!("{}: {}", warning.file, warning.message);
    loaded.warnings.iter().map(line).map(|line| line.replace(folder.as_str(), "DIR")).collect()
}

/// What is said of a kustomization in `over/`, beside the set `base` in `base/set.yaml`.
fn of_overlay(kustomization: &str) -> Vec<String> {
    let files = [
        ("base/kustomization.yaml", "resources: [set.yaml]\n"),
        ("base/set.yaml", &*set("base", None)),
        ("app/kustomization.yaml", "resources: [deployment.yaml]\n"),
        ("app/deployment.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app}\n"),
        ("over/kustomization.yaml", kustomization),
    ];
    with(&files, |folder| messages(&load(std::slice::from_ref(&folder), None).unwrap(), &folder))
}

#[test]
fn t108_what_would_change_a_set_is_named_with_the_command_that_renders_it() {
    for (field, text) in [
        ("patches", "patches: [{target: {kind: EdgeImageSet}, patch: '[]'}]"),
        ("patches", "patches: [{target: {labelSelector: a=b}, patch: '[]'}]"),
        ("patches", "patches:\n- patch: |-\n    kind: EdgeImageSet\n    metadata: {name: base}"),
        ("patches", "patchesStrategicMerge:\n- |-\n  kind: EdgeImageSet\n  metadata: {name: base}"),
        ("patches", "patchesJson6902: [{target: {kind: EdgeImageSet, name: base}, path: x.json}]"),
        (
            "replacements",
            "replacements: [{source: {kind: ConfigMap}, targets: [{select: {kind: EdgeImageSet}}]}]",
        ),
        ("replacements", "replacements: [{path: r.yaml}]"),
        ("namePrefix", "namePrefix: x-"),
        ("nameSuffix", "nameSuffix: -x"),
        ("namespace", "namespace: shop"),
        ("transformers", "transformers: [t.yaml]"),
        ("configurations", "configurations: [c.yaml]"),
    ] {
        let messages = of_overlay(&format!("resources: [../base]\n{text}\n"));
        let expected = format!(
            "over/kustomization.yaml: {field} would change the sets of base/set.yaml, and krs reads sets as they are. \
             Render it with `kustomize build DIR/over`, and pipe that into this command, with `-` in place of the folder"
        );
        assert_eq!(messages, [expected], "{text}");
    }
    let messages = of_overlay("resources: [../base]\nnamePrefix: x-\nnamespace: shop\n");
    assert!(messages[0].contains("namePrefix, namespace would change"), "{messages:?}");
}

#[test]
fn t108_images_are_replaced_in_workloads_and_not_in_sets() {
    let messages =
        of_overlay("resources: [../base]\nimages: [{name: quay.io/base, newTag: '2'}, {name: nginx}]\n");
    let expected = "over/kustomization.yaml: replaces quay.io/base in workloads by `images`, and not in the sets of base/set.yaml; \
                    the bundle carries the images that the sets list";
    assert_eq!(messages, [expected]);
}

#[test]
fn t108_what_cannot_touch_a_set_says_nothing() {
    let everything = "images: [{name: nginx, newTag: '2'}]\nnamePrefix: x-\nnamespace: shop\ntransformers: [t.yaml]\n\
                      replacements: [{targets: [{select: {name: app}}]}]\n\
                      patches: [{path: ../app/deployment.yaml}, {target: {name: app}, patch: '[]'}, {patch: 'kind: Deployment'}]\n";
    for text in [
        format!("resources: [../app]\n{everything}"),
        "resources: [../base, ../app]\nimages: [{name: nginx, newTag: '2'}]\n".to_owned(),
        "resources: [../base, ../app]\npatches: [{target: {kind: Deployment}, patch: '[]'}]\n".to_owned(),
        "resources: [../base]\npatches: [{target: {kind: EdgeImageSet, name: other}, path: x}]\nlabels: [{}]\n"
            .to_owned(),
        "resources: [../base, ../over]\nhelmCharts: []\n".to_owned(),
        "resources:\nimages: [7]\n---\nnamePrefix: only the first document counts\n".to_owned(),
        "# empty\n".to_owned(),
    ] {
        let messages = of_overlay(&text);
        // A patch that is for a set says so itself, whether or not there is such a set.
        let expected = usize::from(text.contains("name: other"));
        assert_eq!(messages.len(), expected, "{text}: {messages:?}");
    }
    let same = [
        ("kustomization.yaml", "namespace: shop\nresources: [a.yaml]\n"),
        ("a.yaml", &*set("a", Some("shop"))),
    ];
    with(&same, |folder| assert_eq!(load(&[folder], None).unwrap().warnings, []));
}

#[test]
fn t108_a_patch_in_a_file_is_named_where_it_lies() {
    let patch = "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata: {name: base}\nspec: {images: []}\n";
    let files = [
        ("base/set.yaml", &*set("base", None)),
        ("base/kustomization.yaml", "resources: [set.yaml]\n"),
        ("over/it's/kustomization.yaml", "resources: [../../base]\npatches: [{path: add.yaml}]\n"),
        ("over/it's/add.yaml", patch),
    ];
    with(&files, |folder| {
        let loaded = load(std::slice::from_ref(&folder), None).unwrap();
        assert_eq!(
            messages(&loaded, &folder),
            [
                "over/it's/add.yaml: holds a set and was skipped: it is a Kustomize patch (listed in kustomization.yaml). \
              Render it with `kustomize build 'DIR/over/it'\\''s'`, and pipe that into this command, with `-` in place of the folder"
            ]
        );
        assert_eq!(loaded.skipped.len(), 1);
        // Alone it is no set, and the error says how to have the result.
        let error = load(&[folder.join("over/it's")], None).unwrap_err().to_string();
        assert!(error.contains("no EdgeImageSet") && error.contains("kustomize build"), "{error}");
    });
}

#[test]
fn t108_what_is_taken_from_elsewhere_is_named() {
    let url = "https://user:SECRET@example.com/org/repo//sets?token=SECRET";
    let shown = "https://***@example.com/org/repo//sets?***";
    let files = [
        ("base/set.yaml", &*set("base", None)),
        ("base/kustomization.yaml", "resources: [set.yaml]\n"),
        ("plain/deployment.yaml", "kind: Deployment\n"),
        ("over/own.yaml", &*set("own", None)),
        (
            "over/kustomization.yaml",
            &*format!("resources: [../base, ../plain/deployment.yaml, own.yaml, '{url}']\n"),
        ),
    ];
    with(&files, |folder| {
        let over = messages(&load(&[folder.join("over")], None).unwrap(), &folder);
        let expected = format!(
            "kustomization.yaml: may take sets from ../base, where set.yaml holds a set that is not read; {shown} (krs fetches no \
             manifests). Render it with `kustomize build DIR/over`, and pipe that into this command, with `-` in place of the folder"
        );
        assert_eq!(over, [expected]);
        let all = messages(&load(std::slice::from_ref(&folder), None).unwrap(), &folder);
        assert_eq!(all.len(), 1);
        assert!(all[0].contains(&format!("may take sets from {shown}")), "{all:?}");
    });
}

#[test]
fn t108_components_change_what_those_who_use_them_gather() {
    let component = "kind: Component\nnamePrefix: x-\npatches: [{patch: 'kind: EdgeImageSet'}]\n";
    let files = [
        ("base/set.yaml", &*set("base", None)),
        ("base/kustomization.yaml", "resources: [set.yaml]\n"),
        ("more/kustomization.yaml", component),
        ("over/kustomization.yaml", "resources: [../base]\ncomponents: [../more]\n"),
        ("unused/kustomization.yaml", "kind: Component\nnamePrefix: x-\n"),
    ];
    with(&files, |folder| {
        let messages = messages(&load(std::slice::from_ref(&folder), None).unwrap(), &folder);
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert!(messages[0].starts_with(
            "more/kustomization.yaml: patches, namePrefix would change the sets of base/set.yaml"
        ));
    });
}

/// What is said of a kustomization in `over/` beside files that hold no set, and a set that it does not take.
fn beside(kustomization: &str, more: &[(&str, &str)]) -> Vec<String> {
    let own = set("own", None);
    let files = [
        ("sets/own.yaml", own.as_str()),
        ("app/kustomization.yaml", "resources: [deployment.yaml]\n"),
        ("app/deployment.yaml", "kind: Deployment\n"),
        ("over/kustomization.yaml", kustomization),
    ];
    with(&[&files, more].concat(), |folder| {
        messages(&load(std::slice::from_ref(&folder), None).unwrap(), &folder)
    })
}

const RENDER: &str = ". Render it with `kustomize build DIR/over`, and pipe that into this command, with `-` in place of the folder";

#[test]
fn t125_what_may_hold_sets_and_is_not_read_is_named() {
    let url = "https://u:SECRET@example.com/x.yaml?SECRET";
    let shown = "https://***@example.com/x.yaml?*** (krs fetches no manifests)";
    for (text, from) in [
        (format!("resources: [../app, '{url}']"), shown),
        (format!("components: ['{url}']"), shown),
        (format!("patches: [{{path: '{url}'}}]"), shown),
        (
            "resources: [github.com/org/repo//sets]".to_owned(),
            "github.com/org/repo//sets (krs fetches no manifests)",
        ),
        ("generators: [ksops.yaml]".to_owned(), "generators (krs runs none)"),
        ("helmCharts: [{name: shop, repo: x}]".to_owned(), "the Helm chart shop (krs renders no charts)"),
        (
            "helmChartInflationGenerator: [{chartName: shop}]".to_owned(),
            "the Helm chart shop (krs renders no charts)",
        ),
        (
            "helmGlobals: {chartHome: ../..}\nhelmCharts: [{name: gone}]".to_owned(),
            "the Helm chart gone (krs renders no charts)",
        ),
    ] {
        let expected = format!("over/kustomization.yaml: may take sets from {from}{RENDER}");
        assert_eq!(beside(&text, &[]), [expected], "{text}");
    }
    // Each of the same, through a kustomization outside of what is read.
    let files = [
        ("outside/kustomization.yaml", "generators: [x.yaml]\n"),
        ("in/own.yaml", &*set("own", None)),
        ("in/kustomization.yaml", "resources: [../outside]\n"),
    ];
    with(&files, |folder| {
        let messages = messages(&load(&[folder.join("in")], None).unwrap(), &folder);
        assert_eq!(messages.len(), 1);
        let from = "kustomization.yaml: may take sets from ../outside, which takes manifests from generators";
        assert!(messages[0].starts_with(from), "{messages:?}");
    });
}

#[test]
fn t125_charts_that_are_read_are_no_unknown_ones() {
    let chart = [
        ("over/charts/shop/Chart.yaml", "name: shop\n"),
        ("over/charts/shop/templates/d.yaml", "kind: Deployment\n"),
    ];
    assert_eq!(beside("helmCharts: [{name: shop}]", &chart), [""; 0]);
    let template = [("over/charts/shop/templates/s.yaml", "kind: EdgeImageSet\n")];
    let messages = beside("helmCharts: [{name: shop}]", &[&chart[..], &template].concat());
    assert_eq!(messages.len(), 1);
    assert!(messages[0].contains("is a template of a Helm chart"), "{messages:?}");
}

#[test]
fn t125_what_is_missing_or_unreadable_is_named_once_with_a_count() {
    let of = |text: &str| beside(text, &[]);
    let lists = "over/kustomization.yaml: lists";
    assert_eq!(
        of("resources: [../../nowhere]"),
        [format!("{lists} ../../nowhere, which does not exist, so no set in it was read")]
    );
    assert_eq!(
        of("resources: [../sets]"),
        [format!("{lists} the folder sets, which has no kustomization.yaml, so no set in it was read")]
    );
    assert_eq!(
        of(
            "components: [c]\npatches: [{path: b}, {path: d, target: {kind: Deployment}}]\nresources: [a, \"x\\n\\e\"]"
        ),
        [format!(
            "{lists} a, which does not exist, so no set in it was read. 3 more entries of kustomizations are missing"
        )]
    );
    let unknown = "so krs does not know what it changes, and may have read a patch that it lists as a set";
    let large = format!("namePrefix: x-\n{}", "# filled\n".repeat(120_000));
    for (text, reason) in [
        ("a: 1\nb: {{ nonsense: SECRET", "is not valid YAML, or too large (line 2)"),
        ("[]", "is not a mapping"),
        ("resources: {a: b}", "has a field resources that is not a list"),
        (&*large, "is larger than 1048576 bytes"),
    ] {
        assert_eq!(of(text), [format!("over/kustomization.yaml: {reason}; {unknown}")]);
    }
    let messages = beside("[", &[("a/kustomization.yaml", "["), ("b/Kustomization", "7")]);
    assert_eq!(
        messages,
        [format!(
            "a/kustomization.yaml: is not valid YAML, or too large (line 1); {unknown}. 2 more kustomizations cannot be read"
        )]
    );
    let remote = "resources: [https://a.example/x.yaml, https://b.example/y.yaml]";
    let messages = beside(remote, &[("a/kustomization.yaml", remote), ("z/kustomization.yaml", remote)]);
    assert_eq!(messages.len(), 1);
    let first = "a/kustomization.yaml: may take sets from https://a.example/x.yaml (krs fetches no manifests); \
                 https://b.example/y.yaml (krs fetches no manifests), and 2 more kustomizations take manifests from elsewhere. ";
    assert!(messages[0].starts_with(first), "{messages:?}");
}

#[test]
fn t125_files_outside_are_searched_completely_up_to_a_limit() {
    // Larger than what is kept in memory.
    let large = format!("# {}\n{}", "-".repeat(33 << 20), set("large", None));
    let own = set("own", None);
    let files = [
        ("in/own.yaml", own.as_str()),
        ("in/kustomization.yaml", "resources: [../large.yaml]\n"),
        ("large.yaml", large.as_str()),
    ];
    with(&files, |folder| {
        let messages = messages(&load(&[folder.join("in")], None).unwrap(), &folder);
        assert_eq!(messages.len(), 1);
        assert!(
            messages[0].contains("../large.yaml, where large.yaml holds a set that is not read"),
            "{messages:?}"
        );
    });
    let resources = |count: usize| {
        let list = (0..count).map(|n| format!("- ../many/{n}.yaml\n")).collect::<String>();
        format!("resources:\n{list}")
    };
    let names = (0..=2_000).map(|n| format!("many/{n}.yaml")).collect::<Vec<_>>();
    let many = names.iter().map(|name| (name.as_str(), "kind: Deployment\n")).collect::<Vec<_>>();
    for (count, limited) in [(2_000, false), (2_001, true)] {
        let list = resources(count);
        let files = [&many[..], &[("in/own.yaml", own.as_str()), ("in/kustomization.yaml", &list)]].concat();
        with(&files, |folder| {
            let alone = messages(&load(&[folder.join("in")], None).unwrap(), &folder);
            assert_eq!(alone.len(), usize::from(limited), "{alone:?}");
            assert!(
                alone.iter().all(|messages| messages.contains("searched 2000 files and folders")),
                "{alone:?}"
            );
            // What is read is not searched again.
            assert_eq!(messages(&load(std::slice::from_ref(&folder), None).unwrap(), &folder), [""; 0]);
        });
    }
}

#[cfg(unix)]
#[test]
fn t125_links_and_pipes_are_met_as_kustomize_meets_them() {
    use std::os::unix::fs::symlink;
    let files = [
        ("base/set.yaml", &*set("base", None)),
        ("base/kustomization.yaml", "resources: [set.yaml]\n"),
        ("over/real.yaml", "resources: [../base, pipe]\nnamePrefix: x-\n"),
    ];
    with(&files, |folder| {
        symlink("real.yaml", folder.join("over/kustomization.yaml")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(folder.join("over/pipe")).status().unwrap();
        assert!(made.success());
        let messages = messages(&load(std::slice::from_ref(&folder), None).unwrap(), &folder);
        assert_eq!(messages.len(), 1);
        assert!(
            messages[0].starts_with("over/kustomization.yaml: namePrefix would change the sets"),
            "{messages:?}"
        );
    });
}

#[test]
fn t84_the_new_warnings_are_safe_to_show() {
    // The name of a folder, an entry, the name of a chart.
    let odd = "o\u{1b}[31m\u{202e}";
    let patch = "kind: EdgeImageSet\nmetadata: {name: base}\n";
    let kustomization = "resources: [\"\\e[31m\", \"https://e\\u202e.example/\\e[31m\"]\nhelmCharts: [{name: \"\\e]0;\"}]\npatches: [{path: add.yaml}]\n";
    let (name, add) = (format!("{odd}/kustomization.yaml"), format!("{odd}/add.yaml"));
    let files = [("a/own.yaml", &*set("own", None)), (&*name, kustomization), (&*add, patch)];
    with(&files, |folder| {
        let messages = messages(&load(std::slice::from_ref(&folder), None).unwrap(), &folder);
        assert_eq!(messages.len(), 3, "{messages:?}");
        let shown = "o\\u{1b}[31m\\u{202e}";
        for line in &messages {
            assert!(line.starts_with(shown), "{line}");
            assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
        }
        // No command can be typed for such a folder.
        let none = "Render it with `kustomize build`, once it is renamed: its path has characters that cannot be shown";
        assert_eq!(messages.iter().filter(|line| line.ends_with(none)).count(), 2, "{messages:?}");
        assert!(
            messages.iter().any(|line| line.contains("https://e\\u{202e}.example/\\u{1b}[31m (krs fetches"))
        );
        assert!(messages.iter().any(|line| line.contains("lists \\u{1b}[31m, which does not exist")));
    });
    let hidden = [("a.yaml", &*set("a", None)), (".\u{1b}/b.yaml", &*set("b", None))];
    with(&hidden, |folder| {
        let messages = messages(&load(std::slice::from_ref(&folder), None).unwrap(), &folder);
        assert_eq!(messages.len(), 1);
        assert!(
            messages[0].ends_with("To read it, rename it: its path has characters that cannot be shown"),
            "{messages:?}"
        );
    });
}
