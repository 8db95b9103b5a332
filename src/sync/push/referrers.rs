// SPDX-License-Identifier: Apache-2.0
//! Makes the referrers of an image findable at the edge: a registry without the referrers API needs a list under a tag
//! (distribution-spec 1.1, "Pushing Manifests with Subject" and "Referrers Tag Schema"). Without it, a
//! signature that was pushed cannot be found, and garbage collection deletes it. (T-50)
//!
//! Referrers are optional: the image is complete even if the registry cannot list them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::bundle::BundleReferrer;
use crate::error;
use crate::oci::closure::Manifests;
use crate::oci::digest::Digest;
use crate::oci::reference::{RepositoryName, Selector, Tag};
use crate::oci::{self, Descriptor};
use crate::registry::{ReferrersApi, ReferrersTag, RegistryError, Repository, referrers_tag};

/// How often a list is written before the run gives up against other writers.
const WRITES: u32 = 5;

/// A referrer whose manifest is in a repository at the edge.
#[derive(Debug, Clone, Copy)]
pub struct PushedReferrer<'a> {
    /// Its entry in the bundle's manifest.
    pub referrer: &'a BundleReferrer,
    /// Descriptor of its manifest.
    pub root: &'a Descriptor,
    /// Whether the registry confirmed that it lists the manifest (`OCI-Subject`).
    pub acknowledged: bool,
}

/// A signature, SBOM or attestation that is missing or not listed at the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferrerProblem {
    /// The repository at the edge.
    pub repository: RepositoryName,
    /// What it refers to.
    pub subject: Digest,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Whether it is present but not listed, so that it is found only by its digest.
    pub unlisted: bool,
    /// Why, in one line.
    pub reason: String,
}

/// Entries that were written into the list of a subject.
#[derive(Debug)]
pub struct WrittenList {
    subject: Digest,
    entries: Vec<Value>,
}

/// Makes `repository` list all of `pushed` that have no tag of their own. Returns the lists that were written, which [`mend`]
/// reads again at the end of the run, and the referrers that are not listed.
pub async fn list(
    repository: &Repository,
    pushed: &[PushedReferrer<'_>],
    manifests: &Manifests,
) -> (Vec<WrittenList>, Vec<ReferrerProblem>) {
    let repository = &repository.optional();
    let mut subjects = BTreeMap::<Digest, Vec<Value>>::new();
    for PushedReferrer { referrer, root, acknowledged } in pushed {
        if referrer.tag.is_none() && !acknowledged {
            subjects.entry(referrer.subject).or_default().push(entry(root, manifests));
        }
    }
    let (mut written, mut problems) = (Vec::new(), Vec::new());
    for (subject, mut entries) in subjects {
        match repository.referrers_by_api(&subject).await {
            Ok(ReferrersApi::Listed(list)) => {
                let listed = |entry: &Value| list.found.iter().any(|found| is_of(entry, &found.digest));
                entries.retain(|entry| !listed(entry));
            }
            Ok(ReferrersApi::Unsupported | ReferrersApi::UnknownManifest) => {}
            // A list may help other clients if the API is refused.
            Err(error) => {
                tracing::debug!(%subject, error = %error::chain(&error), "no answer of the referrers API");
            }
        }
        if entries.is_empty() {
            continue;
        }
        match write(repository, &subject, &entries).await {
            Ok(_) => written.push(WrittenList { subject, entries }),
            Err(reason) => problems.extend(unlisted(repository, &subject, &entries, &reason)),
        }
    }
    (written, problems)
}

/// Reads the lists that this run wrote again, and adds the entries that another writer has overwritten meanwhile. Returns
/// the referrers that are not listed.
pub async fn mend(repository: &Repository, written: Vec<WrittenList>) -> Vec<ReferrerProblem> {
    let repository = &repository.optional();
    let mut problems = Vec::new();
    for WrittenList { subject, entries } in written {
        let mut result = Ok(false);
        for _ in 0..WRITES {
            result = write(repository, &subject, &entries).await;
            if !matches!(result, Ok(true)) {
                break;
            }
        }
        let reason = match result {
            Ok(false) => continue,
            Ok(true) => "other writers overwrite the list of referrers again and again".to_owned(),
            Err(reason) => reason,
        };
        problems.extend(unlisted(repository, &subject, &entries, &reason));
    }
    problems
}

fn unlisted(
    repository: &Repository,
    subject: &Digest,
    entries: &[Value],
    reason: &str,
) -> Vec<ReferrerProblem> {
    let digests = entries.iter().filter_map(|entry| entry["digest"].as_str()?.parse().ok());
    let problem = |digest| ReferrerProblem {
        repository: repository.name().clone(),
        subject: *subject,
        digest,
        unlisted: true,
        reason: reason.to_owned(),
    };
    digests.map(problem).collect()
}

/// Adds `entries` to the list under the tag of `subject`. Returns whether it had to be written, or why it cannot be.
async fn write(repository: &Repository, subject: &Digest, entries: &[Value]) -> Result<bool, String> {
    // Cannot fail: 71 letters, digits and a `-`.
    let Some(tag) = referrers_tag(subject) else { return Err("its subject has no tag".to_owned()) };
    let refused = |error: RegistryError| error::chain(&error);
    let list = match repository.referrers_tag(subject).await.map_err(refused)? {
        ReferrersTag::Absent => Map::new(),
        ReferrersTag::List(bytes) => {
            // An unreadable list is not overwritten: other clients may use it.
            let list =
                serde_json::from_slice(&bytes).map_err(|error| unreadable(&tag, &error.to_string()))?;
            Value::as_object(&list).cloned().ok_or_else(|| unreadable(&tag, "not an object"))?
        }
        ReferrersTag::NotAList(reason) => return Err(reason),
    };
    let Some(list) = merged(list, entries).map_err(|problem| unreadable(&tag, problem))? else {
        return Ok(false);
    };
    let bytes = Value::Object(list).to_string();
    let put = repository.push_manifest(&Selector::Tag(tag), oci::OCI_INDEX, bytes.into()).await;
    put.map(|_| true).map_err(refused)
}

fn unreadable(tag: &Tag, problem: &str) -> String {
    format!("the list of referrers under the tag {tag} cannot be read: {problem}")
}

/// A list with `entries` in it, each once; `None` if it has them already. Entries of other writers stay.
fn merged(
    mut list: Map<String, Value>,
    entries: &[Value],
) -> Result<Option<Map<String, Value>>, &'static str> {
    let manifests = list.entry("manifests").or_insert(Value::Null);
    if manifests.is_null() {
        *manifests = json!([]);
    }
    let Some(manifests) = manifests.as_array_mut() else { return Err("`manifests` is not a list") };
    let mut changed = false;
    for entry in entries {
        match manifests.iter_mut().find(|there| there["digest"] == entry["digest"]) {
            Some(there) if there == entry => {}
            Some(there) => {
                *there = entry.clone();
                changed = true;
            }
            None => {
                manifests.push(entry.clone());
                changed = true;
            }
        }
    }
    list.insert("schemaVersion".to_owned(), 2.into());
    list.insert("mediaType".to_owned(), oci::OCI_INDEX.into());
    Ok(changed.then_some(list))
}

