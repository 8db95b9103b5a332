// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used)]

use super::*;
use crate::bundle::sign::{PublicKey, SecretKey, generate};
use crate::error::{Classify as _, ErrorKind};
use crate::json;
use crate::oci::digest::Digest;

fn site(name: &str) -> SiteName {
    name.parse().unwrap()
}

fn keys() -> (SecretKey, PublicKey) {
    let pair = generate(None).unwrap();
    (SecretKey::parse(pair.secret.expose(), None, "k").unwrap(), PublicKey::parse(&pair.public, "k").unwrap())
}

fn known(key: &PublicKey, of: Option<&str>) -> SiteKeys {
    SiteKeys(vec![SiteKey { site: of.map(site), key: key.clone() }])
}

fn example() -> SiteReceipt {
    let reference =
        "registry.example/app:1@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let reference = reference.parse::<crate::oci::reference::Reference>().unwrap();
    let root = SiteRoot {
        digest: reference.digest.unwrap(),
        platforms: vec!["linux/amd64".parse().unwrap()],
        reference: reference.clone(),
        tags: vec!["1".parse().unwrap()],
    };
    let mut receipt =
        SiteReceipt::empty(site("berlin"), "2026-11-27T20:00:00Z".parse().unwrap(), "krs-importer 0".into());
    receipt.awaited = vec![AwaitedImage { platforms: vec![], reference }];
    let bundle = |stream: &str, sequence| ImportedBundle {
        created_at: "2026-11-20T04:00:00Z".parse().unwrap(),
        digest: Digest::of(&[1]),
        sequence,
        stream: stream.parse().unwrap(),
    };
    receipt.imported = vec![bundle("lab", 9), bundle("prod", 117), bundle("prod", 118)];
    receipt.refused = vec![RefusedBundle {
        file: "x.krs.tar".into(),
        message: "no trusted key signed it".into(),
        reason: "SignatureInvalid".into(),
        sequence: None,
        stream: None,
    }];
    receipt.registries = vec![SiteRegistry {
        abilities: RegistryCapabilities { sparse_index: Some(true) },
        registry: "edge.local:5000".parse().unwrap(),
        repositories: vec![SiteRepository { name: "apps/app".parse().unwrap(), roots: vec![root] }],
    }];
    receipt
}

fn short(content: &str, key: &SecretKey) -> ShortReceipt {
    let content = ShortReceiptContent {
        site: site(content),
        stream: "prod".parse().unwrap(),
        sequence: 118,
        digest: Digest::of(b"manifest"),
        created_at: "2026-11-27T20:00:00.5Z".parse().unwrap(),
        reads: 2,
    };
    ShortReceipt::sign(content, key).unwrap()
}

#[test]
fn a_receipt_of_a_site_is_canonical_and_reads_as_it_was_written() {
    let receipt = example();
    let bytes = receipt.encode().unwrap();
    assert!(json::is_canonical(&bytes));
    assert_eq!(AnyReceipt::parse(&bytes).unwrap(), AnyReceipt::Site(receipt.clone()));
    let newest = receipt.newest_imported().map(|bundle| (bundle.stream.as_str(), bundle.sequence));
    assert_eq!(newest.collect::<Vec<_>>(), [("lab", 9), ("prod", 118)]);
    assert_eq!(receipt.roots().count(), 1);
}

