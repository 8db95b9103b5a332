// SPDX-License-Identifier: Apache-2.0
//! What a result may be written over, and what a pipeline may require of a bundle.

use crate::harness::Site;

#[test]
fn t218_only_a_bundle_of_the_stream_is_replaced_by_one() {
    let site = Site::with_three_images();
    site.desk.keygen("ci");
    let key = std::fs::read(site.desk.path("ci.key")).unwrap();
    site.bundle("ci.key", &["--key", "ci.key"]).failed(2, &["ci.key is there already, and is not a bundle"]);
    assert_eq!(std::fs::read(site.desk.path("ci.key")).unwrap(), key);
    let edge = site.edge.host().to_string();
    let receipt = ["receipt", &edge, "--set", site.checkout.path().as_str(), "-o", "ci.key"];
    site.desk.krs(&receipt).failed(2, &["ci.key is there already, and is not a receipt"]);
    assert_eq!(std::fs::read(site.desk.path("ci.key")).unwrap(), key);

    site.bundle("a.krs.tar", &["--stream", "berlin"]).ok();
    site.bundle("a.krs.tar", &["--stream", "hamburg"])
        .failed(2, &["a bundle of the stream berlin", "not of hamburg", "--force"]);
    site.bundle("a.krs.tar", &["--stream", "hamburg", "--force"]).ok();
    site.bundle("a.krs.tar", &["--stream", "hamburg"]).ok();
    // What is left of a bundle may be replaced, and an empty file.
    let bytes = std::fs::read(site.desk.path("a.krs.tar")).unwrap();
    site.desk.write("a.krs.tar", &bytes[..bytes.len() / 2]);
    site.bundle("a.krs.tar", &["--stream", "berlin"]).ok();
    site.desk.write("b.krs.tar", "");
    site.bundle("b.krs.tar", &[]).ok();
}

#[test]
fn t219_a_missing_variable_of_ci_makes_no_unsigned_or_changed_bundle() {
    let mut site = Site::with_three_images();
    site.desk.keygen("ci");
    site.bundle("a.krs.tar", &["--require-signature"]).failed(2, &["would not be signed", "KRS_KEY_FILE"]);
    site.bundle("a.krs.tar", &["--require-signature", "--dry-run"]).failed(2, &["would not be signed"]);
    site.bundle("a.krs.tar", &["--require-signature", "--keep-going"]).failed(2, &["would not be signed"]);
    site.bundle("a.krs.tar", &["--require-signature", "--key", ""]).failed(2, &["the value is empty"]);
    assert!(!site.desk.path("a.krs.tar").exists() && site.source.requests().is_empty());
    site.bundle("a.krs.tar", &["--require-signature", "--require-clean", "--key", "ci.key"]).ok();
    let loose = site.desk.write("loose.yaml", site.set());
    site.checkout.write("sites/berlin.yaml", site.set().replace("name: site", "name: other"));
    site.bundle("b.krs.tar", &["--require-clean"])
        .failed(2, &["not what the commit holds", "--require-clean"]);
    for more in [&["--dry-run"][..], &["--keep-going"], &[loose.as_str()]] {
        site.bundle("b.krs.tar", &[&["--require-clean"], more].concat())
            .failed(2, &["not what the commit holds"]);
    }
    site.desk
        .krs(&[
            "bundle",
            loose.as_str(),
            "-o",
            "c.krs.tar",
            "--plain-http",
            &site.source.host().to_string(),
            "--require-clean",
        ])
        .failed(2, &["no commit is recorded"]);
    site.commit();
    let outcome = site.bundle("d.krs.tar", &["--require-clean"]).ok();
    assert!(outcome.err.contains("NOT SIGNED"), "{outcome}");
    let report = site.bundle("e.krs.tar", &["--format", "json"]).json();
    assert!(report["warnings"].to_string().contains("NOT SIGNED"), "{report}");
}
