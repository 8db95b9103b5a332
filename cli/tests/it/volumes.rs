// SPDX-License-Identifier: Apache-2.0
//! Bundles in volumes: written straight, read from one folder or several, and a missing or damaged one is named.

use krs_testing::image::ImageBuilder;

use crate::harness::{Site, app};

/// The large layer goes over several borders.
fn written(more: &[&str]) -> Site {
    let site = Site::with_three_images();
    site.desk.keygen("ci");
    site.bundle("intact.krs.tar", &["--key", "ci.key"]).ok();
    let mut arguments = vec!["--volume-size", "1MiB", "--key", "ci.key"];
    arguments.extend_from_slice(more);
    site.bundle("a.krs.tar", &arguments).ok();
    site
}

fn read(site: &Site, name: &str) -> Vec<u8> {
    std::fs::read(site.desk.path(name)).unwrap()
}

#[test]
fn t34_volumes_joined_are_the_single_file_byte_for_byte() {
    let site = written(&[]);
    let names = [
        "a.krs.json",
        "a.krs.json.minisig",
        "a.krs.tar.001",
        "a.krs.tar.002",
        "a.krs.tar.003",
        "a.krs.tar.004",
    ];
    assert_eq!(
        site.desk.files().into_iter().filter(|name| name.starts_with("a.")).collect::<Vec<_>>(),
        names
    );
    let joined = names[2..].iter().flat_map(|name| read(&site, name)).collect::<Vec<_>>();
    let intact = read(&site, "intact.krs.tar");
    assert!(joined == intact);
    assert!(names[2..5].iter().all(|name| read(&site, name).len() == 1 << 20));
}

#[test]
fn t33_volumes_are_read_under_every_name_from_several_folders_in_any_order() {
    let site = written(&[]);
    for folder in ["usb1", "usb2"] {
        std::fs::create_dir(site.desk.path(folder)).unwrap();
    }
    for (n, folder) in [(1, "usb2"), (2, "usb1"), (3, "usb2"), (4, "usb1")] {
        let name = format!("a.krs.tar.00{n}");
        std::fs::rename(site.desk.path(&name), site.desk.path(folder).join(&name)).unwrap();
    }
    let key = ["--public-key", "ci.pub"];
    for name in ["usb1/a.krs.tar", "usb1/a.krs.tar.004", "usb1/a.krs.json", "a.krs.tar"] {
        let mut arguments = vec!["verify", name, "--volumes", "usb1", "--volumes", "usb2"];
        arguments.extend(key);
        site.desk.krs(&arguments).ok();
    }
    site.desk.krs(&["inspect", "usb1/a.krs.tar", "--volumes", "usb2"]).ok();
    site.push("usb1/a.krs.tar", &["--volumes", "usb2"]).ok();
    site.arrived("team/web", "1.0");
}

#[test]
fn t33_a_missing_volume_is_named_with_what_it_holds() {
    let site = written(&[]);
    let keep = |n: u32| {
        std::fs::rename(site.desk.path(&format!("a.krs.tar.00{n}")), site.desk.path("kept")).unwrap();
    };
    let back = |n: u32| {
        std::fs::rename(site.desk.path("kept"), site.desk.path(&format!("a.krs.tar.00{n}"))).unwrap();
    };
    for (n, holds) in [(1, "the manifest, which says what"), (3, "blobs/sha256/"), (4, "blobs/sha256/")] {
        keep(n);
        let missing = format!("volume a.krs.tar.00{n} of 4 is missing; it holds ");
        let outcome = site.desk.krs(&["verify", "a.krs.tar"]).failed(6, &[&missing, holds, "--volumes"]);
        assert_eq!(outcome.out, "");
        site.push("a.krs.tar", &[]).failed(6, &[&missing]);
        back(n);
    }
    // Each of the others is checked by itself, by the signed list beside them.
    keep(3);
    let second = read(&site, "a.krs.tar.002");
    let mut flipped = second.clone();
    flipped[1000] ^= 1;
    site.desk.write("a.krs.tar.002", &flipped);
    let states = [
        "a.krs.tar.001 is undamaged",
        "a.krs.tar.002 is damaged",
        "  kept is volume 3 of 4 under another name: rename it to a.krs.tar.003",
        "a.krs.tar.004 is undamaged",
    ];
    site.desk.krs(&["verify", "a.krs.tar.001", "--public-key", "ci.pub"]).failed(6, &states);
    site.desk.write("a.krs.tar.002", &second);
    back(3);
    // Without the list too: the sizes of the others say where it belongs.
    std::fs::remove_file(site.desk.path("a.krs.json")).unwrap();
    keep(2);
    site.desk.krs(&["verify", "a.krs.tar"]).failed(6, &["volume a.krs.tar.002 of 4 is missing"]);
    back(2);
    site.desk.krs(&["verify", "a.krs.tar"]).ok();
    assert!(site.edge.requests().iter().all(|request| request.method != "PUT"), "nothing was written");
}

