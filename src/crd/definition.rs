// SPDX-License-Identifier: Apache-2.0
//! The CustomResourceDefinitions as YAML.

use kube::CustomResourceExt as _;

use super::edge_image_set::EdgeImageSet;
use super::image_bundle::ImageBundle;
use super::schema;

const NO_SCHEMA: &str = "the generated definition has no schema";

/// The CustomResourceDefinition of EdgeImageSet as YAML, the same bytes each time.
///
/// # Errors
/// A text that names what could not be written; it happens only if the types themselves are wrong.
pub fn edge_image_set_crd_yaml() -> Result<String, String> {
    let mut crd = serde_json::to_value(EdgeImageSet::crd()).map_err(|error| error.to_string())?;
    schema::unseen(&mut crd).and_then(|()| schema::finish(&mut crd)).ok_or(NO_SCHEMA)?;
    serde_saphyr::to_string(&crd).map_err(|error| error.to_string())
}

/// The CustomResourceDefinition of ImageBundle as YAML, the same bytes each time.
///
/// # Errors
/// As [`edge_image_set_crd_yaml`].
pub fn image_bundle_crd_yaml() -> Result<String, String> {
    let mut crd = serde_json::to_value(ImageBundle::crd()).map_err(|error| error.to_string())?;
    schema::finish(&mut crd).ok_or(NO_SCHEMA)?;
    serde_saphyr::to_string(&crd).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    type Definition = fn() -> Result<String, String>;

    #[test]
    fn the_definitions_are_the_reviewed_ones() {
        let definitions: [(&str, Definition); 2] =
            [("edgeimageset", edge_image_set_crd_yaml), ("imagebundle", image_bundle_crd_yaml)];
        for (name, definition) in definitions {
            let now = definition().unwrap();
            let golden_file =
                format!("{}/importer/chart/files/crds/{name}.crd.yaml", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::write(&golden_file, &now).unwrap();
            }
            let golden = std::fs::read_to_string(&golden_file).unwrap_or_default();
            assert!(
                golden == now,
                "the definition differs from {golden_file}; review and accept it with\n  \
                 UPDATE_GOLDEN=1 cargo test -p krs-core the_definitions_are_the_reviewed_ones"
            );
            assert_eq!(now, definition().unwrap());
        }
    }
}
