// SPDX-License-Identifier: Apache-2.0
//! Queries a registry for the referrers of a manifest: by the referrers API, by the referrers tag, and by the tags of cosign.
//! A failed query is recorded and does not affect the others. A local source lists referrers without queries.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use tokio::sync::OnceCell;

use super::choice::Referrers;
use super::resolved::MissingReferrer;
use crate::error::{self, Classify, ErrorKind};
use crate::local::LocalSource;
use crate::oci::Descriptor;
use crate::oci::digest::Digest;
use crate::oci::reference::{Selector, Tag};
use crate::registry::{ReferrerList, ReferrersApi, ReferrersTag, RegistryError, Repository, referrers_tag};
use crate::sync::source::ImageSource;

/// Suffixes of the tags that cosign gives to signatures, attestations and SBOMs of a digest.
const COSIGN_SUFFIXES: [&str; 3] = ["sig", "att", "sbom"];
/// Manifests of one image that are queried at once.
const LOOK_UPS: usize = 32;

/// A manifest whose referrers are looked up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject {
    pub(super) digest: Digest,
    pub(super) role: Role,
}

/// The role of a subject, which decides how many queries it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The manifest that the reference names: this is usually signed.
    Image,
    /// A child of it, or a referrer.
    Part,
    /// An attestation of BuildKit about a child. It is not signed or attested itself.
    Attestation,
}

/// A possible referrer of a subject, as a registry lists it.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) subject: Digest,
    /// From a list or from HEAD; its size is not trusted.
    pub(super) root: Descriptor,
    /// The tag that names it, if one does.
    pub(super) tag: Option<Tag>,
    /// Its bytes, if they came with the response.
    pub(super) bytes: Option<Bytes>,
}

/// Referrers that were found, and those that could not be read.
#[derive(Debug, Default)]
pub(super) struct LookUpResults {
    pub(super) candidates: Vec<Candidate>,
    pub(super) missing: Vec<MissingReferrer>,
}

impl LookUpResults {
    fn failed(&mut self, subject: Digest, tag: Option<Tag>, error: &RegistryError) {
        let (reason, kind) = (error::chain(error), error.kind());
        self.missing.push(MissingReferrer { subject, digest: None, tag, artifact_type: None, reason, kind });
    }

    fn list(&mut self, subject: Digest, list: ReferrerList, choice: &Referrers) {
        let candidate = |root| Candidate { subject, root, tag: None, bytes: None };
        self.candidates.extend(list.found.into_iter().map(candidate));
        for entry in list.unusable {
            if !choice.excludes(entry.artifact_type.as_deref()) {
                self.missing.push(MissingReferrer {
                    subject,
                    digest: None,
                    tag: None,
                    artifact_type: entry.artifact_type,
                    reason: entry.reason,
                    kind: ErrorKind::Corrupt,
                });
            }
        }
        if let Some(error) = list.cut_off {
            self.failed(subject, None, &error);
        }
    }

    fn extend(&mut self, other: Self) {
        self.candidates.extend(other.candidates);
        self.missing.extend(other.missing);
    }
}

/// Look-ups where images are read.
#[derive(Debug)]
pub(super) enum LookUp {
    Registry(Box<RepositoryLookUp>),
    Local(Arc<LocalSource>),
}

impl LookUp {
    pub(super) fn new(source: ImageSource, choice: &Referrers) -> Self {
        match source {
            ImageSource::Registry(repository) => {
                Self::Registry(Box::new(RepositoryLookUp::new(repository, choice)))
            }
            ImageSource::Local(local) => Self::Local(local),
        }
    }

    /// Where the image itself is read.
    pub(super) fn source(&self) -> ImageSource {
        match self {
            Self::Registry(look_up) => ImageSource::Registry(look_up.repository.clone()),
            Self::Local(local) => ImageSource::Local(Arc::clone(local)),
        }
    }

    /// Where its referrers are read.
    pub(super) fn referrers(&self) -> ImageSource {
        match self {
            Self::Registry(look_up) => ImageSource::Registry(look_up.referrers.clone()),
            Self::Local(local) => ImageSource::Local(Arc::clone(local)),
        }
    }

