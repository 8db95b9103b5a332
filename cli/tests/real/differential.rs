// SPDX-License-Identifier: Apache-2.0
//! What krs accepts, other readers read in the same way: the same names, sizes and contents.

use std::collections::BTreeMap;

use camino::Utf8Path;
use krs_core::bundle::layout::{self, Layout, MANIFEST_AT};
use krs_core::bundle::{Bundle, Policy};
use krs_core::oci::digest::Digest;

use crate::harness::{Workspace, checkout, distribution3, fill};

/// Entries by their names: size and digest.
type Entries = BTreeMap<String, (u64, Digest)>;

/// What krs says that the archive holds; nothing of it is read as tar.
fn by_krs(path: &Utf8Path) -> Entries {
    let bundle = Bundle::open(path, &Policy::default()).unwrap();
    let manifest = bundle.manifest();
    let encoded = manifest.encode().unwrap();
    let layout = Layout::new(manifest, &encoded).unwrap();
    let bytes = std::fs::read(path).unwrap();
    let part = |at: u64, size: usize| Digest::of(&bytes[usize::try_from(at).unwrap()..][..size]);
    let signatures = krs_core::bundle::sign::SIGNATURES_SIZE;
    let content = layout::OCI_LAYOUT_CONTENT;
    let mut entries = Entries::from([
        (layout::OCI_LAYOUT.to_owned(), (content.len() as u64, Digest::of(content))),
        (layout::MANIFEST.to_owned(), (encoded.len() as u64, part(MANIFEST_AT, encoded.len()))),
        (layout::SIGNATURES.to_owned(), (signatures as u64, part(layout.signatures_at, signatures))),
        (layout::INDEX.to_owned(), (layout.index.len() as u64, Digest::of(&layout.index))),
    ]);
    entries.extend(manifest.sets.iter().map(|set| (set.path.clone(), (set.size, set.digest))));
    let blob =
        |blob: &krs_core::bundle::BundleBlob| (layout::blob_path(&blob.digest), (blob.size, blob.digest));
    entries.extend(manifest.blobs.iter().map(blob));
    entries
}

/// The files below a folder.
fn below(folder: &Utf8Path, prefix: &str, entries: &mut Entries) {
    for entry in folder.read_dir_utf8().unwrap().map(|entry| entry.unwrap()) {
        let name = format!("{prefix}{}", entry.file_name());
        if entry.path().is_dir() {
            below(entry.path(), &format!("{name}/"), entries);
        } else {
            let bytes = std::fs::read(entry.path()).unwrap();
            entries.insert(name, (bytes.len() as u64, Digest::of(&bytes)));
        }
    }
}

fn by_tar(workspace: &Workspace, file: &str) -> Entries {
    let folder = workspace.path().join(format!("{file}.tar-x"));
    std::fs::create_dir(&folder).unwrap();
    let outcome = workspace.tool("tar", &["--extract", "--file", file, "--directory", folder.as_str()]);
    assert_eq!(outcome, "");
    let mut entries = Entries::new();
    below(&folder, "", &mut entries);
    let listed = workspace.tool("tar", &["--list", "--file", file]);
    let mut names = listed.lines().map(str::to_owned).collect::<Vec<_>>();
    names.sort();
    assert!(names.iter().eq(entries.keys()), "tar -t and tar -x agree, and no name stands twice");
    entries
}

fn by_python(workspace: &Workspace, file: &str) -> Entries {
    let program = "import tarfile, hashlib, sys\n\
                   with tarfile.open(sys.argv[1], 'r:') as t:\n\
                   \x20 for m in t: assert m.isreg(); \
                   print(m.name, m.size, hashlib.sha256(t.extractfile(m).read()).hexdigest())\n";
    let listed = workspace.tool("python3", &["-c", program, file]);
    let mut entries = Entries::new();
    for line in listed.lines() {
        let [name, size, hex] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let entry = (size.parse().unwrap(), format!("sha256:{hex}").parse().unwrap());
        assert_eq!(entries.insert(name.to_owned(), entry), None, "{name} stands once");
    }
    entries
}

/// The blobs of one image as skopeo takes them out of the archive.
fn by_skopeo(workspace: &Workspace, file: &str, name: &str, entries: &mut Entries) {
    let folder = workspace.path().join(format!("{file}.{}", entries.len()));
    let (from, to) = (format!("oci-archive:{file}:{name}"), format!("dir:{folder}"));
    workspace.tool("skopeo", &["--insecure-policy", "copy", "--all", "--preserve-digests", &from, &to]);
    let mut files = Entries::new();
    below(&folder, "", &mut files);
    std::fs::remove_dir_all(&folder).unwrap();
    // `version` is skopeo's own; a manifest is called `manifest.json`, or `HEX.manifest.json` below an index.
    files.remove("version");
    for (name, (size, digest)) in files {
        let hex = name.trim_end_matches(".manifest.json");
        assert!(name == "manifest.json" || hex == digest.hex(), "{name} is {digest}");
        entries.insert(layout::blob_path(&digest), (size, digest));
    }
}

#[test]
#[allow(clippy::print_stdout)]
fn t15_t42_what_krs_verifies_tar_python_and_skopeo_read_identically() {
    let workspace = Workspace::new();
    let source = distribution3();
    let corpus = fill(&source);
    let checkout = checkout(&corpus, &source.host());
    workspace.krs(&["keygen", "--no-passphrase", "-o", "ci"]);
    let bundle = |more: &[&str]| workspace.krs(&[&["bundle", checkout.path().as_str()], more].concat());
    bundle(&["-o", "signed.krs.tar", "--key", "ci.key"]);
    bundle(&["-o", "unsigned.krs.tar", "--stream", "other", "--sequence", "7", "--audience", "berlin"]);
    let named = corpus.images.iter().filter(|image| {
        // skopeo reads images of OCI's types out of an OCI layout.
        image.media_type.starts_with("application/vnd.oci.")
            && !image.note.contains("chart")
            && !image.note.contains("referrer")
    });
    let names = named.map(|image| format!("{}/{}:{}", source.host(), image.name, image.tag));
    let names = names.collect::<Vec<_>>();
    assert!(!names.is_empty());

    println!("archive          entries        bytes  krs  tar  tarfile  skopeo");
    for file in ["signed.krs.tar", "unsigned.krs.tar"] {
        workspace.krs(&["verify", file]);
        let krs = by_krs(&workspace.path().join(file));
        let (tar, python) = (by_tar(&workspace, file), by_python(&workspace, file));
        assert_eq!(krs, tar, "GNU tar reads {file} as krs does");
        assert_eq!(krs, python, "Python reads {file} as krs does");
        let mut skopeo = Entries::new();
        for name in &names {
            by_skopeo(&workspace, file, name, &mut skopeo);
        }
        assert!(!skopeo.is_empty());
        for (name, entry) in &skopeo {
            assert_eq!(krs.get(name), Some(entry), "skopeo reads {name} as krs does");
        }
        let bytes = krs.values().map(|(size, _)| size).sum::<u64>();
        let (all, some) = (krs.len(), skopeo.len());
        println!("{file:16} {all:7} {bytes:12} {all:4} {:4} {:8} {some:7}", tar.len(), python.len());
    }
}
