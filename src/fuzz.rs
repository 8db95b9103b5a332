// SPDX-License-Identifier: Apache-2.0
//! Every reader of untrusted bytes as a function of bytes alone, for the fuzzer and for the tests that run its corpus. Each
//! returns whether the bytes are accepted, and asserts what must be true then.

use std::io::{self, Write as _};

use camino::Utf8Path;
use krs_compact::patch::{Limits, Patch, ReadAt};
use krs_compact::recipe::{Recipe, recompress};

use crate::bundle::sign::{PublicKey, SIGNATURES_SIZE, Signatures, Trust};
use crate::bundle::{Bundle, BundleManifest, Layout, Policy, VolumeList};
use crate::oci::digest::{Digest, HashWriter};
use crate::oci::platform::Platform;
use crate::oci::reference::{Destination, Reference, RegistryHost, Selector};
use crate::oci::{MANIFEST_TYPES, ManifestOrIndex, OCI_INDEX, OCI_MANIFEST};
use crate::progress::NoProgress;
use crate::set;
use crate::sync::receipt::Receipt;

/// Longest error that is shown for bytes of any size.
const MAX_MESSAGE: usize = 64 << 10;

/// The key that the good signatures of the corpus are of, over the message `message`.
const KEY: &str = include_str!("../testdata/corpus/signature.pub");

/// An entry point.
pub type Target = fn(&[u8]) -> bool;

/// Every entry point by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("archive", archive),
    ("manifest", manifest),
    ("volume_list", volume_list),
    ("receipt", receipt),
    ("signature", signature),
    ("oci_document", oci_document),
    ("reference", reference),
    ("challenge", challenge),
    ("set_yaml", set_yaml),
    ("docker_config", docker_config),
    ("patch", patch),
    ("recipe", recipe),
];

fn bounded(error: &dyn std::fmt::Display) {
    let text = error.to_string();
    assert!(text.len() <= MAX_MESSAGE, "an error of {} bytes", text.len());
    assert!(!text.contains('\u{1b}'), "an error that reaches the terminal: {text:?}");
}

/// The value that was read. An error is formatted and dropped.
fn accepted<T, E: std::fmt::Display>(read: Result<T, E>) -> Option<T> {
    read.inspect_err(|error| bounded(error)).ok()
}

/// A complete bundle, opened and verified.
pub fn archive(bytes: &[u8]) -> bool {
    let Ok(mut file) = tempfile::NamedTempFile::new() else { return false };
    let written = file.write_all(bytes).and_then(|()| file.flush());
    let (Ok(()), Some(path)) = (written, Utf8Path::from_path(file.path())) else { return false };
    let Some(bundle) = accepted(Bundle::open(path, &Policy::default())) else { return false };
    assert_eq!(bundle.size(), bytes.len() as u64);
    match bundle.verify(1, &NoProgress) {
        Ok(images) => {
            assert_eq!(images.images.len(), bundle.manifest().images.len());
            true
        }
        Err(error) => {
            bounded(&error);
            false
        }
    }
}

/// `krs/bundle.json`.
pub fn manifest(bytes: &[u8]) -> bool {
    let Some(manifest) = accepted(BundleManifest::parse(bytes)) else { return false };
    assert!(manifest.encode().is_ok_and(|encoded| encoded == bytes), "it is written as it was read");
    assert!(manifest.identity().is_ok());
    if let Ok(layout) = Layout::new(&manifest, bytes) {
        let pieces = layout.pieces(&manifest).unwrap_or_default();
        assert!(
            !pieces.is_empty() && pieces.iter().all(|p| p.offset + p.bytes.len() as u64 <= layout.size())
        );
    }
    true
}

/// `NAME.krs.json`, the list of volumes.
pub fn volume_list(bytes: &[u8]) -> bool {
    let Some(list) = accepted(VolumeList::parse(bytes)) else { return false };
    let again = list.encode().ok().and_then(|encoded| VolumeList::parse(&encoded).ok());
    assert_eq!(again.as_ref(), Some(&list), "it reads as it was written");
    assert_eq!(list.volumes.iter().map(|volume| volume.size).sum::<u64>(), list.size);
    true
}

/// A receipt.
pub fn receipt(bytes: &[u8]) -> bool {
    let Some(receipt) = accepted(Receipt::parse(bytes)) else { return false };
    let again = receipt.encode().ok().and_then(|encoded| Receipt::parse(&encoded).ok());
    assert_eq!(again.as_ref(), Some(&receipt), "it reads as it was written");
    assert!(!receipt.title().contains(char::is_control));
    true
}

/// `krs/signatures`; accepted is what a trusted key has signed.
pub fn signature(bytes: &[u8]) -> bool {
    let Some(signatures) = accepted(Signatures::parse(bytes)) else { return false };
    if let Ok(entry) = signatures.entry() {
        assert_eq!(entry.len(), SIGNATURES_SIZE);
        let used = bytes.iter().rposition(|byte| *byte != b'\n').map_or(0, |last| last + 1);
        assert_eq!(entry.get(..used), bytes.get(..used), "every byte of it counts");
    }
    let Ok(key) = PublicKey::parse(KEY, "corpus") else { return false };
    let id = key.id();
    let valid = signatures.check(b"message", &Trust::Keys(vec![key])).unwrap_or_default();
    assert!(valid.iter().all(|signer| *signer == id));
    !valid.is_empty()
}

