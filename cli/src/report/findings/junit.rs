// SPDX-License-Identifier: Apache-2.0
//! JUnit XML, as Jenkins, GitLab and others read it. There is no specification; the elements and attributes are those that
//! <https://github.com/testmoapp/junitxml> lists as common to all readers. Each error is a test that failed, because readers
//! show only one failure of a test; each set without an error is a test that passed.

use super::model::{Finding, Findings, Level, ValidSet};

pub(super) fn render(findings: &Findings) -> String {
    let (failures, sets) = (findings.count(Level::Error), findings.sets.len());
    let counts = format!("tests=\"{}\" failures=\"{failures}\" errors=\"0\"", failures + sets);
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"krs validate\" {counts}>\n  <testsuite name=\"krs validate\" {counts} skipped=\"0\">\n"
    );
    findings.sets.iter().for_each(|set| xml.push_str(&passed(set)));
    let (failed, others): (Vec<_>, Vec<_>) =
        findings.findings.iter().partition(|finding| finding.level == Level::Error);
    failed.into_iter().for_each(|finding| xml.push_str(&failure(finding)));
    if !others.is_empty() {
        let line = |finding: &&Finding| {
            let word = if finding.level == Level::Warning { "warning" } else { "note" };
            format!("{word}: {}: {}\n", finding.place(), finding.text())
        };
        let text = others.iter().map(line).collect::<String>();
        xml.push_str(&format!("    <system-out>{}</system-out>\n", escaped(&text)));
    }
    xml + "  </testsuite>\n</testsuites>\n"
}

fn passed(set: &ValidSet) -> String {
    let ValidSet { name, file, line, .. } = set;
    let (name, file) = (escaped(&format!("set {name}")), escaped(file));
    format!("    <testcase name=\"{name}\" classname=\"{file}\" file=\"{file}\" line=\"{line}\"/>\n")
}

fn failure(finding: &Finding) -> String {
    let Finding { rule, line, message, .. } = finding;
    let place = finding.place();
    let (name, file) = (escaped(&format!("{rule} ({place})")), escaped(&finding.file));
    let line = if *line > 0 { format!(" line=\"{line}\"") } else { String::new() };
    let text = escaped(&format!("{place}: {}", finding.text()));
    let message = escaped(message);
    format!(
        "    <testcase name=\"{name}\" classname=\"{file}\" file=\"{file}\"{line}>\n      <failure message=\"{message}\" type=\"{rule}\">{text}</failure>\n    </testcase>\n"
    )
}

/// Text for an element or an attribute (XML 1.0, sections 2.2 and 2.4). Characters that XML cannot hold become U+FFFD;
/// `>` is written out, so that no `]]>` is left.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // In an attribute they would be read as spaces.
            '\t' | '\n' | '\r' => escaped.push_str(&format!("&#{};", u32::from(c))),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push(char::REPLACEMENT_CHARACTER),
            c => escaped.push(c),
        }
    }
    escaped
}
