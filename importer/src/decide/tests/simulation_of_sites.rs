// SPDX-License-Identifier: Apache-2.0
//! Whole sites under many schedules of faults: two sets with shared targets, tags that bundles of two streams decide, media
//! that come and go, specs that change, an edge registry that loses and damages content, and an importer that is killed.
//!
//! Always: nothing is Ready without proof, nothing is decided from below a mark, and media may be pulled only when no set
//! needs them. Once the faults stop, every set is Ready, although all media are pulled as soon as that is allowed.
use super::simulation::{Chance, schedules};
use super::*;
use crate::demand::{Demand, MissingImage, SetDemand, SetName};
use crate::intake::needed;
use crate::marks::{Mark, Marks, UsedDecisions};
use crate::remember::{Ask, asks, remember, remember_rejection};
use crate::stock::TagResolution;

const NAMESPACE: &str = "apps";
const INTERVALS: Intervals =
    Intervals { resync: Duration::from_secs(600), verify: Duration::from_secs(86_400) };

/// What every set may list: a digest of an old bundle, and tags that both streams decide.
const IMAGES: [&str; 4] = ["app0:1", "app1:1", "app2:1", "app3:1"];

struct SetUnderTest {
    name: SetName,
    spec: EdgeImageSetSpec,
    state: SetState,
    jobs: Vec<CopyJob>,
    /// The Jobs of an earlier moment, as a stale list shows them.
    old_jobs: Vec<CopyJob>,
    targets: Vec<Target>,
    unresolved: Vec<usize>,
    /// Targets that the last full check of this set found complete.
    proven: BTreeSet<TargetKey>,
    /// Whether the set was stopped when it was reconciled last.
    stopped: bool,
}

struct SiteUnderTest {
    second: i64,
    bundles: Vec<StockBundle>,
    inserted: BTreeSet<Digest>,
    /// The ConfigMap.
    marks: BTreeMap<String, String>,
    /// The highest sequence of each stream that was used, kept apart from the code under test.
    used: BTreeMap<String, u64>,
    edge: BTreeSet<TargetKey>,
    corrupt: BTreeSet<TargetKey>,
    moved: BTreeSet<TargetKey>,
    sets: Vec<SetUnderTest>,
    demand: Demand,
    registry_answers: bool,
    job_refused: bool,
    is_stale: bool,
    jobs_created: usize,
}

fn content(stream: &str, sequence: u64, image: usize) -> Digest {
    // Some tags stay, some move with each bundle.
    let version = if image == 0 { 0 } else { sequence / u64::try_from(image).unwrap() };
    Digest::of(format!("{stream} {version} {image}").as_bytes())
}

fn site_bundle(stream: &str, sequence: u64, second: i64) -> StockBundle {
    let name = format!("{stream}-{sequence}");
    let image = |(n, image): (usize, &&str)| StockImage {
        reference: format!("docker.io/library/{image}").parse().unwrap(),
        digest: content(stream, sequence, n),
        platforms: Vec::new(),
        size: 1000,
        contents: Vec::new(),
        partial: false,
        expected_in: Vec::new(),
        readers: Readers::Any,
    };
    StockBundle {
        stream: stream.parse().unwrap(),
        sequence,
        identity: Digest::of(format!("identity {name}").as_bytes()),
        standing: Standing::Current,
        digest: Digest::of(format!("bundle {name}").as_bytes()),
        created_at: at(second),
        present: true,
        ready: true,
        images: IMAGES.iter().enumerate().map(image).collect(),
        name,
    }
}

fn spec_of(images: &[String]) -> EdgeImageSetSpec {
    let list = images.iter().map(|image| json!({"image": image})).collect::<Vec<_>>();
    serde_json::from_value(json!({"destinationRegistry": "edge.local:5000", "images": list})).unwrap()
}

