// SPDX-License-Identifier: Apache-2.0
//! The Pod of a copy Job, as Pod Security `restricted` wants it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, EmptyDirVolumeSource, EnvVar, KeyToPath,
    LocalObjectReference, PodSecurityContext, PodSpec, PodTemplateSpec, ProjectedVolumeSource,
    ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext, ServiceAccountTokenProjection,
    Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use krs_core::crd::EdgeImageSet;

use super::labels::{CONTAINER, with_own};
use crate::model::config::{Config, NO_SIDECAR_ANNOTATIONS, NO_SIDECAR_LABELS, Variable};
use crate::model::job::{Batch, BatchSource};
use crate::model::task::{AUDIENCE, CopyTask, path};

/// User and group of the process, as in the image.
const USER: i64 = 65532;
/// Mode of mounted Secrets: for the group only.
const MODE: i32 = 0o440;
/// Most bytes of what the runner prepares in memory: auth files, CA certificates.
const WORK_SIZE: &str = "16Mi";
/// Least time that a token is valid, in seconds.
const MIN_TOKEN: u64 = 3600;
/// Label of nodes with their system, and the only one that the image is made for.
const SYSTEM: (&str, &str) = ("kubernetes.io/os", "linux");

/// What a Job needs beside its batch.
#[derive(Debug)]
pub struct JobContext<'a> {
    /// The site's policy.
    pub config: &'a Config,
    /// CA certificate of the embedded registry, in PEM.
    pub registry_ca: &'a str,
    /// Whether the destination's Secret is a dockerconfigjson, so that the Pod's image may be pulled with it.
    pub destination_is_dockerconfigjson: bool,
    /// The keys with CA certificates in the Secret or ConfigMap that the set names: only these are mounted.
    pub destination_ca_keys: &'a [String],
}

pub(super) fn template(
    set: &EdgeImageSet,
    batch: &Batch,
    task: &CopyTask,
    surroundings: &JobContext<'_>,
    labels: BTreeMap<String, String>,
    deadline: u64,
) -> PodTemplateSpec {
    let jobs = &surroundings.config.jobs;
    let mounted = volumes(set, batch, surroundings, deadline);
    // Plain data: its JSON cannot fail.
    let text = serde_json::to_string(task).unwrap_or_default();
    let mut args = vec!["copy".to_owned(), "--task".to_owned(), text];
    args.extend(jobs.log.iter().flat_map(|level| ["--log".to_owned(), level.clone()]));
    let container = Container {
        name: CONTAINER.to_owned(),
        image: Some(jobs.image.clone()),
        image_pull_policy: jobs.image_pull_policy.clone(),
        args: Some(args),
        env: environment(batch, task, surroundings),
        resources: Some(jobs.resources.clone().unwrap_or_else(resources)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        termination_message_path: Some(path::TERMINATION_MESSAGE.to_owned()),
        termination_message_policy: Some("File".to_owned()),
        volume_mounts: Some(mounted.iter().map(|(volume, path)| mount(volume, path)).collect()),
        ..Container::default()
    };
    let pull_secrets = pull_secrets(set, surroundings);
    let ids = jobs.set_ids.then_some(USER);
    let mut node_selector = jobs.node_selector.clone();
    node_selector.entry(SYSTEM.0.to_owned()).or_insert_with(|| SYSTEM.1.to_owned());
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            annotations: Some(overridden(&NO_SIDECAR_ANNOTATIONS, &jobs.pod_annotations)),
            labels: Some(with_own(&overridden(&NO_SIDECAR_LABELS, &jobs.pod_labels), labels)),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            automount_service_account_token: Some(false),
            containers: vec![container],
            dns_config: jobs.dns_config.clone(),
            enable_service_links: Some(false),
            host_aliases: (!jobs.host_aliases.is_empty()).then(|| jobs.host_aliases.clone()),
            image_pull_secrets: (!pull_secrets.is_empty()).then_some(pull_secrets),
            node_selector: Some(node_selector),
            priority_class_name: jobs.priority_class_name.clone(),
            restart_policy: Some("Never".to_owned()),
            security_context: Some(PodSecurityContext {
                fs_group: ids,
                run_as_group: ids,
                run_as_non_root: Some(true),
                run_as_user: ids,
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    localhost_profile: None,
                }),
                ..PodSecurityContext::default()
            }),
            termination_grace_period_seconds: Some(10),
            tolerations: (!jobs.tolerations.is_empty()).then(|| jobs.tolerations.clone()),
            volumes: Some(mounted.into_iter().map(|(volume, _)| volume).collect()),
            ..PodSpec::default()
        }),
    }
}

/// The variables of the container. Only a Job that reads from a source registry gets the proxy; the edge registry and the
/// importer's are reached without it, as the importer itself reaches them.
fn environment(batch: &Batch, task: &CopyTask, surroundings: &JobContext<'_>) -> Option<Vec<EnvVar>> {
    let config = surroundings.config;
    let direct = [config.registry.host.host(), task.destination.registry.host()];
    let proxy = match batch.source {
        BatchSource::Registry { .. } => config.online.proxy.variables(&direct),
        BatchSource::Bundle { .. } => Vec::new(),
    };
    let variables = config.jobs.extra_env.iter().cloned().chain(proxy);
    let variables = variables
        .map(|Variable { name, value }| EnvVar { name, value: Some(value), value_from: None })
        .collect::<Vec<_>>();
    (!variables.is_empty()).then_some(variables)
}

