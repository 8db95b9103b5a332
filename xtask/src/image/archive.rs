// SPDX-License-Identifier: Apache-2.0
//! An image as an OCI archive, as containerd, skopeo and K3s read it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use xtask::digest::Digest;
use xtask::run::Result;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image of one platform: ours.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    /// `HOST/NAME`.
    pub(crate) repository: &'a str,
    pub(crate) tag: &'a str,
    /// Uncompressed tars, base first.
    pub(crate) layers: &'a [Vec<u8>],
    pub(crate) user: &'a str,
    pub(crate) entrypoint: &'a [&'a str],
    pub(crate) labels: BTreeMap<&'a str, String>,
    /// When, as OCI writes times; left out where nobody can say it again.
    pub(crate) created: Option<&'a str>,
}

impl Image<'_> {
    /// Writes the archive. The image has two names, with its tag and with its digest: whoever pins it finds it too.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let mut blobs = BTreeMap::new();
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|layer| store(&mut blobs, "application/vnd.oci.image.layer.v1.tar", layer))
            .collect();
        let mut config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "User": self.user,
                "Entrypoint": self.entrypoint,
                "Env": ["PATH=/usr/bin:/bin"],
                "WorkingDir": "/",
                "Labels": self.labels,
            },
            "rootfs": {
                "type": "layers",
                "diff_ids": layers.iter().map(|layer| layer["digest"].clone()).collect::<Vec<_>>(),
            },
        });
        if let Some(created) = self.created {
            config["created"] = json!(created);
        }
        let config = serde_json::to_vec(&config)?;
        let config = store(&mut blobs, "application/vnd.oci.image.config.v1+json", &config);
        let manifest = serde_json::to_vec(
            &json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}),
        )?;
        let manifest = store(&mut blobs, MANIFEST, &manifest);
        let digest = manifest["digest"].as_str().unwrap_or_default();
        let names = [format!("{}:{}", self.repository, self.tag), format!("{}@{digest}", self.repository)];
        let entries: Vec<Value> = names
            .iter()
            .map(|name| {
                let mut entry = manifest.clone();
                entry["annotations"] =
                    json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name});
                entry
            })
            .collect();
        let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": entries}))?;

        let partial = file.with_extension("partial");
        let mut tar = Builder::new(BufWriter::new(File::create(&partial)?));
        put(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        put(&mut tar, "index.json", &index)?;
        for (digest, blob) in &blobs {
            put(&mut tar, &format!("blobs/sha256/{digest}"), blob)?;
        }
        tar.into_inner()?.flush()?;
        Ok(fs::rename(partial, file)?)
    }
}

fn store(blobs: &mut BTreeMap<String, Vec<u8>>, media_type: &str, bytes: &[u8]) -> Value {
    let digest = Digest::of(bytes);
    let descriptor = json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()});
    blobs.entry(digest.hex().to_owned()).or_insert_with(|| bytes.to_vec());
    descriptor
}

fn put(tar: &mut Builder<BufWriter<File>>, path: &str, bytes: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_size(bytes.len() as u64);
    Ok(tar.append_data(&mut header, path, bytes)?)
}

/// As OCI writes it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
