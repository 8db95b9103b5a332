// SPDX-License-Identifier: Apache-2.0
//! Which local source an image is read from, if any. Pure.

use std::fmt;
use std::sync::Arc;

use crate::local::{LocalError, LocalSource};
use crate::oci::digest::Digest;
use crate::oci::reference::Reference;

/// A local source that has another image under the name of one that a set pins by digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherDigest {
    /// The source, as the user named it.
    pub location: String,
    /// The image, without its digest.
    pub name: String,
    /// The digest that the set pins.
    pub pinned: Digest,
    /// What the source has.
    pub found: FoundDigest,
}

/// What a source has in place of the digest that a set pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundDigest {
    /// Another one.
    Other(Digest),
    /// One that was made from the content: the source does not keep the manifests of registries.
    Rebuilt(Digest),
    /// The content of the pinned image, but not its manifest.
    Lost,
}

impl fmt::Display for OtherDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { location, name, pinned, found } = self;
        match found {
            FoundDigest::Other(found) => write!(f, "{location} has {name} as {found}, not as {pinned}"),
            FoundDigest::Rebuilt(found) => write!(
                f,
                "{location} has {name} as {found}, not as {pinned}, because an archive of `docker save` does not keep the manifest of the registry"
            ),
            FoundDigest::Lost => write!(
                f,
                "{location} has {name} of {pinned}, but not the manifest with this digest, because the image store of this daemon does not keep it"
            ),
        }
    }
}

impl OtherDigest {
    /// What to do where the image of the source is the one that is meant.
    pub fn advice(&self) -> String {
        let Self { name, found, .. } = self;
        match found {
            FoundDigest::Rebuilt(found) => format!(
                "pin the digest that the archive gives (image: {name}@{found}), or push the image to a registry and pin the digest that it has there"
            ),
            FoundDigest::Other(found) => format!(
                "if that is the image that you want, pin its digest (image: {name}@{found}). A copy of one platform has another digest than the image of all platforms, which `skopeo copy --all` keeps"
            ),
            FoundDigest::Lost => format!(
                "if no registry has the image any more, write it without its digest (image: {name}), so that it gets the digest that an export has. The containerd image store of Docker keeps manifests: enable it and pull the image again"
            ),
        }
    }
}

/// Where an image is read from, and what is said about it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// The position of the source, and the digest of the image in it; `None`: its registry.
    pub(super) source: Option<(usize, Digest)>,
    /// Sources that have another image under its name.
    pub(super) others: Vec<OtherDigest>,
    /// What a person should know.
    pub(super) remarks: Vec<String>,
}

/// Chooses the first source that has the digest of a reference, or, where it has only a tag, its name.
///
/// # Errors
/// [`LocalError::Ambiguous`] where a source has several images under the name that decides.
pub(super) fn choose(sources: &[Arc<LocalSource>], reference: &Reference) -> Result<Choice, LocalError> {
    match reference.digest {
        Some(digest) => Ok(by_digest(sources, reference, digest)),
        None => by_name(sources, reference),
    }
}

fn by_digest(sources: &[Arc<LocalSource>], reference: &Reference, pinned: Digest) -> Choice {
    if let Some(first) = sources.iter().position(|source| source.manifest_of(&pinned).is_some()) {
        return Choice { source: Some((first, pinned)), ..Choice::default() };
    }
    let name = Reference { digest: None, ..reference.clone() }.to_string();
    let mut others = Vec::new();
    for source in sources {
        let as_found = if source.is_rebuilt() { FoundDigest::Rebuilt } else { FoundDigest::Other };
        let lost = source.has_lost(reference).then_some(FoundDigest::Lost);
        let found = source.named(reference).iter().map(|found| as_found(found.digest)).chain(lost);
        others.extend(found.map(|found| OtherDigest {
            location: source.location().to_owned(),
            name: name.clone(),
            pinned,
            found,
        }));
    }
    let remark = |other: &OtherDigest| format!("{other}; it is not used");
    let remarks = others.iter().map(remark).collect();
    Choice { source: None, others, remarks }
}

fn by_name(sources: &[Arc<LocalSource>], reference: &Reference) -> Result<Choice, LocalError> {
    let mut choice = Choice::default();
    let mut first = None::<&LocalSource>;
    for (position, source) in sources.iter().enumerate() {
        match (source.named(reference), choice.source) {
            ([], _) => {}
            ([found], None) => {
                choice.source = Some((position, found.digest));
                first = Some(source);
            }
            (found, None) => return Err(source.ambiguous(reference, found)),
            (found, Some((_, used))) => {
                let Some(other) = found.iter().find(|found| found.digest != used) else { continue };
                let (location, other) = (source.location(), other.digest);
                let first = first.map(LocalSource::location).unwrap_or_default();
                choice.remarks.push(format!(
                    "{location} has {reference} as {other}; it is not used, because {first} comes first and has it as {used}"
                ));
            }
        }
    }
    Ok(choice)
}
