// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use serde_json::Value;

use super::model::{Finding, Findings, Level, ValidSet};

/// A file name and a message with everything that some format reads as its own.
const FILE: &str = "sites/100%,a: \"b\" <c>&]]>'|\u{e9}.yaml";
const MESSAGE: &str = "`a|b` 50%\r\n::error::x ]]> <b>&\"'\u{1}@who #1 (x.yaml:7)";

fn finding(level: Level, file: &str, line: u64, column: u64, message: &str) -> Finding {
    Finding {
        level,
        rule: "image-bare",
        file: file.to_owned(),
        line,
        column,
        message: message.to_owned(),
        help: None,
        fingerprint: String::new(),
    }
}

fn hostile() -> Findings {
    let set = ValidSet { name: "shop/a\"<&".to_owned(), file: FILE.to_owned(), line: 3, images: 2 };
    let mut error = finding(Level::Error, FILE, 8, 12, MESSAGE);
    error.help = Some("write a tag\nor a digest".to_owned());
    let findings = vec![
        finding(Level::Note, "b.yaml", 0, 0, "was skipped"),
        finding(Level::Warning, "a.yaml", 4, 0, MESSAGE),
        error,
    ];
    Findings { sets: vec![set], findings }.finished()
}

#[test]
fn each_format_has_the_reviewed_form() {
    let findings = hostile();
    for (format, text) in [
        ("junit", findings.junit()),
        ("sarif", findings.sarif("1.2.3")),
        ("github", findings.github()),
        ("gitlab", findings.gitlab()),
        ("markdown", findings.markdown()),
    ] {
        insta::assert_snapshot!(format, text);
    }
}

#[test]
fn junit_is_xml_that_says_the_same() {
    let xml = hostile().junit();
    let document = roxmltree::Document::parse(&xml).unwrap();
    let suite = document.root_element().first_element_child().unwrap();
    assert_eq!((suite.attribute("tests"), suite.attribute("failures")), (Some("2"), Some("1")));
    let cases = suite.children().filter(|node| node.has_tag_name("testcase")).collect::<Vec<_>>();
    assert_eq!(cases.len(), 2);
    assert_eq!(cases[0].attribute("name"), Some("set shop/a\"<&"));
    assert_eq!((cases[1].attribute("file"), cases[1].attribute("line")), (Some(FILE), Some("8")));
    let failure = cases[1].first_element_child().unwrap();
    assert_eq!(failure.attribute("message"), Some(MESSAGE.replace('\u{1}', "\u{fffd}").as_str()));
    assert!(failure.text().unwrap().ends_with("or a digest"));
    let out = suite.children().find(|node| node.has_tag_name("system-out")).unwrap();
    assert!(out.text().unwrap().contains("note: b.yaml: was skipped"));
}

/// The fields of SARIF that are used, with those that the schema requires
/// (<https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json>). It allows no others.
const SARIF: [(&str, &[&str], &[&str]); 9] = [
    ("", &["version", "runs"], &["$schema"]),
    ("/runs/0", &["tool"], &["columnKind", "originalUriBaseIds", "results"]),
    ("/runs/0/tool", &["driver"], &[]),
    ("/runs/0/tool/driver", &["name"], &["version", "rules"]),
    ("/runs/0/tool/driver/rules/0", &["id"], &["shortDescription"]),
    (
        "/runs/0/results/0",
        &["message"],
        &["ruleId", "ruleIndex", "level", "locations", "partialFingerprints"],
    ),
    ("/runs/0/results/0/locations/0", &[], &["physicalLocation"]),
    ("/runs/0/results/0/locations/0/physicalLocation", &[], &["artifactLocation", "region"]),
    ("/runs/0/results/0/locations/0/physicalLocation/artifactLocation", &[], &["uri", "uriBaseId"]),
];

#[test]
fn sarif_has_what_the_schema_requires_and_nothing_else() {
    let log: Value = serde_json::from_str(&hostile().sarif("1.2.3")).unwrap();
    assert_eq!(log["version"], "2.1.0");
    for (path, required, allowed) in SARIF {
        let object = log.pointer(path).unwrap().as_object().unwrap();
        assert!(required.iter().all(|field| object.contains_key(*field)), "{path}: {object:?}");
        let known = |field: &String| required.contains(&field.as_str()) || allowed.contains(&field.as_str());
        assert!(object.keys().all(known), "{path}: {object:?}");
    }
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    for result in log["runs"][0]["results"].as_array().unwrap() {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()));
        let place = &result["locations"][0]["physicalLocation"];
        // Lines and columns begin at 1, and an entire file has no region.
        assert!(place["region"].is_null() || place["region"]["startLine"].as_u64().unwrap() > 0);
        let uri = place["artifactLocation"]["uri"].as_str().unwrap();
        assert!(uri.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~/%".contains(&b)), "{uri}");
    }
}

