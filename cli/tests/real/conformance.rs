// SPDX-License-Identifier: Apache-2.0
//! The conformance suite of the OCI distribution-spec against `krs serve`: its pull part, since nothing can be pushed
//! there, with the content of a bundle for it to read.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use krs_testing::image::{Image, ImageBuilder, index, sbom, signature};
use krs_testing::process::{Running, free_address};
use krs_testing::registry::{Options, Registry};
use krs_testing::tools::require;

use crate::harness::{Workplace, set_of};

/// What the suite calls the parts that a read-only registry can pass.
const PARTS: [&str; 9] = [
    "Ping",
    "Tag listing",
    "Blob get",
    "Blob head",
    "Manifest get by digest",
    "Manifest get by tag",
    "Manifest head by digest",
    "Manifest head by tag",
    "Referrers",
];

/// Names divided by spaces, each once.
fn words(names: impl Iterator<Item = String>) -> String {
    names.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
}

#[test]
fn krs_serve_passes_the_pull_part_of_the_conformance_suite() {
    let (place, source) = (Workplace::new(), Registry::start(Options::default()));
    let amd64 = ImageBuilder::new("app").layer_random(600_000, 1).empty_layer().build();
    let arm64 = ImageBuilder::new("app").docker().layer_random(1000, 2).platform("linux/arm64").build();
    let both = index(&[(&amd64, Some("linux/amd64")), (&arm64, Some("linux/arm64"))]);
    let (bill, seal) = (sbom(&amd64), signature(&both));
    both.push_to(&source, "team/app", Some("1.0"));
    for referrer in [&bill, &seal] {
        referrer.push_to(&source, "team/app", None);
    }
    std::fs::write(place.path().join("set.yaml"), set_of(&source.host(), &[("team/app:1.0", &both)]))
        .unwrap();
    place.krs(&["bundle", "set.yaml", "-o", "all.krs.tar"]);
    drop(source);

    let address = free_address();
    let mut serve = Command::new(env!("CARGO_BIN_EXE_krs"));
    serve.args(["serve", "all.krs.tar", "--listen", &address.to_string()]).current_dir(place.path());
    let _serving = Running::start(serve, address, Duration::from_secs(30));
    let documents = [&both, &bill, &seal].into_iter().flat_map(Image::documents).collect::<Vec<_>>();
    let blobs = documents.iter().flat_map(|document| &document.blobs);
    let mut suite = Command::new(require("conformance").as_str());
    suite
        .current_dir(place.path())
        .env("OCI_REGISTRY", address.to_string())
        .env("OCI_TLS", "disabled")
        .env("OCI_REPO1", "team/app")
        .env("OCI_REPO2", "team/app")
        .env("OCI_RO_DATA_TAGS", "1.0")
        .env("OCI_RO_DATA_MANIFESTS", words(documents.iter().map(|document| document.digest.to_string())))
        .env("OCI_RO_DATA_BLOBS", words(blobs.map(|(digest, _)| digest.to_string())))
        .env("OCI_RO_DATA_REFERRERS", words([&both, &amd64].iter().map(|image| image.digest.to_string())));
    for part in ["PUSH", "BLOBS_DELETE", "MANIFESTS_DELETE", "TAGS_DELETE"] {
        suite.env(format!("OCI_API_{part}"), "false");
    }
    // Its exit code says nothing: it stops at its last report, which has no word for a part that was not tried.
    let output = suite.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let field = |name: &str| {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('.'));
        line.and_then(|rest| rest.trim_start_matches('.').strip_prefix(':')).map(str::trim)
    };
    let shown = || format!("{said}{}", String::from_utf8_lossy(&output.stderr));
    for part in PARTS {
        assert_eq!(field(part), Some("Pass"), "{part}\n{}", shown());
    }
    assert_eq!((field("FAIL"), field("Error")), (Some("0"), Some("0")), "{}", shown());
    assert_eq!(field("Read Only Inputs"), Some("Pass"), "{}", shown());
}
