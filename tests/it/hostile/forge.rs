// SPDX-License-Identifier: Apache-2.0
//! Small bundles, and the tools of somebody who tampers with them.

use std::collections::HashMap;
use std::fs;
use std::sync::OnceLock;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use krs_core::bundle::layout::{self, HEADER, MANIFEST_AT};
use krs_core::bundle::sign::{self, PublicKey, SecretKey, Signatures, Trust};
use krs_core::bundle::{Bundle, BundleError, BundleManifest, Layout, Policy, trusted_comment};
use krs_core::error::{Classify as _, ErrorKind};
use krs_core::oci::closure::{Manifests, StoredManifest};
use krs_core::oci::digest::Digest;
use krs_core::oci::{self, Descriptor};
use krs_core::progress::NoProgress;
use krs_core::set::{self, LoadedSet, LoadedSets};
use krs_core::sync::plan::{PlanOptions, plan};
use krs_core::sync::resolve::{Resolved, ResolvedImage};

/// A small bundle, once signed and once not, and what opens it.
pub(super) struct Sample {
    pub(super) unsigned: Vec<u8>,
    pub(super) signed: Vec<u8>,
    pub(super) trusting: Policy,
    pub(super) sets_at: usize,
    pub(super) blobs_at: usize,
}

pub(super) fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let parts = Parts::new(1);
        let (key, trusting) = keys();
        let layout = Layout::new(&parts.manifest, &parts.manifest.encode().unwrap()).unwrap();
        Sample {
            unsigned: parts.archive(),
            signed: parts.signed(&[&key]),
            trusting,
            sets_at: usize::try_from(layout.sets_at[0]).unwrap(),
            blobs_at: usize::try_from(layout.blobs_at).unwrap(),
        }
    })
}

/// A new key, and the policy that trusts it alone.
pub(super) fn keys() -> (SecretKey, Policy) {
    let pair = sign::generate(None).unwrap();
    let trust = Trust::Keys(vec![PublicKey::parse(&pair.public, "test").unwrap()]);
    (SecretKey::parse(pair.secret.expose(), None, "test").unwrap(), Policy { trust, ..Policy::default() })
}

pub(super) fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(size).collect()
}

/// A descriptor of `content`, with further fields as JSON.
pub(super) fn descriptor(kind: &str, content: &[u8], more: &str) -> String {
    format!(r#"{{"mediaType":"{kind}","digest":"{}","size":{}{more}}}"#, Digest::of(content), content.len())
}

pub(super) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The manifest of an image with the config `{}` and these layers.
pub(super) fn image(layers: &[Vec<u8>]) -> Vec<u8> {
    let list = layers.iter().map(|layer| descriptor(LAYER, layer, "")).collect::<Vec<_>>().join(",");
    format!(r#"{{"schemaVersion":2,"config":{},"layers":[{list}]}}"#, descriptor(CONFIG, b"{}", ""))
        .into_bytes()
}

/// The index of these manifests.
pub(super) fn index(manifests: &[(&str, &[u8])]) -> Vec<u8> {
    let list = manifests.iter().map(|(kind, content)| descriptor(kind, content, "")).collect::<Vec<_>>();
    format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, list.join(",")).into_bytes()
}

fn set_of(reference: &str) -> Vec<u8> {
    format!(
        "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata: {{name: app, namespace: apps}}\n\
         spec:\n  destinationRegistry: edge.local:5000\n  images:\n  - image: {reference}\n"
    )
    .into_bytes()
}

/// What an archive is put together from; nothing checks that it fits.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) manifest: BundleManifest,
    pub(super) sets: Vec<Vec<u8>>,
    pub(super) contents: HashMap<Digest, Vec<u8>>,
}

