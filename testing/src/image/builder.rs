// SPDX-License-Identifier: Apache-2.0
//! Builds one manifest with its config and layers.

use std::collections::BTreeMap;
use std::io::Write as _;

use krs_compact::encoder::go::Level;
use krs_compact::encoder::{Encoder as _, Family, Gzip};
use krs_core::oci::digest::Digest;
use krs_core::oci::{DOCKER_MANIFEST, OCI_MANIFEST};
use serde_json::{Value, json};

use super::{Image, platform};

const CREATED: &str = "2026-01-01T00:00:00Z";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    Gzip,
    Zstd,
}

#[derive(Debug, Clone)]
struct Layer {
    content: Vec<u8>,
    compression: Option<Compression>,
    media_type: Option<String>,
}

/// Builds an image or another artifact with one manifest. The same calls give the same bytes.
///
/// Layers are plain tars until [`gzip`](Self::gzip) or [`zstd`](Self::zstd) is called, which count for the
/// layers after them. Docker's images have gzip layers by default.
#[derive(Debug, Clone)]
pub struct ImageBuilder {
    name: String,
    layers: Vec<Layer>,
    compression: Option<Compression>,
    layer_type: Option<String>,
    docker: bool,
    platform: String,
    config: Option<(Option<String>, Vec<u8>)>,
    annotations: BTreeMap<String, String>,
    artifact_type: Option<String>,
    subject: Option<Value>,
}

impl ImageBuilder {
    /// An image for `linux/amd64` without layers. The name goes into the config, so that images with other names
    /// have other digests.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            layers: Vec::new(),
            compression: None,
            layer_type: None,
            docker: false,
            platform: "linux/amd64".to_owned(),
            config: None,
            annotations: BTreeMap::new(),
            artifact_type: None,
            subject: None,
        }
    }

    /// A layer of these bytes, which need not be a tar (no bytes at all: a blob of 0 bytes, unless compressed).
    #[must_use]
    pub fn layer(mut self, content: impl Into<Vec<u8>>) -> Self {
        let (compression, media_type) = (self.compression, self.layer_type.clone());
        self.layers.push(Layer { content: content.into(), compression, media_type });
        self
    }

    /// A layer with one file of `size` bytes that do not compress.
    #[must_use]
    pub fn layer_random(self, size: usize, seed: u64) -> Self {
        let content = random_bytes(size, seed);
        self.layer(tar_of(&[(&format!("data/{seed}"), content.as_slice())]))
    }

    /// A layer with these files: path and content.
    #[must_use]
    pub fn layer_files(self, files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| (*path, text.as_bytes())).collect::<Vec<_>>();
        self.layer(tar_of(&files))
    }

    /// A layer that is a tar without files.
    #[must_use]
    pub fn empty_layer(self) -> Self {
        self.layer(tar_of(&[]))
    }

    /// Compresses the layers after this with gzip.
    #[must_use]
    pub fn gzip(mut self) -> Self {
        self.compression = Some(Compression::Gzip);
        self
    }

    /// Compresses the layers after this with zstd.
    #[must_use]
    pub fn zstd(mut self) -> Self {
        self.compression = Some(Compression::Zstd);
        self
    }

    /// Gives the layers after this a media type.
    #[must_use]
    pub fn layer_type(mut self, media_type: &str) -> Self {
        self.layer_type = Some(media_type.to_owned());
        self
    }

    /// Uses Docker's media types.
    #[must_use]
    pub fn docker(mut self) -> Self {
        self.docker = true;
        self
    }

    /// The platform of the image: `os/architecture[/variant]`.
    #[must_use]
    pub fn platform(mut self, platform: &str) -> Self {
        platform.clone_into(&mut self.platform);
        self
    }

    /// Sets the bytes of the config.
    #[must_use]
    pub fn config(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.config = Some((None, bytes.into()));
        self
    }

    /// Bytes of the config with a media type of their own, as artifacts have them.
    #[must_use]
    pub fn config_of_type(mut self, media_type: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.config = Some((Some(media_type.to_owned()), bytes.into()));
        self
    }

    /// An annotation of the manifest.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Makes it an artifact that is not an image, with the empty config.
    #[must_use]
    pub fn artifact_type(mut self, artifact_type: &str) -> Self {
        self.artifact_type = Some(artifact_type.to_owned());
        self
    }

    /// Lets it refer to another manifest.
    #[must_use]
    pub fn subject(mut self, subject: &Image) -> Self {
        self.subject = Some(subject.descriptor());
        self
    }

    /// Encodes the manifest and hashes all blobs.
    pub fn build(self) -> Image {
        self.build_with(|_| {})
    }

    /// Builds it and changes the manifest's JSON at the end, to make an invalid manifest.
    pub fn build_with(self, change: impl FnOnce(&mut Value)) -> Image {
        let mut blobs = Vec::new();
        let layers = self.layers.iter().map(|layer| {
            let compression = layer.compression.or(self.docker.then_some(Compression::Gzip));
            let blob = compress(&layer.content, compression);
            let media_type = layer.media_type.clone().unwrap_or_else(|| layer_type(self.docker, compression));
            let layer = descriptor(&media_type, &blob);
            blobs.push((Digest::of(&blob), blob));
            layer
        });
        let layers = layers.collect::<Vec<_>>();
        let config_type = if self.docker {
            "application/vnd.docker.container.image.v1+json"
        } else if self.artifact_type.is_some() {
            "application/vnd.oci.empty.v1+json"
        } else {
            "application/vnd.oci.image.config.v1+json"
        };
        let (config_media_type, config) = match &self.config {
            Some((media_type, bytes)) => (media_type.as_deref(), bytes.clone()),
            None if self.artifact_type.is_some() => (None, b"{}".to_vec()),
            None => (None, self.image_config()),
        };
        let media_type = if self.docker { DOCKER_MANIFEST } else { OCI_MANIFEST };
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": descriptor(config_media_type.unwrap_or(config_type), &config),
            "layers": layers,
        });
        if let Some(artifact_type) = &self.artifact_type {
            manifest["artifactType"] = artifact_type.as_str().into();
        }
        if let Some(subject) = &self.subject {
            manifest["subject"] = subject.clone();
        }
        if !self.annotations.is_empty() {
            manifest["annotations"] = json!(self.annotations);
        }
        change(&mut manifest);
        let mut image = Image::from_json(media_type, &manifest);
        blobs.insert(0, (Digest::of(&config), config));
        let mut digests = std::collections::HashSet::new();
        blobs.retain(|(digest, _)| digests.insert(*digest));
        image.blobs = blobs;
        let is_image = self.artifact_type.is_none() && config_media_type.is_none();
        image.platform = is_image.then_some(self.platform);
        image
    }

    fn image_config(&self) -> Vec<u8> {
        let diff_ids =
            self.layers.iter().map(|layer| Digest::of(&layer.content).to_string()).collect::<Vec<_>>();
        let history = json!({"created": CREATED, "created_by": "krs-testing"});
        let mut config = platform(&self.platform);
        config["created"] = CREATED.into();
        config["config"] = json!({"Labels": {"name": self.name}});
        config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        config["history"] = json!(vec![history; self.layers.len()]);
        serde_json::to_vec(&config).unwrap()
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()})
}

