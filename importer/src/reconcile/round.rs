// SPDX-License-Identifier: Apache-2.0
//! The steps of one look at one set.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use krs_core::crd::{EdgeImageSet, reason};
use krs_core::digest::Digest;
use krs_core::reference::{Reference, RegistryHost};
use krs_core::registry::Client;
use kube::ResourceExt as _;

use super::blocked::{self, Blocked};
use super::checks::{self, Check, NoTurn, Outcome};
use super::clients::{ClientKey, Connection};
use super::collisions::{self, Collisions};
use super::edge::{Edge, Said, edge_options, obstacle};
use super::hosts::Purpose;
use super::jobs::{self, Jobs};
use super::known::KnownAnswers;
use super::ownership::Ownership;
use super::quiet::{self, MENDED_BY_SECRETS, Quiet, Versions};
use super::secrets::{self, Login, SecretError, Secrets};
use super::wanted::{self, Wanted};
use super::{Importer, ReconcileError, lock, report, resolve};
use crate::decide::{CopyJob, Intervals, JobPhase, Obstacle};
use crate::demand::SetName;
use crate::remember::{Ask, asks, copying_targets, ended_targets, last_bundle, remember};
use crate::state::{Request, SetState};
use crate::stock::Stock;
use crate::target::Target;

/// Least time between two full looks at a set that waits for a mended Secret: a wrong password is not tried often.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest value of the annotation that asks for a reconcile, in characters (the definition's limit); the rest is ignored.
const MAX_REQUEST: usize = 256;

/// One look at one set.
pub(super) struct Round<'a> {
    pub(super) importer: &'a Importer,
    pub(super) set: &'a EdgeImageSet,
    pub(super) name: SetName,
    pub(super) uid: String,
    pub(super) now: Timestamp,
    pub(super) stock: Arc<Stock>,
    /// Why the spec cannot be read.
    unreadable: Option<String>,
    resync: Duration,
    verify: Duration,
}

/// What was found out about a set.
pub(super) struct Seen {
    /// The spec, where it is understood.
    pub(super) wanted: Option<Wanted>,
    pub(super) targets: Vec<Target>,
    pub(super) unresolved: Vec<usize>,
    pub(super) obstacle: Option<Obstacle>,
    pub(super) collisions: Collisions,
    pub(super) blocked: Blocked,
    pub(super) said: Said,
    /// When the registry was asked for that.
    asked_at: Timestamp,
    /// What the registry said before and was not asked again.
    pub(super) known: KnownAnswers,
    /// Whether a check of the registry goes on.
    is_checking: bool,
    /// Whether a check ended before all targets were asked about.
    goes_on: bool,
    /// When the registry is asked again that is left alone.
    left_alone_until: Option<Timestamp>,
    pub(super) login: Option<Login>,
    /// Whether the Secrets that the destination names were read.
    pub(super) is_destination_read: bool,
    pub(super) jobs: Jobs,
}

/// What a reference stands for, as far as it is known.
pub(super) fn digest(reference: &Reference, state: &SetState) -> Option<Digest> {
    reference.digest.or_else(|| state.resolved.get(&reference.to_string()).map(|resolved| resolved.digest))
}

impl<'a> Round<'a> {
    pub(super) fn new(
        set: &'a EdgeImageSet,
        unreadable: Option<String>,
        importer: &'a Importer,
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
        let before = loaded.map_err(ReconcileError::api("what is remembered of the set cannot be read"))?;
        let mut state = before.clone();
        self.take_request(&mut state);
        let mut seen = self.observe(&secrets, &mut state).await?;
        self.content_found(&mut seen, &mut state);
        if seen.wanted.is_some() {
            let (answers, jobs) = (&seen.said.answers, &seen.jobs.list);
            state = remember(&state, &seen.targets, answers, seen.asked_at, jobs, self.now);
            state.bundle = last_bundle(&state, &seen.jobs.list, &self.stock);
        }
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
        self.read_content(&secrets, &seen, &state).await?;
        let decision = self.act(&secrets, &mut seen, &mut state).await?;
        let mut verdict = decision.verdict;
        let runs = |job: &CopyJob| matches!(job.phase, JobPhase::Running { .. });
        let copying = seen.jobs.list.iter().any(runs);
        blocked::say(&mut verdict, &self.set.spec, &seen.blocked, copying);
        let wait = report::write(self.importer, self.set, &self.name, &self.uid, &verdict, &state).await?;
        seen.known.copying = copying_targets(&seen.targets, &seen.jobs.list);
        // Where an error comes first, all is asked again.
        lock(&self.importer.known).insert(self.uid.clone(), std::mem::take(&mut seen.known));
        Ok(Some(self.again(decision.again, wait, &seen, &state, &secrets)))
    }

