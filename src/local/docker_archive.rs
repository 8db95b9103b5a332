// SPDX-License-Identifier: Apache-2.0
//! Archives of `docker save` that have no OCI image layout inside: `manifest.json`, configs, and uncompressed layers. The
//! manifest that the registry had is lost. One is made of the config and the layers, always the same for the same image.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use super::error::{FileError, LocalError};
use super::listing::Listing;
use super::store::{Content, Store, compression};
use crate::json;
use crate::oci::digest::Digest;
use crate::oci::{Descriptor, MAX_ENTRIES, MAX_MANIFEST, OCI_MANIFEST, written};

/// The file that lists the images.
pub(super) const MANIFEST: &str = "manifest.json";
/// Its largest size, in bytes.
pub(super) const MAX_MANIFEST_JSON: u64 = 16 << 20;
/// Most layers of all images together.
const MAX_LAYERS: usize = 100_000;

const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image in `manifest.json` (moby, "image/spec/v1.2.md").
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

/// Manifests that were made, and where the content of the images is.
#[derive(Debug, Default)]
pub(super) struct DockerArchive {
    manifests: BTreeMap<Digest, Bytes>,
    contents: BTreeMap<Digest, Content>,
}

impl DockerArchive {
    pub(super) fn manifest(&self, digest: &Digest) -> Option<&Bytes> {
        self.manifests.get(digest)
    }

    pub(super) fn content(&self, digest: &Digest) -> Option<&Content> {
        self.contents.get(digest)
    }

    fn add(&mut self, digest: Digest, content: Content) -> Result<(), FileError> {
        let size = content.size();
        let known = self.contents.entry(digest).or_insert(content);
        if known.size() == size {
            return Ok(());
        }
        Err(FileError::Sizes { digest, one: known.size(), other: size })
    }
}

/// Reads `manifest.json` and the configs that it names, and makes the manifests of the images.
pub(super) fn read(
    store: &Store,
    manifest: &[u8],
    location: &str,
    listing: &mut Listing,
) -> Result<DockerArchive, LocalError> {
    let limit = usize::try_from(MAX_MANIFEST_JSON).unwrap_or(usize::MAX);
    let images = json::parse::<Vec<Image>>(manifest, limit);
    let images = images.map_err(|e| LocalError::file(location, MANIFEST, e))?;
    let layers = images.iter().flat_map(|image| &image.layers).map(Vec::len).sum::<usize>();
    if layers > MAX_LAYERS || images.len() > MAX_LAYERS {
        let source = FileError::TooMany { what: "layers", limit: MAX_LAYERS };
        return Err(LocalError::file(location, MANIFEST, source));
    }
    let mut archive = DockerArchive::default();
    for image in images {
        let descriptor = add_image(&mut archive, store, &image, location)?;
        listing.add(&descriptor);
        for name in image.repo_tags.iter().flatten() {
            listing.add_name(&full_name(name), &descriptor);
        }
    }
    Ok(archive)
}

fn add_image(
    archive: &mut DockerArchive,
    store: &Store,
    image: &Image,
    location: &str,
) -> Result<Descriptor, LocalError> {
    let config = find(store, &image.config, location)?;
    let bytes = config.read_all(MAX_MANIFEST).map_err(|e| e.of(location, &shown(&image.config)))?;
    let of_config = |e: FileError| LocalError::file(location, &shown(&image.config), e);
    let stated = json::parse::<Config>(&bytes, bytes.len()).map_err(|e| of_config(e.into()))?;
    let diff_ids = stated.rootfs.diff_ids.unwrap_or_default();
    let paths = image.layers.as_deref().unwrap_or_default();
    if diff_ids.len() != paths.len() {
        return Err(of_config(FileError::Layers { stated: diff_ids.len(), present: paths.len() }));
    }
    if paths.len() > MAX_ENTRIES {
        return Err(of_config(FileError::TooMany { what: "layers", limit: MAX_ENTRIES }));
    }
    let config_digest = Digest::of(&bytes);
    archive.add(config_digest, config).map_err(of_config)?;
    let mut layers = Vec::with_capacity(paths.len());
    for (path, diff_id) in paths.iter().zip(diff_ids) {
        let layer = find(store, path, location)?;
        let of_layer = |e: FileError| LocalError::file(location, &shown(path), e);
        let mut begin = [0; 8];
        let read = layer.read_at(&mut begin, 0);
        let read = read.map_err(|source| LocalError::Read {
            location: location.to_owned(),
            name: shown(path),
            source,
        })?;
        if let Some((format, _)) = compression(&begin[..read]) {
            return Err(of_layer(FileError::CompressedLayer(format)));
        }
        layers.push(Descriptor::new(LAYER_TYPE, diff_id, layer.size()));
        archive.add(diff_id, layer).map_err(of_layer)?;
    }
    let config = Descriptor::new(CONFIG_TYPE, config_digest, bytes.len() as u64);
    let manifest = written::manifest(&config, &layers).map_err(|e| of_config(e.into()))?;
    let digest = Digest::of(&manifest);
    let descriptor = Descriptor::new(OCI_MANIFEST, digest, manifest.len() as u64);
    archive.manifests.insert(digest, manifest.into());
    Ok(descriptor)
}

/// A file that `manifest.json` names.
fn find(store: &Store, path: &str, location: &str) -> Result<Content, LocalError> {
    let found = store.follow(path).map_err(|e| e.of(location, &shown(path)))?;
    found.ok_or_else(|| LocalError::Missing { location: location.to_owned(), name: shown(path) })
}

/// A name with its registry: Docker leaves `docker.io` and `library` out.
fn full_name(name: &str) -> String {
    let host = name.split_once('/').map(|(host, _)| host);
    let is_host = |host: &str| host.contains(['.', ':']) || host == "localhost";
    if host.is_some_and(is_host) { name.to_owned() } else { format!("docker.io/{name}") }
}

fn shown(path: &str) -> String {
    crate::redact::printable(path, 120)
}
