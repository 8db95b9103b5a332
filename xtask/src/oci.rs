// SPDX-License-Identifier: Apache-2.0
//! Images and other artifacts as an OCI archive: an image layout in one tar, as containerd, skopeo, oras and K3s read it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::digest::Digest;
use crate::run::Result;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An image of one platform.
#[derive(Debug)]
pub struct Image<'a> {
    /// As OCI names it.
    pub architecture: &'a str,
    /// Base first.
    pub layers: &'a [Layer],
    /// `UID:GID`.
    pub user: &'a str,
    /// What starts.
    pub entrypoint: &'a [&'a str],
    /// Its arguments, or what starts where there is no entrypoint.
    pub command: &'a [&'a str],
    /// Labels of the config.
    pub labels: BTreeMap<&'a str, String>,
    /// The time of its commit in RFC 3339; left out if there is no commit, because any other time would differ in each build.
    pub created: Option<&'a str>,
}

/// A layer of an image.
#[derive(Debug)]
pub struct Layer {
    media_type: &'static str,
    bytes: Vec<u8>,
    /// The digest of the tar, which the config names.
    diff_id: String,
}

impl Layer {
    /// A tar as it is: written and read fastest.
    pub fn tar(bytes: Vec<u8>) -> Self {
        Self { media_type: LAYER, diff_id: Digest::of(&bytes).to_string(), bytes }
    }

    /// A tar and the same compressed. Clients that push layers compress those that are not, which changes all digests above.
    pub fn gzip(tar: &[u8], compressed: Vec<u8>) -> Self {
        Self { media_type: LAYER_GZIP, diff_id: Digest::of(tar).to_string(), bytes: compressed }
    }
}

/// The content of an archive.
#[derive(Debug, Default)]
pub struct Archive {
    blobs: BTreeMap<String, Vec<u8>>,
    names: Vec<Value>,
}

impl Archive {
    /// Adds a blob; answers its descriptor.
    pub fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = Digest::of(&bytes);
        let descriptor = json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()});
        self.blobs.entry(digest.hex().to_owned()).or_insert(bytes);
        descriptor
    }

    /// Adds a manifest; answers its descriptor.
    pub fn manifest(
        &mut self,
        config: &Value,
        layers: &[Value],
        annotations: Option<Value>,
    ) -> Result<Value> {
        let mut manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        if let Some(annotations) = annotations {
            manifest["annotations"] = annotations;
        }
        Ok(self.blob(MANIFEST, serde_json::to_vec(&manifest)?))
    }

    /// Adds an image; answers the descriptor of its manifest.
    pub fn image(&mut self, image: &Image<'_>) -> Result<Value> {
        let layers = image.layers.iter().map(|layer| self.blob(layer.media_type, layer.bytes.clone()));
        let layers = layers.collect::<Vec<_>>();
        let mut settings = json!({
            "User": image.user,
            "Env": ["PATH=/usr/bin:/bin"],
            "WorkingDir": "/",
            "Labels": image.labels,
        });
        for (name, words) in [("Entrypoint", image.entrypoint), ("Cmd", image.command)] {
            if !words.is_empty() {
                settings[name] = json!(words);
            }
        }
        let mut config = json!({
            "architecture": image.architecture,
            "os": "linux",
            "config": settings,
            "rootfs": {
                "type": "layers",
                "diff_ids": image.layers.iter().map(|layer| &layer.diff_id).collect::<Vec<_>>(),
            },
        });
        if let Some(created) = image.created {
            config["created"] = json!(created);
        }
        let config = self.blob("application/vnd.oci.image.config.v1+json", serde_json::to_vec(&config)?);
        self.manifest(&config, &layers, None)
    }

    /// Adds an index of images, each with its architecture; answers its descriptor.
    pub fn index(&mut self, images: Vec<(&str, Value)>) -> Result<Value> {
        let manifests = images.into_iter().map(|(architecture, mut image)| {
            image["platform"] = json!({"architecture": architecture, "os": "linux"});
            image
        });
        let manifests = manifests.collect::<Vec<_>>();
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        Ok(self.blob(INDEX, serde_json::to_vec(&index)?))
    }

    /// Gives content two names, with a tag and with its digest, so that it is also found where it is pinned.
    pub fn name(&mut self, content: &Value, repository: &str, tag: &str) {
        let digest = content["digest"].as_str().unwrap_or_default();
        for name in [format!("{repository}:{tag}"), format!("{repository}@{digest}")] {
            let mut entry = content.clone();
            entry["annotations"] =
                json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name});
            self.names.push(entry);
        }
    }

    /// The archive.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes the archive to a file, which appears when it is complete.
    pub fn write(&self, file: &Path) -> Result<()> {
        let partial = file.with_extension("partial");
        let mut writer = BufWriter::new(File::create(&partial)?);
        self.write_to(&mut writer)?;
        writer.flush()?;
        Ok(fs::rename(partial, file)?)
    }

    fn write_to(&self, writer: impl Write) -> Result<()> {
        let mut tar = Builder::new(writer);
        put(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.names});
        put(&mut tar, "index.json", &serde_json::to_vec(&index)?)?;
        for (digest, blob) in &self.blobs {
            put(&mut tar, &format!("blobs/sha256/{digest}"), blob)?;
        }
        tar.into_inner()?;
        Ok(())
    }
}

