// SPDX-License-Identifier: Apache-2.0
//! Receipts of registries of which something cannot be read. (T-118)

use krs_testing::registry::{Matcher, What};
use serde_json::Value;

use crate::harness::Site;

/// A site whose edge has three images, `team/web`, `team/api` and `team/db`.
fn site() -> Site {
    let site = Site::with_three_images();
    site.bundle("v1.krs.tar", &[]).ok();
    site.push("v1.krs.tar", &[]).ok();
    site
}

/// The report and the receipt of `krs receipt`.
fn receipt(site: &Site) -> (Value, Value) {
    let (edge, set) = (site.edge.host().to_string(), site.checkout.path().as_str());
    let arguments = ["receipt", &edge, "--set", set, "-o", "r.json", "--format", "json", "--retries", "0"];
    let outcome = site.desk.krs(&arguments).ok();
    let receipt = serde_json::from_slice(&std::fs::read(site.desk.path("r.json")).unwrap()).unwrap();
    (outcome.json(), receipt)
}

fn names(receipt: &Value) -> Vec<&str> {
    receipt["repositories"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
}

#[test]
fn t118_a_tag_that_cannot_be_read_is_named_and_costs_no_other() {
    let foreign = br#"{"schemaVersion":1,"chart":"old"}"#;
    for what in ["unknown", "unreadable", "deleted", "forbidden", "damaged", "failing"] {
        let site = site();
        let media_type =
            if what == "unknown" { "application/vnd.helm.chart.v2" } else { krs_core::oci::OCI_MANIFEST };
        let digest = site.edge.put_manifest("team/web", "foreign", media_type, foreign);
        let refuse = |status| What::Status(status, Vec::new(), String::new());
        let on = || Matcher::any().path(digest);
        match what {
            // After its tag was looked up.
            "deleted" => site.edge.fail(on().method("GET"), refuse(404)),
            "forbidden" => {
                site.edge.fail(Matcher::any().path("/manifests/foreign"), refuse(403));
                site.edge.fail(on(), refuse(403));
            }
            "damaged" => assert!(site.edge.corrupt_blob(&digest)),
            "failing" => {
                site.edge.fail(Matcher::any().path("/manifests/foreign"), refuse(500));
                site.edge.fail(on(), refuse(500));
            }
            _ => {}
        }
        let (report, receipt) = receipt(&site);
        let incomplete = report["incomplete"].as_array().unwrap();
        assert_eq!(incomplete.len(), 1, "{what}: {report}");
        let sentence = incomplete[0].as_str().unwrap();
        assert!(sentence.starts_with("incomplete: tag foreign of team/web: "), "{what}: {sentence}");
        assert_eq!(names(&receipt), ["team/api", "team/db", "team/web"], "{what}");
        let web = &receipt["repositories"][2];
        assert!(web["tags"].get("1.0").is_some() && web["tags"].get("foreign").is_none(), "{what}: {web}");
    }
}

#[test]
fn t118_a_list_of_tags_that_is_refused_leaves_what_the_sets_name() {
    let site = site();
    site.edge.fail(Matcher::any().path("team/web/tags/list"), What::Status(403, Vec::new(), String::new()));
    let (report, receipt) = receipt(&site);
    let incomplete = report["incomplete"].to_string();
    assert!(incomplete.contains("the list of its tags of team/web"), "{incomplete}");
    assert_eq!(receipt["repositories"][2]["tags"].as_object().unwrap().len(), 1, "{receipt}");
}

#[test]
fn t118_of_very_many_tags_those_of_the_sets_are_read_and_the_others_counted() {
    let site = site();
    let (media_type, bytes) = site.edge.manifest("team/web", "1.0").unwrap();
    for number in 0..2005 {
        // Before `1.0` in the order of the list.
        site.edge.put_manifest("team/web", &format!("0.{number}"), &media_type, &bytes);
    }
    let (report, receipt) = receipt(&site);
    let incomplete = report["incomplete"].to_string();
    assert!(incomplete.contains("6 more tags of team/web"), "{incomplete}");
    let tags = receipt["repositories"][2]["tags"].as_object().unwrap();
    assert!(tags.len() == 2000 && tags.contains_key("1.0"), "{}", tags.len());
}

#[test]
fn t118_of_very_many_unreadable_tags_the_first_are_reported_and_the_others_counted() {
    let site = site();
    let (media_type, bytes) = site.edge.manifest("team/web", "1.0").unwrap();
    for number in 100..130 {
        site.edge.put_manifest("team/web", &format!("bad-{number}"), &media_type, &bytes);
    }
    site.edge.fail(Matcher::any().path("/manifests/bad-"), What::Status(410, Vec::new(), String::new()));
    let (edge, set) = (site.edge.host().to_string(), site.checkout.path().as_str());
    let outcome = site.desk.krs(&["receipt", &edge, "--set", set, "-o", "r.json", "--no-progress"]).ok();
    assert_eq!(outcome.err.lines().filter(|line| line.starts_with("  tag bad-")).count(), 20, "{outcome}");
    assert_eq!(outcome.err.matches("410").count(), 1, "{outcome}");
    assert!(
        outcome.err.contains("incomplete: 30 entries, all for the same reason: ")
            && outcome.err.contains("\n  and 10 more\n")
    );
    let receipt = std::fs::read_to_string(site.desk.path("r.json")).unwrap();
    assert_eq!(receipt.matches("tag bad-").count(), 30);
}

#[test]
fn t118_a_registry_of_which_nothing_can_be_read_is_no_receipt() {
    let site = site();
    site.edge.fail(Matcher::any(), What::Status(403, Vec::new(), String::new()));
    let (edge, set) = (site.edge.host().to_string(), site.checkout.path().as_str());
    site.desk.krs(&["receipt", &edge, "--set", set, "-o", "r.json"]).failed(7, &["does not allow"]);
    assert!(!site.desk.path("r.json").exists());
}

#[test]
fn several_sets_of_one_repository_are_all_searched() {
    let site = site();
    let other = crate::harness::app("web", 7);
    other.push_to(&site.edge, "team/web", None);
    let set = site.set().replace("name: ", "name: other-");
    let first = set.find("  - image:").unwrap();
    let source = site.source.host();
    let one = format!("{}  - image: {source}/team/web:9.9@{}\n", &set[..first], other.digest);
    site.desk.write("other.yaml", one);
    let edge = site.edge.host().to_string();
    let arguments =
        ["receipt", &edge, "--set", "other.yaml", "--set", site.checkout.path().as_str(), "-o", "r.json"];
    site.desk.krs(&arguments).ok();
    let receipt = std::fs::read_to_string(site.desk.path("r.json")).unwrap();
    assert!(receipt.contains(&other.digest.to_string()), "a digest that no tag of the registry names");
}
