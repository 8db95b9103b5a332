// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod docker;
mod hostile;

use camino::{Utf8Path, Utf8PathBuf};
use krs_testing::image::{ArchiveFile, ImageBuilder, archive_of, containerd_names, oci_layout, ref_name};
use serde_json::json;

use super::{LocalError, LocalSource};
use crate::oci::digest::Digest;
use crate::oci::reference::Reference;

/// A folder with sources.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.0.path()).unwrap().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Opens the source `form:name`.
    fn open(&self, form: &str, name: &str) -> Result<LocalSource, LocalError> {
        LocalSource::open(&format!("{form}:{}", self.path(name)).parse().unwrap())
    }

    fn open_archive(&self, files: &[ArchiveFile]) -> Result<LocalSource, LocalError> {
        self.write("a.tar", &archive_of(files));
        self.open("oci-archive", "a.tar")
    }
}

fn digest_of(image: &krs_testing::image::Image) -> Digest {
    image.digest.to_string().parse().unwrap()
}

fn named(source: &LocalSource, reference: &str) -> Vec<Digest> {
    let reference = reference.parse::<Reference>().unwrap();
    source.named(&reference).iter().map(|found| found.digest).collect()
}

#[test]
fn a_layout_names_images_by_full_names_only() {
    let (one, two) =
        (ImageBuilder::new("one").layer_random(100, 1).build(), ImageBuilder::new("two").build());
    let lying = format!("quay.io/team/lying:1@{}", two.digest);
    let desk = Desk::new();
    let source = desk.open_archive(&oci_layout(&[
        (&one, containerd_names("docker.io/library/web:1.0")),
        (&one, ref_name("index.docker.io/alias:1.0")),
        (&two, ref_name("1.0")),
        (&two, ref_name("web:1.0")),
        (&one, ref_name(&lying)),
        (&two, json!({"io.containerd.image.name": "1.0", "org.opencontainers.image.ref.name": "quay.io/team/two:443"})),
    ]));
    let source = source.unwrap();
    let (one, two) = (digest_of(&one), digest_of(&two));
    assert_eq!(named(&source, "docker.io/nginx:1.0"), []);
    assert_eq!(named(&source, "docker.io/web:1.0"), [one]);
    assert_eq!(named(&source, "docker.io:443/library/web:1.0"), [one]);
    assert_eq!(named(&source, "docker.io/library/alias:1.0"), [one]);
    assert_eq!(named(&source, "quay.io/team/two:443"), [two]);
    assert_eq!(named(&source, "quay.io/team/lying:1"), []);
    assert!(source.names().contains("`1.0` (not a full name)"), "{}", source.names());
    assert!(source.manifest_of(&one).is_some() && source.manifest_of(&Digest::of(b"")).is_none());
}

#[test]
fn a_folder_and_a_tar_with_folders_and_dots_have_the_same() {
    let image = ImageBuilder::new("one").layer_random(5_000, 1).build();
    let files = oci_layout(&[(&image, containerd_names("quay.io/team/one:1"))]);
    let desk = Desk::new();
    for (name, bytes) in &files {
        desk.write(&format!("layout/{name}"), bytes);
    }
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(".", desk.path("layout")).unwrap();
    desk.write("dots.tar", &tar.into_inner().unwrap());
    for source in [desk.open("oci", "layout"), desk.open("oci", "dots.tar"), desk.open_archive(&files)] {
        let source = source.unwrap();
        assert_eq!(named(&source, "quay.io/team/one:1"), [digest_of(&image)]);
        assert_eq!(source.manifest(&digest_of(&image)).unwrap(), image.manifest);
        for (digest, bytes) in &image.blobs {
            let digest = digest.to_string().parse::<Digest>().unwrap();
            let content = source.content_of_size(&digest, bytes.len() as u64).unwrap();
            let mut read = vec![0; bytes.len() + 10];
            assert_eq!(content.read_at(&mut read, 0).unwrap(), bytes.len());
            assert_eq!(read[..bytes.len()], bytes[..]);
            assert_eq!(content.read_at(&mut read, content.size()).unwrap(), 0, "the entry ends there");
        }
    }
}