    /// Queries the referrers of `subjects`. `image_tag` is the tag by which the image was read.
    pub(super) async fn query(
        &self,
        subjects: &[Subject],
        image_tag: Option<&Tag>,
        choice: &Referrers,
    ) -> LookUpResults {
        match self {
            Self::Registry(look_up) => look_up.query(subjects, image_tag, choice).await,
            Self::Local(local) => {
                let of = |subject: &Subject| {
                    let subject = subject.digest;
                    let found = local.referrers(&subject).into_iter();
                    found.map(move |found| Candidate {
                        subject,
                        root: found.root,
                        tag: found.tag,
                        bytes: None,
                    })
                };
                LookUpResults {
                    candidates: subjects.iter().flat_map(of).collect(),
                    ..LookUpResults::default()
                }
            }
        }
    }
}

/// Look-ups in one repository. What they detect about its registry is used for all images of a run.
#[derive(Debug)]
pub(super) struct RepositoryLookUp {
    repository: Repository,
    /// The same repository for requests about referrers: optional, unless referrers are required.
    referrers: Repository,
    /// The registry has no referrers API.
    no_api: AtomicBool,
    /// The referrers API was not available in spite of retries: optional queries are not retried any more.
    api_failed: AtomicBool,
    /// All tags of the repository, if a few requests list them.
    tags: OnceCell<Option<HashSet<Tag>>>,
}

impl RepositoryLookUp {
    fn new(repository: Repository, choice: &Referrers) -> Self {
        let required = *choice == Referrers::Required;
        let referrers = if required { repository.clone() } else { repository.optional() };
        Self {
            repository,
            referrers,
            no_api: AtomicBool::new(false),
            api_failed: AtomicBool::new(false),
            tags: OnceCell::new(),
        }
    }

    async fn query(
        &self,
        subjects: &[Subject],
        image_tag: Option<&Tag>,
        choice: &Referrers,
    ) -> LookUpResults {
        let (images, parts): (Vec<_>, Vec<_>) =
            subjects.iter().copied().partition(|subject| subject.role == Role::Image);
        let mut answers = LookUpResults::default();
        // The image first: its response shows whether there is an API for the parts.
        for image in images {
            answers.extend(self.image(image.digest, image_tag, choice).await);
        }
        if parts.is_empty() {
            return answers;
        }
        let tags = self.tags(image_tag).await;
        let queries = parts.into_iter().map(|part| self.part(part, tags, image_tag, choice));
        let found = stream::iter(queries).buffered(LOOK_UPS).collect::<Vec<_>>().await;
        found.into_iter().for_each(|found| answers.extend(found));
        answers
    }

    /// All tags of the repository, if they are known. A list without the tag by which the image was read is not
    /// complete: some caches list only the tags that they have cached.
    async fn tags(&self, image_tag: Option<&Tag>) -> Option<&HashSet<Tag>> {
        let tags = self.tags.get_or_init(|| self.referrers.all_tags()).await.as_ref()?;
        image_tag.is_none_or(|tag| tags.contains(tag)).then_some(tags)
    }

    async fn image(&self, subject: Digest, image_tag: Option<&Tag>, choice: &Referrers) -> LookUpResults {
        let lists = async {
            let mut answers = LookUpResults::default();
            if self.api(subject, choice, &mut answers).await {
                answers.extend(self.list_by_tag(subject, image_tag, choice).await);
            }
            answers
        };
        let heads = cosign_tags(&subject).map(|tag| self.head(subject, tag, image_tag));
        let (mut answers, heads) = futures::join!(lists, futures::future::join_all(heads));
        heads.into_iter().for_each(|found| answers.extend(found));
        answers
    }

    async fn part(
        &self,
        Subject { digest, role }: Subject,
        tags: Option<&HashSet<Tag>>,
        image_tag: Option<&Tag>,
        choice: &Referrers,
    ) -> LookUpResults {
        let mut answers = LookUpResults::default();
        let attestation = role == Role::Attestation;
        let list_by_tag = if attestation {
            self.no_api.load(Ordering::Relaxed)
        } else {
            self.api(digest, choice, &mut answers).await
        };
        match tags {
            Some(tags) => {
                if list_by_tag && referrers_tag(&digest).is_some_and(|tag| tags.contains(&tag)) {
                    answers.extend(self.list_by_tag(digest, image_tag, choice).await);
                }
                for tag in cosign_tags(&digest).filter(|tag| tags.contains(tag)) {
                    answers.extend(self.get(digest, tag, true).await);
                }
            }
            None if attestation => {}
            None => {
                if list_by_tag {
                    answers.extend(self.list_by_tag(digest, image_tag, choice).await);
                }
                let heads = cosign_tags(&digest).map(|tag| self.head(digest, tag, image_tag));
                let found = futures::future::join_all(heads).await;
                found.into_iter().for_each(|found| answers.extend(found));
            }
        }
        answers
    }

