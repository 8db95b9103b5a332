// SPDX-License-Identifier: Apache-2.0
//! What a copy Job is told, and what it answers: the contract between the controller and the runner inside the Job's Pod.
//!
//! The task is the argument of `krs-importer copy --task JSON`: it holds nothing secret. Secrets are mounted as files. The
//! answer is the termination message of the container, at most [`MAX_REPORT`] bytes of JSON.
//!
//! The runner belongs to the version of the importer that made the Job, and refuses a task that it does not understand to
//! the end ([`CopyTask::parse`]). An importer also reads the Jobs that an older or a newer one left behind, and ignores
//! what it does not know there.

use krs_core::oci::digest::Digest;
use krs_core::oci::platform::Platform;
use krs_core::oci::reference::{RegistryHost, RepositoryName, Tag};
use krs_core::sync::rebuild::PatchListBlob;
use serde::{Deserialize, Serialize};

use crate::model::target::Target;

/// Most targets of one task.
pub const MAX_TARGETS: usize = 32;
/// Most bytes of a task: one argument of a process on Linux may have 128 KiB.
pub const MAX_TASK: usize = 100 << 10;
/// Most bytes of a termination message (Kubernetes' limit for a container).
pub const MAX_REPORT: usize = 4096;
/// Most repositories of which a task says that blobs may be linked from them, for each target.
pub const MAX_MOUNT_FROM: usize = 8;
/// Audience of the ServiceAccount token that a Job's Pod shows to the embedded registry.
pub const AUDIENCE: &str = "krs-importer";
/// Largest such token that is shown and taken, in bytes.
pub const MAX_TOKEN: usize = 16 << 10;

/// Exit code of the runner after SIGTERM: the copy did not fail, so that Kubernetes starts it again.
pub(crate) const STOPPED: u8 = 128 + 15;

/// Repository of an image in the embedded registry: `HEX(bundle)/HEX(image)`.
pub fn repository_in_bundle(bundle: &Digest, image: &Digest) -> String {
    format!("{}/{}", bundle.hex(), image.hex())
}

/// Where a Job's Pod finds its files.
pub mod path {
    /// Keys of the Secret with the destination's credentials, where the set names one.
    pub const DESTINATION: &str = "/krs/destination";
    /// Keys of the Secret or ConfigMap with the destination's CA certificates, where the set names one.
    pub const DESTINATION_CA: &str = "/krs/destination-ca";
    /// Keys of the Secret with the credentials of the source registry, where the images name one.
    pub const SOURCE: &str = "/krs/source";
    /// Folder of the projected token for the embedded registry.
    pub const TOKEN: &str = "/krs/token";
    /// Memory-backed folder for what the runner prepares for skopeo.
    pub const WORK: &str = "/krs/work";
    /// Folder for layers that are made of patches, where the task has some.
    pub const SCRATCH: &str = "/krs/scratch";
    /// Where the report goes.
    pub const TERMINATION_MESSAGE: &str = "/dev/termination-log";
}

/// What to copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyTask {
    /// The edge registry.
    pub destination: DestinationEndpoint,
    /// Where the images come from, and how the runner logs in there.
    pub source: TaskSource,
    /// 1 to [`MAX_TARGETS`].
    pub targets: Vec<CopyTarget>,
}

impl CopyTask {
    /// Reads a task to be carried out: nothing of it may be ignored.
    ///
    /// # Errors
    /// It is not JSON of this shape, or says more than this version understands.
    pub fn parse(text: &str) -> Result<Self, String> {
        let unreadable = |error: serde_json::Error| format!("the task cannot be read: {error}");
        let given = serde_json::from_str::<serde_json::Value>(text).map_err(unreadable)?;
        let task = serde_json::from_str::<Self>(text).map_err(unreadable)?;
        if task.source == TaskSource::Later {
            let kind = given["source"]["kind"].as_str().unwrap_or_default();
            return Err(format!(
                "the task's source is of kind `{kind}`, which this runner does not understand: it must be of the importer's version"
            ));
        }
        if serde_json::to_value(&task).map_err(unreadable)? == given {
            Ok(task)
        } else {
            Err("the task says more than this runner understands: it must be of the importer's version"
                .to_owned())
        }
    }
}

/// The edge registry and how the connection to it is secured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationEndpoint {
    /// `host[:port]`.
    pub registry: RegistryHost,
    /// Without TLS.
    #[serde(default, rename = "plainHTTP", skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
    /// Any certificate is accepted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure_skip_verify: bool,
}

/// Where the images come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum TaskSource {
    /// The importer's registry, which serves a bundle. The runner logs in with its Pod's token.
    #[serde(rename_all = "camelCase")]
    Bundle {
        /// Digest of the bundle's manifest.
        digest: Digest,
        /// Name of the bundle, for people.
        name: String,
        /// The CA of the importer's registry, in PEM.
        ca: String,
    },
    /// The images' own registry, one for all targets of a task. The runner logs in with [`path::SOURCE`], where that is.
    #[serde(rename_all = "camelCase")]
    Registry {
        /// Without TLS, by the site's policy.
        #[serde(default, rename = "plainHTTP", skip_serializing_if = "std::ops::Not::not")]
        plain_http: bool,
    },
    /// A source that this version does not know: the task is of a later one. A runner refuses it.
    #[serde(other)]
    Later,
}

/// One repository and digest at the edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyTarget {
    /// The image as the set writes it, for people.
    pub image: String,
    /// Registry to read from.
    pub source_registry: RegistryHost,
    /// Repository to read from.
    pub source_repository: RepositoryName,
    /// Top document, in both registries.
    pub digest: Digest,
    /// Repository at the edge.
    pub repository: RepositoryName,
    /// Tags at the edge, set last.
    pub tags: Vec<Tag>,
    /// Platforms to bring; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// Repositories at the edge that may already hold blobs of this image; at most [`MAX_MOUNT_FROM`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mount_from: Vec<RepositoryName>,
    /// The blob of the bundle that lists how layers of this image are made, where they travel as patches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patches: Option<PatchListBlob>,
    /// Most bytes of scratch space for these layers; absent: what is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch_size: Option<u64>,
}

