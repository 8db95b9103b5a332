// SPDX-License-Identifier: Apache-2.0
//! Makes what refers to an image findable at the edge: a registry without the referrers API needs the fallback tag
//! (OCI distribution-spec 1.1, "Referrers Tag Schema"). Without it, nobody finds a signature that was pushed, and
//! garbage collection takes it. (T-50)

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::TargetError;
use crate::bundle::BundleReferrer;
use crate::digest::Digest;
use crate::oci::{self, Descriptor};
use crate::reference::{Selector, Tag};
use crate::registry::Repository;

/// Sees to it that `repository` lists all `pushed` referrers that no tag of their own names; their manifests are
/// there already.
///
/// # Errors
/// [`TargetError`], also where the registry does not list them in spite of the fallback tag.
pub async fn list(
    repository: &Repository,
    pushed: &[(&BundleReferrer, &Descriptor)],
) -> Result<(), TargetError> {
    let mut subjects = BTreeMap::<Digest, Vec<Value>>::new();
    for (referrer, root) in pushed.iter().filter(|(referrer, _)| referrer.tag.is_none()) {
        let mut entry = json!({"mediaType": root.media_type, "digest": root.digest, "size": root.size});
        if let Some(artifact_type) = &referrer.artifact_type {
            entry["artifactType"] = artifact_type.as_str().into();
        }
        subjects.entry(referrer.subject).or_default().push(entry);
    }
    for (subject, entries) in subjects {
        if unlisted(repository, &subject, &entries).await?.is_some() {
            // It would have listed what has a subject, had it the API.
            write(repository, &subject, &entries).await?;
            if let Some(missing) = unlisted(repository, &subject, &entries).await? {
                return Err(TargetError::Unlisted { subject, missing });
            }
        }
    }
    Ok(())
}

/// The first of `entries` that the registry does not list.
async fn unlisted(
    repository: &Repository,
    subject: &Digest,
    entries: &[Value],
) -> Result<Option<String>, TargetError> {
    let listed = repository.referrers(subject).await?;
    let listed = listed.iter().map(|listed| listed.digest.to_string()).collect::<Vec<_>>();
    let mut digests = entries.iter().filter_map(|entry| entry["digest"].as_str());
    Ok(digests.find(|digest| !listed.iter().any(|listed| listed == digest)).map(str::to_owned))
}

/// Adds `entries` to the index under the fallback tag.
async fn write(repository: &Repository, subject: &Digest, entries: &[Value]) -> Result<(), TargetError> {
    // Cannot fail: 71 letters, digits and a `-`.
    let Ok(tag) = format!("sha256-{}", subject.hex()).parse::<Tag>() else { return Ok(()) };
    let tag = Selector::Tag(tag);
    let mut manifests = Vec::new();
    if repository.head_manifest(&tag).await?.is_some() {
        let there = repository.manifest(&tag).await?;
        let there = serde_json::from_slice::<Value>(&there.bytes).unwrap_or_default();
        manifests.extend(there["manifests"].as_array().cloned().unwrap_or_default());
    }
    let known = |entry: &&Value| !manifests.iter().any(|there: &Value| there["digest"] == entry["digest"]);
    let new = entries.iter().filter(known).cloned().collect::<Vec<_>>();
    manifests.extend(new);
    let index = json!({"schemaVersion": 2, "mediaType": oci::OCI_INDEX, "manifests": manifests});
    Ok(repository.push_manifest(&tag, oci::OCI_INDEX, index.to_string().into()).await?)
}
