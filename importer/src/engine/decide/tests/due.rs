// SPDX-License-Identifier: Apache-2.0
//! When a set is reconciled again.
use super::*;

const DAY: i64 = 86_400;

fn fail_to_answer(site: &mut Site, reason: &'static str) {
    for answer in site.answers.values_mut() {
        *answer = Answer::Failed { reason, message: "it does not answer".to_owned() };
    }
}

fn contest(site: &mut Site, first: i64) {
    let key = site.targets[0].key;
    site.answers.insert(key, Answer::TagMoved { tag: "1".to_owned(), found: digest(9) });
    site.state.moved.insert(key, vec![at(first), at(-2), at(-1)]);
}

fn stop(site: &mut Site, reason: &'static str) {
    site.blocker = Some(Blocker { reason, message: "an obstacle".to_owned(), stalled: false });
}

#[test]
fn a_set_is_reconciled_again_when_the_first_of_its_matters_is_due() {
    type Change = fn(&mut Site);
    let table: [(&str, Change, u64); 16] = [
        ("a new Job", |_| {}, 600),
        ("a verified image", Site::mark_all_verified, 600),
        (
            "an image that is verified in 100 s",
            |s| {
                s.mark_all_verified();
                s.now = at(DAY - 100);
            },
            100,
        ),
        (
            "an image that could not be verified again",
            |s| {
                s.mark_all_verified();
                s.now = at(DAY + 100);
            },
            30,
        ),
        ("a failed attempt", |s| s.fail(0, 2, reason::REGISTRY_UNREACHABLE), 20),
        ("no answer", |s| fail_to_answer(s, reason::REGISTRY_UNREACHABLE), 30),
        ("wrong credentials", |s| fail_to_answer(s, reason::AUTH_FAILED), 600),
        ("not asked yet", |s| s.answers.clear(), 30),
        (
            "a Job that runs",
            |s| {
                let job = running(1, &s.decide().create[0]);
                s.jobs.push(job);
            },
            30,
        ),
        ("a contested tag", |s| contest(s, 100 - DAY), 100),
        ("no free Job", |s| s.free_jobs = 0, 300),
        ("the first scan", |s| (s.stock.scanned, s.stock.bundles) = (false, Vec::new()), 60),
        ("a bundle", |s| s.stock.bundles.clear(), 600),
        ("suspended", |s| s.spec.suspend = true, 600),
        ("an obstacle that may pass", |s| stop(s, reason::REGISTRY_UNREACHABLE), 30),
        ("an obstacle of credentials", |s| stop(s, reason::AUTH_FAILED), 600),
    ];
    for (what, change, seconds) in table {
        let mut site = Site::of(1);
        change(&mut site);
        assert_eq!(site.decide().again, Duration::from_secs(seconds), "{what}");
    }
}

#[test]
fn a_set_is_woken_by_the_end_of_any_job_only_where_it_waits_for_a_free_one() {
    let mut site = Site::of(1);
    assert!(!site.decide().waits_for_jobs, "it got one");
    site.free_jobs = 0;
    assert!(site.decide().waits_for_jobs);
    stop(&mut site, reason::REGISTRY_UNREACHABLE);
    assert!(!site.decide().waits_for_jobs);
    site.blocker = None;
    site.spec.suspend = true;
    assert!(!site.decide().waits_for_jobs);
}
