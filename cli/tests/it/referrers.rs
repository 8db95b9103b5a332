// SPDX-License-Identifier: Apache-2.0
//! What `krs` says of signatures, SBOMs and attestations that it cannot bring, and the exit code of it.

use krs_testing::image::{sbom, signature, with_attestations};
use krs_testing::registry::{Matcher, What};

use crate::harness::{Site, app};

fn refused(status: u16) -> What {
    What::Status(status, vec![], String::new())
}

/// One image with an SBOM and a signature.
fn site() -> Site {
    let mut site = Site::new();
    let image = app("app", 1);
    site.add(&image, "team/app", "1.0");
    site.commit();
    for referrer in [sbom(&image), signature(&image)] {
        referrer.push_to(&site.source, "team/app", None);
    }
    site
}

#[test]
fn t110_t112_an_image_travels_without_its_signature_with_one_warning_and_exit_code_0() {
    let site = site();
    let seal = signature(&app("app", 1));
    // Its manifest can be read, and one of its blobs is gone.
    assert!(site.source.delete_blob(&seal.blobs.last().unwrap().0));
    let outcome = site.bundle("a.krs.tar", &[]).ok();
    assert_eq!(outcome.other_warnings().matches("warning: ").count(), 1, "{outcome}");
    assert!(
        outcome.err.contains("/team/app:1.0@") && outcome.err.contains("1 referrer cannot be read"),
        "{outcome}"
    );
    assert!(outcome.out.contains("1 signature, SBOM or attestation could not be fetched\n"), "{outcome}");
    site.push("a.krs.tar", &[]).ok();
    site.arrived("team/app", "1.0");

    let json = site.bundle("b.krs.tar", &["--format", "json"]).ok().json();
    let image = &json["images"][0];
    assert_eq!((&image["referrerCount"], &image["missingReferrerCount"]), (&1.into(), &1.into()));
    assert_eq!(image["missingReferrers"][0]["digest"], seal.digest.to_string());
    assert_eq!((&json["missingReferrers"], &json["formatVersion"]), (&1.into(), &2.into()));
    let inspected = site.desk.krs(&["inspect", "b.krs.tar", "--format", "json"]).ok().json();
    assert_eq!(inspected["images"][0]["missingReferrerCount"], 1, "the signed manifest counts it");
    // What krs 0.1 reads has no place for the count; the report has.
    let arguments = ["--format-version", "1", "--format", "json"];
    let json = site.bundle("f.krs.tar", &arguments).ok().json();
    assert_eq!((&json["missingReferrers"], &json["formatVersion"]), (&1.into(), &1.into()));
    assert_eq!(json["omitted"].as_array().map(Vec::len), Some(1));
    let required = ["--referrers", "required"];
    site.bundle("c.krs.tar", &required).failed(6, &["signatures, SBOMs or attestations cannot be fetched"]);

    site.source.fail(Matcher::any().path("/referrers/"), refused(403));
    let outcome = site.bundle("d.krs.tar", &[]).ok();
    assert!(outcome.err.contains("1 look-up of referrers failed"), "{outcome}");
    let missing = outcome.out.lines().filter(|line| line.contains("SBOMs")).collect::<Vec<_>>();
    let [row] = missing.as_slice() else { panic!("{outcome}") };
    let (name, text) = row.split_once(' ').unwrap();
    assert_eq!((name, text.trim()), ("Missing", "1 look-up of signatures, SBOMs or attestations failed"));
    let outcome = site.desk.krs(&["inspect", "d.krs.tar"]).ok();
    let counted = "1 signature, SBOM or attestation could not be fetched, or looked up";
    assert!(outcome.out.contains(counted), "the manifest only counts: {outcome}");
    site.bundle("e.krs.tar", &required).failed(7, &["signatures, SBOMs or attestations of it are missing"]);
    let files = site.desk.files();
    assert!(!files.iter().any(|file| file == "c.krs.tar" || file == "e.krs.tar"), "{files:?}");
}

