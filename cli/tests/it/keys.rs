// SPDX-License-Identifier: Apache-2.0
//! Who vouches for a bundle.

use crate::harness::{Desk, Site};

#[test]
fn t01_t02_a_bundle_without_the_right_signature_is_refused() {
    let site = Site::with_three_images();
    let krs = |arguments: &[&str]| site.desk.krs(arguments);
    site.desk.keygen("ours");
    site.desk.keygen("other");
    let outcome = site.bundle("a.krs.tar", &[]).ok();
    assert!(outcome.err.contains("the bundle is NOT SIGNED"), "{outcome}");
    krs(&["verify", "a.krs.tar", "--public-key", "ours.pub"]).failed(
        3,
        &["the bundle is not signed; expected a signature of key", "help: ask the sender to sign it"],
    );
    krs(&["sign", "a.krs.tar", "--key", "other.key"]).ok();
    krs(&["verify", "a.krs.tar", "--public-key", "ours.pub"])
        .failed(3, &["no trusted key signed the bundle"]);
    let unchecked = krs(&["verify", "a.krs.tar"]).ok();
    assert!(unchecked.out.contains("Its origin is not verified: pass --public-key"), "{unchecked}");
    // A second signature is added beside the first.
    krs(&["sign", "a.krs.tar", "--key", "ours.key"]).ok();
    for key in ["ours.pub", "other.pub"] {
        let outcome = krs(&["verify", "a.krs.tar", "--public-key", key]).ok();
        assert!(outcome.out.contains("signed by a key that you trust"), "{outcome}");
        assert_eq!(outcome.err.matches("warning").count(), 0, "{outcome}");
    }
    for command in ["push", "serve"] {
        site.desk.keygen(command);
        let more: &[&str] = if command == "push" { &["127.0.0.1:1"] } else { &[] };
        let key = format!("{command}.pub");
        krs(&[&[command, "a.krs.tar"], more, &["--public-key", &key]].concat())
            .failed(3, &["is not trusted"]);
    }
}

#[test]
fn t27_t30_freshness_is_asked_for_by_flags() {
    let site = Site::with_three_images();
    site.bundle("a.krs.tar", &["--stream", "berlin", "--sequence", "7", "--audience", "berlin"]).ok();
    let verify = |more: &[&str]| site.desk.krs(&[&["verify", "a.krs.tar"], more].concat());
    verify(&["--stream", "berlin", "--min-sequence", "7", "--audience", "berlin"]).ok();
    verify(&["--min-sequence", "8"]).failed(5, &["sequence 7 of stream `berlin` is lower than 8"]);
    verify(&["--stream", "paris"]).failed(5, &["stream `berlin`, expected stream `paris`"]);
    verify(&["--audience", "paris"]).failed(5, &["is for berlin, not for paris"]);
    site.bundle("b.krs.tar", &["--not-after", "30d"]).ok();
    site.desk.krs(&["verify", "b.krs.tar"]).ok();
}

#[test]
fn t91_a_passphrase_comes_by_file_or_prompt_only() {
    let site = Site::with_three_images();
    let krs = |arguments: &[&str]| site.desk.krs(arguments);
    site.desk.write("pass", "correct horse\n");
    site.desk.write("wrong", "battery staple\n");
    krs(&["keygen", "-o", "k", "--passphrase-file", "pass"]).ok();
    site.desk.write("blank", "\n");
    let blank = site.bundle("a.krs.tar", &["--key", "k.key", "--passphrase-file", "blank"]);
    blank.failed(2, &["no passphrase in blank: its first line is empty"]);
    let wrong = site.bundle("a.krs.tar", &["--key", "k.key", "--passphrase-file", "wrong"]);
    wrong.failed(
        2,
        &[
            "`k.key` cannot be used as a secret key: wrong passphrase",
            "help: the passphrase is the first line of wrong (--passphrase-file)",
        ],
    );
    assert_eq!(site.source.requests().iter().filter(|r| r.method == "GET").count(), 0, "the key comes first");
    site.bundle("a.krs.tar", &["--key", "k.key", "--passphrase-file", "pass"]).ok();
    krs(&["verify", "a.krs.tar", "--public-key", "k.pub"]).ok();
}