fn put(tar: &mut Builder<impl Write>, path: &str, bytes: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_size(bytes.len() as u64);
    Ok(tar.append_data(&mut header, path, bytes)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use std::io::Read as _;

    use super::*;

    fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut tar = tar::Archive::new(archive);
        let entries = tar.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().to_string_lossy().into_owned(), content)
        });
        entries.collect()
    }

    #[test]
    fn every_descriptor_of_an_archive_leads_to_its_blob() {
        let make = || {
            let mut archive = Archive::default();
            let images = ["amd64", "arm64"].map(|architecture| {
                let layers = [
                    Layer::tar(b"layer".to_vec()),
                    Layer::gzip(b"tar", format!("compressed {architecture}").into_bytes()),
                ];
                let image = Image {
                    architecture,
                    layers: &layers,
                    user: "1:1",
                    entrypoint: &["/x"],
                    command: &[],
                    labels: BTreeMap::new(),
                    created: None,
                };
                (architecture, archive.image(&image).unwrap())
            });
            let index = archive.index(images.into()).unwrap();
            archive.name(&index, "localhost/x", "1");
            archive.bytes().unwrap()
        };
        assert_eq!(make(), make());
        let files = files(&make());
        let mut open = vec![serde_json::from_slice::<Value>(&files["index.json"]).unwrap()];
        let (mut found, mut configs) = (0, 0);
        while let Some(document) = open.pop() {
            let lists = ["manifests", "layers"].iter().filter_map(|list| document[list].as_array());
            let config = document.get("config").filter(|config| config["digest"].is_string());
            for descriptor in lists.flatten().chain(config) {
                let digest = descriptor["digest"].as_str().unwrap();
                let blob = &files[&digest.replace("sha256:", "blobs/sha256/")];
                assert_eq!(Digest::of(blob).to_string(), digest);
                assert_eq!(descriptor["size"], blob.len());
                found += 1;
                open.extend(serde_json::from_slice(blob).ok().filter(Value::is_object));
            }
            if let Some(of_tars) = document["rootfs"]["diff_ids"].as_array() {
                assert_eq!(*of_tars, [b"layer".as_slice(), b"tar"].map(|tar| Digest::of(tar).to_string()));
                configs += 1;
            }
        }
        // The index under two names; each time two manifests with a config and two layers.
        assert_eq!((found, configs), (2 * (1 + 2 * (1 + 3)), 2 * 2));
    }
}
