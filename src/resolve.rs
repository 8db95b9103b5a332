// SPDX-License-Identifier: Apache-2.0
//! What references stand for: each is turned into its closure, read from its registry. Fetches documents only.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use thiserror::Error;

use crate::closure::{Closure, ClosureError, Documents, StoredDocument};
use crate::digest::Digest;
use crate::error::{self, Classify, ErrorKind};
use crate::fetch::{self, FetchError};
use crate::oci::{Descriptor, Document};
use crate::platform::Platform;
use crate::progress::{Activity, Progress};
use crate::reference::{Reference, RegistryHost, RepositoryName, Selector, Tag};
use crate::registry::{Client, RegistryError, Repository};
use crate::set::Merged;

/// Most referrers of one image, counted over all of its documents.
const MAX_REFERRERS: usize = 1000;
/// How far referrers of referrers are followed. A signature of an SBOM is two deep.
const MAX_REFERRER_DEPTH: usize = 8;
/// Suffixes of the tags under which cosign keeps signatures, attestations and SBOMs of a digest.
const COSIGN_SUFFIXES: [&str; 3] = ["sig", "att", "sbom"];

/// How to resolve.
#[derive(Debug, Clone)]
pub struct ResolveOptions {
    /// How many images at once.
    pub jobs: usize,
    /// What travels of that which refers to an image.
    pub referrers: Referrers,
}

/// Which signatures, SBOMs and attestations travel with their image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Referrers {
    /// All of them.
    #[default]
    All,
    /// None; registries are not asked for them.
    None,
    /// Those of these artifact types. One without an artifact type, as older versions of cosign write them, counts by
    /// the media types of its config and layers.
    Types(Vec<String>),
}

impl Referrers {
    fn chooses(&self, document: &Document) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Types(types) => {
                let wanted = |found: &str| types.iter().any(|asked| asked.eq_ignore_ascii_case(found));
                match document.artifact_type() {
                    Some(own) => wanted(own),
                    None => document.children().any(|child| wanted(&child.media_type)),
                }
            }
        }
    }
}

/// What refers to images and does not travel, because [`ResolveOptions::referrers`] says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftBehind {
    /// Registries were not asked, so that nobody knows what there is.
    pub unasked: bool,
    /// By artifact type, else by the media type of the first layer. What refers to one of these alone is not looked
    /// for.
    pub by_type: BTreeMap<String, BTreeSet<Digest>>,
}

impl LeftBehind {
    fn add(&mut self, digest: Digest, document: &Document) {
        // The config comes first and says the least.
        let content = || document.children().nth(1).map(|layer| layer.media_type.as_str());
        let kind = document.artifact_type().or_else(content).unwrap_or("unknown");
        self.by_type.entry(printable(kind)).or_default().insert(digest);
    }

    fn extend(&mut self, other: Self) {
        for (kind, digests) in other.by_type {
            self.by_type.entry(kind).or_default().extend(digests);
        }
    }
}

/// Where a blob can be fetched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The registry.
    pub registry: RegistryHost,
    /// The repository in it.
    pub repository: RepositoryName,
}

/// An image whose every part is known by digest and size.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// The reference.
    pub reference: Reference,
    /// Platforms asked for; empty: all.
    pub platforms: Vec<Platform>,
    /// The document that the reference stands for.
    pub root: Descriptor,
    /// Kind of artifact, where it is not a container image.
    pub artifact_type: Option<String>,
    /// What it consists of.
    pub closure: Closure,
    /// What refers to it, in the order in which it was found.
    pub referrers: Vec<ResolvedReferrer>,
    /// How many referrers could not be fetched; a look-up that failed counts as one.
    pub missing_referrers: u32,
}

/// Something that refers to an image or to a part of it.
#[derive(Debug, Clone)]
pub struct ResolvedReferrer {
    /// What it refers to.
    pub subject: Digest,
    /// Its document.
    pub root: Descriptor,
    /// Kind of artifact.
    pub artifact_type: Option<String>,
    /// The tag that names it, where only a tag does.
    pub tag: Option<Tag>,
    /// What it consists of.
    pub closure: Closure,
}

/// An image that could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingImage {
    /// The reference.
    pub reference: Reference,
    /// Platforms asked for; empty: all.
    pub platforms: Vec<Platform>,
    /// Why, in one line.
    pub reason: String,
}

/// All images, with their documents.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// In the order of the merged sets.
    pub images: Vec<ResolvedImage>,
    /// Images that a bundle is made without.
    pub missing: Vec<MissingImage>,
    /// Every document of every image.
    pub documents: Documents,
    /// What refers to the images and does not travel.
    pub left_behind: LeftBehind,
}

