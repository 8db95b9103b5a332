// SPDX-License-Identifier: Apache-2.0
//! Versions of the format: the lowest that will do, and no higher one than asked for.

use serde_json::Value;

use crate::harness::{Site, app};

fn receipt(site: &Site, more: &[&str]) -> (Value, String) {
    let (edge, set) = (site.edge.host().to_string(), site.checkout.path().as_str());
    let arguments = ["receipt", &edge, "--set", set, "-o", "edge.receipt.json"];
    let outcome = site.desk.krs(&[&arguments[..], more].concat()).ok();
    let text = std::fs::read_to_string(site.desk.path("edge.receipt.json")).unwrap();
    (serde_json::from_str(&text).unwrap(), outcome.err)
}

#[test]
fn a_receipt_needs_version_2_only_for_what_is_incomplete_and_leaves_it_out_for_version_1() {
    let site = Site::with_three_images();
    site.bundle("all.krs.tar", &[]).ok();
    site.push("all.krs.tar", &[]).ok();
    let (intact, _) = receipt(&site, &[]);
    assert_eq!((&intact["formatVersion"], intact.get("incomplete")), (&1.into(), None));

    let lost = app("web", 2).blobs.last().unwrap().0;
    assert!(site.edge.delete_blob(&lost));
    let (new, _) = receipt(&site, &[]);
    assert_eq!(new["formatVersion"], 2, "{new}");
    let entry = &new["incomplete"][0];
    assert_eq!(entry["repository"], "team/web", "{new}");
    assert!(entry["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{new}");

    let (old, outcome) = receipt(&site, &["--format-version", "1"]);
    assert_eq!((&old["formatVersion"], old.get("incomplete")), (&1.into(), None), "{old}");
    assert_eq!(old["repositories"], new["repositories"]);
    assert!(outcome.contains("left out: `incomplete` of the receipt needs format version 2"), "{outcome}");
    for version in [1, 2] {
        receipt(&site, &["--format-version", &version.to_string()]);
        site.bundle(&format!("delta-{version}.krs.tar"), &["--against", "edge.receipt.json"]).ok();
    }
    let read = |name: &str| std::fs::read(site.desk.path(name)).unwrap().len();
    assert_eq!(read("delta-1.krs.tar"), read("delta-2.krs.tar"), "both say the same of what is there");
}

#[test]
fn a_bundle_is_of_the_lowest_version_and_only_versions_that_are_known_can_be_asked_for() {
    let site = Site::with_three_images();
    let version = |more: &[&str]| {
        let made = [&["--format", "json"], more].concat();
        site.bundle("all.krs.tar", &made).ok().json()["formatVersion"].clone()
    };
    assert_eq!((version(&[]), version(&["--format-version", "2"])), (1.into(), 1.into()));
    let set = site.checkout.path().as_str();
    let arguments = ["bundle", set, "-o", "env.krs.tar", "--format", "json"];
    let by_variable = site.desk.krs_env(&[("KRS_FORMAT_VERSION", "1")], &arguments).ok().json();
    assert_eq!(by_variable["formatVersion"], 1);
    for wrong in ["0", "4", "new"] {
        site.bundle("no.krs.tar", &["--format-version", wrong]).failed(2, &["--format-version"]);
    }
}
