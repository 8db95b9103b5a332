// SPDX-License-Identifier: Apache-2.0
//! `krs copy`: onto a drive and read back.

use crate::harness::Site;

/// A bundle `a.krs.tar` and a folder `usb`.
fn site() -> Site {
    let site = Site::with_three_images();
    site.desk.keygen("ci");
    site.bundle("a.krs.tar", &["--key", "ci.key", "--sequence", "7"]).ok();
    std::fs::create_dir(site.desk.path("usb")).unwrap();
    site
}

fn read(site: &Site, name: &str) -> Vec<u8> {
    std::fs::read(site.desk.path(name)).unwrap()
}

fn on_the_drive(site: &Site) -> Vec<String> {
    let entries = site.desk.path("usb").read_dir_utf8().unwrap();
    let mut names = entries.map(|entry| entry.unwrap().file_name().to_owned()).collect::<Vec<_>>();
    names.sort();
    names
}

#[test]
fn a_copy_is_the_same_file_and_a_second_run_only_reads_it_back() {
    let site = site();
    let copy = ["copy", "a.krs.tar", "usb", "--public-key", "ci.pub"];
    let outcome = site.desk.krs(&copy).ok();
    for word in ["sequence 7", "Read back", "signed by a key that you trust"] {
        assert!(outcome.out.contains(word), "{word}: {outcome}");
    }
    assert_eq!(read(&site, "usb/a.krs.tar"), read(&site, "a.krs.tar"));
    assert_eq!(on_the_drive(&site), ["a.krs.tar"]);
    let before = std::fs::metadata(site.desk.path("usb/a.krs.tar")).unwrap().modified().unwrap();
    let outcome = site.desk.krs(&copy).ok();
    assert!(outcome.out.contains("it was there already"), "{outcome}");
    assert_eq!(std::fs::metadata(site.desk.path("usb/a.krs.tar")).unwrap().modified().unwrap(), before);
}

#[test]
fn a_damaged_or_cut_copy_is_written_again() {
    let site = site();
    let intact = read(&site, "a.krs.tar");
    let mut damaged = intact.clone();
    let at = intact.len() - 200_000;
    damaged[at] ^= 1;
    site.desk.write("usb/a.krs.tar", &damaged);
    let outcome = site.desk.krs(&["copy", "a.krs.tar", "usb"]).ok();
    assert!(!outcome.out.contains("it was there already"), "{outcome}");
    assert_eq!(read(&site, "usb/a.krs.tar"), intact);

    site.desk.write("usb/a.krs.tar", &intact[..intact.len() / 2]);
    site.desk.krs(&["copy", "a.krs.tar", "usb"]).failed(2, &["there already", "incomplete", "--force"]);
    site.desk.krs(&["copy", "a.krs.tar", "usb", "--force"]).ok();
    assert_eq!(read(&site, "usb/a.krs.tar"), intact);
}

#[test]
fn what_else_is_on_the_drive_is_not_replaced() {
    let site = site();
    site.bundle("other.krs.tar", &["--stream", "other", "--sequence", "3"]).ok();
    std::fs::copy(site.desk.path("other.krs.tar"), site.desk.path("usb/a.krs.tar")).unwrap();
    let other = read(&site, "usb/a.krs.tar");
    site.desk
        .krs(&["copy", "a.krs.tar", "usb"])
        .failed(2, &["another bundle (stream other, sequence 3)", "help: --force"]);
    assert_eq!(read(&site, "usb/a.krs.tar"), other);
    site.desk.krs(&["copy", "a.krs.tar", "usb", "--force"]).ok();

    site.desk.write("usb/a.krs.tar", "holiday photographs");
    for more in [&[][..], &["--force"]] {
        let arguments = [&["copy", "a.krs.tar", "usb"], more].concat();
        site.desk.krs(&arguments).failed(2, &["is not a bundle", "krs replaces no other files"]);
    }
    assert_eq!(read(&site, "usb/a.krs.tar"), b"holiday photographs");

    site.desk.krs(&["copy", "a.krs.tar", "."]).failed(2, &["is the bundle itself"]);
    site.desk.krs(&["copy", "a.krs.tar", "absent"]).failed(2, &["no folder absent", "mounted"]);
}

