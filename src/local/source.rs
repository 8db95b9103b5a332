// SPDX-License-Identifier: Apache-2.0
//! A source that is open: what it has, and reading it.

use bytes::Bytes;

use super::docker_archive::{self, DockerArchive};
use super::error::{FileError, LocalError};
use super::layout::{self, blob_name};
use super::listing::Listing;
use super::location::{Form, Location};
use super::store::{Content, Store};
use crate::oci::digest::Digest;
use crate::oci::reference::{Reference, Tag};
use crate::oci::{Descriptor, MAX_MANIFEST};

/// Most of its names that are shown.
const SHOWN_NAMES: usize = 5;
/// Suffixes of the tags under which cosign keeps signatures, attestations and SBOMs of a digest.
const COSIGN_SUFFIXES: [&str; 3] = ["sig", "att", "sbom"];

/// Images that are in no registry. Nothing of it is believed: whoever reads content compares it with its digest.
#[derive(Debug)]
pub struct LocalSource {
    location: String,
    store: Store,
    listing: Listing,
    /// Where it is an archive of `docker save` without an OCI image layout inside.
    docker: Option<DockerArchive>,
}

/// What a source has that refers to a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// Its manifest.
    pub root: Descriptor,
    /// The tag that names it, where only a tag does, as cosign has it.
    pub tag: Option<Tag>,
}

impl LocalSource {
    /// Opens a source and reads what it lists. Blocking.
    ///
    /// # Errors
    /// [`LocalError`]: it cannot be read, or is not what it is said to be.
    pub fn open(location: &Location) -> Result<Self, LocalError> {
        let store = Store::open(location)?;
        Self::read(store, location.form(), location.to_string())
    }

    fn read(store: Store, form: Form, location: String) -> Result<Self, LocalError> {
        let of = |name: &str, limit| store.read(name, limit).map_err(|e| e.of(&location, name));
        // Newer versions of `docker save` write both: the layout keeps the digests.
        if let Some(index) = of(layout::INDEX, layout::MAX_INDEX)? {
            let listing = layout::read(&store, &index, &location)?;
            return Ok(Self { location, store, listing, docker: None });
        }
        let manifest = of(docker_archive::MANIFEST, docker_archive::MAX_MANIFEST_JSON)?;
        match (form, manifest) {
            (Form::DockerArchive, Some(manifest)) => {
                let mut listing = Listing::default();
                let docker = docker_archive::read(&store, &manifest, &location, &mut listing)?;
                Ok(Self { location, store, listing, docker: Some(docker) })
            }
            (_, manifest) => {
                let other = manifest.map(|_| "a Docker archive");
                let (expected, missing) = if form == Form::DockerArchive {
                    ("Docker archive", "manifest.json, and no index.json")
                } else {
                    ("OCI image layout", "index.json")
                };
                Err(LocalError::Unknown { location, expected, missing, other })
            }
        }
    }

    /// As the user named it.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Whether its digests are not those of a registry, because it does not keep manifests.
    pub fn is_rebuilt(&self) -> bool {
        self.docker.is_some()
    }

    /// The manifest of a digest, where the source lists it.
    pub fn manifest_of(&self, digest: &Digest) -> Option<&Descriptor> {
        self.listing.get(digest)
    }

    /// The manifests that the source has under the registry, repository and tag of a reference.
    pub fn named(&self, reference: &Reference) -> &[Descriptor] {
        self.listing.named(reference)
    }

    /// Some of its names, for people.
    pub fn names(&self) -> String {
        let names = self.listing.shown().iter().map(String::as_str).collect::<Vec<_>>();
        if names.is_empty() {
            "no named image".to_owned()
        } else {
            crate::error::shortened(&names, SHOWN_NAMES, ", ")
        }
    }

    /// The bytes of an index or manifest that the source lists, compared with their digest. Blocking.
    ///
    /// # Errors
    /// [`LocalError`].
    pub fn manifest(&self, digest: &Digest) -> Result<Bytes, LocalError> {
        if let Some(bytes) = self.docker.as_ref().and_then(|docker| docker.manifest(digest)) {
            return Ok(bytes.clone());
        }
        let content = self.content(digest)?.ok_or_else(|| self.missing(digest.to_string()))?;
        let name = blob_name(digest);
        let bytes = content.read_all(MAX_MANIFEST).map_err(|e| e.of(&self.location, &name))?;
        layout::check(digest, &bytes).map_err(|e| LocalError::file(&self.location, &name, e))?;
        Ok(bytes.into())
    }

    /// The content of a digest, which is not compared with it; `None` where it is absent. Blocking.
    ///
    /// # Errors
    /// [`LocalError`].
    pub fn content(&self, digest: &Digest) -> Result<Option<Content>, LocalError> {
        if let Some(docker) = &self.docker {
            return Ok(docker.content(digest).cloned());
        }
        let name = blob_name(digest);
        self.store.get(&name).map_err(|e| e.of(&self.location, &name))
    }

    /// The content of a digest with the size that its descriptor states. Blocking.
    ///
    /// # Errors
    /// [`LocalError::Missing`] where it is absent; [`LocalError::File`] where it has another size.
    pub fn content_of_size(&self, digest: &Digest, size: u64) -> Result<Content, LocalError> {
        let content = self.content(digest)?.ok_or_else(|| self.missing(digest.to_string()))?;
        if content.size() != size {
            let source = FileError::Sizes { digest: *digest, one: size, other: content.size() };
            return Err(LocalError::file(&self.location, &digest.to_string(), source));
        }
        Ok(content)
    }

    /// What refers to a manifest: what states it as its subject, and what cosign names by its digest.
    pub fn referrers(&self, subject: &Digest) -> Vec<Referrer> {
        let found = self.listing.referrers(subject).map(|root| Referrer { root: root.clone(), tag: None });
        let mut found = found.collect::<Vec<_>>();
        for suffix in COSIGN_SUFFIXES {
            let Ok(tag) = format!("sha256-{}.{suffix}", subject.hex()).parse::<Tag>() else { continue };
            let tagged = self.listing.tagged(&tag);
            found.extend(tagged.map(|root| Referrer { root: root.clone(), tag: Some(tag.clone()) }));
        }
        found
    }

    /// Says that a part of an image is absent.
    pub fn missing(&self, name: String) -> LocalError {
        LocalError::Missing { location: self.location.clone(), name }
    }

    /// Says that a name stands for several images.
    pub fn ambiguous(&self, reference: &Reference, found: &[Descriptor]) -> LocalError {
        LocalError::Ambiguous {
            location: self.location.clone(),
            name: reference.to_string(),
            digests: found.iter().map(|descriptor| descriptor.digest).collect(),
        }
    }
}
