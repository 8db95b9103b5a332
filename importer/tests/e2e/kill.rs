// SPDX-License-Identifier: Apache-2.0
//! Ends that nobody prepared for.

use std::collections::BTreeMap;
use std::time::Duration;

use krs_testing::image::ImageBuilder;
use serde_json::json;

use crate::edge::edges;
use crate::harness::{JobWatch, TIMEOUT, condition, get, run, wait_for, wait_not_ready, wait_ready};
use crate::site::{Site, processes};
use crate::source::{Ci, namespace, reference, registry, set};

fn kill(pid: i32) {
    run("kill", &["-KILL", &pid.to_string()], None);
}

fn kill_importer() {
    let alive = || processes("krs-importer", "run").first().map(|(pid, _)| *pid);
    let before = wait_for("an importer runs", TIMEOUT, alive);
    kill(before);
    wait_for("another importer runs", TIMEOUT, || alive().filter(|pid| *pid != before));
}

#[test]
fn e7_killed_in_the_middle_the_same_end_is_reached_and_nothing_is_copied_twice() {
    let source = registry(None, false);
    let images = (0..6_u32).map(|n| {
        let image = ImageBuilder::new(&format!("kill-{n}")).layer_random(8 << 20, 700 + u64::from(n)).build();
        image.push_to(&source, &format!("kill/{n}"), Some("1"));
        image
    });
    let images = images.collect::<Vec<_>>();
    let references =
        images.iter().zip(0..).map(|(image, n)| reference(&source, &format!("kill/{n}"), "1", image));
    let references = references.collect::<Vec<_>>();
    let (mut access, _) = edges().open.access("e7");
    access["parallelism"] = 1.into();
    let app = set("e7", "app", edges().open.host().as_str(), &references, &access);
    let mut ci = Ci::new();
    ci.commit(std::slice::from_ref(&app));
    let bundle = ci.bundle("e7", "e7", 1, &source, &[]);
    drop(source);
    let site = Site::new(&[&ci.public_key()], &json!({}));
    namespace("e7");
    let jobs = JobWatch::start("e7");
    crate::harness::apply(&app);
    wait_not_ready("e7", "app", "WaitingForBundle");
    site.insert(&bundle);

    let runner = || processes("krs-importer", "copy").first().map(|(pid, _)| *pid);
    let pid = wait_for("a runner has sent a blob", TIMEOUT, || {
        runner().filter(|_| !edges().open.blobs("kill/").is_empty())
    });
    kill(pid);
    kill_importer();
    println!("killed after {} of 12 blobs", edges().open.blobs("kill/").len());
    wait_for("the set is Ready all the same", Duration::from_secs(240), || {
        (condition(&get("edgeimagesets", "e7", "app")?, "Ready")?.0 == "True").then_some(())
    });
    for (image, n) in images.iter().zip(0..) {
        edges().open.must_have(&format!("kill/{n}"), "1", image);
    }
    let mut times = BTreeMap::<_, u32>::new();
    for blob in edges().open.blobs("kill/") {
        *times.entry(blob).or_default() += 1;
    }
    times.retain(|_, times| *times > 1);
    assert!(times.is_empty(), "sent more than once: {times:?}");

    // Once everything is there, an importer that starts again copies nothing.
    let before = edges().open.blobs("kill/").len();
    // The set may be Ready before its Job has ended, which is deleted then.
    let created = jobs.jobs().len();
    kill_importer();
    Site::pod();
    wait_ready("e7", "app");
    assert_eq!(edges().open.blobs("kill/").len(), before);
    assert_eq!(jobs.jobs().len(), created, "{:?}", jobs.jobs());
}
