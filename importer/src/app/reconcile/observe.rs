// SPDX-License-Identifier: Apache-2.0
//! What is found out about a set before anything is decided.

use krs_core::crd::reason;
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::Reference;
use krs_core::redact::printable;

use super::blocked::BlockedImages;
use super::collisions::{self, Collisions};
use super::edge::RegistryView;
use super::error::ReconcileError;
use super::job_reads::Jobs;
use super::jobs;
use super::observed::Observed;
use super::ownership::{self, Ownership};
use super::resolve;
use super::secrets::Secrets;
use super::set_reconcile::SetReconcile;
use super::sources::{SourceFailures, Sources};
use super::wanted::{self, ParsedSpec};
use crate::engine::decide::Blocker;
use crate::model::required_images::SetName;
use crate::model::state::SetState;

/// Most characters of the API server's refusal that are shown.
const MAX_REFUSAL: usize = 300;

/// What a reference stands for, as far as it is known.
pub(super) fn digest(reference: &Reference, state: &SetState) -> Option<Digest> {
    reference.digest.or_else(|| state.resolved.get(&reference.to_string()).map(|resolved| resolved.digest))
}

/// The obstacle of a set whose Jobs the importer may not read: it does not know what is copied. (T-175)
fn jobs_forbidden(set: &SetName, registry_view: &str) -> Blocker {
    let (namespace, registry_view) = (&set.namespace, printable(registry_view, MAX_REFUSAL));
    let message = format!(
        "the importer may not read the copy Jobs of this set or their Pods in namespace {namespace}: {registry_view}; allow it `get`, `list`, `watch`, `create` and `delete` of Jobs and `get` and `list` of Pods there (the chart's Role does)"
    );
    Blocker { reason: reason::JOBS_FORBIDDEN, message, stalled: true }
}

