// SPDX-License-Identifier: Apache-2.0
//! The parts of OCI and Docker documents that decide what travels, read strictly.
//!
//! Documents are never written again from these types: what is fetched is kept, hashed and forwarded byte for byte.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use thiserror::Error;

use crate::digest::Digest;
use crate::json::{self, JsonError};
use crate::platform::Platform;

/// Largest index or manifest that is accepted, in bytes. Registries commonly stop at 4 MiB. (T-52)
pub const MAX_DOCUMENT: u64 = 4 << 20;
/// Largest blob that is carried, in bytes: 1 TiB.
pub const MAX_BLOB: u64 = 1 << 40;
/// Most children of an index, and most layers of a manifest.
pub const MAX_ENTRIES: usize = 4096;
/// How deep indexes may lie in each other. (T-47)
pub const MAX_INDEX_DEPTH: usize = 3;

/// Media type of an OCI index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an OCI manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of a Docker manifest list.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Media type of a Docker manifest (schema 2).
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// All media types of documents that are accepted, as a client asks for them.
pub const DOCUMENT_TYPES: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST];

/// Whether `media_type` names an index or a manifest, in other words something that lies under `/manifests/`.
pub fn is_document(media_type: &str) -> bool {
    DOCUMENT_TYPES.contains(&media_type)
}

/// Points to content (OCI image-spec, "Descriptor").
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Bytes of the content.
    pub size: u64,
    /// Platform that an index states for a child.
    #[serde(default)]
    pub platform: Option<DescriptorPlatform>,
    /// What kind of artifact a referrer is.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// Free text, e.g. which image an attestation belongs to.
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Places outside the registry where the content lies; not accepted.
    #[serde(default)]
    urls: Option<Vec<String>>,
    /// The content itself; registries may not agree on it, so it must equal the digest.
    #[serde(default)]
    data: Option<String>,
}

/// A platform as an index writes it. Attestations say `unknown`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DescriptorPlatform {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

impl Descriptor {
    /// Whether it describes an index.
    pub fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), OCI_INDEX | DOCKER_INDEX)
    }

    /// A descriptor without any of the optional fields.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            platform: None,
            artifact_type: None,
            annotations: None,
            urls: None,
            data: None,
        }
    }

    /// The platform, where one is stated and it is not `unknown/unknown`.
    pub fn runs_on(&self) -> Option<Platform> {
        let stated = self.platform.as_ref()?;
        let variant = stated.variant.as_ref().filter(|variant| !variant.is_empty()).cloned();
        (stated.os != "unknown").then(|| Platform {
            os: stated.os.clone(),
            architecture: stated.architecture.clone(),
            variant,
        })
    }

    /// Whether it describes an attestation inside an index (BuildKit's convention).
    pub fn is_attestation(&self) -> bool {
        let annotations = self.annotations.as_ref();
        annotations.is_some_and(|annotations| annotations.contains_key("vnd.docker.reference.type"))
            && self.platform.is_some()
            && self.runs_on().is_none()
    }

    /// The child that this one describes, where it is an attestation inside an index (BuildKit's convention).
    pub fn attests(&self) -> Option<Digest> {
        let annotations = self.annotations.as_ref()?;
        annotations.get("vnd.docker.reference.digest")?.parse().ok()
    }
}

/// An index or a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// Points to other documents.
    Index(Index),
    /// Points to a config and layers.
    Manifest(Box<Manifest>),
}

/// An OCI index or a Docker manifest list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// What the index lists, in its order; never empty.
    pub manifests: Vec<Descriptor>,
    /// The document that this one refers to.
    pub subject: Option<Box<Descriptor>>,
    /// Kind of artifact.
    pub artifact_type: Option<String>,
}

/// An OCI or Docker manifest: of an image, a Helm chart, a signature or any other artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The config.
    pub config: Descriptor,
    /// The layers, in their order; may be none.
    pub layers: Vec<Descriptor>,
    /// The document that this one refers to.
    pub subject: Option<Box<Descriptor>>,
    /// Kind of artifact: `artifactType`, else the media type of the config where that is not an image's.
    pub artifact_type: Option<String>,
}

