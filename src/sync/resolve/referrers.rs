// SPDX-License-Identifier: Apache-2.0
//! Finds the referrers of an image, and their referrers: signatures, SBOMs, attestations. They are optional: a failure of one
//! is recorded and does not affect the others.

use std::collections::{HashMap, HashSet};

use futures::stream::{self, StreamExt as _};

use super::choice::{LeftBehind, Referrers, printable};
use super::error::ImageError;
use super::lookup::{Candidate, LookUp, Role, Subject};
use super::resolved::{MissingReferrer, ResolvedReferrer};
use crate::error::{self, Classify as _, ErrorKind};
use crate::oci::Descriptor;
use crate::oci::closure::{Closure, MAX_MANIFEST_BYTES, Manifests, StoredManifest};
use crate::oci::digest::Digest;
use crate::oci::reference::{Selector, Tag};
use crate::registry::Repository;
use crate::sync::fetch;
use crate::sync::source::{ImageSource, Source as _};

/// Most referrers of one image, counted over all of its manifests.
const MAX_REFERRERS: usize = 1000;
/// How far referrers of referrers are followed. A signature of an SBOM is two deep.
const MAX_REFERRER_DEPTH: usize = 8;
/// Referrers of one image that are fetched at once.
const FETCHES: usize = 8;

/// The referrers of an image.
#[derive(Debug, Default)]
pub struct FoundReferrers {
    /// Sorted, so that the bundle does not depend on the order of the registry's response.
    pub referrers: Vec<ResolvedReferrer>,
    /// Referrers that cannot be fetched.
    pub missing: Vec<MissingReferrer>,
    /// Referrers that were not chosen.
    pub left_behind: LeftBehind,
}

/// Finds the referrers of all manifests of an image, and their referrers, and fetches their manifests.
pub async fn find_referrers(
    repository: &Repository,
    of: &Closure,
    manifests: &mut Manifests,
) -> FoundReferrers {
    let source = ImageSource::Registry(repository.clone());
    find(&LookUp::new(source, &Referrers::All), of, None, &Referrers::All, manifests).await
}

/// [`find_referrers`] without those that are not chosen and their referrers. `tag` is the tag by which the image was
/// read.
pub(super) async fn find(
    look_up: &LookUp,
    of: &Closure,
    tag: Option<&Tag>,
    choice: &Referrers,
    manifests: &mut Manifests,
) -> FoundReferrers {
    let parts = of.manifests.iter().map(|manifest| manifest.digest).collect();
    let mut search =
        Search { look_up, choice, parts, tried: HashSet::new(), bytes: 0, out: FoundReferrers::default() };
    // The outermost manifest is the last one. The reference names it.
    let roles = std::iter::once(Role::Image).chain(std::iter::repeat(Role::Part));
    let subjects = of.manifests.iter().rev().zip(roles).map(|(manifest, role)| {
        let role = if manifest.is_attestation() { Role::Attestation } else { role };
        Subject { digest: manifest.digest, role }
    });
    let mut subjects = subjects.collect::<Vec<_>>();
    for depth in 0..=MAX_REFERRER_DEPTH {
        if subjects.is_empty() {
            break;
        }
        let answers = look_up.query(&subjects, tag, choice).await;
        search.out.missing.extend(answers.missing);
        let new = search.new_ones(answers.candidates);
        if depth == MAX_REFERRER_DEPTH {
            let reason = format!("referrers refer to each other more than {MAX_REFERRER_DEPTH} deep");
            new.iter().for_each(|candidate| search.lose(candidate, reason.clone(), ErrorKind::Other));
            break;
        }
        let queried = subjects.iter().map(|subject| subject.digest).collect::<HashSet<_>>();
        subjects = search.fetch(new, &queried, manifests).await;
    }
    let mut out = search.out;
    out.referrers.sort_by(|a, b| (a.subject, &a.tag, a.root.digest).cmp(&(b.subject, &b.tag, b.root.digest)));
    out
}

struct Search<'a> {
    look_up: &'a LookUp,
    choice: &'a Referrers,
    /// Manifests of the image.
    parts: HashSet<Digest>,
    /// The candidates that were fetched or failed, and whether a tag named them.
    tried: HashSet<(Digest, bool)>,
    /// Bytes of all manifests of referrers.
    bytes: u64,
    out: FoundReferrers,
}