    /// How long to wait where only a mended Secret would help, and none was mended.
    async fn nothing_mended(&self) -> Result<Option<Duration>, ReconcileError> {
        let quiet = lock(&self.importer.quiet).get(&self.uid).cloned();
        let Some(quiet) = quiet.filter(|quiet| quiet.holds(self.set, &self.stock, self.now)) else {
            return Ok(None);
        };
        let client = &self.importer.parts.client;
        let now = secrets::versions(client, &self.name.namespace, &quiet.versions).await;
        let now = now.map_err(ReconcileError::api("Secrets cannot be read"))?;
        let wait = quiet::until(self.now, quiet.until).min(quiet::LOOK);
        if now != quiet.versions {
            lock(&self.importer.known).remove(&self.uid);
            return Ok(None);
        }
        Ok(Some(wait))
    }

    fn again(
        &self,
        again: Duration,
        write: Option<Duration>,
        seen: &Seen,
        state: &SetState,
        secrets: &Secrets<'_>,
    ) -> Duration {
        let mut again = again.min(self.resync);
        let mended = |reason: &str| MENDED_BY_SECRETS.contains(&reason);
        let waits = seen.obstacle.as_ref().is_some_and(|obstacle| mended(obstacle.reason))
            || seen.blocked.values().any(|(reason, _)| mended(reason))
            || state.attempts.values().any(|attempt| mended(&attempt.reason));
        let running = seen.jobs.list.iter().any(|job| matches!(job.phase, JobPhase::Running { .. }));
        lock(&self.importer.quiet).remove(&self.uid);
        if waits && !running && write.is_none() {
            let patience = again.max(PATIENCE).min(self.resync);
            let until = self.now.checked_add(patience).unwrap_or(self.now);
            let quiet = Quiet::new(self.set, Arc::clone(&self.stock), secrets.versions(), until);
            lock(&self.importer.quiet).insert(self.uid.clone(), quiet);
        }
        if waits || !seen.jobs.refused.is_empty() {
            again = again.min(quiet::LOOK);
        }
        if let Some(until) = seen.left_alone_until {
            again = quiet::until(self.now, until).max(Duration::from_secs(1));
        }
        if seen.goes_on {
            again = Duration::from_secs(1);
        }
        // Sets that were created together are not reconciled together each time. Later, not earlier: what is due then is due.
        let jitter = self.now.subsec_nanosecond().unsigned_abs() % 100;
        let again = again + again * jitter / 1000;
        write.map_or(again, |write| again.min(write))
    }

    pub(super) async fn save(&self, state: &SetState) -> Result<(), ReconcileError> {
        let saved = self.importer.memory.save(&self.uid, state).await;
        saved.map_err(ReconcileError::api("what is remembered of the set cannot be kept"))
    }