#[test]
fn keys_are_never_overwritten_and_not_readable_by_others() {
    let desk = Desk::new();
    desk.keygen("k");
    let before = std::fs::read(desk.path("k.key")).unwrap();
    desk.krs(&["keygen", "-o", "k", "--no-passphrase"]).failed(2, &["k.key exists already"]);
    std::fs::remove_file(desk.path("k.pub")).unwrap();
    desk.krs(&["keygen", "-o", "k", "--no-passphrase"]).failed(2, &["k.key exists already"]);
    assert!(std::fs::read(desk.path("k.key")).unwrap() == before);
    assert_eq!(desk.files(), ["k.key"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(desk.path("k.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn t91_a_key_that_was_pasted_in_place_of_its_name_is_not_repeated() {
    let desk = Desk::new();
    desk.keygen("k");
    let key = std::fs::read_to_string(desk.path("k.key")).unwrap();
    let encoded = key.lines().nth(1).unwrap();
    for pasted in [key.as_str(), encoded] {
        let outcome = desk.krs_env(&[("KRS_KEY_FILE", pasted)], &["sign", "a.krs.tar"]);
        let outcome = outcome.failed(2, &["named by its file, not given by its content"]);
        assert!(!outcome.err.contains(&encoded[20..60]), "{outcome}");
    }
}

#[test]
fn t239_a_file_for_a_key_that_is_empty_or_another_key_is_called_that() {
    let site = Site::with_three_images();
    let desk = &site.desk;
    desk.keygen("k");
    site.bundle("a.krs.tar", &["--key", "k.key"]).ok();
    desk.write("empty", "");
    desk.write("blank", "\n\n");
    desk.write("comment", "untrusted comment: krs public key\n");
    desk.write("pem", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n");
    desk.write("large", vec![b'x'; 20_000]);
    desk.write("bytes", [0xff, 0xfe, b'R', 0, b'W', 0]);
    let files = [
        ("empty", "it is empty"),
        ("blank", "it is empty"),
        ("comment", "it holds no key in minisign's format"),
        ("pem", "it is a PEM file"),
        ("bytes", "it holds no key"),
        ("large", "larger than 16384 bytes\nhelp: "),
        ("absent", "No such file or directory (os error 2)\nhelp: check the path. `krs keygen` makes"),
        (".", "Is a directory (os error 21)\nhelp: name the file in this folder"),
        ("", "the value is empty"),
    ];
    for (file, problem) in files {
        for command in ["verify", "inspect", "copy"] {
            let more: &[&str] = if command == "copy" { &["home"] } else { &[] };
            let all = [&[command, "a.krs.tar"], more, &["--public-key", file]].concat();
            desk.krs(&all).failed(2, &[problem]);
        }
        desk.krs(&["push", "a.krs.tar", "127.0.0.1:1", "--public-key", file]).failed(2, &[problem]);
        desk.krs(&["sign", "a.krs.tar", "--key", file]).failed(2, &[problem]);
        site.bundle("b.krs.tar", &["--key", file]).failed(2, &[problem]);
        assert!(!desk.path("b.krs.tar").exists());
    }
    desk.krs(&["verify", "a.krs.tar", "--public-key", "empty"]).failed(2, &["is the variable of type File"]);
    desk.krs(&["verify", "a.krs.tar", "--public-key", "k.key"])
        .failed(2, &["`k.key` cannot be used as a public key: it is a secret key", "keep the secret key"]);
    desk.krs(&["sign", "a.krs.tar", "--key", "k.pub"])
        .failed(2, &["`k.pub` cannot be used as a secret key: it is a public key", "the .key file"]);
    // A key without its comment is read, as `minisign -P` takes it.
    let key = std::fs::read_to_string(desk.path("k.pub")).unwrap();
    desk.write("short.pub", key.lines().nth(1).unwrap());
    desk.krs(&["verify", "a.krs.tar", "--public-key", "short.pub"]).ok();
}

#[test]
fn t238_a_clock_behind_the_bundle_is_named_and_the_expiry_not_called_met() {
    let site = Site::with_three_images();
    let made = |file: &str, more: &[&str]| {
        let all = [&["bundle", site.checkout.path().as_str(), "-o", file], more].concat();
        site.desk.krs_env(&[("SOURCE_DATE_EPOCH", "4102444800")], &all).ok();
    };
    made("a.krs.tar", &["--not-after", "2101-01-01"]);
    made("b.krs.tar", &[]);
    let clock = "this machine's clock says 20";
    let edge = site.edge.host().to_string();
    std::fs::create_dir(site.desk.path("usb")).unwrap();
    let commands = [
        &["verify", "F"][..],
        &["push", "F", &edge],
        &["push", "F", &edge, "--dry-run"],
        &["copy", "F", "usb"],
    ];
    for command in commands {
        let of = |file: &'static str| {
            command.iter().map(|word| if *word == "F" { file } else { *word }).collect::<Vec<_>>()
        };
        let mut expires = of("a.krs.tar");
        let outcome = site.desk.krs(&expires);
        let outcome = outcome.failed(
            5,
            &[clock, "made at 2100-01-01", "whether it has expired (2101-01-01T00:00:00Z) cannot be told"],
        );
        assert_eq!(outcome.out, "");
        assert!(outcome.err.contains("--ignore-expiry"), "{outcome}");
        expires.push("--ignore-expiry");
        let outcome = site.desk.krs(&expires).ok();
        assert!(outcome.err.contains(clock) && !outcome.out.contains("not expired"), "{outcome}");
        // One that never expires.
        let outcome = site.desk.krs(&of("b.krs.tar")).ok();
        assert!(outcome.err.contains(clock), "{outcome}");
    }
    let outcome = site.desk.krs(&["inspect", "a.krs.tar"]).ok();
    assert!(outcome.err.contains(clock), "{outcome}");
    for command in ["inspect", "verify"] {
        let report = site.desk.krs(&[command, "b.krs.tar", "--format", "json"]).ok().json();
        assert!(report["warnings"][0].as_str().unwrap().contains(clock), "{report}");
    }
    site.bundle("c.krs.tar", &["--not-after", "30d"]).ok();
    let outcome = site.desk.krs(&["verify", "c.krs.tar"]).ok();
    assert!(!outcome.err.contains("clock") && outcome.out.contains("not expired"), "{outcome}");
}
