// SPDX-License-Identifier: Apache-2.0
//! The steps of one look at one set.

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
use super::waiting_for_secret::{self, MENDED_BY_SECRETS, Quiet};
use crate::engine::decide::Intervals;
use crate::engine::update_state::{copying_targets, last_bundle, record_ended_jobs, update_state};
use crate::model::bundle_inventory::BundleInventory;
use crate::model::clock::time_left;
use crate::model::job::{CopyJob, JobPhase};
use crate::model::required_images::SetName;
use crate::model::state::SetState;

/// Least time between two full looks at a set that waits for a mended Secret: a wrong password is not tried often.
const PATIENCE: Duration = Duration::from_secs(60);

/// One look at one set.
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

    /// Looks, and answers when to look again.
    pub(super) async fn run(&self) -> Result<Option<Duration>, ReconcileError> {
        if let Some(wait) = self.nothing_mended().await? {
            return Ok(Some(wait));
        }
        let secrets = Secrets::new(&self.importer.parts.client, &self.name.namespace);
        let loaded = self.importer.memory.load(&self.uid).await;
        let before = loaded.map_err(ReconcileError::api("the stored state of the set cannot be read"))?;
        let mut state = before.clone();
        self.take_request(&mut state);
        let mut seen = self.observe(&secrets, &mut state).await?;
        self.content_found(&mut seen, &mut state);
        if seen.wanted.is_some() {
            let (answers, jobs) = (&seen.said.answers, &seen.jobs.list);
            state = update_state(&state, &seen.targets, answers, seen.asked_at, jobs, self.now);
            state.bundle = last_bundle(&state, &seen.jobs.list, &self.stock);
            record_ended_jobs(&mut state, &seen.targets, &seen.jobs.list);
        }
        self.note_losses(&mut seen, &before);
        // A look that was not complete goes on in the next round.
        if !seen.said.answers.is_empty() && !seen.said.complete {
            state.looked_at = before.looked_at;
        }
        seen.goes_on = !seen.said.answers.is_empty() && !seen.said.complete && !seen.is_checking;
        seen.known.record(&seen.said.answers, seen.said.complete, seen.asked_at);
        for (key, answer) in seen.known.answers() {
            seen.said.answers.entry(key).or_insert(answer);
        }
        self.answer_request(&seen, &mut state);
        Self::content_damage(&mut seen, &state);
        self.save(&state).await?;
        self.count(&before, &state, &seen);
        self.delete_succeeded(&seen.jobs, &state).await;
        self.read_content(&secrets, &seen, &state).await?;
        let decision = self.act(&secrets, &mut seen, &mut state).await?;
        let mut summary = decision.summary;
        // One whose Pods are refused copies nothing.
        let runs = |job: &CopyJob| {
            matches!(job.phase, JobPhase::Running { .. }) && !seen.jobs.refused.contains_key(&job.name)
        };
        let copying = seen.jobs.list.iter().any(runs);
        blocked::say(&mut summary, &self.set.spec, &seen.blocked, copying);
        let wait = report::write(self.importer, self.set, &self.name, &self.uid, &summary, &state).await?;
        seen.known.copying = copying_targets(&seen.targets, &seen.jobs.list);
        // Where an error comes first, all is asked again.
        let again = self.again(decision.again, wait, &seen, &state, &secrets);
        self.importer.sets.update(&self.uid, |entry| entry.known = Some(std::mem::take(&mut seen.known)));
        Ok(Some(again))
    }

    /// How long to wait where only a mended Secret would help, and none was mended.
    async fn nothing_mended(&self) -> Result<Option<Duration>, ReconcileError> {
        let sets = &self.importer.sets;
        let quiet = sets.update(&self.uid, |entry| entry.waiting_for_secret.clone());
        let restore_in = sets.written(&self.uid, |written| written.restore_in(self.now)).flatten();
        let Some(quiet) = quiet.filter(|quiet| quiet.holds(self.set, &self.stock, self.now)) else {
            return Ok(None);
        };
        if restore_in.is_some_and(|wait| wait.is_zero()) {
            return Ok(None);
        }
        let client = &self.importer.parts.client;
        let now = secrets::versions(client, &self.name.namespace, &quiet.versions).await;
        let now = now.map_err(ReconcileError::api("Secrets cannot be read"))?;
        let wait = time_left(self.now, quiet.until).min(waiting_for_secret::LOOK);
        let wait = restore_in.map_or(wait, |restore_in| wait.min(restore_in));
        if now != quiet.versions {
            sets.update(&self.uid, |entry| entry.known = None);
            return Ok(None);
        }
        Ok(Some(wait))
    }

    fn again(
        &self,
        again: Duration,
        write: Option<Duration>,
        seen: &Observed,
        state: &SetState,
        secrets: &Secrets<'_>,
    ) -> Duration {
        let mut again = again.min(self.resync);
        let mended = |reason: &str| MENDED_BY_SECRETS.contains(&reason);
        let waits = seen.blocker.as_ref().is_some_and(|blocker| mended(blocker.reason))
            || seen.blocked.values().any(|(reason, _)| mended(reason))
            || state.attempts.values().any(|attempt| mended(&attempt.reason));
        let running = seen.jobs.list.iter().any(|job| matches!(job.phase, JobPhase::Running { .. }));
        let mut waiting = None;
        if waits && !running && write.is_none() {
            let patience = again.max(PATIENCE).min(self.resync);
            let until = self.now.checked_add(patience).unwrap_or(self.now);
            let (stock, versions) = (Arc::clone(&self.stock), secrets.versions());
            waiting = Some(Quiet::new(self.set, stock, versions, self.now, until));
        }
        self.importer.sets.update(&self.uid, |entry| entry.waiting_for_secret = waiting);
        if waits || !seen.jobs.refused.is_empty() {
            again = again.min(waiting_for_secret::LOOK);
        }
        if let Some(until) = seen.left_alone_until {
            again = time_left(self.now, until).max(Duration::from_secs(1));
        }
        if let Some(at) = seen.again_at {
            again = again.min(time_left(self.now, at).max(Duration::from_secs(1)));
        }
        if seen.goes_on || seen.known.is_suspected {
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
