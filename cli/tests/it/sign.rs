// SPDX-License-Identifier: Apache-2.0
//! `krs sign`, and that one key signs one content in one way.

use std::fs;

use krs_core::bundle::sign::{PublicKey, Signatures, Trust};
use krs_core::oci::digest::Digest;

use crate::harness::{Desk, Site};

fn read(desk: &Desk, name: &str) -> Vec<u8> {
    fs::read(desk.path(name)).unwrap()
}

/// Asserts that the list of volumes says what is in them, and that this key signed it.
#[track_caller]
fn list_is_right(desk: &Desk, list: &str, volumes: &[String], key: &str) {
    let bytes = read(desk, list);
    let parsed: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    for (volume, file) in parsed["volumes"].as_array().unwrap().iter().zip(volumes) {
        let content = read(desk, file);
        assert_eq!(volume["digest"], Digest::of(&content).to_string(), "{file}");
        assert_eq!(volume["size"], content.len());
    }
    let key = PublicKey::parse(&String::from_utf8(read(desk, key)).unwrap(), key).unwrap();
    let signatures = Signatures::parse(&read(desk, &format!("{list}.minisig"))).unwrap();
    signatures.check(&bytes, &Trust::Keys(vec![key])).unwrap();
}

fn volumes(folder: &str, count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("{folder}a.krs.tar.{n:03}")).collect()
}

#[test]
fn t235_signed_bundles_of_one_commit_are_equal_byte_for_byte() {
    let site = Site::with_three_images();
    site.desk.keygen("ci");
    site.desk.keygen("office");
    let bundle = |name: &str, more: &[&str]| {
        site.bundle(name, &[&["--key", "ci.key"], more].concat()).ok();
        read(&site.desk, name)
    };
    let first = bundle("a.krs.tar", &[]);
    assert!(first == bundle("b.krs.tar", &["--jobs", "1"]));
    // Signed later, and again.
    site.bundle("c.krs.tar", &[]).ok();
    for _ in 0..2 {
        site.desk.krs(&["sign", "c.krs.tar", "--key", "ci.key"]).ok();
        assert!(first == read(&site.desk, "c.krs.tar"));
    }
    // Of two signatures none moves when it is made again.
    site.desk.krs(&["sign", "c.krs.tar", "--key", "office.key"]).ok();
    let both = read(&site.desk, "c.krs.tar");
    let report = site.desk.krs(&["sign", "c.krs.tar", "--key", "ci.key", "--format", "json"]).ok().json();
    assert_eq!(report["signatures"].as_array().unwrap().len(), 2, "{report}");
    assert!(both == read(&site.desk, "c.krs.tar"));
    // In volumes, with their list and its signature.
    for name in ["d.krs.tar", "e.krs.tar"] {
        site.bundle(name, &["--key", "ci.key", "--volume-size", "1MiB"]).ok();
    }
    for (d, e) in [("d.krs.tar.001", "e.krs.tar.001"), ("d.krs.tar.004", "e.krs.tar.004")] {
        assert!(read(&site.desk, d) == read(&site.desk, e), "{d}");
    }
    let list = read(&site.desk, "d.krs.json.minisig");
    site.bundle("d.krs.tar", &["--key", "ci.key", "--volume-size", "1MiB"]).ok();
    assert!(list == read(&site.desk, "d.krs.json.minisig"));
}

#[test]
fn t235_a_key_of_minisign_without_a_password_signs() {
    let site = Site::with_three_images();
    site.desk.keygen("k");
    // What `minisign -W` writes differs from what krs and rsign write by a checksum of zeros.
    let text = String::from_utf8(read(&site.desk, "k.key")).unwrap();
    let (comment, encoded) = text.trim().split_once('\n').unwrap();
    let kept = &encoded[..encoded.len() - 44];
    site.desk.write("w.key", format!("{comment}\n{kept}{}=\n", "A".repeat(43)));
    site.bundle("a.krs.tar", &["--key", "w.key"]).ok();
    site.desk.krs(&["verify", "a.krs.tar", "--public-key", "k.pub"]).ok();
    site.bundle("b.krs.tar", &["--key", "k.key"]).ok();
    assert!(read(&site.desk, "a.krs.tar") == read(&site.desk, "b.krs.tar"));
}