impl SiteUnderTest {
    fn new(chance: &mut Chance) -> Self {
        // The numbers of one stream are all higher than those of the other, and say nothing of its age.
        let bundles = vec![
            site_bundle("low", 1, 10),
            site_bundle("low", 2, 30),
            site_bundle("low", 3, 50),
            site_bundle("high", 1_000, 20),
            site_bundle("high", 1_001, 40),
        ];
        let mut site = Self {
            second: 100,
            inserted: BTreeSet::from([bundles[0].digest]),
            bundles,
            marks: BTreeMap::new(),
            used: BTreeMap::new(),
            edge: BTreeSet::new(),
            corrupt: BTreeSet::new(),
            moved: BTreeSet::new(),
            sets: Vec::new(),
            demand: Demand::default(),
            registry_answers: true,
            job_refused: false,
            is_stale: false,
            jobs_created: 0,
        };
        for name in ["a", "b"] {
            let spec = site.random_spec(chance);
            site.sets.push(SetUnderTest {
                name: SetName { namespace: NAMESPACE.to_owned(), name: name.to_owned() },
                spec,
                state: SetState::default(),
                jobs: Vec::new(),
                old_jobs: Vec::new(),
                targets: Vec::new(),
                unresolved: Vec::new(),
                proven: BTreeSet::new(),
                stopped: false,
            });
        }
        site
    }

    /// Tags, and now and then the digest of an image of any bundle.
    fn random_spec(&self, chance: &mut Chance) -> EdgeImageSetSpec {
        let mut images = Vec::new();
        for (n, image) in IMAGES.iter().enumerate() {
            match chance.below(4) {
                0 => {}
                1 => {
                    let bundle = &self.bundles[pick(chance, self.bundles.len())];
                    images.push(format!("docker.io/library/{image}@{}", bundle.images[n].digest));
                }
                _ => images.push(format!("docker.io/library/{image}")),
            }
        }
        if images.is_empty() {
            images.push(format!("docker.io/library/{}", IMAGES[0]));
        }
        spec_of(&images)
    }

    fn now(&self) -> Timestamp {
        at(self.second)
    }

    fn marks(&self) -> Marks {
        Marks::parse(&self.marks)
    }

    /// As the intake shows it.
    fn stock(&self) -> Stock {
        let marks = self.marks();
        let seen = self.bundles.iter().filter(|bundle| {
            self.inserted.contains(&bundle.digest) || needed::holds_missing(bundle, &self.demand, false)
        });
        let bundles = seen.map(|bundle| StockBundle {
            present: self.inserted.contains(&bundle.digest),
            standing: marks.standing(&bundle.stream, &bundle.mark()),
            ..bundle.clone()
        });
        Stock { scanned: true, bundles: bundles.collect(), ..Stock::default() }
    }

    /// As the store of the marks does it.
    fn raise(&mut self, stream: &str, bundle: &Mark) -> Option<UsedDecisions> {
        let stream_name = stream.parse().unwrap();
        if self.marks().standing(&stream_name, bundle) != Standing::Current {
            return None;
        }
        self.marks.insert(stream.to_owned(), json!(bundle).to_string());
        Some(UsedDecisions::of(&stream_name, bundle))
    }

