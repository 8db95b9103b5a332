// SPDX-License-Identifier: Apache-2.0
use super::*;

/// What a state is called: reasons of Ready, Reconciling and Stalled.
fn reasons(site: &Site) -> (&'static str, Option<&'static str>, Option<&'static str>) {
    let summary = site.decide().summary;
    (
        summary.ready.0,
        summary.reconciling.map(|condition| condition.0),
        summary.stalled.map(|condition| condition.0),
    )
}

fn blocker(reason: &'static str, stalled: bool) -> Option<Blocker> {
    Some(Blocker { reason, message: "an obstacle".to_owned(), stalled })
}

#[test]
fn every_state_has_its_reasons() {
    type Change = fn(&mut Site);
    let table: [(Change, &str, Option<&str>, Option<&str>); 20] = [
        (|_| {}, reason::COPYING, Some(reason::COPYING_IMAGES), None),
        (Site::mark_all_verified, reason::SYNC_SUCCESSFUL, None, None),
        (
            |s| {
                let missing = s.answers.clone();
                s.mark_all_verified();
                s.answers = missing;
            },
            reason::COPYING,
            Some(reason::COPYING_IMAGES),
            None,
        ),
        (
            |s| {
                s.mark_all_verified();
                s.unresolved.push(1);
            },
            reason::WAITING_FOR_BUNDLE,
            Some(reason::WAITING_FOR_BUNDLE),
            None,
        ),
        (|s| s.stock.bundles.clear(), reason::WAITING_FOR_BUNDLE, Some(reason::WAITING_FOR_BUNDLE), None),
        (
            |s| s.stock.bundles[0].present = false,
            reason::WAITING_FOR_BUNDLE,
            Some(reason::WAITING_FOR_BUNDLE),
            None,
        ),
        (|s| s.spec.suspend = true, reason::SUSPENDED, None, None),
        (
            |s| {
                s.mark_all_verified();
                s.spec.suspend = true;
                s.now = at(400_000);
            },
            reason::SYNC_SUCCESSFUL,
            None,
            None,
        ),
        (
            |s| s.blocker = blocker(reason::REGISTRY_UNREACHABLE, false),
            reason::REGISTRY_UNREACHABLE,
            Some(reason::RETRYING),
            None,
        ),
        (
            |s| {
                s.mark_all_verified();
                s.blocker = blocker(reason::REGISTRY_UNREACHABLE, false);
            },
            reason::SYNC_SUCCESSFUL,
            None,
            None,
        ),
        (
            |s| {
                s.mark_all_verified();
                s.blocker = blocker(reason::NAMING_COLLISION, true);
            },
            reason::NAMING_COLLISION,
            None,
            Some(reason::NAMING_COLLISION),
        ),
        (|s| s.fail_all(1, reason::AUTH_FAILED), reason::AUTH_FAILED, Some(reason::RETRYING), None),
        (
            |s| s.fail_all(1, reason::DIGEST_MISMATCH),
            reason::DIGEST_MISMATCH,
            None,
            Some(reason::DIGEST_MISMATCH),
        ),
        (
            |s| s.fail_all(1, reason::SPARSE_INDEX_REFUSED),
            reason::SPARSE_INDEX_REFUSED,
            None,
            Some(reason::SPARSE_INDEX_REFUSED),
        ),
        (|s| s.fail_all(1, "SyncSuccessful"), reason::COPY_FAILED, Some(reason::RETRYING), None),
        // Nothing is copied that was not asked for: it may be there.
        (|s| s.answers.clear(), reason::COPYING, Some(reason::RETRYING), None),
        (|s| s.free_jobs = 0, reason::COPYING, Some(reason::COPYING_IMAGES), None),
        (|s| s.spec.source = krs_core::crd::Source::Registry, reason::SOURCE_NOT_ALLOWED, None, None),
        (
            |s| {
                for answer in s.answers.values_mut() {
                    *answer = Answer::Failed { reason: reason::TLS_FAILED, message: "no".to_owned() };
                }
            },
            reason::TLS_FAILED,
            Some(reason::RETRYING),
            None,
        ),
        (
            |s| {
                for answer in s.answers.values_mut() {
                    *answer = Answer::Corrupt { message: "one byte".to_owned() };
                }
            },
            reason::DIGEST_MISMATCH,
            None,
            Some(reason::DIGEST_MISMATCH),
        ),
    ];
    for (n, (change, ready, reconciling, stalled)) in table.into_iter().enumerate() {
        let mut site = Site::of(2);
        change(&mut site);
        assert_eq!(reasons(&site), (ready, reconciling, stalled), "row {n}");
    }
}

