// SPDX-License-Identifier: Apache-2.0
//! What is done about a set after it was reconciled: what it needs is published, Jobs are created and deleted.

use std::collections::{BTreeMap, BTreeSet};

use krs_core::crd::reason;
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::RepositoryName;

use kube::Resource as _;

use super::error::ReconcileError;
use super::jobs::{self, JobCreation};
use super::observed::Observed;
use super::ownership::{OwnedJobs, announce};
use super::reservation::Reservation;
use super::secrets::Secrets;
use super::set_reconcile::SetReconcile;
use super::shared_state::Elsewhere;
use super::slots::Slots;
use super::wanted;
use crate::adapters::metrics::{ResultLabels, SetLabels};
use crate::engine::decide::{Decision, Limits, Observation, copied_bundles, decide, needs, withheld};
use crate::engine::failures::known_failure;
use crate::engine::job::{self, JobContext};
use crate::engine::set_content::set_images;
use crate::engine::update_state::remember_rejection;
use crate::model::answer::Answer;
use crate::model::job::{Batch, BatchSource, CopyJob, JobPhase};
use crate::model::site_content::SetContent;
use crate::model::state::SetState;
use crate::model::target::TargetKey;

impl SetReconcile<'_> {
    /// Decides, and does what was decided.
    pub(super) async fn act(
        &self,
        secrets: &Secrets<'_>,
        observed: &mut Observed,
        state: &mut SetState,
    ) -> Result<Decision, ReconcileError> {
        let wakeups = &self.importer.registries.wakeups;
        let ended_before = wakeups.ended();
        let blob_locations = self.blob_locations(observed, state);
        let (mut decision, mut reserved) = self.decide_and_reserve(observed, state, &blob_locations);
        if !decision.create.is_empty() {
            let read = self.read_destination(secrets, observed).await;
            if read.is_err() || observed.blocker.is_some() {
                drop(reserved);
                read?;
                (decision, reserved) = self.decide_and_reserve(observed, state, &blob_locations);
            }
        }
        self.needs(observed, state, &decision);
        if decision.waits_for_jobs {
            wakeups.wait(&self.uid, &self.name, ended_before);
        } else {
            wakeups.wait_no_more(&self.uid);
        }
        let mut rejected = Vec::new();
        let result = match self.delete_all(observed, &decision.delete).await {
            Ok(()) => self.create(secrets, observed, state, &mut reserved, &mut rejected).await,
            Err(error) => Err(error),
        };
        drop(reserved);
        self.measure_running();
        result?;
        if rejected.is_empty() {
            return Ok(decision);
        }
        self.remember_rejected(observed, state, rejected).await?;
        // What the Jobs of this reconcile are not created for waits for the next one.
        let after = self.decide(observed, state, &blob_locations, false);
        Ok(Decision { delete: Vec::new(), ..after })
    }

    /// Decides, and takes what the new Jobs need before another set decides. Nothing is waited for in between. (T-176)
    fn decide_and_reserve(
        &self,
        observed: &Observed,
        state: &SetState,
        blob_locations: &BTreeMap<Digest, Vec<RepositoryName>>,
    ) -> (Decision, Reservation<'_>) {
        let _deciding = self.importer.deciding.lock();
        self.note_jobs(observed);
        let mut decision = self.decide(observed, state, blob_locations, true);
        let recorded = state.jobs.as_ref();
        // The name of a Job that ended is taken until Kubernetes deletes it.
        let is_taken = |name: &str| {
            let owned = recorded.and_then(|jobs| jobs.get(name));
            owned.is_some_and(|owned| owned.uid.is_some())
        };
        let mut named = Vec::new();
        for batch in &mut decision.create {
            let mut name = job::name_of(self.set, batch);
            while is_taken(&name) {
                batch.attempt = batch.attempt.saturating_add(1);
                name = job::name_of(self.set, batch);
            }
            named.push((name, batch.clone()));
        }
        let reserved = Reservation::new(self.importer, &self.name, &self.uid, named);
        (decision, reserved)
    }

    /// Takes note of the Jobs of the set as they were read.
    fn note_jobs(&self, observed: &Observed) {
        let namespace = &self.name.namespace;
        if observed.are_jobs_known {
            self.importer.runs(namespace, &self.uid, &observed.jobs.list);
        } else {
            self.importer.facts.runs_unknown(namespace, &self.uid);
        }
    }

    fn measure_running(&self) {
        let label = ResultLabels { result: "running".to_owned() };
        let count = i64::try_from(self.importer.facts.count_running()).unwrap_or(i64::MAX);
        self.importer.parts.metrics.jobs.get_or_create(&label).set(count);
    }

    async fn delete_all(&self, observed: &mut Observed, names: &[String]) -> Result<(), ReconcileError> {
        for name in names {
            self.delete(&mut observed.jobs, name).await?;
            self.importer.release(&self.uid, name);
        }
        Ok(())
    }

    fn decide(
        &self,
        observed: &Observed,
        state: &SetState,
        blob_locations: &BTreeMap<Digest, Vec<RepositoryName>>,
        may_create: bool,
    ) -> Decision {
        let parts = &self.importer.parts;
        let Elsewhere { mut running, busy } =
            self.importer.facts.elsewhere(&self.name.namespace, &self.uid, self.now);
        let here = observed.jobs.list.iter().filter(|job| job.is_active()).count();
        *running.entry(self.name.namespace.clone()).or_default() += here;
        let (max, namespaces) = (parts.config.jobs.max, self.importer.facts.namespaces());
        let free = Slots { max, running: &running, namespaces: &namespaces }.free(&self.name.namespace);
        decide(&Observation {
            now: self.now,
            spec: &self.set.spec,
            namespace: &self.name.namespace,
            targets: &observed.targets,
            unresolved: &observed.unresolved,
            collisions: &observed.collisions,
            blocker: observed.blocker.clone(),
            answers: &observed.registry_view.answers,
            state,
            jobs: &observed.jobs.list,
            busy: &busy,
            blob_locations,
            stock: &self.stock,
            limits: Limits {
                online: parts.config.online.enabled,
                sources: &parts.sources,
                free_jobs: if may_create { free.jobs } else { 0 },
                kept_jobs: free.kept,
            },
            renew_in: observed.renewals_wait.then_some(self.resync),
        })
    }

    /// Repositories that blobs of missing images can be linked from.
    fn blob_locations(&self, observed: &Observed, state: &SetState) -> BTreeMap<Digest, Vec<RepositoryName>> {
        let missing = observed.targets.iter().filter(|target| !state.verified_at.contains_key(&target.key));
        let namespace = &self.name.namespace;
        let found =
            missing.filter_map(|target| self.stock.find(namespace, &target.digest, &target.platforms));
        let blobs = found.flat_map(|(_, image)| image.contents.iter().copied()).collect::<BTreeSet<_>>();
        let Some(wanted) = observed.wanted.as_ref().filter(|_| !blobs.is_empty()) else {
            return BTreeMap::new();
        };
        let share = self.importer.config().share_across_namespaces;
        self.importer.facts.blob_locations(&self.name.namespace, share, &wanted.destination.registry, &blobs)
    }

    /// Publishes what the set needs, before a Job exists that asks for it.
    fn needs(&self, observed: &Observed, state: &SetState, decision: &Decision) {
        let images = observed.wanted.as_ref().map(|wanted| wanted.images.as_slice()).unwrap_or_default();
        let (spec, blocker, jobs) = (&self.set.spec, observed.blocker.as_ref(), &observed.jobs.list);
        let mut needs = needs(spec, blocker, images, &observed.targets, state, jobs, decision);
        if !observed.are_jobs_known {
            needs.copying_from = self.importer.facts.copied_from(&self.name);
        }
        if let Some(Ok(_)) = self.importer.config().site_name() {
            let registry = observed.wanted.as_ref().map(|wanted| &wanted.destination.registry);
            let found = set_images(spec, blocker, registry, images, &observed.targets, state);
            needs.content = SetContent::new(&found);
        }
        self.importer.facts.needs(&self.name, needs);
    }

    /// Takes note of what Jobs of a set that is being deleted still do; says whether one runs. A finalizer may keep the set
    /// for long, and Kubernetes its Jobs with it.
    pub(super) async fn still_copies(&self) -> Result<bool, ReconcileError> {
        let loaded = self.importer.memory.load(&self.uid).await;
        let mut state = loaded.map_err(ReconcileError::api("the stored state of the set cannot be read"))?;
        let wanted = wanted::read(&self.set.spec).ok();
        let jobs = self.jobs(wanted.as_ref(), &mut state).await?.list;
        self.importer.facts.copies_from(&self.name, copied_bundles(&jobs).collect());
        let runs = jobs.iter().any(CopyJob::is_active);
        self.importer.runs(&self.name.namespace, &self.uid, &jobs);
        Ok(runs)
    }

    /// Creates the Jobs of what is `reserved`. Those that the API server refuses go to `rejected`; those of which a Secret
    /// is missing wait for it.
    async fn create(
        &self,
        secrets: &Secrets<'_>,
        observed: &mut Observed,
        state: &mut SetState,
        reserved: &mut Reservation<'_>,
        rejected: &mut Vec<(Batch, String, String)>,
    ) -> Result<(), ReconcileError> {
        let parts = &self.importer.parts;
        let registry_ca = parts.registry_ca.borrow().clone();
        let surroundings = JobContext {
            config: &parts.config,
            registry_ca: &registry_ca,
            destination_is_dockerconfigjson: observed
                .registry_secret
                .as_ref()
                .is_some_and(|registry_secret| registry_secret.is_dockerconfigjson),
            destination_ca_keys: &observed.ca_keys.clone(),
        };
        let mut announced = Vec::new();
        for (name, batch) in reserved.batches() {
            if !self.can_read_source(secrets, &batch, observed).await? || !self.may_copy(&batch, observed) {
                reserved.release(&name);
                continue;
            }
            let mut job = job::build(self.set, &batch, &surroundings);
            let jobs = state.jobs.get_or_insert_default();
            let nonce = announce(jobs, &name, self.now).map_err(|_| ReconcileError::Random)?;
            job::mark(&mut job, &nonce);
            announced.push((batch, name, job));
        }
        if announced.is_empty() {
            return Ok(());
        }
        // Before any of them exists, so that after a crash they are known.
        self.save(state).await?;
        for (batch, name, job) in announced {
            reserved.may_exist(&name);
            let made = jobs::create(&parts.client, &self.name.namespace, &job).await;
            let jobs = state.jobs.get_or_insert_default();
            match made.map_err(ReconcileError::api("a copy Job cannot be created"))? {
                JobCreation::Exists(uid) => {
                    if let Some(owned) = jobs.get_mut(&name) {
                        owned.uid = Some(uid);
                    }
                    self.log_start(&batch, &name);
                    observed.jobs.list.extend(job::read(&job, &[]));
                }
                JobCreation::Rejected(why) => {
                    jobs.remove(&name);
                    reserved.release(&name);
                    rejected.push((batch, name, why));
                }
            }
        }
        // From now on their UIDs count: their nonces can be read.
        self.save(state).await
    }

    /// Whether the credentials of the registry that a batch is read from can be used; else its images are blocked.
    async fn can_read_source(
        &self,
        secrets: &Secrets<'_>,
        batch: &Batch,
        observed: &mut Observed,
    ) -> Result<bool, ReconcileError> {
        let mut usable = true;
        if matches!(batch.source, BatchSource::Registry { .. }) {
            for (target, _) in &batch.targets {
                usable &= self.source_secret(secrets, target, &mut observed.blocked).await?;
            }
        }
        Ok(usable)
    }

    /// Whether the bundle lists all images of the batch for the set's namespace, by the drop folder as it is now; else they
    /// are blocked. The last moment before a Job exists that reads them. (T-123)
    fn may_copy(&self, batch: &Batch, observed: &mut Observed) -> bool {
        let BatchSource::Bundle { digest, .. } = &batch.source else { return true };
        let (stock, namespace) = (self.importer.stock(), &self.name.namespace);
        let Some(bundle) = stock.bundles.iter().find(|bundle| bundle.digest == *digest) else { return true };
        let mut all = true;
        for (target, _) in &batch.targets {
            let held = bundle.images.of_digest(&target.digest).next();
            if held.is_some_and(|image| !stock.serves(namespace, image)) {
                let message = withheld(namespace, &target.reference.to_string(), bundle);
                let why = |position: &usize| (*position, (reason::NAMESPACE_NOT_LISTED, message.clone()));
                observed.blocked.extend(target.images.iter().map(why));
                all = false;
            }
        }
        all
    }

    /// A Job that the API server refuses is a failed attempt. (T-83)
    async fn remember_rejected(
        &self,
        observed: &mut Observed,
        state: &mut SetState,
        rejected: Vec<(Batch, String, String)>,
    ) -> Result<(), ReconcileError> {
        let about = self.set.object_ref(&());
        for (batch, name, why) in rejected {
            let known = |key: &TargetKey| {
                state.attempts.get(key).is_some_and(|attempt| attempt.reason == reason::JOB_REJECTED)
            };
            if !batch.targets.iter().any(|(target, _)| known(&target.key)) {
                self.importer.parts.events.warning(&about, reason::JOB_REJECTED, "CreateJob", &why).await;
            }
            remember_rejection(state, &batch, &name, &why, self.now);
            for (target, _) in &batch.targets {
                let position = |position: &usize| (*position, (reason::JOB_REJECTED, why.clone()));
                observed.blocked.extend(target.images.iter().map(position));
            }
        }
        self.save(state).await
    }

    /// Counts what became present, and what the Jobs sent whose end is accounted for now.
    pub(super) fn count(&self, before: &SetState, after: &SetState, observed: &Observed) {
        let metrics = &self.importer.parts.metrics;
        let is_new =
            |key: &TargetKey| after.verified_at.contains_key(key) && !before.verified_at.contains_key(key);
        let new = observed.targets.iter().filter(|target| is_new(&target.key));
        metrics.images_synchronized.inc_by(new.map(|target| target.images.len() as u64).sum());
        self.measure_corrupt(observed);
        for (name, owned) in after.jobs.iter().flatten() {
            let was_open = |jobs: &OwnedJobs| jobs.get(name).is_none_or(|owned| owned.ended.is_none());
            if owned.ended.is_none() || !before.jobs.as_ref().is_none_or(was_open) {
                continue;
            }
            let Some(job) = observed.jobs.list.iter().find(|job| job.name == *name) else { continue };
            if let JobPhase::Succeeded { report, .. } | JobPhase::Failed { report, .. } = &job.phase {
                self.log_end(job);
                metrics.bytes_synchronized.inc_by(report.as_ref().map_or(0, |report| report.bytes_copied));
            }
        }
    }

    /// Damage is asked about again in each round, so that a round that got answers tells all of it.
    fn measure_corrupt(&self, observed: &Observed) {
        if observed.registry_view.answers.is_empty() {
            return;
        }
        let corrupt = observed
            .targets
            .iter()
            .filter(|t| matches!(observed.registry_view.answers.get(&t.key), Some(Answer::Corrupt { .. })));
        let count = corrupt.map(|target| target.images.len()).sum::<usize>();
        let labels = SetLabels { namespace: self.name.namespace.clone(), name: self.name.name.clone() };
        let metrics = &self.importer.parts.metrics;
        metrics.corrupt.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// One line for a Job that was created.
    fn log_start(&self, batch: &Batch, name: &str) {
        let from = match &batch.source {
            BatchSource::Bundle { name, .. } => format!("bundle {name}"),
            BatchSource::Registry { registry, .. } => registry.to_string(),
        };
        let (set, images, attempt) = (self.name.to_string(), batch.targets.len(), batch.attempt);
        tracing::info!(set, job = name, from, images, attempt, "copy Job created");
    }

    /// One line for a Job that ended.
    fn log_end(&self, job: &CopyJob) {
        let (set, name) = (self.name.to_string(), job.name.as_str());
        match &job.phase {
            JobPhase::Running { .. } => {}
            JobPhase::Succeeded { report, .. } => {
                let bytes = report.as_ref().map_or(0, |report| report.bytes_copied);
                tracing::info!(set, job = name, images = job.task.targets.len(), bytes, "copy Job succeeded");
            }
            JobPhase::Failed { why, report, .. } => {
                let first = report.as_ref().and_then(|report| report.failures.first());
                let (reason, message) = match first {
                    Some(failure) => (known_failure(&failure.reason), failure.message.as_str()),
                    None => (reason::COPY_FAILED, why.as_str()),
                };
                tracing::warn!(set, job = name, reason, why, "copy Job failed: {message}");
            }
        }
    }
}
