// SPDX-License-Identifier: Apache-2.0
//! What a site consists of.
use super::super::*;
use super::{Chance, IMAGES, pick};
use crate::engine::needed;
use crate::model::marks::{Mark, Marks, UsedDecisions};
use crate::model::required_images::{RequiredImages, SetName};

pub(super) struct SetUnderTest {
    pub(super) name: SetName,
    pub(super) spec: EdgeImageSetSpec,
    pub(super) state: SetState,
    pub(super) jobs: Vec<CopyJob>,
    /// The Jobs of an earlier moment, as a stale list shows them.
    pub(super) old_jobs: Vec<CopyJob>,
    pub(super) targets: Vec<Target>,
    pub(super) unresolved: Vec<usize>,
    /// Targets that the last full check of this set found complete, and when.
    pub(super) verified: BTreeMap<TargetKey, Timestamp>,
    /// Targets that it found damaged when it asked last.
    pub(super) damaged: BTreeSet<TargetKey>,
    /// The spec when the set was reconciled last.
    pub(super) seen_spec: Option<EdgeImageSetSpec>,
    /// When the set asked to be reconciled again.
    pub(super) due: i64,
    /// Whether it waits for the end of any Job.
    pub(super) waits_for_jobs: bool,
    pub(super) is_ready: bool,
}

impl SetUnderTest {
    /// Whether it copied nothing when it was reconciled last.
    pub(super) fn is_stopped(&self) -> bool {
        self.seen_spec.as_ref().is_none_or(|spec| !follows_bundles(spec, None))
    }
}

pub(super) struct SiteUnderTest {
    pub(super) second: i64,
    pub(super) bundles: Vec<StockBundle>,
    pub(super) inserted: BTreeSet<Digest>,
    /// The ConfigMap.
    pub(super) marks: BTreeMap<String, String>,
    /// The highest sequence of each stream that was used, kept apart from the code under test.
    pub(super) used: BTreeMap<String, u64>,
    pub(super) edge: BTreeSet<TargetKey>,
    pub(super) corrupt: BTreeSet<TargetKey>,
    pub(super) moved: BTreeSet<TargetKey>,
    /// Somebody moves the tag of this target whenever it was put back.
    pub(super) contested: Option<TargetKey>,
    /// How often a Job put such a tag back.
    pub(super) put_back: usize,
    pub(super) sets: Vec<SetUnderTest>,
    pub(super) demand: RequiredImages,
    pub(super) registry_answers: bool,
    pub(super) job_refused: bool,
    /// Whether lists of Jobs are old now, and whether they ever are in this schedule.
    pub(super) is_stale: bool,
    pub(super) may_be_stale: bool,
    /// When each set last asked for a Job that is to copy the same, and did not get it or saw it fail.
    pub(super) failed: BTreeMap<(usize, TargetKey), (Timestamp, TaskSource)>,
}

pub(super) fn content(stream: &str, sequence: u64, image: usize) -> Digest {
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
        patches: None,
        readers: Readers::Any,
    };
    StockBundle {
        stream: stream.parse().unwrap(),
        sequence,
        identity: Digest::of(format!("identity {name}").as_bytes()),
        standing: MarkComparison::Current,
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
    let spec = json!({"destinationRegistry": "edge.local:5000", "images": list, "parallelism": 4});
    serde_json::from_value(spec).unwrap()
}

impl SiteUnderTest {
    pub(super) fn new(chance: &mut Chance) -> Self {
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
            contested: None,
            put_back: 0,
            sets: Vec::new(),
            demand: RequiredImages::default(),
            registry_answers: true,
            job_refused: false,
            is_stale: false,
            may_be_stale: chance.below(2) == 0,
            failed: BTreeMap::new(),
        };
        for name in ["a", "b"] {
            let spec = site.random_spec(chance);
            site.sets.push(SetUnderTest {
                name: SetName { namespace: super::NAMESPACE.to_owned(), name: name.to_owned() },
                spec,
                state: SetState::default(),
                jobs: Vec::new(),
                old_jobs: Vec::new(),
                targets: Vec::new(),
                unresolved: Vec::new(),
                verified: BTreeMap::new(),
                damaged: BTreeSet::new(),
                seen_spec: None,
                due: 0,
                waits_for_jobs: false,
                is_ready: false,
            });
        }
        site
    }

    /// Tags, and now and then the digest of an image of any bundle.
    pub(super) fn random_spec(&self, chance: &mut Chance) -> EdgeImageSetSpec {
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

    pub(super) fn now(&self) -> Timestamp {
        at(self.second)
    }

    pub(super) fn marks(&self) -> Marks {
        Marks::parse(&self.marks)
    }

    /// As the intake shows it.
    pub(super) fn stock(&self) -> BundleInventory {
        let marks = self.marks();
        let available = self.bundles.iter().filter(|bundle| {
            self.inserted.contains(&bundle.digest) || needed::holds_missing(bundle, &self.demand, false)
        });
        let bundles = available.map(|bundle| StockBundle {
            present: self.inserted.contains(&bundle.digest),
            standing: marks.standing(&bundle.stream, &bundle.mark()),
            ..bundle.clone()
        });
        BundleInventory { scanned: true, bundles: bundles.collect(), ..BundleInventory::default() }
    }

    /// As the store of the marks does it.
    pub(super) fn raise(&mut self, stream: &str, bundle: &Mark) -> Option<UsedDecisions> {
        let stream_name = stream.parse().unwrap();
        if self.marks().standing(&stream_name, bundle) != MarkComparison::Current {
            return None;
        }
        self.marks.insert(stream.to_owned(), json!(bundle).to_string());
        Some(UsedDecisions::of(&stream_name, bundle))
    }
}
