// SPDX-License-Identifier: Apache-2.0
//! Nodes, as `kubectl get nodes -o json` prints them: the images that a node has stored (`status.images`,
//! <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/node-v1/#NodeStatus>).

use super::super::reference::is_versioned;
use super::found::Found;

/// `nodeStatusMaxImages` of the kubelet, unless it is configured otherwise
/// (<https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/>).
const MAX_IMAGES: usize = 50;

pub(super) fn read(found: &mut Found<'_, '_>) {
    let node = &found.resource.node;
    let images = node.items_at(&["status", "images"]);
    for (n, image) in images.iter().enumerate() {
        let field = format!("status.images[{n}]");
        let names = image.items_at(&["names"]).iter().filter_map(|name| name.text());
        // Docker writes `<none>` for an image that has lost its tag.
        let names = names.filter(|name| !name.contains('<')).collect::<Vec<_>>();
        let (pinned, tagged): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.contains('@'));
        let mut used = Vec::new();
        for tag in &tagged {
            let repository =
                if is_versioned(tag) { tag.rsplit_once(':').map_or(*tag, |(name, _)| name) } else { tag };
            let digest =
                pinned.iter().find_map(|name| name.split_once('@').filter(|(name, _)| *name == repository));
            match digest {
                Some((name, digest)) => {
                    used.push(name);
                    found.image(&field, image.line, format!("{tag}@{digest}"));
                }
                None => found.image(&field, image.line, *tag),
            }
        }
        for name in pinned
            .iter()
            .filter(|name| !used.iter().any(|used| name.split_once('@').is_some_and(|n| n.0 == *used)))
        {
            found.image(&field, image.line, *name);
        }
    }
    if !images.is_empty() {
        found.note("status.images", node.line, "also has images that nothing runs any more");
    }
    if images.len() == MAX_IMAGES {
        let reason = format!("has {MAX_IMAGES} images, the most that a kubelet reports; there may be more");
        found.problem(
            "status.images",
            node.line,
            reason,
            "collect from the Pods, too: kubectl get pods -A -o json | krs collect -",
        );
    }
}
