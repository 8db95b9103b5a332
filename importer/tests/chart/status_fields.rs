// SPDX-License-Identifier: Apache-2.0
//! Every field of a status is written by the importer, and explained.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};

use crate::read;

/// The types that a status consists of, conditions apart, with the page that explains each.
const TYPES: &[(&str, &str)] = &[
    ("EdgeImageSetStatus", "edgeimageset.md"),
    ("ImageCounts", "edgeimageset.md"),
    ("ImageFailure", "edgeimageset.md"),
    ("BundleReference", "edgeimageset.md"),
    ("ImageBundleStatus", "imagebundle.md"),
    ("VolumeCounts", "imagebundle.md"),
    ("NamespaceMismatch", "imagebundle.md"),
];

#[test]
fn every_field_of_a_status_is_written_and_explained() {
    let (definitions, code) =
        (code_below(&checkout().join("src/crd")), code_below(&checkout().join("importer/src")));
    let mut wrong = Vec::new();
    for (name, page) in TYPES {
        let fields = fields(&definitions, name);
        let written = written(&code, name);
        let page = read(checkout().join("docs/reference").join(page));
        assert!(fields.len() >= 2, "{name}: {fields:?}");
        for field in fields {
            if !written.contains(&field) {
                wrong.push(format!("nothing writes `{field}` of {name}"));
            }
            let shown = camel_case(&field);
            if ![format!("`{shown}`"), format!("`status.{shown}`")].iter().any(|text| page.contains(text)) {
                wrong.push(format!("no page explains `{shown}` of {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn fields_that_are_only_carried_or_left_empty_are_not_written() {
    let code = "let a = S { x: 1, y, z: None, l: Vec::new(), o: before.and_then(|before| before.o.clone()), n: status.n.clone(), p: Some(T { q: 1 }), ..S::default() }; status.v = Some(2); status.w == 3; after.u = None; state.t = 1;";
    assert_eq!(written(code, "S"), ["p", "v", "x", "y"].map(str::to_owned).into());
    let source = "pub struct S {\n    /// Text: of it.\n    #[serde(default)]\n    pub a_b: Option<i64>,\n    pub c: T,\n}\n\npub struct T {\n    pub d: u8,\n}\n";
    assert_eq!(fields(source, "S"), ["a_b", "c"]);
    assert_eq!(camel_case("last_sync_time"), "lastSyncTime");
}

fn checkout() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Names of the public fields of a struct.
fn fields(source: &str, name: &str) -> Vec<String> {
    let body = source.split(&format!("pub struct {name} {{")).nth(1).unwrap().split("\n}").next().unwrap();
    let fields = body.lines().filter_map(|line| line.strip_prefix("    pub ")?.split(':').next());
    fields.map(str::to_owned).collect()
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |text, word| text + &word[..1].to_uppercase() + &word[1..])
}

/// The fields to which code gives a value of its own: in a literal of the type, or by an assignment to a variable that is
/// called as one of this type is.
fn written(code: &str, name: &str) -> BTreeSet<String> {
    let mut written = BTreeSet::new();
    let mut add = |field: &str, value: &str| {
        let is_empty = ["None", "Vec::new()"].contains(&value.trim());
        let is_carried =
            ["before", "old", "status"].iter().any(|other| value.contains(&format!("{other}.{field}")));
        if !is_empty && !is_carried {
            written.insert(field.trim().to_owned());
        }
    };
    for literal in code.split(&format!("{name} {{")).skip(1) {
        for part in parts(literal) {
            match part.split_once(':') {
                _ if part.trim_start().starts_with("..") => {}
                Some((field, value)) if !field.contains(['(', '.']) => add(field.trim(), value),
                _ => add(part.trim(), part),
            }
        }
    }
    for (at, _) in code.match_indices(" = ") {
        let target = code[..at].rsplit(|c: char| !c.is_alphanumeric() && !"_.".contains(c)).next().unwrap();
        if let Some(("status" | "after", field)) = target.split_once('.') {
            add(field, code[at + 3..].split(';').next().unwrap());
        }
    }
    written
}

/// What stands between the commas of a literal, up to its end.
fn parts(literal: &str) -> Vec<&str> {
    let (mut depth, mut parts, mut start) = (0, Vec::new(), 0);
    for (at, character) in literal.char_indices() {
        match character {
            '{' | '(' | '[' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&literal[start..at]);
                break;
            }
            '}' | ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&literal[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// The code of a folder without its tests.
fn code_below(folder: &Utf8Path) -> String {
    let mut folders = vec![folder.to_owned()];
    let mut code = String::new();
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir_utf8().unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name());
            if path.is_dir() && name != "tests" {
                folders.push(path.to_owned());
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                code.push_str(read(path).split("\n#[cfg(test)]\n").next().unwrap());
            }
        }
    }
    code
}
