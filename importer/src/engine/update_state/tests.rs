// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used)]
use krs_core::oci::digest::Digest;

use super::*;
use crate::model::task::{CopyTarget, CopyTask, DestinationEndpoint};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Some targets, and a Job that copied them and ended at second 0.
fn copied(count: usize) -> (Vec<Target>, CopyJob) {
    let images = (0..count).map(|n| {
        let digest = Digest::of(n.to_string().as_bytes());
        serde_json::json!({"image": format!("example.com/app{n}:1@{digest}")})
    });
    let spec = serde_json::json!({"destinationRegistry": "edge.local", "images": images.collect::<Vec<_>>()});
    let images = krs_core::set::check_spec(&serde_json::from_value(spec).unwrap()).unwrap();
    let destination = "edge.local".parse().unwrap();
    let targets =
        crate::model::target::targets(&destination, &images, |_| None, |reference| reference.digest).unwrap();
    let job = CopyJob {
        name: "krs-x-0-1".to_owned(),
        batch: "0".to_owned(),
        attempt: 1,
        task: CopyTask {
            destination: DestinationEndpoint {
                registry: targets[0].registry.clone(),
                plain_http: false,
                insecure_skip_verify: false,
            },
            source: TaskSource::Bundle { digest: Digest::of(b"b"), name: "b".to_owned(), ca: String::new() },
            targets: targets.iter().map(|target| CopyTarget::of(target, &[])).collect(),
        },
        created: None,
        suspended: false,
        phase: JobPhase::Succeeded { at: Timestamp::from_second(0).unwrap(), report: None },
    };
    (targets, job)
}

#[test]
fn the_end_of_a_job_is_remembered_while_it_is_there_and_what_it_read_until_the_next_attempt() {
    let (targets, job) = copied(3);
    let complete = targets.iter().map(|target| (target.key, Answer::Complete)).collect();
    let jobs = [job];
    let state = update_state(&SetState::default(), &targets, &complete, at(0), &jobs, at(1));
    assert_eq!((state.verified_at.len(), state.ended.len(), state.tried.len()), (3, 3, 0));
    let nothing = BTreeMap::new();
    // Nothing deletes it, and its end never counts twice.
    let later = update_state(&state, &targets, &nothing, at(1_000_000), &jobs, at(1_000_000));
    assert_eq!(later.ended.len(), 3);
    assert!(ended_targets(&targets, &later, &jobs).is_empty());
    assert_eq!(
        update_state(&state, &targets, &nothing, at(7199), &[], at(7199)).ended.len(),
        3,
        "an old list"
    );
    assert_eq!(update_state(&state, &targets, &nothing, at(7200), &[], at(7200)).ended.len(), 0);
}

#[test]
fn t160_what_a_registry_said_was_true_when_it_was_asked() {
    let (targets, _) = copied(2);
    let answers = targets.iter().map(|target| target.key).zip([Answer::Complete, Answer::Observed]).collect();
    let state = update_state(&SetState::default(), &targets, &answers, at(1), &[], at(200));
    assert_eq!(state.verified_at.values().copied().collect::<Vec<_>>(), [at(1)]);
    assert_eq!((state.observed_at, state.last_sync_time), (Some(at(1)), Some(at(200))));
}

fn moved() -> Answer {
    Answer::TagMoved { tag: "1".to_owned(), found: Digest::of(b"somebody's") }
}

fn missing() -> Answer {
    Answer::Missing { what: "the manifest".to_owned() }
}

fn answers() -> [Answer; 7] {
    let message = || "a sentence".to_owned();
    [
        Answer::Complete,
        Answer::Observed,
        Answer::Failed { reason: reason::REGISTRY_UNREACHABLE, message: message() },
        Answer::Unreadable { message: message() },
        missing(),
        Answer::Corrupt { message: message() },
        moved(),
    ]
}

#[test]
fn only_a_full_check_verifies_and_what_is_known_to_be_wrong_ends_that() {
    let (targets, _) = copied(1);
    let key = targets[0].key;
    for answer in answers() {
        let answered = BTreeMap::from([(key, answer.clone())]);
        let after = update_state(&SetState::default(), &targets, &answered, at(5), &[], at(5));
        assert_eq!(after.verified_at.contains_key(&key), answer == Answer::Complete, "{answer:?}");
        assert!(after.moved.is_empty(), "nobody knows who set the tag: {answer:?}");
        let verified = SetState { verified_at: BTreeMap::from([(key, at(0))]), ..SetState::default() };
        let after = update_state(&verified, &targets, &answered, at(5), &[], at(5));
        let expected = match answer {
            Answer::Complete => Some(at(5)),
            Answer::Observed | Answer::Failed { .. } | Answer::Unreadable { .. } => Some(at(0)),
            Answer::Missing { .. } | Answer::Corrupt { .. } | Answer::TagMoved { .. } => None,
        };
        assert_eq!(after.verified_at.get(&key).copied(), expected, "{answer:?}");
        assert_eq!(after.moved.contains_key(&key), matches!(answer, Answer::TagMoved { .. }), "{answer:?}");
    }
}

