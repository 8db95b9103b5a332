// SPDX-License-Identifier: Apache-2.0
//! Scans a registry and makes a [`Receipt`]: walks every tag of some repositories, verifies every manifest, and queries every
//! blob with its size.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;

use crate::error::chain;
use crate::format;
use crate::oci::closure::{MAX_MANIFESTS, Manifests, StoredManifest};
use crate::oci::digest::Digest;
use crate::oci::reference::{RegistryHost, RepositoryName, Selector, Tag};
use crate::oci::{self, Descriptor, ManifestOrIndex};
use crate::progress::{Activity, Progress};
use crate::redact::bounded;
use crate::registry::{Client, ReadableTags, RegistryError, Repository};
use crate::sync::receipt::{
    MAX_INCOMPLETE, MAX_INCOMPLETE_TEXT, Receipt, ReceiptBlob, ReceiptIncomplete, ReceiptRepository,
    RegistryCapabilities,
};

/// Most tags of one repository that are walked.
pub const MAX_TAGS: usize = 2000;
/// Requests of one repository at once.
const AT_ONCE: usize = 8;

/// The images of a repository that the sets name. They are walked first, and always.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanTargets {
    /// Images by digest, which may have no tag.
    pub digests: BTreeSet<Digest>,
    /// Tags that the sets name.
    pub tags: BTreeSet<Tag>,
}

impl ScanTargets {
    /// Adds what other sets name.
    pub fn extend(&mut self, other: Self) {
        self.digests.extend(other.digests);
        self.tags.extend(other.tags);
    }
}

/// What to scan.
#[derive(Debug, Clone, Default)]
pub struct ScanOptions {
    /// The repositories, and what the sets name of them.
    pub repositories: BTreeMap<RepositoryName, ScanTargets>,
    /// The name of the site in the receipt.
    pub site: Option<String>,
    /// Repositories that are scanned at once.
    pub jobs: usize,
    /// A repository for the probe whether the registry accepts sparse indexes: an index without its images is put there.
    pub probe: Option<RepositoryName>,
}

/// Something that is not, or not completely, in the receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incomplete {
    /// The repository that was scanned.
    pub repository: RepositoryName,
    /// What it is: `tag 1.0`, a digest, or several of them.
    pub what: String,
    /// Why: what is missing, or why it could not be read.
    pub reason: String,
}

/// Scans `registry`. The second result is what is not in the receipt: an unreadable tag does not affect the others.
///
/// # Errors
/// [`RegistryError`]: the registry cannot be reached, or nothing of it can be read.
pub async fn scan_registry(
    client: &Client,
    registry: &RegistryHost,
    options: &ScanOptions,
    now: Timestamp,
    progress: &dyn Progress,
) -> Result<(Receipt, Vec<Incomplete>), RegistryError> {
    progress.begin(Activity::Survey, options.repositories.len() as u64);
    let queries = options.repositories.iter().map(|(name, wanted)| async move {
        let found = scan_repository(client, client.repository(registry, name), wanted).await;
        progress.advance(Activity::Survey, 1);
        found
    });
    let found = stream::iter(queries).buffered(options.jobs.max(1)).collect::<Vec<_>>().await;
    progress.end(Activity::Survey);
    let (mut repositories, mut incomplete, mut sparse) = (Vec::new(), Vec::new(), false);
    let mut failure = None;
    for scan in found {
        let scan = scan?;
        incomplete.extend(scan.unread.found);
        failure = failure.or(scan.unread.failure);
        sparse |= scan.sparse;
        if !scan.repository.manifests.is_empty() {
            repositories.push(scan.repository);
        }
    }
    if let Some(failure) = failure.filter(|_| repositories.is_empty()) {
        return Err(failure);
    }
    let mut sparse_index = sparse.then_some(true);
    if let Some(name) = options.probe.as_ref().filter(|_| !sparse) {
        sparse_index = Some(supports_sparse_index(&client.repository(registry, name)).await?);
    }
    let mut receipt = Receipt {
        abilities: RegistryCapabilities { sparse_index },
        created_at: Timestamp::from_second(now.as_second()).unwrap_or(now),
        format_version: format::FIRST_VERSION,
        incomplete: for_receipt(&incomplete),
        registry: registry.clone(),
        repositories,
        site: options.site.clone(),
        tool: format!("krs {}", env!("CARGO_PKG_VERSION")),
    };
    receipt.format_version = receipt.lowest_version();
    Ok((receipt, incomplete))
}

