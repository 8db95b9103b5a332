// SPDX-License-Identifier: Apache-2.0
//! The table of values, in the chart's README and in docs/reference/importer.md, is made of `values.yaml`.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::{chart, read, schema, value_paths, yaml};

const HEADER: &str = "| value | default | meaning |\n|---|---|---|\n";

/// Descriptions by path, and the paths in the order of the file: `# -- text` and the lines of comment after it, before
/// a key.
fn described(text: &str) -> (BTreeMap<String, String>, Vec<String>) {
    let (mut descriptions, mut order) = (BTreeMap::new(), Vec::new());
    let (mut parents, mut description) = (Vec::<(usize, String)>::new(), None::<String>);
    for line in text.lines() {
        let (indent, line) = (line.len() - line.trim_start().len(), line.trim());
        if let Some(first) = line.strip_prefix("# -- ") {
            description = Some(first.to_owned());
        } else if let Some(more) = line.strip_prefix("# ") {
            if let Some(text) = &mut description {
                *text += &format!(" {more}");
            }
        } else if let Some((key, _)) = line.split_once(':') {
            parents.retain(|(outer, _)| *outer < indent);
            parents.push((indent, key.to_owned()));
            let path = parents.iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>().join(".");
            order.push(path.clone());
            descriptions.extend(description.take().map(|text| (path, text)));
        } else {
            description = None;
        }
    }
    (descriptions, order)
}

/// The table of all values.
fn table() -> String {
    let text = read(chart().join("values.yaml"));
    let (values, (descriptions, order)) = (yaml(&text), described(&text));
    let mut paths = Vec::new();
    value_paths(&schema(), "", &mut paths);
    let undescribed = paths.iter().filter(|path| !descriptions.contains_key(*path)).collect::<Vec<_>>();
    assert!(undescribed.is_empty(), "values.yaml has no `# --` before {undescribed:?}");
    paths.sort_by_key(|path| order.iter().position(|other| other == path));
    let row = |path: &String| {
        let default = match values.pointer(&format!("/{}", path.replace('.', "/"))).unwrap() {
            Value::String(text) if text.is_empty() => String::new(),
            Value::String(text) => format!("`{text}`"),
            Value::Array(items) if items.is_empty() => String::new(),
            Value::Object(fields) if fields.is_empty() => String::new(),
            value => format!("`{value}`"),
        };
        let meaning = descriptions[path].trim_end_matches('.').replace('|', "\\|");
        format!("| `{path}` | {default} | {meaning} |\n")
    };
    HEADER.to_owned() + &paths.iter().map(row).collect::<String>()
}

fn readme() -> String {
    let about = yaml(&read(chart().join("Chart.yaml")));
    let text = |field: &str| about[field].as_str().unwrap().to_owned();
    format!(
        "<!-- Made from Chart.yaml and values.yaml: UPDATE_GOLDEN=1 cargo test -p krs-importer --test chart -->\n\
         # {}\n\n{} Version {}, for Kubernetes {}.\n\n\
         - [Install](../../docs/install.md), [upgrade](../../docs/upgrade.md), [uninstall](../../docs/uninstall.md)\n\
         - [Permissions, ports, metrics](../../docs/reference/importer.md)\n\n\
         `helm test` queries the health endpoint of the importer, and its registry.\n\n## Values\n\n{}",
        text("name"),
        text("description"),
        text("version"),
        text("kubeVersion").trim_end_matches("-0"),
        table()
    )
}

/// The reference page with this table of values in place of its own.
fn reference(page: &str) -> String {
    let (before, rest) = page.split_once(HEADER).expect("the page has no table of values");
    let (_, after) = rest.split_once("\n\n").expect("the table ends");
    format!("{before}{}\n{after}", table())
}

#[test]
fn the_tables_of_values_are_those_of_the_chart() {
    let page = chart().join("../../docs/reference/importer.md");
    for (file, now) in [(chart().join("README.md"), readme()), (page.clone(), reference(&read(&page)))] {
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&file, &now).unwrap();
        }
        assert!(
            fs::read_to_string(&file).unwrap_or_default() == now,
            "{file} is not what values.yaml says; write it again with\n  \
             UPDATE_GOLDEN=1 cargo test -p krs-importer --test chart"
        );
    }
}
