// SPDX-License-Identifier: Apache-2.0
//! Results on standard output, everything else on standard error.

use krs_testing::registry::{Matcher, What};
use serde_json::Value;

use crate::harness::{Desk, Site};

#[test]
fn programs_get_one_document_and_lines_of_events() {
    let site = Site::with_three_images();
    let said = site.bundle("a.krs.tar", &["--format", "json"]).ok();
    let report = said.json();
    assert_eq!(report["schemaVersion"], 1);
    assert_eq!(report["file"], "a.krs.tar");
    assert_eq!(report["imageCount"], 3);
    assert_eq!(report["images"].as_array().unwrap().len(), 3);
    assert!(report["savedBytes"].as_u64().unwrap() >= 2 * (3 << 20), "the shared layer is there once");
    assert_eq!(report["size"], std::fs::metadata(site.desk.path("a.krs.tar")).unwrap().len());
    let events =
        said.err.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
    assert!(events.iter().any(|event| event["event"] == "progress" && event["activity"] == "pull"), "{said}");
    let verified = site.desk.krs(&["verify", "a.krs.tar", "--format", "json"]).ok().json();
    assert_eq!((&verified["verified"], &verified["trusted"]), (&Value::Bool(true), &Value::Bool(false)));
    assert_eq!(verified["digest"], report["digest"]);
    let pushed = site.push("a.krs.tar", &["--format", "json"]).ok().json();
    assert_eq!(pushed["targets"].as_array().unwrap().len(), 3);
    assert!(pushed["blobsSent"].as_u64().unwrap() > 0);
    let again = site.push("a.krs.tar", &["--format", "json"]).ok().json();
    assert_eq!((&again["blobsSent"], &again["bytesSent"]), (&Value::from(0), &Value::from(0)));
}

#[test]
fn a_pipe_gets_no_bars_and_no_colours() {
    let site = Site::with_three_images();
    let said = site.bundle("a.krs.tar", &[]).ok();
    assert!(
        !said.err.contains('\u{1b}') && !said.err.contains('\r') && !said.out.contains('\u{1b}'),
        "{said}"
    );
    assert!(said.err.contains("Resolving 3 images\nFetching "), "{said}");
    for flag in ["--no-progress", "--quiet"] {
        let said = site.bundle("a.krs.tar", &[flag]).ok();
        assert_eq!(said.other_warnings(), "", "{flag}");
        assert!(!said.out.is_empty());
    }
    let colored = site.desk.krs(&["verify", "nothing", "--color", "always"]).failed(1, &[]);
    assert!(colored.err.contains("\u{1b}[1;31merror:\u{1b}[0m"), "{colored}");
}

#[test]
fn t133_without_progress_pauses_and_retries_are_said_and_only_quiet_is_silent() {
    let site = Site::with_three_images();
    for (flags, said) in [
        (&["--no-progress"][..], true),
        (&["--no-progress", "-v"], true),
        (&["--no-progress", "--format", "json"], true),
        (&["--quiet"], false),
        (&["--quiet", "--no-progress"], false),
    ] {
        site.source.clear_faults();
        site.source.fail(Matcher::manifests().once(), What::RetryAfter(429, 1));
        site.source.fail(Matcher::manifests().nth(2..=2), What::Status(500, Vec::new(), String::new()));
        let run = site.bundle("a.krs.tar", flags).ok();
        for part in ["rate limited by", "paused for 1.0 s", "retry 1 of 5 in"] {
            assert_eq!(run.err.contains(part), said, "{flags:?}: {part}: {run}");
        }
        assert!(!run.err.contains("Resolving") && !run.err.contains("\"progress\""), "{flags:?}: {run}");
    }
}

#[test]
fn flags_can_be_variables() {
    let desk = Desk::new();
    let json = desk.krs_env(&[("KRS_FORMAT", "json")], &["keygen", "-o", "k", "--no-passphrase"]).ok();
    assert_eq!(json.json()["publicKeyFile"], "k.pub");
    let said = desk.krs_env(&[("KRS_OUTPUT", "z"), ("KRS_NO_PASSPHRASE", "1")], &["keygen"]).ok();
    assert!(said.out.contains("z.key"));
    desk.krs_env(&[("KRS_QUIET", "perhaps")], &["crd"]).failed(2, &["perhaps"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let desk = Desk::new();
    let mut child = desk.command(&["crd"]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(output.stderr.is_empty());
}
