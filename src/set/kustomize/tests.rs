// SPDX-License-Identifier: Apache-2.0
//! What is said of overlays.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use camino::Utf8PathBuf;

use crate::set::{Loaded, load};

fn set(name: &str, namespace: Option<&str>) -> String {
    let namespace = namespace.map(|namespace| format!("  namespace: {namespace}\n")).unwrap_or_default();
    let digest = format!("sha256:{}", "1".repeat(64));
    format!(
        "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: {name}\n{namespace}spec:\n  \
         destinationRegistry: edge.local:5000\n  images:\n  - image: quay.io/{name}:1@{digest}\n"
    )
}

fn with<T>(files: &[(&str, &str)], run: impl FnOnce(Utf8PathBuf) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    run(Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap())
}

/// The warnings, with the folder's own path taken out.
fn said(loaded: &Loaded, folder: &Utf8PathBuf) -> Vec<String> {
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
    with(&files, |folder| said(&load(std::slice::from_ref(&folder), None).unwrap(), &folder))
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
        ("images", "images: [{name: quay.io/base, newTag: '2'}]"),
        ("namePrefix", "namePrefix: x-"),
        ("nameSuffix", "nameSuffix: -x"),
        ("namespace", "namespace: shop"),
        ("transformers", "transformers: [t.yaml]"),
        ("configurations", "configurations: [c.yaml]"),
    ] {
        let said = of_overlay(&format!("resources: [../base]\n{text}\n"));
        let expected = format!(
            "over/kustomization.yaml: {field} would change the sets of base/set.yaml, and krs reads sets as they are. \
             Render it with `kustomize build DIR/over`, and pipe that into this command, with `-` in place of the folder"
        );
        assert_eq!(said, [expected], "{text}");
    }
    let said = of_overlay("resources: [../base]\nnamePrefix: x-\nnamespace: shop\n");
    assert!(said[0].contains("namePrefix, namespace would change"), "{said:?}");
}

#[test]
fn t108_what_cannot_touch_a_set_says_nothing() {
    let everything = "images: [{name: nginx, newTag: '2'}]\nnamePrefix: x-\nnamespace: shop\ntransformers: [t.yaml]\n\
                      replacements: [{targets: [{select: {name: app}}]}]\n\
                      patches: [{path: p.yaml}, {target: {name: app}, patch: '[]'}, {patch: 'kind: Deployment'}]\n";
    for text in [
        format!("resources: [../app]\n{everything}"),
        "resources: [../app, https://example.com/x.yaml]\n".to_owned(),
        "resources: [../base, ../app]\nimages: [{name: nginx, newTag: '2'}]\n".to_owned(),
        "resources: [../base, ../app]\npatches: [{target: {kind: Deployment}, patch: '[]'}]\n".to_owned(),
        "resources: [../base]\npatches: [{target: {kind: EdgeImageSet, name: other}, path: x}]\nlabels: [{}]\n"
            .to_owned(),
        "resources: [../base, ../over, ../gone]\n".to_owned(),
        "resources: {a: b}\npatches: 7\nimages: [7]\n".to_owned(),
        "{{ nonsense".to_owned(),
    ] {
        let said = of_overlay(&text);
        // A patch that is for a set says so itself, whether or not there is such a set.
        let expected = usize::from(text.contains("name: other"));
        assert_eq!(said.len(), expected, "{text}: {said:?}");
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
            said(&loaded, &folder),
            [
                "over/it's/add.yaml: holds a set and was skipped: it is a Kustomize patch (listed in kustomization.yaml). \
              Render it with `kustomize build 'DIR/over/it'\\''s'`, and pipe that into this command, with `-` in place of the folder"
            ]
        );
        assert_eq!(loaded.passed_over.len(), 1);
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
        let over = said(&load(&[folder.join("over")], None).unwrap(), &folder);
        let expected = format!(
            "kustomization.yaml: may take sets from ../base, where set.yaml holds a set that is not read; {shown} (krs fetches no \
             manifests). Render it with `kustomize build DIR/over`, and pipe that into this command, with `-` in place of the folder"
        );
        assert_eq!(over, [expected]);
        let all = said(&load(std::slice::from_ref(&folder), None).unwrap(), &folder);
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
        let said = said(&load(std::slice::from_ref(&folder), None).unwrap(), &folder);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with(
            "more/kustomization.yaml: patches, namePrefix would change the sets of base/set.yaml"
        ));
    });
}
