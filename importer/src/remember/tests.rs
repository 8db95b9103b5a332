// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used)]
use krs_core::digest::Digest;

use super::*;
use crate::job::copy_target;
use crate::task::{CopyTask, DestinationEndpoint};

#[test]
fn only_known_reasons_come_out_of_a_report() {
    assert_eq!(known_failure("AuthFailed"), reason::AUTH_FAILED);
    for text in ["SyncSuccessful", "Error", "", "InvalidSpec", "x\ny"] {
        assert_eq!(known_failure(text), reason::COPY_FAILED, "{text}");
    }
}

#[test]
fn a_time_that_is_yet_to_come_is_over() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let minute = Duration::from_secs(60);
    assert!(
        !is_over(at(0), minute, at(59)) && is_over(at(0), minute, at(60)) && is_over(at(100), minute, at(0))
    );
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
        crate::target::targets(&destination, &images, |_| None, |reference| reference.digest).unwrap();
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
            targets: targets.iter().map(|target| copy_target(target, &[])).collect(),
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
    let at = |second| Timestamp::from_second(second).unwrap();
    let whole = targets.iter().map(|target| (target.key, Answer::Whole)).collect();
    let jobs = [job];
    let state = remember(&SetState::default(), &targets, &whole, at(0), &jobs, at(1));
    assert_eq!((state.proofs.len(), state.ended.len(), state.tried.len()), (3, 3, 0));
    let nothing = BTreeMap::new();
    // Nothing deletes it, and its end never counts twice.
    let later = remember(&state, &targets, &nothing, at(1_000_000), &jobs, at(1_000_000));
    assert_eq!(later.ended.len(), 3);
    assert!(ended_targets(&targets, &later, &jobs).is_empty());
    assert_eq!(remember(&state, &targets, &nothing, at(7199), &[], at(7199)).ended.len(), 3, "an old list");
    assert_eq!(remember(&state, &targets, &nothing, at(7200), &[], at(7200)).ended.len(), 0);
}

#[test]
fn t160_what_a_registry_said_was_true_when_it_was_asked() {
    let (targets, _) = copied(2);
    let at = |second| Timestamp::from_second(second).unwrap();
    let answers = targets.iter().map(|target| target.key).zip([Answer::Whole, Answer::Seen]).collect();
    let state = remember(&SetState::default(), &targets, &answers, at(1), &[], at(200));
    assert_eq!(state.proofs.values().copied().collect::<Vec<_>>(), [at(1)]);
    assert_eq!((state.looked_at, state.last_sync_time), (Some(at(1)), Some(at(200))));
}
