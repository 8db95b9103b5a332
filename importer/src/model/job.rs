// SPDX-License-Identifier: Apache-2.0
//! Copy Jobs as data: what one is to copy, and how far one in the cluster is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::{RegistryHost, RepositoryName};
use krs_core::sync::rebuild::PatchListBlob;

use crate::model::target::Target;
use crate::model::task::{CopyReport, CopyTask};

/// What one Job is to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Where from.
    pub source: BatchSource,
    /// Targets, at most [`crate::model::task::MAX_TARGETS`], with the repositories that blobs may be linked from.
    pub targets: Vec<(Target, Vec<RepositoryName>)>,
    /// What makes layers of targets that travel as patches, by the target's position.
    pub patches: BTreeMap<usize, PatchListBlob>,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// Bytes of the images, where they are known.
    pub bytes: Option<u64>,
}

/// Where a batch comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BatchSource {
    /// A bundle, read through the embedded registry.
    Bundle {
        /// Digest of its manifest.
        digest: Digest,
        /// Its name, for people.
        name: String,
    },
    /// The images' own registry.
    Registry {
        /// `host[:port]`.
        registry: RegistryHost,
        /// Secret with the credentials, one for the complete batch.
        secret: Option<String>,
    },
}

/// A copy Job as it is in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyJob {
    /// Name of the Job.
    pub name: String,
    /// Hash of what it copies and how, the part of its name before the attempt.
    pub batch: String,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// What it was told.
    pub task: CopyTask,
    /// When it was created; unknown of one that was created just now.
    pub created: Option<Timestamp>,
    /// Whether somebody suspended it. It takes no slot from others then.
    pub suspended: bool,
    /// How far it is.
    pub phase: JobPhase,
}

impl CopyJob {
    /// Whether it takes one of the slots for Jobs, and writes.
    pub fn is_active(&self) -> bool {
        matches!(self.phase, JobPhase::Running { .. }) && !self.suspended
    }
}

/// A Pod of a Job that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedPod {
    /// Why, in the words of Kubernetes, for example `OOMKilled (exit code 137)`.
    pub why: String,
    /// What the runner said, where it could be read.
    pub report: Option<CopyReport>,
}

/// How far a Job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobPhase {
    /// It has not ended.
    Running {
        /// Why its Pod does not start, where it does not: for people.
        waiting: Option<String>,
        /// Its last Pod that failed, where one did: Kubernetes starts another one.
        failed: Option<FailedPod>,
    },
    /// It ended well.
    Succeeded {
        /// When.
        at: Timestamp,
        /// What the runner said, where it could be read.
        report: Option<CopyReport>,
    },
    /// It failed for good.
    Failed {
        /// When.
        at: Timestamp,
        /// Kubernetes' reason and message, for example `DeadlineExceeded`.
        why: String,
        /// What the runner said, where it could be read.
        report: Option<CopyReport>,
    },
}
