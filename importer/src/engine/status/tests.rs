// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used, clippy::expect_used)]

use krs_core::crd::EdgeImageSet;
use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-03-01T08:00:00.25Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn spec(images: usize) -> EdgeImageSetSpec {
    let image = |n: usize| {
        let digest = krs_core::oci::digest::Digest::of(n.to_string().as_bytes());
        json!({"image": format!("docker.io/library/app{n}:1.0@{digest}")})
    };
    let images = (0..images).map(image).collect::<Vec<_>>();
    serde_json::from_value(json!({"destinationRegistry": "edge.local:5000", "images": images})).unwrap()
}

fn bundle() -> BundleReference {
    let digest = krs_core::oci::digest::Digest::of(b"bundle").to_string();
    BundleReference { name: "prod-118".to_owned(), stream: "prod".to_owned(), sequence: 118, digest }
}

fn good(images: usize) -> StatusSummary {
    StatusSummary {
        present: vec![true; images],
        failures: Vec::new(),
        ready: (reason::SYNC_SUCCESSFUL, reason::SYNC_SUCCESSFUL_MESSAGE.to_owned()),
        reconciling: None,
        stalled: None,
        bundle: Some(bundle()),
    }
}

fn waiting() -> StatusSummary {
    let why = (reason::WAITING_FOR_BUNDLE, "2 of 2 images wait for a bundle".to_owned());
    StatusSummary {
        present: vec![false; 2],
        failures: Vec::new(),
        ready: why.clone(),
        reconciling: Some(why),
        stalled: None,
        bundle: None,
    }
}

fn find<'a>(status: &'a EdgeImageSetStatus, type_: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|c| c.type_ == type_)
}

#[test]
fn ready_and_synced_are_equal_and_the_others_are_there_only_while_true() {
    for (summary, is, others) in [
        (good(2), "True", vec![condition::BUNDLE_VERIFIED]),
        (waiting(), "False", vec![condition::RECONCILING]),
    ] {
        let status = status(None, 7, &spec(2), &summary, None, at(NOW));
        let (ready, synced) =
            (find(&status, condition::READY).unwrap(), find(&status, condition::SYNCED).unwrap());
        assert_eq!(ready.status, is);
        assert_eq!(
            (&ready.status, &ready.reason, &ready.message),
            (&synced.status, &synced.reason, &synced.message)
        );
        let types = status.conditions.iter().map(|c| c.type_.as_str()).collect::<Vec<_>>();
        assert_eq!(types, [vec![condition::READY, condition::SYNCED], others].concat());
        assert!(status.conditions.iter().all(|c| c.observed_generation == Some(7)));
        assert_eq!(status.observed_generation, Some(7));
    }
}

#[test]
fn images_are_listed_as_the_spec_writes_them_and_in_its_order() {
    let spec = spec(3);
    let summary = StatusSummary { present: vec![true, false, true], ..waiting() };
    let status = status(None, 1, &spec, &summary, None, at(NOW));
    assert_eq!(status.synchronized_images, [spec.images[0].image.clone(), spec.images[2].image.clone()]);
    let counts = status.images.unwrap();
    assert_eq!((counts.desired, counts.present, counts.missing, counts.failed), (3, 2, 1, 0));
}

#[test]
fn the_time_of_a_transition_stays_while_the_status_stays() {
    let spec = spec(2);
    let first = status(None, 1, &spec, &waiting(), None, at(NOW));
    let second = status(Some(&first), 1, &spec, &waiting(), None, at("2026-03-01T09:00:00Z"));
    assert_eq!(first, second);
    let third = status(Some(&second), 1, &spec, &good(2), Some(at(NOW)), at("2026-03-01T10:00:00Z"));
    let ready = find(&third, condition::READY).unwrap();
    assert_eq!(ready.last_transition_time.0, at("2026-03-01T10:00:00Z"));
}

/// A status comes back from the API server without parts of seconds.
#[test]
fn a_status_that_was_read_back_equals_the_next_one() {
    let first = status(None, 1, &spec(2), &good(2), Some(at(NOW)), at(NOW));
    let back: EdgeImageSetStatus = serde_json::from_str(&serde_json::to_string(&first).unwrap()).unwrap();
    let next = status(Some(&back), 1, &spec(2), &good(2), Some(at(NOW)), at("2026-03-01T09:00:00.5Z"));
    assert_eq!(write_in(Some(&back), &next, None, at(NOW)), None);
}

