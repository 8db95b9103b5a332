// SPDX-License-Identifier: Apache-2.0
//! A bundle is read without krs.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use krs_testing::corpus::CorpusImage;
use krs_testing::process::{Running, free_address};
use krs_testing::tools::require;

use crate::harness::{Containerd, bundled, distribution3};

fn is_image(image: &CorpusImage) -> bool {
    !image.note.contains("chart") && !image.note.contains("referrer")
}

#[test]
fn skopeo_regctl_and_oras_read_the_archive_and_digests_are_equal_everywhere() {
    let (workspace, corpus, source) = bundled();
    let target = distribution3();
    let edge = target.host();
    for image in &corpus.images {
        let CorpusImage { name, tag, digest, note, .. } = image;
        // skopeo reads by name; to a digest it checks what it sends. It takes no Docker types out of an OCI layout.
        if is_image(image) && image.media_type.starts_with("application/vnd.oci.") {
            let from = format!("oci-archive:all.krs.tar:{source}/{name}:{tag}");
            let to = format!("docker://{edge}/skopeo/{name}@{digest}");
            let copy = [
                "--insecure-policy",
                "copy",
                "--all",
                "--preserve-digests",
                "--dest-tls-verify=false",
                &from,
                &to,
            ];
            workspace.tool("skopeo", &copy);
        }
        let layout = format!("all.krs.tar@{digest}");
        let to = format!("{edge}/oras/{name}:{tag}");
        workspace.tool("oras", &["copy", "--from-oci-layout", &layout, "--to-plain-http", &to]);
        let read = workspace.tool("oras", &["resolve", "--plain-http", &to]);
        assert_eq!(read.trim(), digest.to_string(), "oras, {note}");
    }
    let image = corpus.images.iter().find(|image| is_image(image)).unwrap();
    let to = format!("{edge}/regctl/{}:{}", image.name, image.tag);
    let host = format!("reg={edge},tls=disabled");
    let named = format!("{source}/{}:{}", image.name, image.tag);
    workspace.tool("regctl", &["--host", &host, "image", "import", "--name", &named, &to, "all.krs.tar"]);
    let read = workspace.tool("regctl", &["--host", &host, "image", "digest", &to]);
    assert_eq!(read.trim(), image.digest.to_string(), "regctl");
}

#[test]
fn crane_and_skopeo_pull_from_krs_serve() {
    let (workspace, corpus, _) = bundled();
    let address = free_address();
    let mut serve = Command::new(env!("CARGO_BIN_EXE_krs"));
    serve.args(["serve", "all.krs.tar", "--listen", &address.to_string()]).current_dir(workspace.path());
    let _serving = Running::start(serve, address, Duration::from_secs(30));
    let edge = distribution3();
    for image in &corpus.images {
        let CorpusImage { name, tag, digest, note, .. } = image;
        let read = workspace.tool("crane", &["digest", "--insecure", &format!("{address}/{name}:{tag}")]);
        assert_eq!(read.trim(), digest.to_string(), "crane, {note}");
        let to = format!("{}/{name}:{tag}", edge.host());
        workspace.tool("crane", &["copy", "--insecure", &format!("{address}/{name}:{tag}"), &to]);
        assert_eq!(
            workspace.tool("crane", &["digest", "--insecure", &to]).trim(),
            digest.to_string(),
            "crane, {note}"
        );
    }
    let one = corpus.images.iter().find(|image| is_image(image)).unwrap();
    let from = format!("docker://{address}/{}@{}", one.name, one.digest);
    let copy = [
        "--insecure-policy",
        "copy",
        "--all",
        "--preserve-digests",
        "--src-tls-verify=false",
        &from,
        "oci:layout:x",
    ];
    workspace.tool("skopeo", &copy);
}

#[test]
fn containerd_imports_the_archive_under_both_names() {
    let (workspace, corpus, source) = bundled();
    let containerd = Containerd::start(&workspace);
    containerd.ctr(&["images", "import", "--all-platforms", "--no-unpack", "all.krs.tar"]);
    let listed = containerd.ctr(&["images", "list"]);
    for CorpusImage { name, tag, digest, note, .. } in &corpus.images {
        for reference in [format!("{source}/{name}:{tag}"), format!("{source}/{name}@{digest}")] {
            let line = listed.lines().find(|line| line.starts_with(&format!("{reference} ")));
            let line = line.unwrap_or_else(|| panic!("{reference} ({note}) is not in\n{listed}"));
            assert!(line.contains(&digest.to_string()), "{line}");
        }
    }
}

#[test]
fn minisign_accepts_the_signature_and_refuses_a_changed_manifest() {
    let (workspace, ..) = bundled();
    workspace.tool("tar", &["-xf", "all.krs.tar", "krs"]);
    let verify = ["-V", "-p", "ci.pub", "-m", "krs/bundle.json", "-x", "krs/signatures"];
    workspace.tool("minisign", &verify);
    let manifest = workspace.path().join("krs/bundle.json");
    let changed = std::fs::read_to_string(&manifest).unwrap().replace("corpus.yaml", "Corpus.yaml");
    std::fs::write(&manifest, changed).unwrap();
    let output = workspace.try_run(require("minisign").as_str().as_ref(), &verify);
    assert!(!output.status.success());
}

#[test]
fn gnu_tar_and_python_list_the_same_entries_as_krs_wrote() {
    let (workspace, ..) = bundled();
    let listing = "import tarfile, hashlib, sys\n\
                   with tarfile.open('all.krs.tar', 'r:') as t:\n\
                   \x20 for m in t: print(m.name, m.size, hashlib.sha256(t.extractfile(m).read()).hexdigest())\n";
    let python = workspace.tool("python3", &["-c", listing]);
    let entries = python.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let entries =
        entries.map(|e| (e[0].to_owned(), (e[1].to_owned(), e[2].to_owned()))).collect::<BTreeMap<_, _>>();
    let names = workspace.tool("tar", &["-tf", "all.krs.tar"]);
    assert_eq!(names.lines().count(), entries.len(), "no name stands twice");
    assert!(names.lines().all(|name| entries.contains_key(name)));
    assert!(
        names.starts_with(
            "oci-layout\nkrs/bundle.json\nkrs/signatures\nkrs/sets/00001.yaml\nindex.json\nblobs/"
        )
    );
    for (name, (_, hash)) in entries.iter().filter(|(name, _)| name.starts_with("blobs/")) {
        assert!(name.ends_with(hash.as_str()), "{name}");
    }
}