/// Why one image could not be resolved.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The registry did not give it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// It is not acceptable.
    #[error(transparent)]
    Content(#[from] ClosureError),
    /// It needs a blob that could not be fetched for an image that is named before.
    #[error("it shares {0}, which could not be fetched, with another image")]
    Shared(Digest),
    /// So many referrers that something is wrong.
    #[error("more than {MAX_REFERRERS} signatures, SBOMs and attestations refer to it")]
    Referrers,
    /// Such a long chain of referrers that something is wrong.
    #[error("signatures, SBOMs and attestations refer to each other more than {MAX_REFERRER_DEPTH} deep")]
    ReferrerDepth,
}

impl From<FetchError> for ImageError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Absent { source, .. } | FetchError::Registry(source) => Self::Registry(source),
            FetchError::Closure(error) => Self::Content(error),
        }
    }
}

impl Classify for ImageError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Registry(e) => e.kind(),
            Self::Content(_) => ErrorKind::Corrupt,
            // The image that is named before says of which class the failure is.
            Self::Shared(_) => ErrorKind::Unavailable,
            Self::Referrers | Self::ReferrerDepth => ErrorKind::Other,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Registry(e) => e.help(),
            Self::Content(ClosureError::NoPlatform { .. }) => {
                Some("ask for a platform that the index lists, or leave `platforms` out".to_owned())
            }
            Self::Content(_) => Some("build and push the image again".to_owned()),
            Self::Shared(_) => None,
            Self::Referrers | Self::ReferrerDepth => Some(
                "leave them behind with --referrers none, or name the types that are to travel".to_owned(),
            ),
        }
    }
}

/// The images that failed, at least one.
#[derive(Debug, Error)]
#[error("{} failed:\n{}", count(.0.len()), list(.0))]
pub struct ImageErrors(pub Vec<(Reference, ImageError)>);

fn count(images: usize) -> String {
    if images == 1 { "1 image".to_owned() } else { format!("{images} images") }
}

fn list(errors: &[(Reference, ImageError)]) -> String {
    let line =
        |(reference, error): &(Reference, ImageError)| format!("  {reference}: {}", error::chain(error));
    errors.iter().map(line).collect::<Vec<_>>().join("\n")
}

impl Classify for ImageErrors {
    fn kind(&self) -> ErrorKind {
        error::kind_of_all(self.0.iter().map(|(_, error)| error))
    }

    fn help(&self) -> Option<String> {
        error::help_of_all(self.0.iter().map(|(_, error)| error))
    }
}

impl Resolved {
    /// Goes on without the images that failed; they count as missing.
    pub fn without(&mut self, failed: &ImageErrors) {
        let reasons = failed.0.iter().map(|(reference, error)| (reference, error::chain(error)));
        let reasons = reasons.collect::<HashMap<_, _>>();
        for image in self.images.extract_if(.., |image| reasons.contains_key(&image.reference)) {
            let reason = reasons.get(&image.reference).cloned().unwrap_or_default();
            self.missing.push(MissingImage {
                reference: image.reference,
                platforms: image.platforms,
                reason,
            });
        }
    }
}