#[test]
fn a_status_is_written_at_once_when_a_condition_changes_and_else_after_a_while() {
    let spec = spec(2);
    let before = status(None, 1, &spec, &waiting(), None, at(NOW));
    let (written, now) = (Some(at("2026-03-01T08:00:00Z")), at("2026-03-01T08:00:04Z"));
    let wait = |summary: &StatusSummary, generation| {
        let after = status(Some(&before), generation, &spec, summary, None, now);
        write_in(Some(&before), &after, written, now)
    };
    assert_eq!(wait(&waiting(), 1), None);
    assert_eq!(wait(&good(2), 1), Some(Duration::ZERO));
    assert_eq!(wait(&waiting(), 2), Some(Duration::ZERO));
    let one_more = StatusSummary { present: vec![true, false], ..waiting() };
    assert_eq!(wait(&one_more, 1), Some(Duration::from_secs(6)));
    let after = status(Some(&before), 1, &spec, &one_more, None, now);
    assert_eq!(write_in(None, &after, written, now), Some(Duration::ZERO));
    let later = at("2026-03-01T08:01:00Z");
    assert_eq!(write_in(Some(&before), &after, written, later), Some(Duration::ZERO));
    let clock_set_back = at("2026-02-01T08:00:00Z");
    assert_eq!(write_in(Some(&before), &after, written, clock_set_back), Some(Duration::ZERO));
}

#[test]
fn t78_the_full_status_of_the_largest_set_is_below_a_mebibyte() {
    let mut spec = spec(1000);
    for (n, image) in spec.images.iter_mut().enumerate() {
        image.image = format!("docker.io/{n:0>310}");
        assert_eq!(image.image.chars().count(), 320);
    }
    let failure = |image: &krs_core::crd::EdgeImage| ImageFailure {
        image: image.image.clone(),
        reason: "R".repeat(500),
        message: "\u{1b}".repeat(5000),
    };
    let failures = spec.images.iter().map(failure).collect();
    let long = || "ü".repeat(100_000);
    let summary = StatusSummary {
        failures,
        ready: (reason::COPY_FAILED, long()),
        reconciling: Some((reason::RETRYING, long())),
        ..good(1000)
    };
    let status = status(None, 1, &spec, &summary, Some(at(NOW)), at(NOW));
    assert_eq!((status.synchronized_images.len(), status.failures.len()), (1000, 20));
    for failure in &status.failures {
        assert!(failure.message.chars().count() <= 1024 && failure.reason.chars().count() <= 64);
        assert!(!failure.message.contains('\u{1b}'), "T-84: control characters are escaped");
    }
    let size = serde_json::to_vec(&status).unwrap().len();
    assert!(size < 1 << 20, "{size} bytes");
}

/// How a GitOps engine reads a state: kstatus (Flux, and the base of Fleet), and Argo CD with our health check.
type Reading = (&'static str, &'static str);
const CURRENT: Reading = ("Current", "Healthy");
const IN_PROGRESS: Reading = ("InProgress", "Progressing");
const FAILED: Reading = ("Failed", "Degraded");