/// Why a document is not accepted.
#[derive(Debug, Error)]
pub enum DocumentError {
    /// Not JSON of the expected shape, or too large.
    #[error("it cannot be read: {0}")]
    Json(#[from] JsonError),
    /// A media type that is neither an index nor a manifest.
    #[error("its media type `{0}` is not one of an image index or manifest")]
    MediaType(String),
    /// The document says that it is something else than its descriptor says.
    #[error("its descriptor says `{expected}`, the document itself says `{got}`")]
    MediaTypeMismatch {
        /// What the descriptor or the registry says.
        expected: String,
        /// What the document says.
        got: String,
    },
    /// Has both `manifests` and `layers` or `config`, so readers would disagree on what it is. (T-43)
    #[error("it is ambiguous: it has both `manifests` and `config` or `layers`")]
    Ambiguous,
    /// Neither an index nor a manifest.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// An index that lists nothing breaks the garbage collection of registries.
    #[error("it is an index that lists no manifests")]
    EmptyIndex,
    /// More children or layers than are accepted.
    #[error("it lists {0} entries, more than the {MAX_ENTRIES} that are accepted")]
    TooMany(usize),
    /// A layer that lies outside the registry. (T-44)
    #[error(
        "layer {digest} lies outside the registry (`urls`: {url}); foreign layers cannot be bundled. Rebuild the image without them"
    )]
    Foreign {
        /// The layer.
        digest: Digest,
        /// Where it is said to lie.
        url: String,
    },
    /// A descriptor carries content that is not what it describes. (T-44)
    #[error("descriptor {0} carries `data` that is not its content")]
    Data(Digest),
    /// An index lists something that is neither an index nor a manifest.
    #[error("it lists {digest} of type `{media_type}`, which is neither an index nor a manifest")]
    Child {
        /// The child.
        digest: Digest,
        /// Its type.
        media_type: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u32>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    subject: Option<Box<Descriptor>>,
    // Docker schema 1, which is signed JSON of another kind.
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Reads the document of `media_type` in `bytes`.
    ///
    /// # Errors
    /// [`DocumentError`]: everything on which two readers could disagree is refused.
    pub fn parse(media_type: &str, bytes: &[u8]) -> Result<Self, DocumentError> {
        let limit = usize::try_from(MAX_DOCUMENT).unwrap_or(usize::MAX);
        let raw = json::parse::<Raw>(bytes, limit)?;
        let printable = |text: &str| crate::redact::printable(text, 100);
        if !is_document(media_type) || raw.fs_layers.is_some() {
            return Err(DocumentError::MediaType(printable(media_type)));
        }
        if let Some(own) = raw.media_type.as_deref().filter(|own| *own != media_type) {
            let (expected, got) = (media_type.to_owned(), printable(own));
            return Err(DocumentError::MediaTypeMismatch { expected, got });
        }
        if raw.schema_version != Some(2) {
            return Err(DocumentError::Missing("schemaVersion: 2"));
        }
        if raw.manifests.is_some() && (raw.config.is_some() || raw.layers.is_some()) {
            return Err(DocumentError::Ambiguous);
        }
        let document = if matches!(media_type, OCI_INDEX | DOCKER_INDEX) {
            let manifests = raw.manifests.ok_or(DocumentError::Missing("manifests"))?;
            let foreign = manifests.iter().find(|child| !is_document(&child.media_type));
            if let Some(Descriptor { digest, media_type, .. }) = foreign {
                return Err(DocumentError::Child { digest: *digest, media_type: printable(media_type) });
            }
            if manifests.is_empty() {
                return Err(DocumentError::EmptyIndex);
            }
            Self::Index(Index { manifests, subject: raw.subject, artifact_type: raw.artifact_type })
        } else {
            let config = raw.config.ok_or(DocumentError::Missing("config"))?;
            let of_image = config.media_type.ends_with(".image.config.v1+json")
                || config.media_type == "application/vnd.docker.container.image.v1+json";
            let artifact_type = raw.artifact_type.or_else(|| (!of_image).then(|| config.media_type.clone()));
            // Some builders write `layers: null` for an artifact without content.
            let layers = raw.layers.unwrap_or_default();
            Self::Manifest(Box::new(Manifest { config, layers, subject: raw.subject, artifact_type }))
        };
        document.check_descriptors()?;
        Ok(document)
    }

    fn check_descriptors(&self) -> Result<(), DocumentError> {
        let count = match self {
            Self::Index(index) => index.manifests.len(),
            Self::Manifest(manifest) => manifest.layers.len(),
        };
        if count > MAX_ENTRIES {
            return Err(DocumentError::TooMany(count));
        }
        for descriptor in self.children().chain(self.subject()) {
            if let Some(url) = descriptor.urls.as_ref().and_then(|urls| urls.first()) {
                let url = crate::redact::printable(url, 100);
                return Err(DocumentError::Foreign { digest: descriptor.digest, url });
            }
            if let Some(data) = &descriptor.data {
                use base64::Engine as _;
                let bytes = base64::engine::general_purpose::STANDARD.decode(data).unwrap_or_default();
                if Digest::of(&bytes) != descriptor.digest || bytes.len() as u64 != descriptor.size {
                    return Err(DocumentError::Data(descriptor.digest));
                }
            }
        }
        Ok(())
    }

    /// All that the document points to, in its order (a manifest: config first), without the subject.
    pub fn children(&self) -> impl Iterator<Item = &Descriptor> {
        let (manifests, config, layers) = match self {
            Self::Index(index) => (index.manifests.as_slice(), None, &[][..]),
            Self::Manifest(manifest) => (&[][..], Some(&manifest.config), manifest.layers.as_slice()),
        };
        manifests.iter().chain(config).chain(layers)
    }

    /// The document that this one refers to.
    pub fn subject(&self) -> Option<&Descriptor> {
        match self {
            Self::Index(index) => index.subject.as_deref(),
            Self::Manifest(manifest) => manifest.subject.as_deref(),
        }
    }

    /// Kind of artifact, where it is not an image.
    pub fn artifact_type(&self) -> Option<&str> {
        match self {
            Self::Index(index) => index.artifact_type.as_deref(),
            Self::Manifest(manifest) => manifest.artifact_type.as_deref(),
        }
    }
}