    /// Queries the referrers API. Returns whether the referrers tag has to be queried too.
    async fn api(&self, subject: Digest, choice: &Referrers, answers: &mut LookUpResults) -> bool {
        if self.no_api.load(Ordering::Relaxed) {
            return true;
        }
        let failed = self.api_failed.load(Ordering::Relaxed);
        let repository = if failed { &self.referrers.optional_once() } else { &self.referrers };
        match repository.referrers_by_api(&subject).await {
            Ok(ReferrersApi::Listed(list)) => {
                answers.list(subject, list, choice);
                false
            }
            Ok(ReferrersApi::Unsupported) => {
                self.no_api.store(true, Ordering::Relaxed);
                true
            }
            Ok(ReferrersApi::UnknownManifest) => true,
            Err(error) => {
                answers.failed(subject, None, &error);
                // A refusal or a web page may come from a rule for paths, and not from the API.
                let is_rule = matches!(error, RegistryError::Intercepted { .. });
                let unavailable = !is_rule && error.kind() == ErrorKind::Unavailable;
                self.api_failed.fetch_or(unavailable, Ordering::Relaxed);
                !unavailable
            }
        }
    }

    async fn list_by_tag(
        &self,
        subject: Digest,
        image_tag: Option<&Tag>,
        choice: &Referrers,
    ) -> LookUpResults {
        let mut answers = LookUpResults::default();
        let list = match self.referrers.referrers_tag(&subject).await {
            Ok(ReferrersTag::List(bytes)) => self.referrers.referrer_list(&subject, &bytes),
            // No referrers (distribution-spec 1.1, "Listing Referrers").
            Ok(ReferrersTag::Absent | ReferrersTag::NotAList(_)) => return answers,
            Err(error) => Err(error),
        };
        match (list, referrers_tag(&subject)) {
            (Ok(list), _) => answers.list(subject, list, choice),
            (Err(_), Some(tag)) if self.is_absent(&tag, image_tag).await => {}
            (Err(error), tag) => answers.failed(subject, tag, &error),
        }
        answers
    }

    /// Whether the list of tags is known to be without `tag`. Some registries answer 401 or 403 for absent tags.
    async fn is_absent(&self, tag: &Tag, image_tag: Option<&Tag>) -> bool {
        self.tags(image_tag).await.is_some_and(|tags| !tags.contains(tag))
    }

    /// What a tag names, by HEAD, which does not count towards pull limits.
    async fn head(&self, subject: Digest, tag: Tag, image_tag: Option<&Tag>) -> LookUpResults {
        let mut answers = LookUpResults::default();
        match self.referrers.head_manifest(&Selector::Tag(tag.clone())).await {
            Ok(None) => {}
            Ok(Some(root)) => {
                answers.candidates.push(Candidate { subject, root, tag: Some(tag), bytes: None });
            }
            Err(_) if self.is_absent(&tag, image_tag).await => {}
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                answers.failed(subject, Some(tag), &error);
            }
            // HEAD only saves work.
            Err(_) => return self.get(subject, tag, false).await,
        }
        answers
    }

    async fn get(&self, subject: Digest, tag: Tag, listed: bool) -> LookUpResults {
        let mut answers = LookUpResults::default();
        match self.referrers.manifest(&Selector::Tag(tag.clone())).await {
            Ok(found) => {
                let root = Descriptor::new(found.media_type, found.digest, found.bytes.len() as u64);
                let bytes = Some(found.bytes);
                answers.candidates.push(Candidate { subject, root, tag: Some(tag), bytes });
            }
            Err(RegistryError::NotFound { .. }) if !listed => {}
            Err(error) => answers.failed(subject, Some(tag), &error),
        }
        answers
    }
}

fn cosign_tags(subject: &Digest) -> impl Iterator<Item = Tag> + use<> {
    let hex = subject.hex();
    COSIGN_SUFFIXES.iter().filter_map(move |suffix| format!("sha256-{hex}.{suffix}").parse().ok())
}
