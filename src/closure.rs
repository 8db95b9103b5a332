// SPDX-License-Identifier: Apache-2.0
//! The closure of an image: everything that has to travel for it to be whole. Pure; who fetches the documents,
//! a registry client or a bundle reader, is not known here.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use thiserror::Error;

use crate::digest::Digest;
use crate::oci::{self, Descriptor, Document, DocumentError, Index};
use crate::platform::Platform;

/// Most indexes and manifests of one image.
pub const MAX_DOCUMENTS: usize = 10_000;
/// Most bytes of all indexes and manifests of one image.
pub const MAX_DOCUMENT_BYTES: u64 = 128 << 20;

/// An index or manifest as it was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDocument {
    /// Media type by its descriptor.
    pub media_type: String,
    /// The exact bytes.
    pub bytes: Bytes,
}

/// Documents by digest. Holds only bytes whose digest was checked by whoever put them in.
#[derive(Debug, Clone, Default)]
pub struct Documents(BTreeMap<Digest, StoredDocument>);

/// Why an image has no closure.
#[derive(Debug, Error)]
pub enum ClosureError {
    /// A document is not acceptable.
    #[error("{digest} is not acceptable: {source}")]
    Document {
        /// The document.
        digest: Digest,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// A document of the image is not there.
    #[error("{media_type} {digest} is missing")]
    Missing {
        /// The document.
        digest: Digest,
        /// What it should be.
        media_type: String,
    },
    /// Indexes lie in each other too deeply. (T-47)
    #[error("indexes lie in each other too deeply at {0} (more than {max} deep)", max = oci::MAX_INDEX_DEPTH)]
    Depth(Digest),
    /// Two descriptors disagree on the size of one digest.
    #[error("{digest} is described with {one} and with {other} bytes")]
    Sizes {
        /// The content.
        digest: Digest,
        /// One size.
        one: u64,
        /// The other size.
        other: u64,
    },
    /// Two descriptors disagree on what one document is.
    #[error("{digest} is described as `{one}` and as `{other}`")]
    MediaTypes {
        /// The document.
        digest: Digest,
        /// One media type.
        one: String,
        /// The other media type.
        other: String,
    },
    /// More documents than an image can sensibly have.
    #[error(
        "its indexes and manifests, {0} among them, are more than {MAX_DOCUMENTS} or larger than {MAX_DOCUMENT_BYTES} bytes"
    )]
    TooMany(Digest),
    /// None of the children is for a platform that was asked for.
    #[error("the index {digest} has no image for {asked}; it lists {listed}")]
    NoPlatform {
        /// The index.
        digest: Digest,
        /// Platforms asked for.
        asked: String,
        /// Platforms listed.
        listed: String,
    },
}

/// All content of one image, each digest once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closure {
    /// Indexes and manifests, inner before outer: the order in which a registry accepts them.
    pub documents: Vec<Descriptor>,
    /// Configs and layers, in the order in which the manifests name them.
    pub contents: Vec<Descriptor>,
    /// Those of `contents` that a manifest names as its config. All others are layers.
    pub configs: HashSet<Digest>,
}

impl Closure {
    /// Contents that are layers and nothing else.
    pub fn layers(&self) -> impl Iterator<Item = &Descriptor> {
        self.contents.iter().filter(|content| !self.configs.contains(&content.digest))
    }

    /// Bytes of all content.
    pub fn size(&self) -> u64 {
        self.documents.iter().chain(&self.contents).map(|descriptor| descriptor.size).sum()
    }
}

impl Documents {
    /// Adds a document whose digest was checked.
    pub fn insert(&mut self, digest: Digest, document: StoredDocument) {
        self.0.insert(digest, document);
    }