impl Site {
    fn fail_all(&mut self, count: u32, reason: &str) {
        (0..self.targets.len()).for_each(|position| self.fail(position, count, reason));
    }
}

#[test]
fn ten_images_are_spread_evenly_over_the_free_jobs() {
    let sizes = |site: &Site| site.decide().create.iter().map(|b| b.targets.len()).collect::<Vec<_>>();
    let mut site = Site::of(10);
    assert_eq!(sizes(&site), [5, 5]);
    site.free_jobs = 1;
    assert_eq!(sizes(&site), [10]);
    site.spec.parallelism = 3;
    site.free_jobs = 8;
    assert_eq!(sizes(&site), [4, 3, 3]);
    assert_eq!(sizes(&Site::of(100)), [32, 32]);
    assert_eq!(site.decide().create[0].bytes, Some(4000));
}

#[test]
fn no_two_jobs_write_to_one_repository() {
    let images = (0..40).map(|n| format!("docker.io/library/app:{n}@{}", digest(n))).collect::<Vec<_>>();
    let mut site = Site::with(&images);
    let first = site.decide().create;
    assert_eq!(first.iter().map(|b| b.targets.len()).collect::<Vec<_>>(), [32]);
    site.jobs.push(running(1, &first[0]));
    assert!(site.decide().create.is_empty(), "the rest waits for the Job that writes to the repository");
    site.jobs.clear();
    site.busy.insert(("edge.local:5000".parse().unwrap(), "library/app".parse().unwrap()));
    assert!(site.decide().create.is_empty(), "another set's Job writes to it");
}

#[test]
fn a_task_fits_an_argument_of_a_process() {
    let images = (0..64).map(|n| {
        let path = format!("{}/{n}", "p".repeat(170));
        format!("docker.io/{path}:{}@{}", "t".repeat(50), digest(n))
    });
    let mut site = Site::with(&images.collect::<Vec<_>>());
    let repositories =
        (0..8).map(|n| format!("{}/{n}", "r".repeat(250)).parse().unwrap()).collect::<Vec<_>>();
    site.blob_locations.insert(Digest::of(b"shared"), repositories);
    let create = site.decide().create;
    for batch in &create {
        let task = running(1, batch).task;
        assert!(serde_json::to_vec(&task).unwrap().len() <= crate::model::task::MAX_TASK);
        assert!(task.targets.iter().all(|t| t.mount_from.len() == 8));
    }
    assert_eq!(create.len(), 2);
}

#[test]
fn blobs_are_linked_from_verified_images_of_the_same_set() {
    let mut site = Site::of(2);
    site.mark_verified(0);
    let create = site.decide().create;
    assert_eq!(create[0].targets[0].1, ["library/app0".parse().unwrap()]);
}

