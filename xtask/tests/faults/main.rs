// SPDX-License-Identifier: Apache-2.0
//! docs/faults.md: every fault, what happens, and the tests that show it, found by the numbers in their names.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use table::GROUPS;

/// Folders of the workspace that hold sources.
const FOLDERS: &[&str] = &["src", "tests", "cli", "compact", "importer", "testing", "xtask"];

const HEAD: &str = "\
# Faults

This page lists what can go wrong while an image travels from Git to the registry of a site without a network, what krs does
then, and the tests that show it. The name of a test begins with the numbers of the faults that it covers (`t53_t54_…`). This page is generated:
`UPDATE_DOCS=1 cargo test -p xtask --test faults`.
";

#[test]
fn the_page_of_faults_is_what_the_tests_say() {
    let page = page(&covered());
    let path = checkout().join("docs/faults.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let old = fs::read_to_string(&path).unwrap_or_default();
    let lines = page.lines().zip(old.lines().chain(std::iter::repeat("")));
    let first = lines.enumerate().find(|(_, (new, old))| new != old).map(|(n, (new, _))| (n + 1, new));
    let accept = "accept it with\n  UPDATE_DOCS=1 cargo test -p xtask --test faults";
    assert!(page == old, "docs/faults.md is not what the tests say, from line {first:?} on; {accept}");
}

#[test]
fn every_fault_has_one_row_and_every_number_in_a_test_is_one() {
    let mut rows = BTreeSet::new();
    for (title, faults) in GROUPS {
        assert!(faults.is_sorted_by_key(|(number, ..)| *number), "{title}: the rows are in numeric order");
        for (number, ..) in *faults {
            assert!(rows.insert(*number), "T-{number:02} has two rows");
        }
    }
    let wrong = covered().into_keys().filter(|number| !rows.contains(number)).collect::<Vec<_>>();
    assert!(wrong.is_empty(), "tests with numbers that no fault has: {wrong:?}");
}

/// Every row of "who is stopped by what" names faults that tests show.
#[test]
fn every_promise_of_security_md_has_tests() {
    let text = fs::read_to_string(checkout().join("SECURITY.md")).unwrap();
    let table = text.split("| attacker or fault | what it can try | what stops it | tests |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect::<Vec<_>>();
    assert!(rows.len() >= 8, "{rows:?}");
    let covered = covered();
    for row in rows {
        let cell = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap();
        let numbers =
            cell.split(',').map(|word| word.trim().strip_prefix("T-").and_then(|n| n.parse::<u16>().ok()));
        for number in numbers {
            let number = number.unwrap_or_else(|| panic!("no numbers of faults at the end of {row}"));
            assert!(covered.contains_key(&number), "no test shows T-{number:02}: {row}");
        }
    }
}

#[test]
fn numbers_are_read_from_names() {
    let source = "fn t53_t54_errors() {}\n    async fn t07_x() {}\nfn t5_a() {}\nfn the_t99() {}\nfn t1234_x() {}\n\
                  fn t104_x() {}\n\
                  proptest! { fn t85_no(bytes in x) {} }\nlet s = \"fn t11_quoted\";\n// fn t12_comment()\n";
    let names = numbered(source);
    let expected =
        [("t07_x", vec![7]), ("t104_x", vec![104]), ("t53_t54_errors", vec![53, 54]), ("t85_no", vec![85])];
    assert_eq!(names, expected.map(|(name, numbers)| (name.to_owned(), numbers)).into());
}

type Covered = BTreeMap<u16, BTreeSet<(String, String)>>;

/// For each fault the files and names of its tests.
fn covered() -> Covered {
    let mut covered = Covered::new();
    for folder in FOLDERS {
        for file in rust_files(&checkout().join(folder)) {
            let shown = file.strip_prefix(checkout()).unwrap().to_str().unwrap().to_owned();
            for (name, numbers) in numbered(&fs::read_to_string(&file).unwrap()) {
                for number in numbers {
                    covered.entry(number).or_default().insert((shown.clone(), name.clone()));
                }
            }
        }
    }
    assert!(covered.len() > 30, "the tests were not found");
    covered
}

/// Functions of a source whose names begin with numbers of faults.
fn numbered(source: &str) -> BTreeMap<String, Vec<u16>> {
    let code = source.lines().map(|line| line.split("//").next().unwrap_or(line));
    let mut found = BTreeMap::new();
    for line in code {
        for (at, _) in line.match_indices("fn t") {
            let before = line[..at].chars().next_back();
            let rest = &line[at + 3..];
            let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            let is_function = rest[name.len()..].starts_with(['(', '<']);
            if before.is_some_and(|c| c != ' ') || !is_function {
                continue;
            }
            let number = |part: &str| match part.strip_prefix('t') {
                Some(digits) if matches!(digits.len(), 2 | 3) => digits.parse::<u16>().ok(),
                _ => None,
            };
            let numbers = name.split('_').map_while(number).collect::<Vec<_>>();
            if !numbers.is_empty() {
                found.insert(name.to_owned(), numbers);
            }
        }
    }
    found
}

fn page(covered: &Covered) -> String {
    let mut page = HEAD.to_owned();
    for (title, faults) in GROUPS {
        write!(page, "\n## {title}\n\n| | what goes wrong | what happens | tests |\n|---|---|---|---|\n")
            .unwrap();
        for (number, fault, happens) in *faults {
            let mut files = BTreeMap::<&str, Vec<&str>>::new();
            for (file, name) in covered.get(number).into_iter().flatten() {
                files.entry(file).or_default().push(name);
            }
            let tests = files.iter().map(|(file, names)| {
                let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                format!("[{file}](../{file}): {names}")
            });
            let mut tests = tests.collect::<Vec<_>>().join("<br>");
            if tests.is_empty() {
                "not covered".clone_into(&mut tests);
            }
            writeln!(page, "| T-{number:02} | {fault} | {happens} | {tests} |").unwrap();
        }
    }
    page
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            // This test quotes names that are none.
            if path.is_dir() && !path.ends_with("target") && !path.ends_with("xtask/tests/faults") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
