// SPDX-License-Identifier: Apache-2.0
//! The steps of one reconcile of one set.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use krs_core::crd::EdgeImageSet;
use kube::ResourceExt as _;

use super::blocked;
use super::error::ReconcileError;
use super::observed::Observed;
use super::reconciler::Reconciler;
use super::report;
use super::secrets::{self, Secrets};
use super::waiting_for_secret::{self, MENDED_BY_SECRETS, WaitingForSecret};
use crate::engine::decide::Intervals;
use crate::engine::update_state::{copying_targets, last_bundle, record_ended_jobs, update_state};
use crate::model::bundle_inventory::BundleInventory;
use crate::model::clock::time_left;
use crate::model::job::{CopyJob, JobPhase};
use crate::model::required_images::SetName;
use crate::model::state::SetState;

/// Least time between two full checks of a set that waits for a mended Secret: a wrong password is not tried often.
const MIN_FULL_INTERVAL: Duration = Duration::from_secs(60);

/// One reconcile of one set.
pub(super) struct SetReconcile<'a> {
    pub(super) importer: &'a Reconciler,
    pub(super) set: &'a EdgeImageSet,
    pub(super) name: SetName,
    pub(super) uid: String,
    pub(super) now: Timestamp,
    pub(super) stock: Arc<BundleInventory>,
    /// Why the spec cannot be read.
    pub(super) unreadable: Option<String>,
    pub(super) resync: Duration,
    pub(super) verify: Duration,
}

impl<'a> SetReconcile<'a> {
    pub(super) fn new(
        set: &'a EdgeImageSet,
        unreadable: Option<String>,
        importer: &'a Reconciler,
    ) -> Result<Self, ReconcileError> {
        let name = SetName::of(set).ok_or(ReconcileError::Nameless)?;
        let uid = set.uid().ok_or(ReconcileError::Nameless)?;
        let Intervals { resync, verify } = Intervals::of(&set.spec);
        let (now, stock) = ((importer.parts.clock)(), importer.stock());
        Ok(Self { importer, set, name, uid, now, stock, unreadable, resync, verify })
    }

    /// Reconciles, and answers when to reconcile again.
    pub(super) async fn run(&self) -> Result<Option<Duration>, ReconcileError> {
        if let Some(wait) = self.nothing_mended().await? {
            return Ok(Some(wait));
        }
        let secrets = Secrets::new(&self.importer.parts.client, &self.name.namespace);
        let loaded = self.importer.memory.load(&self.uid).await;
        let before = loaded.map_err(ReconcileError::api("the stored state of the set cannot be read"))?;
        let mut state = before.clone();
        self.take_request(&mut state);
        let mut observed = self.observe(&secrets, &mut state).await?;
        self.content_found(&mut observed, &mut state);
        if observed.wanted.is_some() {
            let (answers, jobs) = (&observed.registry_view.answers, &observed.jobs.list);
            state = update_state(&state, &observed.targets, answers, observed.queried_at, jobs, self.now);
            state.bundle = last_bundle(&state, &observed.jobs.list, &self.stock);
            record_ended_jobs(&mut state, &observed.targets, &observed.jobs.list);
        }
        self.note_losses(&mut observed, &before);
        // A check that was not complete continues in the next round.
        if !observed.registry_view.answers.is_empty() && !observed.registry_view.complete {
            state.observed_at = before.observed_at;
        }
        observed.is_unfinished = !observed.registry_view.answers.is_empty()
            && !observed.registry_view.complete
            && !observed.is_checking;
        observed.known.record(
            &observed.registry_view.answers,
            observed.registry_view.complete,
            observed.queried_at,
        );
        for (key, answer) in observed.known.answers() {
            observed.registry_view.answers.entry(key).or_insert(answer);
        }
        self.answer_request(&observed, &mut state);
        Self::content_damage(&mut observed, &state);
        self.save(&state).await?;
        self.count(&before, &state, &observed);
        self.delete_succeeded(&observed.jobs, &state).await;
        self.read_content(&secrets, &observed, &state).await?;
        let decision = self.act(&secrets, &mut observed, &mut state).await?;
        let mut summary = decision.summary;
        // One whose Pods are refused copies nothing.
        let runs = |job: &CopyJob| {
            matches!(job.phase, JobPhase::Running { .. }) && !observed.jobs.refused.contains_key(&job.name)
        };
        let copying = observed.jobs.list.iter().any(runs);
        blocked::add_blockers(&mut summary, &self.set.spec, &observed.blocked, copying);
        let wait = report::write(self.importer, self.set, &self.name, &self.uid, &summary, &state).await?;
        observed.known.copying = copying_targets(&observed.targets, &observed.jobs.list);
        // Where an error comes first, all is asked again.
        let again = self.again(decision.again, wait, &observed, &state, &secrets);
        self.importer.sets.update(&self.uid, |entry| entry.known = Some(std::mem::take(&mut observed.known)));
        Ok(Some(again))
    }

