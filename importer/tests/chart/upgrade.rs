// SPDX-License-Identifier: Apache-2.0
//! The definitions of today take every object that 0.1 wrote, and those of 0.1 every one of today but for what was added.

use serde_json::Value;

use crate::{chart, definitions, read, schema, value_paths, yaml};
use camino::Utf8Path;

/// The values of the chart of 0.1.
pub(crate) const VALUES: &str = include_str!("../../../testdata/golden/0.1/importer/values.yaml");

/// What `now` refuses or loses of what `before` takes.
fn narrower(before: &Value, now: &Value, path: &str, found: &mut Vec<String>) {
    if before["type"] != now["type"] {
        found.push(format!("{path} has another type"));
    }
    let list = |value: &Value, field: &str| value[field].as_array().cloned().unwrap_or_default();
    for name in list(now, "required") {
        if !list(before, "required").contains(&name) {
            found.push(format!("{path} requires {name}"));
        }
    }
    if let Some(allowed) = now["enum"].as_array() {
        let lost = list(before, "enum").into_iter().filter(|value| !allowed.contains(value));
        found.extend(lost.map(|value| format!("{path} no longer takes {value}")));
    }
    for limit in ["maxLength", "maxItems", "maximum", "maxProperties"] {
        match (before[limit].as_i64(), now[limit].as_i64()) {
            (None, Some(_)) => found.push(format!("{path} has a {limit} now")),
            (Some(before), Some(now)) if now < before => found.push(format!("{path} has a lower {limit}")),
            _ => {}
        }
    }
    for (name, field) in before["properties"].as_object().into_iter().flatten() {
        match now["properties"].get(name) {
            Some(now) => narrower(field, now, &format!("{path}.{name}"), found),
            None => found.push(format!("{path}.{name} is gone")),
        }
    }
    if before["items"].is_object() {
        narrower(&before["items"], &now["items"], &format!("{path}[]"), found);
    }
}

#[test]
fn t82_the_definitions_take_what_0_1_wrote_and_keep_every_field() {
    let golden = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/golden/0.1/importer");
    for (name, now) in definitions() {
        let (before, now) = (yaml(&read(golden.join(name))), yaml(&now));
        let version = |crd: &Value| crd["spec"]["versions"][0].clone();
        assert_eq!(version(&before)["name"], version(&now)["name"]);
        for field in ["group", "scope", "names"] {
            assert_eq!(before["spec"][field], now["spec"][field], "{name}");
        }
        let schema = |crd: &Value| version(crd)["schema"]["openAPIV3Schema"].clone();
        let mut found = Vec::new();
        narrower(&schema(&before), &schema(&now), "", &mut found);
        assert_eq!(found, Vec::<String>::new(), "{name}");
    }
}

/// A value that 0.1 did not have is absent where its values are reused: templates name it with a default only.
#[test]
fn t163_values_that_0_1_did_not_have_may_be_absent() {
    let (before, mut paths) = (yaml(VALUES), Vec::new());
    value_paths(&schema(), "", &mut paths);
    paths.retain(|path| before.pointer(&format!("/{}", path.replace('.', "/"))).is_none());
    assert!(paths.len() >= 3, "{paths:?}");
    let mut texts = Vec::new();
    for folder in ["templates", "templates/tests"] {
        let files = chart().join(folder).read_dir_utf8().unwrap().map(Result::unwrap);
        texts.extend(files.filter(|file| file.path().is_file()).map(|file| read(file.path())));
    }
    for path in paths {
        let uses = texts
            .iter()
            .flat_map(|text| text.lines())
            .filter(|line| line.contains(&format!(".Values.{path}")));
        let bare =
            uses.filter(|line| !line.contains(&format!(".Values.{path} | default "))).collect::<Vec<_>>();
        assert_eq!(bare, Vec::<&str>::new(), "{path}");
    }
}