/// Which children of an index travel. An image of a single platform, and an index without platforms, always
/// travel whole. Attestations travel with the child that they describe.
///
/// No platforms asked for: all children.
pub fn select<'a>(index: &'a Index, platforms: &[Platform]) -> Vec<&'a Descriptor> {
    let wanted = |child: &Descriptor| match child.runs_on() {
        Some(offered) => platforms.iter().any(|asked| asked.accepts(&offered)),
        None => child.attests().is_none(),
    };
    let all = platforms.is_empty();
    let chosen =
        index.manifests.iter().filter(|c| all || wanted(c)).map(|c| c.digest).collect::<HashSet<_>>();
    let travels = |child: &&Descriptor| {
        all || chosen.contains(&child.digest)
            || child.attests().is_some_and(|subject| chosen.contains(&subject))
    };
    index.manifests.iter().filter(travels).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn descriptor(media_type: &str, more: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"{D}","size":0{more}}}"#)
    }

    fn manifest(layers: &str) -> String {
        let config = descriptor("application/vnd.oci.image.config.v1+json", "");
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":{layers}}}"#)
    }

    #[test]
    fn manifests_of_images_and_artifacts_are_read() {
        let Ok(Document::Manifest(m)) = Document::parse(OCI_MANIFEST, manifest("null").as_bytes()) else {
            panic!("`layers: null` is a manifest without layers")
        };
        assert!(m.layers.is_empty() && m.artifact_type.is_none());
    }

    #[test]
    fn t43_t44_what_readers_could_disagree_about_is_refused() {
        let refused = |media_type: &str, text: &str| Document::parse(media_type, text.as_bytes()).err();
        let both = format!(
            r#"{{"schemaVersion":2,"manifests":[],"config":{}}}"#,
            descriptor("application/vnd.oci.image.config.v1+json", "")
        );
        assert!(matches!(refused(OCI_INDEX, &both), Some(DocumentError::Ambiguous)));
        assert!(matches!(
            refused(
                DOCKER_MANIFEST,
                &manifest("[]").replacen('{', &format!(r#"{{"mediaType":"{OCI_MANIFEST}","#), 1)
            ),
            Some(DocumentError::MediaTypeMismatch { .. })
        ));
        assert!(matches!(
            refused(OCI_INDEX, r#"{"schemaVersion":2,"manifests":[]}"#),
            Some(DocumentError::EmptyIndex)
        ));
        let layer = descriptor("application/x", r#","urls":["https://example.com/x"]"#);
        assert!(matches!(
            refused(OCI_MANIFEST, &manifest(&format!("[{layer}]"))),
            Some(DocumentError::Foreign { .. })
        ));
        let layer = descriptor("application/x", r#","data":"aGVsbG8=""#);
        assert!(matches!(
            refused(OCI_MANIFEST, &manifest(&format!("[{layer}]"))),
            Some(DocumentError::Data(_))
        ));
        assert!(refused("text/html", "<html>").is_some());
    }
}
