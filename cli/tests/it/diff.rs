// SPDX-License-Identifier: Apache-2.0
//! `krs diff` and `krs plan`: what would change, before anything is burned.

use krs_testing::image::ImageBuilder;

use crate::harness::{Outcome, Site};

fn after_a_patch() -> Site {
    let mut site = Site::with_three_images();
    site.bundle("v1.krs.tar", &[]).ok();
    site.push("v1.krs.tar", &[]).ok();
    let edge = site.edge.host().to_string();
    let set = site.checkout.path().to_owned();
    site.desk.krs(&["receipt", &edge, "--set", set.as_str(), "-o", "site.json"]).ok();
    let new = ImageBuilder::new("new").layer_random(3 << 20, 1).layer_random(7000, 77).build();
    site.add(&new, "team/new", "2.0");
    site.commit();
    site.bundle("v2.krs.tar", &[]).ok();
    site
}

fn differences(site: &Site, before: &str, after: &str) -> Outcome {
    site.desk.krs(&["diff", before, after, "--format", "json"])
}

#[test]
fn any_two_of_bundle_checkout_registry_and_receipt_are_compared() {
    let site = after_a_patch();
    let (edge, checkout) = (site.edge.host().to_string(), site.checkout.path().to_string());
    for before in ["v1.krs.tar", "site.json", &edge] {
        for after in ["v2.krs.tar", &checkout] {
            let outcome = differences(&site, before, after).failed(10, &[]);
            let json = outcome.json();
            assert_eq!(json["unchanged"], 3, "{before} and {after}: {outcome}");
            assert_eq!(json["added"][0]["name"], "team/new:2.0", "{before} and {after}: {outcome}");
            let new = json["newBytes"].as_u64().unwrap();
            assert!((7000..10_000).contains(&new), "only what no image had: {outcome}");
        }
    }
    for (one, other) in [("v2.krs.tar", checkout.as_str()), ("v1.krs.tar", &edge), ("site.json", &edge)] {
        differences(&site, one, other).ok();
        differences(&site, other, one).ok();
    }
    let back = differences(&site, "v2.krs.tar", "site.json").failed(10, &[]).json();
    assert_eq!((&back["removed"][0]["name"], &back["newBytes"]), (&"team/new:2.0".into(), &0.into()));
    let table = site.desk.krs(&["diff", "v1.krs.tar", "v2.krs.tar"]);
    assert!(table.out.contains("1 image added, 0 changed, 0 removed, 3 the same"), "{table}");
    site.desk.krs(&["diff", &edge, &edge]).failed(2, &["--set"]);
    site.desk.krs(&["diff", &edge, &edge, "--set", &checkout]).ok();
}

#[test]
fn a_plan_says_what_the_site_has_how_many_volumes_and_how_long_it_takes() {
    let site = after_a_patch();
    let plan = |more: &[&str]| {
        let mut arguments = vec!["plan", site.checkout.path().as_str(), "--format", "json"];
        arguments.extend_from_slice(more);
        site.desk.krs(&arguments)
    };
    let full = plan(&["--volume-size", "1MiB", "--rate", "1MB", "--target", "."]).ok().json();
    assert_eq!((&full["volumes"], &full["seconds"]), (&4.into(), &4.into()), "{full}");
    assert!(full["target"]["freeBytes"].as_u64() > Some(0), "{full}");
    let delta = plan(&["--against", "site.json", "--rate", "1MB"]).ok().json();
    assert!(delta["fetchBytes"].as_u64() < Some(11_000) && delta["base"]["layers"] == 4, "{delta}");
    assert_eq!(delta["seconds"], 1);
}