#[test]
fn t236_damaged_signatures_are_replaced_and_who_had_signed_is_told() {
    let site = Site::with_three_images();
    site.desk.keygen("ci");
    site.bundle("a.krs.tar", &["--key", "ci.key"]).ok();
    let right = read(&site.desk, "a.krs.tar");
    let needle = b"untrusted comment: signature";
    let at = right.windows(needle.len()).position(|window| window == needle).unwrap();
    // A bit of the comment, of the signature, and noise over all of the space.
    let noise = |bytes: &mut [u8]| bytes.iter_mut().for_each(|byte| *byte = 0xa5);
    for (from, to, replaced) in
        [(at + 3, at + 4, true), (at + 100, at + 101, false), (at, at + (16 << 10), true)]
    {
        let mut damaged = right.clone();
        noise(&mut damaged[from..to]);
        if !replaced {
            damaged[from] = if right[from] == b'A' { b'B' } else { b'A' };
        }
        site.desk.write("a.krs.tar", &damaged);
        let verify = ["verify", "a.krs.tar", "--public-key", "ci.pub"];
        assert_ne!(site.desk.krs(&verify).code, 0);
        let outcome = site.desk.krs(&["sign", "a.krs.tar", "--key", "ci.key"]).ok();
        assert_eq!(outcome.err.contains("the list of signatures is damaged"), replaced, "{outcome}");
        assert_eq!(outcome.err.contains("has to sign it again"), replaced, "{outcome}");
        assert!(read(&site.desk, "a.krs.tar") == right);
        site.desk.krs(&verify).ok();
    }
    // What else is damaged is not signed.
    let mut damaged = right.clone();
    damaged[at - 100] ^= 1;
    site.desk.write("a.krs.tar", &damaged);
    site.desk.krs(&["sign", "a.krs.tar", "--key", "ci.key"]).failed(4, &["a.krs.tar"]);
    assert!(read(&site.desk, "a.krs.tar") == damaged);
}

#[test]
fn t236_a_bundle_in_volumes_is_signed_with_their_list() {
    let site = Site::with_three_images();
    site.bundle("a.krs.tar", &["--volume-size", "1MiB"]).ok();
    site.desk.keygen("office");
    site.desk.krs(&["sign", "a.krs.tar", "--key", "office.key"]).ok();
    site.desk.krs(&["verify", "a.krs.tar", "--public-key", "office.pub"]).ok();
    list_is_right(&site.desk, "a.krs.json", &volumes("", 4), "office.pub");
    // A second signature leaves the list with that one alone: it says other bytes.
    site.desk.keygen("ci");
    site.desk.krs(&["sign", "a.krs.tar.003", "--key", "ci.key"]).ok();
    list_is_right(&site.desk, "a.krs.json", &volumes("", 4), "ci.pub");
    // Made again by the first, both stay.
    site.desk.krs(&["sign", "a.krs.tar", "--key", "office.key"]).ok();
    list_is_right(&site.desk, "a.krs.json", &volumes("", 4), "ci.pub");
    list_is_right(&site.desk, "a.krs.json", &volumes("", 4), "office.pub");
    // A bundle that is made again without a key leaves no signature of the list before.
    site.bundle("a.krs.tar", &["--volume-size", "1MiB"]).ok();
    assert!(!site.desk.path("a.krs.json.minisig").exists());
}

#[test]
fn t236_a_bundle_whose_volumes_lie_in_several_folders_is_signed_where_they_lie() {
    let site = Site::with_three_images();
    site.desk.keygen("ci");
    site.bundle("a.krs.tar", &["--volume-size", "1MiB"]).ok();
    for folder in ["one", "two"] {
        fs::create_dir(site.desk.path(folder)).unwrap();
        fs::copy(site.desk.path("a.krs.json"), site.desk.path(folder).join("a.krs.json")).unwrap();
    }
    fs::remove_file(site.desk.path("a.krs.json")).unwrap();
    for (n, folder) in [(1, "two"), (2, "one"), (3, "two"), (4, "one")] {
        let name = format!("a.krs.tar.{n:03}");
        fs::rename(site.desk.path(&name), site.desk.path(folder).join(&name)).unwrap();
    }
    let others =
        || ["one/a.krs.tar.002", "two/a.krs.tar.003", "one/a.krs.tar.004"].map(|name| read(&site.desk, name));
    let before = others();
    site.desk.krs(&["sign", "one/a.krs.tar", "--key", "ci.key"]).failed(6, &["a.krs.tar.001", "--volumes"]);
    site.desk.krs(&["sign", "one/a.krs.tar", "--volumes", "two", "--key", "ci.key"]).ok();
    assert!(others() == before, "the others are not written to");
    let all = ["verify", "two/a.krs.tar", "--volumes", "one", "--public-key", "ci.pub"];
    site.desk.krs(&all).ok();
    let files = ["two/a.krs.tar.001", "one/a.krs.tar.002", "two/a.krs.tar.003", "one/a.krs.tar.004"];
    for list in ["one/a.krs.json", "two/a.krs.json"] {
        list_is_right(&site.desk, list, &files.map(str::to_owned), "ci.pub");
    }
    // A list of another bundle is not touched, and nothing is signed.
    site.bundle("b.krs.tar", &["--sequence", "1", "--volume-size", "1MiB"]).ok();
    fs::copy(site.desk.path("b.krs.json"), site.desk.path("two/a.krs.json")).unwrap();
    let first = read(&site.desk, "two/a.krs.tar.001");
    site.desk.keygen("office");
    site.desk
        .krs(&["sign", "one/a.krs.tar", "--volumes", "two", "--key", "office.key"])
        .failed(4, &["two/a.krs.json", "it belongs to another bundle"]);
    assert!(read(&site.desk, "two/a.krs.tar.001") == first);
}