#[test]
fn the_message_of_a_waiting_set_names_images_media_and_refused_bundles() {
    let mut site = Site::of(5);
    site.stock.bundles[0].present = false;
    site.stock.refused.push(Refusal {
        name: "prod-119\u{1b}".to_owned(),
        reason: "UntrustedKey".to_owned(),
        message: "nobody knows who signed it".to_owned(),
    });
    let message = site.decide().summary.ready.1;
    for part in [
        "0 of 5 images present",
        "5 images wait",
        "app0:1",
        "and 2 more",
        "insert prod-118",
        "prod-119\\u{1b} refused: UntrustedKey",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
    site.stock.bundles[0].present = true;
    site.stock.bundles[0].ready = false;
    assert!(site.decide().summary.ready.1.contains("prod-118 is being verified"));
}

#[test]
fn t72_an_edit_elsewhere_disturbs_no_running_job_and_one_that_nobody_wants_is_deleted() {
    let mut site = Site::of(4);
    let create = site.decide().create;
    site.jobs = create.iter().enumerate().map(|(n, batch)| running(n, batch)).collect();
    site.targets.truncate(3);
    assert!(site.decide().delete.is_empty());
    site.targets.truncate(2);
    assert_eq!(site.decide().delete, [site.jobs[1].name.clone()]);
    site.spec.suspend = true;
    assert_eq!(site.decide().delete.len(), 2);
    site.blocker = blocker(reason::INVALID_SPEC, true);
    assert!(site.decide().delete.is_empty(), "what is wanted is not known");
}

#[test]
fn t81_the_message_says_why_a_pod_does_not_start() {
    let mut site = Site::of(1);
    let mut job = running(1, &site.decide().create[0]);
    let waiting = Some("ErrImagePull: no such image".to_owned());
    job.phase = JobPhase::Running { waiting, failed: None };
    site.jobs.push(job);
    let (reason, message) = site.decide().summary.reconciling.unwrap();
    assert_eq!(reason, reason::COPYING_IMAGES);
    assert!(
        message.contains("0 of 1 images present, 1 copy Job running") && message.contains("ErrImagePull")
    );
}

/// Kubernetes starts a Job's Pod again after one that failed.
#[test]
fn t206_the_last_pod_of_a_running_job_that_failed_is_newer_than_the_last_attempt() {
    let mut site = Site::of(3);
    site.spec.parallelism = 1;
    let mut job = running(1, &site.decide().create[0]);
    let position = |n: usize| job.task.targets.iter().position(|t| t.digest == digest(n)).unwrap();
    let failure = TargetFailure {
        target: position(1),
        reason: reason::BUNDLE_UNAVAILABLE.to_owned(),
        message: "its media are away".to_owned(),
    };
    let report = CopyReport { done: 2, failed: 1, failures: vec![failure], ..CopyReport::default() };
    let failed = FailedPod { why: "Error (exit code 8)".to_owned(), report: Some(report) };
    job.phase = JobPhase::Running { waiting: None, failed: Some(failed) };
    site.jobs.push(job);
    let reasons_of = |site: &Site| {
        let failures = site.decide().summary.failures;
        failures.into_iter().map(|f| (f.image, f.reason)).collect::<Vec<_>>()
    };
    let (ready, reconciling, _) = reasons(&site);
    assert_eq!((ready, reconciling), (reason::COPYING, Some(reason::COPYING_IMAGES)), "two are not retries");
    let image = |n: usize| site.spec.images[n].image.clone();
    assert_eq!(reasons_of(&site), [(image(1), "BundleUnavailable".to_owned())]);
    let (first, second) = (image(0), image(1));
    site.fail_all(1, reason::REGISTRY_UNREACHABLE);
    let all = reasons_of(&site);
    assert_eq!(
        all[..2],
        [(first, "RegistryUnreachable".to_owned()), (second, "BundleUnavailable".to_owned())]
    );
    assert_eq!(reasons(&site).1, Some(reason::RETRYING));
    // What was verified meanwhile did not fail.
    site.mark_verified(1);
    assert!(reasons_of(&site).iter().all(|(_, reason)| reason == "RegistryUnreachable"));
}

#[test]
fn t83_t207_a_refused_job_is_reported_until_another_one_runs_and_a_failed_copy_until_it_succeeded() {
    for (why, while_it_runs) in [
        (reason::JOB_REJECTED, (reason::COPYING, Some(reason::COPYING_IMAGES))),
        (reason::REGISTRY_REFUSED, (reason::REGISTRY_REFUSED, Some(reason::RETRYING))),
        (reason::REGISTRY_READ_ONLY, (reason::REGISTRY_READ_ONLY, Some(reason::RETRYING))),
    ] {
        let mut site = Site::of(1);
        site.fail(0, 1, why);
        assert_eq!(reasons(&site), (why, Some(reason::RETRYING), None), "it waits");
        site.now = at(10);
        let create = site.decide().create;
        assert_eq!((reasons(&site).0, reasons(&site).1), while_it_runs, "{why}: a Job is created");
        site.free_jobs = 0;
        assert_eq!(reasons(&site).0, why, "{why}: there is no slot for the next one");
        site.jobs.push(running(1, &create[0]));
        assert_eq!((reasons(&site).0, reasons(&site).1), while_it_runs, "{why}: it runs");
        assert_eq!(site.decide().summary.failures.is_empty(), why == reason::JOB_REJECTED);
    }
}

#[test]
fn attempts_come_later_each_time_and_a_new_bundle_is_tried_at_once() {
    let mut site = Site::of(1);
    for (count, wait) in [(1, 10), (2, 20), (7, 600), (99, 600)] {
        site.now = at(0);
        site.fail(0, count, reason::REGISTRY_UNREACHABLE);
        site.now = at(wait - 1);
        let decision = site.decide();
        assert!(decision.create.is_empty(), "{count}");
        assert_eq!(decision.again, Duration::from_secs(1));
        site.now = at(wait);
        assert_eq!(site.decide().create[0].attempt, count + 1);
    }
    site.now = at(0);
    site.fail(0, 1, reason::AUTH_FAILED);
    site.now = at(599);
    assert!(site.decide().create.is_empty(), "a wrong password makes no storm");
    let next = bundle(119, &site.targets);
    site.stock.bundles.insert(0, next);
    assert_eq!(site.decide().create.len(), 1);
}

#[test]
fn t83_a_refused_job_is_retried_within_a_minute_and_sooner_where_another_one_is_newer() {
    let mut site = Site::of(2);
    site.now = at(0);
    let batch = site.decide().create.remove(0);
    site.fail(0, 9, reason::JOB_REJECTED);
    site.fail(1, 9, reason::IMAGE_NOT_FOUND);
    site.now = at(59);
    assert!(site.decide().create.is_empty());
    site.now = at(60);
    assert_eq!(site.decide().create.len(), 1, "and nothing else is retried more often for that");
    site.now = at(30);
    let second = &site.targets[1];
    let mut job = running(1, &Batch { targets: vec![(second.clone(), Vec::new())], ..batch });
    for (created, ended, retried) in
        [(-5, None, false), (5, None, true), (-5, Some(20), true), (-50, Some(-10), false)]
    {
        job.created = Some(at(created));
        job.phase = match ended {
            Some(ended) => JobPhase::Succeeded { at: at(ended), report: None },
            None => JobPhase::Running { waiting: None, failed: None },
        };
        site.jobs = vec![job.clone()];
        assert_eq!(site.decide().create.len(), usize::from(retried), "{created} {ended:?}");
    }
}

/// Media that a retry will read must not be pulled meanwhile, whatever must be mended before it succeeds.
#[test]
fn t165_an_image_is_needed_from_its_bundle_between_two_attempts() {
    for reason in [reason::BASE_MISSING, reason::DIGEST_MISMATCH, reason::AUTH_FAILED] {
        let mut site = Site::of(1);
        assert_eq!(site.decide().from_bundle, [0]);
        site.fail(0, 1, reason);
        for second in [1, 599, 600] {
            site.now = at(second);
            assert_eq!(site.decide().from_bundle, [0], "{reason} after {second} s");
        }
        assert_eq!(site.decide().create.len(), 1, "{reason}: the retry");
    }
    let mut site = Site::of(1);
    site.fail(0, 1, reason::SPARSE_INDEX_REFUSED);
    assert!(site.decide().from_bundle.is_empty());
}

/// The name of a Job holds its attempt, and an ended Job stays for an hour.
#[test]
fn an_image_that_went_away_again_gets_a_job_of_a_new_name() {
    let mut site = Site::of(1);
    let mut job = running(1, &site.decide().create[0]);
    job.phase = JobPhase::Succeeded { at: at(0), report: None };
    site.jobs.push(job);
    assert_eq!(site.decide().create[0].attempt, 2);
}

#[test]
fn a_tag_that_others_keep_moving_is_reported_and_not_fought_over() {
    let mut site = Site::of(1);
    let key = site.targets[0].key;
    site.answers.insert(key, Answer::TagMoved { tag: "1".to_owned(), found: digest(9) });
    site.state.moved.insert(key, vec![at(-300), at(-200)]);
    assert_eq!(site.decide().create.len(), 1, "it is put back");
    site.state.moved.insert(key, vec![at(-300), at(-200), at(-100)]);
    let decision = site.decide();
    assert!(decision.create.is_empty());
    assert_eq!(decision.from_bundle, [0], "the media stay until it is put back");
    assert_eq!(decision.summary.failures[0].reason, reason::TAG_CONTESTED);
    site.now = at(24 * 3600);
    assert_eq!(site.decide().create.len(), 1, "a day later again");
}

#[test]
fn a_registry_that_is_away_for_a_night_turns_nothing_red_but_not_indefinitely() {
    let mut site = Site::of(1);
    site.mark_all_verified();
    site.answers.insert(
        site.targets[0].key,
        Answer::Failed { reason: reason::REGISTRY_UNREACHABLE, message: String::new() },
    );
    site.now = at(30 * 3600);
    assert_eq!(reasons(&site).0, reason::SYNC_SUCCESSFUL);
    site.now = at(48 * 3600);
    assert_eq!(reasons(&site).0, reason::REGISTRY_UNREACHABLE);
}

#[test]
fn online_images_come_from_a_bundle_first_and_from_allowed_registries_only() {
    let mut site = Site::of(1);
    let hub = || AllowList::parse(&["docker.io".to_owned()]).unwrap();
    (site.online, site.sources) = (true, hub());
    assert!(matches!(site.decide().create[0].source, BatchSource::Bundle { .. }));
    site.stock.bundles.clear();
    assert!(matches!(site.decide().create[0].source, BatchSource::Registry { .. }));
    site.sources = AllowList::parse(&["ghcr.io".to_owned()]).unwrap();
    assert_eq!(reasons(&site).0, reason::WAITING_FOR_BUNDLE);
    site.sources = hub();
    site.stock.scanned = false;
    assert_eq!(reasons(&site).0, reason::WAITING_FOR_BUNDLE, "the drop folder is read first");
}