/// The entries for the receipt, in its order. If there are very many, only the first.
fn for_receipt(incomplete: &[Incomplete]) -> Vec<ReceiptIncomplete> {
    let one = |incomplete: &Incomplete| ReceiptIncomplete {
        name: Some(bounded(&incomplete.what, MAX_INCOMPLETE_TEXT)),
        reason: bounded(&incomplete.reason, MAX_INCOMPLETE_TEXT),
        repository: incomplete.repository.clone(),
    };
    let mut list = incomplete.iter().map(one).collect::<Vec<_>>();
    list.sort_by(|a, b| (&a.repository, &a.name).cmp(&(&b.repository, &b.name)));
    list.truncate(MAX_INCOMPLETE);
    list
}

/// Puts an index of an image that does not exist. It has no tag, so that the registry's garbage collection deletes it.
async fn supports_sparse_index(repository: &Repository) -> Result<bool, RegistryError> {
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
        Err(
            RegistryError::Refused { .. } | RegistryError::Denied { .. } | RegistryError::NotFound { .. },
        ) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What is missing or cannot be read in one repository.
struct UnreadContent<'a> {
    client: &'a Client,
    repository: Repository,
    found: Vec<Incomplete>,
    /// The first failure of the registry.
    failure: Option<RegistryError>,
}

impl UnreadContent<'_> {
    fn add(&mut self, what: impl Into<String>, reason: impl Into<String>) {
        let repository = self.repository.name().clone();
        self.found.push(Incomplete { repository, what: what.into(), reason: reason.into() });
    }

    /// Records what could not be read, unless the failure affects the registry as such.
    async fn failed(&mut self, what: impl Into<String>, error: RegistryError) -> Result<(), RegistryError> {
        use RegistryError as E;
        match error {
            E::Tls { .. }
            | E::Keychain(_)
            | E::Certificate { .. }
            | E::DeniedAddress { .. }
            | E::Realm { .. }
            | E::RateLimited { .. } => return Err(error),
            // Some registries fail for a damaged manifest. If the registry itself is down, the ping fails too.
            E::Unavailable { .. } => self.client.ping(self.repository.registry()).await?,
            _ => {}
        }
        self.add(what, chain(&error));
        self.failure.get_or_insert(error);
        Ok(())
    }
}

struct RepositoryScan<'a> {
    repository: ReceiptRepository,
    unread: UnreadContent<'a>,
    /// Whether there is an index whose images are not all present.
    sparse: bool,
}

async fn scan_repository<'a>(
    client: &'a Client,
    repository: Repository,
    wanted: &ScanTargets,
) -> Result<RepositoryScan<'a>, RegistryError> {
    let mut unread =
        UnreadContent { client, repository: repository.clone(), found: Vec::new(), failure: None };
    let repository = &repository;
    let ReadableTags { tags: listed, invalid, error } = repository.readable_tags().await;
    if let Some(error) = error {
        unread.failed("the list of its tags", error).await?;
    }
    for entry in invalid {
        unread.add(format!("tag {entry}"), "it is listed, but is not a valid tag");
    }
    let (mut names, left) = choose(&wanted.tags, listed.iter().cloned().collect());
    if left > 0 {
        unread.add(format!("{left} more tags"), format!("only {MAX_TAGS} tags of a repository are read"));
    }
    let (mut roots, mut tags) = (Vec::<(Digest, String)>::new(), BTreeMap::<Tag, Digest>::new());
    roots.extend(wanted.digests.iter().map(|digest| (*digest, digest.to_string())));
    let heads = names.drain(..).map(|tag| async move {
        let found = repository.head_manifest(&Selector::Tag(tag.clone())).await;
        (tag, found)
    });
    for (tag, head) in stream::iter(heads).buffered(AT_ONCE).collect::<Vec<_>>().await {
        match head {
            Ok(Some(found)) => {
                roots.push((found.digest, format!("tag {tag}")));
                tags.insert(tag, found.digest);
            }
            Ok(None) if listed.contains(&tag) => {
                unread.add(format!("tag {tag}"), "it is listed, but not delivered as an image");
            }
            Ok(None) => {}
            Err(error) => unread.failed(format!("tag {tag}"), error).await?,
        }
    }
    let mut walk =
        Walk { repository, manifests: Manifests::default(), visited: HashSet::new(), sparse: false };
    let (mut blobs, mut walked) = (BTreeMap::<Digest, u64>::new(), HashSet::new());
    for (digest, name) in roots {
        if !walked.insert(digest) {
            continue;
        }
        match walk.manifest(digest, &mut blobs).await {
            Ok(()) => {}
            Err(WalkError::Incomplete(reason)) => unread.add(name, reason),
            Err(WalkError::Registry(error)) => unread.failed(name, error).await?,
        }
    }
    let queries = blobs.into_iter().map(|(digest, size)| async move {
        (ReceiptBlob { digest, size }, repository.has_blob(&digest, size).await)
    });
    let mut blobs = Vec::new();
    for (blob, answer) in stream::iter(queries).buffered(AT_ONCE).collect::<Vec<_>>().await {
        match answer {
            Ok(true) => blobs.push(blob),
            Ok(false) => unread.add(format!("blob {}", blob.digest), "it is missing"),
            Err(error) => unread.failed(format!("blob {}", blob.digest), error).await?,
        }
    }
    let mut manifests = walk.visited.into_iter().collect::<Vec<_>>();
    manifests.sort_unstable();
    tags.retain(|_, digest| manifests.binary_search(digest).is_ok());
    let name = repository.name().clone();
    let repository = ReceiptRepository { blobs, manifests, name, tags };
    Ok(RepositoryScan { repository, unread, sparse: walk.sparse })
}

