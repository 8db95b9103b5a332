// SPDX-License-Identifier: Apache-2.0
//! `krs bundle` is interrupted, and continues.

use std::process::Child;
use std::time::{Duration, Instant};

use krs_testing::image::ImageBuilder;
use krs_testing::registry::{Matcher, What};

use crate::harness::{Site, app, interrupt};

/// Three images of which the large layer stalls after 2 MiB, and a run that has come so far.
fn stuck() -> (Site, Child) {
    let site = Site::with_three_images();
    let large = ImageBuilder::new("x").layer_random(3 << 20, 1).build().blobs;
    let (layer, _) = large.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    site.source.fail(Matcher::blobs().path(layer), What::Stall(2 << 20, Duration::from_secs(600)));
    let arguments = ["bundle", site.checkout.path().as_str(), "-o", "a.krs.tar"];
    let child = site.desk.command(&arguments).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    // The head, a line for each of the six small blobs, and one for each MiB of the large one.
    let come = |journal: String| journal.lines().count() >= 8;
    while !std::fs::read_to_string(site.desk.path("a.krs.tar.journal")).is_ok_and(come) {
        assert!(Instant::now() < deadline, "it did not come so far");
        std::thread::sleep(Duration::from_millis(5));
    }
    site.source.clear_faults();
    site.source.clear_requests();
    (site, child)
}

/// Bytes of blobs that the source has sent since.
fn carried(site: &Site) -> u64 {
    let requests = site.source.requests();
    requests.iter().filter(|r| r.path.contains("/blobs/")).map(|r| r.bytes_out).sum()
}

#[test]
fn t87_a_run_that_was_killed_is_gone_on_with_in_the_middle_of_a_blob() {
    let (site, mut child) = stuck();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(site.desk.files(), ["a.krs.tar.journal", "a.krs.tar.part"]);
    let outcome = site.bundle("a.krs.tar", &["--format", "json"]).ok().json();
    assert!(outcome["run"]["bytesResumed"].as_u64() >= Some(1 << 20), "{outcome}");
    let carried = carried(&site);
    assert!(carried <= (2 << 20) + 1000, "{carried} bytes were carried for the 2 MiB that were left");
    assert_eq!(site.desk.files(), ["a.krs.tar"]);
    site.desk.krs(&["verify", "a.krs.tar"]).ok();
}

#[test]
fn t87_ctrl_c_says_how_to_continue_and_the_same_command_does() {
    let (site, child) = stuck();
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let outcome = String::from_utf8(output.stderr).unwrap();
    assert!(outcome.contains("run the same command again to resume"), "{outcome}");
    site.bundle("a.krs.tar", &[]).ok();
    assert!(carried(&site) <= (2 << 20) + 1000);
}

#[test]
fn t87_what_is_still_needed_is_kept_when_the_sets_change_meanwhile() {
    let (mut site, mut child) = stuck();
    child.kill().unwrap();
    child.wait().unwrap();
    site.add(&app("new", 9), "team/new", "2.0");
    site.commit();
    site.bundle("a.krs.tar", &[]).ok();
    // The rest of the large layer, and what the new image alone has.
    let carried = carried(&site);
    assert!(carried <= (2 << 20) + 50_000, "{carried} bytes were carried");
    assert_eq!(site.desk.files(), ["a.krs.tar"]);
    site.desk.krs(&["verify", "a.krs.tar"]).ok();
}

#[test]
fn t87_one_file_becomes_volumes_and_what_was_fetched_is_kept() {
    let (site, mut child) = stuck();
    child.kill().unwrap();
    child.wait().unwrap();
    site.bundle("a.krs.tar", &["--volume-size", "1MiB"]).ok();
    assert!(carried(&site) <= (2 << 20) + 1000);
    site.desk.krs(&["verify", "a.krs.tar.001"]).ok();
}

#[test]
fn t69_what_the_disk_forgot_is_fetched_again() {
    let (site, mut child) = stuck();
    child.kill().unwrap();
    child.wait().unwrap();
    // As after a loss of power: the journal is there, and what it speaks of is not.
    let part =
        std::fs::OpenOptions::new().read(true).write(true).open(site.desk.path("a.krs.tar.part")).unwrap();
    let length = part.metadata().unwrap().len();
    let mut head = vec![0; 64 << 10];
    std::os::unix::fs::FileExt::read_exact_at(&part, &mut head, 0).unwrap();
    part.set_len(0).unwrap();
    part.set_len(length).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&part, &head, 0).unwrap();
    site.bundle("a.krs.tar", &[]).ok();
    site.desk.krs(&["verify", "a.krs.tar"]).ok();
}

#[test]
fn an_earlier_bundle_is_taken_from_before_the_network_is_asked() {
    let mut site = Site::with_three_images();
    site.bundle("v1.krs.tar", &["--volume-size", "1MiB"]).ok();
    site.add(&app("new", 9), "team/new", "2.0");
    site.commit();
    site.source.clear_requests();
    let outcome = site.bundle("v2.krs.tar", &["--reuse", "v1.krs.tar", "--format", "json"]).ok().json();
    assert!(outcome["run"]["bytesReused"].as_u64() >= Some(3 << 20), "{outcome}");
    let carried = carried(&site);
    assert!(carried < 50_000, "only what the new image alone has: {carried} bytes");
    site.desk.krs(&["verify", "v2.krs.tar"]).ok();

    // T-31: what an earlier bundle holds is hashed, never believed.
    let mut bytes = std::fs::read(site.desk.path("v2.krs.tar")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    site.desk.write("damaged.krs.tar", &bytes);
    site.bundle("v3.krs.tar", &["--reuse", "damaged.krs.tar"]).ok();
    let intact = |name: &str| std::fs::read(site.desk.path(name)).unwrap();
    assert!(intact("v3.krs.tar") == intact("v2.krs.tar"), "T-89: the same bytes, wherever they came from");
}