fn is_of(entry: &Value, digest: &Digest) -> bool {
    entry["digest"].as_str().is_some_and(|of| of == digest.to_string())
}

/// The descriptor of a referrer as the specification requires it: with the artifact type, or the media type of the config
/// if the manifest has none, and with the annotations of the manifest.
fn entry(root: &Descriptor, manifests: &Manifests) -> Value {
    let mut entry = json!({"mediaType": root.media_type, "digest": root.digest, "size": root.size});
    let stored = manifests.get(&root.digest);
    let manifest =
        stored.and_then(|stored| serde_json::from_slice::<Value>(&stored.bytes).ok()).unwrap_or_default();
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let artifact_type = text(&manifest["artifactType"]).or_else(|| text(&manifest["config"]["mediaType"]));
    if let Some(artifact_type) = artifact_type {
        entry["artifactType"] = artifact_type.into();
    }
    if let Some(annotations) =
        manifest["annotations"].as_object().filter(|annotations| !annotations.is_empty())
    {
        entry["annotations"] = annotations.clone().into();
    }
    entry
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::oci::closure::StoredManifest;

    fn described(manifest: &Value) -> Value {
        let bytes = manifest.to_string();
        let digest = Digest::of(bytes.as_bytes());
        let root = Descriptor::new(oci::OCI_MANIFEST, digest, bytes.len() as u64);
        let mut manifests = Manifests::default();
        manifests
            .insert(digest, StoredManifest { media_type: oci::OCI_MANIFEST.to_owned(), bytes: bytes.into() });
        entry(&root, &manifests)
    }

    #[test]
    fn an_entry_has_the_artifact_type_and_all_annotations_of_its_manifest() {
        let annotations = json!({"org.opencontainers.image.created": "2026-01-01T00:00:00Z", "x": "y"});
        let config = json!({"mediaType": "application/vnd.oci.empty.v1+json"});
        let own = described(&json!({"artifactType": "a/b", "config": config, "annotations": annotations}));
        assert_eq!((&own["artifactType"], &own["annotations"]), (&json!("a/b"), &annotations));
        for artifact_type in [json!(null), json!("")] {
            let own = described(&json!({"artifactType": artifact_type, "config": config}));
            assert_eq!(own["artifactType"], "application/vnd.oci.empty.v1+json");
            assert!(own.get("annotations").is_none());
        }
        assert!(
            described(&json!({"manifests": []})).get("artifactType").is_none(),
            "an index states its own or none"
        );
    }

    #[test]
    fn a_list_keeps_what_others_put_into_it_and_has_each_entry_once() {
        let entry = json!({"digest": "sha256:a", "annotations": {"x": "y"}});
        let other = json!({"digest": "sha512:b", "strange": [1]});
        let list = json!({"annotations": {"of": "the list"}, "manifests": [other, {"digest": "sha256:a"}]});
        let list = merged(list.as_object().unwrap().clone(), std::slice::from_ref(&entry)).unwrap().unwrap();
        assert_eq!(list["manifests"], json!([other, entry]), "an entry without annotations gets them");
        assert_eq!(list["annotations"], json!({"of": "the list"}));
        assert_eq!(merged(list, &[entry]).unwrap(), None, "there is nothing to write");
        let odd = json!({"manifests": 3});
        assert!(merged(odd.as_object().unwrap().clone(), &[]).is_err());
    }
}
