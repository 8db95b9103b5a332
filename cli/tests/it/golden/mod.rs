// SPDX-License-Identifier: Apache-2.0
//! What released versions of krs wrote is read by this one: archives, volumes, receipts and what an interrupted run left
//! behind; and what this one writes is what they wrote. See `testdata/golden/README.md`.

mod earlier;
mod make;
mod recorder;
mod written;

use camino::{Utf8Path, Utf8PathBuf};
use krs_testing::git::Checkout;
use krs_testing::registry::{Options, Registry};
use serde_json::Value;

use crate::harness::{Desk, Outcome};

/// Folders of the released versions, the oldest first.
fn releases() -> Vec<Utf8PathBuf> {
    let folder = Utf8Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/golden"));
    let entries = folder.read_dir_utf8().unwrap().map(|entry| entry.unwrap().into_path());
    let mut releases = entries.filter(|path| path.is_dir()).collect::<Vec<_>>();
    releases.sort();
    assert!(releases.iter().any(|release| release.ends_with("0.1")), "{releases:?}");
    releases
}

/// A desk with a copy of a release's files.
fn desk(release: &Utf8Path) -> Desk {
    let desk = Desk::new();
    for entry in release.read_dir_utf8().unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            std::fs::copy(entry.path(), desk.path(entry.file_name())).unwrap();
        }
    }
    desk
}

fn json(outcome: Outcome) -> Value {
    outcome.ok().json()
}

fn push(desk: &Desk, file: &str, edge: &Registry, more: &[&str]) -> Outcome {
    let edge = edge.host().to_string();
    desk.krs(&[&["push", file, &edge], more].concat())
}

/// The references of a bundle's images, as a set that takes them from `source`.
fn set_from(desk: &Desk, bundle: &str, source: &Registry, keep: impl Fn(&str) -> bool) -> Checkout {
    let facts = json(desk.krs(&["inspect", bundle, "--format", "json"]));
    let images = facts["images"].as_array().unwrap().iter().map(|image| {
        let reference = image["reference"].as_str().unwrap();
        let (_, path) = reference.split_once('/').unwrap();
        let (path, digest) = (path.split('@').next().unwrap(), image["digest"].as_str().unwrap());
        format!("{}/{path}@{digest}", source.host())
    });
    let images = images.filter(|image| keep(image)).map(|image| format!("  - image: {image}\n"));
    let mut checkout = Checkout::new();
    checkout.write(
        "set.yaml",
        format!(
            "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: site\n  namespace: apps\n\
             spec:\n  destinationRegistry: edge.local:5000\n  images:\n{}",
            images.collect::<String>()
        ),
    );
    checkout.commit("Name the images");
    checkout
}

#[test]
fn archives_of_every_release_are_verified_inspected_and_pushed() {
    for release in releases() {
        let desk = desk(&release);
        let edge = Registry::start(Options { sparse_indexes: true, ..Options::default() });
        let key = ["--public-key", "ci.pub"];
        for (file, images, signed) in [
            ("full.krs.tar", 3, true),
            ("unsigned.krs.tar", 3, false),
            ("platform.krs.tar", 3, true),
            ("volumes.krs.tar.001", 5, true),
            ("delta.krs.tar", 4, true),
            ("missing.krs.tar", 4, true),
        ] {
            // Images that a bundle says that it does not have are no fault of the archive.
            let is_accepted = |code: i32| code == 0 || (code == 6 && file == "missing.krs.tar");
            let trust: &[&str] = if signed { &key } else { &[] };
            let verified = desk.krs(&[&["verify", file], trust].concat());
            assert!(is_accepted(verified.code), "{release}/{file}: {verified}");
            let inspected = desk.krs(&["inspect", file, "--format", "json"]);
            assert!(is_accepted(inspected.code), "{release}/{file}: {inspected}");
            let facts = inspected.json();
            assert_eq!(facts["imageCount"], images, "{release}/{file}");
            assert_eq!(facts["formatVersion"], 1, "{release}/{file}");
            // The delta after the full one, which has its base.
            let pushed = push(&desk, file, &edge, trust);
            assert!(is_accepted(pushed.code), "{release}/{file}: {pushed}");
        }
        assert_eq!(edge.tags("team/web").iter().filter(|tag| !tag.starts_with("sha256-")).count(), 2);
        let chart = json(desk.krs(&["inspect", "full.krs.tar", "--format", "json"]));
        assert!(edge.digest("charts/shop", "0.3.0").is_some(), "{chart}");
        let checked = desk.krs(&[&["verify", "volumes.krs.json"], &key[..]].concat());
        assert_eq!(checked.code, 0, "{checked}");
    }
}

#[test]
fn what_one_release_says_of_itself_is_read_in_full() {
    for release in releases() {
        let desk = desk(&release);
        let facts = |file: &str| desk.krs(&["inspect", file, "--format", "json"]).json();
        let full = facts("full.krs.tar");
        assert_eq!(
            (&full["stream"], &full["sequence"], &full["audience"][0], &full["notAfter"]),
            (&"prod".into(), &7.into(), &"berlin".into(), &"2999-01-01T00:00:00Z".into())
        );
        let referrers = |facts: &Value| {
            let images = facts["images"].as_array().unwrap();
            images.iter().filter_map(|image| image["referrerCount"].as_u64()).sum::<u64>()
        };
        assert_eq!((referrers(&full), referrers(&facts("unsigned.krs.tar"))), (3, 0), "{full}");
        let delta = facts("delta.krs.tar");
        assert_eq!(delta["base"]["sources"].as_array().unwrap().len(), 2, "{delta}");
        assert_eq!(facts("missing.krs.tar")["missing"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn deltas_are_made_against_receipts_and_bundles_of_every_release() {
    for release in releases() {
        let desk = desk(&release);
        let source = Registry::start(Options::default());
        push(&desk, "full.krs.tar", &source, &[]).ok();
        let checkout = set_from(&desk, "full.krs.tar", &source, |_| true);
        for against in ["site.receipt.json", "plain.receipt.json", "full.krs.tar"] {
            let set = checkout.path().as_str();
            let plan = json(desk.krs(&["plan", set, "--against", against, "--format", "json"]));
            assert!(plan["base"]["layers"].as_u64() >= Some(5), "{release}/{against}: {plan}");
            // All that is left are configs.
            assert!(plan["fetchBytes"].as_u64() < Some(5000), "{release}/{against}: {plan}");
        }
    }
}

#[test]
fn a_run_continues_from_what_an_interrupted_run_of_every_release_left_behind() {
    for release in releases() {
        let desk = desk(&release);
        let source = Registry::start(Options::default());
        push(&desk, "volumes.krs.tar.001", &source, &[]).ok();
        let checkout = set_from(&desk, "volumes.krs.tar.001", &source, |_| true);
        let made =
            json(desk.krs(&["bundle", checkout.path().as_str(), "-o", "begun.krs.tar", "--format", "json"]));
        assert!(made["run"]["bytesResumed"].as_u64() > Some(3000), "{release}: {made}");
        desk.krs(&["verify", "begun.krs.tar"]).ok();
    }
}
