// SPDX-License-Identifier: Apache-2.0
//! Layers that are not in the archive because a site makes them: of layers that it has, and of a patch.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::content::BundleBlob;
use super::delta::BundleBase;
use super::error::ManifestError;
use crate::oci::MAX_BLOB;
use crate::oci::digest::Digest;

/// Media type of a patch in the first version of its format.
pub const PATCH_MEDIA_TYPE: &str = "application/vnd.kuberegistrysync.patch.v1";
/// Most layers that one patch reads.
const MAX_PATCH_BASES: usize = 4096;
/// Most layers that one patch makes.
const MAX_PATCH_LAYERS: usize = 4096;
/// Largest uncompressed layer, in bytes. A layer expands to at most this, and a site needs as much free space.
pub const MAX_PLAIN: u64 = 1 << 40;

/// A blob of the archive from which a site makes layers that are not in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundlePatch {
    /// The layers that the patch reads, in the order in which it numbers them.
    pub bases: Vec<PatchBase>,
    /// The patch, a blob of the archive.
    pub digest: Digest,
    /// The layers that it makes, in the order in which it makes them.
    pub layers: Vec<PatchedLayer>,
    /// [`PATCH_MEDIA_TYPE`].
    pub media_type: String,
}

/// A layer that a patch reads. It is in the base of the bundle, in the archive, or made by an earlier patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatchBase {
    /// Digest of the layer as registries have it.
    pub digest: Digest,
    /// Bytes of its content without compression.
    pub plain_size: u64,
}

/// A layer that a patch makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatchedLayer {
    /// Digest of the layer as registries have it.
    pub digest: Digest,
    /// Bytes of its content without compression.
    pub plain_size: u64,
    /// How the content is compressed, a blob of the archive.
    pub recipe: Digest,
    /// Bytes of the layer as registries have it.
    pub size: u64,
    /// What it is made of, ascending: the numbers of `bases`, and after these the layers of the patch before this one. A site
    /// that needs one layer reads and makes nothing else.
    pub sources: Vec<usize>,
}

