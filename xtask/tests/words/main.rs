// SPDX-License-Identifier: Apache-2.0
//! `STYLE.md`, as far as a program can hold what users read to it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod left;
mod list;
mod texts;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use left::LEFT;
use list::{EXCEPTIONS, Exception, SCOPES, WORDS, Word};
use texts::{checkout, read, texts};

#[test]
fn what_users_read_has_no_misleading_words() {
    let (mut wrong, mut used) = (String::new(), BTreeSet::new());
    for scope in SCOPES {
        let texts = texts(scope);
        assert!(texts.len() >= 3, "{scope:?} was not found");
        let left = LEFT.iter().filter(|(left_in, _)| *left_in == scope).flat_map(|(_, words)| *words);
        let left = left.copied().collect::<BTreeSet<_>>();
        for Word { forms, instead, reason } in WORDS {
            let mut found = Vec::new();
            for (file, number, text) in &texts {
                let Some(form) = forms.iter().find(|form| has(text, form)) else { continue };
                let is_meant = |e: &Exception| e.file == file && text.contains(e.text) && has(e.text, form);
                match EXCEPTIONS.iter().position(is_meant) {
                    Some(exception) => drop(used.insert(exception)),
                    None => found.push(format!("{file}:{number}: `{form}` in: {}", text.trim())),
                }
            }
            let is_left = left.contains(forms[0]);
            if is_left && found.is_empty() {
                writeln!(wrong, "`{}` is gone from {scope:?}: take it from LEFT", forms[0]).unwrap();
            } else if !is_left && !found.is_empty() {
                let found = found.join("\n  ");
                writeln!(wrong, "{scope:?} has `{}`, write {instead} ({reason}):\n  {found}", forms[0])
                    .unwrap();
            }
        }
    }
    for (_, Exception { file, text, reason }) in
        EXCEPTIONS.iter().enumerate().filter(|(n, _)| !used.contains(n))
    {
        writeln!(wrong, "{file} does not have {text:?} any more, which was allowed as {reason}").unwrap();
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn no_comment_repeats_that_something_is_itself() {
    let mut wrong = Vec::new();
    for folder in [
        "src",
        "cli/src",
        "compact/src",
        "importer/src",
        "testing/src",
        "xtask/src",
        "bench/src",
        "release/src",
    ] {
        for file in texts::rust_files(folder) {
            let text = read(&file);
            let lines =
                text.lines().enumerate().filter(|(_, line)| ["/// It.", "/// Its."].contains(&line.trim()));
            wrong.extend(lines.map(|(number, _)| format!("{file}:{}", number + 1)));
        }
    }
    assert_eq!(wrong, [""; 0], "say what it is, or leave the comment out");
}

#[test]
fn the_guide_lists_the_glossary_and_is_linked() {
    assert!(read("CONTRIBUTING.md").contains("](STYLE.md)"));
    assert!(checkout().join("STYLE.md").exists());
    let forms = WORDS.iter().map(|word| word.forms[0]).collect::<BTreeSet<_>>();
    assert!(LEFT.iter().all(|(_, words)| words.iter().all(|word| forms.contains(word))), "{LEFT:?}");
    for word in WORDS {
        assert!(!word.instead.is_empty() && word.reason.len() > 4, "{word:?}");
        for form in word.forms {
            assert!(WORDS.iter().all(|other| !has(&other.instead.to_lowercase(), form)), "{form}");
        }
    }
}

/// Whether a text has a word by itself, and not as a part of another one.
fn has(text: &str, word: &str) -> bool {
    let text = text.to_lowercase();
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        [before, after].into_iter().flatten().all(|c| !c.is_alphanumeric() && !"_-".contains(c))
    })
}

#[test]
fn words_are_found_between_other_characters_only() {
    assert!(has("A Stick.", "stick") && has("`stick`", "stick") && has("it goes on", "goes on"));
    assert!(!has("sticky", "stick") && !has("a_stick", "stick") && !has("stick-up", "stick"));
}
