// SPDX-License-Identifier: Apache-2.0
//! The repositories of a served bundle, and their content. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use oci_spec::image::MediaType;
use serde::Deserialize;

use crate::bundle::{Bundle, BundleImage, BundledImage, BundledImages};
use crate::json::JsonError;
use crate::oci::Descriptor;
use crate::oci::digest::Digest;
use crate::oci::reference::Tag;
use crate::oci::written;
use crate::sync::rebuild::PatchList;

/// One repository.
#[derive(Debug, Default)]
pub struct Repository {
    /// The digest of each tag; `None` if two images claim it.
    tags: BTreeMap<Tag, Option<Digest>>,
    /// Manifests and blobs that may be read through this repository.
    pub(super) content: HashSet<Digest>,
    /// Blobs that are not in the archive, by digest: lists of patches.
    pub(super) lists: HashMap<Digest, Bytes>,
    /// The referrers of a manifest, in the order of the bundle's manifest.
    referrers: HashMap<Digest, Vec<Referrer>>,
}

/// A descriptor in the response of the referrers API.
#[derive(Debug, Clone, PartialEq)]
struct Referrer {
    annotations: HashMap<String, String>,
    artifact_type: Option<String>,
    digest: Digest,
    media_type: String,
    size: u64,
}

impl Referrer {
    fn written(&self) -> Result<oci_spec::image::Descriptor, JsonError> {
        let mut written = written::descriptor(&self.media_type, &self.digest, self.size)?;
        written.set_artifact_type(self.artifact_type.as_deref().map(MediaType::from));
        written.set_annotations((!self.annotations.is_empty()).then(|| self.annotations.clone()));
        Ok(written)
    }
}

/// All repositories by name. An image is in the one that its reference names, with the registry
/// (`docker.io/library/nginx`), and in those that its sets give it at the edge (`library/nginx`), also with the prefix of
/// their destination (`mirror/library/nginx`).
#[derive(Debug)]
pub(super) struct Catalog {
    repositories: BTreeMap<String, Repository>,
    /// Destination hosts of the sets.
    edges: HashSet<String>,
}

impl Catalog {
    /// The catalog of `bundle`.
    pub(super) fn new(bundle: &Bundle, images: &BundledImages) -> Self {
        let destinations = bundle.sets().iter().map(|set| set.spec.destination_registry.as_str());
        let edges = destinations.filter_map(|to| to.split('/').next()).map(str::to_owned).collect();
        let mut catalog = Self { repositories: BTreeMap::new(), edges };
        let mut edge = HashMap::<(String, &[crate::oci::platform::Platform]), Vec<(String, Tag)>>::new();
        for (set, wanted) in
            bundle.sets().iter().flat_map(|set| set.images.iter().map(move |image| (set, image)))
        {
            let key = (wanted.reference.to_string(), wanted.platforms.as_slice());
            let names = edge.entry(key).or_default();
            names.push((wanted.repository.to_string(), wanted.tag.clone()));
            if let Some((_, prefix)) = set.spec.destination_registry.split_once('/') {
                names.push((format!("{prefix}/{}", wanted.repository), wanted.tag.clone()));
            }
        }
        for (manifest, image) in bundle.manifest().images.iter().zip(&images.images) {
            let own = (manifest.repository.clone(), manifest.tag.clone());
            let key = (manifest.reference.to_string(), manifest.platforms.as_slice());
            let others = edge.remove(&key).unwrap_or_default();
            let names = others.into_iter().map(|(name, tag)| (name, Some(tag))).chain([own]);
            for (name, tag) in names {
                let repository = catalog.repositories.entry(name).or_default();
                repository.add(manifest, image, images);
                tag.into_iter().for_each(|tag| repository.claim(tag, manifest.digest));
            }
        }
        catalog
    }

    /// The repository that a request means. `ns` is the registry that containerd wants: if the bundle has no such
    /// repository of it, a repository of this name at the edge must not be used.
    pub(super) fn get(&self, name: &str, ns: Option<&str>) -> Option<&Repository> {
        match ns.filter(|ns| !self.edges.contains(*ns)) {
            Some(ns) => self.repositories.get(&format!("{ns}/{name}")),
            None => self.repositories.get(name),
        }
    }

