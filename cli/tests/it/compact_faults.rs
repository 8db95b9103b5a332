// SPDX-License-Identifier: Apache-2.0
//! Making and restoring patches is interrupted at any moment, and continues.

use std::process::Child;
use std::time::{Duration, Instant};

use krs_testing::registry::{Matcher, Registry, What};

use crate::compact::{first_version, image, layer_digest, update};
use crate::harness::{Outcome, Site};

const OPTIONS: [&str; 5] = ["--sequence", "2", "--against", "v1.krs.tar", "--compact"];

fn start(site: &Site, file: &str) -> Child {
    let checkout = site.checkout.path();
    let call = [&["bundle", checkout.as_str(), "-o", file][..], &OPTIONS].concat();
    site.desk.command(&call).spawn().unwrap()
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: it did not come so far");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The layer of a version stalls in the middle.
fn stall(registry: &Registry, number: u8) {
    let layer = layer_digest(number).hex().to_owned();
    registry.fail(Matcher::blobs().path(layer), What::Stall(300_000, Duration::from_secs(600)));
}

fn has_part(site: &Site, folder: &str) -> bool {
    let part = site.desk.path(folder).join(format!("{}.part", layer_digest(2).hex()));
    part.metadata().is_ok_and(|found| found.len() >= 100_000)
}

#[test]
fn t320_whenever_krs_is_killed_the_next_run_makes_the_same_compact_bundle() {
    let (mut site, edge) = first_version();
    update(&mut site, 2);
    let began = Instant::now();
    site.bundle("intact.krs.tar", &OPTIONS).ok();
    let all = began.elapsed();
    let intact = std::fs::read(site.desk.path("intact.krs.tar")).unwrap();
    std::fs::remove_file(site.desk.path("intact.krs.tar")).unwrap();
    std::fs::remove_dir_all(site.desk.path("krs-recipes")).unwrap();
    // In the middle of a layer.
    stall(&site.source, 2);
    let child = start(&site, "a.krs.tar");
    wait("a layer", || has_part(&site, "a.krs.tar.compact"));
    kill(child);
    site.source.clear_faults();
    // And then later and later, each time among what the last one left.
    for step in 1..=12 {
        let mut child = start(&site, "a.krs.tar");
        std::thread::sleep(all * step / 12);
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
        }
        child.wait().unwrap();
        // It may have come to the end.
        if let Ok(bytes) = std::fs::read(site.desk.path("a.krs.tar")) {
            assert!(bytes == intact, "killed after {step}/12 of the time");
            std::fs::remove_file(site.desk.path("a.krs.tar")).unwrap();
        }
    }
    site.bundle("a.krs.tar", &OPTIONS).ok();
    assert!(std::fs::read(site.desk.path("a.krs.tar")).unwrap() == intact);
    assert_eq!(site.desk.files(), ["a.krs.tar", "krs-recipes", "v1.krs.tar"]);
    let recipes = site.desk.path("krs-recipes").read_dir_utf8().unwrap();
    let names = recipes.map(|entry| entry.unwrap().file_name().to_owned()).collect::<Vec<_>>();
    assert!(names.contains(&layer_digest(2).hex().to_owned()), "{names:?}");
    site.desk.krs(&["push", "a.krs.tar", &edge.host().to_string()]).ok();
    assert_eq!(edge.digest("team/app", "2.0"), site.source.digest("team/app", "2.0"));
}

#[test]
fn of_two_runs_for_one_archive_the_second_writes_nothing() {
    let (mut site, _) = first_version();
    update(&mut site, 2);
    // The first one makes no patches: it has the archive, and the second one would prepare patches beside it.
    stall(&site.source, 2);
    let plain = ["bundle", site.checkout.path().as_str(), "-o", "a.krs.tar", "--sequence", "2"];
    let first = site.desk.command(&plain).spawn().unwrap();
    wait("the archive", || site.desk.path("a.krs.tar.part").exists());
    let names = site.desk.files();
    site.bundle("a.krs.tar", &OPTIONS).failed(1, &["a.krs.tar", "another"]);
    assert_eq!(site.desk.files(), names);
    kill(first);
    // The first one makes patches: the other may make none.
    let first = start(&site, "a.krs.tar");
    wait("a layer", || has_part(&site, "a.krs.tar.compact"));
    site.desk.krs(&plain).failed(1, &["a.krs.tar", "another"]);
    site.bundle("a.krs.tar", &OPTIONS).failed(1, &["a.krs.tar", "another"]);
    kill(first);
    site.source.clear_faults();
    site.bundle("a.krs.tar", &OPTIONS).ok();
    assert_eq!(site.desk.files(), ["a.krs.tar", "krs-recipes", "v1.krs.tar"]);
}

#[test]
fn t320_a_push_that_is_killed_while_it_makes_layers_has_written_nothing() {
    let (mut site, edge) = first_version();
    update(&mut site, 2);
    site.bundle("v2.krs.tar", &OPTIONS).ok();
    let (host, scratch) = (edge.host().to_string(), site.desk.path("scratch"));
    std::fs::create_dir(&scratch).unwrap();
    let push = ["push", "v2.krs.tar", &host, "--scratch", scratch.as_str()];
    edge.clear_requests();
    stall(&edge, 1);
    let child = site.desk.command(&push).spawn().unwrap();
    let base = layer_digest(1).hex().to_owned();
    wait("the base", || {
        edge.requests().iter().any(|request| request.method == "GET" && request.path.contains(&base))
    });
    // While it is read, and a moment later.
    std::thread::sleep(Duration::from_millis(50));
    kill(child);
    edge.clear_faults();
    let requests = edge.requests();
    let written = requests.iter().filter(|request| request.method != "GET" && request.method != "HEAD");
    assert_eq!(written.count(), 0, "{requests:?}");
    assert_eq!(scratch.read_dir().unwrap().count(), 0);
    // Killed later and later; whatever is there, is right.
    for step in 1..=8 {
        let mut child = site.desk.command(&push).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(60) * step);
        let _ = child.kill();
        child.wait().unwrap();
        assert_eq!(scratch.read_dir().unwrap().count(), 0);
    }
    Outcome::of(site.desk.command(&push).output().unwrap()).ok();
    assert_eq!(edge.digest("team/app", "2.0"), site.source.digest("team/app", "2.0"));
    assert_eq!(scratch.read_dir().unwrap().count(), 0);
}

#[test]
fn a_folder_for_recipes_that_cannot_be_used_is_named_once() {
    let (mut site, _edge) = first_version();
    site.add(&image("other", 7), "team/other", "1.0");
    update(&mut site, 2);
    std::fs::remove_dir_all(site.desk.path("krs-recipes")).ok();
    site.desk.write("krs-recipes", b"no folder");
    let made = site.bundle("v2.krs.tar", &OPTIONS).ok();
    assert_eq!(made.err.matches("recipes cannot be kept in krs-recipes").count(), 1, "{made}");
}