impl Search<'_> {
    /// Those that are not known yet, each once.
    fn new_ones(&mut self, candidates: Vec<Candidate>) -> Vec<Candidate> {
        let mut new = Vec::<Candidate>::new();
        let mut positions = HashMap::<Digest, usize>::new();
        for candidate in candidates {
            let digest = candidate.root.digest;
            if let Some(known) = self.out.referrers.iter_mut().find(|known| known.root.digest == digest) {
                // It was found by a list first, but the tag has to be bundled too.
                known.tag = known.tag.take().or(candidate.tag);
            } else if let Some(known) = positions.get(&digest).and_then(|position| new.get_mut(*position)) {
                known.tag = known.tag.take().or(candidate.tag);
            } else if !self.parts.contains(&digest) && self.tried.insert((digest, candidate.tag.is_some())) {
                if self.out.referrers.len() + new.len() < MAX_REFERRERS {
                    positions.insert(digest, new.len());
                    new.push(candidate);
                } else {
                    let reason = format!("more than {MAX_REFERRERS} referrers belong to the image");
                    self.lose(&candidate, reason, ErrorKind::Other);
                }
            }
        }
        new
    }

    /// Fetches candidates and returns the new subjects. `queried` are the subjects that the candidates were found for.
    async fn fetch(
        &mut self,
        candidates: Vec<Candidate>,
        queried: &HashSet<Digest>,
        manifests: &mut Manifests,
    ) -> Vec<Subject> {
        let source = &self.look_up.referrers();
        let fetches = candidates.into_iter().map(|candidate| async move {
            let fetched = fetch_one(source, &candidate).await;
            (candidate, fetched)
        });
        let mut fetches = stream::iter(fetches).buffered(FETCHES);
        let mut subjects = Vec::new();
        while let Some((candidate, fetched)) = fetches.next().await {
            let fetched = fetched.and_then(|(root, closure, own)| Ok((own.read(&root)?, root, closure, own)));
            let (manifest, root, closure, own) = match fetched {
                Ok(fetched) => fetched,
                Err(error) => {
                    self.lose(&candidate, error::chain(&error), error.kind());
                    continue;
                }
            };
            let size = closure.manifests.iter().map(|manifest| manifest.size).sum::<u64>();
            if self.bytes + size > MAX_MANIFEST_BYTES {
                let reason =
                    format!("the manifests of its referrers are larger than {MAX_MANIFEST_BYTES} bytes");
                self.lose(&candidate, reason, ErrorKind::Other);
                continue;
            }
            let subject = match (&candidate.tag, manifest.subject()) {
                (Some(_), _) => candidate.subject,
                (None, Some(subject)) if queried.contains(&subject.digest) => subject.digest,
                // A candidate without that subject is not a referrer, even if a list says so.
                (None, _) => continue,
            };
            if !self.choice.chooses(&manifest) {
                self.out.left_behind.add(root.digest, &manifest);
                continue;
            }
            self.bytes += size;
            manifests.extend(own);
            let artifact_type = manifest.artifact_type().map(printable);
            let new = closure.manifests.iter().map(|d| Subject { digest: d.digest, role: Role::Part });
            subjects.extend(new);
            self.out.referrers.push(ResolvedReferrer {
                subject,
                root,
                artifact_type,
                tag: candidate.tag,
                closure,
            });
        }
        subjects
    }

    fn lose(&mut self, candidate: &Candidate, reason: String, kind: ErrorKind) {
        let Candidate { subject, root, tag, .. } = candidate;
        if let Some(artifact_type) =
            root.artifact_type.as_deref().filter(|artifact_type| self.choice.excludes(Some(artifact_type)))
        {
            self.out.left_behind.add_type(root.digest, artifact_type);
            return;
        }
        self.out.missing.push(MissingReferrer {
            subject: *subject,
            digest: Some(root.digest),
            tag: tag.clone(),
            artifact_type: root.artifact_type.clone(),
            reason,
            kind,
        });
    }
}

/// The manifests of a candidate. Its digest names it; the size in a list is not trusted.
async fn fetch_one(
    source: &ImageSource,
    candidate: &Candidate,
) -> Result<(Descriptor, Closure, Manifests), ImageError> {
    let Descriptor { digest, media_type, .. } = &candidate.root;
    let bytes = match &candidate.bytes {
        Some(bytes) => bytes.clone(),
        None => source.manifest(&Selector::Digest(*digest)).await?.bytes,
    };
    let root = Descriptor::new(media_type.clone(), *digest, bytes.len() as u64);
    let mut manifests = Manifests::default();
    manifests.insert(*digest, StoredManifest { media_type: media_type.clone(), bytes });
    let closure = fetch::fetch_closure(source, &root, &[], &mut manifests).await?;
    Ok((root, closure, manifests))
}
