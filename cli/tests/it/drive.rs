// SPDX-License-Identifier: Apache-2.0
//! A drive with several bundles, some of which somebody unpacked, packed or renamed.

use std::fs;

use crate::harness::Site;

/// A ZIP archive of one stored file, as far as its beginning.
fn zip(name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0".to_vec();
    bytes.extend([0; 4]);
    let size = u32::try_from(content.len()).unwrap().to_le_bytes();
    bytes.extend([size, size].concat());
    bytes.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend(name.as_bytes());
    bytes.extend(content);
    bytes
}

fn drive() -> Site {
    let site = Site::with_three_images();
    fs::create_dir_all(site.desk.path("usb/old/layout")).unwrap();
    fs::create_dir_all(site.desk.path("usb/Photos")).unwrap();
    site.bundle("usb/prod-117.krs.tar", &["--stream", "prod", "--sequence", "117"]).ok();
    site.bundle("usb/old/prod-116.krs.tar", &["--stream", "prod", "--sequence", "116"]).ok();
    site.bundle("usb/PROD.krs.tar", &["--stream", "prod", "--sequence", "118", "--volume-size", "1MiB"]).ok();
    // FAT without long names.
    for name in site.desk.path("usb").read_dir_utf8().unwrap() {
        let name = name.unwrap();
        if name.file_name().starts_with("PROD.") {
            fs::rename(name.path(), name.path().with_file_name(name.file_name().to_uppercase())).unwrap();
        }
    }
    let intact = fs::read(site.desk.path("usb/prod-117.krs.tar")).unwrap();
    // By another name, and a file with the name of a bundle whose copy has just begun.
    site.desk.write("usb/old/update.bin", &intact);
    site.desk.write("usb/prod-119.krs.tar", "");
    site.desk.write("usb/prod (1).krs.001", &intact[..1 << 20]);
    site.desk.write("usb/prod.zip", zip("prod-117.krs.tar", &intact[..1000]));
    let unpacked = std::process::Command::new("tar")
        .args([
            "-xf",
            site.desk.path("usb/prod-117.krs.tar").as_str(),
            "-C",
            site.desk.path("usb/old/layout").as_str(),
        ])
        .status()
        .unwrap();
    assert!(unpacked.success());
    for n in 0..40 {
        site.desk.write(&format!("usb/Photos/{n}.jpg"), "x");
    }
    site.desk.write("usb/photos.zip", zip("a.jpg", b"x"));
    site
}

