// SPDX-License-Identifier: Apache-2.0
//! Many schedules of things that go wrong: whatever happens, nothing is Ready that is not there, and once the faults end
//! everything gets there with few Jobs.
use super::*;
use crate::engine::update_state::{CheckKind, due_checks, update_state};

/// A small generator of numbers; a schedule is told by its seed.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) const fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(super) fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// How many schedules are tried: few in every run, many with `cargo xtask test --full`.
pub(super) fn schedules() -> u64 {
    std::env::var("KRS_SCHEDULES").map_or(500, |count| count.parse().expect("KRS_SCHEDULES is a number"))
}

struct World {
    site: Site,
    /// What the edge registry holds.
    edge: BTreeSet<TargetKey>,
    /// Targets whose last walk found them complete.
    walked: BTreeSet<TargetKey>,
    created: usize,
    seconds: i64,
}

impl World {
    fn new(images: usize) -> Self {
        let mut site = Site::of(images);
        site.now = at(0);
        Self { site, edge: BTreeSet::new(), walked: BTreeSet::new(), created: 0, seconds: 0 }
    }

    /// One reconcile of the set, as the controller does it.
    fn reconcile(&mut self, registry_answers: bool) -> Decision {
        let site = &mut self.site;
        let Intervals { resync, verify } =
            Intervals { resync: Duration::from_secs(600), verify: Duration::from_secs(86400) };
        let due = due_checks(&site.targets, &site.state, resync, verify, site.now);
        let mut answers = BTreeMap::new();
        for (target, how) in due {
            let there = self.edge.contains(&target.key);
            let answer = match how {
                _ if !registry_answers => {
                    Answer::Failed { reason: reason::REGISTRY_UNREACHABLE, message: "down".to_owned() }
                }
                _ if !there => Answer::Missing { what: "the manifest".to_owned() },
                CheckKind::Head => Answer::Observed,
                CheckKind::Full | CheckKind::Renew => Answer::Complete,
            };
            match answer {
                Answer::Complete => drop(self.walked.insert(target.key)),
                Answer::Missing { .. } => drop(self.walked.remove(&target.key)),
                _ => {}
            }
            answers.insert(target.key, answer);
        }
        site.state = update_state(&site.state, &site.targets, &answers, site.now, &site.jobs, site.now);
        site.answers = answers;
        let decision = site.decide();
        if decision.summary.ready.0 == reason::SYNC_SUCCESSFUL {
            assert!(
                site.targets.iter().all(|t| self.walked.contains(&t.key)),
                "Ready without having been verified"
            );
        }
        for batch in &decision.create {
            self.created += 1;
            let job = running(self.created, batch);
            assert!(site.jobs.iter().all(|other| other.name != job.name));
            site.jobs.push(job);
        }
        site.jobs.retain(|job| !decision.delete.contains(&job.name));
        let runs =
            site.jobs.iter().filter(|job| matches!(job.phase, JobPhase::Running { .. })).collect::<Vec<_>>();
        assert!(runs.len() <= 2, "more Jobs than parallelism");
        let repositories =
            runs.iter().flat_map(|job| job.task.targets.iter().map(|t| &t.repository)).collect::<Vec<_>>();
        let distinct = repositories.iter().collect::<BTreeSet<_>>().len();
        assert_eq!(distinct, repositories.len(), "two Jobs write to one repository");
        decision
    }

    fn pass(&mut self, seconds: u64) {
        self.seconds += i64::try_from(seconds).unwrap();
        self.site.now = at(self.seconds);
    }

    /// A Job comes to an end: what it brought, and what becomes known of it.
    fn end(
        &mut self,
        n: usize,
        brings: impl Fn(usize) -> bool,
        ends: impl Fn(Timestamp) -> Option<JobPhase>,
    ) {
        let index = Index::new(&self.site.targets);
        for (position, target) in index.positions(&self.site.jobs[n]).into_iter().enumerate() {
            if brings(position) {
                self.edge.insert(self.site.targets[target.unwrap()].key);
            }
        }
        match ends(self.site.now) {
            Some(phase) => self.site.jobs[n].phase = phase,
            None => drop(self.site.jobs.remove(n)),
        }
    }

    fn running(&self) -> Option<usize> {
        self.site.jobs.iter().position(|job| matches!(job.phase, JobPhase::Running { .. }))
    }

    fn fault(&mut self, chance: &mut Chance) {
        let succeeded = |at| Some(JobPhase::Succeeded { at, report: None });
        let failed = |at| Some(JobPhase::Failed { at, why: "DeadlineExceeded".to_owned(), report: None });
        match (chance.below(8), self.running()) {
            (0, Some(n)) => self.end(n, |_| true, succeeded),
            (1, Some(n)) => self.end(n, |position| position % 2 == 0, failed),
            (2, Some(n)) => self.end(n, |_| false, succeeded),
            // Its end is never seen: it was deleted, before or after it did its work.
            (3, Some(n)) => self.end(n, |_| true, |_| None),
            (4, Some(n)) => self.end(n, |_| false, |_| None),
            (5, _) => {
                let lost = chance.below(6);
                let key = usize::try_from(lost).ok().and_then(|n| self.site.targets.get(n)).map(|t| t.key);
                key.map(|key| self.edge.remove(&key));
            }
            // The importer is killed, and all that it remembered is lost.
            (6, _) => self.site.state = SetState::default(),
            _ => self.pass(1 + chance.below(700)),
        }
    }
}

#[test]
fn t67_t74_t80_whatever_happens_nothing_is_ready_unverified_and_in_the_end_all_is() {
    for seed in 1..=schedules() {
        let mut chance = Chance::of(seed);
        let mut world = World::new(1 + usize::try_from(chance.below(6)).unwrap());
        for _ in 0..12 {
            world.fault(&mut chance);
            let answers = chance.below(4) != 0;
            world.reconcile(answers);
            if chance.below(3) == 0 {
                // An event that comes twice.
                world.reconcile(answers);
            }
        }
        let before = world.created;
        let mut ready = false;
        for _ in 0..40 {
            while let Some(n) = world.running() {
                world.end(n, |_| true, |at| Some(JobPhase::Succeeded { at, report: None }));
            }
            world.pass(1);
            let decision = world.reconcile(true);
            ready = decision.summary.ready.0 == reason::SYNC_SUCCESSFUL;
            if ready && world.edge.len() == world.site.targets.len() {
                break;
            }
            world.pass(decision.again.as_secs());
        }
        assert!(ready, "seed {seed} does not get Ready: {:?}", world.site.decide().summary);
        assert!(world.created - before <= 12, "seed {seed}: {} Jobs", world.created - before);
    }
}

#[test]
fn a_set_that_is_in_order_makes_no_job_and_is_reconciled_rarely() {
    let mut world = World::new(3);
    world.edge = world.site.targets.iter().map(|t| t.key).collect();
    for _ in 0..100 {
        let decision = world.reconcile(true);
        assert_eq!(decision.summary.ready.0, reason::SYNC_SUCCESSFUL);
        assert!(decision.again >= Duration::from_secs(30));
        world.pass(decision.again.as_secs());
    }
    assert_eq!(world.created, 0);
}