    /// Finds out everything that the decision needs.
    async fn observe(&self, secrets: &Secrets<'_>, state: &mut SetState) -> Result<Seen, ReconcileError> {
        let spec = &self.set.spec;
        let known = lock(&self.importer.known).remove(&self.uid).unwrap_or_default();
        let mut seen = Seen {
            wanted: None,
            targets: Vec::new(),
            unresolved: Vec::new(),
            obstacle: None,
            collisions: Collisions::new(),
            blocked: Blocked::new(),
            said: Said::default(),
            asked_at: self.now,
            known,
            is_checking: false,
            goes_on: false,
            left_alone_until: None,
            login: None,
            is_destination_read: false,
            jobs: Jobs::default(),
        };
        let read = match &self.unreadable {
            Some(why) => Err(wanted::unreadable(why)),
            None => wanted::read(spec),
        };
        match read {
            Ok(wanted) => seen.wanted = Some(wanted),
            Err(obstacle) => seen.obstacle = Some(obstacle),
        }
        seen.jobs = self.jobs(seen.wanted.as_ref(), state).await?;
        if let Some(wanted) = &seen.wanted {
            let allowed =
                wanted::allowed(&wanted.destination, &self.name.namespace, &self.importer.parts.destinations);
            seen.obstacle = allowed.err();
            let idle = seen.obstacle.is_some() || spec.suspend;
            seen.blocked = self.resolve(secrets, wanted, state, idle).await?;
            let digest = |reference: &Reference| digest(reference, state);
            match wanted.targets(spec, digest) {
                Ok(targets) => seen.targets = targets,
                Err(obstacle) => seen.obstacle = Some(obstacle),
            }
            let images = wanted.images.iter().enumerate();
            let open = images.filter(|(_, image)| digest(&image.reference).is_none());
            seen.unresolved = open.map(|(place, _)| place).collect();
            let namespace = &self.name.namespace;
            let withheld = resolve::withheld(namespace, spec, wanted, &seen.unresolved, &self.stock);
            for (place, why) in withheld {
                // What its registry said against it comes first.
                seen.blocked.entry(place).or_insert(why);
            }
        }
        self.name_targets(&mut seen);
        if seen.obstacle.is_none() && !spec.suspend {
            self.ask(secrets, &mut seen, state).await?;
        }
        self.refused(&mut seen, state);
        Ok(seen)
    }

    /// Records which names the set gives at the edge, and takes from its targets those that it cannot have.
    fn name_targets(&self, seen: &mut Seen) {
        let writes = seen.obstacle.is_none() && !self.set.spec.suspend;
        let (created, facts) = (wanted::created(self.set), &self.importer.facts);
        let Some(wanted) = seen.wanted.as_ref().filter(|_| writes) else {
            facts.claim(&self.name, created, false, &[]);
            return;
        };
        seen.collisions = collisions::within(&mut seen.targets, &wanted.images);
        let contested = facts.claim(&self.name, created, true, &seen.targets);
        let lost = collisions::give_up(&mut seen.targets, &wanted.images, &self.name, contested);
        seen.collisions.extend(lost);
    }

    /// The Jobs of the set that the importer created. Those of others are nothing to it.
    pub(super) async fn jobs(
        &self,
        wanted: Option<&Wanted>,
        state: &mut SetState,
    ) -> Result<Jobs, ReconcileError> {
        let ended = lock(&self.importer.reports).get(&self.uid).cloned().unwrap_or_default();
        let client = &self.importer.parts.client;
        let repositories = wanted.map(Wanted::repositories).unwrap_or_default();
        let mut ownership = Ownership::new(state.jobs.as_ref(), &repositories, self.now);
        let owns = |job: &Job| ownership.owns(job);
        let found = jobs::list(client, &self.name.namespace, &self.uid, &ended, owns, self.now).await;
        let found = found.map_err(ReconcileError::api("the copy Jobs cannot be listed"))?;
        // What 0.1 left is adopted once it is known what the set writes to.
        if wanted.is_some() || state.jobs.is_some() {
            state.jobs = Some(ownership.finish());
        }
        Ok(found)
    }