#[test]
fn a_workflow_command_is_one_line_and_its_text_comes_back() {
    let text = hostile().github();
    assert_eq!(text.lines().count(), 3);
    let error = text.lines().find(|line| line.starts_with("::error ")).unwrap();
    let (properties, data) = error.strip_prefix("::error ").unwrap().split_once("::").unwrap();
    let back = |text: &str| {
        let pairs = [("%2C", ","), ("%3A", ":"), ("%0A", "\n"), ("%0D", "\r"), ("%25", "%")];
        pairs.iter().fold(text.to_owned(), |text, (code, c)| text.replace(code, c))
    };
    let properties = properties.split(',').map(|pair| pair.split_once('=').unwrap()).collect::<Vec<_>>();
    assert_eq!(back(properties[0].1), FILE);
    assert_eq!(properties[1..], [("line", "8"), ("col", "12"), ("title", "krs image-bare")]);
    assert_eq!(back(data), format!("{MESSAGE}\nwrite a tag\nor a digest"));
}

#[test]
fn gitlab_has_every_field_that_it_requires() {
    let issues: Value = serde_json::from_str(&hostile().gitlab()).unwrap();
    for issue in issues.as_array().unwrap() {
        for field in ["description", "check_name", "fingerprint", "severity"] {
            assert!(issue[field].as_str().is_some_and(|text| !text.is_empty()), "{issue}");
        }
        assert!(
            ["info", "minor", "major", "critical", "blocker"].contains(&issue["severity"].as_str().unwrap())
        );
        assert!(issue["location"]["lines"]["begin"].as_u64().unwrap() > 0, "{issue}");
        assert!(!issue["location"]["path"].as_str().unwrap().starts_with(['/', '.']), "{issue}");
    }
}

#[test]
fn a_row_of_markdown_has_four_cells_and_notifies_nobody() {
    let text = hostile().markdown();
    for row in text.lines().filter(|line| line.starts_with('|')) {
        assert_eq!(row.replace("\\|", "").matches('|').count(), 5, "{row}");
        assert!(!row.contains('@') && !row.contains(" #"), "{row}");
    }
    assert_eq!(text.lines().filter(|line| line.starts_with('|')).count(), 5);
}

#[test]
fn fingerprints_are_unique_and_do_not_depend_on_lines() {
    let print = |findings: &[Finding]| {
        let findings = Findings { findings: findings.to_vec(), ..Findings::default() }.finished();
        findings.findings.into_iter().map(|finding| finding.fingerprint).collect::<Vec<_>>()
    };
    let twins = [
        finding(Level::Error, "a.yaml", 3, 1, "same (b.yaml:9)"),
        finding(Level::Error, "a.yaml", 5, 1, "same (b.yaml:9)"),
        finding(Level::Error, "b.yaml", 5, 1, "same (b.yaml:9)"),
    ];
    let before = print(&twins);
    assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 3, "{before:?}");
    let moved = twins.clone().map(|mut finding| {
        finding.line += 10;
        finding.message = "same (b.yaml:119)".to_owned();
        finding
    });
    assert_eq!(print(&moved), before);
    // A tag is no line.
    let other =
        [finding(Level::Error, "a.yaml", 3, 1, "`x:1`"), finding(Level::Error, "a.yaml", 3, 1, "`x:2`")];
    assert_eq!(print(&other).iter().collect::<BTreeSet<_>>().len(), 2);
}

#[test]
fn a_report_without_findings_is_valid() {
    let empty = Findings::default().finished();
    assert!(roxmltree::Document::parse(&empty.junit()).is_ok());
    let log: Value = serde_json::from_str(&empty.sarif("1")).unwrap();
    assert_eq!(log["runs"][0]["results"], serde_json::json!([]));
    assert_eq!((empty.github().as_str(), empty.gitlab().as_str()), ("", "[]\n"));
    assert_eq!(empty.markdown(), "### krs validate\n\n0 sets with 0 images: valid\n");
}