impl CopyTarget {
    /// What a Job is told about a target. Where it is read from, the batch decides.
    pub(crate) fn of(target: &Target, mount_from: &[RepositoryName]) -> Self {
        Self {
            image: target.reference.to_string(),
            source_registry: target.reference.registry.clone(),
            source_repository: target.reference.repository.clone(),
            digest: target.digest,
            repository: target.repository.clone(),
            tags: target.tags.clone(),
            platforms: target.platforms.clone(),
            mount_from: mount_from.to_vec(),
            patches: None,
            scratch_size: None,
        }
    }
}

/// What the runner says at its end. A hint for people and for the next attempt, never a verification: the controller asks the
/// registry itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CopyReport {
    /// Targets that are complete, tagged and read back.
    pub done: u32,
    /// Targets that are not.
    pub failed: u32,
    /// Bytes of blobs that were sent to the edge.
    pub bytes_copied: u64,
    /// Blobs that were sent.
    pub blobs_copied: u64,
    /// Blobs that the edge registry linked from another repository.
    pub blobs_mounted: u64,
    /// Signatures, SBOMs and attestations that are not at the edge as they should be, and look-ups of them that failed. The
    /// log says which and why; the images are there all the same.
    pub referrers_missing: u32,
    /// Milliseconds that copying took, without the start of the Pod.
    pub milliseconds: u64,
    /// The first failures that fit.
    pub failures: Vec<TargetFailure>,
}

/// Why a target is not at the edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetFailure {
    /// Position of the target in the task.
    pub target: usize,
    /// A reason of [`krs_core::crd::reason`].
    pub reason: String,
    /// A sentence for people, without anything secret.
    pub message: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A task with every field.
    fn full(source: TaskSource) -> CopyTask {
        CopyTask {
            destination: DestinationEndpoint {
                registry: "edge.local:5000".parse().unwrap(),
                plain_http: true,
                insecure_skip_verify: true,
            },
            source,
            targets: vec![CopyTarget {
                image: "quay.io/team/web:1.0".to_owned(),
                source_registry: "quay.io".parse().unwrap(),
                source_repository: "team/web".parse().unwrap(),
                digest: Digest::of(b"web"),
                repository: "mirror/team/web".parse().unwrap(),
                tags: vec!["1.0".parse().unwrap()],
                platforms: vec!["linux/amd64".parse().unwrap()],
                mount_from: vec!["mirror/team/base".parse().unwrap()],
                patches: None,
                scratch_size: None,
            }],
        }
    }

    fn of_bundle() -> CopyTask {
        let (digest, name, ca) = (Digest::of(b"bundle"), "prod-7".to_owned(), "PEM".to_owned());
        full(TaskSource::Bundle { digest, name, ca })
    }

    fn of_registry() -> CopyTask {
        full(TaskSource::Registry { plain_http: true })
    }

    fn report() -> CopyReport {
        let failure = TargetFailure {
            target: 1,
            reason: "RegistryUnreachable".to_owned(),
            message: "edge.local:5000 cannot be reached".to_owned(),
        };
        CopyReport {
            done: 1,
            failed: 1,
            bytes_copied: 5,
            blobs_copied: 2,
            blobs_mounted: 3,
            referrers_missing: 0,
            milliseconds: 40,
            failures: vec![failure],
        }
    }

    const BUNDLE: &str = include_str!("../../../testdata/golden/0.1/importer/task-bundle.json");
    const REGISTRY: &str = include_str!("../../../testdata/golden/0.1/importer/task-registry.json");
    const REPORT: &str = include_str!("../../../testdata/golden/0.1/importer/report.json");

    #[test]
    fn t82_tasks_and_reports_of_0_1_are_read() {
        for (golden, task) in [(BUNDLE, of_bundle()), (REGISTRY, of_registry())] {
            assert_eq!(CopyTask::parse(golden).unwrap(), task);
            assert_eq!(serde_json::from_str::<CopyTask>(golden).unwrap(), task);
        }
        assert_eq!(serde_json::from_str::<CopyReport>(REPORT).unwrap(), report());
        let later = REPORT.replacen('{', "{\"added\":{\"later\":[1]},", 1);
        assert_eq!(serde_json::from_str::<CopyReport>(&later).unwrap(), report());
    }

    #[test]
    fn t82_a_runner_refuses_what_it_does_not_understand_and_an_importer_reads_the_job_all_the_same() {
        let added = |before: &str| BUNDLE.replacen(before, &format!("\"added\":true,{before}"), 1);
        for field in ["\"destination\"", "\"registry\"", "\"kind\"", "\"image\""] {
            let later = added(field);
            assert_ne!(later, BUNDLE, "{field}");
            let refused = CopyTask::parse(&later).unwrap_err();
            assert!(refused.contains("importer's version"), "{field}: {refused}");
            assert_eq!(serde_json::from_str::<CopyTask>(&later).unwrap(), of_bundle(), "{field}");
        }
        let kind = BUNDLE.replace("\"kind\":\"bundle\"", "\"kind\":\"tape\"");
        let refused = CopyTask::parse(&kind).unwrap_err();
        assert!(refused.contains("`tape`") && refused.contains("importer's version"), "{refused}");
        let read = serde_json::from_str::<CopyTask>(&kind).unwrap();
        assert_eq!((read.source, read.targets), (TaskSource::Later, of_bundle().targets), "T-194");
    }
}
