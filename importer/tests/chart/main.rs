// SPDX-License-Identifier: Apache-2.0
//! The chart, held to the code; and, with helm, what it renders.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod agree;
mod documented;
#[cfg(feature = "e2e")]
mod options;
mod pod_security;
mod readme;
#[cfg(feature = "e2e")]
mod rendered;
mod status_fields;
mod upgrade;

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::crd;
use serde_json::Value;

fn chart() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("chart")
}

fn read(path: impl AsRef<Utf8Path>) -> String {
    fs::read_to_string(path.as_ref()).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref()))
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The definitions of the code, by the name of their file in the chart.
fn definitions() -> [(&'static str, String); 2] {
    [
        ("edgeimageset.crd.yaml", crd::edge_image_set_crd_yaml().unwrap()),
        ("imagebundle.crd.yaml", crd::image_bundle_crd_yaml().unwrap()),
    ]
}

#[test]
fn the_chart_brings_the_definitions_of_the_code() {
    for (name, now) in definitions() {
        let file = chart().join("files/crds").join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&file, &now).unwrap();
        }
        assert!(
            read(&file) == now,
            "{file} is not what the code says; write it again with\n  \
             UPDATE_GOLDEN=1 cargo test -p krs-importer --test chart"
        );
    }
    assert_eq!(chart().join("files/crds").read_dir_utf8().unwrap().count(), definitions().len());
}

#[test]
fn what_the_chart_tells_catalogues_of_its_kinds_is_so() {
    let about = yaml(&read(chart().join("Chart.yaml")));
    let annotation = |name: &str| yaml(about["annotations"][name].as_str().unwrap());
    let kinds = annotation("artifacthub.io/crds");
    for ((_, definition), kind) in definitions().iter().zip(kinds.as_array().unwrap()) {
        let definition = yaml(definition);
        assert_eq!(definition["metadata"]["name"], kind["name"]);
        assert_eq!(definition["spec"]["names"]["kind"], kind["kind"]);
        assert_eq!(definition["spec"]["versions"][0]["name"], kind["version"]);
    }
    for example in annotation("artifacthub.io/crdsExamples").as_array().unwrap() {
        assert_eq!(example["kind"], "EdgeImageSet");
        let spec = serde_json::from_value(example["spec"].clone()).unwrap();
        krs_core::set::check_spec(&spec).unwrap();
    }
}

#[test]
fn no_rule_of_the_chart_has_a_wildcard() {
    for file in ["_helpers.tpl", "rbac.yaml"] {
        let text = read(chart().join("templates").join(file));
        let rules = text.lines().filter(|line| {
            ["apiGroups:", "resources:", "verbs:"]
                .iter()
                .any(|word| line.trim_start_matches(['-', ' ']).starts_with(word))
        });
        let rules = rules.collect::<Vec<_>>();
        assert!(rules.len() >= 9, "{file}: {rules:?}");
        assert!(rules.iter().all(|rule| !rule.contains('*')), "{file}: {rules:?}");
    }
}

/// Paths of all values that a person may set, in the order of the file.
fn value_paths(schema: &Value, path: &str, paths: &mut Vec<String>) {
    match schema["properties"].as_object() {
        Some(fields) if !fields.is_empty() => {
            for (name, field) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                value_paths(field, &path, paths);
            }
        }
        _ => paths.push(path.to_owned()),
    }
}

fn schema() -> Value {
    serde_json::from_str(&read(chart().join("values.schema.json"))).unwrap()
}

#[test]
fn every_value_of_the_schema_has_a_default_and_nothing_else_is_taken() {
    let (schema, values) = (schema(), yaml(&read(chart().join("values.yaml"))));
    let mut paths = Vec::new();
    value_paths(&schema, "", &mut paths);
    for path in &paths {
        let at = format!("/{}", path.replace('.', "/"));
        assert!(values.pointer(&at).is_some(), "values.yaml says nothing about {path}");
    }
    strict(&schema, "");
}

/// Every object with fields of its own takes no others. Only `global` is shared with other charts.
fn strict(schema: &Value, path: &str) {
    let Some(fields) = schema["properties"].as_object() else { return };
    assert!(schema["additionalProperties"] == false || path == ".global", "{path} takes any field");
    for (name, field) in fields {
        strict(field, &format!("{path}.{name}"));
        strict(&field["items"], &format!("{path}.{name}[]"));
    }
}
