// SPDX-License-Identifier: Apache-2.0
//! Fetches the manifests of an image from its registry or another source, by digest and level by level.

use std::collections::HashSet;

use bytes::Bytes;
use thiserror::Error;

use crate::error::{self, Classify, ErrorKind};
use crate::oci::closure::{
    Absence, Closure, ClosureError, MAX_MANIFEST_BYTES, MAX_MANIFESTS, Manifests, StoredManifest,
};
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::Selector;
use crate::oci::{self, Descriptor, Inline, ManifestOrIndex};
use crate::registry::RegistryError;
use crate::sync::source::Source;

/// Most characters of the reason why something optional could not be fetched.
const MAX_REASON: usize = 300;

/// Why the manifests of an image could not be fetched. `E` is the error of its source.
#[derive(Debug, Error)]
pub enum FetchError<E: Classify + 'static = RegistryError> {
    /// The source does not have a manifest of the image.
    #[error("{}{source}", .listed_as.as_ref().map(|name| format!("{name}: ")).unwrap_or_default())]
    Absent {
        /// The manifest.
        digest: Digest,
        /// Its name in the index that lists it, if one lists it.
        listed_as: Option<String>,
        /// What the source says.
        source: E,
    },
    /// Another failure of the source.
    #[error(transparent)]
    Source(E),
    /// A manifest is not acceptable.
    #[error(transparent)]
    Closure(#[from] ClosureError),
}

impl<E: Classify + 'static> Classify for FetchError<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Absent { source, .. } | Self::Source(source) => source.kind(),
            Self::Closure(error) => error.kind(),
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Absent { listed_as: Some(_), .. } => Some(ABSENT_CHILD.to_owned()),
            Self::Absent { source, .. } | Self::Source(source) => source.help(),
            Self::Closure(error) => error.help(),
        }
    }
}

/// Help for an index that lists a child that its registry does not have.
pub(crate) const ABSENT_CHILD: &str = "the index is there and a part of it is not, as after a job that deletes untagged manifests: push the image again, or choose the platforms that are needed with `platforms`";

async fn fetch_manifest<S: Source>(
    source: &S,
    digest: Digest,
) -> Result<StoredManifest, FetchError<S::Error>> {
    match source.manifest(&Selector::Digest(digest)).await {
        Ok(found) => Ok(StoredManifest { media_type: found.media_type, bytes: found.bytes }),
        Err(source) if S::is_absence(&source) => Err(FetchError::Absent { digest, listed_as: None, source }),
        Err(error) => Err(FetchError::Source(error)),
    }
}

/// A descriptor to fetch, with its name in the index that lists it.
#[derive(Clone)]
struct FetchRequest {
    descriptor: Descriptor,
    listed_as: Option<String>,
}

enum FetchOutcome {
    ManifestOrIndex(StoredManifest),
    /// Content of an unknown type that is available as a blob.
    Blob,
    /// Content of an unknown type that the registry keeps as a manifest.
    Content(Bytes),
    /// Optional, and why it could not be fetched.
    Absent(Absence),
}

async fn fetch_one<S: Source>(
    source: &S,
    wanted: &FetchRequest,
) -> Result<FetchOutcome, FetchError<S::Error>> {
    let FetchRequest { descriptor, listed_as } = wanted;
    let known = oci::is_manifest(&descriptor.media_type);
    let result = match descriptor.inline() {
        // The parent's descriptor decides the media type; a header of the registry does not.
        Some(Inline::Content(bytes)) if known => Ok(FetchOutcome::ManifestOrIndex(StoredManifest {
            media_type: descriptor.media_type.clone(),
            bytes,
        })),
        Some(Inline::Content(bytes)) => Ok(FetchOutcome::Content(bytes)),
        _ if known => fetch_manifest(source, descriptor.digest).await.map(|fetched| {
            FetchOutcome::ManifestOrIndex(StoredManifest {
                media_type: descriptor.media_type.clone(),
                ..fetched
            })
        }),
        _ => unknown_content(source, descriptor).await.map_err(FetchError::Source),
    };
    match result {
        Err(error) if listed_as.is_some() && descriptor.is_optional() => {
            Ok(FetchOutcome::Absent(absence(&error)))
        }
        Err(FetchError::Absent { digest, source, .. }) => {
            Err(FetchError::Absent { digest, listed_as: listed_as.clone(), source })
        }
        other => other,
    }
}

