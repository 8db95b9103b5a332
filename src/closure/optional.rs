// SPDX-License-Identifier: Apache-2.0
//! What of an image only optional children of its indexes need.

use std::collections::{HashMap, HashSet};

use super::{Closure, Documents};
use crate::digest::Digest;
use crate::oci::{self, Descriptor, Document};

impl Documents {
    /// Those of the contents of `closure`, which is that of `root`, that only optional children of its indexes need,
    /// and these children: without them the image is complete.
    pub fn optional_contents(&self, root: &Descriptor, closure: &Closure) -> HashMap<Digest, Vec<Digest>> {
        let here = closure.documents.iter().map(|document| document.digest).collect::<HashSet<_>>();
        let (mut required, mut optional) = (HashSet::new(), Vec::new());
        let (mut documents, mut seen) = (vec![root.clone()], HashSet::from([root.digest]));
        while let Some(descriptor) = documents.pop() {
            match self.read(&descriptor) {
                Ok(Document::Index(index)) => {
                    let held = |child: &Descriptor| {
                        here.contains(&child.digest) || closure.opaque.contains(&child.digest)
                    };
                    for child in index.manifests.into_iter().filter(held) {
                        if child.is_optional() {
                            optional.push(child);
                        } else if seen.insert(child.digest) {
                            documents.push(child);
                        }
                    }
                }
                Ok(Document::Manifest(manifest)) => {
                    required.insert(manifest.config.digest);
                    required.extend(manifest.layers.iter().map(|layer| layer.digest));
                }
                // `closure` was made of documents that can be read.
                Err(_) => {}
            }
        }
        let mut contents = HashMap::<_, Vec<_>>::new();
        let mut visited = HashSet::new();
        for child in optional {
            // A child that is listed as an image too is one.
            if seen.contains(&child.digest) || !visited.insert(child.digest) {
                continue;
            }
            let needed = if oci::is_document(&child.media_type) {
                self.closure(&child, &[]).map(|closure| closure.contents).unwrap_or_default()
            } else {
                vec![child.clone()]
            };
            for content in needed.iter().filter(|content| !required.contains(&content.digest)) {
                contents.entry(content.digest).or_default().push(child.digest);
            }
        }
        contents
    }
}
