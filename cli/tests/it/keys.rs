// SPDX-License-Identifier: Apache-2.0
//! Who vouches for a bundle.

use crate::harness::{Desk, Site};

#[test]
fn t01_t02_a_bundle_without_the_right_signature_is_refused() {
    let site = Site::with_three_images();
    let krs = |arguments: &[&str]| site.desk.krs(arguments);
    site.desk.keygen("ours");
    site.desk.keygen("other");
    let said = site.bundle("a.krs.tar", &[]).ok();
    assert!(said.err.contains("the bundle is NOT SIGNED"), "{said}");
    krs(&["verify", "a.krs.tar", "--public-key", "ours.pub"]).failed(
        3,
        &["the bundle is not signed; expected a signature of key", "help: sign it with `krs sign"],
    );
    krs(&["sign", "a.krs.tar", "--key", "other.key"]).ok();
    krs(&["verify", "a.krs.tar", "--public-key", "ours.pub"])
        .failed(3, &["no trusted key signed the bundle"]);
    let unchecked = krs(&["verify", "a.krs.tar"]).ok();
    assert!(unchecked.out.contains("Nobody vouches for it: pass --public-key"), "{unchecked}");
    // A second signature is added beside the first.
    krs(&["sign", "a.krs.tar", "--key", "ours.key"]).ok();
    for key in ["ours.pub", "other.pub"] {
        let said = krs(&["verify", "a.krs.tar", "--public-key", key]).ok();
        assert!(said.out.contains("signed by a key that you trust"), "{said}");
        assert_eq!(said.err.matches("warning").count(), 0, "{said}");
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
    site.bundle("a.krs.tar", &["--key", "k.key"]).failed(2, &["no terminal to ask", "--passphrase-file"]);
    let wrong = site.bundle("a.krs.tar", &["--key", "k.key", "--passphrase-file", "wrong"]);
    wrong.failed(2, &["`k.key` cannot be used as a secret key"]);
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
    desk.krs(&["keygen", "-o", "z"]).failed(2, &["no terminal"]);
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
    let said = desk.krs_env(&[("KRS_KEY_FILE", &key)], &["sign", "a.krs.tar"]);
    let said = said.failed(2, &["named by its file, not given by its content"]);
    assert!(!said.err.contains(key.lines().nth(1).unwrap()));
    desk.krs(&["sign", "a.krs.tar", "--key", "k.pub"]).failed(2, &["k.pub is a public key"]);
}
