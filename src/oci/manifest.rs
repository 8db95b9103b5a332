// SPDX-License-Identifier: Apache-2.0
//! Indexes and manifests: read strictly where two readers could disagree about them, tolerantly elsewhere.

use serde::Deserialize;
use thiserror::Error;

use super::descriptor::Descriptor;
use super::media_type::{DOCKER_INDEX, OCI_INDEX, is_manifest};
use crate::json::{self, JsonError};

/// Largest index or manifest that is accepted, in bytes. Registries commonly stop at 4 MiB. (T-52)
pub const MAX_MANIFEST: u64 = 4 << 20;
/// Largest blob that is carried, in bytes: 1 TiB.
pub const MAX_BLOB: u64 = 1 << 40;
/// Most children of an index, and most layers of a manifest.
pub const MAX_ENTRIES: usize = 4096;
/// How deeply indexes may be nested. (T-47)
pub const MAX_INDEX_DEPTH: usize = 3;

/// The two kinds of manifest that a registry serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestOrIndex {
    /// Points to other manifests.
    Index(Index),
    /// Points to a config and layers.
    Manifest(Box<Manifest>),
}

/// An OCI index or a Docker manifest list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// What the index lists, in its order; never empty.
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one refers to (`subject`).
    pub subject: Option<Box<Descriptor>>,
    /// Kind of artifact.
    pub artifact_type: Option<String>,
}

/// An OCI or Docker manifest: of an image, a Helm chart, a signature or any other artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The config of the image, or the content that an artifact has in its place.
    pub config: Descriptor,
    /// The layers, in their order; may be none.
    pub layers: Vec<Descriptor>,
    /// The manifest that this one refers to (`subject`).
    pub subject: Option<Box<Descriptor>>,
    /// Kind of artifact: `artifactType`, else the media type of the config where that is not an image's.
    pub artifact_type: Option<String>,
}

/// Why a manifest is not accepted.
#[derive(Debug, Error)]
pub enum ParseManifestError {
    /// Not JSON of the expected shape, or too large.
    #[error("it cannot be read: {0}")]
    Json(#[from] JsonError),
    /// A media type that is neither an index nor a manifest.
    #[error("its media type `{0}` is not one of an image index or manifest")]
    MediaType(String),
    /// What Docker pushed before 2016.
    #[error(
        "it is of Docker's image manifest version 2, schema 1, which is obsolete and holds no digest of its config"
    )]
    Schema1,
    /// The manifest has another media type than its descriptor.
    #[error("its descriptor says `{expected}`, the manifest itself says `{got}`")]
    MediaTypeMismatch {
        /// What the descriptor or the registry says.
        expected: String,
        /// What the manifest says.
        got: String,
    },
    /// It has both `manifests` and `layers` or `config`, so that readers would disagree on its type. (T-43)
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

impl ManifestOrIndex {
    /// Reads the manifest of `media_type` in `bytes`.
    ///
    /// # Errors
    /// [`ParseManifestError`]: everything on which two readers could disagree is refused.
    pub fn parse(media_type: &str, bytes: &[u8]) -> Result<Self, ParseManifestError> {
        let limit = usize::try_from(MAX_MANIFEST).unwrap_or(usize::MAX);
        let raw = json::parse::<Raw>(bytes, limit)?;
        let printable = |text: &str| crate::redact::printable(text, 100);
        if raw.fs_layers.is_some() {
            return Err(ParseManifestError::Schema1);
        }
        if !is_manifest(media_type) {
            return Err(ParseManifestError::MediaType(printable(media_type)));
        }
        if let Some(own) = raw.media_type.as_deref().filter(|own| *own != media_type) {
            let (expected, got) = (media_type.to_owned(), printable(own));
            return Err(ParseManifestError::MediaTypeMismatch { expected, got });
        }
        if raw.schema_version != Some(2) {
            return Err(ParseManifestError::Missing("schemaVersion: 2"));
        }
        if raw.manifests.is_some() && (raw.config.is_some() || raw.layers.is_some()) {
            return Err(ParseManifestError::Ambiguous);
        }
        let manifest = if matches!(media_type, OCI_INDEX | DOCKER_INDEX) {
            let manifests = raw.manifests.ok_or(ParseManifestError::Missing("manifests"))?;
            if manifests.is_empty() {
                return Err(ParseManifestError::EmptyIndex);
            }
            Self::Index(Index { manifests, subject: raw.subject, artifact_type: raw.artifact_type })
        } else {
            let config = raw.config.ok_or(ParseManifestError::Missing("config"))?;
            let of_image = config.media_type.ends_with(".image.config.v1+json")
                || config.media_type == "application/vnd.docker.container.image.v1+json";
            let artifact_type = raw.artifact_type.or_else(|| (!of_image).then(|| config.media_type.clone()));
            // Some builders write `layers: null` for an artifact without content.
            let layers = raw.layers.unwrap_or_default();
            Self::Manifest(Box::new(Manifest { config, layers, subject: raw.subject, artifact_type }))
        };
        let count = match &manifest {
            Self::Index(index) => index.manifests.len(),
            Self::Manifest(manifest) => manifest.layers.len(),
        };
        if count > MAX_ENTRIES {
            return Err(ParseManifestError::TooMany(count));
        }
        Ok(manifest)
    }