    /// How long to wait where only a mended Secret would help, and none was mended.
    async fn nothing_mended(&self) -> Result<Option<Duration>, ReconcileError> {
        let sets = &self.importer.sets;
        let waiting = sets.update(&self.uid, |entry| entry.waiting_for_secret.clone());
        let restore_in = sets.written(&self.uid, |written| written.restore_in(self.now)).flatten();
        let Some(waiting) = waiting.filter(|waiting| waiting.holds(self.set, &self.stock, self.now)) else {
            return Ok(None);
        };
        if restore_in.is_some_and(|wait| wait.is_zero()) {
            return Ok(None);
        }
        let client = &self.importer.parts.client;
        let now = secrets::versions(client, &self.name.namespace, &waiting.versions).await;
        let now = now.map_err(ReconcileError::api("Secrets cannot be read"))?;
        let wait = time_left(self.now, waiting.until).min(waiting_for_secret::CHECK_INTERVAL);
        let wait = restore_in.map_or(wait, |restore_in| wait.min(restore_in));
        if now != waiting.versions {
            sets.update(&self.uid, |entry| entry.known = None);
            return Ok(None);
        }
        Ok(Some(wait))
    }

    fn again(
        &self,
        again: Duration,
        write: Option<Duration>,
        observed: &Observed,
        state: &SetState,
        secrets: &Secrets<'_>,
    ) -> Duration {
        let mut again = again.min(self.resync);
        let mended = |reason: &str| MENDED_BY_SECRETS.contains(&reason);
        let waits = observed.blocker.as_ref().is_some_and(|blocker| mended(blocker.reason))
            || observed.blocked.values().any(|(reason, _)| mended(reason))
            || state.attempts.values().any(|attempt| mended(&attempt.reason));
        let running = observed.jobs.list.iter().any(|job| matches!(job.phase, JobPhase::Running { .. }));
        let mut waiting = None;
        if waits && !running && write.is_none() {
            let limit = again.max(MIN_FULL_INTERVAL).min(self.resync);
            let until = self.now.checked_add(limit).unwrap_or(self.now);
            let (stock, versions) = (Arc::clone(&self.stock), secrets.versions());
            waiting = Some(WaitingForSecret::new(self.set, stock, versions, self.now, until));
        }
        self.importer.sets.update(&self.uid, |entry| entry.waiting_for_secret = waiting);
        if waits || !observed.jobs.refused.is_empty() {
            again = again.min(waiting_for_secret::CHECK_INTERVAL);
        }
        if let Some(until) = observed.left_alone_until {
            again = time_left(self.now, until).max(Duration::from_secs(1));
        }
        if let Some(at) = observed.again_at {
            again = again.min(time_left(self.now, at).max(Duration::from_secs(1)));
        }
        if observed.is_unfinished || observed.known.is_suspected {
            again = Duration::from_secs(1);
        }
        // Sets that were created together are not reconciled together each time. Later, not earlier: what is due then is due.
        let jitter = self.now.subsec_nanosecond().unsigned_abs() % 100;
        let again = again + again * jitter / 1000;
        write.map_or(again, |write| again.min(write))
    }

    pub(super) async fn save(&self, state: &SetState) -> Result<(), ReconcileError> {
        let saved = self.importer.memory.save(&self.uid, state).await;
        saved.map_err(ReconcileError::api("the state of the set cannot be stored"))
    }
}
