// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod due;
mod media;
mod simulation;
mod sites;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use krs_core::crd::{EdgeImageSetSpec, reason};
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::{Destination, RegistryHost, RepositoryName};
use serde_json::json;

use super::*;
use crate::engine::job_targets::Index;
use crate::model::answer::Answer;
use crate::model::bundle_inventory::{BundleInventory, Refusal, StockBundle, StockImage};
use crate::model::job::FailedPod;
use crate::model::marks::MarkComparison;
use crate::model::policy::AllowList;
use crate::model::readers::Readers;
use crate::model::state::{Attempt, SetState};
use crate::model::target::{Target, TargetKey, targets};
use crate::model::task::{CopyReport, CopyTarget, CopyTask, DestinationEndpoint, TargetFailure, TaskSource};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn digest(n: usize) -> Digest {
    Digest::of(n.to_string().as_bytes())
}

/// A set and all that is observed of it; tests change what they are about.
struct Site {
    now: Timestamp,
    spec: EdgeImageSetSpec,
    targets: Vec<Target>,
    unresolved: Vec<usize>,
    collisions: BTreeMap<usize, String>,
    blocker: Option<Blocker>,
    answers: BTreeMap<TargetKey, Answer>,
    state: SetState,
    jobs: Vec<CopyJob>,
    busy: BTreeSet<(RegistryHost, RepositoryName)>,
    blob_locations: BTreeMap<Digest, Vec<RepositoryName>>,
    stock: BundleInventory,
    online: bool,
    sources: AllowList,
    free_jobs: usize,
    kept_jobs: usize,
}

impl Site {
    /// A set of `n` images that are missing, in a bundle that is there.
    fn of(n: usize) -> Self {
        let images = (0..n).map(|n| format!("docker.io/library/app{n}:1@{}", digest(n)));
        Self::with(&images.collect::<Vec<_>>())
    }

    fn with(images: &[String]) -> Self {
        let list = images.iter().map(|image| json!({"image": image})).collect::<Vec<_>>();
        let spec: EdgeImageSetSpec =
            serde_json::from_value(json!({"destinationRegistry": "edge.local:5000", "images": list}))
                .unwrap();
        let checked = krs_core::set::check_spec(&spec).unwrap();
        let destination: Destination = "edge.local:5000".parse().unwrap();
        let targets = targets(&destination, &checked, |_| None, |r| r.digest).unwrap();
        let missing = |t: &Target| (t.key, Answer::Missing { what: format!("manifest {}", t.digest) });
        let stock = BundleInventory {
            scanned: true,
            bundles: vec![bundle(118, &targets)],
            ..BundleInventory::default()
        };
        Self {
            now: at(0),
            answers: targets.iter().map(missing).collect(),
            spec,
            targets,
            unresolved: Vec::new(),
            collisions: BTreeMap::new(),
            blocker: None,
            state: SetState::default(),
            jobs: Vec::new(),
            busy: BTreeSet::new(),
            blob_locations: BTreeMap::new(),
            stock,
            online: false,
            sources: AllowList::default(),
            free_jobs: 8,
            kept_jobs: 0,
        }
    }

    fn decide(&self) -> Decision {
        decide(&Observation {
            now: self.now,
            spec: &self.spec,
            namespace: "apps",
            targets: &self.targets,
            unresolved: &self.unresolved,
            collisions: &self.collisions,
            blocker: self.blocker.clone(),
            answers: &self.answers,
            state: &self.state,
            jobs: &self.jobs,
            busy: &self.busy,
            blob_locations: &self.blob_locations,
            stock: &self.stock,
            renew_in: None,
            limits: Limits {
                online: self.online,
                sources: &self.sources,
                free_jobs: self.free_jobs,
                kept_jobs: self.kept_jobs,
            },
        })
    }

    fn mark_verified(&mut self, position: usize) {
        self.state.verified_at.insert(self.targets[position].key, self.now);
        self.answers.remove(&self.targets[position].key);
    }

    fn mark_all_verified(&mut self) {
        (0..self.targets.len()).for_each(|position| self.mark_verified(position));
    }

    fn fail(&mut self, position: usize, count: u32, reason: &str) {
        let attempt = Attempt {
            count,
            at: self.now,
            reason: reason.to_owned(),
            message: format!("it failed: {reason}"),
            job: "krs-job".to_owned(),
        };
        self.state.attempts.insert(self.targets[position].key, attempt);
        self.state.tried.insert(self.targets[position].key, self.stock.bundles[0].digest);
    }
}

fn bundle(sequence: u64, targets: &[Target]) -> StockBundle {
    let image = |t: &Target| StockImage {
        reference: t.reference.clone(),
        digest: t.digest,
        platforms: Vec::new(),
        size: 1000,
        contents: vec![Digest::of(b"shared"), Digest::of(t.repository.as_str().as_bytes())],
        partial: false,
        expected_in: Vec::new(),
        patches: None,
        readers: Readers::Any,
    };
    StockBundle {
        name: format!("prod-{sequence}"),
        stream: "prod".parse().unwrap(),
        sequence,
        identity: Digest::of(format!("identity {sequence}").as_bytes()),
        standing: MarkComparison::Current,
        digest: Digest::of(format!("bundle {sequence}").as_bytes()),
        created_at: at(0),
        present: true,
        ready: true,
        images: targets.iter().map(image).collect(),
    }
}

/// A Job as it would be read back from the cluster.
fn running(n: usize, batch: &Batch) -> CopyJob {
    CopyJob {
        name: format!("krs-job-{n}-{}", batch.attempt),
        batch: format!("{n:010}"),
        attempt: batch.attempt,
        task: CopyTask {
            destination: DestinationEndpoint {
                registry: batch.targets[0].0.registry.clone(),
                plain_http: false,
                insecure_skip_verify: false,
            },
            source: match &batch.source {
                BatchSource::Bundle { digest, name } => {
                    TaskSource::Bundle { digest: *digest, name: name.clone(), ca: String::new() }
                }
                BatchSource::Registry { .. } => TaskSource::Registry { plain_http: false },
            },
            targets: batch.targets.iter().map(|(t, from)| CopyTarget::of(t, from)).collect(),
        },
        created: None,
        suspended: false,
        phase: JobPhase::Running { waiting: None, failed: None },
    }
}
