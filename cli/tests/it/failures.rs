// SPDX-License-Identifier: Apache-2.0
//! What `krs` says when something is wrong, and the exit code that a program sees.

use std::fs::OpenOptions;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::{Duration, Instant};

use krs_testing::image::ImageBuilder;
use krs_testing::registry::{Matcher, What};

use crate::harness::{Desk, Outcome, Site, app, status};
use crate::shown;

#[test]
fn exit_codes_and_messages() {
    let site = Site::with_three_images();
    let mut site_missing = Site::with_three_images();
    let krs = |arguments: &[&str]| site.desk.krs(arguments);
    site.bundle("a.krs.tar", &[]).ok();
    let intact = std::fs::read(site.desk.path("a.krs.tar")).unwrap();
    let mut story = String::new();
    let mut tell = |title: &str, code: i32, outcome: Outcome| {
        let outcome = outcome.failed(code, &["error: "]);
        assert_eq!(outcome.out, "", "{title}: there is no result");
        story.push_str(&format!("======== {title}: exit code {code}\n{}", outcome.err));
    };

    tell("no such file", 1, krs(&["verify", "nothing.krs.tar"]));
    tell("a folder", 2, krs(&["verify", "."]));
    tell("no output", 2, krs(&["bundle", "."]));
    tell("no such flag", 2, krs(&["verify", "a.krs.tar", "--fast"]));
    tell("no sets", 2, krs(&["plan", "home"]));
    tell("no folder", 2, site.bundle("nowhere/a.krs.tar", &[]));
    tell("a bad destination", 2, krs(&["push", "a.krs.tar", "https://edge.local"]));

    site.desk.write("compressed", [0x1f, 0x8b, 8, 0]);
    tell("T-24, compressed", 4, krs(&["verify", "compressed"]));
    site.desk.write("half.krs.tar", &intact[..intact.len() / 2]);
    tell("T-20, a drive that was full", 6, krs(&["verify", "half.krs.tar"]));
    site.desk.write("more.krs.tar", [intact.as_slice(), b"more"].concat());
    tell("T-19, something behind the end", 4, krs(&["inspect", "more.krs.tar"]));
    let mut flipped = intact.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    site.desk.write("flipped.krs.tar", &flipped);
    tell("T-36, a bit has turned", 4, krs(&["verify", "flipped.krs.tar"]));
    tell("T-37, the same while it is pushed", 4, site.push("flipped.krs.tar", &[]));

    site_missing.name("team/gone:1.0");
    site_missing.name("team/lost:2.0");
    site_missing.commit();
    tell("images are missing", 6, site_missing.bundle("b.krs.tar", &[]));
    assert_eq!(site_missing.desk.files(), Vec::<String>::new(), "no archive and no part of one");

    drop(site.source);
    let checkout = site.checkout.path();
    tell(
        "no registry",
        8,
        site.desk.krs(&["bundle", checkout.as_str(), "-o", "c.krs.tar", "--retries", "0"]),
    );
    tell("no edge", 8, site.desk.krs(&["push", "a.krs.tar", "127.0.0.1:1", "--retries", "0"]));
    shown!(story);
}

#[test]
fn a_blob_that_fails_names_every_image_that_needs_it() {
    let site = Site::with_three_images();
    let shared = ImageBuilder::new("x").layer_random(3 << 20, 1).build().blobs;
    let (layer, _) = shared.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    site.source.fail(Matcher::blobs().path(layer), What::WrongBytes);
    let outcome = site.bundle("a.krs.tar", &["--retries", "1"]).failed(4, &["3 images failed:"]);
    for name in ["web", "api", "db"] {
        assert!(outcome.err.contains(&format!("/team/{name}:1.0@")), "{outcome}");
    }
    assert!(!site.desk.files().contains(&"a.krs.tar".to_owned()));
}

#[test]
fn an_archive_of_before_stays_when_a_run_fails() {
    let mut site = Site::with_three_images();
    site.bundle("a.krs.tar", &[]).ok();
    let before = std::fs::read(site.desk.path("a.krs.tar")).unwrap();
    let new = app("new", 9);
    site.add(&new, "team/new", "1.0");
    site.commit();
    site.source.fail(Matcher::blobs().repository("team/new"), What::Status(500, Vec::new(), String::new()));
    site.bundle("a.krs.tar", &["--retries", "0"]).failed(8, &["/team/new:1.0@"]);
    assert!(std::fs::read(site.desk.path("a.krs.tar")).unwrap() == before);
    assert_eq!(site.desk.files(), ["a.krs.tar", "a.krs.tar.journal", "a.krs.tar.part"]);
    site.source.clear_faults();
    site.bundle("a.krs.tar", &[]).ok();
    assert_eq!(site.desk.files(), ["a.krs.tar"]);
}

