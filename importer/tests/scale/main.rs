// SPDX-License-Identifier: Apache-2.0
//! How much memory the importer takes for many large sets that are Ready, and how often it asks the API server then.
//!
//! The real program runs as a child process against an API server in this one. All images are recorded as verified, so
//! that no registry is needed. `KRS_SCALE_SETS` and `KRS_SCALE_IMAGES` choose another size.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "a measurement")]

#[allow(dead_code, reason = "other tests use more of it")]
#[path = "../support/api/mod.rs"]
mod api;
#[path = "../support/program.rs"]
mod program;

use std::collections::BTreeMap;
use std::time::Duration;

use api::FakeApi;
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::{Destination, Reference};
use krs_importer::model::state::{DecidedBy, ResolvedTag, SetState};
use krs_importer::model::target::targets;
use program::Running;
use serde_json::{Value, json};

const SETS: &str = "edgeimagesets";
/// Most memory of the importer with all sets: half of its limit in the chart.
const MAX_MEMORY: u64 = 128 << 20;
/// The variables that the chart gives the importer.
const AS_IN_THE_CHART: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "16384"), ("MALLOC_TRIM_THRESHOLD_", "131072")];
/// How long requests of the idle importer are counted.
const IDLE: Duration = Duration::from_secs(60);

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap())
}

/// A figure of `/proc/PID/status`, in bytes.
fn figure(importer: &Running, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", importer.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_matches([':', ' ', '\t', 'k', 'B']).trim().parse::<u64>().unwrap() << 10
}

/// A set and the state that says that all of its images are there. Every second set names its images by tag, and a bundle
/// decided what these stand for.
fn put(api: &FakeApi, n: usize, images: usize, now: jiff::Timestamp) {
    let digest = |m: usize| Digest::of(format!("{n} {m}").as_bytes());
    let tag = |m: usize| format!("registry.example.com/team-{n}/component-{m}:1.{m}.0");
    let is_pinned = n.is_multiple_of(2);
    let image = |m: usize| {
        let pin = if is_pinned { format!("@{}", digest(m)) } else { String::new() };
        json!({"image": tag(m) + &pin})
    };
    let spec = json!({
        "destinationRegistry": "edge.example.com:5000", "images": (0..images).map(image).collect::<Vec<_>>(),
        "parallelism": 2, "resyncInterval": "10m", "verifyInterval": "24h",
    });
    let name = format!("set-{n}");
    let checked = krs_core::set::check_spec(&serde_json::from_value(spec.clone()).unwrap()).unwrap();
    let destination = "edge.example.com:5000".parse::<Destination>().unwrap();
    let by = DecidedBy { stream: "site".parse().unwrap(), sequence: 117, created_at: now };
    let resolved = (0..images).filter(|_| !is_pinned).map(|m| {
        let decided = ResolvedTag { digest: digest(m), at: now, decided_by: Some(by.clone()) };
        (tag(m), decided)
    });
    let resolved = resolved.collect::<BTreeMap<_, _>>();
    let stands_for = |reference: &Reference| {
        reference.digest.or_else(|| Some(resolved.get(&reference.to_string())?.digest))
    };
    let targets = targets(&destination, &checked, |_| None, stands_for).unwrap();
    assert_eq!(targets.len(), images);
    let verified_at = targets.iter().map(|target| (target.key, now)).collect::<BTreeMap<_, _>>();
    let (observed_at, last_sync_time) = (Some(now), Some(now));
    let state = SetState { verified_at, resolved, observed_at, last_sync_time, ..SetState::default() };
    let uid = format!("00000000-0000-0000-0000-{n:012}");
    api.put(
        SETS,
        json!({
            "apiVersion": "kuberegistrysync.io/v1alpha1", "kind": "EdgeImageSet", "spec": spec,
            "metadata": {"name": name, "namespace": "shop", "uid": uid, "generation": 1},
        }),
    );
    api.put(
        "configmaps",
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": format!("krs-state-{uid}"), "namespace": "krs-system",
                "labels": {"kuberegistrysync.io/state": "true"},
            },
            "data": {"state.json": serde_json::to_string(&state).unwrap()},
        }),
    );
}

fn is_ready(set: &Value) -> bool {
    let conditions = set["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: takes minutes; a part of `cargo xtask test --full`"]
async fn t78_three_hundred_sets_of_a_thousand_images_fit_into_the_memory_of_the_importer() {
    let (sets, images) = (number("KRS_SCALE_SETS", 300), number("KRS_SCALE_IMAGES", 1000));
    let api = FakeApi::default();
    let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap();
    (0..sets).for_each(|n| put(&api, n, images, now));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = api.service();
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });

    let importer = Running::start(address, ([127, 0, 0, 1], 0).into(), &AS_IN_THE_CHART);

    let mut ready = 0;
    while ready < sets {
        tokio::time::sleep(Duration::from_secs(1)).await;
        ready = api.count(SETS, is_ready);
    }
    let started = (figure(&importer, "VmRSS"), figure(&importer, "VmHWM"));
    api.fail(None);
    tokio::time::sleep(IDLE).await;
    let mut calls = BTreeMap::<String, usize>::new();
    api.calls().into_iter().for_each(|call| *calls.entry(call).or_default() += 1);
    let (memory, peak) = (figure(&importer, "VmRSS"), figure(&importer, "VmHWM"));
    let anonymous = figure(&importer, "RssAnon");
    let mebibytes = |bytes: u64| bytes >> 20;
    eprintln!(
        "{sets} sets of {images} images: {} MiB, of which {} MiB anonymous ({} MiB right after the start, {} MiB at most); idle for {} s: {calls:?}",
        mebibytes(memory),
        mebibytes(anonymous),
        mebibytes(started.0),
        mebibytes(peak),
        IDLE.as_secs(),
    );
    assert!(peak <= MAX_MEMORY, "{} MiB", mebibytes(peak));
    let requests = calls.values().sum::<usize>();
    assert!(
        requests <= usize::try_from(IDLE.as_secs()).unwrap(),
        "{requests} requests in {} s",
        IDLE.as_secs()
    );
}
