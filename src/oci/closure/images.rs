// SPDX-License-Identifier: Apache-2.0
//! The images of a closure, and where their platforms are stated.

use std::collections::HashSet;

use super::{Closure, Manifests};
use crate::oci::{Descriptor, ManifestOrIndex};

/// The images among the manifests of a closure: no artifacts, and no attestations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Images {
    /// Configs of the images whose platform no index states, each once.
    pub unstated: Vec<Descriptor>,
    /// Whether there are any.
    pub any: bool,
}

impl Manifests {
    /// The images of `closure`.
    pub fn images(&self, closure: &Closure) -> Images {
        let config = |of: &Descriptor| match self.read(of) {
            Ok(ManifestOrIndex::Manifest(manifest)) if manifest.artifact_type.is_none() => {
                Some(manifest.config)
            }
            _ => None,
        };
        if let [root] = closure.manifests.as_slice()
            && !root.is_index()
        {
            let unstated = Vec::from_iter(config(root));
            return Images { any: !unstated.is_empty(), unstated };
        }
        let here = closure.manifests.iter().map(|of| of.digest).collect::<HashSet<_>>();
        let mut images = Images::default();
        for index in &closure.manifests {
            let Ok(ManifestOrIndex::Index(index)) = self.read(index) else { continue };
            let children = index.manifests.iter().filter(|child| here.contains(&child.digest));
            for child in children.filter(|child| !child.is_optional()) {
                let Some(config) = config(child) else { continue };
                images.any = true;
                // An image that an index marks as `unknown` runs nowhere, whatever its config says.
                if child.runs_on().is_none()
                    && !child.is_unknown()
                    && !images.unstated.iter().any(|other| other.digest == config.digest)
                {
                    images.unstated.push(config);
                }
            }
        }
        images
    }
}