/// Why something optional could not be fetched.
pub(crate) fn absence<E: Classify + 'static>(error: &E) -> Absence {
    Absence { reason: crate::redact::printable(&error::chain(error), MAX_REASON), kind: error.kind() }
}

/// A child of an unknown type is a blob, or else a manifest (OCI image-spec, "Image Index Specification").
async fn unknown_content<S: Source>(source: &S, child: &Descriptor) -> Result<FetchOutcome, S::Error> {
    if source.has_blob(&child.digest, child.size).await? {
        return Ok(FetchOutcome::Blob);
    }
    source.manifest_of_type(&child.digest, &child.media_type).await.map(FetchOutcome::Content)
}

/// Fetches the manifest `digest`, whose media type only the source knows.
///
/// # Errors
/// [`FetchError`].
pub async fn fetch_root<S: Source>(
    source: &S,
    digest: &Digest,
    manifests: &mut Manifests,
) -> Result<Descriptor, FetchError<S::Error>> {
    let found = fetch_manifest(source, *digest).await?;
    let root = Descriptor::new(found.media_type.clone(), *digest, found.bytes.len() as u64);
    manifests.insert(*digest, found);
    Ok(root)
}

/// Fetches the manifests below `root` that are not known yet, level by level. Optional children that cannot be fetched are in
/// [`Closure::absent`]; blobs that descriptors contain are in `manifests` ([`Manifests::content`]).
///
/// # Errors
/// [`FetchError`].
pub async fn fetch_closure<S: Source>(
    source: &S,
    root: &Descriptor,
    platforms: &[Platform],
    manifests: &mut Manifests,
) -> Result<Closure, FetchError<S::Error>> {
    let mut visited = HashSet::from([root.digest]);
    let mut level = vec![FetchRequest { descriptor: root.clone(), listed_as: None }];
    let mut total = 0_u64;
    for _ in 0..=oci::MAX_INDEX_DEPTH {
        // Before anything is fetched, because a hostile index can list more than memory holds. Content of unknown types is
        // limited when it is fetched.
        let sizes = level.iter().map(|wanted| &wanted.descriptor).filter(|d| oci::is_manifest(&d.media_type));
        total = sizes.fold(total, |total, descriptor| total.saturating_add(descriptor.size));
        if visited.len() > MAX_MANIFESTS || total > MAX_MANIFEST_BYTES {
            return Err(ClosureError::TooMany(root.digest).into());
        }
        let unknown = level.iter().filter(|wanted| manifests.get(&wanted.descriptor.digest).is_none());
        let fetches = unknown.cloned().collect::<Vec<_>>().into_iter().map(|wanted| async move {
            let fetched = fetch_one(source, &wanted).await?;
            Ok::<_, FetchError<S::Error>>((wanted.descriptor.digest, fetched))
        });
        for fetched in futures::future::join_all(fetches).await {
            match fetched? {
                (digest, FetchOutcome::ManifestOrIndex(manifest)) => manifests.insert(digest, manifest),
                (digest, FetchOutcome::Content(bytes)) => manifests.insert_content(digest, bytes),
                (digest, FetchOutcome::Absent(absence)) => manifests.mark_absent(digest, absence),
                (_, FetchOutcome::Blob) => {}
            }
        }
        let mut next = Vec::new();
        for FetchRequest { descriptor, .. } in &level {
            let known = manifests.get(&descriptor.digest).is_some() || !descriptor.is_optional();
            if !known || !oci::is_manifest(&descriptor.media_type) {
                continue;
            }
            let manifest = match manifests.read(descriptor) {
                // An unreadable optional child counts as one that could not be fetched.
                Err(error) if descriptor.digest != root.digest && descriptor.is_optional() => {
                    manifests.withdraw(descriptor.digest, absence(&error));
                    continue;
                }
                manifest => manifest?,
            };
            if let ManifestOrIndex::Index(index) = manifest {
                let children = oci::select(&index, platforms.into());
                let new = children.into_iter().filter(|child| visited.insert(child.digest));
                next.extend(new.map(|child| {
                    let listed_as = Some(format!("{} {}", index.name_of(child), child.digest));
                    FetchRequest { descriptor: child.clone(), listed_as }
                }));
            }
        }
        level = next;
    }
    let closure = manifests.closure(root, platforms)?;
    for content in &closure.blobs {
        if let Some(Inline::Content(bytes)) = content.inline() {
            manifests.insert_content(content.digest, bytes);
        }
    }
    Ok(closure)
}