/// Resolves every image of `merged`. All are tried, also after one has failed.
///
/// # Errors
/// [`ImageErrors`] with every image that failed.
pub async fn resolve(
    client: &Client,
    merged: &Merged,
    options: ResolveOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Resolved, ImageErrors> {
    let (resolved, errors) = resolve_most(client, merged, options, progress).await;
    if errors.0.is_empty() { Ok(resolved) } else { Err(errors) }
}

/// Resolves as many images of `merged` as it can; those that failed count as missing, and are the second answer.
pub async fn resolve_most(
    client: &Client,
    merged: &Merged,
    options: ResolveOptions,
    progress: &Arc<dyn Progress>,
) -> (Resolved, ImageErrors) {
    progress.begin(Activity::Resolve, merged.images.len() as u64);
    let choice = &options.referrers;
    let tasks = merged.images.iter().map(|image| async move {
        let repository = client.repository(&image.reference.registry, &image.reference.repository);
        let result = resolve_image(&repository, &image.reference, &image.platforms, choice).await;
        progress.advance(Activity::Resolve, 1);
        result.map_err(|error| (image, error))
    });
    // Collected by place, so that the result does not depend on who answered first.
    let results = stream::iter(tasks).buffered(options.jobs.max(1)).collect::<Vec<_>>().await;
    progress.end(Activity::Resolve);
    let (mut resolved, mut errors) = (Resolved::default(), Vec::new());
    resolved.left_behind.unasked = options.referrers == Referrers::None;
    for result in results {
        match result {
            Ok((image, documents, left_behind)) => {
                resolved.images.push(image);
                resolved.documents.extend(documents);
                resolved.left_behind.extend(left_behind);
            }
            Err((image, error)) => {
                let (reference, platforms) = (image.reference.clone(), image.platforms.clone());
                let reason = error::chain(&error);
                resolved.missing.push(MissingImage { reference: reference.clone(), platforms, reason });
                errors.push((reference, error));
            }
        }
    }
    (resolved, ImageErrors(errors))
}

async fn resolve_image(
    repository: &Repository,
    reference: &Reference,
    platforms: &[Platform],
    choice: &Referrers,
) -> Result<(ResolvedImage, Documents, LeftBehind), ImageError> {
    let selector = reference.selector().unwrap_or_else(|| {
        // A parsed reference always has one of them; the digest of nothing is in no registry.
        Selector::Digest(Digest::of(b""))
    });
    let mut documents = Documents::default();
    let top = repository.manifest(&selector).await?;
    let root = Descriptor::new(top.media_type.clone(), top.digest, top.bytes.len() as u64);
    documents.insert(top.digest, StoredDocument { media_type: top.media_type, bytes: top.bytes });
    let closure = fetch::closure(repository, &root, platforms, &mut documents).await?;
    let artifact_type = documents.read(&root)?.artifact_type().map(printable);
    let mut image = ResolvedImage {
        reference: reference.clone(),
        platforms: platforms.to_vec(),
        root,
        artifact_type,
        closure,
        referrers: Vec::new(),
        missing_referrers: 0,
    };
    let mut left = LeftBehind::default();
    if *choice != Referrers::None {
        let found = find_chosen(repository, &image.closure, choice, &mut documents, &mut left).await?;
        image.referrers = found;
    }
    Ok((image, documents, left))
}

fn printable(text: &str) -> String {
    crate::redact::printable(text, 200)
}

/// Finds what refers to any document of an image, and to that in turn; fetches their documents.
///
/// # Errors
/// [`ImageError`].
pub async fn find_referrers(
    repository: &Repository,
    of: &Closure,
    documents: &mut Documents,
) -> Result<Vec<ResolvedReferrer>, ImageError> {
    find_chosen(repository, of, &Referrers::All, documents, &mut LeftBehind::default()).await
}

/// [`find_referrers`], without those that are not chosen and what refers to them; they are noted in `left`.
async fn find_chosen(
    repository: &Repository,
    of: &Closure,
    choice: &Referrers,
    documents: &mut Documents,
    left: &mut LeftBehind,
) -> Result<Vec<ResolvedReferrer>, ImageError> {
    let mut out = Vec::<ResolvedReferrer>::new();
    let mut subjects = of.documents.iter().rev().map(|document| document.digest).collect::<Vec<_>>();
    for depth in 0.. {
        if subjects.is_empty() {
            break;
        }
        if depth == MAX_REFERRER_DEPTH {
            return Err(ImageError::ReferrerDepth);
        }
        let queries = subjects.iter().map(|subject| referrers_of(repository, *subject));
        let mut next = Vec::new();
        for answers in futures::future::join_all(queries).await {
            for (subject, root, tag) in answers? {
                if let Some(known) = out.iter_mut().find(|known| known.root.digest == root.digest) {
                    // Found by the API first: the tag has to travel too.
                    known.tag = known.tag.take().or(tag);
                    continue;
                }
                if of.documents.iter().any(|document| document.digest == root.digest) {
                    continue;
                }
                if out.len() == MAX_REFERRERS {
                    return Err(ImageError::Referrers);
                }
                let closure = fetch::closure(repository, &root, &[], documents).await?;
                let document = documents.read(&root)?;
                // What only a list says to be a referrer, and does not say so itself, is none.
                if tag.is_none() && document.subject().map(|own| own.digest) != Some(subject) {
                    continue;
                }
                if !choice.chooses(&document) {
                    left.add(root.digest, &document);
                    continue;
                }
                let artifact_type = document.artifact_type().map(printable);
                next.extend(closure.documents.iter().map(|document| document.digest));
                out.push(ResolvedReferrer { subject, root, artifact_type, tag, closure });
            }
        }
        subjects = next;
    }
    // Whatever order the registry answers in, the same referrers give the same bundle.
    out.sort_by(|a, b| (a.subject, &a.tag, a.root.digest).cmp(&(b.subject, &b.tag, b.root.digest)));
    Ok(out)
}

async fn referrers_of(
    repository: &Repository,
    subject: Digest,
) -> Result<Vec<(Digest, Descriptor, Option<Tag>)>, ImageError> {
    let mut out = Vec::new();
    for descriptor in repository.referrers(&subject).await? {
        let descriptor = Descriptor::new(descriptor.media_type, descriptor.digest, descriptor.size);
        out.push((subject, descriptor, None));
    }
    let tags =
        COSIGN_SUFFIXES.iter().filter_map(|suffix| format!("sha256-{}.{suffix}", subject.hex()).parse().ok());
    let heads = tags.map(|tag: Tag| async move {
        let descriptor = repository.head_manifest(&Selector::Tag(tag.clone())).await?;
        Ok::<_, ImageError>((tag, descriptor))
    });
    for head in futures::future::join_all(heads).await {
        if let (tag, Some(descriptor)) = head? {
            let descriptor = Descriptor::new(descriptor.media_type, descriptor.digest, descriptor.size);
            out.push((subject, descriptor, Some(tag)));
        }
    }
    Ok(out)
}
