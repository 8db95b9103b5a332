// SPDX-License-Identifier: Apache-2.0
//! What `krs push` remembers of earlier pushes.

use std::fs::{self, File};
use std::time::{Duration, Instant};

use krs_testing::registry::{Matcher, What};
use serde_json::Value;

use crate::harness::{Outcome, Site, app, status};

/// Where the state lies without any variable but `HOME`.
const STATE: &str = "home/.local/state/krs/push.json";

/// A site with one image and bundles `N.krs.tar` of the sequences 1 to 3, of which 1 and 2 are signed.
fn site() -> Site {
    let mut site = Site::new();
    site.desk.keygen("k");
    for sequence in ["1", "2", "3"] {
        site.add(&app("web", sequence.parse().unwrap()), &format!("team/web{sequence}"), "1.0");
        site.commit();
        let key: &[&str] = if sequence == "3" { &[] } else { &["--key", "k.key"] };
        let file = format!("{sequence}.krs.tar");
        site.bundle(&file, &[&["--stream", "prod", "--sequence", sequence], key].concat()).ok();
    }
    site
}

fn trusted(site: &Site, sequence: &str, more: &[&str]) -> Outcome {
    site.push(&format!("{sequence}.krs.tar"), &[&["--public-key", "k.pub"], more].concat())
}

fn state(site: &Site, file: &str) -> Value {
    serde_json::from_slice(&fs::read(site.desk.path(file)).unwrap()).unwrap()
}

fn sequence(site: &Site, file: &str) -> Value {
    state(site, file)["marks"][site.edge.host().as_str()]["prod"]["verified"]["sequence"].clone()
}

#[test]
fn t242_an_older_bundle_is_refused_unless_it_is_meant() {
    let site = site();
    trusted(&site, "2", &[]).ok();
    assert_eq!(sequence(&site, STATE), 2);
    site.edge.clear_requests();
    let edge = site.edge.host().to_string();
    let parts = [
        &format!("1.krs.tar must not follow what was pushed to {edge}"),
        "sequence 1 of stream `prod` is lower than 2",
        "--allow-older",
    ];
    trusted(&site, "1", &[]).failed(5, &parts.map(|part| part as &str));
    trusted(&site, "1", &["--dry-run"]).failed(5, &["lower than 2"]);
    site.push("1.krs.tar", &[]).failed(5, &["lower than 2"]);
    assert_eq!(site.edge.requests().len(), 0, "nothing is asked");
    // Another destination has a mark of its own.
    let below = format!("{edge}/staging");
    site.desk.krs(&["push", "1.krs.tar", &below, "--public-key", "k.pub"]).ok();
    let outcome = trusted(&site, "1", &["--allow-older"]).ok();
    assert!(outcome.err.contains("by --allow-older"), "{outcome}");
    assert_eq!(sequence(&site, STATE), 2, "a mark is never lowered");
    trusted(&site, "1", &[]).failed(5, &[]);
    let json = trusted(&site, "2", &["--format", "json"]).ok().json();
    assert_eq!(json["destinations"][0]["remembered"], true);
}

#[test]
fn a_state_folder_that_is_none_is_reported_to_be_that_before_anything_is_sent() {
    let site = site();
    site.desk.write("file", "x");
    for named in ["/dev/null", "file"] {
        let outcome = trusted(&site, "1", &["--state", named]);
        let message = format!("error: {named} is not a folder");
        let outcome =
            outcome.failed(2, &[&message, "help: --state names the folder in which krs push records"]);
        assert!(!outcome.err.contains("has no record of a push yet"), "{outcome}");
    }
    assert!(site.edge.requests().is_empty());
}

#[test]
fn t242_two_bundles_of_one_sequence_are_both_pushed_with_a_warning() {
    let mut site = site();
    trusted(&site, "2", &[]).ok();
    site.add(&app("db", 9), "team/db", "1.0");
    site.commit();
    site.bundle("other.krs.tar", &["--stream", "prod", "--sequence", "2", "--key", "k.key"]).ok();
    for file in ["other.krs.tar", "2.krs.tar"] {
        let outcome = site.push(file, &["--public-key", "k.pub"]).ok();
        let warned = outcome.err.contains("was used before for other content");
        assert_eq!(warned, file == "other.krs.tar", "{outcome}");
    }
}