#[test]
fn t213_damage_of_the_source_is_found_while_it_is_copied() {
    let site = site();
    let mut damaged = read(&site, "a.krs.tar");
    let at = damaged.len() - 200_000;
    damaged[at] ^= 1;
    site.desk.write("a.krs.tar", &damaged);
    let left = "the copy is not finished; a later copy of this bundle resumes it. Its files are ";
    let outcome = site.desk.krs(&["copy", "a.krs.tar", "usb"]);
    let outcome = outcome.failed(4, &["a.krs.tar is damaged", "blobs/sha256/", left, ": remove them if"]);
    // All that it has left is named, and a copy of the right bundle needs it no more.
    assert_eq!(on_the_drive(&site), ["a.krs.tar.journal", "a.krs.tar.part"]);
    for name in on_the_drive(&site) {
        assert!(outcome.err.contains(&format!("usb/{name}")), "{outcome}");
    }
    damaged[at] ^= 1;
    site.desk.write("a.krs.tar", &damaged);
    site.desk.krs(&["copy", "a.krs.tar", "usb"]).ok();
    assert_eq!(on_the_drive(&site), ["a.krs.tar"]);
    std::fs::remove_file(site.desk.path("usb/a.krs.tar")).unwrap();
    // Who made it may not be who it says: nothing is written.
    site.desk.keygen("other");
    site.desk.krs(&["copy", "a.krs.tar", "usb", "--public-key", "other.pub"]).failed(3, &["not trusted"]);
}

#[test]
fn t34_volumes_are_written_and_joined_by_a_copy() {
    let site = site();
    site.desk.krs(&["copy", "a.krs.tar", "usb", "--volume-size", "1MiB"]).ok();
    let names = on_the_drive(&site);
    assert_eq!(names, ["a.krs.json", "a.krs.tar.001", "a.krs.tar.002", "a.krs.tar.003", "a.krs.tar.004"]);
    let joined = names[1..].iter().flat_map(|name| read(&site, &format!("usb/{name}"))).collect::<Vec<_>>();
    assert_eq!(joined, read(&site, "a.krs.tar"));
    site.desk.krs(&["verify", "usb/a.krs.tar", "--public-key", "ci.pub"]).ok();
    let outcome = site.desk.krs(&["copy", "a.krs.tar", "usb", "--volume-size", "1MiB"]).ok();
    assert!(outcome.out.contains("it was there already"), "{outcome}");
    // Back into one file; several bundles at once.
    std::fs::create_dir(site.desk.path("disk")).unwrap();
    site.bundle("b.krs.tar", &[]).ok();
    let report = site.desk.krs(&["copy", "usb/a.krs.tar", "b.krs.tar", "disk", "--format", "json"]).json();
    assert_eq!(report["bundles"].as_array().unwrap().len(), 2, "{report}");
    assert_eq!(read(&site, "disk/a.krs.tar"), joined);
    assert_eq!(read(&site, "disk/b.krs.tar"), read(&site, "b.krs.tar"));
}

#[test]
fn a_bundle_that_is_named_twice_is_copied_once() {
    let site = site();
    let report = site.desk.krs(&["copy", "a.krs.tar", "./a.krs.tar", "usb", "--format", "json"]).ok().json();
    assert_eq!(report["bundles"].as_array().unwrap().len(), 1, "{report}");
    // As a shell expands `v.krs.*`.
    site.bundle("v.krs.tar", &["--volume-size", "1MiB"]).ok();
    let files = ["v.krs.json", "v.krs.tar.001", "v.krs.tar.002", "v.krs.tar.003", "v.krs.tar.004"];
    let outcome = site.desk.krs(&[&["copy"], &files[..], &["usb"]].concat()).ok();
    assert_eq!(outcome.out.matches("Read back").count(), 1, "{outcome}");
    assert_eq!(outcome.err.matches("is not verified:").count(), 1, "{outcome}");
}
