// SPDX-License-Identifier: Apache-2.0
//! Files in which images travel without a registry.

use std::collections::BTreeMap;

use krs_core::oci::OCI_INDEX;
use serde_json::{Value, json};

use super::Image;

/// A file of an archive: its name and content.
pub type ArchiveFile = (String, Vec<u8>);

/// The annotations by which containerd, BuildKit and newer versions of Docker name an image: the full name, and the tag.
pub fn containerd_names(name: &str) -> Value {
    let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag})
}

/// The annotation by which skopeo and others name an image.
pub fn ref_name(name: &str) -> Value {
    json!({"org.opencontainers.image.ref.name": name})
}

/// The files of an OCI image layout with these images, which have these annotations in `index.json`.
pub fn oci_layout(images: &[(&Image, Value)]) -> Vec<ArchiveFile> {
    let mut files = BTreeMap::new();
    let mut entries = Vec::new();
    for (image, annotations) in images {
        let mut entry = image.descriptor();
        if !annotations.is_null() {
            entry["annotations"] = annotations.clone();
        }
        entries.push(entry);
        for (digest, bytes) in image.contents() {
            files.insert(format!("blobs/sha256/{}", digest.hex()), bytes.to_vec());
        }
    }
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
    files.insert("index.json".to_owned(), index.to_string().into_bytes());
    files.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    files.into_iter().collect()
}

/// The files of `docker save` before version 25: no manifests, and the layers by the digests of their configs. The images
/// have uncompressed layers.
pub fn docker_archive(images: &[(&Image, &[&str])]) -> Vec<ArchiveFile> {
    let mut files = BTreeMap::new();
    let mut entries = Vec::new();
    for (image, tags) in images {
        let manifest = serde_json::from_slice::<Value>(&image.manifest).unwrap();
        let content = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().to_owned();
            let found = image.blobs.iter().find(|(known, _)| known.to_string() == digest);
            (digest.trim_start_matches("sha256:").to_owned(), found.unwrap().1.clone())
        };
        let (config, bytes) = content(&manifest["config"]);
        files.insert(format!("{config}.json"), bytes);
        let layers = manifest["layers"].as_array().unwrap().iter().map(|layer| {
            let (layer, bytes) = content(layer);
            files.insert(format!("{layer}/layer.tar"), bytes);
            format!("{layer}/layer.tar")
        });
        let layers = layers.collect::<Vec<_>>();
        entries.push(json!({"Config": format!("{config}.json"), "RepoTags": tags, "Layers": layers}));
    }
    files.insert("manifest.json".to_owned(), json!(entries).to_string().into_bytes());
    files.into_iter().collect()
}

/// A tar of these files.
pub fn archive_of(files: &[ArchiveFile]) -> Vec<u8> {
    let files = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect::<Vec<_>>();
    super::tar_of(&files)
}