/// Our pairs, and the site's in their place.
fn overridden(ours: &[(&str, &str)], site: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let ours = ours.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ours.chain(site.iter().map(|(key, value)| (key.clone(), value.clone()))).collect()
}

fn resources() -> ResourceRequirements {
    let quantities = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), Quantity((*value).to_owned()))).collect()
    };
    ResourceRequirements {
        requests: Some(quantities(&[("cpu", "50m"), ("memory", "64Mi")])),
        limits: Some(quantities(&[("memory", "512Mi")])),
        ..ResourceRequirements::default()
    }
}

fn pull_secrets(set: &EdgeImageSet, surroundings: &JobContext<'_>) -> Vec<LocalObjectReference> {
    let own = set.spec.destination_client_secret_name.clone();
    let own = own.filter(|_| surroundings.destination_is_dockerconfigjson);
    let mut secrets = surroundings.config.jobs.image_pull_secrets.clone();
    if let Some(name) = own.filter(|own| secrets.iter().all(|secret| secret.name != *own)) {
        secrets.push(LocalObjectReference { name });
    }
    secrets
}

/// The volumes and where they are mounted.
fn volumes(
    set: &EdgeImageSet,
    batch: &Batch,
    surroundings: &JobContext<'_>,
    deadline: u64,
) -> Vec<(Volume, &'static str)> {
    let mut volumes = Vec::new();
    let destination = set.spec.destination_client_secret_name.as_deref();
    volumes.extend(destination.map(|name| (secret("destination", name), path::DESTINATION)));
    volumes.extend(ca_certs(set, surroundings).map(|volume| (volume, path::DESTINATION_CA)));
    match &batch.source {
        BatchSource::Registry { secret: name, .. } => {
            volumes.extend(name.as_deref().map(|name| (secret("source", name), path::SOURCE)));
        }
        BatchSource::Bundle { .. } => volumes.push((token(deadline), path::TOKEN)),
    }
    let work = EmptyDirVolumeSource {
        medium: Some("Memory".to_owned()),
        size_limit: Some(Quantity(WORK_SIZE.to_owned())),
    };
    let work = Volume { name: "work".to_owned(), empty_dir: Some(work), ..Volume::default() };
    volumes.push((work, path::WORK));
    if !batch.patches.is_empty() {
        let size_limit = surroundings.config.jobs.scratch_size.clone();
        let scratch = EmptyDirVolumeSource { medium: None, size_limit };
        let scratch = Volume { name: "scratch".to_owned(), empty_dir: Some(scratch), ..Volume::default() };
        volumes.push((scratch, path::SCRATCH));
    }
    volumes
}

/// The CA certificates of the destination. Of a Secret or ConfigMap only what holds them is mounted: the Secret of a CA has
/// its private key, too. Where a key is gone when the Pod starts, the runner says so at once, and the next Job has the keys
/// of then; a Pod whose volume is incomplete would not start, and say nothing. (T-268)
fn ca_certs(set: &EdgeImageSet, surroundings: &JobContext<'_>) -> Option<Volume> {
    let tls = set.spec.destination_tls.as_ref()?;
    let item = |key: &String| KeyToPath { key: key.clone(), path: key.clone(), mode: None };
    let items = surroundings.destination_ca_keys.iter().map(item).collect::<Vec<_>>();
    if items.is_empty() {
        // To Kubernetes an empty list is all of the Secret.
        return None;
    }
    let items = Some(items);
    let mut volume = Volume { name: "destination-ca".to_owned(), ..Volume::default() };
    // A set may name one of both; if it names both, the Secret counts.
    if let Some(name) = &tls.ca_secret_name {
        volume.secret = Some(SecretVolumeSource {
            secret_name: Some(name.clone()),
            default_mode: Some(MODE),
            items,
            optional: Some(true),
        });
    } else {
        volume.config_map = Some(ConfigMapVolumeSource {
            name: tls.ca_config_map_name.clone()?,
            default_mode: Some(MODE),
            items,
            optional: Some(true),
        });
    }
    Some(volume)
}

fn secret(volume: &str, name: &str) -> Volume {
    Volume {
        name: volume.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(name.to_owned()),
            default_mode: Some(MODE),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn token(deadline: u64) -> Volume {
    let token = ServiceAccountTokenProjection {
        audience: Some(AUDIENCE.to_owned()),
        expiration_seconds: i64::try_from(deadline.max(MIN_TOKEN)).ok(),
        path: "token".to_owned(),
    };
    Volume {
        name: "token".to_owned(),
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(MODE),
            sources: Some(vec![VolumeProjection {
                service_account_token: Some(token),
                ..VolumeProjection::default()
            }]),
        }),
        ..Volume::default()
    }
}

fn mount(volume: &Volume, path: &str) -> VolumeMount {
    VolumeMount {
        name: volume.name.clone(),
        mount_path: path.to_owned(),
        read_only: (![path::WORK, path::SCRATCH].contains(&path)).then_some(true),
        ..VolumeMount::default()
    }
}