    /// The document, where it is known.
    pub fn get(&self, digest: &Digest) -> Option<&StoredDocument> {
        self.0.get(digest)
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Reads a known document as what `descriptor` says that it is.
    ///
    /// # Errors
    /// [`ClosureError::Missing`], [`ClosureError::Document`], and [`ClosureError::Sizes`] where the descriptor
    /// lies about the size.
    pub fn read(&self, descriptor: &Descriptor) -> Result<Document, ClosureError> {
        let digest = descriptor.digest;
        let stored = self
            .get(&digest)
            .ok_or_else(|| ClosureError::Missing { digest, media_type: printable(&descriptor.media_type) })?;
        let size = stored.bytes.len() as u64;
        if size != descriptor.size {
            return Err(ClosureError::Sizes { digest, one: descriptor.size, other: size });
        }
        Document::parse(&descriptor.media_type, &stored.bytes)
            .map_err(|source| ClosureError::Document { digest, source })
    }

    /// The closure of `root`, whose documents must all be known.
    ///
    /// # Errors
    /// [`ClosureError`] names the first document that is missing or not acceptable.
    pub fn closure(&self, root: &Descriptor, platforms: &[Platform]) -> Result<Closure, ClosureError> {
        let mut walk = Walk {
            documents: self,
            platforms,
            sizes: HashMap::new(),
            visited: HashMap::new(),
            listed: HashSet::new(),
            out: Closure { documents: Vec::new(), contents: Vec::new(), configs: HashSet::new() },
        };
        walk.visit(root, 0)?;
        Ok(walk.out)
    }
}

fn no_platform(digest: Digest, index: &Index, platforms: &[Platform]) -> ClosureError {
    let list =
        |platforms: Vec<Platform>| platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    ClosureError::NoPlatform {
        digest,
        asked: list(platforms.to_vec()),
        listed: list(index.manifests.iter().filter_map(Descriptor::runs_on).collect()),
    }
}

fn printable(text: &str) -> String {
    crate::redact::printable(text, 100)
}

struct Walk<'a> {
    documents: &'a Documents,
    platforms: &'a [Platform],
    sizes: HashMap<Digest, u64>,
    /// Documents that were visited, with the media type by which they were, and whether they hold anything
    /// for the platforms asked for.
    visited: HashMap<Digest, (String, bool)>,
    listed: HashSet<Digest>,
    out: Closure,
}