#[test]
fn a_job_that_ended_without_its_image_is_one_failed_attempt_from_what_it_read() {
    let (targets, job) = copied(1);
    let key = targets[0].key;
    let failed = JobPhase::Failed { at: at(0), why: "DeadlineExceeded".to_owned(), report: None };
    for (phase, answer, reason) in [
        (job.phase.clone(), Some(missing()), Some(reason::COPY_FAILED)),
        (
            job.phase.clone(),
            Some(Answer::Unreadable { message: "401".to_owned() }),
            Some(reason::AUTH_FAILED),
        ),
        (failed.clone(), Some(missing()), Some(reason::COPY_FAILED)),
        (failed.clone(), None, Some(reason::COPY_FAILED)),
        (failed, Some(Answer::Complete), None),
        (job.phase.clone(), Some(Answer::Complete), None),
        (job.phase.clone(), Some(Answer::Corrupt { message: "one byte".to_owned() }), None),
    ] {
        let what = format!("{phase:?} {answer:?}");
        let answered = answer.into_iter().map(|answer| (key, answer)).collect();
        let mut jobs = [CopyJob { phase, ..job.clone() }];
        let mut state = update_state(&SetState::default(), &targets, &answered, at(1), &jobs, at(1));
        // It is listed for an hour.
        state = update_state(&state, &targets, &answered, at(2), &jobs, at(2));
        let attempt = state.attempts.get(&key);
        let counted = attempt.map(|attempt| (attempt.reason.as_str(), attempt.count, attempt.at));
        assert_eq!(counted, reason.map(|reason| (reason, 1, at(0))), "{what}");
        let bundle = reason.map(|_| Digest::of(b"b"));
        assert_eq!(state.tried.get(&key).copied(), bundle, "{what}");
        jobs[0].task.source = TaskSource::Registry { plain_http: false };
        let state = update_state(&SetState::default(), &targets, &answered, at(1), &jobs, at(1));
        assert_eq!(state.attempts.contains_key(&key), reason.is_some(), "{what}");
        assert!(state.tried.is_empty(), "{what}: its registry was read");
    }
}

#[test]
fn t269_the_end_of_a_job_counts_once_the_registry_was_walked_before_or_after_it_and_not_twice() {
    let (targets, job) = copied(1);
    let key = targets[0].key;
    let (resync, verify, jobs) = (Duration::from_secs(600), Duration::from_secs(86_400), [job]);
    let due = |state: &SetState| {
        due_checks(&targets, state, resync, verify, at(1))
            .into_iter()
            .map(|(_, check)| check)
            .collect::<Vec<_>>()
    };
    let new = SetState { observed_at: Some(at(0)), ..SetState::default() };
    assert_eq!(due(&new), [CheckKind::Full]);
    for answer in [None, Some(Answer::Observed), Some(answers()[2].clone())] {
        let answered = answer.into_iter().map(|answer| (key, answer)).collect();
        let state = update_state(&new, &targets, &answered, at(1), &jobs, at(1));
        assert!(state.ended.is_empty() && state.attempts.is_empty(), "{answered:?}");
        assert_eq!(due(&state), [CheckKind::Full], "{answered:?}");
        // It became present while the Job ran, which may have failed for others.
        let verified = SetState { verified_at: BTreeMap::from([(key, at(0))]), ..new.clone() };
        let failed = JobPhase::Failed { at: at(0), why: "other".to_owned(), report: None };
        for jobs in [jobs.clone(), [CopyJob { phase: failed, ..jobs[0].clone() }]] {
            let state = update_state(&verified, &targets, &answered, at(1), &jobs, at(1));
            assert_eq!(state.ended.get(&key), Some(&at(0)), "{answered:?}");
            assert!(state.attempts.is_empty(), "{answered:?}");
            assert_eq!(due(&state), [], "{answered:?}");
        }
    }
    let complete = BTreeMap::from([(key, Answer::Complete)]);
    assert_eq!(due(&update_state(&new, &targets, &complete, at(1), &jobs, at(1))), []);
    // What is known to be missing at the end of its Job is no verification.
    let verified = SetState { verified_at: BTreeMap::from([(key, at(0))]), ..new };
    let missing = BTreeMap::from([(key, missing())]);
    let state = update_state(&verified, &targets, &missing, at(1), &jobs, at(1));
    assert_eq!(state.attempts[&key].reason, reason::COPY_FAILED);
}

#[test]
fn a_tag_that_is_moved_after_each_repair_is_noted_with_its_last_moves() {
    let (targets, mut job) = copied(1);
    let key = targets[0].key;
    let answered = BTreeMap::from([(key, moved())]);
    let mut state = SetState::default();
    for n in 1..=4 {
        job.phase = JobPhase::Succeeded { at: at(10 * n), report: None };
        let jobs = [job.clone()];
        for second in [10 * n + 1, 10 * n + 2] {
            state = update_state(&state, &targets, &answered, at(second), &jobs, at(second));
        }
    }
    assert!(state.attempts.is_empty(), "the Jobs did their work");
    assert_eq!(state.moved[&key], [at(21), at(31), at(41)]);
}
