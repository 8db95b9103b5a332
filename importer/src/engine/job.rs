// SPDX-License-Identifier: Apache-2.0
//! Copy Jobs as Kubernetes objects: written from batches, read back as [`crate::model::job::CopyJob`]s. Pure.

mod labels;
mod pod;
mod read;

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use krs_core::crd::{API_VERSION, EdgeImageSet, KIND};
use krs_core::oci::digest::Hasher;
use krs_core::oci::reference::RepositoryName;

use crate::model::job::{Batch, BatchSource};
use crate::model::target::Target;
use crate::model::task::{CopyTarget, CopyTask, DestinationEndpoint, TaskSource, repository_in_bundle};

pub(crate) use labels::is_selected;
use labels::{ATTEMPT, BATCH, CONTAINER, HASH_DIGITS, NONCE, SET_NAME_LABEL, with_own};
pub use labels::{SELECTOR, SET_LABEL};
pub use pod::JobContext;
pub use read::read;
pub(crate) use read::{add_pods, is_of_job};

/// Most characters of the set's name in the Job's: 63 without `krs-`, hash, attempt and dashes.
const MAX_SET_NAME: usize = 63 - 4 - 1 - HASH_DIGITS - 1 - 10;

/// Least time that a Job may take, in seconds: the Pod has to start, the registry to answer.
const BASE_DEADLINE: u64 = 600;
/// Bytes that are copied in a second at least.
const SLOWEST: u64 = 1_000_000;
/// Most time that a Job may take, in seconds.
const MAX_DEADLINE: u64 = 24 * 3600;
/// Time that a Job may take whose bytes nobody knows, in seconds.
const UNKNOWN_DEADLINE: u64 = 6 * 3600;
/// How long an ended Job stays, in seconds.
pub(crate) const TTL: i32 = 3600;

/// The name of the Job for a batch of a set.
pub(crate) fn name_of(set: &EdgeImageSet, batch: &Batch) -> String {
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    name(set.metadata.name.as_deref().unwrap_or_default(), &hash(set, uid, batch), batch.attempt)
}

