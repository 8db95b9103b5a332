// SPDX-License-Identifier: Apache-2.0
//! Results on standard output, everything else on standard error.

#[cfg(unix)]
use std::io::{BufRead as _, BufReader};

use krs_testing::registry::{Matcher, What};
use serde_json::Value;

#[cfg(unix)]
use crate::harness::interrupt;
use crate::harness::{Desk, Outcome, Site, app};

#[test]
fn programs_get_one_document_and_lines_of_events() {
    let site = Site::with_three_images();
    let outcome = site.bundle("a.krs.tar", &["--format", "json"]).ok();
    let report = outcome.json();
    assert_eq!(report["schemaVersion"], 1);
    assert_eq!(report["file"], "a.krs.tar");
    assert_eq!(report["imageCount"], 3);
    assert_eq!(report["images"].as_array().unwrap().len(), 3);
    assert!(report["savedBytes"].as_u64().unwrap() >= 2 * (3 << 20), "the shared layer is there once");
    assert_eq!(report["size"], std::fs::metadata(site.desk.path("a.krs.tar")).unwrap().len());
    let events =
        outcome.err.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
    assert!(
        events.iter().any(|event| event["event"] == "progress" && event["activity"] == "pull"),
        "{outcome}"
    );
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
    let outcome = site.bundle("a.krs.tar", &[]).ok();
    assert!(
        !outcome.err.contains('\u{1b}') && !outcome.err.contains('\r') && !outcome.out.contains('\u{1b}'),
        "{outcome}"
    );
    assert!(outcome.err.contains("Resolving 3 images\nFetching "), "{outcome}");
    for flag in ["--no-progress", "--quiet"] {
        let outcome = site.bundle("a.krs.tar", &[flag]).ok();
        assert_eq!(outcome.other_warnings(), "", "{flag}");
        assert!(!outcome.out.is_empty());
    }
    let colored = site.desk.krs(&["verify", "nothing", "--color", "always"]).failed(1, &[]);
    assert!(colored.err.contains("\u{1b}[1;31merror:\u{1b}[0m"), "{colored}");
}

#[test]
fn t133_without_progress_pauses_and_retries_are_reported_and_only_quiet_is_silent() {
    let site = Site::with_three_images();
    for (flags, outcome) in [
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
            assert_eq!(run.err.contains(part), outcome, "{flags:?}: {part}: {run}");
        }
        assert!(!run.err.contains("Resolving") && !run.err.contains("\"progress\""), "{flags:?}: {run}");
    }
}

