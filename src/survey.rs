// SPDX-License-Identifier: Apache-2.0
//! What a registry really has: every tag of some repositories is walked, every manifest fetched and hashed, every blob
//! asked for with its size. The answer is a [`Receipt`].

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use thiserror::Error;

use crate::closure::{Documents, MAX_DOCUMENTS, StoredDocument};
use crate::digest::Digest;
use crate::error::{Classify, ErrorKind};
use crate::format;
use crate::oci::{self, Descriptor, Document};
use crate::progress::{Activity, Progress};
use crate::receipt::{
    Abilities, MAX_INCOMPLETE, MAX_INCOMPLETE_TEXT, Receipt, ReceiptBlob, ReceiptIncomplete,
    ReceiptRepository,
};
use crate::redact::bounded;
use crate::reference::{RegistryHost, RepositoryName, Selector, Tag};
use crate::registry::{Client, RegistryError, Repository};

/// Most tags of one repository that are walked.
pub const MAX_TAGS: usize = 2000;
/// Requests of one repository at once.
const AT_ONCE: usize = 8;

/// Where to look, and for what.
#[derive(Debug, Clone, Default)]
pub struct SurveyOptions {
    /// The repositories, and digests in them that may have no tag.
    pub repositories: BTreeMap<RepositoryName, BTreeSet<Digest>>,
    /// The site, as the receipt is to name it.
    pub site: Option<String>,
    /// Repositories that are looked into at once.
    pub jobs: usize,
    /// A repository that an index without its images is put into, to find out whether the registry takes one.
    pub probe: Option<RepositoryName>,
}

/// Something that is not whole, and so not in the receipt as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// Its repository.
    pub repository: RepositoryName,
    /// The tag or digest that led to it.
    pub name: String,
    /// What is not there.
    pub missing: String,
}

/// Why there is no receipt.
#[derive(Debug, Error)]
pub enum SurveyError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// So many tags that they are not walked.
    #[error("{registry}/{repository} has {count} tags, more than the {MAX_TAGS} that are walked")]
    Tags {
        /// The registry.
        registry: RegistryHost,
        /// The repository.
        repository: RepositoryName,
        /// Its tags.
        count: usize,
    },
}

impl Classify for SurveyError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Registry(error) => error.kind(),
            Self::Tags { .. } => ErrorKind::Other,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.help(),
            Self::Tags { .. } => Some("remove tags that nobody needs any more".to_owned()),
        }
    }
}

/// Looks into `registry`. The second answer is what is not whole there.
///
/// # Errors
/// [`SurveyError`]: it is not known what the registry has.
pub async fn survey(
    client: &Client,
    registry: &RegistryHost,
    options: &SurveyOptions,
    now: Timestamp,
    progress: &dyn Progress,
) -> Result<(Receipt, Vec<Lack>), SurveyError> {
    progress.begin(Activity::Survey, options.repositories.len() as u64);
    let looks = options.repositories.iter().map(|(name, digests)| async move {
        let found = look(&client.repository(registry, name), digests).await;
        progress.advance(Activity::Survey, 1);
        found
    });
    let found = stream::iter(looks).buffered(options.jobs.max(1)).collect::<Vec<_>>().await;
    progress.end(Activity::Survey);
    let (mut repositories, mut lacks, mut sparse) = (Vec::new(), Vec::new(), false);
    for look in found {
        let look = look?;
        lacks.extend(look.lacks);
        sparse |= look.sparse;
        if !look.repository.manifests.is_empty() {
            repositories.push(look.repository);
        }
    }
    let mut sparse_index = sparse.then_some(true);
    if let Some(name) = options.probe.as_ref().filter(|_| !sparse) {
        sparse_index = Some(takes_sparse(&client.repository(registry, name)).await?);
    }
    let mut receipt = Receipt {
        abilities: Abilities { sparse_index },
        created_at: Timestamp::from_second(now.as_second()).unwrap_or(now),
        format_version: format::FIRST_VERSION,
        incomplete: incomplete(&lacks),
        registry: registry.clone(),
        repositories,
        site: options.site.clone(),
        tool: format!("krs {}", env!("CARGO_PKG_VERSION")),
    };
    receipt.format_version = receipt.lowest_version();
    Ok((receipt, lacks))
}

/// As the receipt lists it, in its order; of very many the first.
fn incomplete(lacks: &[Lack]) -> Vec<ReceiptIncomplete> {
    let one = |lack: &Lack| ReceiptIncomplete {
        name: Some(bounded(&lack.name, MAX_INCOMPLETE_TEXT)),
        reason: bounded(&format!("{} is missing", lack.missing), MAX_INCOMPLETE_TEXT),
        repository: lack.repository.clone(),
    };
    let mut list = lacks.iter().map(one).collect::<Vec<_>>();
    list.sort_by(|a, b| (&a.repository, &a.name).cmp(&(&b.repository, &b.name)));
    list.truncate(MAX_INCOMPLETE);
    list
}