/// One object for each state that the importer lets a set be in.
fn states() -> Vec<(&'static str, Value, Reading)> {
    let object = |generation: i64, suspend: bool, status: Value| {
        let spec = EdgeImageSetSpec { suspend, ..spec(2) };
        let mut set = serde_json::to_value(EdgeImageSet::new("images", spec)).unwrap();
        set["metadata"]["namespace"] = json!("shop");
        set["metadata"]["generation"] = json!(generation);
        set["status"] = status;
        set
    };
    let status_of = |generation, summary: &StatusSummary| {
        json!(status(None, generation, &spec(2), summary, Some(at(NOW)), at(NOW)))
    };
    let progressing = |ready: &'static str, reconciling: &'static str, message: &str| StatusSummary {
        ready: (ready, message.to_owned()),
        reconciling: Some((reconciling, message.to_owned())),
        ..waiting()
    };
    let unready = |reason: &'static str, message: &str| StatusSummary {
        ready: (reason, message.to_owned()),
        reconciling: None,
        ..waiting()
    };
    let stalled = |reason: &'static str, message: &str| StatusSummary {
        stalled: Some((reason, message.to_owned())),
        ..unready(reason, message)
    };
    let mut states = vec![
        ("before the first reconcile", object(1, false, json!({"observedGeneration": -1})), IN_PROGRESS),
        ("ready", object(1, false, status_of(1, &good(2))), CURRENT),
        (
            "ready from a source registry",
            object(1, false, status_of(1, &StatusSummary { bundle: None, ..good(2) })),
            CURRENT,
        ),
        ("ready at an older generation", object(2, false, status_of(1, &good(2))), IN_PROGRESS),
        ("suspended and ready", object(1, true, status_of(1, &good(2))), ("Current", "Suspended")),
        (
            "suspended with images missing",
            object(
                1,
                true,
                status_of(1, &unready(reason::SUSPENDED, "0 of 2 images present; the set is suspended")),
            ),
            ("InProgress", "Suspended"),
        ),
        (
            "source not allowed",
            object(
                1,
                false,
                status_of(1, &unready(reason::SOURCE_NOT_ALLOWED, "copying from docker.io is not allowed")),
            ),
            IN_PROGRESS,
        ),
        (
            "copying",
            object(
                1,
                false,
                status_of(
                    1,
                    &progressing(
                        reason::COPYING,
                        reason::COPYING_IMAGES,
                        "0 of 2 images present, 1 copy Job running",
                    ),
                ),
            ),
            IN_PROGRESS,
        ),
        ("waiting for a bundle", object(1, false, status_of(1, &waiting())), IN_PROGRESS),
    ];
    for why in [
        reason::REGISTRY_UNREACHABLE,
        reason::AUTH_FAILED,
        reason::TLS_FAILED,
        reason::SECRET_NOT_FOUND,
        reason::SECRET_FORBIDDEN,
        reason::SECRET_INVALID,
        reason::JOB_REJECTED,
        reason::IMAGE_NOT_FOUND,
        reason::REGISTRY_REFUSED,
        reason::REGISTRY_FULL,
        reason::REGISTRY_READ_ONLY,
        reason::MEDIA_READ_ERROR,
        reason::BUNDLE_UNAVAILABLE,
        reason::CONNECTION_TIMED_OUT,
        reason::COPY_FAILED,
        reason::TAG_CONTESTED,
    ] {
        let summary = progressing(why, reason::RETRYING, "the last attempt failed");
        states.push((why, object(1, false, status_of(1, &summary)), IN_PROGRESS));
    }
    for why in [
        reason::JOBS_FORBIDDEN,
        reason::INVALID_SPEC,
        reason::NAMING_COLLISION,
        reason::DESTINATION_NOT_ALLOWED,
        reason::INSECURE_DESTINATION_NOT_ALLOWED,
        reason::SPARSE_INDEX_REFUSED,
        reason::BASE_MISSING,
        reason::DIGEST_MISMATCH,
    ] {
        states.push((why, object(1, false, status_of(1, &stalled(why, "the set's owner must act"))), FAILED));
    }
    states
}

/// The file is what the checks with kstatus and with Argo CD's Lua read.
#[test]
fn t71_the_states_that_gitops_engines_see_are_the_reviewed_ones() {
    let states = states().into_iter().map(|(state, object, (kstatus, argo))| {
        json!({"state": state, "object": object, "kstatus": kstatus, "argo": argo})
    });
    let now = serde_json::to_string_pretty(&states.collect::<Vec<_>>()).unwrap() + "\n";
    let file = format!("{}/tests/gitops/states.json", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &now).unwrap();
    }
    assert!(
        std::fs::read_to_string(&file).unwrap_or_default() == now,
        "the states differ from {file}; review and accept them with\n  \
         UPDATE_GOLDEN=1 cargo test -p krs-importer the_states_that_gitops_engines_see"
    );
}

/// Fleet reads these names as its own (trust in the names of conditions and reasons is all that it has).
#[test]
fn no_state_uses_a_word_that_fleet_reads_in_its_own_way() {
    for (state, object, _) in states() {
        let status = &object["status"];
        assert!(["phase", "summary", "display"].iter().all(|field| status.get(*field).is_none()), "{state}");
        for condition in status["conditions"].as_array().into_iter().flatten() {
            let (type_, is) = (condition["type"].as_str().unwrap(), condition["status"].as_str().unwrap());
            assert!(
                ["Ready", "Synced", "Reconciling", "Stalled", "BundleVerified"].contains(&type_),
                "{state}"
            );
            assert!(is != "Unknown" && condition["reason"] != "Error", "{state}");
        }
    }
}
