// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used)]
use super::*;
use camino::Utf8PathBuf;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};

/// A drop folder with media, and the mount of the receipts in one.
struct Drive {
    root: Utf8PathBuf,
    _home: tempfile::TempDir,
}

impl Drive {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(home.path()).unwrap().join("mount");
        fs::create_dir_all(root.join("usb1")).unwrap();
        Self { root, _home: home }
    }

    fn device(&self) -> u64 {
        fs::metadata(&self.root).unwrap().dev()
    }

    fn write(&self, receipt: &MediaReceipt) -> Result<(), MediaError> {
        write(&self.root, "usb1".into(), self.device(), receipt)
    }

    fn receipts(&self) -> Utf8PathBuf {
        self.root.join("usb1").join(FOLDER)
    }

    fn names(&self) -> Vec<String> {
        let names =
            self.receipts().read_dir_utf8().unwrap().map(|entry| entry.unwrap().file_name().to_owned());
        let mut names = names.collect::<Vec<_>>();
        names.sort();
        names
    }
}

fn receipt(text: &str) -> MediaReceipt {
    MediaReceipt {
        site: "berlin".parse().unwrap(),
        digest: Digest::of(text.as_bytes()),
        json: text.as_bytes().to_vec(),
        signature: format!("signature of {text}"),
    }
}

fn names_of(receipt: &MediaReceipt) -> [String; 2] {
    let stem = format!("{}.{}", receipt.site, &receipt.digest.hex()[..12]);
    [format!("{stem}.receipt.json"), format!("{stem}.receipt.json.minisig")]
}

#[test]
fn a_receipt_takes_the_place_of_older_ones_of_its_site_and_of_nothing_else() {
    let drive = Drive::new();
    drive.write(&receipt("one")).unwrap();
    assert_eq!(drive.names(), names_of(&receipt("one")));
    let other = MediaReceipt { site: "berlin.north".parse().unwrap(), ..receipt("other") };
    drive.write(&other).unwrap();
    let kept = ["berlin.receipt.json", "berlin.0123456789ag.receipt.json", "notes.txt"];
    for name in kept {
        fs::write(drive.receipts().join(name), "kept").unwrap();
    }
    fs::write(drive.root.join("usb1/prod-1.krs.tar"), "bundle").unwrap();
    drive.write(&receipt("two")).unwrap();
    let mut expected = [names_of(&receipt("two")), names_of(&other)].concat();
    expected.extend(kept.map(str::to_owned));
    expected.sort();
    assert_eq!(drive.names(), expected);
    let [json, signature] =
        names_of(&receipt("two")).map(|name| fs::read(drive.receipts().join(name)).unwrap());
    assert_eq!((json, signature), (b"two".to_vec(), b"signature of two".to_vec()));
    assert_eq!(fs::read_dir(drive.root.join("usb1")).unwrap().count(), 2);
    // What is there already is not written again.
    let path = drive.receipts().join(&names_of(&receipt("two"))[0]);
    let before = fs::metadata(&path).unwrap().ino();
    drive.write(&receipt("two")).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().ino(), before);
}

#[test]
fn t292_what_is_left_of_media_that_were_pulled_is_never_taken_for_a_receipt_and_is_mended() {
    let drive = Drive::new();
    drive.write(&receipt("old")).unwrap();
    let [json, signature] = names_of(&receipt("new"));
    // As after each step of a write that did not come to its end: no file has the name of a receipt and is not one.
    for left in [vec![format!("{signature}.part")], vec![signature.clone(), format!("{json}.part")]] {
        for name in &left {
            fs::write(drive.receipts().join(name), "signature of n").unwrap();
        }
        assert!(!drive.names().contains(&json));
        drive.write(&receipt("new")).unwrap();
        assert_eq!(drive.names(), [json.clone(), signature.clone()]);
        assert_eq!(fs::read_to_string(drive.receipts().join(&signature)).unwrap(), "signature of new");
        drive.write(&receipt("old")).unwrap();
    }
    // The media are gone, and their folder is one of another file system, or none.
    let gone = write(&drive.root, "usb1".into(), drive.device() + 1, &receipt("new"));
    assert!(matches!(gone, Err(MediaError::Gone)), "{gone:?}");
    let gone = write(&drive.root, "usb2".into(), drive.device(), &receipt("new"));
    assert!(matches!(gone, Err(MediaError::Gone)), "{gone:?}");
    assert_eq!(drive.names(), names_of(&receipt("old")));
    assert!(!drive.root.join("usb2").exists());
}

#[test]
fn t293_no_symbolic_link_on_media_is_followed() {
    let drive = Drive::new();
    let victim = drive.root.join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("file"), "victim").unwrap();
    let is_untouched = || {
        fs::read_dir(&victim).unwrap().count() == 1
            && fs::read_to_string(victim.join("file")).unwrap() == "victim"
    };
    let refused = |drive: &Drive| matches!(drive.write(&receipt("new")), Err(MediaError::NotAFolder(_)));
    // The folder of the receipts is one, or a file.
    symlink(&victim, drive.receipts()).unwrap();
    assert!(refused(&drive) && is_untouched());
    fs::remove_file(drive.receipts()).unwrap();
    fs::write(drive.receipts(), "file").unwrap();
    assert!(refused(&drive));
    fs::remove_file(drive.receipts()).unwrap();
    // The media are one.
    symlink(&victim, drive.root.join("usb2")).unwrap();
    let linked = write(&drive.root, "usb2".into(), drive.device(), &receipt("new"));
    assert!(matches!(linked, Err(MediaError::NotAFolder(_))) && is_untouched(), "{linked:?}");
    let above = write(&drive.root, "../usb1".into(), drive.device(), &receipt("new"));
    assert!(matches!(above, Err(MediaError::NotAFolder(_))), "{above:?}");
    // The files are: they are replaced, not what they name.
    fs::create_dir(drive.receipts()).unwrap();
    let names = names_of(&receipt("new"));
    for name in names.iter().flat_map(|name| [name.clone(), format!("{name}.part")]) {
        symlink(victim.join("file"), drive.receipts().join(name)).unwrap();
    }
    drive.write(&receipt("new")).unwrap();
    assert!(is_untouched());
    assert_eq!(drive.names(), names);
    assert_eq!(fs::read_to_string(drive.receipts().join(&names[0])).unwrap(), "new");
}

#[test]
fn t294_media_that_cannot_be_written_to_are_an_error_that_says_what() {
    let drive = Drive::new();
    fs::create_dir_all(drive.receipts().join(&names_of(&receipt("new"))[0])).unwrap();
    let error = drive.write(&receipt("new")).unwrap_err();
    assert!(error.to_string().contains("cannot be written: "), "{error}");
    // A file system that nobody may create a folder in.
    let device = fs::metadata("/sys").unwrap().dev();
    let error = write("/sys".into(), "".into(), device, &receipt("new")).unwrap_err();
    assert!(error.to_string().contains("KRS-RECEIPTS cannot be created: "), "{error}");
}
