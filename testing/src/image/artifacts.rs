// SPDX-License-Identifier: Apache-2.0
//! Artifacts that are not images: charts, signatures, SBOMs, attestations.

use krs_core::oci::OCI_INDEX;
use krs_core::oci::digest::Digest;
use serde_json::{Value, json};

use super::{Image, ImageBuilder, tar_of};

const IN_TOTO: &str = "application/vnd.in-toto+json";

/// A Helm chart with one template.
pub fn helm_chart(name: &str, version: &str) -> Image {
    let about = json!({"apiVersion": "v2", "name": name, "version": version});
    let chart = format!("apiVersion: v2\nname: {name}\nversion: {version}\n");
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\n";
    let files = [
        (format!("{name}/Chart.yaml"), chart.as_bytes()),
        (format!("{name}/templates/configmap.yaml"), template.as_bytes()),
    ];
    let files = files.iter().map(|(path, content)| (path.as_str(), *content)).collect::<Vec<_>>();
    ImageBuilder::new(name)
        .config_of_type("application/vnd.cncf.helm.config.v1+json", about.to_string())
        .layer_type("application/vnd.cncf.helm.chart.content.v1.tar+gzip")
        .gzip()
        .layer(tar_of(&files))
        .annotation("org.opencontainers.image.title", name)
        .annotation("org.opencontainers.image.version", version)
        .build()
}

/// An SBOM that refers to `subject` (OCI 1.1).
pub fn sbom(subject: &Image) -> Image {
    let text = json!({"spdxVersion": "SPDX-2.3", "name": subject.digest.to_string()});
    ImageBuilder::new("sbom")
        .artifact_type("application/spdx+json")
        .layer_type("application/spdx+json")
        .layer(text.to_string())
        .subject(subject)
        .annotation("org.opencontainers.image.created", "2026-01-01T00:00:00Z")
        .build()
}

/// A signature that refers to `subject` (OCI 1.1), as cosign writes it with referrers on. It signs nothing.
pub fn signature(subject: &Image) -> Image {
    signature_builder(subject)
        .artifact_type("application/vnd.dev.cosign.artifact.sig.v1+json")
        .subject(subject)
        .build()
}

/// A signature without a subject: it belongs under [`cosign_tag`]. It signs nothing.
pub fn cosign_signature(subject: &Image) -> Image {
    let config =
        json!({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}});
    signature_builder(subject).config(config.to_string()).build()
}

fn signature_builder(subject: &Image) -> ImageBuilder {
    let payload = json!({"critical": {"image": {"docker-manifest-digest": subject.digest.to_string()}}});
    ImageBuilder::new("signature")
        .layer_type("application/vnd.dev.cosign.simplesigning.v1+json")
        .layer(payload.to_string())
}

/// The tag that cosign gives to artifacts of a digest: `sha256-<hex>.<kind>`, e.g. kind `sig`.
pub fn cosign_tag(subject: &Digest, kind: &str) -> String {
    format!("{}.{kind}", referrers_tag(subject))
}

/// The tag for an index of referrers if a registry has no referrers API: `sha256-<hex>`.
pub fn referrers_tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

/// The index of referrers with the tag [`referrers_tag`].
pub fn referrers_index(referrers: &[&Image]) -> Image {
    let entries = referrers.iter().map(|referrer| {
        let mut descriptor = referrer.descriptor();
        let manifest = serde_json::from_slice::<Value>(&referrer.manifest).unwrap();
        for field in ["artifactType", "annotations"] {
            if let Some(value) = manifest.get(field) {
                descriptor[field] = value.clone();
            }
        }
        descriptor
    });
    let entries = entries.collect::<Vec<_>>();
    let mut index = Image::from_json(
        OCI_INDEX,
        &json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}),
    );
    index.children = referrers.iter().map(|referrer| (*referrer).clone()).collect();
    index
}

/// An artifact whose manifest says `"layers": null`, as some builders write one without content.
pub fn layers_null(name: &str) -> Image {
    ImageBuilder::new(name)
        .artifact_type("application/vnd.example.marker.v1")
        .annotation("org.opencontainers.image.title", name)
        .build_with(|manifest| manifest["layers"] = Value::Null)
}

/// The manifest with which BuildKit states how an image was made.
pub(super) fn attestation(image: &Image) -> Image {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://slsa.dev/provenance/v0.2",
        "subject": [{"name": "_", "digest": {"sha256": image.digest.hex()}}],
    });
    let statement = statement.to_string();
    let diff_id = Digest::of(statement.as_bytes()).to_string();
    let config = json!({
        "architecture": "unknown", "os": "unknown", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let mut attestation = ImageBuilder::new("attestation")
        .layer_type(IN_TOTO)
        .layer(statement)
        .config(config.to_string())
        .build();
    attestation.platform = None;
    attestation
}
