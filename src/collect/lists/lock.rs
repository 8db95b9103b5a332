// SPDX-License-Identifier: Apache-2.0
//! `Images.lock` of the Distribution Tooling for Helm (<https://github.com/vmware-labs/distribution-tooling-for-helm>),
//! and ImagesLock of Carvel's imgpkg (<https://carvel.dev/imgpkg/docs/latest/resources/#imageslock>).
//!
//! The first lists a digest for each platform, and none of the index that a tag points to.

use std::collections::BTreeMap;

use super::super::yaml::Node;
use super::found::{Found, shown};

pub(super) fn read(found: &mut Found<'_, '_>) {
    let node = &found.resource.node;
    let (items, field) = match node.items_at(&["images"]) {
        [] => (node.items_at(&["spec", "images"]), "spec.images"),
        items => (items, "images"),
    };
    for (n, item) in items.iter().enumerate() {
        let field = format!("{field}[{n}].image");
        let Some(image) = item.text_at(&["image"]) else {
            found.problem(&field, item.line, "names no image", "write the image under `image`");
            continue;
        };
        let line = item.get("image").map_or(item.line, |image| image.line);
        let digests = digests(item);
        match digests.first_key_value() {
            Some((digest, platforms)) if digests.len() == 1 && !image.contains('@') => {
                let reason = format!(
                    "the digest of `{}` may be that of one platform only ({platforms}), and not that of the index",
                    shown(image)
                );
                found.note(&field, line, reason);
                found.image(&field, line, format!("{image}@{digest}"));
            }
            Some(_) if !image.contains('@') => {
                let platforms = digests.values().cloned().collect::<Vec<_>>().join(", ");
                let reason = format!(
                    "`{}` is taken by its tag: the digests are those of its platforms ({platforms}), not that of the index",
                    shown(image)
                );
                found.note(&field, line, reason);
                found.image(&field, line, image);
            }
            _ => found.image(&field, line, image),
        }
    }
}

/// The digests of an image, with their platforms.
fn digests(item: &Node) -> BTreeMap<String, String> {
    let mut digests = BTreeMap::<String, String>::new();
    for digest in item.items_at(&["digests"]) {
        let Some(text) = digest.text_at(&["digest"]) else { continue };
        let platform = shown(digest.text_at(&["arch"]).unwrap_or("unknown"));
        digests
            .entry(text.to_owned())
            .and_modify(|known| *known = format!("{known}, {platform}"))
            .or_insert(platform);
    }
    digests
}
