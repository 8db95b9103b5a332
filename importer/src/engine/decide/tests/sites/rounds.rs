// SPDX-License-Identifier: Apache-2.0
//! One reconcile of a set, as the controller does it, and what comes of it.
use super::super::*;
use super::promises::Created;
use super::world::SiteUnderTest;
use super::{INTERVALS, MAX_JOBS, NAMESPACE, running_jobs};
use crate::engine::update_state::{CheckKind, due_checks, remember_rejection, update_state};
use crate::model::bundle_inventory::TagResolution;

impl SiteUnderTest {
    /// Takes over what bundles decide, as a reconcile does. `killed`: the importer dies after the mark was raised.
    fn resolve(&mut self, n: usize, stock: &BundleInventory, killed: bool) {
        let references = krs_core::set::check_spec(&self.sets[n].spec).unwrap();
        let names = references.iter().map(|image| image.reference.to_string()).collect::<BTreeSet<_>>();
        self.sets[n].state.resolved.retain(|name, _| names.contains(name));
        if !follows_bundles(&self.sets[n].spec, None) {
            return;
        }
        for image in references.iter().filter(|image| image.reference.digest.is_none()) {
            let name = image.reference.to_string();
            let held = self.sets[n].state.resolved.get(&name).cloned();
            let TagResolution::New(answer) = stock.resolve(NAMESPACE, &image.reference, held.as_ref()) else {
                continue;
            };
            let (stream, mark) = (answer.bundle().stream.to_string(), answer.bundle().mark());
            let Some(used) = self.raise(&stream, &mark) else { continue };
            if killed {
                return;
            }
            let highest = self.used.entry(stream.clone()).or_default();
            assert!(mark.sequence >= *highest, "{stream} {} is used after {highest}", mark.sequence);
            *highest = mark.sequence;
            if let Some((held, by)) = held.and_then(|held| Some((held.digest, held.decided_by?))) {
                let later = by.stream.as_str() == stream || mark.created_at > by.created_at;
                assert!(later, "{name}: {held} of {} is taken back by {stream}", by.stream);
            }
            let resolved = answer.resolved(&used, self.now()).unwrap();
            self.sets[n].state.resolved.insert(name, resolved);
        }
    }

    pub(super) fn reconcile(&mut self, n: usize, killed: bool) {
        let stock = self.stock();
        self.resolve(n, &stock, killed);
        let now = self.now();
        let busy = self.sets.iter().enumerate().filter(|(other, _)| *other != n);
        let busy = busy.flat_map(|(_, set)| running_jobs(&set.jobs).flat_map(|job| &job.task.targets));
        let registry: RegistryHost = "edge.local:5000".parse().unwrap();
        let busy = busy.map(|target| (registry.clone(), target.repository.clone())).collect::<BTreeSet<_>>();
        let running = self.sets.iter().map(|set| running_jobs(&set.jobs).count()).sum();
        let free_jobs = MAX_JOBS.saturating_sub(running);
        let set = &mut self.sets[n];
        let checked = krs_core::set::check_spec(&set.spec).unwrap();
        let state = set.state.clone();
        let digest = |reference: &krs_core::oci::reference::Reference| {
            let resolved = || state.resolved.get(&reference.to_string()).map(|resolved| resolved.digest);
            reference.digest.or_else(resolved)
        };
        let destination: Destination = "edge.local:5000".parse().unwrap();
        set.targets = targets(&destination, &checked, |_| None, digest).unwrap();
        let open = checked.iter().enumerate().filter(|(_, image)| digest(&image.reference).is_none());
        set.unresolved = open.map(|(position, _)| position).collect();
        set.seen_spec = Some(set.spec.clone());
        let jobs = if self.is_stale { set.old_jobs.clone() } else { set.jobs.clone() };
        let answers = self.check(n);
        let set = &mut self.sets[n];
        set.state = update_state(&set.state, &set.targets, &answers, now, &jobs, now);
        let decision = decide(&Observation {
            now,
            spec: &set.spec,
            namespace: NAMESPACE,
            targets: &set.targets,
            unresolved: &set.unresolved,
            collisions: &BTreeMap::new(),
            blocker: None,
            answers: &answers,
            state: &set.state,
            jobs: &jobs,
            busy: &busy,
            blob_locations: &BTreeMap::new(),
            stock: &stock,
            renew_in: None,
            limits: Limits { online: false, sources: &AllowList::default(), free_jobs, kept_jobs: 0 },
        });
        set.is_ready = decision.summary.ready.0 == reason::SYNC_SUCCESSFUL;
        set.waits_for_jobs = decision.waits_for_jobs;
        set.due = self.second + i64::try_from(decision.again.as_secs()).unwrap();
        let needs = needs(&set.spec, None, &checked, &set.targets, &set.state, &jobs, &decision);
        // Before a Job asks for it.
        self.demand.sets.insert(set.name.clone(), std::sync::Arc::new(needs));
        self.demand.complete = self.demand.sets.len() == self.sets.len();
        self.act(n, &decision);
        self.check_set(n);
    }

