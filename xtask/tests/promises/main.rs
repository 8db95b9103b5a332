// SPDX-License-Identifier: Apache-2.0
//! What the documentation lists is what there is: pages, decisions on record, exit codes. What needs the importer's own
//! code (metrics, conditions, values of the chart) is held by `importer/tests/chart/documented.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(checkout().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Names of the Markdown files of a folder.
fn pages(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(checkout().join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".md")).collect()
}

/// What the links of a text point at, without anchors.
fn links(text: &str) -> BTreeSet<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.map(|target| target.split('#').next().unwrap().to_owned()).collect()
}

/// The rows of the first table whose head begins with `head`, as cells.
fn table(text: &str, head: &str) -> Vec<Vec<String>> {
    let lines = text.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    rows.map(cells).collect()
}

#[test]
fn every_page_is_listed() {
    let listed = links(&read("docs/README.md"));
    for folder in ["", "reference/", "design/", "adr/"] {
        let pages = pages(&format!("docs/{folder}"));
        assert!(!pages.is_empty());
        let missing = pages.iter().map(|name| format!("{folder}{name}"));
        let missing = missing.filter(|page| page != "README.md" && !listed.contains(page));
        assert_eq!(missing.collect::<Vec<_>>(), [""; 0], "pages that docs/README.md does not list");
    }
}

/// `architecture.md` has a table of the decisions, under the number and with the title of each.
#[test]
fn every_decision_is_listed_by_its_title() {
    let rows = table(&read("docs/architecture.md"), "| ADR |");
    let listed = rows.into_iter().map(|cells| (cells[0].clone(), cells[1].clone()));
    let found = pages("docs/adr").into_iter().map(|name| {
        let (number, text) = (name[..4].to_owned(), read(&format!("docs/adr/{name}")));
        let head = text.lines().next().unwrap().to_owned();
        let title = head.strip_prefix(&format!("# {}. ", number.trim_start_matches('0')));
        let title = title.unwrap_or_else(|| panic!("docs/adr/{name} begins with {head}")).to_owned();
        (format!("[{number}](adr/{name})"), title)
    });
    assert_eq!(listed.collect::<BTreeMap<_, _>>(), found.collect());
}

/// Exit codes with the kind that JSON gives to them; some have none.
type Codes = BTreeMap<u8, Option<String>>;

/// The codes of the table in `cli/src/exit.rs`.
fn codes() -> Codes {
    let code = read("cli/src/exit.rs");
    let row = |line: &str| {
        let (left, _) = line.trim().strip_suffix(';')?.split_once(" => \"")?;
        let (code, class) = match left.split_once(" = ")?.1.split_once(", ") {
            Some((code, class)) => (code, Some(class.split('"').nth(1)?.to_owned())),
            None => (left.split_once(" = ")?.1, None),
        };
        Some((code.parse::<u8>().ok()?, class))
    };
    let codes = code.lines().filter_map(row).collect::<Codes>();
    assert!(codes.len() >= 13 && codes.values().flatten().count() >= 9, "{codes:?}");
    codes
}

#[test]
fn every_exit_code_has_its_row_and_every_row_its_code() {
    let codes = codes();
    let text = read("docs/reference/errors.md");
    let rows = table(&text, "| code | kind |").into_iter().map(|cells| {
        let kind = cells[1].trim_matches('`').to_owned();
        (cells[0].parse::<u8>().unwrap(), Some(kind).filter(|kind| !kind.is_empty()))
    });
    let mut rows = rows.collect::<Codes>();
    for (code, kind) in &rows {
        if let (1..=9, Some(kind)) = (code, kind) {
            assert!(
                text.contains(&format!("\n## {code}: {kind}\n")),
                "errors.md has no chapter of code {code}"
            );
        }
    }
    // Both are ends by a signal, which is no class of failure.
    for code in [130, 143] {
        assert_eq!(rows.insert(code, None), Some(Some("interrupted".to_owned())), "code {code}");
    }
    assert_eq!(rows, codes);
}

#[test]
fn tables_and_links_are_read() {
    let text = "text\n| a | b |\n|---|---|\n| 1 | `x` |\n| 2 | |\n\n| a | c |\n|---|---|\n| 3 | |\n";
    assert_eq!(table(text, "| a |"), [["1", "`x`"], ["2", ""]]);
    assert_eq!(links("[a](b.md), [c](d.md#e) and (f.md)"), ["b.md", "d.md"].map(str::to_owned).into());
}