#[test]
fn t236_a_copy_of_volumes_has_the_signature_of_their_list() {
    let site = Site::with_three_images();
    site.desk.keygen("ci");
    site.bundle("a.krs.tar", &["--volume-size", "1MiB", "--key", "ci.key"]).ok();
    fs::create_dir(site.desk.path("usb")).unwrap();
    let copy = ["copy", "a.krs.tar", "usb", "--volume-size", "1MiB", "--public-key", "ci.pub"];
    let signed = "is not signed: with --public-key they can be checked only all together";
    for _ in 0..2 {
        let outcome = site.desk.krs(&copy).ok();
        assert!(!outcome.err.contains(signed), "{outcome}");
        list_is_right(&site.desk, "usb/a.krs.json", &volumes("usb/", 4), "ci.pub");
        // Also where everything but that was copied before.
        fs::remove_file(site.desk.path("usb/a.krs.json.minisig")).unwrap();
    }
    site.desk.krs(&copy).ok();
    fs::remove_file(site.desk.path("usb/a.krs.tar.002")).unwrap();
    site.desk
        .krs(&["verify", "usb/a.krs.tar", "--public-key", "ci.pub"])
        .failed(6, &["a.krs.tar.001 is undamaged", "a.krs.tar.002 is missing"]);
    // Volumes of another size have another list, which no key is here for.
    fs::create_dir(site.desk.path("other")).unwrap();
    let outcome = site.desk.krs(&["copy", "a.krs.tar", "other", "--volume-size", "2MiB"]).ok();
    assert!(
        outcome.err.contains(signed) && outcome.err.contains("krs sign other/a.krs.tar --key KEY"),
        "{outcome}"
    );
    assert!(!site.desk.path("other/a.krs.json.minisig").exists());
    site.desk.krs(&["sign", "other/a.krs.tar", "--key", "ci.key"]).ok();
    list_is_right(&site.desk, "other/a.krs.json", &volumes("other/", 2), "ci.pub");
    // Once it is signed, the same copy says so.
    let outcome = site.desk.krs(&["copy", "a.krs.tar", "other", "--volume-size", "2MiB"]).ok();
    assert!(!outcome.err.contains(signed), "{outcome}");
    list_is_right(&site.desk, "other/a.krs.json", &volumes("other/", 2), "ci.pub");
}

#[test]
fn t267_a_damaged_bundle_is_not_signed() {
    let site = Site::with_three_images();
    site.desk.keygen("ci");
    for (file, more) in [("a.krs.tar", &[][..]), ("v.krs.tar", &["--volume-size", "1MiB"])] {
        site.bundle(file, more).ok();
        let first = if more.is_empty() { file.to_owned() } else { format!("{file}.001") };
        let last = if more.is_empty() { file.to_owned() } else { format!("{file}.003") };
        let (right, unsigned) = (read(&site.desk, &last), read(&site.desk, &first));
        let mut damaged = right.clone();
        let at = damaged.len() - 200_000;
        damaged[at] ^= 1;
        site.desk.write(&last, &damaged);
        let sign = ["sign", file, "--key", "ci.key"];
        let named = format!("{last} is damaged: blobs/sha256/");
        site.desk.krs(&sign).failed(4, &[&named, "(at byte ", "help: copy the bundle again"]);
        if !more.is_empty() {
            assert!(read(&site.desk, &first) == unsigned, "nothing is written");
        }
        assert!(read(&site.desk, &last) == damaged, "nothing is written");
        // Who has verified it just now need not wait for that again, and is asked for no more.
        site.desk.krs(&[&sign[..], &["--no-verify"]].concat()).ok();
        site.desk.krs(&["verify", file, "--public-key", "ci.pub"]).failed(4, &[&named]);
        site.bundle(file, more).ok();
        site.desk.krs(&sign).ok();
        site.desk.krs(&["verify", file, "--public-key", "ci.pub"]).ok();
    }
}
