// SPDX-License-Identifier: Apache-2.0
//! What is quoted and linked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use camino::{Utf8Path, Utf8PathBuf};

use crate::{checkout, pages, read, user_pages};

fn sources(folder: &Utf8Path, text: &mut String) {
    for entry in folder.read_dir_utf8().unwrap().map(|entry| entry.unwrap()) {
        if entry.path().is_dir() {
            sources(entry.path(), text);
        } else if entry.path().extension() == Some("rs") {
            text.push_str(&fs::read_to_string(entry.path()).unwrap());
        }
    }
}

/// Pieces of a quoted message that are fixed: between `…` and words in capitals, which stand for something.
fn fixed_pieces(quoted: &str) -> Vec<String> {
    let stands_for = |word: &str| {
        let letters = word.trim_matches(|c: char| !c.is_alphanumeric());
        word.contains('…')
            || (letters.len() > 3 || letters == "N" || letters == "M")
                && letters.chars().all(|c| c.is_ascii_uppercase() || c == ':')
    };
    let words = quoted.split_whitespace().collect::<Vec<_>>();
    words
        .split(|word| stands_for(word))
        .map(|piece| piece.join(" "))
        .filter(|piece| piece.len() > 3)
        .collect()
}

#[test]
fn every_message_that_the_pages_explain_is_one_of_krs() {
    let mut code = String::new();
    for folder in ["src", "cli/src"] {
        sources(&checkout().join(folder), &mut code);
    }
    let mut wrong = Vec::new();
    let mut pieces = 0;
    for page in ["docs/reference/errors.md", "docs/carry-and-check.md"] {
        for cell in read(page)
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next().map(str::to_owned))
        {
            // Every second piece between back-ticks is quoted; the cell begins with a quoted one.
            for piece in cell.split('`').step_by(2).flat_map(fixed_pieces) {
                pieces += 1;
                if !code.contains(&piece) {
                    wrong.push(format!("{page}: no message has `{piece}`"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(pieces >= 50, "only {pieces} quotations were found");
}

/// The anchor that GitHub and GitLab give a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let mut anchors = BTreeMap::<Utf8PathBuf, BTreeSet<String>>::new();
    let own = ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "STYLE.md"].map(str::to_owned);
    let folders = ["docs/reference", "docs/design", "docs/adr"].iter().flat_map(|folder| pages(folder));
    let all = user_pages().into_iter().chain(folders).chain(own).collect::<Vec<_>>();
    for page in &all {
        let text = read(page);
        let headings = text
            .lines()
            .filter(|line| line.starts_with('#'))
            .map(|line| anchor(line.trim_start_matches('#')));
        anchors.insert(checkout().join(page), headings.collect());
    }
    let (mut wrong, mut links, mut linked) = (Vec::new(), 0, BTreeSet::new());
    for page in &all {
        let text = read(page);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            links += 1;
            let (path, heading) =
                target.split_once('#').map_or((target, None), |(path, heading)| (path, Some(heading)));
            let from = checkout().join(page);
            let file = if path.is_empty() {
                Ok(from.clone())
            } else {
                from.parent().unwrap().join(path).canonicalize_utf8()
            };
            let known = |file: &Utf8PathBuf| {
                heading.is_none_or(|heading| anchors.get(file).is_some_and(|all| all.contains(heading)))
            };
            match file {
                Ok(file) if known(&file) => drop(linked.insert(file)),
                _ => wrong.push(format!("{page}: {target}")),
            }
        }
    }
    let unseen = all.iter().filter(|page| *page != "README.md" && !linked.contains(&checkout().join(page)));
    wrong.extend(unseen.map(|page| format!("nothing leads to {page}")));
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
    assert!(links >= 30, "only {links} links were found");
}