#[test]
fn t242_only_what_was_pushed_with_success_is_remembered() {
    let site = site();
    trusted(&site, "1", &[]).ok();
    trusted(&site, "2", &["--dry-run"]).ok();
    site.edge.fail(Matcher::any().method("PUT").path("/team/web2/manifests/"), status(403));
    let outcome = trusted(&site, "2", &["--retries", "0"]);
    assert_ne!(outcome.code, 0, "{outcome}");
    assert_eq!(sequence(&site, STATE), 1);
    site.edge.clear_faults();
    trusted(&site, "1", &[]).ok();
}

#[test]
fn t242_a_push_that_was_killed_is_not_remembered_and_the_next_one_is() {
    let site = site();
    trusted(&site, "1", &[]).ok();
    site.edge.fail(
        Matcher::any().method("PUT").path("/team/web2/manifests/"),
        What::Delay(Duration::from_secs(600)),
    );
    let edge = site.edge.host().to_string();
    let call = ["push", "2.krs.tar", &edge, "--public-key", "k.pub"];
    site.edge.clear_requests();
    let mut child = site.desk.command(&call).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    // In the middle of it: no manifest of the second image gets through.
    while !site.edge.requests().iter().any(|r| r.method == "POST") {
        assert!(Instant::now() < deadline, "nothing was sent");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(sequence(&site, STATE), 1);
    site.edge.clear_faults();
    trusted(&site, "2", &[]).ok();
    assert_eq!(sequence(&site, STATE), 2);
}

#[test]
fn t244_what_nobody_vouches_for_locks_out_nothing_that_is_signed() {
    let site = site();
    trusted(&site, "1", &[]).ok();
    // Not signed, and with the highest sequence.
    site.push("3.krs.tar", &[]).ok();
    trusted(&site, "2", &[]).ok();
    assert_eq!(sequence(&site, STATE), 2);
    // Nor does one whose signature was not checked.
    site.push("2.krs.tar", &[]).failed(5, &["lower than 3"]);
    site.push("3.krs.tar", &[]).ok();
}

#[test]
fn t245_a_damaged_state_stops_the_push_and_says_what_to_do() {
    let site = site();
    trusted(&site, "2", &[]).ok();
    let (path, good) = (site.desk.path(STATE), fs::read_to_string(site.desk.path(STATE)).unwrap());
    let refused = |parts: &[&str]| {
        site.edge.clear_requests();
        trusted(&site, "2", &[])
            .failed(1, &[&[path.file_name().unwrap(), "is damaged", "remove"], parts].concat());
        assert_eq!(site.edge.requests().len(), 0, "nothing is asked");
    };
    let edge = site.edge.host().to_string();
    for damaged in ["", "{", "\0\0\0", &good.replace("\"formatVersion\": 1", "\"formatVersion\": 9")] {
        fs::write(&path, damaged).unwrap();
        refused(&[]);
    }
    fs::write(&path, good.replace("\"sequence\": 2", "\"sequence\": -2")).unwrap();
    refused(&[&format!("the entry of {edge}, stream prod")]);
    // Another destination is none of its business.
    let below = format!("{edge}/other");
    site.desk.krs(&["push", "1.krs.tar", &below, "--public-key", "k.pub"]).ok();
    let outcome = trusted(&site, "2", &["--allow-older"]).ok();
    assert!(outcome.err.contains("it is not known what was pushed before"), "{outcome}");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused(&["not a regular file"]);
    fs::remove_dir(&path).unwrap();
    trusted(&site, "1", &[]).ok();
    assert_eq!(sequence(&site, STATE), 1, "written again");
}

#[cfg(unix)]
#[test]
fn t245_a_state_behind_a_link_is_followed_and_a_pipe_is_not_waited_for() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let site = site();
    let mode = |file: &str| fs::metadata(site.desk.path(file)).unwrap().permissions().mode() & 0o777;
    trusted(&site, "1", &["--state", "state"]).ok();
    assert_eq!((mode("state"), mode("state/push.json"), mode("state/push.lock")), (0o700, 0o600, 0o600));
    let (file, real) = (site.desk.path("state/push.json"), site.desk.path("real.json"));
    fs::rename(&file, &real).unwrap();
    // Taken for nothing, it would let every bundle follow.
    symlink(site.desk.path("gone"), &file).unwrap();
    trusted(&site, "2", &["--state", "state"]).failed(1, &["a symbolic link to something that is not there"]);
    fs::remove_file(&file).unwrap();
    symlink(&real, &file).unwrap();
    trusted(&site, "2", &["--state", "state"]).ok();
    assert!(file.is_symlink());
    assert_eq!((sequence(&site, "real.json"), mode("real.json")), (Value::from(2), 0o600));
    fs::remove_file(&file).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&file).status().unwrap();
    assert!(made.success());
    trusted(&site, "2", &["--state", "state"]).failed(1, &["not a regular file"]);
}