#[test]
fn t259_all_bundles_of_a_drive_are_listed_by_their_content() {
    let site = drive();
    let outcome = site.desk.krs(&["inspect", "usb"]).ok();
    for (sequence, file) in [
        ("116", "usb/old/prod-116.krs.tar"),
        ("117", "usb/old/update.bin"),
        ("117", "usb/prod-117.krs.tar"),
        ("118", "usb/PROD.KRS.TAR"),
    ] {
        let line = outcome
            .out
            .lines()
            .find(|line| line.ends_with(file))
            .unwrap_or_else(|| panic!("{file}\n{outcome}"));
        assert!(line.starts_with("prod") && line.contains(sequence), "{outcome}");
    }
    for expected in [
        "usb/old/layout: a bundle that was unpacked\n  help: ",
        "usb/prod.zip: a ZIP archive of a bundle\n  help: unpack it",
        "usb/prod (1).krs.001: a volume that was renamed\n  help: give each volume its name again: NAME.krs.tar.001",
        "usb/prod-119.krs.tar is incomplete: ",
        "\n4 bundles in usb, 41 other files\n",
    ] {
        assert!(outcome.out.contains(expected), "{expected}\n{outcome}");
    }
    assert!(!outcome.out.contains(".jpg") && !outcome.out.contains("photos.zip"), "{outcome}");
    let json = site.desk.krs(&["inspect", "usb", "--format", "json"]).ok().json();
    let bundles = json["bundles"].as_array().unwrap();
    let forms = bundles.iter().map(|bundle| bundle["form"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(bundles.len(), 8, "{json}");
    for form in ["archive", "volumes", "unpacked", "zip", "renamedVolume"] {
        assert!(forms.contains(&form), "{json}");
    }
    assert_eq!((&json["otherFiles"], &json["complete"]), (&41.into(), &true.into()));
    let digest =
        site.desk.krs(&["inspect", "usb/prod-117.krs.tar", "--format", "json"]).ok().json()["digest"].clone();
    assert!(bundles.iter().any(|bundle| bundle["digest"] == digest && bundle["sequence"] == 117), "{json}");
}

#[test]
fn t259_what_is_no_bundle_file_says_what_to_do() {
    let site = drive();
    // Upper case works.
    site.desk.krs(&["verify", "usb/PROD.KRS.TAR.001"]).ok();
    site.desk.krs(&["verify", "usb/PROD.KRS.JSON"]).ok();
    for command in [&["verify", "usb"][..], &["push", "usb", "127.0.0.1:1"]] {
        site.desk
            .krs(command)
            .failed(2, &["usb is a folder, expected one bundle", "usb/prod-117.krs.tar", "usb/PROD.KRS.TAR"]);
    }
    site.desk.krs(&["verify", "usb/old/layout"]).failed(2, &["help: somebody unpacked the bundle"]);
    site.desk.krs(&["verify", "usb/Photos"]).failed(2, &["help: it holds no bundle. Is the drive mounted?"]);
    site.desk.krs(&["inspect", "usb/Photos"]).failed(2, &["usb/Photos holds no bundle (40 other files)"]);
    site.desk.krs(&["verify", "usb/prod.zip"]).failed(4, &["is compressed with ZIP", "help: unpack it"]);
    site.desk
        .krs(&["verify", "usb/prod (1).krs.001"])
        .failed(6, &["help: it seems to be a volume that was renamed: give each volume its name again"]);
}

#[test]
fn t263_a_folder_of_which_no_bundle_can_be_used_is_no_success() {
    let site = Site::with_three_images();
    for name in ["ci", "other"] {
        site.desk.keygen(name);
    }
    fs::create_dir_all(site.desk.path("usb")).unwrap();
    site.bundle("usb/a.krs.tar", &["--key", "ci.key"]).ok();
    let outcome = site.desk.krs(&["inspect", "usb", "--public-key", "other.pub"]);
    let outcome = outcome.failed(3, &["error: usb holds no bundle that can be used"]);
    assert!(outcome.out.starts_with("usb/a.krs.tar is not trusted: "), "{outcome}");
    site.desk.krs(&["inspect", "usb", "--public-key", "other.pub", "--format", "json"]).failed(3, &[]).json();
    // What was not finished is no bundle, whatever is in it.
    let part = site.desk.path("usb/b.krs.tar.part");
    fs::copy(site.desk.path("usb/a.krs.tar"), &part).unwrap();
    let outcome = site.desk.krs(&["inspect", "usb", "--public-key", "ci.pub"]).ok();
    assert!(
        outcome.out.contains("usb/b.krs.tar.part: a copy or a bundle that was not finished"),
        "{outcome}"
    );
    assert!(outcome.out.contains("1 bundle in usb"), "{outcome}");
    let outcome = site.desk.krs(&["verify", "usb"]).failed(2, &["name one of its bundles: usb/a.krs.tar"]);
    assert!(!outcome.err.contains(".part"), "{outcome}");
    fs::remove_file(part).unwrap();
    // One that can be used is enough.
    site.bundle("usb/b.krs.tar", &["--key", "other.key"]).ok();
    site.desk.krs(&["inspect", "usb", "--public-key", "other.pub"]).ok();
    site.desk
        .krs(&["sign", "usb", "--key", "ci.key"])
        .failed(2, &["usb is a folder, expected one bundle", "usb/a.krs.tar"]);
}

#[test]
fn a_folder_of_volumes_that_is_not_there_is_named() {
    let site = Site::with_three_images();
    site.desk.keygen("ci");
    site.bundle("a.krs.tar", &["--volume-size", "1MiB"]).ok();
    fs::remove_file(site.desk.path("a.krs.tar.002")).unwrap();
    let named = [
        "volume a.krs.tar.002 of 4 is missing",
        "--volumes usb2: there is no such folder; is the drive mounted?",
    ];
    for command in
        [&["verify", "a.krs.tar"][..], &["inspect", "a.krs.tar"], &["sign", "a.krs.tar", "--key", "ci.key"]]
    {
        site.desk.krs(&[command, &["--volumes", "usb2"]].concat()).failed(6, &named);
    }
    fs::remove_file(site.desk.path("a.krs.tar.001")).unwrap();
    site.desk
        .krs(&["verify", "a.krs.tar"])
        .failed(6, &["it holds the manifest, which says what the other volumes hold"]);
}

#[test]
fn a_copy_of_the_same_bundle_with_other_signatures_is_reported_to_be_that() {
    let site = Site::with_three_images();
    ["ci", "office"].iter().for_each(|name| site.desk.keygen(name));
    fs::create_dir_all(site.desk.path("usb")).unwrap();
    site.bundle("a.krs.tar", &["--key", "ci.key"]).ok();
    site.desk.krs(&["copy", "a.krs.tar", "usb"]).ok();
    site.desk.krs(&["sign", "a.krs.tar", "--key", "office.key"]).ok();
    let same = "usb/a.krs.tar is there already: the same bundle with other signatures";
    site.desk.krs(&["copy", "a.krs.tar", "usb"]).failed(2, &[same, "help: --force replaces it"]);
    site.desk.krs(&["copy", "a.krs.tar", "usb", "--force", "--public-key", "office.pub"]).ok();
}
