// SPDX-License-Identifier: Apache-2.0
//! Power is lost, disks are full, sectors cannot be read: `krs` on a disk that does so.
#![cfg(target_os = "linux")]
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod disk;
#[path = "../it/harness.rs"]
#[allow(dead_code, unused_macros)]
mod harness;

use std::ffi::OsStr;
use std::time::{Duration, Instant};

use disk::{Disk, Files};
use harness::{Site, app};
use krs_testing::image::{Image, ImageBuilder, gzip_of_buildkit, random_bytes, tar_of};
use krs_testing::registry::{Matcher, Registry, What};

const NAME: &str = "a.krs.tar";
/// A hint for the next run, which takes it away.
const JOURNAL: &str = "a.krs.tar.journal";

/// Whether the archive is there; then it must be complete.
#[track_caller]
fn is_there(site: &Site, files: &Files, when: usize) -> bool {
    let Some(bytes) = files.get(OsStr::new(NAME)) else { return false };
    let copy = site.desk.write("survivor.krs.tar", bytes.as_slice());
    let outcome = site.desk.krs(&["verify", copy.as_str()]);
    assert_eq!(outcome.code, 0, "power was lost after operation {when}: {outcome}");
    true
}

#[test]
fn t69_t87_whenever_power_is_lost_the_archive_is_complete_or_not_there() {
    let Some(disk) = Disk::mount() else { return };
    let mut site = Site::with_three_images();
    let path = disk.path(NAME);
    site.bundle(path.as_str(), &[]).ok();
    let operations = disk.operations();
    assert!(operations > 25, "the disk saw {operations} operations");
    let moments = disk.history();
    let there = moments.iter().map(|(when, files)| is_there(&site, files, *when)).collect::<Vec<_>>();
    assert!(there.contains(&false) && there.contains(&true), "before and after it got its name: {there:?}");
    // What was reported as done is not lost.
    let first = disk.after_a_loss_of_power();
    assert!(is_there(&site, &first, operations));
    assert!(
        first.keys().all(|name| name == NAME || name == JOURNAL),
        "nothing else is left: {:?}",
        first.keys()
    );

    // Over the archive of before: one of the two is there at every moment.
    site.add(&app("new", 9), "team/new", "1.0");
    site.commit();
    site.bundle(path.as_str(), &[]).ok();
    for (when, files) in disk.history() {
        assert!(is_there(&site, &files, when), "there is no archive after operation {when}");
    }
    let second = disk.after_a_loss_of_power();
    assert!(is_there(&site, &second, disk.operations()));
    assert_ne!(first.get(OsStr::new(NAME)), second.get(OsStr::new(NAME)), "it is the new one");
}

#[test]
fn t69_t87_whatever_a_loss_of_power_leaves_the_next_run_makes_the_same_archive() {
    let Some(disk) = Disk::mount() else { return };
    let site = Site::with_three_images();
    site.bundle(disk.path(NAME).as_str(), &[]).ok();
    let intact = std::fs::read(disk.path(NAME)).unwrap();
    let (moments, power_on) = (disk.history(), site.desk.path("power-on"));
    assert!(moments.len() > 10, "{} states", moments.len());
    for (when, files) in moments {
        std::fs::create_dir(&power_on).unwrap();
        for (name, content) in &files {
            std::fs::write(power_on.join(name.to_str().unwrap()), content.as_slice()).unwrap();
        }
        let path = power_on.join(NAME);
        site.bundle(path.as_str(), &[]).ok();
        assert!(
            std::fs::read(&path).unwrap() == intact,
            "power was lost after operation {when}: {:?}",
            files.keys()
        );
        let left = power_on.read_dir_utf8().unwrap().map(|entry| entry.unwrap().file_name().to_owned());
        assert_eq!(left.collect::<Vec<_>>(), [NAME], "power was lost after operation {when}");
        std::fs::remove_dir_all(&power_on).unwrap();
    }
}

#[test]
fn t69_a_signature_that_was_reported_is_not_lost() {
    let Some(disk) = Disk::mount() else { return };
    let site = Site::with_three_images();
    site.desk.keygen("ci");
    let path = disk.path(NAME);
    site.bundle(path.as_str(), &[]).ok();
    site.desk.krs(&["sign", path.as_str(), "--key", "ci.key"]).ok();
    let files = disk.after_a_loss_of_power();
    let copy = site.desk.write("survivor.krs.tar", files[OsStr::new(NAME)].as_slice());
    site.desk.krs(&["verify", copy.as_str(), "--public-key", "ci.pub"]).ok();
}

