// SPDX-License-Identifier: Apache-2.0
//! Images, indexes and artifacts, the same bytes on each run.

mod archives;
mod artifacts;
mod builder;

use camino::Utf8Path;
use krs_core::oci::digest::Digest;
use krs_core::oci::{DOCKER_INDEX, OCI_INDEX};
use serde_json::{Value, json};

pub use self::archives::{ArchiveFile, archive_of, containerd_names, docker_archive, oci_layout, ref_name};
pub use self::artifacts::{
    cosign_signature, cosign_tag, helm_chart, layers_null, referrers_index, referrers_tag, sbom, signature,
};
pub use self::builder::{ImageBuilder, gzip_of_buildkit, random_bytes, tar_of};
use crate::registry::Registry;

/// A manifest or index with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Media type of the manifest or index.
    pub media_type: String,
    /// The manifest as it is served.
    pub manifest: Vec<u8>,
    /// Digest of `manifest`.
    pub digest: Digest,
    /// Config and layers of a manifest, each once, in the order of use.
    pub blobs: Vec<(Digest, Vec<u8>)>,
    /// The children of an index.
    pub children: Vec<Self>,
    /// The platform that an image was built for.
    pub platform: Option<String>,
    /// The kind of artifact, if it states one.
    pub artifact_type: Option<String>,
}

impl Image {
    /// Its descriptor, without a platform.
    pub fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest.to_string(), "size": self.manifest.len()})
    }

    /// Bytes of the manifest and of everything below it; what is shared counts once.
    pub fn size(&self) -> u64 {
        let mut all = self.contents();
        all.sort_unstable_by_key(|(digest, _)| *digest);
        all.dedup_by_key(|(digest, _)| *digest);
        all.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// This manifest or index and all below it, inner before outer.
    pub fn manifests(&self) -> Vec<&Self> {
        self.children.iter().flat_map(Self::manifests).chain([self]).collect()
    }

    fn contents(&self) -> Vec<(Digest, &[u8])> {
        self.manifests()
            .into_iter()
            .flat_map(|image| {
                let blobs = image.blobs.iter().map(|(digest, bytes)| (*digest, bytes.as_slice()));
                blobs.chain([(image.digest, image.manifest.as_slice())])
            })
            .collect()
    }

    /// Puts everything into a repository, without the network. Without a tag only the digest names it.
    pub fn push_to(&self, registry: &Registry, repository: &str, tag: Option<&str>) {
        for image in self.manifests() {
            for (_, bytes) in &image.blobs {
                registry.put_blob(repository, bytes);
            }
            let digest = image.digest.to_string();
            registry.put_manifest(repository, &digest, &image.media_type, &image.manifest);
        }
        if let Some(tag) = tag {
            registry.put_manifest(repository, tag, &self.media_type, &self.manifest);
        }
    }

    /// Writes an OCI image layout with this one image into a folder.
    pub fn write_layout(&self, folder: &Utf8Path, name: &str) {
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        for (digest, bytes) in self.contents() {
            std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        }
        let mut descriptor = self.descriptor();
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor]});
        std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    }

    fn from_json(media_type: &str, json: &Value) -> Self {
        let manifest = serde_json::to_vec_pretty(json).unwrap();
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(&manifest),
            manifest,
            blobs: Vec::new(),
            children: Vec::new(),
            platform: None,
            artifact_type: json["artifactType"].as_str().map(str::to_owned),
        }
    }
}

/// `os/architecture[/variant]` as manifests write it.
fn platform(text: &str) -> Value {
    let mut parts = text.split('/');
    let mut next = || parts.next().map(str::to_owned);
    let mut platform = json!({"os": next(), "architecture": next()});
    if let Some(variant) = next() {
        platform["variant"] = variant.into();
    }
    platform
}

fn list(media_type: &str, children: &[(&Image, Option<&str>)]) -> Image {
    let entries = children.iter().map(|(child, platform_text)| {
        let mut descriptor = child.descriptor();
        if let Some(platform_text) = platform_text.or(child.platform.as_deref()) {
            descriptor["platform"] = platform(platform_text);
        }
        descriptor
    });
    let entries = entries.collect::<Vec<_>>();
    let mut index = Image::from_json(
        media_type,
        &json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}),
    );
    index.children = children.iter().map(|(child, _)| (*child).clone()).collect();
    index
}

/// An OCI index of images, artifacts or indexes. A platform that is absent is the image's own.
pub fn index(children: &[(&Image, Option<&str>)]) -> Image {
    list(OCI_INDEX, children)
}

/// A Docker manifest list.
pub fn docker_list(children: &[(&Image, Option<&str>)]) -> Image {
    list(DOCKER_INDEX, children)
}

/// An OCI index as BuildKit writes it: each image is followed by a manifest with its provenance, which has no
/// platform and names the image in an annotation.
pub fn with_attestations(images: &[&Image]) -> Image {
    let attestations = images.iter().map(|image| artifacts::attestation(image)).collect::<Vec<_>>();
    let children = images.iter().map(|image| (*image, None)).collect::<Vec<_>>();
    let plain = list(OCI_INDEX, &children);
    let mut index = serde_json::from_slice::<Value>(&plain.manifest).unwrap();
    for (image, attestation) in images.iter().zip(&attestations) {
        let mut descriptor = attestation.descriptor();
        descriptor["platform"] = platform("unknown/unknown");
        descriptor["annotations"] = json!({
            "vnd.docker.reference.digest": image.digest.to_string(),
            "vnd.docker.reference.type": "attestation-manifest",
        });
        index["manifests"].as_array_mut().unwrap().push(descriptor);
    }
    let mut index = Image::from_json(OCI_INDEX, &index);
    index.children = plain.children.into_iter().chain(attestations).collect();
    index
}
