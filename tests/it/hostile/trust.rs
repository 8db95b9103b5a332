// SPDX-License-Identifier: Apache-2.0
//! Who vouches for a bundle, what it says of itself, and what it may follow.

use std::fs::OpenOptions;
use std::io::{Seek as _, SeekFrom, Write as _};

use jiff::Timestamp;
use krs_core::bundle::sign::{SIGNATURES_SIZE, SignError, Signatures, Trust};
use krs_core::bundle::{
    Bundle, BundleError, Freshness, HighWaterMark, Layout, ManifestError, Policy, RollbackError, StreamName,
};
use krs_core::error::{Classify as _, ErrorKind};
use krs_core::format::FORMAT_VERSION;

use super::forge::{Drive, Parts, keys, refused, sample, verdict};

/// What `policy` says to `bytes`, which must be refused.
#[track_caller]
fn against(bytes: &[u8], policy: &Policy) -> BundleError {
    let error = verdict(bytes, policy).expect_err("it is refused");
    assert!(error.help().is_some(), "{error} does not say what to do");
    error
}

/// The archive up to the end of the signatures: all that may be read before they are found to be good.
fn only_the_signed_part(bytes: &[u8]) -> Vec<u8> {
    bytes[..sample().sets_at - 512].to_vec()
}

#[test]
fn t01_a_bundle_without_a_signature_is_refused_before_anything_else_is_read() {
    let sample = sample();
    for bytes in [sample.unsigned.clone(), only_the_signed_part(&sample.unsigned)] {
        let error = against(&bytes, &sample.trusting);
        assert!(matches!(error, BundleError::Signature { source: SignError::Missing { .. }, .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Trust);
    }
}

#[test]
fn t02_an_unknown_key_is_refused_with_both_keys_named() {
    let (parts, (ours, policy), (theirs, _)) = (Parts::new(1), keys(), keys());
    let original = parts.signed(&[&theirs]);
    for bytes in [original.clone(), only_the_signed_part(&original)] {
        let error = against(&bytes, &policy);
        assert!(
            matches!(error, BundleError::Signature { source: SignError::Untrusted { .. }, .. }),
            "{error}"
        );
        for id in [ours.id(), theirs.id()] {
            assert!(error.to_string().contains(&id.to_string()), "{error}");
        }
    }
}

#[test]
fn t03_a_key_counts_once_however_often_it_signed_or_is_trusted() {
    let (parts, (key, policy)) = (Parts::new(1), keys());
    let encoded = parts.manifest.encode().unwrap();
    let mut signatures = Signatures::default();
    signatures.sign(&encoded, &key, "c").unwrap();
    let entry = signatures.entry().unwrap();
    let used = entry.iter().rposition(|byte| *byte != b'\n').unwrap() + 2;
    let mut twice = [&entry[..used], &entry[..used]].concat();
    twice.resize(SIGNATURES_SIZE, b'\n');
    let drive = Drive::with(&parts.assemble(&encoded, &twice));
    let Trust::Keys(keys) = &policy.trust else { unreachable!() };
    let policy = Policy { trust: Trust::Keys([&keys[..], &keys[..]].concat()), ..Policy::default() };
    let bundle = Bundle::open(&drive.path, &policy).unwrap();
    assert_eq!((bundle.key_ids().len(), bundle.signers().len()), (2, 1));
}

#[test]
fn t04_a_changed_manifest_is_refused_before_it_is_read_as_json() {
    let sample = sample();
    let size = usize::try_from(Layout::new(&Parts::new(1).manifest, b"").unwrap().manifest_size).unwrap();
    assert_eq!(size, 0, "the size is that of what is encoded");
    let size = Parts::new(1).manifest.encode().unwrap().len();
    for at in (1536..1536 + size).step_by(7).chain([1536]) {
        let mut bytes = sample.signed.clone();
        // Not JSON any more, wherever it is; what is said is that the signature does not fit.
        bytes[at] = 0xff;
        let error = against(&bytes, &sample.trusting);
        assert!(
            matches!(error, BundleError::Signature { source: SignError::Invalid(_), .. }),
            "byte {at}: {error}"
        );
    }
}

#[test]
fn t05_signatures_that_claim_ten_gigabytes_are_read_for_16_kib() {
    let sample = sample();
    let at = sample.sets_at - 512 - SIGNATURES_SIZE - 512;
    let header = krs_core::bundle::layout::header("krs/signatures", 10 << 30).unwrap();
    let mut bytes = sample.signed.clone();
    bytes[at..at + 512].copy_from_slice(&header);
    let drive = Drive::with(&bytes);
    let mut file = OpenOptions::new().write(true).open(&drive.path).unwrap();
    for grown in [false, true] {
        if grown {
            // They are really there.
            file.set_len(10 << 30).unwrap();
            file.seek(SeekFrom::End(0)).unwrap();
            file.write_all(&[0; 1024]).unwrap();
        }
        let error = drive.judge(&sample.trusting).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[test]
fn t06_a_manifest_that_is_no_sane_json_is_refused() {
    let (parts, none) = (Parts::new(1), Signatures::default().entry().unwrap());
    let good = String::from_utf8(parts.manifest.encode().unwrap()).unwrap();
    let fields = (0..1_000_000).map(|n| format!(r#""{n}":0"#)).collect::<Vec<_>>().join(",");
    let wide = good.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let cases = [
        ("", Vec::new()),
        ("nested", deep.into_bytes()),
        ("nested in a field", good.replacen('{', &format!(r#"{{"a":{},"#, "[".repeat(100_000)), 1).into()),
        ("a million fields", format!("{{{fields}}}").into_bytes()),
        ("a field twice", good.replacen('{', r#"{"sequence":1,"#, 1).into_bytes()),
        ("no number", good.replacen(r#""sequence":"#, r#""sequence":NaN,"x":"#, 1).into_bytes()),
        ("a byte order mark", format!("\u{feff}{good}").into_bytes()),
        ("UTF-16", wide),
        ("white space", format!("{good}\n").into_bytes()),
        ("another document behind it", format!("{good}{{}}").into_bytes()),
        ("no object", b"null".to_vec()),
    ];
    for (what, encoded) in cases {
        let error = refused(&parts.assemble(&encoded, &none), ErrorKind::Corrupt);
        assert!(matches!(error, BundleError::Manifest { .. }), "{what}: {error}");
    }
}

#[test]
fn t07_a_bundle_of_a_later_format_asks_for_a_newer_krs() {
    let (parts, none) = (Parts::new(1), Signatures::default().entry().unwrap());
    let good = String::from_utf8(parts.manifest.encode().unwrap()).unwrap();
    for version in [0, FORMAT_VERSION + 1, u32::MAX] {
        let text = format!("\"formatVersion\":{version},\"more\":{{\"than\":\"we know\"}}");
        let later = good.replace("\"formatVersion\":1", &text);
        let error = refused(&parts.assemble(later.as_bytes(), &none), ErrorKind::Corrupt);
        let is_version =
            |source: &ManifestError| matches!(source, ManifestError::Version(n) if *n == version);
        assert!(matches!(&error, BundleError::Manifest { source, .. } if is_version(source)), "{error}");
        assert!(error.to_string().contains(&format!("reads up to version {FORMAT_VERSION}")), "{error}");
        let help = error.help().unwrap();
        assert!(
            help.starts_with("update krs") && help.ends_with(&format!("--format-version {FORMAT_VERSION}")),
            "{help}"
        );
    }
}

#[test]
fn t08_while_keys_are_changed_either_is_good_and_afterwards_only_the_new_one() {
    let (parts, (old, trusts_old), (new, trusts_new)) = (Parts::new(1), keys(), keys());
    let (Trust::Keys(one), Trust::Keys(other)) = (&trusts_old.trust, &trusts_new.trust) else {
        unreachable!()
    };
    let both = Policy { trust: Trust::Keys([&one[..], &other[..]].concat()), ..Policy::default() };
    for bytes in [parts.signed(&[&old]), parts.signed(&[&new]), parts.signed(&[&old, &new])] {
        verdict(&bytes, &both).unwrap();
    }
    verdict(&parts.signed(&[&old, &new]), &trusts_new).unwrap();
    assert_eq!(against(&parts.signed(&[&old]), &trusts_new).kind(), ErrorKind::Trust);
}

fn with(freshness: Freshness) -> Policy {
    Policy { freshness, ..sample().trusting.clone() }
}

#[test]
fn t26_a_bundle_for_another_site_or_stream_is_refused() {
    let (mut parts, (key, trusting)) = (Parts::new(1), keys());
    parts.manifest.audience = vec!["berlin".into(), "paris".into()];
    let bytes = parts.signed(&[&key]);
    let asks = |audience: Option<&str>, stream: Option<&str>| {
        let stream = stream.map(|name| name.parse::<StreamName>().unwrap());
        let freshness = Freshness { audience: audience.map(Into::into), stream, ..Freshness::default() };
        Policy { freshness, ..trusting.clone() }
    };
    verdict(&bytes, &asks(Some("paris"), Some("default"))).unwrap();
    verdict(&bytes, &asks(None, None)).unwrap();
    let error = against(&bytes, &asks(Some("rome"), None));
    assert_eq!(error.kind(), ErrorKind::Rollback);
    assert!(error.to_string().contains("is for berlin, paris, not for rome"), "{error}");
    assert_eq!(against(&bytes, &asks(None, Some("prod"))).kind(), ErrorKind::Rollback);
}

#[test]
fn t27_t28_t29_a_sequence_goes_up_or_stays_with_the_same_content() {
    let (key, trusting) = keys();
    let bundle = |sequence: u64| {
        let mut parts = Parts::new(1);
        parts.manifest.sequence = sequence;
        let identity = parts.manifest.identity().unwrap();
        (parts.signed(&[&key]), identity)
    };
    let ((seven, identity), (six, _), (most, _)) = (bundle(7), bundle(6), bundle(u64::MAX));
    let after = |sequence, identity| Policy {
        freshness: Freshness { accepted: Some(HighWaterMark { sequence, identity }), ..Freshness::default() },
        ..trusting.clone()
    };
    let refusal = |bytes: &[u8], policy: &Policy| match against(bytes, policy) {
        BundleError::Rollback { source, .. } => source,
        other => panic!("{other}"),
    };
    verdict(&seven, &after(7, Some(identity))).unwrap();
    assert!(matches!(refusal(&six, &after(7, Some(identity))), RollbackError::Older { .. }));
    let (_, other) = bundle(8);
    assert!(matches!(refusal(&seven, &after(7, Some(other))), RollbackError::Reused { .. }));

    // The highest number there is shuts out all that come later, so it takes a key that is trusted.
    verdict(&most, &after(7, Some(identity))).unwrap();
    assert_eq!(against(&most, &with(Freshness::default())).kind(), ErrorKind::Trust);
    assert!(matches!(refusal(&seven, &after(u64::MAX, None)), RollbackError::Older { .. }));
    // The way back: a new stream (or a mark that was reset with the key).
    let mark = HighWaterMark { sequence: u64::MAX, identity: None };
    let streams = [("prod".parse().unwrap(), mark)].into();
    verdict(&seven, &Policy { freshness: Freshness { streams, ..Freshness::default() }, ..trusting.clone() })
        .unwrap();
}

#[test]
fn t30_an_end_is_compared_with_any_clock_and_both_times_are_shown() {
    let (key, trusting) = keys();
    let mut parts = Parts::new(1);
    parts.manifest.not_after = Some("2027-01-01T00:00:00Z".parse().unwrap());
    let bytes = parts.signed(&[&key]);
    let at = |now: Option<Timestamp>| Policy {
        freshness: Freshness { now, ..Freshness::default() },
        ..trusting.clone()
    };
    let time = |text: &str| Some(text.parse::<Timestamp>().unwrap());
    for early in [None, Some(Timestamp::MIN), time("1970-01-01T00:00:00Z"), time("2027-01-01T00:00:00Z")] {
        verdict(&bytes, &at(early)).unwrap();
    }
    for late in ["2027-01-01T00:00:01Z", "2036-11-25T00:00:00Z", "2038-01-19T03:14:08Z"] {
        let error = against(&bytes, &at(time(late)));
        assert_eq!(error.kind(), ErrorKind::Rollback);
        assert!(error.to_string().contains("2027-01-01T00:00:00Z"), "{error}");
        assert!(error.to_string().contains(late), "{error}");
    }
    against(&bytes, &at(Some(Timestamp::MAX)));
}

#[test]
fn t45_digests_of_other_kinds_in_the_manifest_are_refused() {
    let (parts, none) = (Parts::new(1), Signatures::default().entry().unwrap());
    let good = String::from_utf8(parts.manifest.encode().unwrap()).unwrap();
    let digest = parts.manifest.blobs[0].digest.to_string();
    let bad = [
        digest.replace("sha256:", "sha512:"),
        digest.replace("sha256:", "md5:"),
        digest.replace("sha256:", "SHA256:"),
        digest.to_uppercase().replace("SHA256", "sha256"),
        digest[..digest.len() - 1].to_owned(),
        "sha256:../../../../etc/passwd".to_owned(),
        digest.replace("sha256:", ""),
    ];
    for bad in bad {
        let encoded = good.replace(&digest, &bad);
        let error = refused(&parts.assemble(encoded.as_bytes(), &none), ErrorKind::Corrupt);
        assert!(matches!(error, BundleError::Manifest { .. }), "{bad}: {error}");
    }
}