impl Parts {
    /// An honest bundle of one index with one image; its layers depend on `seed`, their sizes do not.
    pub(super) fn new(seed: u64) -> Self {
        let layers = [noise(1000, seed), noise(70_000, seed + 1), noise(512, seed + 2), Vec::new()];
        let manifest = image(&layers);
        let index = index(&[(oci::OCI_MANIFEST, &manifest)]);
        let mut manifests = Manifests::default();
        for (media_type, bytes) in [(oci::OCI_MANIFEST, &manifest), (oci::OCI_INDEX, &index)] {
            let manifest = StoredManifest { media_type: media_type.to_owned(), bytes: bytes.clone().into() };
            manifests.insert(Digest::of(bytes), manifest);
        }
        let root = Descriptor::new(oci::OCI_INDEX, Digest::of(&index), index.len() as u64);
        let written = format!("quay.io/team/app:1.0@{}", root.digest);
        let set_bytes = set_of(&written);
        let set = set::check(&set_bytes, "eis.yaml").unwrap();
        let sets = vec![LoadedSet {
            file: "eis.yaml".into(),
            shown: "eis.yaml".into(),
            line: 1,
            raw: set_bytes,
            set,
        }];
        let loaded = LoadedSets { sets, skipped: vec![], ignored_files: 0, source: None, warnings: vec![] };
        let image = ResolvedImage {
            reference: written.parse().unwrap(),
            platforms: vec![],
            closure: manifests.closure(&root, &[]).unwrap(),
            root,
            artifact_type: None,
            referrers: vec![],
            missing_referrers: vec![],
            source: None,
        };
        let resolved = Resolved { images: vec![image], manifests, ..Resolved::default() };
        let now = "2026-11-23T04:00:00Z".parse::<Timestamp>().unwrap();
        let plan = plan(&loaded, &resolved, &PlanOptions::default(), now).unwrap();
        let contents = layers.into_iter().chain([b"{}".to_vec(), manifest, index]);
        let contents = contents.map(|content| (Digest::of(&content), content)).collect();
        Self { manifest: plan.manifest, sets: plan.sets, contents }
    }

    /// A bundle whose only image is `root`, with these further blobs.
    pub(super) fn of(media_type: &str, root: &[u8], others: &[&[u8]]) -> Self {
        let mut parts = Self::new(1);
        let digest = Digest::of(root);
        let written = format!("quay.io/team/app:1.0@{digest}");
        let image = &mut parts.manifest.images[0];
        image.digest = digest;
        image.media_type = media_type.to_owned();
        image.reference = written.parse().unwrap();
        let set = set_of(&written);
        parts.manifest.sets[0].digest = Digest::of(&set);
        parts.manifest.sets[0].size = set.len() as u64;
        parts.sets = vec![set];
        let mut offset = 0;
        let mut blob = parts.manifest.blobs[0];
        parts.manifest.blobs.clear();
        parts.contents.clear();
        for content in std::iter::once(&root).chain(others) {
            blob.digest = Digest::of(content);
            if parts.contents.insert(blob.digest, content.to_vec()).is_some() {
                continue;
            }
            (blob.offset, blob.size) = (offset + HEADER, content.len() as u64);
            offset = layout::next_header(blob.offset, blob.size);
            parts.manifest.blobs.push(blob);
        }
        parts
    }

    /// The archive, unsigned.
    pub(super) fn archive(&self) -> Vec<u8> {
        self.assemble(&self.manifest.encode().unwrap(), &Signatures::default().entry().unwrap())
    }

    /// The archive, signed by each of these keys.
    pub(super) fn signed(&self, keys: &[&SecretKey]) -> Vec<u8> {
        let mut signatures = Signatures::default();
        let encoded = self.manifest.encode().unwrap();
        for key in keys {
            signatures.sign(&encoded, key, &trusted_comment(&self.manifest)).unwrap();
        }
        self.assemble(&encoded, &signatures.entry().unwrap())
    }

