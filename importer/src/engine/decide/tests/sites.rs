// SPDX-License-Identifier: Apache-2.0
//! Complete sites under many schedules of faults: two sets with shared targets, tags that bundles of two streams decide, media
//! that come and go, specs that change, an edge registry that loses and damages content and of which somebody else moves
//! tags, and an importer that is killed.
//!
//! Always: nothing is Ready without having been verified of limited age, nothing is decided from below a mark, and media
//! may be pulled only when no set needs them. Once the faults stop, every set is Ready in bounded time, with what the
//! newest bundle says, although all media are pulled as soon as that is allowed and no set is reconciled before it asked
//! for that.
mod faults;
mod promises;
mod rounds;
mod settling;
mod world;

use super::simulation::{Chance, schedules};
use super::*;
use world::SiteUnderTest;

const NAMESPACE: &str = "apps";
const INTERVALS: Intervals =
    Intervals { resync: Duration::from_secs(600), verify: Duration::from_secs(86_400) };
/// Most Jobs of the site.
const MAX_JOBS: usize = 3;

/// What every set may list: a digest of an old bundle, and tags that both streams decide.
const IMAGES: [&str; 4] = ["app0:1", "app1:1", "app2:1", "app3:1"];

fn pick(chance: &mut Chance, count: usize) -> usize {
    usize::try_from(chance.below(u64::try_from(count).unwrap())).unwrap()
}

fn running_jobs(jobs: &[CopyJob]) -> impl Iterator<Item = &CopyJob> {
    jobs.iter().filter(|job| matches!(job.phase, JobPhase::Running { .. }))
}

#[test]
fn t27_t67_t74_t158_t129_t130_sites_keep_their_promises_under_every_schedule_of_faults() {
    let mut broken = Vec::new();
    for seed in 1..=schedules() {
        let mut chance = Chance::of(seed);
        let mut site = SiteUnderTest::new(&mut chance);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..20 {
                site.fault(&mut chance);
                site.registry_answers = chance.below(5) != 0;
                site.is_stale = site.may_be_stale && chance.below(6) == 0;
                let n = pick(&mut chance, site.sets.len());
                site.reconcile(n, false);
                site.check_safe_to_remove();
            }
            site.settle(&mut chance)
        }));
        if !matches!(outcome, Ok(true)) {
            let states = site.sets.iter().map(|set| (&set.spec.images, &set.state, &set.unresolved, set.due));
            let states = format!("{:#?}", states.collect::<Vec<_>>());
            broken.push((seed, if outcome.is_ok() { states } else { "a promise was broken".to_owned() }));
        }
    }
    let seeds = broken.iter().map(|(seed, _)| seed).collect::<Vec<_>>();
    assert!(broken.is_empty(), "{} of {}: {seeds:?}, the first: {}", seeds.len(), schedules(), broken[0].1);
}