    /// Whether krs 0.1 accepts it too: it refused descriptors with unusual optional fields.
    pub fn is_plain(&self) -> bool {
        let known = match self {
            Self::Index(index) => index.manifests.iter().all(|child| is_manifest(&child.media_type)),
            Self::Manifest(_) => true,
        };
        known && self.children().chain(self.subject()).all(Descriptor::is_plain)
    }
    /// The descriptors of its children, in order (in a manifest: config first). The subject is not a child.
    pub fn children(&self) -> impl Iterator<Item = &Descriptor> {
        let (manifests, config, layers) = match self {
            Self::Index(index) => (index.manifests.as_slice(), None, &[][..]),
            Self::Manifest(manifest) => (&[][..], Some(&manifest.config), manifest.layers.as_slice()),
        };
        manifests.iter().chain(config).chain(layers)
    }

    /// The manifest that this one refers to (`subject`).
    pub fn subject(&self) -> Option<&Descriptor> {
        match self {
            Self::Index(index) => index.subject.as_deref(),
            Self::Manifest(manifest) => manifest.subject.as_deref(),
        }
    }

    /// Kind of artifact, if it is not an image.
    pub fn artifact_type(&self) -> Option<&str> {
        match self {
            Self::Index(index) => index.artifact_type.as_deref(),
            Self::Manifest(manifest) => manifest.artifact_type.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::descriptor::Inline;
    use crate::oci::media_type::{DOCKER_MANIFEST, OCI_MANIFEST};

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
        let Ok(ManifestOrIndex::Manifest(m)) =
            ManifestOrIndex::parse(OCI_MANIFEST, manifest("null").as_bytes())
        else {
            panic!("`layers: null` is a manifest without layers")
        };
        assert!(m.layers.is_empty() && m.artifact_type.is_none());
    }

    #[test]
    fn t43_what_readers_could_disagree_about_is_refused() {
        let refused =
            |media_type: &str, text: &str| ManifestOrIndex::parse(media_type, text.as_bytes()).err();
        let both = format!(
            r#"{{"schemaVersion":2,"manifests":[],"config":{}}}"#,
            descriptor("application/vnd.oci.image.config.v1+json", "")
        );
        assert!(matches!(refused(OCI_INDEX, &both), Some(ParseManifestError::Ambiguous)));
        assert!(matches!(
            refused(
                DOCKER_MANIFEST,
                &manifest("[]").replacen('{', &format!(r#"{{"mediaType":"{OCI_MANIFEST}","#), 1)
            ),
            Some(ParseManifestError::MediaTypeMismatch { .. })
        ));
        assert!(matches!(
            refused(OCI_INDEX, r#"{"schemaVersion":2,"manifests":[]}"#),
            Some(ParseManifestError::EmptyIndex)
        ));
        assert!(refused("text/html", "<html>").is_some());
        // Another algorithm is named, not taken for damage.
        let sha512 = manifest("[]").replacen("sha256", "sha512", 1);
        assert!(
            refused(OCI_MANIFEST, &sha512)
                .is_some_and(|error| error.to_string().contains("`sha256:`, the only"))
        );
    }

    fn index(children: &[String]) -> Index {
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, children.join(","));
        match ManifestOrIndex::parse(OCI_INDEX, text.as_bytes()) {
            Ok(ManifestOrIndex::Index(index)) => index,
            other => panic!("it is an index: {other:?}"),
        }
    }

    #[test]
    fn t97_what_an_index_only_describes_may_be_odd() {
        let child = |more: &str| descriptor(OCI_MANIFEST, more);
        let platform = |text: &str| child(&format!(r#","platform":{text}"#));
        let shapes = [
            "null",
            "{}",
            r#"{"os":"","architecture":""}"#,
            r#"{"os":null,"architecture":null}"#,
            r#"{"os":"unknown","architecture":"unknown"}"#,
            r#"{"architecture":"amd64"}"#,
            r#"{"os":"linux","architecture":"amd64","variant":null,"os.version":null,"os.features":null}"#,
            r#"{"os":"windows","architecture":"amd64","os.version":"10.0.20348.2031","features":["sse4"]}"#,
        ];
        let shown =
            index(&shapes.map(platform)).manifests.iter().map(Descriptor::runs_on).collect::<Vec<_>>();
        let shown = shown.iter().map(|p| p.as_ref().map(ToString::to_string)).collect::<Vec<_>>();
        assert!(shown[..5].iter().all(Option::is_none), "{shown:?}");
        let platforms = shown[5..].iter().flatten().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(platforms, ["amd64", "linux/amd64", "windows/amd64"]);
        for more in [
            r#","annotations":null"#,
            r#","annotations":{"a":null,"b":"c"}"#,
            r#","annotations":{"vnd.docker.reference.digest":null}"#,
            r#","urls":null,"data":null,"artifactType":null"#,
        ] {
            assert!(index(&[child(more)]).manifests[0].attests().is_none(), "{more}");
        }
        let unknown = index(&[descriptor("application/vnd.example.unknown", "")]);
        assert!(unknown.manifests[0].is_optional() && !index(&[child("")]).manifests[0].is_optional());
        assert!(
            !ManifestOrIndex::Index(unknown).is_plain()
                && !ManifestOrIndex::Index(index(&[platform("{}")])).is_plain()
        );
        assert!(ManifestOrIndex::Index(index(&[child(""), platform(shapes[6])])).is_plain());
    }

    #[test]
    fn t44_t96_content_in_a_descriptor_counts_where_it_is_what_is_described() {
        let inline = |data: &str, size: u64| {
            let digest = crate::oci::digest::Digest::of(b"{}");
            let text = format!(
                r#"{{"schemaVersion":2,"config":{{"mediaType":"a/b","digest":"{digest}","size":{size},"data":"{data}"}}}}"#
            );
            let manifest = ManifestOrIndex::parse(OCI_MANIFEST, text.as_bytes());
            let found =
                manifest.ok().map(|d| (d.is_plain(), d.children().next().and_then(Descriptor::inline)));
            found.unwrap_or_default()
        };
        assert_eq!(inline("e30=", 2), (true, Some(Inline::Content("{}".into()))));
        for (data, size) in [("e30=", 3), ("aGVsbG8=", 2), ("e30", 2), ("%%", 2), ("", 2)] {
            assert_eq!(inline(data, size), (false, Some(Inline::Damaged)), "{data} {size}");
        }
    }

    #[test]
    fn t95_a_foreign_layer_keeps_its_addresses_in_their_order() {
        let layer = |media_type: &str, more: &str| {
            let text = manifest(&format!("[{}]", descriptor(media_type, more)));
            let manifest = ManifestOrIndex::parse(OCI_MANIFEST, text.as_bytes());
            manifest.ok().and_then(|manifest| manifest.children().nth(1).cloned())
        };
        let urls = r#","urls":["https://a.example/1","","https://b.example/2"]"#;
        let Some(found) = layer("application/x", urls) else { panic!("it is read") };
        assert_eq!(found.urls().collect::<Vec<_>>(), ["https://a.example/1", "https://b.example/2"]);
        assert!(found.is_foreign());
        for (media_type, foreign) in [
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", true),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", true),
            ("application/vnd.oci.image.layer.v1.tar+gzip", false),
        ] {
            assert_eq!(layer(media_type, "").map(|layer| layer.is_foreign()), Some(foreign), "{media_type}");
        }
    }
}