impl Walk<'_> {
    /// Answers whether the document holds anything for the platforms asked for. An inner index that does not travels
    /// all the same: whoever reads the outer one has to see why its children are missing.
    fn visit(&mut self, descriptor: &Descriptor, depth: usize) -> Result<bool, ClosureError> {
        self.check_size(descriptor)?;
        let Descriptor { digest, media_type, .. } = descriptor;
        // Before it is read: a document that is listed a thousand times is read once.
        match self.visited.get(digest) {
            None => {}
            Some((other, useful)) if other == media_type => return Ok(*useful),
            Some((other, _)) => {
                let (one, other) = (printable(other), printable(media_type));
                return Err(ClosureError::MediaTypes { digest: *digest, one, other });
            }
        }
        self.visited.insert(*digest, (media_type.clone(), true));
        if self.visited.len() > MAX_DOCUMENTS {
            return Err(ClosureError::TooMany(*digest));
        }
        let document = self.documents.read(descriptor)?;
        let mut useful = true;
        match &document {
            Document::Index(_) if depth == oci::MAX_INDEX_DEPTH => return Err(ClosureError::Depth(*digest)),
            Document::Index(index) => {
                useful = false;
                for child in oci::select(index, self.platforms) {
                    useful |= self.visit(child, depth + 1)?;
                }
                if !useful && depth == 0 {
                    return Err(no_platform(*digest, index, self.platforms));
                }
            }
            Document::Manifest(manifest) => {
                self.out.configs.insert(manifest.config.digest);
                for content in document.children() {
                    self.check_size(content)?;
                    if self.listed.insert(content.digest) {
                        self.out.contents.push(content.clone());
                    }
                }
            }
        }
        self.visited.insert(*digest, (media_type.clone(), useful));
        self.out.documents.push(descriptor.clone());
        Ok(useful)
    }

    fn check_size(&mut self, descriptor: &Descriptor) -> Result<(), ClosureError> {
        let Descriptor { digest, size, .. } = *descriptor;
        match self.sizes.insert(digest, size) {
            Some(other) if other != size => Err(ClosureError::Sizes { digest, one: other, other: size }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const EMPTY: &str = "application/vnd.oci.empty.v1+json";

    fn manifest(documents: &mut Documents, layers: &[(&[u8], u64)]) -> Descriptor {
        let layers = layers
            .iter()
            .map(|(content, size)| {
                format!(r#"{{"mediaType":"x/y","digest":"{}","size":{size}}}"#, Digest::of(content))
            })
            .collect::<Vec<_>>();
        let config = format!(r#"{{"mediaType":"{EMPTY}","digest":"{}","size":2}}"#, Digest::of(b"{}"));
        let text = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, layers.join(","));
        store(documents, oci::OCI_MANIFEST, text)
    }

    fn index(documents: &mut Documents, children: &[Descriptor], platforms: &[&str]) -> Descriptor {
        let entry = |(n, child): (usize, &Descriptor)| {
            let platform = platforms.get(n).map_or(String::new(), |arch| {
                format!(r#","platform":{{"os":"linux","architecture":"{arch}"}}"#)
            });
            format!(
                r#"{{"mediaType":"{}","digest":"{}","size":{}{platform}}}"#,
                child.media_type, child.digest, child.size
            )
        };
        let children = children.iter().enumerate().map(entry).collect::<Vec<_>>().join(",");
        store(documents, oci::OCI_INDEX, format!(r#"{{"schemaVersion":2,"manifests":[{children}]}}"#))
    }

    fn store(documents: &mut Documents, media_type: &str, text: String) -> Descriptor {
        let (digest, size) = (Digest::of(text.as_bytes()), text.len() as u64);
        documents.insert(digest, StoredDocument { media_type: media_type.to_owned(), bytes: text.into() });
        Descriptor::new(media_type, digest, size)
    }

    #[test]
    fn inner_documents_come_before_outer_ones_and_shared_content_once() {
        let mut documents = Documents::default();
        let one = manifest(&mut documents, &[(b"a", 1), (b"b", 1)]);
        let two = manifest(&mut documents, &[(b"b", 1), (b"c", 1)]);
        let inner = index(&mut documents, std::slice::from_ref(&two), &[]);
        let outer = index(&mut documents, &[one.clone(), inner.clone()], &[]);
        let closure = documents.closure(&outer, &[]).unwrap();
        let digests = |list: &[Descriptor]| list.iter().map(|d| d.digest).collect::<Vec<_>>();
        assert_eq!(digests(&closure.documents), digests(&[one, two, inner, outer]));
        let contents = [&b"{}"[..], b"a", b"b", b"c"].map(Digest::of);
        assert_eq!(digests(&closure.contents), contents);
    }

    #[test]
    fn only_the_platforms_asked_for_travel() {
        let mut documents = Documents::default();
        let one = manifest(&mut documents, &[(b"a", 1)]);
        let two = manifest(&mut documents, &[(b"b", 1)]);
        let both = index(&mut documents, &[one.clone(), two], &["amd64", "arm64"]);
        let amd64 = documents.closure(&both, &["linux/amd64".parse().unwrap()]).unwrap();
        let digests = amd64.documents.iter().map(|d| d.digest).collect::<Vec<_>>();
        assert_eq!(digests, [one.digest, both.digest]);
        let none = documents.closure(&both, &["windows/amd64".parse().unwrap()]);
        assert!(none.unwrap_err().to_string().contains("linux/amd64, linux/arm64"));
    }

    #[test]
    fn t47_t92_depth_and_contradictions_are_refused() {
        let mut documents = Documents::default();
        let mut root = manifest(&mut documents, &[]);
        for _ in 0..oci::MAX_INDEX_DEPTH {
            root = index(&mut documents, &[root], &[]);
        }
        assert!(documents.closure(&root, &[]).is_ok());
        root = index(&mut documents, &[root], &[]);
        assert!(matches!(documents.closure(&root, &[]), Err(ClosureError::Depth(_))));
        let sizes = manifest(&mut documents, &[(b"a", 1), (b"a", 2)]);
        assert!(matches!(documents.closure(&sizes, &[]), Err(ClosureError::Sizes { .. })));
        let gone = Descriptor::new(oci::OCI_MANIFEST, Digest::of(b"gone"), 4);
        assert!(matches!(documents.closure(&gone, &[]), Err(ClosureError::Missing { .. })));
    }

    #[test]
    fn t47_a_document_that_is_listed_a_thousand_times_is_read_once() {
        let mut documents = Documents::default();
        let mut root = manifest(&mut documents, &[(b"a", 1)]);
        for _ in 0..oci::MAX_INDEX_DEPTH {
            root = index(&mut documents, &vec![root; 1000], &[]);
        }
        let closure = documents.closure(&root, &[]).unwrap();
        assert_eq!((closure.documents.len(), closure.contents.len()), (oci::MAX_INDEX_DEPTH + 1, 2));
    }

    #[test]
    fn content_that_is_a_document_too_is_both() {
        let mut documents = Documents::default();
        let inner = manifest(&mut documents, &[]);
        let text = documents.get(&inner.digest).unwrap().bytes.clone();
        let outer = manifest(&mut documents, &[(&text, text.len() as u64)]);
        let both = index(&mut documents, &[outer, inner.clone()], &[]);
        let closure = documents.closure(&both, &[]).unwrap();
        assert!(closure.documents.iter().any(|d| d.digest == inner.digest));
        assert!(closure.contents.iter().any(|d| d.digest == inner.digest));
    }

    #[test]
    fn the_children_of_an_inner_index_for_other_platforms_stay_behind() {
        let mut documents = Documents::default();
        let (one, two) = (manifest(&mut documents, &[(b"a", 1)]), manifest(&mut documents, &[(b"b", 1)]));
        let inner = index(&mut documents, &[two], &["arm64"]);
        let outer = index(&mut documents, &[one.clone(), inner.clone()], &["amd64"]);
        let closure = documents.closure(&outer, &["linux/amd64".parse().unwrap()]).unwrap();
        let digests = closure.documents.iter().map(|d| d.digest).collect::<Vec<_>>();
        assert_eq!(digests, [one.digest, inner.digest, outer.digest]);
        assert!(documents.closure(&outer, &["windows/amd64".parse().unwrap()]).is_err());
    }
}
