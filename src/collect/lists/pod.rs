// SPDX-License-Identifier: Apache-2.0
//! Pods with a status, as `kubectl get pods -A -o json` prints them: the images that run, with the digests of the node.
//!
//! `imageID` (<https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#PodStatus>) is what the
//! container runtime says. containerd and CRI-O answer `repository@digest` or, for an image that has no digest of a registry,
//! only the digest of its configuration; cri-dockerd writes `docker-pullable://` and `docker://` before them. The digest
//! can be that of the index or that of one platform's manifest.

use super::super::reference::normalise;
use super::super::yaml::Node;
use super::found::{Found, shown};
use crate::oci::digest::Digest;

/// The lists of containers, each with the list of its statuses.
const CONTAINERS: [(&str, &str); 3] = [
    ("containers", "containerStatuses"),
    ("initContainers", "initContainerStatuses"),
    ("ephemeralContainers", "ephemeralContainerStatuses"),
];

/// Adds the images of containers with their digests. The names without digests are found as those of any Pod.
pub(super) fn read(found: &mut Found<'_, '_>) {
    let node = &found.resource.node;
    for (containers, statuses) in CONTAINERS {
        let statuses = node.items_at(&["status", statuses]);
        for (n, container) in node.items_at(&["spec", containers]).iter().enumerate() {
            let name = container.text_at(&["name"]);
            let status = statuses.iter().find(|status| name.is_some() && status.text_at(&["name"]) == name);
            if let (Some(image), Some(status)) = (container.text_at(&["image"]), status) {
                running(image, status, &format!("spec.{containers}[{n}].image"), found);
            }
        }
    }
}

fn running(image: &str, status: &Node, field: &str, found: &mut Found<'_, '_>) {
    let Some(id) = status.text_at(&["imageID"]) else {
        let states = status.at(&["state", "waiting", "reason"]).and_then(Node::text).unwrap_or("not started");
        let reason = format!(
            "`{}` has no digest, because its container does not run ({})",
            shown(image),
            shown(states)
        );
        return found.note(field, status.line, reason);
    };
    match image_id(id) {
        // What a Pod pins says more than what a node answers.
        _ if image.contains('@') => {}
        ImageId::Local => {
            let reason = format!(
                "`{}` runs from an image that the node has from no registry: `{}` is no digest of a registry",
                shown(image),
                shown(id)
            );
            let help =
                "check that a registry has the image under this name, or add it with krs bundle --from";
            found.problem(field, status.line, reason, help);
        }
        ImageId::Unknown => {
            let reason =
                format!("`{}` has the imageID `{}`, which is not understood", shown(image), shown(id));
            found.problem(field, status.line, reason, "pin the image with krs pin");
        }
        ImageId::Registry { name, digest } => {
            let is_same = match (normalise(image), normalise(name)) {
                (Ok(image), Ok(node)) => {
                    image.registry == node.registry && image.repository == node.repository
                }
                _ => false,
            };
            if is_same {
                found.image(field, status.line, format!("{image}@{digest}"));
            } else {
                let reason = format!(
                    "`{}` is taken by its tag: the node has it under the other name `{}`",
                    shown(image),
                    shown(id)
                );
                found.note(field, status.line, reason);
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum ImageId<'a> {
    /// The name of a repository, and a digest in it.
    Registry {
        name: &'a str,
        digest: Digest,
    },
    /// The digest of a configuration.
    Local,
    Unknown,
}

/// Reads what a container runtime calls an image.
pub(super) fn image_id(id: &str) -> ImageId<'_> {
    let id =
        ["docker-pullable://", "docker://"].iter().find_map(|scheme| id.strip_prefix(scheme)).unwrap_or(id);
    if let Some((name, digest)) = id.split_once('@') {
        return digest.parse().map_or(ImageId::Unknown, |digest| ImageId::Registry { name, digest });
    }
    let hash = id.strip_prefix("sha256:").unwrap_or(id);
    let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { ImageId::Local } else { ImageId::Unknown }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn an_image_id_is_of_a_registry_or_local() {
        let digest = format!("sha256:{HASH}");
        let registry = |name| ImageId::Registry { name, digest: digest.parse().unwrap() };
        for (id, expected) in [
            (format!("docker.io/library/nginx@{digest}"), registry("docker.io/library/nginx")),
            (format!("docker-pullable://nginx@{digest}"), registry("nginx")),
            (format!("docker://{digest}"), ImageId::Local),
            (digest.clone(), ImageId::Local),
            // CRI-O
            (HASH.to_owned(), ImageId::Local),
            ("nginx@sha256:12".to_owned(), ImageId::Unknown),
            ("nginx:1".to_owned(), ImageId::Unknown),
        ] {
            assert_eq!(image_id(&id), expected, "{id}");
        }
    }
}
