// SPDX-License-Identifier: Apache-2.0
//! Registries that do not answer, and files that change.

use krs_testing::registry::{Auth, Matcher, Options, Registry, What};

use super::{Bench, image, set};
use crate::harness::status;

#[test]
fn t278_an_image_that_fails_stays_and_all_others_are_written() {
    let bench = Bench::new();
    let away = Registry::start(Options::default());
    let host = away.host().to_string();
    drop(away);
    let web = bench.push("team/web", "1.0", "web");
    bench.push("team/api", "1.0", "api");
    bench.registry.fail(Matcher::manifests().repository("team/api"), status(401));
    let gone = format!("{host}/team/db:1.0");
    bench.write("a.yaml", &set("a", &["R/team/web:1.0", &gone, "R/team/api:1.0", "R/team/none:1.0"]));
    bench.write("b.yaml", &set("b", &["R/team/web:1.0"]));
    let outcome = bench.pin(&["."]);
    let outcome =
        outcome.failed(7, &["3 images failed", &format!("{host} is not available"), "team/none:1.0"]);
    assert!(outcome.out.ends_with("2 references pinned, 3 failed\n"), "{outcome}");
    let after = bench.read("a.yaml");
    assert!(
        after.contains(&format!("web:1.0@{web}\n"))
            && after.contains("api:1.0\n")
            && after.contains("db:1.0\n")
    );
    assert!(bench.read("b.yaml").contains(&web));
    // A check that could not see everything is no success, and no difference.
    let outcome = bench.pin(&[".", "--check", "--format", "json"]).failed(7, &["\"failures\""]);
    assert_eq!(outcome.json()["failed"], 3);
}

#[test]
fn one_cause_is_said_once() {
    let bench = Bench::new();
    let host = bench.registry.host().to_string();
    let images = (0..100).map(|n| format!("{host}/team/app:{n}")).collect::<Vec<_>>();
    bench.write("a.yaml", &set("a", &images.iter().map(String::as_str).collect::<Vec<_>>()));
    let before = bench.read("a.yaml");
    let desk = bench.desk;
    drop(bench.registry);
    let outcome = desk.krs(&["pin", "a.yaml", "--retries", "0", "--no-progress"]);
    let outcome = outcome.failed(8, &["100 images failed, all for the same reason: "]);
    assert_eq!(outcome.err.matches("is not available: ").count(), 1, "{outcome}");
    assert_eq!(std::fs::read_to_string(desk.path("a.yaml")).unwrap(), before);
}

#[test]
fn credentials_are_those_of_every_other_command() {
    let bench = Bench::with(Options { auth: Auth::bearer("robot", "s3cret"), ..Options::default() });
    image("web").push_to(&bench.registry, "team/web", Some("1.0"));
    bench.write("a.yaml", &set("a", &["R/team/web:1.0"]));
    bench.pin(&["a.yaml"]).failed(7, &["authentication required"]);
    let host = bench.registry.host().to_string();
    let basic = "cm9ib3Q6czNjcmV0";
    bench.desk.write("auth.json", format!("{{\"auths\":{{\"{host}\":{{\"auth\":\"{basic}\"}}}}}}"));
    bench.pin(&["a.yaml", "--authfile", "auth.json"]).ok();
    assert!(bench.read("a.yaml").contains("1.0@sha256:"));
}

#[test]
fn a_private_ca_is_trusted_where_it_is_named() {
    let bench = Bench::with(Options { tls: true, ..Options::default() });
    image("web").push_to(&bench.registry, "team/web", Some("1.0"));
    bench.write("a.yaml", &set("a", &["R/team/web:1.0"]));
    bench.pin(&["a.yaml"]).failed(8, &["certificate"]);
    let ca = bench.registry.ca_file().unwrap().to_string();
    bench.pin(&["a.yaml", "--ca-file", &ca]).ok();
    assert!(bench.read("a.yaml").contains("1.0@sha256:"));
}

/// The registry's answer comes only after the file was changed.
#[test]
fn t278_a_file_that_changes_meanwhile_is_not_written() {
    let bench = Bench::new();
    bench.push("team/web", "1.0", "web");
    bench.write("a.yaml", &set("a", &["R/team/web:1.0"]));
    bench.registry.fail(Matcher::manifests(), What::Delay(std::time::Duration::from_millis(1500)));
    let mut command = bench.desk.command(&["pin", "a.yaml", "--no-progress"]);
    let mut child = command.spawn().unwrap();
    while bench.look_ups() == 0 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let other = bench.text(&set("a", &["R/team/web:1.0", "R/team/new:1.0"]));
    std::fs::write(bench.desk.path("a.yaml"), &other).unwrap();
    let outcome = crate::harness::Outcome::of(child.wait_with_output().unwrap());
    outcome
        .failed(1, &["a.yaml was changed while krs ran, and was not written", "run the same command again"]);
    assert_eq!(bench.read("a.yaml"), other);
    assert_eq!(bench.desk.files(), ["a.yaml"]);
}
