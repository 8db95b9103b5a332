// SPDX-License-Identifier: Apache-2.0
//! Groups failures by cause, so that a message names each cause once, with the list of what failed.

use std::collections::HashMap;
use std::fmt::Display;

/// Most causes that are shown to people, and most names for each.
const MAX_CAUSES: usize = 30;
const MAX_NAMES: usize = 20;
/// Replaces a name in a reason.
const NAME: &str = "…";

/// A cause, and what failed because of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The reason, in one line. If the reasons of several failures differ only by the names in them, without the names.
    pub reason: String,
    /// What failed, in the order in which it came.
    pub names: Vec<String>,
}

/// Groups failures whose reasons are the same except for the names of images and blobs. Each is a name and a reason.
pub fn by_cause(failures: impl IntoIterator<Item = (String, String)>) -> Vec<Cause> {
    let mut causes = Vec::<Cause>::new();
    let mut known = HashMap::<String, usize>::new();
    for (name, reason) in failures {
        let general = without_names(&reason);
        match known.get(&general).and_then(|at| causes.get_mut(*at)) {
            Some(cause) => {
                if cause.reason != reason {
                    cause.reason = general;
                }
                cause.names.push(name);
            }
            None => {
                known.insert(general, causes.len());
                causes.push(Cause { reason, names: vec![name] });
            }
        }
    }
    causes
}

/// `head`, which says how many failed, and why: `3 images failed, all for the same reason: …`, or a list of reasons. If
/// there are very many, only the first; the JSON output has all.
pub fn describe(head: &str, causes: &[Cause]) -> String {
    if let [Cause { reason, names: failed }] = causes
        && failed.len() > 1
    {
        return format!("{head}, all for the same reason: {reason}{}", list(failed, "  "));
    }
    let mut text = format!("{head}:");
    for Cause { reason, names: failed } in causes.iter().take(MAX_CAUSES) {
        match failed.as_slice() {
            [one] => text.push_str(&format!("\n  {one}: {reason}")),
            all => text.push_str(&format!("\n  {} of them: {reason}{}", all.len(), list(all, "    "))),
        }
    }
    let left = causes.iter().skip(MAX_CAUSES).map(|cause| cause.names.len()).sum::<usize>();
    if left > 0 {
        text.push_str(&format!("\n  and {left} more"));
    }
    text
}

/// The first `most` of `items`, and how many more there are: `a, b and 3 more`, `a; b; and 3 more`, or a line of its own.
pub fn shortened<T: Display>(items: impl IntoIterator<Item = T>, most: usize, separator: &str) -> String {
    let mut items = items.into_iter();
    let shown = items.by_ref().take(most).map(|item| item.to_string()).collect::<Vec<_>>().join(separator);
    let and = match separator {
        "\n" => "\n  and",
        _ if separator.starts_with(',') => " and",
        _ => "; and",
    };
    match items.count() {
        0 => shown,
        more => format!("{shown}{and} {more} more"),
    }
}

/// Names, each on a line of its own that begins with `indent`. If there are very many, only the first.
pub fn list(names: &[String], indent: &str) -> String {
    let mut lines = names.iter().take(MAX_NAMES).map(|name| format!("\n{indent}{name}")).collect::<String>();
    if let more @ 1.. = names.len().saturating_sub(MAX_NAMES) {
        lines.push_str(&format!("\n{indent}and {more} more"));
    }
    lines
}

/// A message without the names of images and blobs in it.
fn without_names(message: &str) -> String {
    let words = message.split(' ').map(|word| {
        let core = word.trim_start_matches(['(', '`']).trim_end_matches([':', ',', ';', '.', ')', '`']);
        if is_name(core) { word.replace(core, NAME) } else { word.to_owned() }
    });
    let mut text = words.collect::<Vec<_>>().join(" ");
    // A word that only says that something was requested means nothing without its name.
    for what in ["manifest", "blob"] {
        text = text.replace(&format!(": {what} {NAME}: "), ": ");
    }
    text
}

/// Whether a word names an image, with a tag or digest, or a blob.
fn is_name(word: &str) -> bool {
    if word.contains("://") {
        return false;
    }
    let is_digest = word.rsplit(['@', '/']).next().is_some_and(|end| end.starts_with("sha256:"));
    is_digest || word.rsplit_once('/').is_some_and(|(_, end)| end.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn causes(failures: &[(&str, &str)]) -> Vec<Cause> {
        by_cause(failures.iter().map(|(name, reason)| ((*name).to_owned(), (*reason).to_owned())))
    }

    #[test]
    fn t249_reasons_that_differ_by_names_alone_are_one() {
        let [one] = &causes(&[
            ("r:5000/a:1", "r:5000 is not available: manifest r:5000/a:1: connection refused"),
            (
                "r:5000/b@sha256:00",
                "r:5000 is not available: manifest r:5000/b@sha256:00: connection refused",
            ),
            ("r:5000/c:1", "r:5000 is not available: blob r:5000/c@sha256:11: connection refused"),
        ])[..] else {
            panic!("more than one cause")
        };
        assert_eq!(one.reason, "r:5000 is not available: connection refused");
        assert_eq!(one.names, ["r:5000/a:1", "r:5000/b@sha256:00", "r:5000/c:1"]);
        // Names stay if there is one failure, or if they are the same in all.
        let same = "blob sha256:00 cannot be sent: expected sha256:00, got sha256:11";
        let both = causes(&[("a", same), ("b", same), ("c", "manifest r:5000/c:1 does not exist")]);
        assert_eq!(both[0].reason, same);
        assert_eq!(both[1].reason, "manifest r:5000/c:1 does not exist");
        // Hosts, files and addresses are no names of images.
        for text in ["r:5000 refused user `ci` (/root/.docker/config.json)", "see https://r:5000/v2/a:b"] {
            assert_eq!(without_names(text), text);
        }
    }

    #[test]
    fn a_list_ends_with_how_many_more_there_are() {
        assert_eq!(shortened(["a", "b"], 2, ", "), "a, b");
        assert_eq!(shortened(["a", "b", "c", "d"], 2, ", "), "a, b and 2 more");
        assert_eq!(shortened(["a", "b", "c"], 2, "; "), "a; b; and 1 more");
        assert_eq!(shortened([""; 0], 2, ", "), "");
    }

    #[test]
    fn t249_each_cause_is_reported_once_and_long_lists_are_truncated() {
        let many = (0..25).map(|n| (format!("i{n}"), "no".to_owned()));
        let text = describe("25 images failed", &by_cause(many));
        assert!(text.starts_with("25 images failed, all for the same reason: no\n  i0\n  i1\n"), "{text}");
        assert!(text.ends_with("\n  i19\n  and 5 more"), "{text}");
        let two = causes(&[("a", "no"), ("b", "no"), ("c", "never")]);
        let expected = "3 images failed:\n  2 of them: no\n    a\n    b\n  c: never";
        assert_eq!(describe("3 images failed", &two), expected);
        assert_eq!(describe("1 image failed", &causes(&[("a", "no")])), "1 image failed:\n  a: no");
        let different = (0..40).map(|n| (format!("i{n}"), format!("no {n}")));
        assert!(describe("40 images failed", &by_cause(different)).ends_with("\n  and 10 more"));
    }
}
