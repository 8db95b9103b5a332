// SPDX-License-Identifier: Apache-2.0
//! Asks the destination registry of a set about what is not known.

use std::collections::BTreeMap;

use krs_core::registry::Client;

use super::checks::{self, Check, NoTurn, Outcome};
use super::clients::ClientKey;
use super::edge::{Edge, blocker, edge_options};
use super::error::ReconcileError;
use super::observed::Observed;
use super::probes;
use super::sampling::is_sampled;
use super::secrets::{SecretError, Secrets};
use super::set_reconcile::SetReconcile;
use super::waiting_for_secret::{self, MENDED_BY_SECRETS};
use crate::engine::advice::Whose;
use crate::engine::update_state::{CheckKind, copying_targets, due_checks, ended_targets, is_look_due};
use crate::model::answer::Answer;
use crate::model::clock::is_over;
use crate::model::state::{Request, SetState};
use crate::model::target::{Target, TargetKey};

/// Longest value of the annotation that asks for a reconcile, in characters (the definition's limit); the rest is ignored.
const MAX_REQUEST: usize = 256;

impl SetReconcile<'_> {
    /// Asks the edge registry about what is not known, with what the set's Secrets hold now.
    pub(super) async fn ask(
        &self,
        secrets: &Secrets<'_>,
        seen: &mut Observed,
        state: &mut SetState,
    ) -> Result<(), ReconcileError> {
        let Some(registry) = seen.wanted.as_ref().map(|wanted| wanted.destination.registry.clone()) else {
            return Ok(());
        };
        let mut touched = ended_targets(&seen.targets, state, &seen.jobs.list);
        let copying = copying_targets(&seen.targets, &seen.jobs.list);
        // A Job may be gone before anybody saw its end.
        touched.extend(seen.known.copying.difference(&copying));
        let requested_at = waiting_for_secret::requested_at(self.set);
        seen.known.retain(
            &seen.targets,
            &touched,
            &self.stock,
            requested_at.as_deref(),
            self.resync,
            self.now,
        );
        let is_suspected = self.importer.samples.is_suspected(&registry, seen.known.checked);
        seen.checks_all = seen.known.is_suspected || is_suspected;
        if seen.checks_all {
            state.looked_at = None;
        }
        seen.renewals_wait = self.renewals_wait(seen, state);
        let running = self.importer.sets.update(&self.uid, |entry| entry.check.take());
        let mut running = running.filter(|check| check.counts(requested_at.as_deref(), self.now));
        if let Some(check) = &mut running {
            check.stale.extend(touched.iter().chain(&copying));
        }
        let probes = self.probes(seen, state);
        if running.is_none() && probes.is_empty() && self.due(seen, state).is_empty() {
            return Ok(());
        }
        let found = self.destination(secrets, &registry).await;
        let failing = seen.targets.iter().filter(|target| {
            let attempt = state.attempts.get(&target.key);
            attempt.is_some_and(|attempt| MENDED_BY_SECRETS.contains(&attempt.reason.as_str()))
        });
        let logins = failing.filter_map(|target| Some((target.source_secret.as_deref()?, target)));
        for target in logins.collect::<BTreeMap<_, _>>().into_values() {
            self.source_login(secrets, target, &mut seen.blocked).await?;
        }
        let (login, ca_certs) = match found {
            Ok(found) => found,
            Err(SecretError::Api(error)) => {
                return Err(ReconcileError::api("Secrets cannot be read")(error));
            }
            Err(SecretError::Blocker(blocker)) => {
                self.mended(secrets, state, &mut seen.jobs).await?;
                seen.blocker = Some(blocker);
                return Ok(());
            }
        };
        self.mended(secrets, state, &mut seen.jobs).await?;
        let (tls, deny_list) = (self.set.spec.destination_tls.as_ref(), &self.importer.parts.deny_list);
        let whose = Whose::Destination(Some(self.importer.parts.config.destination_tls.allow_plain_http));
        let key = self.client_key(&registry, &secrets.versions());
        let credentials = login.as_ref().map(|login| &login.credentials);
        let pem = ca_certs.as_ref().map(|ca| ca.pem.clone());
        let make = || Client::new(edge_options(&registry, tls, credentials, pem, deny_list));
        let client = match self.importer.registries.clients.get(&key, self.now, make) {
            Ok(client) => client,
            Err(error) => {
                seen.blocker = Some(blocker(&error, whose));
                return Ok(());
            }
        };
        seen.destination_read(login, ca_certs.as_ref());
        let edge = Edge::new(client, registry, deny_list, whose);
        self.check(running.filter(|check| check.is_for(&key)), edge, key, seen, state, probes).await;
        for (key, blobs) in std::mem::take(&mut seen.said.contents) {
            let Some(target) = seen.targets.iter().find(|target| target.key == key) else { continue };
            self.importer.facts.holds(&self.name, target, blobs.into_iter());
        }
        Ok(())
    }

    /// Takes note of a reconcile that somebody asks for: what is known from before does not count.
    pub(super) fn take_request(&self, state: &mut SetState) {
        let Some(value) = waiting_for_secret::requested_at(self.set).filter(|_| !self.set.spec.suspend)
        else {
            return;
        };
        let value = value.chars().take(MAX_REQUEST).collect::<String>();
        if state.requested.as_ref().is_some_and(|request| request.value == value) {
            return;
        }
        let handled = state.requested.take().and_then(|request| request.handled);
        state.requested = Some(Request { value, at: self.now, handled });
    }

    /// The request is handled once the registry was asked about every target, or could not be.
    pub(super) fn answer_request(&self, seen: &Observed, state: &mut SetState) {
        let due = self.due(seen, state);
        let answered = |target: &Target| seen.said.answers.contains_key(&target.key);
        // What is only to be renewed was verified since.
        let open = |(target, how): &(Target, CheckKind)| *how != CheckKind::Renew && !answered(target);
        let handled = seen.blocker.is_some() || !due.iter().any(open);
        if let Some(request) = state.requested.as_mut().filter(|_| handled && !self.set.spec.suspend) {
            request.handled = Some(request.value.clone());
        }
    }

    /// Targets that the registry is to be asked about now: of those that are present a sample, and of those whose proofs are
    /// old as many as may be verified now.
    fn due(&self, seen: &Observed, state: &SetState) -> Vec<(Target, CheckKind)> {
        let mut due = due_checks(&seen.targets, state, self.resync, self.verify, self.now);
        due.retain(|(target, how)| *how == CheckKind::Head || !seen.known.suffices(&target.key, *how));
        let mut renewals = self.renewals(seen);
        let look = is_look_due(state, self.resync, self.now);
        due.retain_mut(|(_, how)| {
            if *how == CheckKind::Renew {
                match renewals.checked_sub(1) {
                    Some(left) => renewals = left,
                    // It is seen to be there, as others are.
                    None if look => *how = CheckKind::Head,
                    None => return false,
                }
            }
            true
        });
        let count = due.iter().filter(|(_, how)| *how == CheckKind::Head).count();
        let quota = match seen.targets.first() {
            Some(target) if !seen.checks_all => {
                let (samples, all) = (&self.importer.samples, seen.targets.len());
                samples.quota(&self.name, &target.registry, all, self.resync)
            }
            _ => count,
        };
        let mut position = 0;
        let mut is_in_sample = |how: CheckKind| {
            if how != CheckKind::Head {
                return true;
            }
            position += 1;
            is_sampled(position - 1, count, quota, self.resync, self.now)
        };
        let sample = due.into_iter().filter(|(_, how)| is_in_sample(*how));
        let open = sample.filter(|(target, how)| !seen.known.suffices(&target.key, *how));
        open.map(|(target, how)| (target.clone(), how)).collect()
    }

    /// What running Jobs may have brought since the registry was last asked for it.
    fn probes(&self, seen: &mut Observed, state: &SetState) -> Vec<Vec<(Target, CheckKind)>> {
        let jobs = seen.jobs.list.iter().filter(|job| seen.jobs.started.contains(&job.name));
        let jobs = jobs.collect::<Vec<_>>();
        let is_known = |key: &TargetKey| seen.known.has(key);
        let probes = probes::probes(&seen.targets, state, &jobs, is_known);
        if probes.is_empty() {
            return probes;
        }
        match seen.known.probed {
            Some(probed) if is_over(probed, probes::INTERVAL, self.now) => {
                seen.known.probed = Some(self.now);
                probes
            }
            // What just started has brought nothing.
            probed => {
                seen.known.probed = probed.or(Some(self.now));
                Vec::new()
            }
        }
    }

    /// Whether more targets have old proofs than may be verified now.
    fn renewals_wait(&self, seen: &Observed, state: &SetState) -> bool {
        let due = due_checks(&seen.targets, state, self.resync, self.verify, self.now);
        let is_open = |(target, how): &(&Target, CheckKind)| {
            *how == CheckKind::Renew && !seen.known.suffices(&target.key, CheckKind::Renew)
        };
        due.iter().filter(|due| is_open(due)).count() > self.renewals(seen)
    }

    /// How many targets may be verified only because their proofs are old.
    fn renewals(&self, seen: &Observed) -> usize {
        let Some(registry) = seen.targets.first().map(|target| &target.registry) else { return 0 };
        let (count, intervals) = (seen.targets.len(), (self.resync, self.verify));
        self.importer.renewals.available(&self.name, registry, count, intervals, self.now)
    }

    /// What is missing that was present has the rest of the set checked, and the other sets of the registry.
    pub(super) fn note_losses(&self, seen: &mut Observed, before: &SetState) {
        if seen.checks_all && seen.said.complete {
            (seen.known.checked, seen.known.is_suspected) = (Some(seen.asked_at), false);
        }
        let is_lost = |(key, answer): (&TargetKey, &Answer)| {
            matches!(answer, Answer::Missing { .. }) && before.proofs.contains_key(key)
        };
        if seen.said.answers.iter().any(is_lost)
            && let Some(target) = seen.targets.first()
        {
            let told = self.importer.samples.miss(&target.registry, self.now);
            seen.known.is_suspected |= !seen.checks_all;
            self.importer.registries.wake(&told);
        }
    }

    /// Takes what a check found out that `running`, or starts one.
    async fn check(
        &self,
        running: Option<Check>,
        edge: Edge,
        key: ClientKey,
        seen: &mut Observed,
        state: &SetState,
        probes: Vec<Vec<(Target, CheckKind)>>,
    ) {
        let registries = &self.importer.registries;
        let registry = key.connection.registry.clone();
        let check = match running {
            Some(check) => check,
            None => match registries.turn(&key, &self.name, self.now) {
                Ok(turn) => {
                    let due = self.due(seen, state);
                    let renewed = due.iter().filter(|(_, how)| *how == CheckKind::Renew).count();
                    self.importer.renewals.take(&registry, renewed);
                    let lists = due.into_iter().map(|target| vec![target]).chain(probes).collect();
                    let requested_at = waiting_for_secret::requested_at(self.set);
                    Check::start(turn, edge, key, self.name.clone(), lists, requested_at, self.now)
                }
                Err(NoTurn::Busy) => return,
                Err(NoTurn::LeftAlone(left)) => {
                    seen.blocker = Some(checks::left_alone(&registry, &left));
                    seen.left_alone_until = Some(left.until);
                    return;
                }
            },
        };
        let started = check.started;
        match check.outcome().await {
            Ok((Outcome::RegistryView(mut said), stale)) => {
                // What is there stays there, whatever a Job does.
                said.answers.retain(|key, answer| *answer == Answer::Whole || !stale.contains(key));
                (seen.said, seen.asked_at) = (said, started);
            }
            Ok((Outcome::Blocker(blocker), _)) => seen.blocker = Some(blocker),
            Err(check) => {
                seen.is_checking = true;
                if check.is_without_answer() {
                    seen.blocker = Some(Check::no_answer(&registry));
                }
                self.importer.sets.update(&self.uid, |entry| entry.check = Some(check));
            }
        }
    }
}