/// The Job for a batch of a set.
pub fn build(set: &EdgeImageSet, batch: &Batch, surroundings: &JobContext<'_>) -> Job {
    let uid = set.metadata.uid.clone().unwrap_or_default();
    let set_name = set.metadata.name.clone().unwrap_or_default();
    let hash = hash(set, &uid, batch);
    let labels = labels(&uid, &set_name);
    let deadline = deadline(batch.bytes);
    Job {
        metadata: ObjectMeta {
            name: Some(name(&set_name, &hash, batch.attempt)),
            namespace: set.metadata.namespace.clone(),
            labels: Some(with_own(&surroundings.config.jobs.labels, labels.clone())),
            annotations: Some(with_own(
                &surroundings.config.jobs.annotations,
                BTreeMap::from([(BATCH.to_owned(), hash), (ATTEMPT.to_owned(), batch.attempt.to_string())]),
            )),
            owner_references: Some(vec![OwnerReference {
                api_version: API_VERSION.to_owned(),
                kind: KIND.to_owned(),
                name: set_name,
                uid,
                controller: Some(true),
                block_owner_deletion: Some(false),
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            active_deadline_seconds: i64::try_from(deadline).ok(),
            backoff_limit: Some(3),
            pod_failure_policy: Some(failure_policy()),
            ttl_seconds_after_finished: Some(TTL),
            template: pod::template(
                set,
                batch,
                &task(set, batch, surroundings),
                surroundings,
                labels,
                deadline,
            ),
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// Marks a Job as the one that was announced with this nonce.
pub(crate) fn mark(job: &mut Job, nonce: &str) {
    job.metadata.annotations.get_or_insert_default().insert(NONCE.to_owned(), nonce.to_owned());
}

/// The nonce that a Job shows.
pub(crate) fn nonce(job: &ObjectMeta) -> Option<&str> {
    job.annotations.as_ref()?.get(NONCE).map(String::as_str)
}

fn task(set: &EdgeImageSet, batch: &Batch, surroundings: &JobContext<'_>) -> CopyTask {
    let config = surroundings.config;
    let tls = set.spec.destination_tls.clone().unwrap_or_default();
    let written = |target: &Target| {
        let image = target.images.first().and_then(|n| set.spec.images.get(*n));
        image.map_or_else(|| target.reference.to_string(), |image| image.image.clone())
    };
    let target = |(position, (target, mount_from)): (usize, &(Target, Vec<RepositoryName>))| {
        let mut copy = CopyTarget { image: written(target), ..CopyTarget::of(target, mount_from) };
        copy.patches = batch.patches.get(&position).copied();
        copy.scratch_size = copy.patches.and_then(|_| config.jobs.scratch_limit());
        if let BatchSource::Bundle { digest, .. } = &batch.source {
            copy.source_registry = config.registry.host.clone();
            // Two hex digests with a slash between them are a repository.
            if let Ok(repository) = repository_in_bundle(digest, &target.digest).parse() {
                copy.source_repository = repository;
            }
        }
        copy
    };
    let registry = batch.targets.first().map(|(target, _)| target.registry.clone());
    CopyTask {
        destination: DestinationEndpoint {
            registry: registry.unwrap_or_else(|| config.registry.host.clone()),
            plain_http: tls.plain_http,
            insecure_skip_verify: tls.insecure_skip_verify,
        },
        source: match &batch.source {
            BatchSource::Bundle { digest, name } => TaskSource::Bundle {
                digest: *digest,
                name: name.clone(),
                ca: surroundings.registry_ca.to_owned(),
            },
            BatchSource::Registry { registry, .. } => {
                TaskSource::Registry { plain_http: config.online.plain_http.contains(registry) }
            }
        },
        targets: batch.targets.iter().enumerate().map(target).collect(),
    }
}

/// Hash of what is copied and how: neither the generation of the set nor the bundle is in it, so that an edit elsewhere,
/// or the next drive, disturbs no running copy.
fn hash(set: &EdgeImageSet, uid: &str, batch: &Batch) -> String {
    let mut hasher = Hasher::new();
    let mut add = |text: &str| {
        hasher.update(text.len().to_string().as_bytes());
        hasher.update(b":");
        hasher.update(text.as_bytes());
    };
    add(uid);
    for (target, _) in &batch.targets {
        add(&target.key.to_string());
    }
    let tls = set.spec.destination_tls.as_ref();
    add(set.spec.destination_client_secret_name.as_deref().unwrap_or_default());
    add(tls.and_then(|tls| tls.ca_secret_name.as_deref()).unwrap_or_default());
    add(tls.and_then(|tls| tls.ca_config_map_name.as_deref()).unwrap_or_default());
    match &batch.source {
        BatchSource::Bundle { .. } => add("bundle"),
        BatchSource::Registry { registry, secret } => {
            add("registry");
            add(registry.as_str());
            add(secret.as_deref().unwrap_or_default());
        }
    }
    hasher.finish().hex().chars().take(HASH_DIGITS).collect()
}

fn name(set: &str, hash: &str, attempt: u32) -> String {
    let set = set.replace('.', "-");
    let set = set.chars().take(MAX_SET_NAME).collect::<String>();
    format!("krs-{}-{hash}-{attempt}", set.trim_end_matches('-'))
}

fn labels(uid: &str, set: &str) -> BTreeMap<String, String> {
    let pairs = SELECTOR.split(',').filter_map(|pair| pair.split_once('='));
    let mut labels = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>();
    labels.insert(SET_LABEL.to_owned(), uid.to_owned());
    if set.len() <= 63 {
        labels.insert(SET_NAME_LABEL.to_owned(), set.to_owned());
    }
    labels
}

/// Seconds that a Job may take.
fn deadline(bytes: Option<u64>) -> u64 {
    let known = |bytes: u64| BASE_DEADLINE.saturating_add(bytes / SLOWEST).min(MAX_DEADLINE);
    bytes.map_or(UNKNOWN_DEADLINE, known)
}

/// A drained node is nobody's failure. Kubernetes itself starts another Pod only where a registry was not available (exit
/// code 8) or something ended the runner; all other failures would be the same again within a minute. They end the Job, so
/// that it takes no slot and the importer waits for as long as the reason needs.
fn failure_policy() -> PodFailurePolicy {
    PodFailurePolicy {
        rules: vec![
            PodFailurePolicyRule {
                action: "Ignore".to_owned(),
                on_exit_codes: None,
                on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
                    type_: "DisruptionTarget".to_owned(),
                    status: "True".to_owned(),
                }]),
            },
            PodFailurePolicyRule {
                action: "FailJob".to_owned(),
                on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
                    container_name: Some(CONTAINER.to_owned()),
                    operator: "In".to_owned(),
                    values: vec![1, 2, 3, 4, 5, 6, 7, 9],
                }),
                on_pod_conditions: None,
            },
        ],
    }
}

#[cfg(test)]
mod tests;
