// SPDX-License-Identifier: Apache-2.0
//! The rules here and those of the API server, on the same sets. `testdata/admission.json` has what a real API server
//! answered; the test `e12` of the cluster asks one again.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::*;

#[derive(Deserialize)]
struct Answers {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    spec: Value,
    refused: Vec<Cause>,
}

#[derive(Deserialize)]
struct Cause {
    field: String,
    message: String,
}

/// Parts of specs on which the results differ on purpose, and why.
const DIFFERENCES: [(&str, &str); 6] = [
    ("edge.local:99999", "no port is so large; a regular expression cannot say it"),
    ("docker.io:99999/", "as above"),
    ("docker.io:65536/", "as above"),
    ("docker.io:0/", "as above"),
    ("${REGISTRY}", "a GitOps engine replaces it before the API server sees it"),
    ("a.b/xxxxxxxx", "registries take names of at most 255 characters; the limit of the field is longer"),
];

fn answers() -> Vec<Case> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/admission.json");
    serde_json::from_slice::<Answers>(&fs::read(path).unwrap()).unwrap().cases
}

/// What is wrong with a set of this spec.
fn errors(spec: &Value) -> Vec<SetError> {
    let set = serde_json::json!({
        "apiVersion": crate::crd::API_VERSION,
        "kind": crate::crd::KIND,
        "metadata": {"name": "a"},
        "spec": spec,
    });
    let text = set.to_string();
    match load(&["-".into()], Some(&mut text.as_bytes())) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.0,
    }
}

/// The texts of the rules that the definition has.
fn rules() -> BTreeSet<&'static str> {
    RULES.iter().map(|(_, message)| *message).collect()
}

#[test]
fn a_set_is_refused_where_the_api_server_refuses_it() {
    let mut wrong = Vec::new();
    for Case { name, spec, refused } in answers() {
        let errors = errors(&spec);
        let is_known = DIFFERENCES.iter().any(|(part, _)| spec.to_string().contains(part));
        if errors.is_empty() != refused.is_empty() && !is_known {
            let theirs = refused.iter().map(|cause| cause.message.as_str()).collect::<Vec<_>>();
            let ours = errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>();
            wrong.push(format!("{name}: {spec}\n  API server: {theirs:?}\n  here: {ours:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_message_is_that_of_the_rule_which_the_api_server_names() {
    let rules = rules();
    let mut wrong = Vec::new();
    let mut agreed = BTreeSet::new();
    for Case { name, spec, refused } in answers() {
        let is_known = DIFFERENCES.iter().any(|(part, _)| spec.to_string().contains(part));
        let of_api_server = |rule: &str| refused.iter().any(|cause| cause.message.contains(rule));
        for error in errors(&spec) {
            // What is no text of a rule is a fault of the structure: fields, types, limits.
            let Some(rule) = rules.get(error.message.as_str()) else { continue };
            let structural = refused.iter().any(|cause| {
                cause.message.starts_with("Too ")
                    || cause.message.contains(" in body should ")
                    || cause.message.starts_with("Duplicate value")
                    || cause.message.starts_with("Unsupported")
            });
            if of_api_server(rule) {
                agreed.insert(*rule);
            } else if !structural && !is_known {
                wrong.push(format!("{name}: here {rule}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let definition = definition_rules().into_iter().map(|(_, message)| message).collect::<BTreeSet<_>>();
    // Any other fault of a reference is named more exactly here than by this rule.
    agreed.insert(crate::crd::message::IMAGE_NAME);
    let missing = definition.iter().filter(|rule| !agreed.contains(rule.as_str())).collect::<Vec<_>>();
    assert!(missing.is_empty(), "no set for which both name the rule: {missing:?}");
}

/// Every rule of the definition of the resource, with the field that it is for (`spec.images[]…`).
fn definition_rules() -> BTreeSet<(String, String)> {
    fn walk(schema: &Value, field: &str, found: &mut BTreeSet<(String, String)>) {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            found.insert((field.to_owned(), rule["message"].as_str().unwrap().to_owned()));
        }
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            walk(inner, &format!("{field}.{name}"), found);
        }
        if !schema["items"].is_null() {
            walk(&schema["items"], &format!("{field}[]"), found);
        }
    }
    let crd = crate::crd::edge_image_set_crd_yaml().unwrap();
    let crd: Value = serde_saphyr::from_str(&crd).unwrap();
    let mut found = BTreeSet::new();
    walk(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"], "spec", &mut found);
    found
}

/// Whether a spec has a value in a field.
fn has_field(spec: &Value, field: &str) -> bool {
    let mut values = vec![spec.clone()];
    for part in field.trim_start_matches("spec").split('.').filter(|part| !part.is_empty()) {
        let name = part.trim_end_matches("[]");
        values = values.into_iter().map(|value| value[name].clone()).collect();
        if part.ends_with("[]") {
            values = values.iter().flat_map(|value| value.as_array().cloned().unwrap_or_default()).collect();
        }
    }
    values.iter().any(|value| !value.is_null())
}

#[test]
fn every_rule_of_the_definition_has_a_set_that_keeps_it_and_one_that_breaks_it() {
    let cases = answers();
    let rules = definition_rules();
    assert_eq!(rules.len(), 19, "{rules:?}");
    let mut found = BTreeMap::new();
    for (field, message) in &rules {
        let plain = |text: &str| {
            text.split('[')
                .map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()))
                .collect::<Vec<_>>()
                .join("[")
        };
        let breaks = |case: &&Case| {
            let is_named = |cause: &Cause| plain(&cause.field) == *field && cause.message.contains(message);
            case.refused.iter().any(is_named)
        };
        let keeps = |case: &&Case| case.refused.is_empty() && has_field(&case.spec, field);
        found.insert(
            (field, message),
            (cases.iter().find(breaks).is_some(), cases.iter().find(keeps).is_some()),
        );
    }
    let missing = found.iter().filter(|(_, found)| **found != (true, true)).collect::<Vec<_>>();
    assert!(missing.is_empty(), "{missing:#?}");
    // And what the structure of the schema says.
    for text in [
        "Too long",
        "Too many",
        "Unsupported value",
        "Duplicate value",
        "greater than or equal",
        "less than or equal",
        "Required value",
        "unknown field",
    ] {
        let is_there = |case: &Case| case.refused.iter().any(|cause| cause.message.contains(text));
        assert!(cases.iter().any(is_there), "{text}");
    }
}
