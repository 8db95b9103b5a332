// SPDX-License-Identifier: Apache-2.0
//! Configurations, manifests and indexes around finished layers.

use std::collections::BTreeMap;
use std::io::Write as _;

use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};

use super::layer::Built;
use super::layout::{Layout, StoredDescriptor};
use super::recipe::{Format, Image, Kind, Writer};
use xtask::run::Result;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CREATED: &str = "2026-01-01T00:00:00Z";
const IN_TOTO: &str = "application/vnd.in-toto+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const SPDX: &str = "application/spdx+json";

/// A line of `corpus.json`.
#[derive(Debug, Clone)]
pub(crate) struct CorpusEntry {
    pub(crate) name: String,
    pub(crate) tag: String,
    pub(crate) stored: StoredDescriptor,
    pub(crate) note: String,
}

/// Makes images of layers; later ones may refer to earlier ones.
#[derive(Debug)]
pub(crate) struct Maker<'a> {
    pub(crate) out: &'a Layout,
    pub(crate) layers: BTreeMap<&'static str, Vec<Built>>,
    pub(crate) listed: Vec<CorpusEntry>,
}

impl Maker<'_> {
    /// Makes one image of the recipe.
    pub(crate) fn make(&mut self, image: &Image) -> Result<()> {
        let stored = match image.kind {
            Kind::Image(layers) => self.single(image.format, "amd64", layers)?,
            Kind::Index(platforms) => {
                let entries = platforms
                    .iter()
                    .map(|(arch, layers)| {
                        let stored = self.single(image.format, arch, layers)?;
                        Ok(with(stored.json(), "platform", json!({"architecture": arch, "os": "linux"})))
                    })
                    .collect::<Result<Vec<Value>>>()?;
                self.index(image.format, &entries)?
            }
            Kind::Attested(layers) => self.attested(image.format, layers)?,
            Kind::Chart => self.chart(image)?,
            Kind::Sbom(name, tag) => self.sbom(name, tag)?,
        };
        self.list(image.name, image.tag, stored, image.note);
        Ok(())
    }

    fn list(&mut self, name: &str, tag: &str, stored: StoredDescriptor, note: &str) {
        let (name, tag, note) = (name.to_owned(), tag.to_owned(), note.to_owned());
        self.listed.push(CorpusEntry { name, tag, stored, note });
    }

    fn single(&self, format: Format, arch: &str, ids: &[&str]) -> Result<StoredDescriptor> {
        let mut layers = Vec::new();
        for id in ids {
            layers.extend(self.layers.get(id).ok_or_else(|| format!("the recipe has no layer {id}"))?);
        }
        let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        let history: Vec<Value> =
            layers.iter().map(|_| json!({"created": CREATED, "created_by": "cargo xtask corpus"})).collect();
        let config = json!({
            "architecture": arch,
            "os": "linux",
            "created": CREATED,
            "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": history,
        });
        let config_type = match format {
            Format::Oci => OCI_CONFIG,
            Format::Docker => "application/vnd.docker.container.image.v1+json",
        };
        let config = self.out.store_json(config_type, &config)?;
        let layers = layers
            .iter()
            .map(|layer| {
                let (digest, size) = (layer.digest.to_string(), layer.size);
                Ok(json!({"mediaType": layer_type(format, layer.writer)?, "digest": digest, "size": size}))
            })
            .collect::<Result<Vec<Value>>>()?;
        let media_type = if format == Format::Oci { OCI_MANIFEST } else { DOCKER_MANIFEST };
        let manifest =
            json!({"schemaVersion": 2, "mediaType": media_type, "config": config.json(), "layers": layers});
        self.out.store_json(media_type, &manifest)
    }

    fn index(&self, format: Format, manifests: &[Value]) -> Result<StoredDescriptor> {
        let media_type = if format == Format::Oci { OCI_INDEX } else { DOCKER_INDEX };
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
        self.out.store_json(media_type, &index)
    }

    /// As BuildKit: the attestation is one more manifest, of platform unknown/unknown.
    fn attested(&self, format: Format, layers: &[&str]) -> Result<StoredDescriptor> {
        let image = self.single(format, "amd64", layers)?;
        let predicate = "https://spdx.dev/Document";
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": predicate,
            "subject": [{"name": "image", "digest": {"sha256": image.digest.hex()}}],
            "predicate": {"SPDXID": "SPDXRef-DOCUMENT", "spdxVersion": "SPDX-2.3", "name": "image"},
        });
        let statement = self.out.store_json(IN_TOTO, &statement)?;
        let config = json!({
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [statement.digest.to_string()]},
        });
        let config = self.out.store_json(OCI_CONFIG, &config)?;
        let layer = with(statement.json(), "annotations", json!({"in-toto.io/predicate-type": predicate}));
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config.json(), "layers": [layer],
        });
        let attestation = self.out.store_json(OCI_MANIFEST, &manifest)?;
        let reference = json!({
            "vnd.docker.reference.digest": image.digest.to_string(),
            "vnd.docker.reference.type": "attestation-manifest",
        });
        let platform = |arch: &str, os: &str| json!({"architecture": arch, "os": os});
        let attestation = with(attestation.json(), "annotations", reference);
        self.index(
            format,
            &[
                with(image.json(), "platform", platform("amd64", "linux")),
                with(attestation, "platform", platform("unknown", "unknown")),
            ],
        )
    }

    fn chart(&self, image: &Image) -> Result<StoredDescriptor> {
        let name = image.name.rsplit('/').next().unwrap_or(image.name);
        let chart = format!(
            "apiVersion: v2\nname: {name}\nversion: {}\ndescription: A chart of the corpus\n",
            image.tag
        );
        let template = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata: {}\n";
        let mut tar = tar::Builder::new(Vec::new());
        for (path, text) in [("Chart.yaml", chart.as_str()), ("templates/configmap.yaml", template)] {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_mtime(0);
            header.set_size(text.len() as u64);
            tar.append_data(&mut header, format!("{name}/{path}"), text.as_bytes())?;
        }
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
        gzip.write_all(&tar.into_inner()?)?;
        let layer = self.out.store("application/vnd.cncf.helm.chart.content.v1.tar+gzip", &gzip.finish()?)?;
        let config = json!({"apiVersion": "v2", "name": name, "version": image.tag});
        let config = self.out.store_json("application/vnd.cncf.helm.config.v1+json", &config)?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config.json(), "layers": [layer.json()],
            "annotations": {"org.opencontainers.image.title": name, "org.opencontainers.image.version": image.tag},
        });
        self.out.store_json(OCI_MANIFEST, &manifest)
    }

    /// An artifact with a subject; and, for registries without the referrers API, the index that the tag schema wants.
    fn sbom(&mut self, name: &str, tag: &str) -> Result<StoredDescriptor> {
        let subject = self
            .listed
            .iter()
            .find(|listed| listed.name == name && listed.tag == tag)
            .ok_or_else(|| format!("the recipe has no image {name}:{tag} before its SBOM"))?
            .stored
            .clone();
        let document =
            json!({"SPDXID": "SPDXRef-DOCUMENT", "spdxVersion": "SPDX-2.3", "name": format!("{name}:{tag}")});
        let layer = self.out.store_json(SPDX, &document)?;
        let config = self.out.store(EMPTY, b"{}")?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": SPDX, "config": config.json(),
            "layers": [layer.json()], "subject": subject.json(),
            "annotations": {"org.opencontainers.image.created": CREATED},
        });
        let stored = self.out.store_json(OCI_MANIFEST, &manifest)?;
        let referrers = self.index(Format::Oci, &[with(stored.json(), "artifactType", json!(SPDX))])?;
        self.list(name, &format!("sha256-{}", subject.digest.hex()), referrers, "referrers tag schema");
        Ok(stored)
    }
}

fn layer_type(format: Format, writer: Writer) -> Result<&'static str> {
    Ok(match (format, writer) {
        (Format::Oci, Writer::Plain) => "application/vnd.oci.image.layer.v1.tar",
        (Format::Oci, Writer::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
        (Format::Oci, _) => "application/vnd.oci.image.layer.v1.tar+gzip",
        (Format::Docker, Writer::Plain | Writer::Zstd) => {
            return Err("Docker's media types know gzip only".into());
        }
        (Format::Docker, _) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
    })
}

fn with(mut object: Value, key: &str, value: Value) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
    object
}