#[test]
fn t98_an_attestation_of_which_a_blob_is_missing_costs_a_warning_and_where_it_is_required_the_bundle() {
    let mut site = Site::new();
    let top = with_attestations(&[&app("app", 1)]);
    site.add(&top, "team/app", "1.0");
    site.commit();
    let attestation = &top.children[1];
    assert!(site.source.delete_blob(&attestation.blobs.last().unwrap().0));
    let outcome = site.bundle("a.krs.tar", &[]).ok();
    assert_eq!(outcome.other_warnings().matches("warning: ").count(), 1, "{outcome}");
    assert!(
        outcome.err.contains(&format!("without the attestation of linux/amd64 ({}", attestation.digest)),
        "{outcome}"
    );
    let json = site.bundle("b.krs.tar", &["--format", "json"]).ok().json();
    assert_eq!((&json["missingReferrers"], &json["formatVersion"]), (&1.into(), &2.into()));
    assert_eq!(json["images"][0]["missingReferrers"][0]["digest"], attestation.digest.to_string());
    let inspected = site.desk.krs(&["inspect", "b.krs.tar", "--format", "json"]).ok().json();
    assert_eq!(inspected["images"][0]["missingReferrerCount"], 1);
    let required = ["--referrers", "required"];
    site.bundle("c.krs.tar", &required).failed(6, &["signatures, SBOMs or attestations cannot be fetched"]);
    site.source.delete_manifest("team/app", &attestation.digest.to_string());
    site.bundle("d.krs.tar", &required).failed(6, &["are missing: the attestation of linux/amd64"]);
}

#[test]
fn t98_format_version_1_is_refused_where_an_attestation_is_missing_with_the_reason() {
    let mut site = Site::new();
    let top = with_attestations(&[&app("app", 1)]);
    site.add(&top, "team/app", "1.0");
    site.commit();
    let attestation = top.children[1].digest.to_string();
    site.source.delete_manifest("team/app", &attestation);
    let reasons = [
        "team/app:1.0@",
        "needs format version 2",
        "the attestation of linux/amd64",
        &attestation,
        "readers of version 1 require",
        "leave out --format-version",
    ];
    site.bundle("a.krs.tar", &["--format-version", "1"]).failed(2, &reasons);
    let json = site.bundle("b.krs.tar", &["--format", "json"]).ok().json();
    assert_eq!((&json["missingReferrers"], &json["formatVersion"]), (&1.into(), &2.into()));
}

#[test]
fn what_is_left_behind_by_choice_is_one_row() {
    let site = site();
    let outcome = site.bundle("a.krs.tar", &["--referrers", "application/x-none"]).ok();
    assert_eq!(outcome.out.lines().filter(|line| line.starts_with("Left behind")).count(), 1, "{outcome}");
    assert!(!outcome.out.contains("Missing"), "{outcome}");
}

#[test]
fn the_platform_of_an_image_without_an_index_is_in_the_table_of_bundle_and_of_inspect() {
    let site = site();
    let made = site.bundle("a.krs.tar", &[]).ok();
    let inspected = site.desk.krs(&["inspect", "a.krs.tar"]).ok();
    for outcome in [made, inspected] {
        let row = outcome.out.lines().find(|line| line.contains("team/app:1.0")).unwrap().to_owned();
        assert!(row.contains("linux/amd64"), "{outcome}");
    }
    let json = site.bundle("b.krs.tar", &["--format", "json"]).ok().json();
    assert_eq!(json["images"][0]["platforms"], serde_json::json!(["linux/amd64"]));
}

#[test]
fn t115_a_push_names_what_is_not_found_at_the_edge() {
    let site = site();
    let seal = signature(&app("app", 1));
    site.bundle("a.krs.tar", &[]).ok();
    let put = Matcher::any().method("PUT").path(format!("/manifests/{}", seal.digest));
    site.edge.fail(put, refused(405));
    let outcome = site.push("a.krs.tar", &[]).ok();
    site.arrived("team/app", "1.0");
    assert_eq!(outcome.err.matches("warning: signatures, SBOMs").count(), 1, "{outcome}");
    assert!(
        outcome.err.contains("1 not there") && outcome.out.contains(&seal.digest.to_string()),
        "{outcome}"
    );
    let json = site.push("a.krs.tar", &["--format", "json"]).ok().json();
    assert_eq!(json["referrerProblems"][0]["digest"], seal.digest.to_string());
    assert_eq!(json["referrerProblems"][0]["state"], "missing");
    site.push("a.krs.tar", &["--referrers", "required"]).failed(6, &["cannot be found at"]);
    let outcome = site.push("a.krs.tar", &["--referrers", "none"]).ok();
    assert!(!outcome.err.contains("SBOMs"), "{outcome}");
}

#[test]
fn t115_a_base_layer_that_only_a_signature_does_not_have_costs_no_image() {
    let site = site();
    let seal = signature(&app("app", 1));
    site.bundle("a.krs.tar", &[]).ok();
    site.push("a.krs.tar", &[]).ok();
    site.edge.delete_blob(&seal.blobs.last().unwrap().0);
    let against = site.desk.path("a.krs.tar");
    site.bundle("b.krs.tar", &["--against", against.as_str()]).ok();
    let outcome = site.push("b.krs.tar", &[]).ok();
    assert!(outcome.out.contains(&format!("missing: {}", seal.digest)), "{outcome}");
    site.arrived("team/app", "1.0");
}
