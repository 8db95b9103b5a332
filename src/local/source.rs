// SPDX-License-Identifier: Apache-2.0
//! A source that is open: what it has, and reading it.

use std::collections::BTreeSet;

use bytes::Bytes;
use camino::Utf8Path;

use super::daemon::{Daemon, DaemonError, DockerEnvironment, Holdings, Socket};
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
    /// Where it is a daemon.
    daemon: Option<DaemonContent>,
}

/// What is known of the images of a daemon besides their export.
#[derive(Debug)]
struct DaemonContent {
    /// Repositories and digests of which the daemon has the content, but not the manifest.
    lost: BTreeSet<(String, Digest)>,
    /// Whether all images were exported with the manifests by which the daemon knows them.
    keeps_manifests: bool,
}

/// What a source has that refers to a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// Its manifest.
    pub root: Descriptor,
    /// The tag that names it, where only a tag does, as cosign has it.
    pub tag: Option<Tag>,
}

impl Location {
    /// The daemon that it names, if it names one. Reads Docker's contexts where the environment chooses one.
    ///
    /// # Errors
    /// [`DaemonError`]: there is no socket on this machine.
    pub fn daemon(&self, environment: &DockerEnvironment) -> Result<Option<Daemon>, DaemonError> {
        if self.form() != Form::DockerDaemon {
            return Ok(None);
        }
        if !cfg!(unix) {
            return Err(DaemonError::System);
        }
        let path = self.path();
        let socket = match path.as_str() {
            "" => Socket::of_host(environment.docker_host()?.as_ref())?,
            _ => Socket::at(path),
        };
        Ok(Some(Daemon::new(socket)))
    }
}

impl LocalSource {
    /// Opens a source and reads what it lists. Blocking.
    ///
    /// # Errors
    /// [`LocalError`]: it cannot be read, or is not what it is said to be. A daemon has no file to open: its images come from
    /// [`Self::of_daemon`].
    pub fn open(location: &Location) -> Result<Self, LocalError> {
        let store = Store::open(location)?;
        Self::read(store, location.form(), location.to_string())
    }

    /// Exports images of a daemon into a temporary file in `folder`, which is gone with this value. `on_progress` gets the
    /// number of bytes of each part that arrives.
    ///
    /// # Errors
    /// [`LocalError`]: the daemon does not export them, or what it sends is no acceptable archive.
    pub async fn of_daemon(
        daemon: &Daemon,
        holdings: Holdings,
        folder: &Utf8Path,
        on_progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Self, LocalError> {
        let location = daemon.location().to_owned();
        let exported = daemon.export(&holdings, folder, on_progress).await?;
        let Some(file) = exported else { return Ok(Self::of_holdings(holdings, Self::empty(location))) };
        let reading = tokio::task::spawn_blocking(move || {
            Self::read(Store::of_tar(file, &location)?, Form::DockerDaemon, location)
        });
        let source = reading.await.map_err(|error| DaemonError::Write {
            folder: folder.to_owned(),
            source: std::io::Error::other(error),
        })?;
        Ok(Self::of_holdings(holdings, source?))
    }

    fn of_holdings(holdings: Holdings, source: Self) -> Self {
        let Holdings { ids, lost, .. } = holdings;
        let is_kept = |id: &String| id.parse().is_ok_and(|id| source.listing.get(&id).is_some());
        let keeps_manifests = ids.iter().all(is_kept);
        Self { daemon: Some(DaemonContent { lost, keeps_manifests }), ..source }
    }

    fn empty(location: String) -> Self {
        Self { location, store: Store::Empty, listing: Listing::default(), docker: None, daemon: None }
    }

    fn read(store: Store, form: Form, location: String) -> Result<Self, LocalError> {
        let of = |name: &str, limit| store.read(name, limit).map_err(|e| e.of(&location, name));
        // Newer versions of `docker save` write both: the layout keeps the digests.
        if let Some(index) = of(layout::INDEX, layout::MAX_INDEX)? {
            let listing = layout::read(&store, &index, &location)?;
            return Ok(Self { location, store, listing, docker: None, daemon: None });
        }
        let manifest = of(docker_archive::MANIFEST, docker_archive::MAX_MANIFEST_JSON)?;
        match (form, manifest) {
            (Form::DockerArchive | Form::DockerDaemon, Some(manifest)) => {
                let mut listing = Listing::default();
                let docker = docker_archive::read(&store, &manifest, &location, &mut listing)?;
                Ok(Self { location, store, listing, docker: Some(docker), daemon: None })
            }
            (_, manifest) => {
                let other = manifest.map(|_| "a Docker archive");
                let (expected, missing) = match form {
                    Form::DockerArchive | Form::DockerDaemon => {
                        ("Docker archive", "manifest.json, and no index.json")
                    }
                    Form::Oci | Form::OciArchive => ("OCI image layout", "index.json"),
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
        self.docker.is_some() || self.daemon.as_ref().is_some_and(|daemon| !daemon.keeps_manifests)
    }

    /// Whether it is a daemon that has the content of a pinned image, but not the manifest of the registry.
    pub fn has_lost(&self, reference: &Reference) -> bool {
        let lost = self.daemon.as_ref().map(|daemon| &daemon.lost);
        reference.digest.zip(lost).is_some_and(|(pinned, lost)| lost.contains(&(reference.name(), pinned)))
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
        match &self.daemon {
            _ if !names.is_empty() => crate::error::shortened(&names, SHOWN_NAMES, ", "),
            Some(daemon) if !daemon.lost.is_empty() => "no image of the sets with its manifest".to_owned(),
            Some(_) => "no image of the sets".to_owned(),
            None => "no named image".to_owned(),
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