#[test]
fn a_receipt_of_a_site_that_contradicts_itself_is_refused() {
    type Change = fn(&mut SiteReceipt);
    let changes: [(&str, Change); 8] = [
        ("version", |receipt| receipt.format_version = 1),
        ("`imported`", |receipt| receipt.imported.swap(0, 2)),
        ("`imported`", |receipt| receipt.imported[1] = receipt.imported[2].clone()),
        ("`awaited`", |receipt| receipt.awaited = vec![receipt.awaited[0].clone(); 2]),
        ("`refused`", |receipt| receipt.refused = vec![receipt.refused[0].clone(); MAX_REFUSED + 1]),
        ("`registries`", |receipt| receipt.registries.push(receipt.registries[0].clone())),
        ("not plain text", |receipt| receipt.refused[0].message = "\u{1b}[2J".into()),
        ("images of apps/app", |receipt| {
            let roots = &mut receipt.registries[0].repositories[0].roots;
            roots.push(roots[0].clone());
        }),
    ];
    for (expected, change) in changes {
        let mut receipt = example();
        change(&mut receipt);
        let bytes = json::canonical(&receipt).unwrap();
        let error = SiteReceipt::parse(&bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(receipt.encode().is_err(), "{expected}");
    }
}

#[test]
fn t280_a_forged_receipt_is_refused_and_one_of_an_unknown_key_is_said() {
    let ((secret, public), (_, other)) = (keys(), keys());
    let bytes = example().encode().unwrap();
    let signature = sign_receipt(&bytes, &site("berlin"), &secret).unwrap();
    let check = |keys: &SiteKeys, bytes: &[u8], signature: Option<&str>| {
        keys.check_file(bytes, &site("berlin"), signature.map(str::as_bytes))
    };
    let ours = known(&public, None);
    assert_eq!(check(&ours, &bytes, Some(&signature)).unwrap(), Origin::Verified(public.id()));
    assert_eq!(check(&ours, &bytes, None).unwrap(), Origin::NotSigned);
    let unknown = Origin::UnknownKey(vec![public.id()]);
    assert_eq!(check(&known(&other, None), &bytes, Some(&signature)).unwrap(), unknown);
    assert_eq!(check(&SiteKeys::default(), &bytes, Some(&signature)).unwrap(), unknown);
    let changed = String::from_utf8(bytes).unwrap().replace("apps/app", "apps/xpp").into_bytes();
    let error = check(&ours, &changed, Some(&signature)).unwrap_err();
    assert!(matches!(error, ReceiptError::Forged(id) if id == public.id()), "{error}");
    assert_eq!(error.kind(), ErrorKind::Trust);
    assert!(check(&ours, &changed, Some("nothing")).is_err());

    let receipt = short("berlin", &secret);
    assert_eq!(ours.check_short(&receipt).unwrap(), Origin::Verified(public.id()));
    let text = receipt.to_string().replace(":118:", ":119:");
    let error = ours.check_short(&text.parse().unwrap()).unwrap_err();
    assert!(matches!(error, ReceiptError::Forged(_)), "{error}");
}

#[test]
fn t281_a_key_of_one_site_does_not_sign_for_another() {
    let ((berlin, berlin_key), (stranger, stranger_key)) = (keys(), keys());
    let of = |site_of: &str, secret| {
        let mut receipt = example();
        receipt.site = site(site_of);
        let bytes = receipt.encode().unwrap();
        let signature = sign_receipt(&bytes, &receipt.site, secret).unwrap();
        (bytes, signature)
    };
    let mut all = known(&berlin_key, Some("berlin"));
    all.0.push(SiteKey { site: None, key: stranger_key.clone() });
    let check = |keys: &SiteKeys, name: &str, (bytes, signature): &(Vec<u8>, String)| {
        keys.check_file(bytes, &site(name), Some(signature.as_bytes()))
    };
    assert_eq!(check(&all, "berlin", &of("berlin", &berlin)).unwrap(), Origin::Verified(berlin_key.id()));
    assert_eq!(check(&all, "kiel", &of("kiel", &stranger)).unwrap(), Origin::Verified(stranger_key.id()));
    for (name, secret, expected) in [("kiel", &berlin, "of site berlin"), ("berlin", &stranger, "key")] {
        let error = check(&all, name, &of(name, secret)).unwrap_err();
        assert!(matches!(error, ReceiptError::NotOfSite { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let (bytes, _) = of("berlin", &berlin);
    assert!(all.check_file(&bytes, &site("berlin"), None).is_err(), "its key is known, and it is not signed");
    let error = all.check_short(&short("kiel", &berlin)).unwrap_err();
    assert!(matches!(error, ReceiptError::NotOfSite { .. }), "{error}");
}

#[test]
fn t282_a_receipt_with_a_bomb_inside_is_refused_before_it_is_built() {
    let deep = format!("{{\"formatVersion\":2,\"kind\":\"site\",\"awaited\":{}", "[".repeat(100_000));
    assert!(AnyReceipt::parse(deep.as_bytes()).is_err());
    let keys = (0..70_000).map(|n| format!("\"k{n}\":0")).collect::<Vec<_>>().join(",");
    let wide = format!("{{\"formatVersion\":2,\"kind\":\"site\",{keys}}}");
    let error = AnyReceipt::parse(wide.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("keys"), "{error}");
    let long = vec![b' '; MAX_RECEIPT + 1];
    assert!(AnyReceipt::parse(&long).unwrap_err().to_string().contains("more than"));
    let short = format!("{SHORT_RECEIPT_PREFIX}1:{}", "a".repeat(MAX_SHORT_RECEIPT));
    assert!(AnyReceipt::parse(short.as_bytes()).unwrap_err().to_string().contains("more than 300"));
    let many = SHORT_RECEIPT_PREFIX.repeat(100_000);
    assert!(AnyReceipt::parse(many.as_bytes()).unwrap_err().to_string().contains("100000 receipts"));
}

#[test]
fn a_short_receipt_survives_line_breaks_and_nothing_else() {
    let (secret, public) = keys();
    let receipt = short("berlin", &secret);
    let text = receipt.to_string();
    assert!(text.len() < 230, "{} bytes", text.len());
    assert!(text.starts_with("krs-receipt:1:berlin:prod:118:"), "{text}");
    assert!(text.contains(":20261127T200000Z:2:"), "{text}");
    let broken = text.as_bytes().chunks(60).map(|line| String::from_utf8_lossy(line).into_owned());
    let broken = broken.collect::<Vec<_>>().join("\r\n  ");
    let two = format!("\u{feff}\n{broken}\n\n{text}\n");
    let AnyReceipt::Short(read) = AnyReceipt::parse(two.as_bytes()).unwrap() else { panic!("not short") };
    assert_eq!(read, [receipt.clone(), receipt.clone()]);
    assert!(matches!(known(&public, None).check_short(&read[0]), Ok(Origin::Verified(_))));
    for (from, to) in
        [(":1:", ":2:"), (":118:", ":0118:"), (":118:", ":+118:"), (":berlin:", ":ber/lin:"), (":prod:", ":")]
    {
        assert!(text.replacen(from, to, 1).parse::<ShortReceipt>().is_err(), "{to}");
    }
    for cut in 0..text.len() {
        assert!(text[..cut].parse::<ShortReceipt>().is_err(), "cut after {cut} bytes");
    }
}

#[test]
fn a_short_receipt_has_at_most_300_bytes_and_names_that_are_too_long_are_said() {
    let (secret, _) = keys();
    let with = |length: usize| {
        let content = ShortReceiptContent {
            site: site(&"s".repeat(length)),
            stream: "t".repeat(63).parse().unwrap(),
            sequence: 1_800_000_000,
            digest: Digest::of(b""),
            created_at: "2026-11-27T20:00:00Z".parse().unwrap(),
            reads: 2,
        };
        ShortReceipt::sign(content, &secret)
    };
    let longest = (1..64).rev().find_map(|length| with(length).ok()).unwrap();
    assert!(longest.to_string().len() <= MAX_SHORT_RECEIPT);
    assert_eq!(longest.to_string().parse::<ShortReceipt>().unwrap(), longest);
    assert!(longest.content().site.as_str().len() > 20);
    if let Err(error) = with(63) {
        assert!(matches!(error, ReceiptError::TooLong { .. }), "{error}");
    }
}
