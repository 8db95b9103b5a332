// SPDX-License-Identifier: Apache-2.0
//! An archive of more than 500 GB, of which only what is read lies on the disk.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;

use camino::Utf8PathBuf;
use krs_core::bundle::layout::{self, HEADER, Layout, MANIFEST_AT};
use krs_core::bundle::sign::Signatures;
use krs_core::bundle::{Bundle, Policy};
use krs_core::oci::closure::{Manifests, StoredManifest};
use krs_core::oci::digest::Digest;
use krs_core::oci::{Descriptor, OCI_MANIFEST};
use krs_core::set;
use krs_core::sync::plan::{Plan, PlanOptions, plan};
use krs_core::sync::resolve::{Resolved, ResolvedImage};
use krs_testing::git::Checkout;
use serde_json::json;

/// Of each large layer: more than a header can say in octal digits.
const LARGE: u64 = 50 << 30;
const LAYERS: usize = 12;

fn small(n: usize) -> Vec<u8> {
    format!("small layer {n}").into_bytes()
}

/// A plan of one image whose layers are large and small in turn. The content of the large ones is never looked at.
fn large_plan(checkout: &mut Checkout) -> Plan {
    let blob = |media_type: &str, digest: Digest, size: u64| json!({"mediaType": media_type, "digest": digest.to_string(), "size": size});
    let layer = |digest, size| blob("application/vnd.oci.image.layer.v1.tar", digest, size);
    let layers = (0..LAYERS).flat_map(|n| {
        let (small, large) = (small(n), format!("large layer {n}"));
        [layer(Digest::of(large.as_bytes()), LARGE + n as u64), layer(Digest::of(&small), small.len() as u64)]
    });
    let layers = layers.collect::<Vec<_>>();
    let config = blob("application/vnd.oci.empty.v1+json", Digest::of(b"{}"), 2);
    let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers});
    let bytes = manifest.to_string().into_bytes();
    let root = Descriptor::new(OCI_MANIFEST, Digest::of(&bytes), bytes.len() as u64);
    checkout.write(
        "set.yaml",
        format!(
            "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: large\nspec:\n  \
             destinationRegistry: edge.local:5000\n  images:\n  - image: registry.example.com/models/large:1@{}\n",
            root.digest
        ),
    );
    checkout.commit("A large image");
    let loaded = set::load(&[checkout.path().to_owned()], None).unwrap();
    let mut manifests = Manifests::default();
    let manifest = StoredManifest { media_type: OCI_MANIFEST.to_owned(), bytes: bytes.into() };
    manifests.insert(root.digest, manifest);
    let image = ResolvedImage {
        reference: loaded.sets[0].set.images[0].reference.clone(),
        platforms: Vec::new(),
        closure: manifests.closure(&root, &[]).unwrap(),
        root,
        artifact_type: None,
        referrers: Vec::new(),
        missing_referrers: Vec::new(),
        source: None,
    };
    let resolved = Resolved { images: vec![image], manifests, ..Resolved::default() };
    plan(&loaded, &resolved, &PlanOptions::default(), jiff::Timestamp::now()).unwrap()
}

/// Writes all of the archive but the content of the large layers, which stays a hole.
fn write(plan: &Plan, path: &Utf8PathBuf) {
    let encoded = plan.manifest.encode().unwrap();
    let layout = Layout::new(&plan.manifest, &encoded).unwrap();
    assert_eq!(layout.size(), plan.size);
    let file = File::create(path).unwrap();
    file.set_len(layout.size()).unwrap();
    let put = |bytes: &[u8], at: u64| file.write_all_at(bytes, at).unwrap();
    for piece in layout.pieces(&plan.manifest).unwrap() {
        put(&piece.bytes, piece.offset);
    }
    put(&encoded, MANIFEST_AT);
    put(&Signatures::default().entry().unwrap(), layout.signatures_at);
    put(&plan.sets[0], layout.sets_at[0]);
    for blob in &plan.manifest.blobs {
        let header = layout::header(&layout::blob_path(&blob.digest), blob.size).unwrap();
        put(&header, layout.blobs_at + blob.offset - HEADER);
    }
    let place = |digest| {
        let blob = plan.manifest.blobs.iter().find(|blob| blob.digest == digest).unwrap();
        layout.blobs_at + blob.offset
    };
    for (blob, bytes) in &plan.manifests {
        put(bytes, place(blob.digest));
    }
    for content in (0..LAYERS).map(small).chain([b"{}".to_vec()]) {
        put(&content, place(Digest::of(&content)));
    }
}

#[test]
fn more_than_500_gb_are_planned_and_read_at_any_place() {
    let mut checkout = Checkout::new();
    let plan = large_plan(&mut checkout);
    assert!(plan.size > 500_000_000_000, "{}", plan.size);
    assert_eq!(plan.fetch_size(), plan.fetches.iter().map(|fetch| fetch.blob.size).sum::<u64>());
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(folder.path().join("large.krs.tar")).unwrap();
    write(&plan, &path);

    let bundle = Bundle::open(&path, &Policy::default()).unwrap();
    // The structure is complete, and everything but the content of the large layers lies where it should.
    assert_eq!(bundle.images().unwrap().images.len(), 1);
    for blob in &bundle.manifest().blobs {
        bundle.check_header(blob).unwrap();
    }
    for content in (0..LAYERS).map(small) {
        let blob = *bundle.blob(&Digest::of(&content)).unwrap();
        assert_eq!(bundle.read(&blob, 1 << 20).unwrap(), content);
    }
    // At the end of the last large layer there are zeroes, and then nothing.
    let last = bundle.manifest().blobs.iter().rfind(|blob| blob.size >= LARGE).unwrap();
    let mut buffer = [1; 16];
    assert_eq!(bundle.read_at(last, last.size - 4, &mut buffer).unwrap(), 4);
    assert_eq!(buffer[..4], [0; 4]);
    assert_eq!(bundle.read_at(last, last.size, &mut buffer).unwrap(), 0);
}

#[test]
fn a_tar_reader_that_knows_nothing_of_krs_finds_every_part_of_500_gb() {
    let mut checkout = Checkout::new();
    let plan = large_plan(&mut checkout);
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(folder.path().join("large.krs.tar")).unwrap();
    write(&plan, &path);
    let mut archive = tar::Archive::new(File::open(&path).unwrap());
    let mut found = 0;
    for entry in archive.entries_with_seek().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let Some(blob) = plan.manifest.blobs.iter().find(|blob| layout::blob_path(&blob.digest) == name)
        else {
            continue;
        };
        assert_eq!(entry.size(), blob.size, "{name}");
        if blob.size < LARGE {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            assert_eq!(Digest::of(&content), blob.digest, "{name}");
        }
        found += 1;
    }
    assert_eq!(found, plan.manifest.blobs.len());
}
