// SPDX-License-Identifier: Apache-2.0
//! Archives of `docker save` without an OCI image layout.

use krs_testing::image::{
    ArchiveFile, Image, ImageBuilder, archive_of, docker_archive, random_bytes, tar_of,
};
use serde_json::{Value, json};
use tar::{EntryType, Header};

use super::{Desk, named};
use crate::error::{Classify as _, ErrorKind};
use crate::local::{LocalError, LocalSource};
use crate::oci::OCI_MANIFEST;
use crate::oci::closure::{Manifests, StoredManifest};
use crate::oci::digest::Digest;

fn image(name: &str, seed: u64) -> Image {
    ImageBuilder::new(name).layer_random(3_000, 1).layer_random(2_000, seed).build()
}

fn open(files: &[ArchiveFile]) -> Result<LocalSource, LocalError> {
    let desk = Desk::new();
    desk.write("d.tar", &archive_of(files));
    desk.open("docker-archive", "d.tar")
}

#[test]
fn t276_the_manifest_of_an_image_follows_from_its_config_and_layers() {
    let (web, api) = (image("web", 2), image("api", 3));
    let files =
        docker_archive(&[(&web, &["web:1", "quay.io/team/web:2"]), (&api, &["localhost:5000/api:1"])]);
    let source = open(&files).unwrap();
    assert!(source.is_rebuilt());
    let [digest] = named(&source, "docker.io/library/web:1")[..] else { panic!("{}", source.names()) };
    assert_eq!(named(&source, "quay.io/team/web:2"), [digest]);
    assert_eq!(named(&source, "localhost:5000/api:1").len(), 1);
    let bytes = source.manifest(&digest).unwrap();
    assert_eq!(Digest::of(&bytes), digest);
    // As Docker 25 and later write it, but for white space: the fields, their order aside, and nothing else.
    let written = serde_json::from_slice::<Value>(&bytes).unwrap();
    let layer = |n: usize| {
        let (digest, content) = &web.blobs[n];
        json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest.to_string(), "size": content.len()})
    };
    let config = json!({
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": web.blobs[0].0.to_string(),
        "size": web.blobs[0].1.len(),
    });
    assert_eq!(
        written,
        json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer(1), layer(2)]})
    );
    let mut manifests = Manifests::default();
    let root = source.manifest_of(&digest).unwrap().clone();
    manifests.insert(digest, StoredManifest { media_type: root.media_type.clone(), bytes });
    for content in manifests.closure(&root, &[]).unwrap().blobs {
        source.content_of_size(&content.digest, content.size).unwrap();
    }
    // The order of the entries and what else is in the archive change nothing.
    let mut other = files.into_iter().rev().collect::<Vec<_>>();
    other.push(("repositories".to_owned(), b"{}".to_vec()));
    assert_eq!(named(&open(&other).unwrap(), "docker.io/library/web:1"), [digest]);
}

#[test]
fn layers_that_images_share_are_links_inside_of_the_archive() {
    let web = image("web", 2);
    let mut files = docker_archive(&[(&web, &["web:1"])]);
    let expected = named(&open(&files).unwrap(), "docker.io/library/web:1");
    let layer = format!("{}/layer.tar", web.blobs[1].0.hex());
    let (_, content) = files.remove(files.iter().position(|(name, _)| *name == layer).unwrap());
    files.push((format!("{}.tar", web.blobs[1].0.hex()), content));
    let with_link = |target: &str| {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, &layer, target).unwrap();
        tar.get_mut().extend_from_slice(&archive_of(&files));
        let desk = Desk::new();
        // `into_inner` would end the archive before the other entries.
        desk.write("d.tar", tar.get_ref());
        desk.open("docker-archive", "d.tar")
    };
    let source = with_link(&format!("../{}.tar", web.blobs[1].0.hex())).unwrap();
    assert_eq!(named(&source, "docker.io/library/web:1"), expected);
    for target in ["../../../etc/passwd", "/etc/passwd", "../nowhere.tar", "layer.tar"] {
        let error = with_link(target).unwrap_err();
        assert!(matches!(error, LocalError::Missing { .. }), "{target}: {error}");
    }
}

#[test]
fn t276_an_archive_whose_parts_do_not_fit_is_refused() {
    let web = image("web", 2);
    let files = docker_archive(&[(&web, &["web:1"])]);
    let with = |name: &str, bytes: Vec<u8>| {
        let mut files = files.clone();
        files.iter_mut().find(|(known, _)| known == name).unwrap().1 = bytes;
        open(&files).unwrap_err()
    };
    let manifest = |change: &dyn Fn(&mut Value)| {
        let (_, bytes) = files.iter().find(|(name, _)| name == "manifest.json").unwrap();
        let mut value = serde_json::from_slice::<Value>(bytes).unwrap();
        change(&mut value);
        with("manifest.json", value.to_string().into_bytes())
    };
    let error = manifest(&|value| value[0]["Layers"] = json!([value[0]["Layers"][0]]));
    assert!(error.to_string().contains("it states 2 layers, and the archive has 1"), "{error}");
    let error = manifest(&|value| value[0]["Config"] = "../config.json".into());
    assert!(matches!(error, LocalError::Missing { .. }), "{error}");
    let error = manifest(&|value| value[0]["Layers"][0] = "nowhere".into());
    assert_eq!(error.kind(), ErrorKind::Incomplete, "{error}");
    let error = manifest(&|value| *value = json!({"Config": "a"}));
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let config = format!("{}.json", web.blobs[0].0.hex());
    let error = with(&config, b"{\"rootfs\":{\"diff_ids\":[\"sha256:0\"]}}".to_vec());
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    // As crane writes them.
    let layer = format!("{}/layer.tar", web.blobs[1].0.hex());
    let error = with(&layer, [b"\x1f\x8b".as_slice(), &random_bytes(600, 1)].concat());
    assert!(error.to_string().contains("it is compressed with gzip"), "{error}");
    assert!(error.help().unwrap().contains("crane pull --format=oci"));
    // One diff ID for two layers of different sizes.
    let error = {
        let (mut files, second) = (files.clone(), web.blobs[2].0.to_string());
        let config = files.iter_mut().find(|(name, _)| *name == config).unwrap();
        let mut value = serde_json::from_slice::<Value>(&config.1).unwrap();
        value["rootfs"]["diff_ids"][0] = second.into();
        config.1 = value.to_string().into_bytes();
        open(&files).unwrap_err()
    };
    assert!(error.to_string().contains("is described with"), "{error}");
    // A layer that is not what the config says is found when it is read; its size is not enough.
    let mut files = files;
    files.iter_mut().find(|(name, _)| *name == layer).unwrap().1 = tar_of(&[("x", &random_bytes(3_000, 9))]);
    assert!(open(&files).is_ok());
}