#[test]
fn t245_a_folder_that_cannot_be_written_to_is_reported_before_anything_is_sent() {
    let site = site();
    // A file where the folder should be: nobody can write there, not even root.
    site.desk.write("file", "");
    trusted(&site, "1", &["--state", "file/state"]).failed(1, &["file/state", "--state DIR"]);
    assert_eq!(site.edge.requests().len(), 0, "nothing is asked");
    let home = site.desk.path("file");
    let edge = site.edge.host().to_string();
    let call = ["push", "2.krs.tar", &edge, "--public-key", "k.pub", "--format", "json"];
    for home in [home.as_str(), ""] {
        let outcome = site.desk.krs_env(&[("HOME", home)], &call).ok();
        let json = outcome.json();
        assert!(json["warnings"].to_string().contains("not "), "{outcome}");
        assert_eq!(json["destinations"][0]["remembered"], false, "{outcome}");
    }
    let outcome = site.desk.krs_env(&[("HOME", home.as_str())], &call[..5]).ok();
    assert!(outcome.err.contains("what is pushed now is not recorded: cannot write"), "{outcome}");
    // By the variable, too, and an empty one is unset.
    site.desk.krs_env(&[("KRS_STATE", "file/state")], &call).failed(1, &[]);
    site.desk.krs_env(&[("KRS_STATE", "")], &call).ok();
    assert_eq!(sequence(&site, STATE), 2);
}

#[test]
fn t245_two_pushes_at_once_lose_no_mark() {
    let site = site();
    let edge = site.edge.host().to_string();
    let pushes = (0..8).map(|n| {
        let below = format!("{edge}/p{n}");
        let call = ["push", "2.krs.tar", &below, "--public-key", "k.pub", "--quiet"];
        site.desk.command(&call).spawn().unwrap()
    });
    for push in pushes.collect::<Vec<_>>() {
        let output = push.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(state(&site, STATE)["marks"].as_object().unwrap().len(), 8);
    // One that is held is waited for, and not indefinitely.
    let lock = File::open(site.desk.path("home/.local/state/krs/push.lock")).unwrap();
    lock.lock().unwrap();
    let began = Instant::now();
    let outcome = trusted(&site, "2", &[]).ok();
    assert!(outcome.err.contains("was locked by another krs push"), "{outcome}");
    assert!(began.elapsed() < Duration::from_secs(60), "{outcome}");
}

#[cfg(unix)]
#[test]
fn t242_a_newer_bundle_that_was_pushed_meanwhile_is_reported() {
    let site = site();
    trusted(&site, "1", &[]).ok();
    site.edge.clear_requests();
    site.edge.fail(Matcher::any().method("HEAD").path("/team/web1/"), status(503));
    let edge = site.edge.host().to_string();
    let call = ["push", "1.krs.tar", &edge, "--public-key", "k.pub", "--retries", "100"];
    let older = site.desk.command(&call).spawn().unwrap();
    let signal = |name: &str| {
        let sent = std::process::Command::new("kill").args([name, &older.id().to_string()]).status().unwrap();
        assert!(sent.success());
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while site.edge.requests().is_empty() {
        assert!(Instant::now() < deadline, "nothing was asked");
        std::thread::sleep(Duration::from_millis(5));
    }
    // It has compared the marks, and gets no further before the newer one is there.
    signal("-STOP");
    site.edge.clear_faults();
    trusted(&site, "2", &[]).ok();
    signal("-CONT");
    let output = older.wait_with_output().unwrap();
    let outcome = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{outcome}");
    assert!(
        outcome.contains("another bundle was pushed to") && outcome.contains("push the newest bundle"),
        "{outcome}"
    );
    assert_eq!(sequence(&site, STATE), 2);
}
