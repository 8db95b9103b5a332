// SPDX-License-Identifier: Apache-2.0
//! What the sets of the cluster need: written by the controller, read by the intake (is a bundle imported, may the drive
//! be pulled?) and by the embedded registry (who may read what?).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use krs_core::crd::EdgeImageSet;
use krs_core::oci::digest::Digest;
use krs_core::oci::platform::Platform;
use krs_core::oci::reference::Reference;

use crate::model::site_content::SetContent;
use crate::model::state::{DecidedBy, ResolvedTag};

/// Every set by namespace and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequiredImages {
    /// Whether every set of the cluster was checked since the importer started.
    pub complete: bool,
    /// What each set requires.
    pub sets: BTreeMap<SetName, Arc<SetDemand>>,
}

/// Namespace and name of a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetName {
    /// Namespace of the set.
    pub namespace: String,
    /// Name of the set.
    pub name: String,
}

/// What one set needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetDemand {
    /// The images that it lists and what they stand for, where that is known.
    pub images: ListedImages,
    /// Images that are not present at the edge yet and that the set will copy from a bundle: none of a set that is
    /// suspended, stalled, being deleted, not allowed to copy, of which a Secret may not be read, or that copies from source
    /// registries only.
    pub missing: Vec<MissingImage>,
    /// Whether bundles decide what those of its references stand for that have no digest; not where `missing` is none
    /// because of the set altogether.
    pub follows_bundles: bool,
    /// Bundles (digests of their manifests) that running Jobs of this set copy from.
    pub copying_from: BTreeSet<Digest>,
    /// What is present of it, and what it waits for; nothing where the site writes no receipt.
    pub content: SetContent,
}

/// Most of a name that is not written again: its length is one byte.
const MAX_SHARED: u8 = u8::MAX;

/// The images of a set. Those of all sets are held in memory for as long as the importer runs, so that they are held as
/// one text, in which a name is written without what it has in common with the one before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListedImages {
    /// The references without their digests, each as the length of what it shares with the one before, the rest of it, and
    /// a line feed.
    names: Box<[u8]>,
    /// What each stands for.
    digests: Box<[(Option<Digest>, Decider)]>,
    /// The bundles that decided that.
    decided_by: Box<[DecidedBy]>,
}

/// Who decided what a reference stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decider {
    /// The reference itself, which has a digest.
    Pinned,
    /// A bundle, by its position.
    By(u32),
    /// Nobody that is known.
    Unknown,
}

/// An image that a set lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedImage {
    /// The reference without its digest.
    name: String,
    /// What it stands for, where that is known.
    pub digest: Option<Digest>,
    is_pinned: bool,
}

impl FromIterator<(Reference, Option<Digest>)> for ListedImages {
    fn from_iter<T: IntoIterator<Item = (Reference, Option<Digest>)>>(images: T) -> Self {
        Self::new(images.into_iter().map(|(reference, digest)| (reference, digest, None)))
    }
}

impl FromIterator<(Reference, Option<ResolvedTag>)> for ListedImages {
    fn from_iter<T: IntoIterator<Item = (Reference, Option<ResolvedTag>)>>(images: T) -> Self {
        Self::new(images.into_iter().map(|(reference, resolved)| match resolved {
            Some(ResolvedTag { digest, decided_by, .. }) => (reference, Some(digest), decided_by),
            None => (reference, None, None),
        }))
    }
}

impl ListedImages {
    fn new(images: impl Iterator<Item = (Reference, Option<Digest>, Option<DecidedBy>)>) -> Self {
        let (mut names, mut digests, mut last) = (Vec::new(), Vec::new(), String::new());
        let (mut decided_by, mut positions) = (Vec::new(), BTreeMap::new());
        for (reference, digest, by) in images {
            let pinned = reference.digest;
            let name = Reference { digest: None, ..reference }.to_string();
            let shared =
                name.bytes().zip(last.bytes()).take(MAX_SHARED.into()).take_while(|(a, b)| a == b).count();
            names.push(u8::try_from(shared).unwrap_or_default());
            names.extend(name.bytes().skip(shared));
            names.push(b'\n');
            let decided = match (pinned, by) {
                (Some(_), _) => Decider::Pinned,
                (None, None) => Decider::Unknown,
                (None, Some(by)) => Decider::By(*positions.entry(by).or_insert_with_key(|by| {
                    decided_by.push(by.clone());
                    u32::try_from(decided_by.len() - 1).unwrap_or(u32::MAX)
                })),
            };
            digests.push((pinned.or(digest), decided));
            last = name;
        }
        Self { names: names.into(), digests: digests.into(), decided_by: decided_by.into() }
    }

    /// The references that have no digest, and what bundles decided that they stand for.
    pub(crate) fn tags(&self) -> impl Iterator<Item = (Reference, Option<(Digest, &DecidedBy)>)> {
        let tags = self.iter().zip(&self.digests).filter(|(image, _)| !image.is_pinned);
        tags.filter_map(|(image, (digest, decided))| {
            let by = match decided {
                Decider::By(position) => self.decided_by.get(usize::try_from(*position).ok()?),
                Decider::Pinned | Decider::Unknown => None,
            };
            Some((image.reference()?, digest.zip(by)))
        })
    }

    /// The images, in the order of the set.
    pub fn iter(&self) -> impl Iterator<Item = ListedImage> {
        let mut names = SharedNames { rest: &self.names, last: Vec::new() };
        // A reference is ASCII.
        let names = std::iter::from_fn(move || Some(String::from_utf8_lossy(names.advance()?).into_owned()));
        let images = names.zip(&self.digests);
        images.map(|(name, (digest, decided))| ListedImage {
            name,
            digest: *digest,
            is_pinned: *decided == Decider::Pinned,
        })
    }

