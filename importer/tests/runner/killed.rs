// SPDX-License-Identifier: Apache-2.0
//! `kill -9` between any two side effects of a runner, and another one that continues from what the edge registry holds.

use std::time::Duration;

use krs_testing::image::ImageBuilder;
use krs_testing::registry::{Fault, Matcher, Options, Registry, What};

use crate::harness::{Pod, arrived, blob_bytes, online, target};

/// Longest time that anything here takes.
const TIMEOUT: Duration = Duration::from_secs(120);
/// More requests of a method than a runner has here.
const MAX_REQUESTS: u64 = 20;

/// Whether the runner got as far as the `n`th request of `method`, where it dies before that takes effect.
async fn dies_before(method: &str, n: u64) -> bool {
    let (source, edge) = (Registry::start(Options::default()), Registry::start(Options::default()));
    let old = ImageBuilder::new("app").layer_random(3000, 1).build();
    let new = ImageBuilder::new("app")
        .layer_random(3000, 1)
        .layer_random(40_000, 2)
        .layer_random(50_000, 3)
        .build();
    old.push_to(&edge, "mirror/team/app", Some("v1"));
    new.push_to(&source, "team/app", Some("v1"));
    let task = online(&source, &edge, vec![target(&source.host(), "team/app", &new.digest, "v1")]);
    let sent =
        |edge: &Registry| edge.requests().iter().filter(|request| request.method == method).count() as u64;
    let before = sent(&edge);
    edge.fault(Fault { on: Matcher::any().method(method).nth(n..=n), what: What::Delay(TIMEOUT * 60) });
    let first = Pod::new();
    let reached = async {
        while sent(&edge) < before + n {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let died = tokio::select! {
        // Dropping the run kills skopeo, as the end of the container does.
        (report, code) = first.run(&task) => {
            assert_eq!(code, 0, "{method} {n}: {report:?}");
            false
        }
        () = reached => true,
    };
    let tagged = edge.digest("mirror/team/app", "v1").unwrap();
    assert!([old.digest, new.digest].contains(&tagged), "{method} {n}: {tagged}");
    if tagged == new.digest {
        arrived(&new, &edge);
    }
    edge.clear_faults();

    // Its report was never written: the next one starts from what the edge registry holds.
    let was_complete = tagged == new.digest;
    let bytes = blob_bytes(&edge);
    let (report, code) = tokio::time::timeout(TIMEOUT, Pod::new().run(&task)).await.unwrap();
    assert_eq!((code, report.done, report.failed), (0, 1, 0), "{method} {n}: {report:?}");
    arrived(&new, &edge);
    assert_eq!(edge.digest("mirror/team/app", "v1"), Some(new.digest), "{method} {n}");
    if was_complete {
        assert_eq!(blob_bytes(&edge), bytes, "{method} {n}: what has arrived is not sent again");
    }
    died
}

#[tokio::test(flavor = "multi_thread")]
async fn t67_whatever_request_the_runner_dies_before_the_same_end_is_reached() {
    let mut died = 0;
    for method in ["POST", "PATCH", "PUT"] {
        let mut n = 1;
        while dies_before(method, n).await {
            n += 1;
            assert!(n < MAX_REQUESTS, "{method}");
        }
        died += n - 1;
    }
    assert!(died >= 6, "two layers, a config and a manifest are sent by at least {died} requests");
}

/// A node that is drained ends the runner: that is no failure of the copy, and Kubernetes starts it again.
#[tokio::test]
async fn t207_a_runner_that_is_told_to_end_does_not_end_its_job() {
    let (source, edge) = (Registry::start(Options::default()), Registry::start(Options::default()));
    edge.fail(Matcher::any(), What::Delay(TIMEOUT * 60));
    let digest = krs_core::oci::digest::Digest::of(b"image");
    let task = online(&source, &edge, vec![target(&source.host(), "team/app", &digest, "v1")]);
    let task = serde_json::to_string(&task).unwrap();
    let mut runner = tokio::process::Command::new(env!("CARGO_BIN_EXE_krs-importer"));
    let mut runner = runner.args(["copy", "--task", &task]).kill_on_drop(true).spawn().unwrap();
    let ended = async {
        while edge.requests().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let pid = runner.id().unwrap().to_string();
        let told = tokio::process::Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(told.unwrap().success());
        runner.wait().await.unwrap()
    };
    let status = tokio::time::timeout(TIMEOUT, ended).await.unwrap();
    assert_eq!(status.code(), Some(143), "the exit codes 1 to 7 and 9 end a Job for good");
}
