// SPDX-License-Identifier: Apache-2.0
//! Markdown with tables (GitHub Flavored Markdown, <https://github.github.com/gfm/#tables-extension->), for the summary of
//! a job or a comment in a pull request.

use super::model::{Findings, Level};
use crate::report::human::count;

pub(super) fn render(findings: &Findings) -> String {
    let errors = findings.count(Level::Error);
    let verdict = if errors == 0 {
        let images = findings.sets.iter().map(|set| set.images).sum::<usize>() as u64;
        format!("{} with {}: valid", count(findings.sets.len() as u64, "set"), count(images, "image"))
    } else {
        format!("The sets are not acceptable: {}", count(errors as u64, "error"))
    };
    let mut text = format!("### krs validate\n\n{verdict}\n");
    if !findings.findings.is_empty() {
        text.push_str("\n| | place | rule | message |\n|---|---|---|---|\n");
    }
    for finding in &findings.findings {
        let level = match finding.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Note => "note",
        };
        let (place, message) = (cell(&finding.place()), cell(&finding.text()));
        text.push_str(&format!("| {level} | {place} | {} | {message} |\n", finding.rule));
    }
    text
}

/// Text of a cell: on one line, with what Markdown or HTML would read as its own written out.
fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => cell.push_str("<br>"),
            '&' => cell.push_str("&amp;"),
            '<' => cell.push_str("&lt;"),
            '>' => cell.push_str("&gt;"),
            // An `@name` would notify a person, and `#1` link an issue.
            '@' => cell.push_str("&#64;"),
            '#' => cell.push_str("&#35;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '~' | '!' | '$' => {
                cell.push('\\');
                cell.push(c);
            }
            c if c.is_control() => cell.push(' '),
            c => cell.push(c),
        }
    }
    cell
}
