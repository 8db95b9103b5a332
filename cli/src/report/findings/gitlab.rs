// SPDX-License-Identifier: Apache-2.0
//! A Code Quality report of GitLab (<https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format>): a JSON
//! array of objects, without a byte order mark.

use serde_json::json;

use super::model::{Findings, Level};

pub(super) fn render(findings: &Findings) -> String {
    let issues = findings.findings.iter().map(|finding| {
        let severity = match finding.level {
            Level::Error => "major",
            Level::Warning => "minor",
            Level::Note => "info",
        };
        json!({
            "description": finding.text(),
            "check_name": finding.rule,
            "fingerprint": finding.fingerprint,
            "severity": severity,
            // The line is required, also for a finding about the entire file.
            "location": { "path": finding.file, "lines": { "begin": finding.line.max(1) } },
        })
    });
    let issues = issues.collect::<Vec<_>>();
    serde_json::to_string_pretty(&issues).unwrap_or_default() + "\n"
}