/// The tags to read, those of the sets first, and how many are left out. Pure.
fn choose(wanted: &BTreeSet<Tag>, listed: Vec<Tag>) -> (Vec<Tag>, usize) {
    let mut tags = wanted.iter().cloned().collect::<Vec<_>>();
    tags.extend(listed.into_iter().filter(|tag| !wanted.contains(tag)));
    let left = tags.len().saturating_sub(MAX_TAGS.max(wanted.len()));
    tags.truncate(tags.len() - left);
    (tags, left)
}

/// Why a manifest and what it names could not be walked to the end.
enum WalkError {
    /// Something is missing or not acceptable.
    Incomplete(String),
    Registry(RegistryError),
}

struct Walk<'a> {
    repository: &'a Repository,
    manifests: Manifests,
    /// Manifests that are present.
    visited: HashSet<Digest>,
    sparse: bool,
}

impl Walk<'_> {
    /// Walks a manifest and its children. A missing image of an index does not affect the others.
    async fn manifest(&mut self, root: Digest, blobs: &mut BTreeMap<Digest, u64>) -> Result<(), WalkError> {
        let mut wanted = vec![(root, None::<Descriptor>, 0_usize)];
        while let Some((digest, listed, depth)) = wanted.pop() {
            if self.visited.contains(&digest) {
                continue;
            }
            if self.visited.len() >= MAX_MANIFESTS {
                let reason = format!("only {MAX_MANIFESTS} manifests of a repository are read");
                return Err(WalkError::Incomplete(reason));
            }
            let found = match self.repository.manifest(&Selector::Digest(digest)).await {
                Ok(found) => found,
                Err(RegistryError::NotFound { .. }) if listed.is_some() => {
                    self.sparse = true;
                    continue;
                }
                Err(RegistryError::NotFound { .. }) => {
                    return Err(WalkError::Incomplete(format!("manifest {digest} is missing")));
                }
                Err(error) => return Err(WalkError::Registry(error)),
            };
            // The parent's descriptor decides the media type, if there is a parent.
            let media_type = listed.map_or(found.media_type, |listed| listed.media_type);
            let descriptor = Descriptor::new(media_type.clone(), digest, found.bytes.len() as u64);
            self.manifests.insert(digest, StoredManifest { media_type, bytes: found.bytes });
            match self.manifests.read(&descriptor) {
                Ok(ManifestOrIndex::Index(index)) if depth < oci::MAX_INDEX_DEPTH => {
                    // A child of an unknown type is not an image, and a delta never leaves it out.
                    let children =
                        index.manifests.into_iter().filter(|child| oci::is_manifest(&child.media_type));
                    wanted.extend(children.map(|child| (child.digest, Some(child), depth + 1)));
                }
                Ok(ManifestOrIndex::Index(_)) => continue,
                Ok(manifest @ ManifestOrIndex::Manifest(_)) => {
                    blobs.extend(manifest.children().map(|content| (content.digest, content.size)));
                }
                Err(error) => return Err(WalkError::Incomplete(chain(&error))),
            }
            self.visited.insert(digest);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_tags_of_the_sets_come_first_and_are_never_left_out() {
        let tag = |n: usize| format!("t{n:05}").parse::<Tag>().unwrap();
        let wanted = BTreeSet::from([tag(9999), tag(3)]);
        let (tags, left) = choose(&wanted, (0..MAX_TAGS + 5).map(tag).collect());
        assert_eq!((tags.len(), left), (MAX_TAGS, 6));
        assert_eq!(tags[..4], [tag(3), tag(9999), tag(0), tag(1)]);
        let (tags, left) = choose(&wanted, vec![tag(3)]);
        assert_eq!((tags.len(), left), (2, 0));
        let many = (0..MAX_TAGS + 1).map(tag).collect::<BTreeSet<_>>();
        assert_eq!(choose(&many, Vec::new()).0.len(), MAX_TAGS + 1);
    }
}