/// An index or a manifest, with any declared media type.
pub fn oci_document(bytes: &[u8]) -> bool {
    let parsed = MANIFEST_TYPES.map(|media_type| match ManifestOrIndex::parse(media_type, bytes) {
        Ok(document) => {
            assert!(document.children().count() <= crate::oci::MAX_ENTRIES + 1);
            Some(document)
        }
        Err(error) => {
            bounded(&error);
            None
        }
    });
    let reads = |wanted: &str| {
        let mut all = MANIFEST_TYPES.iter().zip(&parsed);
        all.any(|(media_type, document)| *media_type == wanted && document.is_some())
    };
    assert!(!(reads(OCI_INDEX) && reads(OCI_MANIFEST)), "it is one or the other");
    parsed.iter().any(Option::is_some)
}

/// Names of images, registries, platforms and digests; accepted is that of an image.
pub fn reference(bytes: &[u8]) -> bool {
    fn again<T: std::str::FromStr + std::fmt::Display + PartialEq>(text: &str) -> bool
    where
        T::Err: std::fmt::Display,
    {
        match text.parse::<T>() {
            Ok(value) => {
                let shown = value.to_string();
                assert!(shown.parse::<T>().is_ok_and(|again| again == value), "`{shown}` reads as it was");
                assert!(!shown.contains(char::is_control));
                true
            }
            Err(error) => {
                bounded(&error);
                false
            }
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    again::<Destination>(text);
    again::<Digest>(text);
    again::<Platform>(text);
    again::<RegistryHost>(text);
    again::<Selector>(text);
    again::<Reference>(text)
}

/// `WWW-Authenticate`, a header in each line.
pub fn challenge(bytes: &[u8]) -> bool {
    crate::registry::fuzz::challenge(bytes)
}

/// A file with sets, or one YAML document of it.
pub fn set_yaml(bytes: &[u8]) -> bool {
    let one = set::check(bytes, "corpus.yaml");
    let all = set::load(&["-".into()], Some(&mut &*bytes));
    if let Err(error) = &one {
        assert!(error.to_string().len() <= 1 << 20);
    }
    if let Err(error) = &all {
        assert!(error.to_string().len() <= 1 << 20);
    }
    all.is_ok()
}

/// A file with credentials.
pub fn docker_config(bytes: &[u8]) -> bool {
    crate::registry::fuzz::docker_config(bytes)
}

/// Bytes without memory, of any length.
struct Zeros(u64);

impl ReadAt for Zeros {
    fn length(&self) -> u64 {
        self.0
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match offset.checked_add(buf.len() as u64) {
            Some(end) if end <= self.0 => {
                buf.fill(0);
                Ok(())
            }
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The longest layer of a patch that is made.
const MAX_MADE: u64 = 4 << 20;

/// A patch, whose layers are made of zeros; accepted if all of them are made.
pub fn patch(bytes: &[u8]) -> bool {
    let Some(patch) = accepted(Patch::open(bytes, Limits { memory: 16 << 20 })) else { return false };
    let directory = patch.directory();
    let lengths = directory.bases.iter().copied().chain(directory.targets.iter().map(|target| target.length));
    let sources = lengths.map(Zeros).collect::<Vec<_>>();
    let sources = sources.iter().map(|source| Some(source as &dyn ReadAt)).collect::<Vec<_>>();
    let mut rebuild = patch.rebuild();
    let mut is_complete = true;
    for (number, target) in directory.targets.iter().enumerate() {
        if target.length > MAX_MADE {
            is_complete = false;
            continue;
        }
        let mut made = Vec::new();
        let outcome = accepted(rebuild.target(number, &sources, &mut made));
        assert!(made.len() as u64 <= target.length, "it makes no more than it declares");
        assert!(outcome.is_none() || made.len() as u64 == target.length);
        is_complete &= outcome.is_some();
    }
    is_complete
}

/// What recipes of the corpus were made for: words, some of which occur again.
fn plain() -> Vec<u8> {
    let (mut state, mut plain) = (7_u32, Vec::new());
    while plain.len() < 40_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let word = (state >> 16) & (state >> 24);
        plain.extend((0..2 + word % 7).map(|letter| b'a' + ((7 * word + 5 * letter * letter) % 26) as u8));
        plain.push(b' ');
    }
    plain
}

/// A recipe, by which some text is compressed; accepted if it can be.
pub fn recipe(bytes: &[u8]) -> bool {
    let Some(recipe) = accepted(Recipe::decode(bytes)) else { return false };
    assert_eq!(recipe.encode(), bytes, "it is written as it was read");
    let mut out = HashWriter::new(io::sink(), MAX_MADE);
    accepted(recompress(&recipe, &*plain(), &mut out)).is_some()
}

#[cfg(test)]
mod tests;