    /// The archive with any bytes in the places of `krs/bundle.json` and `krs/signatures`.
    pub(super) fn assemble(&self, encoded: &[u8], signatures: &[u8]) -> Vec<u8> {
        let layout = Layout::new(&self.manifest, encoded).unwrap();
        let mut bytes = vec![0; usize::try_from(layout.size()).unwrap()];
        let mut put = |at: u64, piece: &[u8]| {
            let at = usize::try_from(at).unwrap();
            bytes[at..at + piece.len()].copy_from_slice(piece);
        };
        for piece in layout.pieces(&self.manifest).unwrap() {
            put(piece.offset, &piece.bytes);
        }
        put(MANIFEST_AT, encoded);
        put(layout.signatures_at, signatures);
        for (at, set) in layout.sets_at.iter().zip(&self.sets) {
            put(*at, set);
        }
        for blob in &self.manifest.blobs {
            let at = layout.blobs_at + blob.offset;
            put(at - HEADER, &layout::header(&layout::blob_path(&blob.digest), blob.size).unwrap());
            put(at, &self.contents[&blob.digest]);
        }
        bytes
    }
}

/// An entry of a tar archive.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) header: tar::Header,
    pub(super) content: Vec<u8>,
}

impl Entry {
    /// An entry as krs writes it.
    pub(super) fn file(name: &str, content: &[u8]) -> Self {
        let header = layout::header(name, content.len() as u64).unwrap();
        Self { header: tar::Header::from_byte_slice(&header).clone(), content: content.to_vec() }
    }

    /// An entry of another kind.
    pub(super) fn kind(kind: u8, name: &str, content: &[u8]) -> Self {
        let mut entry = Self::file(name, content);
        entry.change(|header| header.set_entry_type(tar::EntryType::new(kind)));
        entry
    }

    pub(super) fn name(&self) -> String {
        String::from_utf8_lossy(&self.header.path_bytes()).into_owned()
    }

    /// Changes the header, whose checksum is right again afterwards.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut tar::Header)) {
        change(&mut self.header);
        self.header.set_cksum();
    }

    /// Gives the entry a name of any bytes.
    pub(super) fn rename(&mut self, name: &[u8]) {
        self.change(|header| {
            let field = &mut header.as_old_mut().name;
            field.fill(0);
            field[..name.len()].copy_from_slice(name);
        });
    }
}

/// The entries of an archive.
pub(super) fn entries(archive: &[u8]) -> Vec<Entry> {
    let (mut entries, mut at) = (Vec::new(), 0);
    while archive[at] != 0 {
        let header = tar::Header::from_byte_slice(&archive[at..at + 512]).clone();
        let size = usize::try_from(header.entry_size().unwrap()).unwrap();
        entries.push(Entry { header, content: archive[at + 512..at + 512 + size].to_vec() });
        at += 512 + size.div_ceil(512) * 512;
    }
    entries
}

/// The archive of these entries; every reader of tar takes it.
pub(super) fn tarred(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend_from_slice(entry.header.as_bytes());
        bytes.extend_from_slice(&entry.content);
        bytes.resize(bytes.len().div_ceil(512) * 512, 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// The archives that `entry` makes when it is put before each of the entries and behind the last.
pub(super) fn inserted(entry: &Entry) -> Vec<Vec<u8>> {
    let original = entries(&sample().unsigned);
    let insert = |at| {
        let mut entries = original.clone();
        entries.insert(at, entry.clone());
        tarred(&entries)
    };
    (0..=original.len()).map(insert).collect()
}

/// A file in a folder of its own.
pub(super) struct Drive {
    _folder: tempfile::TempDir,
    pub(super) path: Utf8PathBuf,
}

impl Drive {
    pub(super) fn with(bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("a.krs.tar");
        fs::write(&path, bytes).unwrap();
        Self { _folder: folder, path }
    }

    pub(super) fn judge(&self, policy: &Policy) -> Result<(), BundleError> {
        Bundle::open(&self.path, policy).and_then(|bundle| bundle.verify(2, &NoProgress).map(|_| ()))
    }
}

/// Opens and verifies `bytes` as a file.
pub(super) fn verdict(bytes: &[u8], policy: &Policy) -> Result<(), BundleError> {
    Drive::with(bytes).judge(policy)
}

/// The refusal of `bytes` where any signature is accepted; it says what to do.
#[track_caller]
pub(super) fn refused(bytes: &[u8], kind: ErrorKind) -> BundleError {
    let error = verdict(bytes, &Policy::default()).expect_err("it is refused");
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.help().is_some(), "{error} does not say what to do");
    error
}
