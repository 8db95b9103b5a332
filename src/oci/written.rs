// SPDX-License-Identifier: Apache-2.0
//! The OCI JSON that krs writes, with the types of `oci-spec`, in canonical form. What it reads has types of its own
//! (`docs/adr/0009-oci-spec-for-what-is-written.md`).

use std::collections::HashMap;

use oci_spec::OciSpecError;
use oci_spec::image::{
    Descriptor, ImageIndexBuilder, ImageManifestBuilder, MediaType, SCHEMA_VERSION, Sha256Digest,
};
use serde::ser::Error as _;

use super::digest::Digest;
use crate::json::{self, JsonError};

/// A descriptor with the fields that each has.
///
/// # Errors
/// None in practice: a [`Digest`] is 64 lower-case hex digits.
pub(crate) fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Result<Descriptor, JsonError> {
    let digest = digest.hex().parse::<Sha256Digest>().map_err(unwritable)?;
    Ok(Descriptor::new(MediaType::from(media_type), size, digest))
}

/// An index of `manifests`.
///
/// # Errors
/// None in practice: every field can be expressed in JSON.
pub(crate) fn index(
    manifests: Vec<Descriptor>,
    annotations: Option<HashMap<String, String>>,
) -> Result<Vec<u8>, JsonError> {
    let mut index = ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests)
        .build()
        .map_err(unwritable)?;
    index.set_annotations(annotations);
    json::sorted(&index)
}

/// A manifest of an image.
///
/// # Errors
/// None in practice: every field can be expressed in JSON.
pub(crate) fn manifest(
    config: &super::Descriptor,
    layers: &[super::Descriptor],
) -> Result<Vec<u8>, JsonError> {
    let written = |of: &super::Descriptor| descriptor(&of.media_type, &of.digest, of.size);
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(written(config)?)
        .layers(layers.iter().map(written).collect::<Result<Vec<_>, _>>()?)
        .build()
        .map_err(unwritable)?;
    json::sorted(&manifest)
}

fn unwritable(error: OciSpecError) -> JsonError {
    JsonError::Parse(serde_json::Error::custom(error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use oci_spec::image::{ImageIndex, ImageManifest, Platform, ToDockerV2S2 as _};

    use super::*;
    use crate::oci::manifest::ManifestOrIndex;
    use crate::oci::media_type::{DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};

    #[test]
    fn media_types_are_those_of_oci_spec() {
        for (own, spec) in [(OCI_INDEX, MediaType::ImageIndex), (OCI_MANIFEST, MediaType::ImageManifest)] {
            assert_eq!(own, spec.as_ref());
        }
        assert_eq!(MediaType::ImageIndex.to_docker_v2s2(), Ok(DOCKER_INDEX));
        assert_eq!(MediaType::ImageManifest.to_docker_v2s2(), Ok(DOCKER_MANIFEST));
    }

    #[test]
    fn what_is_written_is_canonical() {
        let mut entry = descriptor(OCI_MANIFEST, &Digest::of(b"{}"), 2).unwrap();
        entry.set_artifact_type(Some(MediaType::from("application/example")));
        let annotations = ["b", "a", "c"].map(|name| (name.to_owned(), "1".to_owned()));
        let written = index(vec![entry], Some(HashMap::from(annotations))).unwrap();
        assert!(json::is_canonical(&written), "{}", String::from_utf8_lossy(&written));
        assert!(ManifestOrIndex::parse(OCI_INDEX, &written).is_ok_and(|manifest| manifest.is_plain()));
    }

    /// Why indexes and manifests are not read by these types. Where a later version of the crate changes one of these
    /// facts, the decision is to be made again.
    #[test]
    fn oci_spec_reads_neither_all_that_registries_have_nor_only_what_is_clear() {
        let config = format!(
            r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":2"#,
            Digest::of(b"{}")
        );
        let index_of = |more: &str| {
            let child = config.replace(".config.", ".manifest.");
            format!(r#"{{"schemaVersion":2,"manifests":[{child}{more}}}]}}"#)
        };
        // Real tools write these, and krs carries them. (T-97)
        for more in [
            r#","platform":{}"#,
            r#","platform":{"os":null,"architecture":null}"#,
            r#","annotations":{"a":null}"#,
        ] {
            let text = index_of(more);
            assert!(ManifestOrIndex::parse(OCI_INDEX, text.as_bytes()).is_ok(), "{text}");
            assert!(serde_json::from_str::<ImageIndex>(&text).is_err(), "{text}");
        }
        let no_layers = format!(r#"{{"schemaVersion":2,"config":{config}}},"layers":null}}"#);
        assert!(ManifestOrIndex::parse(OCI_MANIFEST, no_layers.as_bytes()).is_ok());
        assert!(serde_json::from_str::<ImageManifest>(&no_layers).is_err());
        // Two readers could disagree about these. (T-43)
        let both = index_of("").replacen('{', &format!(r#"{{"config":{config}}},"#), 1);
        let other_version = index_of("").replace(r#""schemaVersion":2"#, r#""schemaVersion":1"#);
        let other_algorithm = index_of("").replace("sha256:", "other:");
        for text in [both, other_version, other_algorithm] {
            assert!(ManifestOrIndex::parse(OCI_INDEX, text.as_bytes()).is_err(), "{text}");
            assert!(serde_json::from_str::<ImageIndex>(&text).is_ok(), "{text}");
        }
        // The specification's name of the field is lost.
        let platform = r#"{"architecture":"amd64","os":"windows","os.version":"10.0"}"#;
        assert_eq!(*serde_json::from_str::<Platform>(platform).unwrap().os_version(), None);
    }
}