    /// Asks the edge registry.
    fn check(&mut self, n: usize) -> BTreeMap<TargetKey, Answer> {
        let (now, set) = (self.now(), &mut self.sets[n]);
        let mut answers = BTreeMap::new();
        if set.spec.suspend {
            return answers;
        }
        for (target, how) in due_checks(&set.targets, &set.state, INTERVALS.resync, INTERVALS.verify, now) {
            let (edge, key) = (&self.edge, target.key);
            let answer = if !self.registry_answers {
                Answer::Failed { reason: reason::REGISTRY_UNREACHABLE, message: "down".to_owned() }
            } else if !edge.contains(&key) {
                Answer::Missing { what: "the manifest".to_owned() }
            } else if self.moved.contains(&key) {
                Answer::TagMoved { tag: "1".to_owned(), found: Digest::of(b"somebody's") }
            } else if self.corrupt.contains(&key) && how != CheckKind::Head {
                Answer::Corrupt { message: "one byte differs".to_owned() }
            } else if how != CheckKind::Head {
                Answer::Complete
            } else {
                Answer::Observed
            };
            if matches!(answer, Answer::Corrupt { .. }) {
                set.damaged.insert(key);
            } else if !matches!(answer, Answer::Failed { .. }) {
                set.damaged.remove(&key);
            }
            match answer {
                Answer::Complete => drop(set.verified.insert(key, now)),
                Answer::Missing { .. } | Answer::TagMoved { .. } | Answer::Corrupt { .. } => {
                    set.verified.remove(&key);
                }
                _ => {}
            }
            answers.insert(key, answer);
        }
        self.failed.retain(|(set, key), _| *set != n || answers.get(key) != Some(&Answer::Complete));
        answers
    }

    fn act(&mut self, n: usize, decision: &Decision) {
        let (now, refused, is_stale) = (self.now(), self.job_refused, self.is_stale);
        let set = &mut self.sets[n];
        set.old_jobs.clone_from(&set.jobs);
        set.jobs.retain(|job| !decision.delete.contains(&job.name));
        let mut created = Vec::new();
        for batch in &decision.create {
            let mut job = running(0, batch);
            let keys = batch.targets.iter().map(|(target, _)| target.key.to_string()).collect::<String>();
            let hash = Digest::of(format!("{keys} {:?}", batch.source).as_bytes()).hex();
            job.name = format!("krs-{}-{}-{}", set.name.name, &hash[..10], batch.attempt);
            let keys = batch.targets.iter().map(|(target, _)| target.key).collect();
            created.push(Created { keys, source: job.task.source.clone() });
            if refused {
                remember_rejection(&mut set.state, batch, &job.name, "the quota is used up", now);
            } else if set.jobs.iter().any(|other| other.name == job.name) {
                assert!(is_stale, "a Job of the same name");
            } else {
                set.jobs.push(job);
            }
        }
        self.check_created(n, &created);
        self.check_jobs(n);
    }

    /// A Job comes to an end: what it brought, and what becomes known of it: whether it succeeded, or that it is gone.
    pub(super) fn end_job(
        &mut self,
        n: usize,
        position: usize,
        brings: impl Fn(usize) -> bool,
        how: Option<bool>,
    ) {
        let now = self.now();
        let set = &mut self.sets[n];
        let job = set.jobs[position].clone();
        // It copies what it was told, also where the set has changed since, and only from media that are there.
        let there = match &job.task.source {
            TaskSource::Bundle { digest, .. } => self.inserted.contains(digest),
            TaskSource::Registry { .. } | TaskSource::Later => true,
        };
        let index = Index::new(&set.targets);
        let targets = index.positions(&job).into_iter().flatten().collect::<Vec<_>>();
        for (position, target) in targets.iter().enumerate() {
            let key = set.targets[*target].key;
            if there && brings(position) {
                self.edge.insert(key);
                self.moved.remove(&key);
                self.failed.retain(|(_, failed), _| *failed != key);
                if self.contested == Some(key) {
                    self.put_back += 1;
                    self.moved.insert(key);
                }
            }
            if (how == Some(false) && !brings(position)) || (how.is_some() && !there) {
                self.failed.insert((n, key), (now, job.task.source.clone()));
            }
        }
        match how {
            Some(true) if there => set.jobs[position].phase = JobPhase::Succeeded { at: now, report: None },
            Some(_) => {
                let why = "DeadlineExceeded".to_owned();
                set.jobs[position].phase = JobPhase::Failed { at: now, why, report: None };
            }
            None => drop(set.jobs.remove(position)),
        }
        set.due = self.second;
        for set in self.sets.iter_mut().filter(|set| set.waits_for_jobs) {
            set.due = self.second;
        }
    }

    pub(super) fn running_job(&self, n: usize) -> Option<usize> {
        self.sets[n].jobs.iter().position(|job| matches!(job.phase, JobPhase::Running { .. }))
    }

    /// What the drop folder holds changed: every set is reconciled.
    pub(super) fn stock_changed(&mut self) {
        let second = self.second;
        self.sets.iter_mut().for_each(|set| set.due = second);
    }
}