    async fn resolve(
        &self,
        secrets: &Secrets<'_>,
        wanted: &Wanted,
        state: &mut SetState,
        idle: bool,
    ) -> Result<Blocked, ReconcileError> {
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
            return Ok(Blocked::new());
        }
        resolve::use_answers(&parts.marks, &known, state, self.now).await?;
        if known.ask.is_empty() {
            return Ok(Blocked::new());
        }
        let blocked = resolve::ask(parts, secrets, spec, wanted, &known.ask, state, self.now).await;
        blocked.map_err(ReconcileError::api("Secrets cannot be read"))
    }

    /// Asks the edge registry about what is not known, with what the set's Secrets hold now.
    async fn ask(
        &self,
        secrets: &Secrets<'_>,
        seen: &mut Seen,
        state: &mut SetState,
    ) -> Result<(), ReconcileError> {
        let Some(registry) = seen.wanted.as_ref().map(|wanted| wanted.destination.registry.clone()) else {
            return Ok(());
        };
        let mut touched = ended_targets(&seen.targets, state, &seen.jobs.list);
        let copying = copying_targets(&seen.targets, &seen.jobs.list);
        // A Job may be gone before anybody saw its end.
        touched.extend(seen.known.copying.difference(&copying));
        let requested_at = quiet::requested_at(self.set);
        seen.known.retain(
            &seen.targets,
            &touched,
            &self.stock,
            requested_at.as_deref(),
            self.resync,
            self.now,
        );
        let running = lock(&self.importer.checks).remove(&self.uid);
        let mut running = running.filter(|check| check.counts(requested_at.as_deref(), self.now));
        if let Some(check) = &mut running {
            check.stale.extend(touched.iter().chain(&copying));
        }
        if running.is_none() && self.due(seen, state).is_empty() {
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
        let (login, authorities) = match found {
            Ok(found) => found,
            Err(SecretError::Api(error)) => {
                return Err(ReconcileError::api("Secrets cannot be read")(error));
            }
            Err(SecretError::Obstacle(obstacle)) => {
                self.mended(secrets, state, &mut seen.jobs).await?;
                seen.obstacle = Some(obstacle);
                return Ok(());
            }
        };
        self.mended(secrets, state, &mut seen.jobs).await?;
        let (tls, barred) = (self.set.spec.destination_tls.as_ref(), &self.importer.parts.barred);
        let key = self.client_key(&registry, &secrets.versions());
        let credentials = login.as_ref().map(|login| &login.credentials);
        let make = || Client::new(edge_options(&registry, tls, credentials, authorities, barred));
        let client = match self.importer.registries.clients.get(&key, self.now, make) {
            Ok(client) => client,
            Err(error) => {
                seen.obstacle = Some(obstacle(&error));
                return Ok(());
            }
        };
        (seen.login, seen.is_destination_read) = (login, true);
        let edge = Edge::new(client, registry, barred);
        self.check(running.filter(|check| check.is_for(&key)), edge, key, seen, state).await;
        for (key, blobs) in std::mem::take(&mut seen.said.contents) {
            let Some(target) = seen.targets.iter().find(|target| target.key == key) else { continue };
            self.importer.facts.holds(&self.name, target, blobs.into_iter());
        }
        Ok(())
    }

    /// Takes note of a reconcile that somebody asks for: what is known from before does not count.
    fn take_request(&self, state: &mut SetState) {
        let Some(value) = quiet::requested_at(self.set).filter(|_| !self.set.spec.suspend) else { return };
        let value = value.chars().take(MAX_REQUEST).collect::<String>();
        if state.requested.as_ref().is_some_and(|request| request.value == value) {
            return;
        }
        let handled = state.requested.take().and_then(|request| request.handled);
        state.requested = Some(Request { value, at: self.now, handled });
    }

    /// The request is handled once the registry was asked about every target, or could not be.
    fn answer_request(&self, seen: &Seen, state: &mut SetState) {
        let due = self.due(seen, state);
        let answered = |target: &Target| seen.said.answers.contains_key(&target.key);
        let handled = seen.obstacle.is_some() || due.iter().all(|(target, _)| answered(target));
        if let Some(request) = state.requested.as_mut().filter(|_| handled && !self.set.spec.suspend) {
            request.handled = Some(request.value.clone());
        }
    }

    /// Targets that the registry is to be asked about now.
    fn due(&self, seen: &Seen, state: &SetState) -> Vec<(Target, Ask)> {
        let due = asks(&seen.targets, state, &seen.jobs.list, self.resync, self.verify, self.now);
        let due = due.into_iter().filter(|(target, how)| !seen.known.suffices(&target.key, *how));
        due.map(|(target, how)| (target.clone(), how)).collect()
    }

    /// Takes what a check found out that `running`, or starts one.
    async fn check(
        &self,
        running: Option<Check>,
        edge: Edge,
        key: ClientKey,
        seen: &mut Seen,
        state: &SetState,
    ) {
        let registries = &self.importer.registries;
        let connection = key.connection.clone();
        let check = match running {
            Some(check) => check,
            None => match registries.turn(&connection, &self.name, self.now) {
                Ok(turn) => {
                    let (due, requested_at) = (self.due(seen, state), quiet::requested_at(self.set));
                    Check::start(turn, edge, key, self.name.clone(), due, requested_at, self.now)
                }
                Err(NoTurn::Busy) => return,
                Err(NoTurn::LeftAlone(left)) => {
                    seen.obstacle = Some(checks::left_alone(&connection, &left));
                    seen.left_alone_until = Some(left.until);
                    return;
                }
            },
        };
        let started = check.started;
        match check.outcome().await {
            Ok((Outcome::Said(mut said), stale)) => {
                said.answers.retain(|key, _| !stale.contains(key));
                (seen.said, seen.asked_at) = (said, started);
            }
            Ok((Outcome::Obstacle(obstacle), _)) => seen.obstacle = Some(obstacle),
            Err(check) => {
                seen.is_checking = true;
                if check.is_without_answer() {
                    seen.obstacle = Some(Check::no_answer(&connection));
                }
                lock(&self.importer.checks).insert(self.uid.clone(), check);
            }
        }
    }

    /// What the client of the destination depends on, by the versions of the Secrets and ConfigMaps that were read.
    fn client_key(&self, registry: &RegistryHost, versions: &Versions) -> ClientKey {
        let object = |kind: &str, name: Option<&String>| {
            let key = format!("{kind}/{}", name?);
            let version = versions.get(&key)?.clone()?;
            Some((key, version))
        };
        let tls = self.set.spec.destination_tls.as_ref();
        let ca_certs = object("secret", tls.and_then(|tls| tls.ca_secret_name.as_ref()))
            .or_else(|| object("configmap", tls.and_then(|tls| tls.ca_config_map_name.as_ref())));
        let namespace = self.name.namespace.clone();
        ClientKey {
            connection: Connection {
                registry: registry.clone(),
                plain_http: tls.is_some_and(|tls| tls.plain_http),
                insecure: tls.is_some_and(|tls| tls.insecure_skip_verify),
                ca_certs: ca_certs.map(|ca_certs| (namespace.clone(), ca_certs)),
            },
            credentials: object("secret", self.set.spec.destination_client_secret_name.as_ref()),
            namespace,
        }
    }

    /// Reads the credentials of the destination for the Jobs, where the registry did not have to be asked.
    pub(super) async fn read_destination(
        &self,
        secrets: &Secrets<'_>,
        seen: &mut Seen,
    ) -> Result<(), ReconcileError> {
        if seen.is_destination_read {
            return Ok(());
        }
        let Some(registry) = seen.wanted.as_ref().map(|wanted| wanted.destination.registry.clone()) else {
            return Ok(());
        };
        match self.destination(secrets, &registry).await {
            Ok((login, _)) => (seen.login, seen.is_destination_read) = (login, true),
            Err(SecretError::Api(error)) => return Err(ReconcileError::api("Secrets cannot be read")(error)),
            Err(SecretError::Obstacle(obstacle)) => seen.obstacle = Some(obstacle),
        }
        Ok(())
    }

    /// The login and the authorities of the destination.
    pub(super) async fn destination(
        &self,
        secrets: &Secrets<'_>,
        registry: &RegistryHost,
    ) -> Result<(Option<Login>, Option<Vec<u8>>), SecretError> {
        let spec = &self.set.spec;
        let login = match &spec.destination_client_secret_name {
            Some(name) => {
                let purpose = Purpose::Destination(registry);
                Some(secrets.login(name, "spec.destinationClientSecretName", purpose).await?)
            }
            None => None,
        };
        let tls = spec.destination_tls.as_ref();
        let secret = tls.and_then(|tls| tls.ca_secret_name.as_deref());
        let map = tls.and_then(|tls| tls.ca_config_map_name.as_deref());
        let authorities = match (secret, map) {
            (Some(name), _) => Some(secrets.authorities(name, "spec.destinationTLS.caSecretName").await?),
            (None, Some(name)) => {
                Some(secrets.config_map_authorities(name, "spec.destinationTLS.caConfigMapName").await?)
            }
            (None, None) => None,
        };
        Ok((login, authorities))
    }

    /// Whether the login of a target's own registry can be used; else its images are blocked.
    pub(super) async fn source_login(
        &self,
        secrets: &Secrets<'_>,
        target: &Target,
        blocked: &mut Blocked,
    ) -> Result<bool, ReconcileError> {
        let (Some(name), Some(first)) = (&target.source_secret, target.images.first()) else {
            return Ok(true);
        };
        let purpose = Purpose::Source(&target.reference.registry);
        match secrets.login(name, &resolve::source_field(*first), purpose).await {
            Ok(_) => Ok(true),
            Err(SecretError::Api(error)) => Err(ReconcileError::api("Secrets cannot be read")(error)),
            Err(SecretError::Obstacle(why)) => {
                blocked.extend(target.images.iter().map(|place| (*place, (why.reason, why.message.clone()))));
                Ok(false)
            }
        }
    }

    /// Forgets what failed for want of a good Secret once a Secret has changed. The failed Jobs go first: as long as they
    /// are there, they would be counted again.
    async fn mended(
        &self,
        secrets: &Secrets<'_>,
        state: &mut SetState,
        jobs: &mut Jobs,
    ) -> Result<(), ReconcileError> {
        let versions =
            secrets.versions().into_iter().map(|(key, version)| (key, version.unwrap_or_default()));
        let versions = versions.collect::<BTreeMap<_, _>>();
        let changed =
            versions.iter().any(|(key, version)| state.versions.get(key).is_some_and(|old| old != version));
        state.versions.extend(versions);
        if !changed {
            return Ok(());
        }
        let curable = |reason: &str| MENDED_BY_SECRETS.contains(&reason) || reason == reason::IMAGE_NOT_FOUND;
        state.attempts.retain(|_, attempt| !curable(&attempt.reason));
        let failed = jobs.list.iter().filter(|job| matches!(job.phase, JobPhase::Failed { .. }));
        for name in failed.map(|job| job.name.clone()).collect::<Vec<_>>() {
            self.delete(jobs, &name).await?;
        }
        Ok(())
    }

    pub(super) async fn delete(&self, jobs: &mut Jobs, name: &str) -> Result<(), ReconcileError> {
        let Some(uid) = jobs.uids.get(name) else { return Ok(()) };
        let deleted = jobs::delete(&self.importer.parts.client, &self.name.namespace, name, uid).await;
        deleted.map_err(ReconcileError::api("a copy Job cannot be deleted"))?;
        tracing::info!(set = %self.name, job = name, "copy Job deleted");
        jobs.list.retain(|job| job.name != name);
        Ok(())
    }

    /// Images are blocked whose Jobs the API server refuses, or refused last time, or whose Pods it refuses.
    fn refused(&self, seen: &mut Seen, state: &SetState) {
        for target in &seen.targets {
            let attempt = state.attempts.get(&target.key);
            if let Some(attempt) = attempt.filter(|attempt| attempt.reason == reason::JOB_REJECTED) {
                let why = |place: &usize| (*place, (reason::JOB_REJECTED, attempt.message.clone()));
                seen.blocked.extend(target.images.iter().map(why));
            }
        }
        for job in &seen.jobs.list {
            let Some(message) = seen.jobs.refused.get(&job.name) else { continue };
            for copied in &job.task.targets {
                let of_job = |target: &&Target| {
                    target.digest == copied.digest && target.repository == copied.repository
                };
                let places = seen.targets.iter().filter(of_job).flat_map(|target| &target.images);
                let why = |place: &usize| (*place, (reason::JOB_REJECTED, message.clone()));
                seen.blocked.extend(places.map(why));
            }
        }
    }
}
