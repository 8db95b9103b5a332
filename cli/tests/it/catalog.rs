// SPDX-License-Identifier: Apache-2.0
//! The record of the bundles that went out.

use krs_testing::image::ImageBuilder;
use serde_json::Value;

use crate::harness::Site;

/// A site that has the first bundle, which the catalog records, and a checkout that asks for one image more.
fn at_version_two() -> Site {
    let mut site = Site::with_three_images();
    let arguments = ["--stream", "prod", "--sequence", "1", "--audience", "berlin", "--catalog", "c.jsonl"];
    site.bundle("v1.krs.tar", &arguments).ok();
    site.push("v1.krs.tar", &[]).ok();
    let web =
        ImageBuilder::new("web").layer_random(3 << 20, 1).layer_random(40_000, 2).layer_random(7000, 77);
    site.add(&web.build(), "team/web", "2.0");
    site.commit();
    site
}

fn show(site: &Site, arguments: &[&str]) -> Value {
    let all = [&["catalog", "show", "c.jsonl", "--format", "json"], arguments].concat();
    site.desk.krs(&all).ok().json()
}

const SECOND: [&str; 6] = ["--stream", "prod", "--sequence", "2", "--catalog", "c.jsonl"];

#[test]
fn a_delta_from_the_catalog_alone_is_the_delta_against_the_bundle() {
    let site = at_version_two();
    site.bundle("file.krs.tar", &[&SECOND[..4], &["--against", "v1.krs.tar"]].concat()).ok();
    std::fs::rename(site.desk.path("v1.krs.tar"), site.desk.path("away")).unwrap();
    site.bundle("catalog.krs.tar", &[&SECOND[..], &["--against", "catalog:prod@1"]].concat()).ok();
    let bytes = |name: &str| std::fs::read(site.desk.path(name)).unwrap();
    assert!(bytes("file.krs.tar") == bytes("catalog.krs.tar"), "both leave out the same");
    site.push("catalog.krs.tar", &[]).ok();
    site.arrived("team/web", "2.0");

    let shown = show(&site, &[]);
    let bundles = shown["bundles"].as_array().unwrap();
    assert_eq!(bundles.len(), 2, "{shown}");
    assert_eq!(bundles[0]["audience"][0], "berlin");
    assert_eq!(bundles[0]["base"].as_array().map(Vec::len), Some(0));
    assert_eq!(bundles[1]["base"][0]["name"], "stream prod, sequence 1");
    // What the site has after the second: also what it had before.
    assert!(bundles[1]["layerBytes"].as_u64() > bundles[0]["layerBytes"].as_u64(), "{shown}");
    assert_eq!(show(&site, &["--site", "hamburg"])["bundles"].as_array().map(Vec::len), Some(1));
    assert_eq!(show(&site, &["--stream", "test"])["bundles"].as_array().map(Vec::len), Some(0));
}

#[test]
fn the_same_bundle_is_recorded_once_and_one_without_catalog_later() {
    let site = at_version_two();
    site.bundle("v2.krs.tar", &SECOND[..4]).ok();
    let added = site.desk.krs(&["catalog", "add", "c.jsonl", "v1.krs.tar", "v2.krs.tar", "--format", "json"]);
    let added = added.ok().json();
    assert_eq!((&added["added"], &added["known"]), (&1.into(), &1.into()), "{added}");
    site.bundle("v2.krs.tar", &SECOND).ok();
    assert_eq!(show(&site, &[])["bundles"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_bundle_that_stands_twice_in_joined_catalogs_counts_once() {
    let site = at_version_two();
    let line = std::fs::read_to_string(site.desk.path("c.jsonl")).unwrap();
    site.desk.write("c.jsonl", format!("{line}{line}"));
    assert_eq!(show(&site, &[])["bundles"].as_array().map(Vec::len), Some(1));
    let status = site.desk.krs(&["fleet", "status", "c.jsonl", "--format", "json"]).ok().json();
    assert_eq!(status["sites"][0]["streams"][0]["unconfirmed"]["count"], 1, "{status}");
}

#[test]
fn a_catalog_that_is_none_or_does_not_have_the_bundle_is_refused_before_anything_is_fetched() {
    let site = at_version_two();
    site.source.clear_requests();
    let against = |name: &'static str| [&SECOND[..], &["--against", name]].concat();
    site.bundle("x.krs.tar", &against("catalog:prod@7"))
        .failed(6, &["c.jsonl does not have sequence 7 of the stream prod", "krs catalog show"]);
    site.bundle("x.krs.tar", &against("catalog:prod")).failed(6, &["has no receipt of site prod"]);
    site.bundle("x.krs.tar", &against("catalog:prod@")).failed(2, &["catalog:STREAM@SEQUENCE"]);
    site.bundle("x.krs.tar", &["--against", "catalog:prod@1"]).failed(2, &["--catalog FILE"]);
    std::fs::write(site.desk.path("set.yaml"), "kind: Pod\n").unwrap();
    let other = ["--stream", "prod", "--sequence", "2", "--catalog", "set.yaml"];
    site.bundle("x.krs.tar", &other).failed(2, &["set.yaml is not a catalog"]);
    // The site refuses it: it has this sequence with other images.
    let again =
        ["--stream", "prod", "--sequence", "1", "--catalog", "c.jsonl", "--against", "catalog:prod@1"];
    assert_eq!(site.source.requests().len(), 0);
    site.bundle("x.krs.tar", &again).failed(5, &["has the same sequence 1 in the stream prod"]);
}

#[test]
fn t270_a_line_that_was_cut_is_named_and_costs_no_other() {
    let site = at_version_two();
    let path = site.desk.path("c.jsonl");
    let line = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&line[..], &line[..100]].concat()).unwrap();
    site.bundle("v2.krs.tar", &SECOND).ok();
    let outcome = site.desk.krs(&["catalog", "show", "c.jsonl"]).ok();
    assert!(outcome.err.contains("c.jsonl:2: the line is not used"), "{}", outcome.err);
    assert!(outcome.out.contains("v1.krs.tar") && outcome.out.contains("v2.krs.tar"), "{}", outcome.out);
}