#[test]
fn t33_a_cut_a_damaged_and_a_foreign_volume_are_told_apart() {
    let mut site = written(&[]);
    let second = read(&site, "a.krs.tar.002");
    site.desk.write("a.krs.tar.002", &second[..second.len() / 2]);
    site.desk
        .krs(&["verify", "a.krs.tar"])
        .failed(6, &["volume a.krs.tar.002 of 4 has 524288 bytes, expected 1048576; it holds "]);
    let mut flipped = second.clone();
    flipped[1000] ^= 1;
    site.desk.write("a.krs.tar.002", &flipped);
    site.desk.krs(&["verify", "a.krs.tar"]).failed(4, &["a.krs.tar.002 is damaged: blobs/sha256/"]);
    // Of another bundle of the same size.
    site.add(&app("new", 9), "team/new", "2.0");
    site.commit();
    site.bundle("b.krs.tar", &["--volume-size", "1MiB"]).ok();
    std::fs::copy(site.desk.path("b.krs.tar.002"), site.desk.path("a.krs.tar.002")).unwrap();
    site.desk.krs(&["verify", "a.krs.tar"]).failed(4, &["a.krs.tar.002"]);
    std::fs::copy(site.desk.path("b.krs.json"), site.desk.path("a.krs.json")).unwrap();
    site.desk.krs(&["verify", "a.krs.tar"]).failed(4, &["a.krs.json", "belongs to another bundle"]);
}

#[test]
fn a_smaller_bundle_in_place_of_a_larger_one_leaves_no_volume_of_it() {
    let site = Site::with_three_images();
    site.bundle("a.krs.tar", &["--volume-size", "1MiB"]).ok();
    let large = site.desk.files();
    let mut other = Site::new();
    other.add(&ImageBuilder::new("small").layer_random(1000, 1).build(), "team/small", "1.0");
    other.commit();
    let small = other.checkout.path().as_str();
    site.desk.krs(&["bundle", small, "-o", "a.krs.tar", "--volume-size", "1MiB"]).ok();
    assert!(large.len() > site.desk.files().len());
    assert_eq!(site.desk.files(), ["a.krs.json", "a.krs.tar.001"]);
    site.desk.krs(&["verify", "a.krs.tar"]).ok();
}

#[test]
fn volumes_are_not_written_beside_a_file_that_would_be_read_in_their_place() {
    let site = Site::with_three_images();
    site.bundle("a.krs.tar", &[]).ok();
    site.bundle("a.krs.tar", &["--volume-size", "1MiB"])
        .failed(2, &["is there already", "the volumes another name"]);
}

#[test]
fn t227_volumes_beside_a_bundle_of_their_name_that_is_one_file_are_named() {
    let site = Site::with_three_images();
    site.bundle("a.krs.tar", &["--volume-size", "1MiB"]).ok();
    let outcome = site.bundle("a.krs.tar", &[]).ok();
    let words = "lie volumes of another bundle of this name, which are not read: remove them (a.krs.tar.001";
    assert!(outcome.err.contains(words), "{outcome}");
    for command in ["verify", "inspect"] {
        let outcome = site.desk.krs(&[command, "a.krs.tar"]).ok();
        assert!(outcome.err.contains(words), "{outcome}");
    }
    for n in 1..=4 {
        std::fs::remove_file(site.desk.path(&format!("a.krs.tar.00{n}"))).unwrap();
    }
    let outcome = site.desk.krs(&["verify", "a.krs.tar"]).ok();
    assert!(!outcome.err.contains("volumes"), "{outcome}");
}

#[test]
fn t227_volumes_of_a_longer_bundle_of_this_name_are_named_and_not_taken_for_damage() {
    let site = written(&[]);
    let last = read(&site, "a.krs.tar.004");
    site.desk.write("a.krs.tar.005", &last);
    site.desk.write("a.krs.tar.006", b"x");
    let names = "do not belong to it: a.krs.tar.005, a.krs.tar.006";
    site.desk.krs(&["verify", "a.krs.tar"]).failed(2, &[names, "the bundle itself is complete: remove them"]);
    for name in ["a.krs.tar.005", "a.krs.tar.006"] {
        std::fs::remove_file(site.desk.path(name)).unwrap();
    }
    site.desk.krs(&["verify", "a.krs.tar"]).ok();
}

#[test]
fn a_volume_under_another_name_is_found_by_its_content() {
    let site = written(&[]);
    std::fs::create_dir(site.desk.path("usb2")).unwrap();
    // One beside the others and one on the second drive, between files of the same size.
    std::fs::rename(site.desk.path("a.krs.tar.003"), site.desk.path("a (1).krs.003")).unwrap();
    std::fs::rename(site.desk.path("a.krs.tar.002"), site.desk.path("usb2/photo.bin")).unwrap();
    for other in ["usb2/film.bin", "usb2/archive.bin"] {
        site.desk.write(other, vec![7; 1 << 20]);
    }
    let verify = ["verify", "a.krs.tar", "--volumes", "usb2", "--public-key", "ci.pub"];
    let outcome = site.desk.krs(&verify).failed(
        6,
        &[
            "a.krs.tar.001 is undamaged",
            "usb2/photo.bin is volume 2 of 4 under another name: rename it to a.krs.tar.002",
            "  a (1).krs.003 is volume 3 of 4 under another name: rename it to a.krs.tar.003",
            "a.krs.tar.004 is undamaged",
        ],
    );
    assert!(!outcome.err.contains("film.bin") && !outcome.err.contains("archive.bin"), "{outcome}");
    // What is damaged too is not taken for it.
    let mut damaged = read(&site, "usb2/photo.bin");
    damaged[1000] ^= 1;
    site.desk.write("usb2/photo.bin", &damaged);
    let outcome = site.desk.krs(&verify).failed(6, &["a.krs.tar.002 is missing"]);
    assert!(!outcome.err.contains("photo.bin"), "{outcome}");
}
