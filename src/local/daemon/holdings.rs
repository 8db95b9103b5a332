// SPDX-License-Identifier: Apache-2.0
//! What a daemon has of the images of the sets, and what of it is worth an export. Pure.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::oci::digest::Digest;
use crate::oci::reference::Reference;

/// What a daemon says of an image.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspection {
    /// With the containerd image store of Docker the digest of the manifest or index; else that of the config.
    pub(super) id: String,
    #[serde(default)]
    pub(super) repo_digests: Option<Vec<String>>,
    /// Bytes, where layers that images share count for each of them.
    #[serde(default)]
    pub(super) size: Option<i64>,
}

/// What a daemon has of the images of the sets.
#[derive(Debug, Default)]
pub struct Holdings {
    /// Names that are exported.
    pub(super) names: BTreeSet<String>,
    /// The IDs of what is exported.
    pub(in crate::local) ids: BTreeSet<String>,
    /// Images with the pinned digest whose manifest the daemon has not kept.
    pub(in crate::local) lost: BTreeSet<(String, Digest)>,
    total_size: u64,
    largest_size: u64,
}

impl Holdings {
    /// How many images are exported.
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// Bytes of all images that are exported; shared layers count for each of them.
    pub const fn total_size(&self) -> u64 {
        self.total_size
    }

    /// Bytes of the largest image that is exported: no export needs less.
    pub const fn largest_size(&self) -> u64 {
        self.largest_size
    }

    /// Adds what the daemon says of an image of the sets, which it knows as `name`.
    pub(super) fn add(&mut self, reference: &Reference, name: String, image: Inspection) {
        let size = image.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
        if let Some(pinned) = reference.digest.filter(|pinned| is_lost(&image, pinned)) {
            self.lost.insert((reference.name(), pinned));
        } else if self.names.insert(name) && self.ids.insert(image.id) {
            self.total_size = self.total_size.saturating_add(size);
            self.largest_size = self.largest_size.max(size);
        }
    }
}

/// Names under which a daemon may know an image, the most exact first.
pub(super) fn names_of(reference: &Reference) -> impl Iterator<Item = String> {
    let name = format!("{}/{}", reference.registry.without_default_port(), reference.repository);
    let by_digest = reference.digest.map(|digest| format!("{name}@{digest}"));
    let by_tag = reference.tag.as_ref().map(|tag| format!("{name}:{tag}"));
    by_digest.into_iter().chain(by_tag)
}

/// Whether a daemon pulled or pushed an image with the pinned digest, but has only its content and not its manifest. An
/// export takes time and space, and could not give that digest.
fn is_lost(image: &Inspection, pinned: &Digest) -> bool {
    let suffix = format!("@{pinned}");
    let is_of_registry = image.repo_digests.iter().flatten().any(|of| of.ends_with(&suffix));
    is_of_registry && image.id != pinned.to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn inspection(id: &Digest, repo_digests: &[String]) -> Inspection {
        Inspection { id: id.to_string(), repo_digests: Some(repo_digests.to_vec()), size: Some(7) }
    }

    #[test]
    fn what_a_daemon_cannot_give_with_the_pinned_digest_is_not_exported() {
        let (pinned, config) = (Digest::of(b"manifest"), Digest::of(b"config"));
        let with_digest = format!("quay.io/team/web:1@{pinned}").parse::<Reference>().unwrap();
        let with_tag = "quay.io/team/web:1".parse::<Reference>().unwrap();
        let pulled = [format!("quay.io/team/web@{pinned}")];
        let exported = |reference: &Reference, image: Inspection| {
            let mut holdings = Holdings::default();
            holdings.add(reference, "name".to_owned(), image);
            assert_eq!(holdings.count() + holdings.lost.len(), 1);
            holdings.count() == 1
        };
        assert!(!exported(&with_digest, inspection(&config, &pulled)), "the classic image store, and Podman");
        assert!(exported(&with_digest, inspection(&pinned, &pulled)), "the containerd image store");
        assert!(exported(&with_digest, inspection(&config, &[])), "built here");
        assert!(exported(&with_tag, inspection(&config, &pulled)), "only a tag");
    }

    #[test]
    fn an_image_with_two_names_counts_once() {
        let mut holdings = Holdings::default();
        let id = Digest::of(b"config");
        for name in ["quay.io/team/web:1", "quay.io/team/web:2"] {
            holdings.add(&name.parse().unwrap(), name.to_owned(), inspection(&id, &[]));
        }
        assert_eq!((holdings.count(), holdings.total_size(), holdings.largest_size()), (2, 7, 7));
        // What a daemon should not say is no reason to fail.
        let odd = Inspection { size: Some(-1), ..inspection(&Digest::of(b"other"), &[]) };
        holdings.add(&"quay.io/team/odd:1".parse().unwrap(), "odd".to_owned(), odd);
        assert_eq!(holdings.total_size(), 7);
    }

    #[test]
    fn the_digest_is_asked_for_before_the_tag_and_the_port_of_https_is_no_part_of_the_name() {
        let digest = Digest::of(b"manifest");
        let names = |text: &str| names_of(&text.parse().unwrap()).collect::<Vec<_>>();
        assert_eq!(
            names(&format!("docker.io:443/library/web:1@{digest}")),
            [format!("docker.io/library/web@{digest}"), "docker.io/library/web:1".to_owned()]
        );
        assert_eq!(names("localhost:5000/web:1"), ["localhost:5000/web:1"]);
    }
}