fn layer_type(docker: bool, compression: Option<Compression>) -> String {
    let suffix = match (docker, compression) {
        (true, Some(Compression::Gzip)) => {
            return "application/vnd.docker.image.rootfs.diff.tar.gzip".to_owned();
        }
        (true, Some(Compression::Zstd)) => {
            return "application/vnd.docker.image.rootfs.diff.tar.zstd".to_owned();
        }
        (true, None) => return "application/vnd.docker.image.rootfs.diff.tar".to_owned(),
        (false, None) => "",
        (false, Some(Compression::Gzip)) => "+gzip",
        (false, Some(Compression::Zstd)) => "+zstd",
    };
    format!("application/vnd.oci.image.layer.v1.tar{suffix}")
}

fn compress(content: &[u8], compression: Option<Compression>) -> Vec<u8> {
    match compression {
        None => content.to_vec(),
        Some(Compression::Gzip) => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
        Some(Compression::Zstd) => zstd::bulk::compress(content, 1).unwrap(),
    }
}

/// Bytes that do not compress, the same for the same seed.
pub fn random_bytes(size: usize, seed: u64) -> Vec<u8> {
    // SplitMix64 (Steele, Lea, Flood 2014): every seed is a good one.
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        bytes.extend_from_slice(&next().to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// A layer as BuildKit compresses it, so that a recipe for it exists.
pub fn gzip_of_buildkit(plain: &[u8]) -> Vec<u8> {
    let family = Family::Go(Level::new(6).unwrap());
    let mut layer = Vec::new();
    let mut encoder = Gzip::new(&family.header(), family.encoder(), &mut layer);
    encoder.write(plain, &mut layer);
    encoder.finish(&mut layer);
    layer
}

/// A tar of these files, without times and owners.
pub fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, *content).unwrap();
    }
    tar.into_inner().unwrap()
}