#[test]
fn a_registry_that_fails_now_and_then_is_retried_and_the_report_says_so() {
    let site = Site::with_three_images();
    site.source.fail(Matcher::blobs().once(), What::CutAfter(100));
    let report = site.bundle("a.krs.tar", &["--format", "json"]).ok().json();
    assert!(report["run"]["retries"].as_u64().unwrap() >= 1, "{report}");
    site.desk.krs(&["verify", "a.krs.tar"]).ok();
}

#[test]
fn t46_sets_that_are_wrong_are_shown_with_their_places() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("sets")).unwrap();
    let head = "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: a\nspec:\n";
    desk.write(
        "sets/a.yaml",
        format!("{head}  destinationRegistry: edge.local\n  images:\n  - image: nginx:1.25\n  - img: x\n"),
    );
    desk.write("sets/b.yaml", format!("{head}  destinationRegistry: https://edge.local\n  images: []\n"));
    let outcome = desk.krs(&["validate", "sets"]).failed(2, &["a.yaml:", "b.yaml:"]);
    shown!(outcome);
    let report = desk.krs(&["validate", "sets", "--format", "json"]);
    assert_eq!(report.code, 2);
    assert_eq!(report.json()["valid"], false);
    assert!(report.json()["problems"].as_array().unwrap().len() >= 2);
    // The same refusal stops a bundle before anything is fetched.
    desk.krs(&["bundle", "sets", "-o", "a.krs.tar"]).failed(2, &["a.yaml:", "b.yaml:"]);
}

/// A run that is ended while it fetches leaves nothing with the name of an archive.
#[cfg(unix)]
#[test]
fn t87_ctrl_c_leaves_no_archive() {
    let site = Site::with_three_images();
    site.source.fail(Matcher::blobs(), What::Stall(1000, std::time::Duration::from_secs(60)));
    let path = site.checkout.path().as_str();
    let child = site.desk.command(&["bundle", path, "-o", "a.krs.tar"]).spawn().unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    // Its second line says that a blob has arrived. A journal without one is removed.
    let journal = || std::fs::read_to_string(site.desk.path("a.krs.tar.journal")).unwrap_or_default();
    while journal().lines().count() < 2 {
        assert!(std::time::Instant::now() < end, "the run has begun to write");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    crate::harness::interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(site.desk.files(), ["a.krs.tar.journal", "a.krs.tar.part"]);
}

/// What was put into an archive reaches no terminal, and a program learns the class of the failure.
#[test]
fn damage_is_reported_as_an_object_for_programs() {
    let site = Site::with_three_images();
    site.bundle("a.krs.tar", &[]).ok();
    let mut file = OpenOptions::new().write(true).open(site.desk.path("a.krs.tar")).unwrap();
    file.seek(SeekFrom::Start(3000)).unwrap();
    file.write_all(b"\x1b[31m").unwrap();
    let outcome = site.desk.krs(&["verify", "a.krs.tar", "--format", "json"]).failed(4, &[]);
    assert!(!outcome.err.contains('\u{1b}'), "T-84: {outcome}");
    let last = outcome.err.lines().last().unwrap();
    let error = serde_json::from_str::<serde_json::Value>(last).unwrap();
    assert_eq!((error["event"].as_str(), error["kind"].as_str()), (Some("error"), Some("corrupt")));
    assert_eq!(error["code"], 4);
    assert!(error["help"].is_string());
}

#[test]
fn t38_a_bundle_that_is_cut_during_a_push_is_incomplete() {
    let site = Site::with_three_images();
    site.bundle("a.krs.tar", &[]).ok();
    // Nothing is sent until the file is cut: the first upload is refused, and asked for again.
    site.edge.fail(Matcher::any().method("POST").path("/blobs/uploads/"), status(503));
    let edge = site.edge.host().to_string();
    let krs = site.desk.command(&["push", "a.krs.tar", &edge, "--retries", "100"]).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !site.edge.requests().iter().any(|r| r.method == "POST" && r.path.contains("/blobs/uploads/")) {
        assert!(Instant::now() < deadline, "nothing was sent");
        std::thread::sleep(Duration::from_millis(5));
    }
    let file = OpenOptions::new().write(true).open(site.desk.path("a.krs.tar")).unwrap();
    file.set_len(64 << 10).unwrap();
    site.edge.clear_faults();
    let outcome = Outcome::of(krs.wait_with_output().unwrap());
    outcome.failed(
        6,
        &["cannot read a.krs.tar", "help: wait until the copy is complete, or copy the bundle again"],
    );
    assert_eq!(site.edge.tags("team/web"), Vec::<String>::new(), "nothing became visible");
}
