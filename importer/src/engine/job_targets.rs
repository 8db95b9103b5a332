// SPDX-License-Identifier: Apache-2.0
//! Which targets of a set a Job copies. A Job knows nothing of keys: what it was told is compared completely, so that a target
//! with one more tag is another one.

use std::collections::HashMap;

use krs_core::oci::digest::Digest;
use krs_core::oci::platform::Platform;
use krs_core::oci::reference::{RegistryHost, RepositoryName, Tag};

use crate::model::job::CopyJob;
use crate::model::target::Target;
use crate::model::task::CopyTarget;

type What<'a> = (&'a RegistryHost, &'a RepositoryName, &'a Digest, &'a [Tag], &'a [Platform]);

/// The targets of a set by what they are.
pub(crate) struct Index<'a>(HashMap<What<'a>, usize>);

impl<'a> Index<'a> {
    pub(crate) fn new(targets: &'a [Target]) -> Self {
        let what = |t: &'a Target| {
            (&t.registry, &t.repository, &t.digest, t.tags.as_slice(), t.platforms.as_slice())
        };
        Self(targets.iter().enumerate().map(|(n, target)| (what(target), n)).collect())
    }

    /// For each target of the Job, in the Job's order, its position among the targets of the set, where the set still has it.
    pub(crate) fn positions(&self, job: &CopyJob) -> Vec<Option<usize>> {
        let registry = &job.task.destination.registry;
        let position = |t: &CopyTarget| {
            let what = (registry, &t.repository, &t.digest, t.tags.as_slice(), t.platforms.as_slice());
            self.0.get(&what).copied()
        };
        job.task.targets.iter().map(position).collect()
    }
}
