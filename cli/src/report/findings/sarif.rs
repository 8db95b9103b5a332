// SPDX-License-Identifier: Apache-2.0
//! SARIF 2.1.0 (<https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>), as code scanning of GitHub reads it
//! (<https://docs.github.com/en/code-security/reference/code-scanning/sarif-files/sarif-support>).

use krs_core::set::RULES;
use serde_json::{Value, json};

use super::model::{Finding, Findings, Level};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";
/// The root of the checkout, under the name that readers of SARIF know it by.
const ROOT: &str = "%SRCROOT%";

pub(super) fn render(findings: &Findings, version: &str) -> String {
    let rule = |(id, requires): &(&str, &str)| json!({ "id": id, "shortDescription": { "text": requires } });
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "krs",
                "version": version,
                "rules": RULES.iter().map(rule).collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "originalUriBaseIds": { ROOT: { "description": { "text": "the root of the checkout" } } },
            "results": findings.findings.iter().map(result).collect::<Vec<_>>(),
        }],
    });
    // A value of this kind can always be written.
    serde_json::to_string_pretty(&log).unwrap_or_default() + "\n"
}

fn result(finding: &Finding) -> Value {
    let level = match finding.level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Note => "note",
    };
    let mut place = json!({ "artifactLocation": { "uri": uri(&finding.file), "uriBaseId": ROOT } });
    if finding.line > 0 {
        let mut region = json!({ "startLine": finding.line });
        if finding.column > 0 {
            region["startColumn"] = finding.column.into();
        }
        place["region"] = region;
    }
    json!({
        "ruleId": finding.rule,
        "ruleIndex": RULES.iter().position(|(id, _)| *id == finding.rule),
        "level": level,
        "message": { "text": finding.text() },
        "locations": [{ "physicalLocation": place }],
        "partialFingerprints": { "krsFinding/v1": finding.fingerprint },
    })
}

/// A path as a relative reference (RFC 3986, section 4.2). A colon is written out: before the first `/` it would end a
/// scheme.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}