    /// A name for each image of the bundle that forms a reference after the address of the server. It is the name at the edge,
    /// because a registry with a port (`localhost:5000/app`) cannot be part of a repository's name.
    pub(super) fn references(&self, bundle: &Bundle) -> Vec<String> {
        let mut edge = HashMap::new();
        for wanted in bundle.sets().iter().flat_map(|set| &set.images) {
            let key = (wanted.reference.to_string(), wanted.platforms.as_slice());
            edge.entry(key).or_insert((&wanted.repository, &wanted.tag));
        }
        let name = |image: &BundleImage| {
            let (repository, tag) = edge.get(&(image.reference.to_string(), image.platforms.as_slice()))?;
            let is_tagged = self.repositories.get(repository.as_str())?.tagged(tag) == Some(image.digest);
            // A tag that two images claim is not served.
            Some(if is_tagged {
                format!("{repository}:{tag}")
            } else {
                format!("{repository}@{}", image.digest)
            })
        };
        bundle.manifest().images.iter().filter_map(name).collect()
    }

    /// Names of all repositories, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.repositories.keys().map(String::as_str)
    }
}

impl Repository {
    /// A repository for each image of a bundle, by the digest of its reference. It has no tags except those of referrers.
    /// `patches`: as [`PatchList::of_images`].
    pub fn by_digest(
        bundle: &Bundle,
        images: &BundledImages,
        patches: &BTreeMap<usize, PatchList>,
    ) -> HashMap<Digest, Self> {
        let mut repositories = HashMap::<Digest, Self>::new();
        for (manifest, image) in bundle.manifest().images.iter().zip(&images.images) {
            let repository = repositories.entry(manifest.digest).or_default();
            repository.add(manifest, image, images);
            patches.get(&image.index).into_iter().for_each(|list| repository.add_patches(list));
        }
        repositories
    }

    /// Gives a tag to a digest. If a second digest claims it, neither has it. (T-46)
    fn claim(&mut self, tag: Tag, digest: Digest) {
        let claimed = self.tags.entry(tag).or_insert(Some(digest));
        if *claimed != Some(digest) {
            *claimed = None;
        }
    }

    /// What a tag names.
    pub(super) fn tagged(&self, tag: &Tag) -> Option<Digest> {
        self.tags.get(tag).copied().flatten()
    }

    /// All tags that are served, sorted.
    pub(super) fn tags(&self) -> impl Iterator<Item = &Tag> {
        self.tags.iter().filter_map(|(tag, digest)| digest.map(|_| tag))
    }

    fn add(&mut self, manifest: &BundleImage, image: &BundledImage, images: &BundledImages) {
        let closures =
            std::iter::once(&image.closure).chain(image.referrers.iter().map(|(_, closure)| closure));
        for closure in closures {
            self.content.extend(closure.manifests.iter().chain(&closure.blobs).map(|d| d.digest));
        }
        for (entry, (root, _)) in manifest.referrers.iter().zip(&image.referrers) {
            if let Some(tag) = &entry.tag {
                self.claim(tag.clone(), entry.digest);
                continue;
            }
            let of = self.referrers.entry(entry.subject).or_default();
            if !of.iter().any(|other| other.digest == entry.digest) {
                of.push(referrer(root, entry.artifact_type.clone(), images));
            }
        }
    }

    /// Adds what makes the layers of an image that travel as patches.
    fn add_patches(&mut self, list: &PatchList) {
        self.content.extend(list.blobs.iter().map(|blob| blob.digest));
        if let Ok(bytes) = list.encode() {
            let digest = Digest::of(&bytes);
            self.content.insert(digest);
            self.lists.insert(digest, bytes.into());
        }
    }

    /// The response of the referrers API for `subject`, filtered if a type is requested.
    pub(super) fn referrers(&self, subject: &Digest, artifact_type: Option<&str>) -> Bytes {
        let all = self.referrers.get(subject).into_iter().flatten();
        let has_type =
            |r: &&Referrer| artifact_type.is_none_or(|own| r.artifact_type.as_deref() == Some(own));
        // Cannot fail: the digests were parsed.
        let manifests = all.filter(has_type).filter_map(|referrer| referrer.written().ok()).collect();
        written::index(manifests, None).unwrap_or_default().into()
    }
}

fn referrer(root: &Descriptor, artifact_type: Option<String>, images: &BundledImages) -> Referrer {
    #[derive(Default, Deserialize)]
    struct ManifestAnnotations {
        #[serde(default)]
        annotations: HashMap<String, String>,
    }
    let manifest = images.manifests.get(&root.digest);
    let annotated =
        manifest.and_then(|manifest| serde_json::from_slice::<ManifestAnnotations>(&manifest.bytes).ok());
    Referrer {
        annotations: annotated.unwrap_or_default().annotations,
        artifact_type,
        digest: root.digest,
        media_type: root.media_type.clone(),
        size: root.size,
    }
}
