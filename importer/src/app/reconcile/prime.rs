// SPDX-License-Identifier: Apache-2.0
//! What is learnt of all sets before the first is reconciled: the names that they give at the edge, and their copy Jobs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use krs_core::crd::EdgeImageSet;
use kube::ResourceExt as _;

use super::ownership::{Ownership, Repositories};
use super::reconciler::Reconciler;
use super::wanted;
use crate::adapters::heartbeat::Heartbeat;
use crate::adapters::stored::StoredSet;
use crate::model::job::CopyJob;
use crate::model::required_images::SetName;

/// How long the Jobs of sets are asked about in vain before the others wait for the next turn.
const PRIMING_TIMEOUT: Duration = Duration::from_secs(20);

impl Reconciler {
    /// Whether it is known what a set gives names to.
    pub fn knows(&self, set: &EdgeImageSet) -> bool {
        SetName::of(set).is_none_or(|name| self.facts.knows(&name))
    }

    /// Takes note of the names that a set gives.
    ///
    /// # Errors
    /// What is remembered of the set cannot be read, so that it is not known what its tags stand for.
    pub async fn prime(&self, set: &EdgeImageSet) -> Result<(), kube::Error> {
        let (Some(name), Some(uid)) = (SetName::of(set), set.uid()) else { return Ok(()) };
        if self.facts.knows(&name) {
            return Ok(());
        }
        let state = self.memory.load(&uid).await?;
        // Meanwhile it may have been reconciled, which knows better.
        if !self.facts.knows(&name) {
            let writes = wanted::may_write(set, &self.parts.destinations);
            let targets = wanted::preview(set, &self.stock(), &state);
            self.facts.claim(&name, wanted::created(set), writes, &targets);
        }
        Ok(())
    }

    /// Takes note of the copy Jobs of `sets` that are not known yet; `heartbeat` beats for each. Jobs that the importer may
    /// not read hold up nothing here: the set says so when it is reconciled.
    ///
    /// # Errors
    /// The API server did not answer for some of them; the last reason.
    pub async fn prime_jobs(
        &self,
        sets: &[Arc<StoredSet>],
        heartbeat: &Heartbeat,
    ) -> Result<(), kube::Error> {
        let started = Instant::now();
        let mut failed = Ok(());
        for stored in sets {
            let (Some(namespace), Some(uid)) = (stored.namespace(), stored.uid()) else { continue };
            if self.facts.knows_jobs(&uid) {
                continue;
            }
            match self.jobs_of(stored, &namespace, &uid).await {
                // It may be reconciled by now, and know more.
                Ok(_) if self.facts.knows_jobs(&uid) => {}
                Ok(jobs) => drop(self.facts.runs(&namespace, &uid, &jobs)),
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    self.facts.runs_unknown(&namespace, &uid);
                }
                Err(error) => failed = Err(error),
            }
            heartbeat.beat();
            if failed.is_err() && started.elapsed() >= PRIMING_TIMEOUT {
                break;
            }
        }
        failed
    }

    async fn jobs_of(
        &self,
        stored: &StoredSet,
        namespace: &str,
        uid: &str,
    ) -> Result<Vec<CopyJob>, kube::Error> {
        let state = self.memory.load(uid).await?;
        let repositories = match &state.jobs {
            Some(_) => Repositories::new(),
            // Jobs of version 0.1 are the set's by what they write to.
            None => wanted::read(&stored.set().spec).map(|wanted| wanted.repositories()).unwrap_or_default(),
        };
        let now = (self.parts.clock)();
        let mut ownership = Ownership::new(state.jobs.as_ref(), &repositories, now);
        self.job_reader(namespace, uid, now).copies(&mut ownership).await
    }
}