    /// Takes over what bundles decide, as a reconcile does. `killed`: the importer dies after the mark was raised.
    fn resolve(&mut self, n: usize, stock: &Stock, killed: bool) {
        if !follows_bundles(&self.sets[n].spec, None) {
            return;
        }
        let references = krs_core::set::check_spec(&self.sets[n].spec).unwrap();
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

    fn reconcile(&mut self, n: usize, killed: bool) -> Decision {
        let stock = self.stock();
        self.resolve(n, &stock, killed);
        let now = self.now();
        let busy = self.sets.iter().enumerate().filter(|(other, _)| *other != n);
        let busy = busy.flat_map(|(_, set)| running_jobs(&set.jobs).flat_map(|job| &job.task.targets));
        let registry: RegistryHost = "edge.local:5000".parse().unwrap();
        let busy = busy.map(|target| (registry.clone(), target.repository.clone())).collect::<BTreeSet<_>>();
        let free_jobs = 3_usize.saturating_sub(self.sets.iter().map(|s| running_jobs(&s.jobs).count()).sum());
        let set = &mut self.sets[n];
        let checked = krs_core::set::check_spec(&set.spec).unwrap();
        let state = set.state.clone();
        let digest = |reference: &krs_core::reference::Reference| {
            let resolved = || state.resolved.get(&reference.to_string()).map(|resolved| resolved.digest);
            reference.digest.or_else(resolved)
        };
        let destination: Destination = "edge.local:5000".parse().unwrap();
        set.targets = targets(&destination, &checked, |_| None, digest).unwrap();
        let open = checked.iter().enumerate().filter(|(_, image)| digest(&image.reference).is_none());
        set.unresolved = open.map(|(place, _)| place).collect();
        let jobs = if self.is_stale { set.old_jobs.clone() } else { set.jobs.clone() };
        let mut answers = BTreeMap::new();
        if !set.spec.suspend {
            for (target, how) in
                asks(&set.targets, &set.state, &jobs, INTERVALS.resync, INTERVALS.verify, now)
            {
                let (edge, key) = (&self.edge, target.key);
                let answer = if !self.registry_answers {
                    Answer::Failed { reason: reason::REGISTRY_UNREACHABLE, message: "down".to_owned() }
                } else if !edge.contains(&key) {
                    Answer::Missing { what: "the manifest".to_owned() }
                } else if self.moved.contains(&key) {
                    Answer::TagMoved { tag: "1".to_owned(), found: Digest::of(b"somebody's") }
                } else if self.corrupt.contains(&key) && how == Ask::Walk {
                    Answer::Corrupt { message: "one byte differs".to_owned() }
                } else if how == Ask::Walk {
                    Answer::Whole
                } else {
                    Answer::Seen
                };
                match answer {
                    Answer::Whole => drop(set.proven.insert(key)),
                    Answer::Missing { .. } | Answer::TagMoved { .. } | Answer::Corrupt { .. } => {
                        set.proven.remove(&key);
                    }
                    _ => {}
                }
                answers.insert(key, answer);
            }
        }
        set.state = remember(&set.state, &set.targets, &answers, now, &jobs, now);
        let decision = decide(&Observation {
            now,
            spec: &set.spec,
            namespace: NAMESPACE,
            targets: &set.targets,
            unresolved: &set.unresolved,
            collisions: &BTreeMap::new(),
            obstacle: None,
            answers: &answers,
            state: &set.state,
            jobs: &jobs,
            busy: &busy,
            holders: &BTreeMap::new(),
            stock: &stock,
            limits: Limits { online: false, sources: &Allowed::default(), free_jobs, kept_jobs: 0 },
        });
        if decision.verdict.ready.0 == reason::SYNC_SUCCESSFUL {
            assert!(set.unresolved.is_empty(), "Ready with a tag that stands for nothing");
            let proven = set.targets.iter().all(|target| set.proven.contains(&target.key));
            assert!(proven, "Ready without a proof");
        }
        self.publish(n, &decision);
        self.act(n, &decision);
        decision
    }

    /// What the set needs, before a Job asks for it.
    fn publish(&mut self, n: usize, decision: &Decision) {
        let set = &mut self.sets[n];
        set.stopped = !follows_bundles(&set.spec, None);
        let missing = decision.from_bundle.iter().map(|place| &set.targets[*place]);
        let missing = missing
            .map(|target| MissingImage { digest: target.digest, platforms: target.platforms.clone() })
            .collect();
        let checked = krs_core::set::check_spec(&set.spec).unwrap();
        let bare = checked.iter().filter(|image| !set.stopped && image.reference.digest.is_none());
        let tags = bare.map(|image| {
            (image.reference.clone(), set.state.resolved.get(&image.reference.to_string()).cloned())
        });
        let copying = running_jobs(&set.jobs).filter(|job| !decision.delete.contains(&job.name));
        let copying = copying.filter_map(|job| match &job.task.source {
            TaskSource::Bundle { digest, .. } => Some(*digest),
            TaskSource::Registry { .. } | TaskSource::Later => None,
        });
        let created = decision.create.iter().filter_map(|batch| match &batch.source {
            BatchSource::Bundle { digest, .. } => Some(*digest),
            BatchSource::Registry { .. } => None,
        });
        let needs = SetDemand {
            missing,
            tags: tags.collect(),
            copying_from: copying.chain(created).collect(),
            ..SetDemand::default()
        };
        self.demand.sets.insert(set.name.clone(), std::sync::Arc::new(needs));
        self.demand.complete = self.demand.sets.len() == self.sets.len();
    }

    fn act(&mut self, n: usize, decision: &Decision) {
        let (now, refused, is_stale) = (self.now(), self.job_refused, self.is_stale);
        let set = &mut self.sets[n];
        set.old_jobs.clone_from(&set.jobs);
        set.jobs.retain(|job| !decision.delete.contains(&job.name));
        for batch in &decision.create {
            let mut job = running(0, batch);
            let keys = batch.targets.iter().map(|(target, _)| target.key.to_string()).collect::<String>();
            let hash = Digest::of(format!("{keys} {:?}", batch.source).as_bytes()).hex();
            job.name = format!("krs-{}-{}-{}", set.name.name, &hash[..10], batch.attempt);
            if refused {
                remember_rejection(&mut set.state, batch, &job.name, "the quota is used up", now);
            } else if set.jobs.iter().any(|other| other.name == job.name) {
                assert!(is_stale, "a Job of the same name");
            } else {
                self.jobs_created += 1;
                set.jobs.push(job);
            }
        }
        if !is_stale {
            assert!(running_jobs(&set.jobs).count() <= 3, "more Jobs than the site allows");
        }
    }

    /// What an ImageBundle says: whether its media may be pulled. The mark is written first.
    fn is_safe(&mut self, bundle: &StockBundle) -> bool {
        let stock = self.stock();
        let anew = needed::decided_anew(&self.demand, &stock).remove(&bundle.digest).unwrap_or_default();
        let copying = self.demand.sets.values().any(|set| set.copying_from.contains(&bundle.digest));
        let missing = needed::missing(bundle, &self.demand, false);
        if !self.demand.complete || anew.count > 0 || copying || missing.count > 0 {
            return false;
        }
        let _ = self.raise(bundle.stream.as_str(), &bundle.mark());
        assert!(self.marks().has_reached(&bundle.stream, bundle.sequence), "said before the mark is written");
        true
    }

    /// Media may be pulled only when no set needs them, as far as the sets were reconciled.
    fn check_safe_to_remove(&mut self) {
        for bundle in self.bundles.clone() {
            if !self.inserted.contains(&bundle.digest) || !self.is_safe(&bundle) {
                continue;
            }
            for set in self.sets.iter().filter(|set| !set.stopped) {
                let held = set
                    .targets
                    .iter()
                    .filter(|target| bundle.images.iter().any(|image| image.digest == target.digest));
                // Content that is damaged at the edge waits for a person, and for no media.
                let mut needed = held.filter(|target| !self.corrupt.contains(&target.key));
                assert!(
                    needed.all(|target| set.proven.contains(&target.key)),
                    "{} may be pulled, and set {} needs it",
                    bundle.name,
                    set.name
                );
            }
        }
    }

    fn end_job(&mut self, n: usize, place: usize, brings: impl Fn(usize) -> bool, how: Option<bool>) {
        let now = self.now();
        let set = &mut self.sets[n];
        let job = set.jobs[place].clone();
        // It copies what it was told, also where the set has changed since, and only from media that are there.
        let there = match &job.task.source {
            TaskSource::Bundle { digest, .. } => self.inserted.contains(digest),
            TaskSource::Registry { .. } | TaskSource::Later => true,
        };
        let index = Index::new(&set.targets);
        for (place, target) in index.places(&job).into_iter().enumerate() {
            if let Some(target) = target.filter(|_| there && brings(place)) {
                let key = set.targets[target].key;
                self.edge.insert(key);
                self.moved.remove(&key);
            }
        }
        let failed = || JobPhase::Failed { at: now, why: "DeadlineExceeded".to_owned(), report: None };
        match how {
            Some(true) if there => set.jobs[place].phase = JobPhase::Succeeded { at: now, report: None },
            Some(_) => set.jobs[place].phase = failed(),
            None => drop(set.jobs.remove(place)),
        }
    }

    fn running_job(&self, n: usize) -> Option<usize> {
        self.sets[n].jobs.iter().position(|job| matches!(job.phase, JobPhase::Running { .. }))
    }

    fn random_target(&self, chance: &mut Chance) -> Option<TargetKey> {
        let set = &self.sets[pick(chance, self.sets.len())];
        (!set.targets.is_empty()).then(|| set.targets[pick(chance, set.targets.len())].key)
    }

    fn fault(&mut self, chance: &mut Chance) {
        let n = pick(chance, self.sets.len());
        match (chance.below(16), self.running_job(n)) {
            (0 | 1, Some(job)) => self.end_job(n, job, |_| true, Some(true)),
            (2, Some(job)) => self.end_job(n, job, |place| place % 2 == 0, Some(false)),
            (3, Some(job)) => self.end_job(n, job, |_| false, Some(true)),
            (4, Some(job)) => {
                let brings = chance.below(2) == 0;
                self.end_job(n, job, |_| brings, None);
            }
            (5, _) => {
                let lost = self.random_target(chance);
                lost.map(|key| self.edge.remove(&key));
            }
            (6, _) => {
                let damaged = self.random_target(chance).filter(|key| self.edge.contains(key));
                self.corrupt.extend(damaged);
            }
            (7, _) => {
                let moved = self.random_target(chance).filter(|key| self.edge.contains(key));
                self.moved.extend(moved);
            }
            (8, _) => self.sets[n].spec = self.random_spec(chance),
            (9, _) => self.sets[n].spec.suspend = !self.sets[n].spec.suspend,
            // Media come and go, whatever anybody says.
            (10 | 11, _) => {
                let bundle = self.bundles[pick(chance, self.bundles.len())].digest;
                if !self.inserted.remove(&bundle) {
                    self.inserted.insert(bundle);
                }
            }
            (12, _) => self.lose_state(n, chance),
            (13, _) => self.job_refused = chance.below(2) == 0,
            // The importer is killed: what it published is gone.
            (14, _) => {
                self.reconcile(n, true);
                self.demand = Demand::default();
            }
            _ => self.second += 1 + i64::try_from(chance.below(700)).unwrap(),
        }
    }

    fn lose_state(&mut self, n: usize, chance: &mut Chance) {
        let state = &mut self.sets[n].state;
        match chance.below(6) {
            0 => *state = SetState::default(),
            1 => state.proofs.clear(),
            2 => state.attempts.clear(),
            3 => state.ended.clear(),
            4 => state.tried.clear(),
            _ => state.resolved.clear(),
        }
    }

    /// The faults end, and the newest media are brought. A courier pulls whatever may be pulled.
    fn settles(&mut self) -> bool {
        (self.registry_answers, self.job_refused, self.is_stale) = (true, false, false);
        self.corrupt.clear();
        self.moved.clear();
        self.inserted = self.bundles.iter().map(|bundle| bundle.digest).collect();
        self.sets.iter_mut().for_each(|set| set.spec.suspend = false);
        let mut brought = 0;
        for _ in 0..60 {
            for n in 0..self.sets.len() {
                while let Some(job) = self.running_job(n) {
                    self.end_job(n, job, |_| true, Some(true));
                }
            }
            self.second += 1;
            let decisions = (0..self.sets.len()).map(|n| self.reconcile(n, false)).collect::<Vec<_>>();
            self.check_safe_to_remove();
            for bundle in self.bundles.clone() {
                if self.inserted.contains(&bundle.digest) && self.is_safe(&bundle) {
                    self.inserted.remove(&bundle.digest);
                }
            }
            let is_ready = |decision: &Decision| decision.verdict.ready.0 == reason::SYNC_SUCCESSFUL;
            if decisions.iter().all(is_ready) && self.inserted.is_empty() {
                return true;
            }
            // What the edge lost before is noticed late: then the media are brought once more.
            if decisions.iter().any(|decision| decision.verdict.ready.0 == reason::WAITING_FOR_BUNDLE) {
                assert!(brought < 2, "media are pulled again and again");
                brought += 1;
                self.inserted = self.bundles.iter().map(|bundle| bundle.digest).collect();
            }
            let again = decisions.iter().map(|decision| decision.again).min().unwrap_or_default();
            self.second += i64::try_from(again.as_secs()).unwrap();
        }
        false
    }
}

fn pick(chance: &mut Chance, count: usize) -> usize {
    usize::try_from(chance.below(u64::try_from(count).unwrap())).unwrap()
}

fn running_jobs(jobs: &[CopyJob]) -> impl Iterator<Item = &CopyJob> {
    jobs.iter().filter(|job| matches!(job.phase, JobPhase::Running { .. }))
}

#[test]
fn t27_t67_t74_t158_t129_t130_sites_keep_their_promises_under_every_schedule_of_faults() {
    for seed in 1..=schedules() {
        let mut chance = Chance::of(seed);
        let mut site = SiteUnderTest::new(&mut chance);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..20 {
                site.fault(&mut chance);
                site.registry_answers = chance.below(5) != 0;
                site.is_stale = chance.below(8) == 0;
                let n = pick(&mut chance, site.sets.len());
                site.reconcile(n, false);
                site.check_safe_to_remove();
            }
            site.settles()
        }));
        let ready = outcome.unwrap_or_else(|_| panic!("seed {seed}"));
        let states = site.sets.iter().map(|set| (&set.spec.images, &set.state, &set.unresolved));
        assert!(ready, "seed {seed} does not settle: {:#?}", states.collect::<Vec<_>>());
    }
}
