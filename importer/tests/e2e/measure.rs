// SPDX-License-Identifier: Apache-2.0
//! Numbers for people: `cargo xtask test` leaves this out; run it with `--ignored measure --nocapture`.

use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use krs_testing::image::{Image, ImageBuilder};
use serde_json::{Value, json};

use crate::edge::edges;
use crate::harness::{all, apply, cluster, condition, get, krs, wait_bundle, wait_for, wait_not_ready};
use crate::site::{Site, processes};
use crate::source::{Ci, namespace, reference, registry, set, small_image};

const MINUTE: Duration = Duration::from_secs(60);

/// What came of one bundle.
struct Delivery {
    took: Duration,
    jobs: usize,
    /// The runners' own time, added up.
    copying: Duration,
    file: Utf8PathBuf,
}

fn deliver(site: &Site, ci: &mut Ci, name: &str, images: &[Image]) -> Delivery {
    let source = registry(None, false);
    let references = images.iter().zip(0..).map(|(image, n)| {
        let repository = format!("{name}/{n}");
        image.push_to(&source, &repository, Some("1"));
        reference(&source, &repository, "1", image)
    });
    let references = references.collect::<Vec<_>>();
    let (access, _) = edges().open.access(name);
    let app = set(name, "app", edges().open.host().as_str(), &references, &access);
    ci.commit(std::slice::from_ref(&app));
    let file = ci.bundle(name, name, 1, &source, &[]);
    drop(source);
    namespace(name);
    apply(&app);
    wait_not_ready(name, "app", "WaitingForBundle");
    site.insert(&file);
    let start = Instant::now();
    wait_for("the set is Ready", Duration::from_secs(900), || {
        (condition(&get("edgeimagesets", name, "app")?, "Ready")?.0 == "True").then_some(())
    });
    let took = start.elapsed();
    let reports = all("pods", name).into_iter().filter_map(|pod| {
        let message = &pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"];
        serde_json::from_str::<Value>(message.as_str()?).ok()
    });
    let milliseconds = reports.map(|report| report["milliseconds"].as_u64().unwrap_or(0)).collect::<Vec<_>>();
    Delivery {
        took,
        jobs: milliseconds.len(),
        copying: Duration::from_millis(milliseconds.iter().sum()),
        file,
    }
}

/// A number of the importer's process in MiB, such as `VmRSS`.
fn memory(field: &str) -> u64 {
    let (pid, _) = processes("krs-importer", "run").remove(0);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

/// Requests of the importer that the API server has written down.
fn requests() -> usize {
    let log = cluster().node.as_ref().unwrap().join("log/audit.json");
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().filter(|line| line.contains("system:serviceaccount:krs-system:krs-importer")).count()
}

#[test]
#[ignore = "takes minutes, and shows numbers"]
fn measure() {
    let mut ci = Ci::new();
    let site = Site::new(&[&ci.public_key()], &json!({}));
    Site::pod();
    let mut rows = vec![("importer, idle: resident".to_owned(), format!("{} MiB", memory("VmRSS")))];
    for count in [10, 100] {
        let name = format!("measure-{count}");
        let images = (0..count).map(|n| small_image(&format!("{name}-{n}"), 20_000)).collect::<Vec<_>>();
        let Delivery { took, jobs, copying, .. } = deliver(&site, &mut ci, &name, &images);
        let value = format!("{took:.1?}; {jobs} Jobs, whose runners took {copying:.1?} together");
        rows.push((format!("{count} small images: from drive to Ready"), value));
    }
    let rate = |took: Duration| format!("{:.0} MiB/s", 1024.0 / took.as_secs_f64());
    let big = ImageBuilder::new("big").layer_random(1 << 30, 1).build();
    let Delivery { took, copying, file, .. } = deliver(&site, &mut ci, "measure-big", &[big]);
    rows.push(("1 GiB layer: from drive to Ready".to_owned(), format!("{took:.1?}")));
    rows.push(("1 GiB layer: the runner".to_owned(), format!("{copying:.1?}, {}", rate(copying))));
    let value = format!("{} MiB, {} MiB at most", memory("VmRSS"), memory("VmHWM"));
    rows.push(("importer, after serving 1 GiB: resident".to_owned(), value));
    let host = edges().open.host().to_string();
    let start = Instant::now();
    let to = format!("{host}/pushed");
    krs(ci.path(), &["push", file.as_str(), &to, "--plain-http", &host, "--no-progress"]);
    let pushed = start.elapsed();
    rows.push((
        "1 GiB layer: krs push to the same registry".to_owned(),
        format!("{pushed:.1?}, {}", rate(pushed)),
    ));
    wait_bundle("measure-big", "SafeToRemove", "True", None);
    let (before, start) = (requests(), Instant::now());
    wait_for("a minute passes", 2 * MINUTE, || (start.elapsed() > MINUTE).then_some(()));
    rows.push(("API requests in a minute, idle, 3 sets".to_owned(), (requests() - before).to_string()));
    println!("\n| what | value |\n| --- | --- |");
    for (what, value) in rows {
        println!("| {what} | {value} |");
    }
}