/// Checks that all that patches name is there, in an order in which layers can be made.
pub(super) fn check(
    patches: &[BundlePatch],
    base: Option<&BundleBase>,
    blobs: &[BundleBlob],
) -> Result<(), ManifestError> {
    let bad = |what: String| Err(ManifestError::Inconsistent(what));
    let archived = blobs.iter().map(|blob| (blob.digest, blob.size)).collect::<HashMap<_, _>>();
    let mut readable = archived.keys().copied().collect::<HashSet<_>>();
    readable.extend(base.iter().flat_map(|base| &base.layers).map(|layer| layer.digest));
    let mut patched = HashSet::new();
    for BundlePatch { bases, digest, layers, media_type } in patches {
        if media_type != PATCH_MEDIA_TYPE {
            let shown = crate::redact::printable(media_type, 100);
            return bad(format!("patch {digest} has the media type `{shown}`"));
        }
        if !archived.contains_key(digest) || !patched.insert(*digest) {
            return bad(format!("patch {digest} is not in the archive, or occurs twice"));
        }
        if layers.is_empty() || layers.len() > MAX_PATCH_LAYERS || bases.len() > MAX_PATCH_BASES {
            return bad(format!("patch {digest} makes no layers or too many, or reads too many"));
        }
        let mut unique = HashSet::new();
        for base in bases {
            if !readable.contains(&base.digest) || !unique.insert(base.digest) || base.plain_size > MAX_PLAIN
            {
                let base = base.digest;
                return bad(format!(
                    "patch {digest} reads {base}, which is nowhere, is named twice, or is not plausible"
                ));
            }
        }
        for (number, layer) in layers.iter().enumerate() {
            let is_ascending = layer.sources.is_sorted_by(|a, b| a < b);
            if !is_ascending || layer.sources.last().is_some_and(|last| *last >= bases.len() + number) {
                let layer = layer.digest;
                return bad(format!("patch {digest} makes {layer} of what it does not have by then"));
            }
            if !archived.contains_key(&layer.recipe) {
                return bad(format!("the recipe of layer {} is not in the archive", layer.digest));
            }
            if layer.size > MAX_BLOB || layer.plain_size > MAX_PLAIN || readable.contains(&layer.digest) {
                let layer = layer.digest;
                return bad(format!(
                    "patch {digest} makes {layer}, which is there already, or is not plausible"
                ));
            }
            if !unique.insert(layer.digest) {
                return bad(format!("patch {digest} makes {} twice", layer.digest));
            }
        }
        readable.extend(layers.iter().map(|layer| layer.digest));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bundle::format::manifest::BundleManifest;
    use crate::bundle::format::manifest::tests::example;
    use crate::json;

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    /// The example with a third blob that is a recipe, and a fourth that is a patch.
    fn patched() -> BundleManifest {
        let mut manifest = example();
        for (text, size) in [("recipe", 9), ("patch", 20)] {
            let offset = manifest.blobs.last().map_or(512, |blob| blob.offset + 1024);
            manifest.blobs.push(BundleBlob { digest: digest(text), offset, size });
        }
        let (recipe, sources) = (digest("recipe"), vec![0]);
        let layer = PatchedLayer { digest: digest("new"), plain_size: 90, recipe, size: 70, sources };
        manifest.patches = vec![BundlePatch {
            bases: vec![PatchBase { digest: digest("layer"), plain_size: 100 }],
            digest: digest("patch"),
            layers: vec![layer],
            media_type: PATCH_MEDIA_TYPE.to_owned(),
        }];
        manifest.images[0].partial = true;
        manifest.format_version = 3;
        manifest
    }

    #[test]
    fn patches_need_version_3_and_read_back() {
        let mut manifest = patched();
        assert_eq!(manifest.lowest_version(), 3);
        let bytes = manifest.encode().unwrap();
        assert!(json::is_canonical(&bytes), "declare the fields in the order of their JSON names");
        assert_eq!(BundleManifest::parse(&bytes).unwrap(), manifest);
        manifest.format_version = 2;
        let error = BundleManifest::parse(&manifest.encode().unwrap()).unwrap_err().to_string();
        assert!(error.contains("`patches`") && error.contains("version 3"), "{error}");
    }

    #[test]
    fn contradictions_of_patches_are_refused() {
        type Change = fn(&mut BundleManifest);
        let changes: [Change; 14] = [
            |m| m.patches[0].media_type = "text/plain".to_owned(),
            |m| m.patches[0].digest = digest("elsewhere"),
            |m| m.patches.push(m.patches[0].clone()),
            |m| m.patches[0].layers.clear(),
            |m| m.patches[0].bases[0].digest = digest("elsewhere"),
            |m| m.patches[0].bases[0].digest = digest("new"),
            |m| m.patches[0].bases = m.patches[0].bases.repeat(2),
            |m| m.patches[0].bases[0].plain_size = u64::MAX,
            |m| m.patches[0].layers[0].recipe = digest("elsewhere"),
            |m| m.patches[0].layers[0].digest = digest("layer"),
            |m| m.patches[0].layers[0].size = u64::MAX,
            |m| m.patches[0].layers = [m.patches[0].layers.as_slice(), &m.patches[0].layers].concat(),
            |m| m.patches[0].layers[0].sources = vec![0, 1],
            |m| m.patches[0].layers[0].sources = vec![0, 0],
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let mut manifest = patched();
            change(&mut manifest);
            let error = BundleManifest::parse(&manifest.encode().unwrap());
            assert!(matches!(error, Err(ManifestError::Inconsistent(_))), "change {n}: {error:?}");
        }
    }

    #[test]
    fn a_patch_reads_what_an_earlier_one_makes_and_not_the_reverse() {
        let mut manifest = patched();
        let offset = manifest.blobs.last().unwrap().offset + 1024;
        manifest.blobs.push(BundleBlob { digest: digest("second"), offset, size: 20 });
        let mut second = manifest.patches[0].clone();
        second.digest = digest("second");
        second.bases[0].digest = digest("new");
        second.layers[0].digest = digest("newer");
        manifest.patches.push(second);
        manifest.check().unwrap();
        manifest.patches.reverse();
        assert!(manifest.check().is_err());
    }
}
