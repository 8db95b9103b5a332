// SPDX-License-Identifier: Apache-2.0
//! Many images that fail for one cause.

use krs_testing::registry::{Matcher, What};

use crate::harness::Site;

/// 200 images in one registry, of which none can be resolved.
fn many() -> Site {
    let mut site = Site::new();
    for n in 0..200 {
        site.name(&format!("team/app-{n:03}:1.0@sha256:{n:064x}"));
    }
    site.commit();
    site
}

#[test]
fn t249_a_registry_that_cannot_be_reached_is_named_once_for_all_images() {
    let site = many();
    let host = site.source.host().to_string();
    let desk = site.desk;
    drop(site.source);
    let path = site.checkout.path().as_str();
    let more = ["-o", "a.krs.tar", "--retries", "0", "--no-progress"];
    let outcome = desk.krs(&[&["bundle", path], &more[..]].concat());
    let outcome = outcome.failed(
        8,
        &["error: 200 images failed, all for the same reason: ", "help: Is the registry running?"],
    );
    assert_eq!(outcome.err.matches("Connection refused").count(), 1, "{outcome}");
    assert_eq!(
        outcome.err.matches(&format!("{host} is not available: nothing listens at ")).count(),
        1,
        "{outcome}"
    );
    assert!(outcome.err.contains(&format!("\n  {host}/team/app-019:1.0@sha256:")), "{outcome}");
    assert!(!outcome.err.contains("app-020") && outcome.err.contains("\n  and 180 more\n"), "{outcome}");
    assert!(outcome.err.lines().count() < 40, "{outcome}");
    let outcome = desk.krs(&[&["bundle", path, "--format", "json"], &more[..]].concat()).failed(8, &[]);
    let error = serde_json::from_str::<serde_json::Value>(outcome.err.lines().last().unwrap()).unwrap();
    let [failures] = &error["failures"].as_array().unwrap()[..] else { panic!("{error}") };
    assert!(
        failures["reason"].as_str().unwrap().starts_with(&format!("{host} is not available: ")),
        "{error}"
    );
    assert_eq!(failures["images"].as_array().unwrap().len(), 200);
}

#[test]
fn t249_a_bundle_that_does_not_have_images_says_each_reason_once_to_whoever_reads_it() {
    let mut site = Site::with_three_images();
    for n in 0..30 {
        site.name(&format!("other/app-{n:02}:1.0"));
    }
    site.commit();
    let refused = What::Status(403, Vec::new(), "{\"errors\":[{\"code\":\"DENIED\"}]}".to_owned());
    for n in 0..30 {
        site.source.fail(Matcher::manifests().repository(&format!("other/app-{n:02}")), refused.clone());
    }
    let made = site.bundle("a.krs.tar", &["--keep-going", "--retries", "0"]);
    for outcome in [
        made.failed(6, &["the bundle does not have 30 images, all for the same reason: "]),
        site.desk
            .krs(&["verify", "a.krs.tar"])
            .failed(6, &["a.krs.tar does not have 30 of the 33 images of its sets, all for the same"]),
        site.push("a.krs.tar", &[])
            .failed(6, &["does not have 30 of the 33 images of its sets, all for the same reason: "]),
    ] {
        // Before the work it is a warning, after it an error.
        assert!(outcome.err.matches("DENIED").count() <= 2, "{outcome}");
        assert!(
            outcome.err.contains("other/app-19:1.0\n") && !outcome.err.contains("other/app-20:1.0\n"),
            "{outcome}"
        );
    }
    let outcome = site.desk.krs(&["inspect", "a.krs.tar"]);
    assert!(outcome.out.contains("30 images: ") && outcome.out.matches("DENIED").count() == 1, "{outcome}");
    let json = site.desk.krs(&["inspect", "a.krs.tar", "--format", "json"]).json();
    assert_eq!(json["missing"].as_array().unwrap().len(), 30);
}

#[test]
fn t249_an_edge_registry_that_cannot_be_reached_is_named_once() {
    let site = Site::with_three_images();
    site.bundle("a.krs.tar", &[]).ok();
    let outcome = site.desk.krs(&["push", "a.krs.tar", "127.0.0.1:1", "--retries", "0"]);
    let outcome = outcome
        .failed(8, &["error: 3 of 3 images failed, all for the same reason: 127.0.0.1:1 is not available: "]);
    assert_eq!(outcome.err.matches("nothing listens").count(), 1, "{outcome}");
    assert!(outcome.err.contains("/team/web:1.0@sha256:"), "{outcome}");
}

#[test]
fn t264_retries_for_one_cause_are_reported_once() {
    let site = Site::with_three_images();
    site.bundle("a.krs.tar", &[]).ok();
    let outcome = site.desk.krs(&["push", "a.krs.tar", "127.0.0.1:1", "--retries", "1"]).failed(8, &[]);
    assert_eq!(outcome.err.matches("; retry 1 of 1 in ").count(), 1, "{outcome}");
}
