// SPDX-License-Identifier: Apache-2.0
//! Damage of any kind, and files that are no archives.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::bundle::{Bundle, BundleError, Policy};
use krs_core::error::{Classify as _, ErrorKind};
use proptest::prelude::*;

use super::forge::{Drive, sample, verdict};

#[test]
fn an_untouched_bundle_is_accepted() {
    let sample = sample();
    verdict(&sample.unsigned, &Policy::default()).unwrap();
    verdict(&sample.signed, &Policy::default()).unwrap();
    verdict(&sample.signed, &sample.trusting).unwrap();
    let refused = verdict(&sample.unsigned, &sample.trusting).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Trust, "T-01");
}

/// One way in which an archive is damaged.
#[derive(Debug, Clone)]
enum Damage {
    Flip { at: usize, bit: u8 },
    Cut { at: usize },
    Append { bytes: Vec<u8> },
    Swap { one: usize, other: usize },
    Zero { at: usize, length: usize },
    Duplicate { at: usize },
    Drop { at: usize },
}

impl Damage {
    /// The damaged archive; `None` if the damage changes nothing.
    fn apply(&self, original: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = original.to_vec();
        let block = |n: usize| n % (original.len() / 512) * 512;
        match self {
            Self::Flip { at, bit } => bytes[at % original.len()] ^= 1 << (bit % 8),
            Self::Cut { at } => bytes.truncate(at % original.len()),
            Self::Append { bytes: more } => bytes.extend(more),
            Self::Swap { one, other } => {
                let (one, other) = (block(*one), block(*other));
                bytes[one..one + 512].copy_from_slice(&original[other..other + 512]);
                bytes[other..other + 512].copy_from_slice(&original[one..one + 512]);
            }
            Self::Zero { at, length } => {
                let at = at % original.len();
                let end = (at + length).min(original.len());
                bytes[at..end].fill(0);
            }
            Self::Duplicate { at } => {
                let copy = original[block(*at)..block(*at) + 512].to_vec();
                bytes.splice(block(*at)..block(*at), copy);
            }
            Self::Drop { at } => {
                bytes.drain(block(*at)..block(*at) + 512);
            }
        }
        (bytes != original).then_some(bytes)
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = || 0..usize::MAX;
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        // The part before the blobs is small and the most delicate.
        4 => (0..40_000_usize, any::<u8>()).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        2 => at().prop_map(|at| Damage::Cut { at }),
        1 => prop::collection::vec(any::<u8>(), 1..2000).prop_map(|bytes| Damage::Append { bytes }),
        2 => (at(), at()).prop_map(|(one, other)| Damage::Swap { one, other }),
        2 => (at(), 1..5000_usize).prop_map(|(at, length)| Damage::Zero { at, length }),
        2 => at().prop_map(|at| Damage::Duplicate { at }),
        2 => at().prop_map(|at| Damage::Drop { at }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn t09_t20_no_damage_to_any_byte_goes_unnoticed(damage in damage(), signed: bool) {
        let sample = sample();
        let trusting = sample.trusting.clone();
        let (original, policy) = if signed { (&sample.signed, trusting) } else { (&sample.unsigned, Policy::default()) };
        let Some(bytes) = damage.apply(original) else { return Ok(()) };
        let Err(error) = verdict(&bytes, &policy) else { panic!("{damage:?} went unnoticed") };
        let allowed: &[ErrorKind] = match damage {
            Damage::Cut { .. } => &[ErrorKind::Incomplete],
            Damage::Append { .. } => &[ErrorKind::Corrupt],
            _ if signed => &[ErrorKind::Corrupt, ErrorKind::Trust, ErrorKind::Incomplete],
            _ => &[ErrorKind::Corrupt, ErrorKind::Incomplete],
        };
        prop_assert!(allowed.contains(&error.kind()), "{damage:?}: {:?} {error}", error.kind());
        prop_assert!(error.help().is_some(), "{error} does not say what to do");
    }
}

#[test]
fn every_single_byte_before_the_blobs_counts() {
    let sample = sample();
    for (original, policy) in [(&sample.unsigned, &Policy::default()), (&sample.signed, &sample.trusting)] {
        let drive = Drive::with(original);
        let mut file = fs::OpenOptions::new().write(true).open(&drive.path).unwrap();
        let mut put = |at: usize, byte: u8| {
            file.seek(SeekFrom::Start(at as u64)).unwrap();
            file.write_all(&[byte]).unwrap();
        };
        for (at, byte) in original.iter().copied().enumerate().take(sample.blobs_at + 1024) {
            // The padding behind the signatures is 16 KiB of new lines: every 97th of them will do.
            if byte == b'\n' && at > 4096 && at < sample.sets_at - 1024 && at % 97 != 0 {
                continue;
            }
            put(at, byte ^ 0x20);
            assert!(drive.judge(policy).is_err(), "byte {at} does not count");
            put(at, byte);
        }
        drive.judge(policy).unwrap();
    }
}

fn refusal(path: &Utf8Path) -> BundleError {
    Bundle::open(path, &Policy::default()).expect_err("it is refused")
}

#[cfg(unix)]
#[test]
fn t10_t12_t13_links_pipes_and_devices_are_refused_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let folder = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
    fs::create_dir_all(&folder).unwrap();
    let real = folder.join("real.krs.tar");
    fs::write(&real, &sample().unsigned).unwrap();
    let link = folder.join("link.krs.tar");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let pipe = folder.join("pipe.krs.tar");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let socket = folder.join("socket.krs.tar");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (path, what) in [
        (link.as_path(), "a symbolic link"),
        (&pipe, "a named pipe"),
        (&socket, "a socket"),
        (Utf8Path::new("/dev/zero"), "a device"),
        (&folder, "a folder"),
    ] {
        let error = refusal(path);
        assert!(matches!(error, BundleError::Special { .. }), "{path}: {error}");
        assert!(error.to_string().contains(what), "{error}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn t10_t11_t14_entries_that_are_links_devices_or_sparse_files_are_refused() {
    let sample = sample();
    // Hard link, symbolic link, character and block device, folder, pipe, GNU sparse file, PAX and GNU extensions.
    for kind in b"1234567SxgLK" {
        for at in [1024, sample.blobs_at] {
            let mut bytes = sample.unsigned.clone();
            let mut header = tar::Header::from_byte_slice(&bytes[at..at + 512]).clone();
            header.set_entry_type(tar::EntryType::new(*kind));
            header.set_cksum();
            bytes[at..at + 512].copy_from_slice(header.as_bytes());
            let refused = verdict(&bytes, &Policy::default()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Corrupt, "{}: {refused}", char::from(*kind));
        }
    }
}

#[test]
fn t42_a_manifest_of_exactly_the_allowed_size_is_compared_too() {
    let sample = sample();
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(folder.path()).unwrap().join("x.krs.tar");
    let mut bytes = sample.unsigned.clone();
    let at = bytes.windows(18).rposition(|window| window == br#"{"schemaVersion":2"#).unwrap();
    bytes[at + 17] = b'3';
    fs::write(&path, &bytes).unwrap();
    let bundle = Bundle::open(&path, &Policy::default()).unwrap();
    let damaged = bundle.manifest().blobs.iter().map(|blob| bundle.read(blob, blob.size).is_err());
    assert_eq!(damaged.filter(|damaged| *damaged).count(), 1);
}

#[test]
fn t21_t24_empty_compressed_and_foreign_files_say_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(folder.path()).unwrap().join("x.krs.tar");
    let told = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        refusal(&path)
    };
    assert_eq!(told(b"").kind(), ErrorKind::Incomplete);
    assert!(told(&[0x1f, 0x8b, 8, 0, 0, 0]).to_string().contains("compressed with gzip"));
    assert!(told(&[0x28, 0xb5, 0x2f, 0xfd, 0, 0]).to_string().contains("compressed with zstd"));
    assert!(matches!(told(&[0; 4096]), BundleError::NotABundle { .. }));
    assert!(matches!(told(b"hello, world"), BundleError::NotABundle { .. }));
}

#[test]
fn t05_t25_claimed_sizes_take_no_memory() {
    let sample = sample();
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(folder.path()).unwrap().join("x.krs.tar");
    for size in [(64 << 20) + 1, 1 << 40, u64::MAX >> 1] {
        let mut bytes = sample.unsigned.clone();
        bytes[1024..1536]
            .copy_from_slice(&krs_core::bundle::layout::header("krs/bundle.json", size).unwrap());
        fs::write(&path, &bytes).unwrap();
        assert!(matches!(refusal(&path), BundleError::NotABundle { .. }), "{size}");
    }
    let mut bytes = sample.unsigned.clone();
    bytes[1024..1536]
        .copy_from_slice(&krs_core::bundle::layout::header("krs/bundle.json", 60 << 20).unwrap());
    fs::write(&path, &bytes).unwrap();
    assert_eq!(refusal(&path).kind(), ErrorKind::Incomplete);
}
