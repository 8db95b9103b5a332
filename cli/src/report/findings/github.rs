// SPDX-License-Identifier: Apache-2.0
//! Workflow commands of GitHub Actions
//! (<https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>): one line for each finding,
//! which becomes an annotation of the file. The characters that end a command or a property are escaped as the toolkit of
//! GitHub does (`escapeData`, `escapeProperty` in <https://github.com/actions/toolkit>).

use super::model::{Finding, Findings, Level};

pub(super) fn render(findings: &Findings) -> String {
    findings.findings.iter().map(command).collect()
}

fn command(finding: &Finding) -> String {
    let name = match finding.level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Note => "notice",
    };
    let mut properties = format!("file={}", property(&finding.file));
    for (key, number) in [("line", finding.line), ("col", finding.column)] {
        if number > 0 {
            properties.push_str(&format!(",{key}={number}"));
        }
    }
    let title = property(&format!("krs {}", finding.rule));
    format!("::{name} {properties},title={title}::{}\n", data(&finding.text()))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