impl SetReconcile<'_> {
    /// Finds out everything that the decision needs.
    pub(super) async fn observe(
        &self,
        secrets: &Secrets<'_>,
        state: &mut SetState,
    ) -> Result<Observed, ReconcileError> {
        let spec = &self.set.spec;
        let known = self.importer.sets.update(&self.uid, |entry| entry.known.take()).unwrap_or_default();
        let mut observed = Observed {
            wanted: None,
            targets: Vec::new(),
            unresolved: Vec::new(),
            blocker: None,
            collisions: Collisions::new(),
            blocked: BlockedImages::new(),
            registry_view: RegistryView::default(),
            queried_at: self.now,
            known,
            checks_all: false,
            renewals_wait: false,
            is_checking: false,
            is_unfinished: false,
            again_at: None,
            left_alone_until: None,
            registry_secret: None,
            ca_keys: Vec::new(),
            is_destination_read: false,
            jobs: Jobs::default(),
            are_jobs_known: true,
        };
        let read = match &self.unreadable {
            Some(why) => Err(wanted::unreadable(why)),
            None => wanted::read(spec),
        };
        match read {
            Ok(wanted) => observed.wanted = Some(wanted),
            Err(blocker) => observed.blocker = Some(blocker),
        }
        match self.jobs(observed.wanted.as_ref(), state).await {
            Ok(jobs) => observed.jobs = jobs,
            Err(ReconcileError::Api { source: kube::Error::Api(status), .. }) if status.code == 403 => {
                observed.are_jobs_known = false;
                observed.blocker = Some(jobs_forbidden(&self.name, &status.message));
            }
            Err(error) => return Err(error),
        }
        if let Some(wanted) = &observed.wanted {
            let allowed = wanted::allowed(
                &wanted.destination,
                spec,
                &self.name.namespace,
                &self.importer.parts.destinations,
            );
            observed.blocker = observed.blocker.take().or(allowed.err());
            let idle = observed.blocker.is_some() || spec.suspend;
            let unanswered = self.resolve(secrets, wanted, state, idle).await?;
            (observed.blocked, observed.again_at) = (unanswered.blocked, unanswered.left_alone_until);
            let digest = |reference: &Reference| digest(reference, state);
            match wanted.targets(spec, digest) {
                Ok(targets) => observed.targets = targets,
                Err(blocker) => observed.blocker = Some(blocker),
            }
            let images = wanted.images.iter().enumerate();
            let open = images.filter(|(_, image)| digest(&image.reference).is_none());
            observed.unresolved = open.map(|(position, _)| position).collect();
            let namespace = &self.name.namespace;
            let withheld = resolve::withheld(namespace, spec, wanted, &observed.unresolved, &self.stock);
            for (position, why) in withheld {
                // What its registry said against it comes first.
                observed.blocked.entry(position).or_insert(why);
            }
        }
        self.name_targets(&mut observed);
        if observed.blocker.is_none() && !spec.suspend {
            self.check_registry(secrets, &mut observed, state).await?;
        }
        Self::refused(&mut observed);
        Ok(observed)
    }

    /// Records which names the set gives at the edge, and takes from its targets those that it cannot have.
    fn name_targets(&self, observed: &mut Observed) {
        let writes = observed.blocker.is_none() && !self.set.spec.suspend;
        let (created, facts) = (wanted::created(self.set), &self.importer.facts);
        let Some(wanted) = observed.wanted.as_ref().filter(|_| writes) else {
            facts.claim(&self.name, created, false, &[]);
            return;
        };
        observed.collisions = collisions::within(&mut observed.targets, &wanted.images);
        let contested = facts.claim(&self.name, created, true, &observed.targets);
        let lost = collisions::give_up(&mut observed.targets, &wanted.images, &self.name, contested);
        observed.collisions.extend(lost);
    }

    /// The Jobs of the set that the importer created. Those of others are nothing to it.
    pub(super) async fn jobs(
        &self,
        wanted: Option<&ParsedSpec>,
        state: &mut SetState,
    ) -> Result<Jobs, ReconcileError> {
        self.delete_overdue(state).await;
        let repositories = wanted.map(ParsedSpec::repositories).unwrap_or_default();
        let mut ownership = Ownership::new(state.jobs.as_ref(), &repositories, self.now);
        let reader = self.importer.job_reader(&self.name.namespace, &self.uid, self.now);
        let found = reader.read(&mut ownership).await;
        let found = found.map_err(ReconcileError::api("the copy Jobs cannot be read"))?;
        // What 0.1 left is adopted once it is known what the set writes to.
        if wanted.is_some() || state.jobs.is_some() {
            state.jobs = Some(ownership.finish());
        }
        Ok(found)
    }

    /// Forgets the names of Jobs that ended so early that Kubernetes deleted them. Where it did not, that is made up for.
    async fn delete_overdue(&self, state: &mut SetState) {
        let (client, namespace) = (&self.importer.parts.client, &self.name.namespace);
        let Some(jobs) = &mut state.jobs else { return };
        for (name, uid) in ownership::overdue(jobs, self.now) {
            if let Err(error) = jobs::delete(client, namespace, &name, &uid).await {
                let (set, error) = (self.name.to_string(), krs_core::error::chain(&error));
                tracing::debug!(set, job = name, error, "an ended copy Job cannot be deleted");
                return;
            }
            jobs.remove(&name);
        }
    }

    async fn resolve(
        &self,
        secrets: &Secrets<'_>,
        wanted: &ParsedSpec,
        state: &mut SetState,
        idle: bool,
    ) -> Result<SourceFailures, ReconcileError> {
        let (parts, spec) = (&self.importer.parts, &self.set.spec);
        let known = resolve::known(
            parts,
            &self.name.namespace,
            spec,
            wanted,
            &self.stock,
            state,
            self.resync,
            self.now,
        );
        if idle {
            // A set that does nothing raises no mark.
            return Ok(SourceFailures::default());
        }
        resolve::use_answers(&parts.marks, &known, state, self.now).await?;
        if known.unresolved.is_empty() {
            return Ok(SourceFailures::default());
        }
        let (registries, set, now) = (&self.importer.registries, &self.name, self.now);
        let sources = Sources { parts, registries, secrets, set, spec, now };
        let unanswered = sources.resolve(wanted, &known.unresolved, state).await;
        unanswered.map_err(ReconcileError::api("Secrets cannot be read"))
    }
}
