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
use crate::engine::update_state::{CheckKind, copying_targets, due_checks, ended_targets, is_head_check_due};
use crate::model::answer::Answer;
use crate::model::clock::is_over;
use crate::model::state::{Request, SetState};
use crate::model::target::{Target, TargetKey};

/// Longest value of the annotation that asks for a reconcile, in characters (the definition's limit); the rest is ignored.
const MAX_REQUEST: usize = 256;

impl SetReconcile<'_> {
    /// Asks the edge registry about what is not known, with what the set's Secrets hold now.
    pub(super) async fn check_registry(
        &self,
        secrets: &Secrets<'_>,
        observed: &mut Observed,
        state: &mut SetState,
    ) -> Result<(), ReconcileError> {
        let Some(registry) = observed.wanted.as_ref().map(|wanted| wanted.destination.registry.clone())
        else {
            return Ok(());
        };
        let mut touched = ended_targets(&observed.targets, state, &observed.jobs.list);
        let copying = copying_targets(&observed.targets, &observed.jobs.list);
        // A Job may be gone before anybody saw its end.
        touched.extend(observed.known.copying.difference(&copying));
        let requested_at = waiting_for_secret::requested_at(self.set);
        observed.known.retain(
            &observed.targets,
            &touched,
            &self.stock,
            requested_at.as_deref(),
            self.resync,
            self.now,
        );
        let is_suspected = self.importer.samples.is_suspected(&registry, observed.known.checked);
        observed.checks_all = observed.known.is_suspected || is_suspected;
        if observed.checks_all {
            state.observed_at = None;
        }
        observed.renewals_wait = self.renewals_wait(observed, state);
        let running = self.importer.sets.update(&self.uid, |entry| entry.check.take());
        let mut running = running.filter(|check| check.counts(requested_at.as_deref(), self.now));
        if let Some(check) = &mut running {
            check.stale.extend(touched.iter().chain(&copying));
        }
        let probes = self.probes(observed, state);
        if running.is_none() && probes.is_empty() && self.due(observed, state).is_empty() {
            return Ok(());
        }
        let found = self.destination(secrets, &registry).await;
        let failing = observed.targets.iter().filter(|target| {
            let attempt = state.attempts.get(&target.key);
            attempt.is_some_and(|attempt| MENDED_BY_SECRETS.contains(&attempt.reason.as_str()))
        });
        let secrets_of_targets =
            failing.filter_map(|target| Some((target.source_secret.as_deref()?, target)));
        for target in secrets_of_targets.collect::<BTreeMap<_, _>>().into_values() {
            self.source_secret(secrets, target, &mut observed.blocked).await?;
        }
        let (registry_secret, ca_certs) = match found {
            Ok(found) => found,
            Err(SecretError::Api(error)) => {
                return Err(ReconcileError::api("Secrets cannot be read")(error));
            }
            Err(SecretError::Blocker(blocker)) => {
                self.mended(secrets, state, &mut observed.jobs).await?;
                observed.blocker = Some(blocker);
                return Ok(());
            }
        };
        self.mended(secrets, state, &mut observed.jobs).await?;
        let (tls, deny_list) = (self.set.spec.destination_tls.as_ref(), &self.importer.parts.deny_list);
        let whose = Whose::Destination(Some(self.importer.parts.config.destination_tls.allow_plain_http));
        let key = self.client_key(&registry, &secrets.versions());
        let credentials = registry_secret.as_ref().map(|registry_secret| &registry_secret.credentials);
        let pem = ca_certs.as_ref().map(|ca| ca.pem.clone());
        let make = || Client::new(edge_options(&registry, tls, credentials, pem, deny_list));
        let client = match self.importer.registries.clients.get(&key, self.now, make) {
            Ok(client) => client,
            Err(error) => {
                observed.blocker = Some(blocker(&error, whose));
                return Ok(());
            }
        };
        observed.destination_read(registry_secret, ca_certs.as_ref());
        let edge = Edge::new(client, registry, deny_list, whose);
        self.check(running.filter(|check| check.is_for(&key)), edge, key, observed, state, probes).await;
        for (key, blobs) in std::mem::take(&mut observed.registry_view.contents) {
            let Some(target) = observed.targets.iter().find(|target| target.key == key) else { continue };
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
    pub(super) fn answer_request(&self, observed: &Observed, state: &mut SetState) {
        let due = self.due(observed, state);
        let answered = |target: &Target| observed.registry_view.answers.contains_key(&target.key);
        // What is only to be renewed was verified since.
        let open = |(target, how): &(Target, CheckKind)| *how != CheckKind::Renew && !answered(target);
        let handled = observed.blocker.is_some() || !due.iter().any(open);
        if let Some(request) = state.requested.as_mut().filter(|_| handled && !self.set.spec.suspend) {
            request.handled = Some(request.value.clone());
        }
    }

    /// Targets that the registry is to be asked about now: of those that are present a sample, and of those whose
    /// verification is old as many as may be verified now.
    fn due(&self, observed: &Observed, state: &SetState) -> Vec<(Target, CheckKind)> {
        let mut due = due_checks(&observed.targets, state, self.resync, self.verify, self.now);
        due.retain(|(target, how)| *how == CheckKind::Head || !observed.known.suffices(&target.key, *how));
        let mut renewals = self.renewals(observed);
        let head_is_due = is_head_check_due(state, self.resync, self.now);
        due.retain_mut(|(_, how)| {
            if *how == CheckKind::Renew {
                match renewals.checked_sub(1) {
                    Some(left) => renewals = left,
                    // It is seen to be there, as others are.
                    None if head_is_due => *how = CheckKind::Head,
                    None => return false,
                }
            }
            true
        });
        let count = due.iter().filter(|(_, how)| *how == CheckKind::Head).count();
        let quota = match observed.targets.first() {
            Some(target) if !observed.checks_all => {
                let (samples, all) = (&self.importer.samples, observed.targets.len());
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
        let open = sample.filter(|(target, how)| !observed.known.suffices(&target.key, *how));
        open.map(|(target, how)| (target.clone(), how)).collect()
    }

    /// What running Jobs may have brought since the registry was last asked for it.
    fn probes(&self, observed: &mut Observed, state: &SetState) -> Vec<Vec<(Target, CheckKind)>> {
        let jobs = observed.jobs.list.iter().filter(|job| observed.jobs.started.contains(&job.name));
        let jobs = jobs.collect::<Vec<_>>();
        let is_known = |key: &TargetKey| observed.known.has(key);
        let probes = probes::probes(&observed.targets, state, &jobs, is_known);
        if probes.is_empty() {
            return probes;
        }
        match observed.known.probed {
            Some(probed) if is_over(probed, probes::INTERVAL, self.now) => {
                observed.known.probed = Some(self.now);
                probes
            }
            // What just started has brought nothing.
            probed => {
                observed.known.probed = probed.or(Some(self.now));
                Vec::new()
            }
        }
    }

    /// Whether more targets were verified long ago than may be verified now.
    fn renewals_wait(&self, observed: &Observed, state: &SetState) -> bool {
        let due = due_checks(&observed.targets, state, self.resync, self.verify, self.now);
        let is_open = |(target, how): &(&Target, CheckKind)| {
            *how == CheckKind::Renew && !observed.known.suffices(&target.key, CheckKind::Renew)
        };
        due.iter().filter(|due| is_open(due)).count() > self.renewals(observed)
    }

    /// How many targets may be verified only because their verification is old.
    fn renewals(&self, observed: &Observed) -> usize {
        let Some(registry) = observed.targets.first().map(|target| &target.registry) else { return 0 };
        let (count, intervals) = (observed.targets.len(), (self.resync, self.verify));
        self.importer.renewals.available(&self.name, registry, count, intervals, self.now)
    }

    /// What is missing that was present has the rest of the set checked, and the other sets of the registry.
    pub(super) fn note_losses(&self, observed: &mut Observed, before: &SetState) {
        if observed.checks_all && observed.registry_view.complete {
            (observed.known.checked, observed.known.is_suspected) = (Some(observed.queried_at), false);
        }
        let is_lost = |(key, answer): (&TargetKey, &Answer)| {
            matches!(answer, Answer::Missing { .. }) && before.verified_at.contains_key(key)
        };
        if observed.registry_view.answers.iter().any(is_lost)
            && let Some(target) = observed.targets.first()
        {
            let to_wake = self.importer.samples.miss(&target.registry, self.now);
            observed.known.is_suspected |= !observed.checks_all;
            self.importer.registries.wake(&to_wake);
        }
    }

    /// Takes what a check found out that `running`, or starts one.
    async fn check(
        &self,
        running: Option<Check>,
        edge: Edge,
        key: ClientKey,
        observed: &mut Observed,
        state: &SetState,
        probes: Vec<Vec<(Target, CheckKind)>>,
    ) {
        let registries = &self.importer.registries;
        let registry = key.connection.registry.clone();
        let check = match running {
            Some(check) => check,
            None => match registries.turn(&key, &self.name, self.now) {
                Ok(turn) => {
                    let due = self.due(observed, state);
                    let renewed = due.iter().filter(|(_, how)| *how == CheckKind::Renew).count();
                    self.importer.renewals.take(&registry, renewed);
                    let lists = due.into_iter().map(|target| vec![target]).chain(probes).collect();
                    let requested_at = waiting_for_secret::requested_at(self.set);
                    Check::start(turn, edge, key, self.name.clone(), lists, requested_at, self.now)
                }
                Err(NoTurn::Busy) => return,
                Err(NoTurn::LeftAlone(left)) => {
                    observed.blocker = Some(checks::left_alone(&registry, &left));
                    observed.left_alone_until = Some(left.until);
                    return;
                }
            },
        };
        let started = check.started;
        match check.outcome().await {
            Ok((Outcome::RegistryView(mut view), stale)) => {
                // What is there stays there, whatever a Job does.
                view.answers.retain(|key, answer| *answer == Answer::Complete || !stale.contains(key));
                (observed.registry_view, observed.queried_at) = (view, started);
            }
            Ok((Outcome::Blocker(blocker), _)) => observed.blocker = Some(blocker),
            Err(check) => {
                observed.is_checking = true;
                if check.is_without_answer() {
                    observed.blocker = Some(Check::no_answer(&registry));
                }
                self.importer.sets.update(&self.uid, |entry| entry.check = Some(check));
            }
        }
    }
}