/// Puts an index that lists an image which nobody has. It has no tag, so that the registry's garbage collection takes it.
async fn takes_sparse(repository: &Repository) -> Result<bool, RegistryError> {
    let absent = Digest::of(b"an image that nobody has");
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": oci::OCI_INDEX,
        "manifests": [{
            "mediaType": oci::OCI_MANIFEST, "digest": absent, "size": 2,
            "platform": {"os": "unknown", "architecture": "unknown"},
        }],
    });
    let index = index.to_string();
    let selector = Selector::Digest(Digest::of(index.as_bytes()));
    match repository.push_manifest(&selector, oci::OCI_INDEX, index.into()).await {
        Ok(_) => Ok(true),
        Err(RegistryError::Refused { .. } | RegistryError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

struct Look {
    repository: ReceiptRepository,
    lacks: Vec<Lack>,
    /// Whether an index is there some of whose images are not.
    sparse: bool,
}

async fn look(repository: &Repository, digests: &BTreeSet<Digest>) -> Result<Look, SurveyError> {
    let names = repository.tags().await?;
    if names.len() > MAX_TAGS {
        let (registry, count) = (repository.registry().clone(), names.len());
        return Err(SurveyError::Tags { registry, repository: repository.name().clone(), count });
    }
    let mut walk = Walk { repository, documents: Documents::default(), seen: HashSet::new(), sparse: false };
    let (mut roots, mut tags) = (BTreeMap::<Digest, String>::new(), BTreeMap::<Tag, Digest>::new());
    let heads = names.into_iter().map(|tag| async move {
        let found = repository.head_manifest(&Selector::Tag(tag.clone())).await?;
        Ok::<_, RegistryError>(found.map(|found| (tag, found.digest)))
    });
    for head in stream::iter(heads).buffered(AT_ONCE).collect::<Vec<_>>().await {
        if let Some((tag, digest)) = head? {
            roots.entry(digest).or_insert_with(|| tag.to_string());
            tags.insert(tag, digest);
        }
    }
    for digest in digests {
        roots.entry(*digest).or_insert_with(|| digest.to_string());
    }
    let (mut contents, mut lacks) = (BTreeMap::<Digest, u64>::new(), Vec::new());
    let lack = |name: &str, missing: String| Lack {
        repository: repository.name().clone(),
        name: name.to_owned(),
        missing,
    };
    for (digest, name) in &roots {
        lacks.extend(walk.document(*digest, &mut contents).await?.map(|missing| lack(name, missing)));
    }
    let asked = contents.into_iter().map(|(digest, size)| async move {
        Ok::<_, RegistryError>((ReceiptBlob { digest, size }, repository.has_blob(&digest, size).await?))
    });
    let mut blobs = Vec::new();
    for answer in stream::iter(asked).buffered(AT_ONCE).collect::<Vec<_>>().await {
        match answer? {
            (blob, true) => blobs.push(blob),
            (blob, false) => lacks.push(lack(&blob.digest.to_string(), "this blob".to_owned())),
        }
    }
    let mut manifests = walk.seen.into_iter().collect::<Vec<_>>();
    manifests.sort_unstable();
    tags.retain(|_, digest| manifests.binary_search(digest).is_ok());
    let repository = ReceiptRepository { blobs, manifests, name: repository.name().clone(), tags };
    Ok(Look { repository, lacks, sparse: walk.sparse })
}

struct Walk<'a> {
    repository: &'a Repository,
    documents: Documents,
    /// Documents that are there.
    seen: HashSet<Digest>,
    sparse: bool,
}

impl Walk<'_> {
    /// Walks a document and what it names. Answers what of it itself is not there or cannot be used; an image that an index
    /// lists and the registry lacks is no fault of the others.
    async fn document(
        &mut self,
        root: Digest,
        contents: &mut BTreeMap<Digest, u64>,
    ) -> Result<Option<String>, RegistryError> {
        let mut wanted = vec![(root, None::<Descriptor>, 0_usize)];
        while let Some((digest, listed, depth)) = wanted.pop() {
            if self.seen.contains(&digest) || self.seen.len() >= MAX_DOCUMENTS {
                continue;
            }
            let found = match self.repository.manifest(&Selector::Digest(digest)).await {
                Ok(found) => found,
                Err(RegistryError::NotFound { .. }) if listed.is_some() => {
                    self.sparse = true;
                    continue;
                }
                Err(RegistryError::NotFound { .. }) => return Ok(Some(format!("manifest {digest}"))),
                Err(error) => return Err(error),
            };
            // The parent says what it is, where it has one.
            let media_type = listed.map_or(found.media_type, |listed| listed.media_type);
            let descriptor = Descriptor::new(media_type.clone(), digest, found.bytes.len() as u64);
            self.documents.insert(digest, StoredDocument { media_type, bytes: found.bytes });
            match self.documents.read(&descriptor) {
                Ok(Document::Index(index)) if depth < oci::MAX_INDEX_DEPTH => {
                    // What an index lists of an unknown type is no image, and nothing that a delta leaves out.
                    let children =
                        index.manifests.into_iter().filter(|child| oci::is_document(&child.media_type));
                    wanted.extend(children.map(|child| (child.digest, Some(child), depth + 1)));
                }
                Ok(Document::Index(_)) => continue,
                Ok(document @ Document::Manifest(_)) => {
                    contents.extend(document.children().map(|content| (content.digest, content.size)));
                }
                Err(error) => return Ok(Some(error.to_string())),
            }
            self.seen.insert(digest);
        }
        Ok(None)
    }
}