    /// Whether one of them is `digest`.
    pub fn contains_digest(&self, digest: &Digest) -> bool {
        self.digests.iter().any(|(listed, _)| listed.as_ref() == Some(digest))
    }

    /// Whether a set lists this reference, as it is written in its normal form.
    pub fn contains(&self, reference: &Reference) -> bool {
        let name = Reference { digest: None, ..reference.clone() }.to_string();
        let mut names = SharedNames { rest: &self.names, last: Vec::new() };
        self.digests.iter().any(|(digest, decided)| {
            let pinned = digest.filter(|_| *decided == Decider::Pinned);
            names.advance() == Some(name.as_bytes()) && pinned == reference.digest
        })
    }
}

/// Reads names of which each is written without what it shares with the one before.
struct SharedNames<'a> {
    rest: &'a [u8],
    last: Vec<u8>,
}

impl SharedNames<'_> {
    /// The next name.
    fn advance(&mut self) -> Option<&[u8]> {
        let (shared, coded) = self.rest.split_first()?;
        let end = coded.iter().position(|byte| *byte == b'\n')?;
        let (ending, next) = coded.split_at_checked(end)?;
        self.rest = next.get(1..)?;
        self.last.truncate((*shared).into());
        self.last.extend_from_slice(ending);
        Some(&self.last)
    }
}

impl ListedImage {
    /// The reference as the set lists it, in its normal form.
    pub(crate) fn reference(&self) -> Option<Reference> {
        let tag = self.name.parse::<Reference>().ok()?;
        Some(Reference { digest: self.digest.filter(|_| self.is_pinned), ..tag })
    }
}

impl std::fmt::Display for ListedImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.digest.filter(|_| self.is_pinned) {
            Some(digest) => write!(f, "{}@{digest}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// An image that a set will copy from a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingImage {
    /// Its top manifest.
    pub digest: Digest,
    /// Platforms that the set asks for; empty: all.
    pub platforms: Vec<Platform>,
}

impl SetName {
    /// The name of a set in the cluster; `None` for one that has none.
    pub fn of(set: &EdgeImageSet) -> Option<Self> {
        let meta = &set.metadata;
        Some(Self { namespace: meta.namespace.clone()?, name: meta.name.clone()? })
    }
}

impl std::fmt::Display for SetName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn images_are_listed_as_their_references_are_written() {
        let digest = Digest::of(b"x");
        let texts = [
            format!("example.com/a:1@{digest}"),
            "example.com/b:2".to_owned(),
            format!("docker.io/library/c@{digest}"),
        ];
        let references = texts.iter().map(|text| text.parse::<Reference>().unwrap()).collect::<Vec<_>>();
        let listed = references.iter().map(|reference| (reference.clone(), Some(digest)));
        let listed = listed.collect::<ListedImages>();
        assert_eq!(listed.iter().map(|image| image.to_string()).collect::<Vec<_>>(), texts);
        assert!(references.iter().all(|reference| listed.contains(reference)));
        assert!(!listed.contains(&"example.com/a:1".parse().unwrap()));
        assert!(!listed.contains(&format!("example.com/b:2@{digest}").parse().unwrap()));
        assert!(listed.contains_digest(&digest) && !listed.contains_digest(&Digest::of(b"y")));
        let long = |end: &str| format!("example.com/{}:{}{end}", "a".repeat(200), "1".repeat(100));
        let texts = ["1", "2", "", "1"].map(long);
        let listed = texts.iter().map(|text| (text.parse::<Reference>().unwrap(), None::<Digest>));
        let listed = listed.collect::<ListedImages>();
        assert_eq!(listed.iter().map(|image| image.to_string()).collect::<Vec<_>>(), texts);
        let unknown = [("example.com/a:1".parse::<Reference>().unwrap(), None::<Digest>)];
        let unknown = unknown.into_iter().collect::<ListedImages>();
        assert_eq!(unknown.iter().next().unwrap().digest, None);
    }

    #[test]
    fn tags_are_listed_with_the_bundle_that_decided_them() {
        let at = jiff::Timestamp::UNIX_EPOCH;
        let by = |sequence| DecidedBy { stream: "site".parse().unwrap(), sequence, created_at: at };
        let digest = |n: u64| Digest::of(&n.to_le_bytes());
        let decided = |n, decided_by| Some(ResolvedTag { digest: digest(n), at, decided_by });
        let images = [
            (format!("example.com/a:1@{}", digest(0)), None),
            ("example.com/b:1".to_owned(), decided(1, Some(by(7)))),
            ("example.com/c:1".to_owned(), decided(2, None)),
            ("example.com/d:1".to_owned(), None),
            ("example.com/e:1".to_owned(), decided(4, Some(by(6)))),
            ("example.com/f:1".to_owned(), decided(5, Some(by(7)))),
        ];
        let listed = images.map(|(text, resolved)| (text.parse().unwrap(), resolved));
        let listed = listed.into_iter().collect::<ListedImages>();
        let tags = listed.tags().map(|(tag, decided)| (tag.to_string(), decided));
        let expected = [
            ("b", Some((digest(1), &by(7)))),
            ("c", None),
            ("d", None),
            ("e", Some((digest(4), &by(6)))),
            ("f", Some((digest(5), &by(7)))),
        ];
        let expected = expected.map(|(name, decided)| (format!("example.com/{name}:1"), decided));
        assert_eq!(tags.collect::<Vec<_>>(), expected);
        assert_eq!(listed.decided_by.len(), 2);
        assert!(listed.contains_digest(&digest(2)) && listed.contains(&"example.com/d:1".parse().unwrap()));
    }
}