/// Contents that a file had whenever power was lost or krs was killed, in order, without repetition.
fn contents(disk: &Disk, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (when, files) in disk.history() {
        let bytes = files.get(OsStr::new(name));
        let bytes = bytes.unwrap_or_else(|| panic!("{name} is missing after operation {when}"));
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

#[test]
fn t287_a_set_that_is_pinned_is_the_old_one_or_the_new_one_whenever_krs_ends() {
    let Some(disk) = Disk::mount() else { return };
    let site = Site::new();
    let images = [app("web", 2), app("api", 3)];
    images[0].push_to(&site.source, "team/web", Some("1.0"));
    images[1].push_to(&site.source, "team/api", Some("1.0"));
    let path = disk.path("set.yaml");
    // More than what reaches a disk together with its name.
    let comment = format!("# {}\n", "x".repeat(6000));
    for comment in ["", &comment] {
        let host = site.source.host();
        let old = format!(
            "{comment}apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: site\n\
             spec:\n  destinationRegistry: edge.local:5000\n  images:\n  - image: {host}/team/web:1.0\n  - image: {host}/team/api:1.0\n"
        );
        std::fs::write(&path, &old).unwrap();
        std::fs::File::open(&path).unwrap().sync_all().unwrap();
        std::fs::File::open(disk.path("")).unwrap().sync_all().unwrap();
        drop(disk.history());
        site.desk.krs(&["pin", path.as_str()]).ok();
        let new = std::fs::read_to_string(&path).unwrap();
        assert_eq!(new.matches("@sha256:").count(), 2, "{new}");
        assert_eq!(contents(&disk, "set.yaml"), [old, new.clone()]);
        // What was reported as done is not lost, and nothing else is left.
        let survivors = disk.after_a_loss_of_power();
        assert_eq!(survivors.len(), 1, "{:?}", survivors.keys());
        assert_eq!(survivors[OsStr::new("set.yaml")].as_slice(), new.as_bytes());
    }
}

#[test]
fn t287_credentials_are_those_of_before_or_after_whenever_krs_ends() {
    let Some(disk) = Disk::mount() else { return };
    let desk = harness::Desk::new();
    let path = disk.path("auth.json");
    let login = |registry: &str, password: &str| {
        let arguments = ["login", registry, "--username", "robot", "--password-stdin", "--no-verify"];
        desk.krs_stdin(password, &[&arguments[..], &["--authfile", path.as_str()]].concat()).ok();
        std::fs::read_to_string(&path).unwrap()
    };
    let first = login("one.example.com", "first");
    // The file is not there, or complete.
    for (when, files) in disk.history() {
        let text = files.get(OsStr::new("auth.json")).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        assert!(text.is_none_or(|text| text == first), "after operation {when}");
    }
    // A long one, too.
    let second = login("two.example.com", &"p".repeat(5000));
    assert_eq!(contents(&disk, "auth.json"), [first, second.clone()]);
    desk.krs(&["logout", "one.example.com", "--authfile", path.as_str()]).ok();
    let third = std::fs::read_to_string(&path).unwrap();
    assert_eq!(contents(&disk, "auth.json"), [second, third.clone()]);
    let survivors = disk.after_a_loss_of_power();
    assert_eq!(survivors.len(), 1, "{:?}", survivors.keys());
    assert_eq!(survivors[OsStr::new("auth.json")].as_slice(), third.as_bytes());
}

#[test]
fn t69_what_did_not_reach_the_disk_is_never_gone_on_with() {
    let Some(disk) = Disk::mount() else { return };
    let site = Site::with_three_images();
    let path = disk.path(NAME);
    disk.wear_out(true);
    site.bundle(path.as_str(), &[]).failed(1, &[NAME, "Input/output error"]);
    // It could still be read from memory: nothing may tell the next run that it is there.
    assert_eq!(disk.names(), Vec::<String>::new());
    disk.wear_out(false);
    site.bundle(path.as_str(), &[]).ok();
    site.desk.krs(&["verify", path.as_str()]).ok();
}

#[test]
fn t70_t87_a_full_disk_is_reported_to_be_one_and_no_archive_is_left() {
    let Some(disk) = Disk::mount() else { return };
    let site = Site::with_three_images();
    let path = disk.path(NAME);
    // At once, where the file system says so; in the middle of the first layer where it does not.
    for sparse in [false, true] {
        disk.set_room(Some(1 << 20), sparse);
        site.bundle(path.as_str(), &[]).failed(9, &["help: free some space"]);
        assert!(!disk.names().contains(&NAME.to_owned()));
    }
    disk.set_room(None, false);
    site.bundle(path.as_str(), &[]).ok();
    site.desk.krs(&["verify", path.as_str()]).ok();
    assert_eq!(disk.names(), [NAME]);
}

#[test]
fn t35_a_sector_that_cannot_be_read_is_an_error_with_its_position() {
    let Some(disk) = Disk::mount() else { return };
    let site = Site::with_three_images();
    let path = disk.path(NAME);
    site.bundle(path.as_str(), &[]).ok();
    let size = std::fs::metadata(&path).unwrap().len();
    disk.break_from(Some(size / 2));
    site.desk
        .krs(&["verify", path.as_str()])
        .failed(1, &[NAME, "at byte ", "help: the drive was removed or is failing"]);
    let pushed = site.push(path.as_str(), &[]);
    assert_ne!(pushed.code, 0, "{pushed}");
    assert_eq!(site.edge.tags("team/web"), Vec::<String>::new(), "nothing became visible");
    disk.break_from(None);
    site.desk.krs(&["verify", path.as_str()]).ok();
    site.push(path.as_str(), &[]).ok();
}

#[test]
fn t255_a_drive_that_is_pulled_out_is_reported_to_be_gone() {
    let Some(disk) = Disk::mount() else { return };
    let site = Site::with_three_images();
    let path = disk.path(NAME);
    let help = "help: the drive was removed or is failing: put it back and run the same command again";
    site.bundle(path.as_str(), &[]).ok();
    let copy = site.desk.path("c.krs.tar");
    std::fs::copy(&path, &copy).unwrap();
    disk.pull_out(true);
    site.desk.krs(&["verify", path.as_str()]).failed(1, &["cannot read ", NAME, help]);
    site.push(path.as_str(), &[]).failed(1, &[NAME, help]);
    // While it is written: no space is wanting.
    let other = disk.path("b.krs.tar");
    let outcome = site.bundle(other.as_str(), &[]).failed(1, &["cannot write ", "b.krs.tar", help]);
    assert!(!outcome.err.contains("free some space"), "{outcome}");
    let to = disk.path("");
    site.desk.krs(&["copy", copy.as_str(), to.as_str()]).failed(1, &[help]);
    disk.pull_out(false);
    site.bundle(other.as_str(), &[]).ok();
    site.desk.krs(&["verify", path.as_str()]).ok();
}

#[test]
fn t255_a_drive_that_is_pulled_out_in_the_middle_is_reported_to_be_gone() {
    let Some(disk) = Disk::mount() else { return };
    let site = Site::with_three_images();
    let help = "help: the drive was removed or is failing: put it back and run the same command again";
    // Runs `call` until `registry` has refused the first of these requests, and continues without the drive.
    let cut_off = |registry: &Registry, method: &str, part: &str, call: &[&str]| {
        registry.clear_requests();
        registry.fail(Matcher::any().method(method).path(part), harness::status(503));
        let krs = site.desk.command(&[call, &["--retries", "100"]].concat()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !registry.requests().iter().any(|r| r.method == method && r.path.contains(part)) {
            assert!(Instant::now() < deadline, "nothing was asked");
            std::thread::sleep(Duration::from_millis(5));
        }
        disk.pull_out(true);
        registry.clear_faults();
        let output = krs.wait_with_output().unwrap();
        disk.pull_out(false);
        let outcome = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{outcome}");
        assert!(outcome.contains(help) && !outcome.contains("free some space"), "{outcome}");
        outcome
    };
    let (path, checkout, edge) = (disk.path(NAME), site.checkout.path(), site.edge.host().to_string());
    // The archive is open, and a layer is on its way into it.
    let (layer, _) = app("web", 2).blobs.pop().unwrap();
    let layer = format!("/blobs/{layer}");
    let outcome = cut_off(&site.source, "GET", &layer, &["bundle", checkout.as_str(), "-o", path.as_str()]);
    assert!(outcome.contains("cannot write "), "{outcome}");
    site.bundle(path.as_str(), &[]).ok();
    // The bundle is open, and its layers are to be sent.
    cut_off(&site.edge, "POST", "/blobs/uploads/", &["push", path.as_str(), &edge]);
    site.push(path.as_str(), &[]).ok();
}

/// A version of an application in one layer, as BuildKit compresses it: a program that changes in a few bytes.
fn version(number: u8) -> Image {
    let mut program = random_bytes(600_000, 1);
    for place in (1000..600_000).step_by(60_000) {
        program[place] = number;
    }
    let layer = gzip_of_buildkit(&tar_of(&[("usr/bin/app", &program)]));
    ImageBuilder::new("app").layer_type("application/vnd.oci.image.layer.v1.tar+gzip").layer(layer).build()
}

/// The edge has the first version, and `file` has the second one as a patch.
fn with_compact_bundle(file: &str) -> Site {
    let mut site = Site::new();
    site.add(&version(1), "team/app", "1.0");
    site.commit();
    site.bundle("v1.krs.tar", &["--sequence", "1"]).ok();
    site.push("v1.krs.tar", &[]).ok();
    site.add(&version(2), "team/app", "2.0");
    // In the patch too, so that not all of it is read ahead with the manifest.
    site.add(&ImageBuilder::new("large").layer_random(3 << 20, 4).build(), "team/large", "1.0");
    site.commit();
    let made = site.bundle(
        file,
        &[
            "--sequence",
            "2",
            "--against",
            "v1.krs.tar",
            "--compact",
            "--recipes",
            "recipes",
            "--format",
            "json",
        ],
    );
    assert_eq!(made.ok().json()["patched"]["layers"], 2);
    site
}

/// Requests that change something.
fn writes(registry: &Registry) -> usize {
    let requests = registry.requests();
    requests.iter().filter(|request| request.method != "GET" && request.method != "HEAD").count()
}

#[test]
fn t70_full_scratch_space_is_reported_before_anything_is_pushed() {
    let Some(disk) = Disk::mount() else { return };
    let site = with_compact_bundle("v2.krs.tar");
    let scratch = disk.path("");
    let push = || site.push("v2.krs.tar", &["--scratch", scratch.as_str()]);
    site.edge.clear_requests();
    // Where the file system says so, and where it does not: the base fits, what is made of it does not.
    disk.set_room(Some(700_000), false);
    push().failed(
        9,
        &["bytes of scratch space", "help: free some space, or choose another folder with --scratch"],
    );
    disk.lie_about_room(true);
    push().failed(9, &["cannot use the scratch space", "help: free some space"]);
    disk.lie_about_room(false);
    assert_eq!(writes(&site.edge), 0, "{:?}", site.edge.requests());
    assert_eq!(disk.names(), Vec::<String>::new());
    disk.set_room(None, false);
    push().ok();
    site.arrived("team/app", "2.0");
    assert_eq!(disk.names(), Vec::<String>::new());
}

#[test]
fn t255_a_drive_that_is_pulled_out_while_layers_are_made_is_reported_to_be_gone() {
    let Some(disk) = Disk::mount() else { return };
    let site = with_compact_bundle("v2.krs.tar");
    let path = disk.path(NAME);
    std::fs::copy(site.desk.path("v2.krs.tar"), &path).unwrap();
    let (base, _) = version(1).blobs.pop().unwrap();
    site.edge.clear_requests();
    site.edge.fail(Matcher::blobs().path(base.hex()), What::Stall(300_000, Duration::from_secs(2)));
    let host = site.edge.host().to_string();
    let krs = site.desk.command(&["push", path.as_str(), &host]).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !site.edge.requests().iter().any(|r| r.method == "GET" && r.path.contains(&*base.hex())) {
        assert!(Instant::now() < deadline, "the base was not read");
        std::thread::sleep(Duration::from_millis(5));
    }
    disk.pull_out(true);
    let output = krs.wait_with_output().unwrap();
    disk.pull_out(false);
    let outcome = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{outcome}");
    assert!(outcome.contains("help: the drive was removed or is failing"), "{outcome}");
    assert_eq!(writes(&site.edge), 0, "{:?}", site.edge.requests());
    site.edge.clear_faults();
    site.push(path.as_str(), &[]).ok();
    site.arrived("team/app", "2.0");
}

#[test]
fn t213_a_check_does_not_pass_what_is_only_in_memory() {
    let Some(disk) = Disk::mount() else { return };
    let site = Site::with_three_images();
    let path = disk.path(NAME);
    disk.keep_cache(true);
    site.bundle(path.as_str(), &[]).ok();
    let intact = std::fs::read(&path).unwrap();
    // From now on the drive has the first half only, and the kernel has all of it in memory.
    disk.break_from(Some(intact.len() as u64 / 2));
    assert!(std::fs::read(&path).unwrap() == intact, "cp and sha256sum would find nothing");
    site.desk.krs(&["verify", path.as_str()]).failed(1, &[NAME, "at byte "]);
}

#[test]
fn t213_a_copy_gets_its_name_only_after_it_was_read_back_from_the_drive() {
    let Some(disk) = Disk::mount() else { return };
    let site = Site::with_three_images();
    let source = site.desk.path(NAME);
    site.bundle(source.as_str(), &[]).ok();
    let size = std::fs::metadata(&source).unwrap().len();
    disk.keep_cache(true);
    disk.break_from(Some(size / 2));
    let folder = disk.path("");
    let copy = || site.desk.krs(&["copy", source.as_str(), folder.as_str()]);
    copy().failed(1, &[NAME, "at byte ", "help: the drive was removed or is failing"]);
    assert!(!disk.names().contains(&NAME.to_owned()), "{:?}", disk.names());
    disk.break_from(None);
    let outcome = copy().ok();
    assert!(outcome.err.contains("FUSE"), "whose program may keep it in memory: {outcome}");
    assert!(outcome.out.contains("Not finished: unmount"), "{outcome}");
    assert_eq!(disk.names(), [NAME]);
    assert!(std::fs::read(disk.path(NAME)).unwrap() == std::fs::read(&source).unwrap());
}

/// FAT fills a file with zeros up to a length that it is given, so that all would be written twice.
#[test]
fn a_file_grows_as_it_is_written_where_no_space_can_be_reserved() {
    let Some(disk) = Disk::mount() else { return };
    let site = Site::with_three_images();
    let source = site.desk.path(NAME);
    site.bundle(source.as_str(), &[]).ok();
    let size = usize::try_from(std::fs::metadata(&source).unwrap().len()).unwrap();
    site.desk.krs(&["copy", source.as_str(), disk.path("").as_str()]).ok();
    let part = format!("{NAME}.part");
    let history = disk.history();
    let lengths = history.iter().filter_map(|(_, files)| files.get(OsStr::new(&part))).map(|file| file.len());
    let lengths = lengths.filter(|length| *length > 0).collect::<Vec<_>>();
    assert!(lengths[0] < size / 4 && lengths.contains(&size), "{lengths:?}");
}

#[test]
fn t213_t70_a_copy_onto_a_full_drive_is_resumed_when_there_is_room() {
    let Some(disk) = Disk::mount() else { return };
    let site = Site::with_three_images();
    let source = site.desk.path(NAME);
    site.bundle(source.as_str(), &[]).ok();
    let folder = disk.path("");
    let copy = |more: &[&str]| {
        let mut arguments = vec!["copy", source.as_str(), folder.as_str()];
        arguments.extend_from_slice(more);
        site.desk.krs(&arguments)
    };
    disk.set_room(Some(2 << 20), false);
    copy(&[]).failed(9, &["the bundle needs", "help: "]);
    assert_eq!(disk.names(), Vec::<String>::new(), "nothing was begun");
    // A drive that says that it has room, and has none.
    disk.lie_about_room(true);
    disk.set_room(Some(2 << 20), true);
    copy(&[]).failed(9, &["No space left"]);
    disk.set_room(None, false);
    let resumed = copy(&["--format", "json"]).json();
    assert!(resumed["bundles"][0]["bytesResumed"].as_u64().unwrap() > 0, "{resumed}");
    assert_eq!(disk.names(), [NAME]);
    site.desk.krs(&["verify", disk.path(NAME).as_str()]).ok();
}