#[test]
fn flags_can_be_variables() {
    let desk = Desk::new();
    let json = desk.krs_env(&[("KRS_FORMAT", "json")], &["keygen", "-o", "k", "--no-passphrase"]).ok();
    assert_eq!(json.json()["publicKeyFile"], "k.pub");
    let outcome = desk.krs_env(&[("KRS_OUTPUT", "z"), ("KRS_NO_PASSPHRASE", "1")], &["keygen"]).ok();
    assert!(outcome.out.contains("z.key"));
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

#[test]
fn the_result_of_a_push_says_which_bundle_it_was_and_who_vouches_for_it() {
    let mut site = Site::new();
    site.add(&app("app", 1), "team/app", "1.0");
    site.commit();
    site.desk.keygen("ci");
    site.bundle("a.krs.tar", &["--key", "ci.key", "--sequence", "7"]).ok();
    let digest = site.desk.krs(&["inspect", "a.krs.tar", "--format", "json"]).ok().json()["digest"].clone();
    for dry in [&["--dry-run"][..], &[]] {
        let json = site.push("a.krs.tar", &[&["--format", "json"], dry].concat()).ok().json();
        assert_eq!(
            (&json["digest"], &json["stream"], &json["sequence"]),
            (&digest, &"default".into(), &7.into())
        );
        assert_eq!((json["signers"].as_array().map(Vec::len), &json["trusted"]), (Some(1), &false.into()));
        assert!(json["warnings"][0].as_str().unwrap().contains("its signature was not checked"), "{json}");
        let checked = ["--format", "json", "--public-key", "ci.pub"];
        let json = site.push("a.krs.tar", &[&checked, dry].concat()).ok().json();
        let warnings = json["warnings"].as_array().unwrap();
        assert_eq!((&json["trusted"], warnings.len()), (&true.into(), 1), "{json}");
        assert!(warnings[0].as_str().unwrap().starts_with("the sets are for edge.local:5000, "), "{json}");
    }
}

#[cfg(unix)]
#[test]
fn t227_a_bundle_goes_into_no_pipe_and_no_device() {
    let mut site = Site::new();
    site.add(&app("app", 1), "team/app", "1.0");
    site.commit();
    site.bundle("-", &[]).failed(2, &["cannot be written to standard output", "-o NAME.krs.tar"]);
    site.bundle("/dev/null", &[]).failed(2, &["/dev/null is a device"]);
    let long = format!("{}.krs.tar", "x".repeat(300));
    site.bundle(&long, &[]).failed(1, &["takes no such name: choose a shorter one"]);
    assert!(site.desk.files().is_empty(), "{:?}", site.desk.files());
}

/// FAT says so at 4 GiB; a limit of the process says it wherever it is.
#[cfg(unix)]
#[test]
fn t227_where_files_may_not_be_so_large_volumes_are_named_and_can_be_written() {
    let site = Site::with_three_images();
    std::fs::create_dir(site.desk.path("usb")).unwrap();
    let krs = env!("CARGO_BIN_EXE_krs");
    let limited = |arguments: &str| {
        let line = format!("ulimit -f 1024; trap '' XFSZ; exec {krs} {arguments}");
        site.desk.krs_of("sh", &["-c", &line])
    };
    let bundle = format!("bundle {} -o a.krs.tar", site.checkout.path());
    limited(&bundle).failed(1, &["cannot write a.krs.tar.part", "File too large", "--volume-size 3900MiB"]);
    assert_eq!(site.desk.files(), ["usb"], "nothing is left of it");
    limited(&format!("{bundle} --volume-size 256KiB")).ok();
    site.desk.krs(&["verify", "a.krs.tar"]).ok();
    site.bundle("b.krs.tar", &[]).ok();
    limited("copy b.krs.tar usb").failed(1, &["File too large", "--volume-size 3900MiB"]);
    limited("copy b.krs.tar usb --volume-size 256KiB").ok();
    site.desk.krs(&["verify", "usb/b.krs.tar"]).ok();
}

#[test]
fn t227_an_image_of_schema_1_is_called_that() {
    let mut site = Site::new();
    let manifest = r#"{"schemaVersion":1,"name":"team/old","tag":"1.0","architecture":"amd64","fsLayers":[],"history":[]}"#;
    // As registries label it that do not check `Accept`: by its own type, or as JSON.
    for (repository, media_type) in [
        ("team/old", "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        ("team/older", "application/json"),
    ] {
        let digest = krs_core::oci::digest::Digest::of(manifest.as_bytes());
        let headers = [("content-type", media_type), ("docker-content-digest", &digest.to_string())];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let answer = What::Status(200, headers, manifest.to_owned());
        site.source.fail(Matcher::manifests().repository(repository), answer);
        site.name(&format!("{repository}:1.0"));
        site.name(&format!("{repository}:2.0@{digest}"));
    }
    site.commit();
    let outcome = site.bundle("a.krs.tar", &[]);
    outcome.failed(
        1,
        &["4 images failed", "schema 1, which is obsolete", "build it again", "skopeo copy --format oci"],
    );
}

#[cfg(unix)]
#[test]
fn the_exit_code_is_that_of_the_result_also_where_nobody_reads_it() {
    let mut site = Site::new();
    site.add(&app("app", 1), "team/app", "1.0");
    site.name("team/none:1.0");
    site.commit();
    site.bundle("a.krs.tar", &["--keep-going"]).failed(6, &[]);
    for arguments in [&["verify", "a.krs.tar"][..], &["inspect", "a.krs.tar"]] {
        let mut child = site.desk.command(arguments).spawn().unwrap();
        // Closed before the first byte can be written.
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(6), "{arguments:?}");
    }
}

#[test]
fn results_fit_the_width_of_the_terminal() {
    let site = Site::with_three_images();
    site.desk.keygen("ci");
    site.bundle("a.krs.tar", &["--key", "ci.key"]).ok();
    std::fs::create_dir(site.desk.path("usb")).unwrap();
    let edge = site.edge.host().to_string();
    let key = ["--public-key", "ci.pub"];
    for command in [
        &["verify", "a.krs.tar"][..],
        &["inspect", "a.krs.tar"],
        &["push", "a.krs.tar", &edge, "--dry-run"],
        &["push", "a.krs.tar", &edge],
        &["copy", "a.krs.tar", "usb"],
        &["inspect", "usb"],
    ] {
        fits(&|columns| site.desk.krs_env(&[("COLUMNS", columns)], &[command, &key].concat()).ok());
    }
    let copied = site.desk.path("usb/a.krs.tar");
    std::fs::copy(&copied, site.desk.path("usb/b.krs.tar.part")).unwrap();
    fits(&|columns| site.desk.krs_env(&[("COLUMNS", columns)], &["inspect", "usb"]).ok());
    site.desk.keygen("other");
    fits(&|columns| {
        let call = ["inspect", "usb", "--public-key", "other.pub"];
        site.desk.krs_env(&[("COLUMNS", columns)], &call).failed(3, &[])
    });
    fits(&|columns| {
        let name = format!("key-of-{columns}");
        site.desk.krs_env(&[("COLUMNS", columns)], &["keygen", "--no-passphrase", "-o", &name]).ok()
    });
    fits(&|columns| {
        site.desk.krs_env(&[("COLUMNS", columns)], &["sign", "a.krs.tar", "--key", "ci.key"]).ok()
    });
    #[cfg(unix)]
    {
        let serve = ["serve", "a.krs.tar", "--listen", "127.0.0.1:0", "--public-key", "ci.pub"];
        let mut serving = site.desk.command(&serve).env("COLUMNS", "40").spawn().unwrap();
        let lines = BufReader::new(serving.stdout.take().unwrap()).lines().map(Result::unwrap);
        let told = lines.take_while(|line| !line.contains("podman pull")).collect::<Vec<_>>();
        interrupt(&serving);
        serving.wait().unwrap();
        assert!(told.len() > 1 && told.iter().all(|line| line.chars().count() <= 40), "{told:?}");
    }
    // Sets that are skipped, each with why, and files that are ignored.
    site.checkout.write("sites/.krsignore", "old-*\n");
    site.checkout.write("sites/old-bonn.yaml", site.set().replace("name: site", "name: bonn"));
    let checkout = site.checkout.path();
    let outcome =
        fits(&|columns| site.desk.krs_env(&[("COLUMNS", columns)], &["validate", checkout.as_str()]).ok());
    assert!(outcome.out.contains("skipped:") && outcome.out.contains("ignored"), "{outcome}");
}

/// Runs a command at two widths of the terminal.
fn fits(run: &dyn Fn(&str) -> Outcome) -> Outcome {
    let outcome = run("80");
    assert!(outcome.out.lines().all(|line| line.chars().count() <= 80), "{outcome}");
    // Words stay in one piece, so that digests can be copied: a line of one, or of a name and one, may be longer.
    let outcome = run("40");
    let is_over = |line: &&str| line.chars().count() > 40 && line.split_whitespace().count() > 2;
    assert_eq!(outcome.out.lines().filter(is_over).collect::<Vec<_>>(), [""; 0], "{outcome}");
    outcome
}
