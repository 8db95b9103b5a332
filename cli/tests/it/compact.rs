// SPDX-License-Identifier: Apache-2.0
//! Layers that travel as patches: made on the connected side, restored bit for bit at the site, or refused.

use std::io::{BufRead as _, BufReader};

use krs_core::oci::digest::Digest;
use krs_testing::image::{
    Image, ImageBuilder, archive_of, gzip_of_buildkit, oci_layout, random_bytes, ref_name, tar_of,
};
use krs_testing::registry::{Matcher, Options, Registry, What};

use crate::harness::Site;

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The files of an application: one that changes in a few bytes from version to version, and others that stay.
fn files(number: u8) -> Vec<(String, Vec<u8>)> {
    let mut program = random_bytes(600_000, 1);
    for place in (1000..600_000).step_by(60_000) {
        program[place] = number;
    }
    let mut files = vec![("usr/bin/app".to_owned(), program)];
    files.extend((0..20).map(|n| (format!("usr/share/{n}"), random_bytes(20_000, 100 + n))));
    files.push((format!("etc/release-{number}"), format!("release {number}\n").into_bytes()));
    files
}

fn layer(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let files = files.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect::<Vec<_>>();
    gzip_of_buildkit(&tar_of(&files))
}

pub fn image(name: &str, number: u8) -> Image {
    ImageBuilder::new(name).layer_type(GZIP).layer(layer(&files(number))).build()
}

/// A checkout with one image in its first version, which the edge has.
pub fn first_version() -> (Site, Registry) {
    let mut site = Site::new();
    site.add(&image("app", 1), "team/app", "1.0");
    site.commit();
    let edge = Registry::start(Options::default());
    site.bundle("v1.krs.tar", &["--sequence", "1"]).ok();
    site.desk.krs(&["push", "v1.krs.tar", &edge.host().to_string()]).ok();
    (site, edge)
}

pub fn update(site: &mut Site, number: u8) {
    site.add(&image("app", number), "team/app", &format!("{number}.0"));
    site.commit();
}

pub fn size(site: &Site, file: &str) -> u64 {
    site.desk.path(file).metadata().unwrap().len()
}

pub fn layer_digest(number: u8) -> Digest {
    Digest::of(&layer(&files(number)))
}

#[test]
fn a_layer_travels_as_a_patch_and_arrives_bit_for_bit() {
    let (mut site, edge) = first_version();
    update(&mut site, 2);
    site.bundle("full.krs.tar", &["--sequence", "2"]).ok();
    let made = site.bundle(
        "v2.krs.tar",
        &["--sequence", "2", "--against", "v1.krs.tar", "--compact", "--format", "json"],
    );
    let report = made.ok().json();
    assert_eq!(report["patched"]["layers"], 1, "{report}");
    assert_eq!(report["formatVersion"], 3, "{report}");
    let (full, compact) = (size(&site, "full.krs.tar"), size(&site, "v2.krs.tar"));
    assert!(compact * 10 < full, "{compact} of {full}");
    assert!(!site.desk.path("v2.krs.tar.compact").exists());
    site.desk.krs(&["verify", "v2.krs.tar"]).ok();
    let host = edge.host().to_string();
    site.desk.krs(&["push", "v2.krs.tar", &host]).ok();
    assert_eq!(edge.digest("team/app", "2.0"), site.source.digest("team/app", "2.0"));
    assert!(edge.blob("team/app", &layer_digest(2)).unwrap() == layer(&files(2)));
    // Nothing is made again for what is there.
    edge.clear_requests();
    site.desk.krs(&["push", "v2.krs.tar", &host]).ok();
    assert!(edge.requests().iter().all(|request| request.bytes_in == 0), "{:?}", edge.requests());
}

#[test]
fn a_first_bundle_carries_what_layers_share_once() {
    let mut site = Site::new();
    for number in 1..4 {
        site.add(&image("app", number), &format!("team/app{number}"), "1.0");
    }
    site.commit();
    site.bundle("full.krs.tar", &["--sequence", "1"]).ok();
    site.bundle("compact.krs.tar", &["--sequence", "1", "--compact=fast"]).ok();
    let (full, compact) = (size(&site, "full.krs.tar"), size(&site, "compact.krs.tar"));
    assert!(compact * 10 < full * 5, "{compact} of {full}");
    let edge = Registry::start(Options::default());
    site.desk.krs(&["push", "compact.krs.tar", &edge.host().to_string()]).ok();
    for number in 1..4 {
        let repository = format!("team/app{number}");
        assert_eq!(edge.digest(&repository, "1.0"), site.source.digest(&repository, "1.0"));
        assert!(edge.blob(&repository, &layer_digest(number)).unwrap() == layer(&files(number)));
    }
}

#[test]
fn each_bundle_may_be_made_of_the_one_before() {
    let (mut site, edge) = first_version();
    let host = edge.host().to_string();
    for number in 2..5_u8 {
        update(&mut site, number);
        let (before, file) = (format!("v{}.krs.tar", number - 1), format!("v{number}.krs.tar"));
        let receipt = format!("r{number}.json");
        site.desk.krs(&["receipt", &host, "--set", &before, "-o", &receipt]).ok();
        let sequence = number.to_string();
        let options = ["--sequence", &sequence, "--against", &receipt, "--compact"];
        site.bundle(&file, &options).ok();
        assert!(size(&site, &file) < 100_000, "{}", size(&site, &file));
        site.desk.krs(&["push", &file, &host]).ok();
        let tag = format!("{number}.0");
        assert_eq!(edge.digest("team/app", &tag), site.source.digest("team/app", &tag));
    }
}

#[test]
fn a_base_that_is_damaged_or_gone_is_refused_before_anything_is_written() {
    let (mut site, edge) = first_version();
    update(&mut site, 2);
    site.bundle("v2.krs.tar", &["--sequence", "2", "--against", "v1.krs.tar", "--compact"]).ok();
    let (host, base) = (edge.host().to_string(), layer_digest(1));
    edge.corrupt_blob(&base);
    edge.clear_requests();
    let digest = base.to_string();
    site.desk.krs(&["push", "v2.krs.tar", &host]).failed(4, &[&digest]);
    edge.delete_blob(&base);
    site.desk.krs(&["push", "v2.krs.tar", &host]).failed(6, &[&digest, "--against"]);
    let written =
        edge.requests().iter().filter(|request| request.method != "GET" && request.method != "HEAD").count();
    assert_eq!(written, 0, "{:?}", edge.requests());
    // A bundle without patches needs nothing of the registry.
    site.bundle("full.krs.tar", &["--sequence", "2"]).ok();
    site.desk.krs(&["push", "full.krs.tar", &host]).ok();
}

#[test]
fn a_missing_base_names_only_the_images_that_need_it() {
    let mut site = Site::new();
    let other = |number: u8| {
        let mut data = random_bytes(90_000, 9);
        data[40_000] = number;
        layer(&[("usr/share/other".to_owned(), data)])
    };
    let of = |number| ImageBuilder::new("other").layer_type(GZIP).layer(other(number)).build();
    site.add(&image("app", 1), "team/app", "1.0");
    site.add(&of(1), "team/other", "1.0");
    site.commit();
    let edge = Registry::start(Options::default());
    let host = edge.host().to_string();
    site.bundle("v1.krs.tar", &["--sequence", "1"]).ok();
    site.desk.krs(&["push", "v1.krs.tar", &host]).ok();
    site.images.clear();
    site.add(&image("app", 2), "team/app", "2.0");
    site.add(&of(2), "team/other", "2.0");
    site.commit();
    site.bundle("v2.krs.tar", &["--sequence", "2", "--against", "v1.krs.tar", "--compact"]).ok();
    edge.delete_blob(&Digest::of(&other(1)));
    let pushed = site.desk.krs(&["push", "v2.krs.tar", &host]).failed(6, &["team/other:2.0"]);
    assert!(!pushed.err.contains("team/app:"), "{pushed}");
}

#[test]
fn images_that_did_not_change_are_not_fetched() {
    let mut site = Site::new();
    site.add(&image("app", 1), "team/app", "1.0");
    let other = layer(&[("usr/share/other".to_owned(), random_bytes(9000, 9))]);
    site.add(&ImageBuilder::new("other").layer_type(GZIP).layer(other.clone()).build(), "team/other", "1.0");
    site.commit();
    let edge = Registry::start(Options::default());
    let host = edge.host().to_string();
    site.bundle("v1.krs.tar", &["--sequence", "1"]).ok();
    site.desk.krs(&["push", "v1.krs.tar", &host]).ok();
    site.desk.krs(&["receipt", &host, "--set", "v1.krs.tar", "-o", "r.json"]).ok();
    let fetched = |site: &Site, file: &str| {
        site.source.clear_requests();
        site.bundle(file, &["--sequence", "2", "--against", "r.json", "--compact"]).ok();
        let layers = [layer_digest(1), Digest::of(&other)];
        let requests = site.source.requests();
        layers.map(|digest| {
            requests.iter().any(|request| request.method == "GET" && request.path.ends_with(&digest.hex()))
        })
    };
    update(&mut site, 2);
    assert_eq!(fetched(&site, "v2.krs.tar"), [true, false]);
    // One that is new to the site may be like any.
    site.add(&image("copy", 3), "team/copy", "3.0");
    site.commit();
    assert_eq!(fetched(&site, "v3.krs.tar"), [true, true]);
}

#[test]
fn a_layer_whose_base_cannot_be_fetched_travels_as_it_is() {
    let (mut site, edge) = first_version();
    let host = edge.host().to_string();
    site.desk.krs(&["receipt", &host, "--set", "v1.krs.tar", "-o", "r.json"]).ok();
    update(&mut site, 2);
    site.source
        .fail(Matcher::blobs().path(layer_digest(1).hex()), What::Status(404, Vec::new(), String::new()));
    let made = site.bundle("v2.krs.tar", &["--sequence", "2", "--against", "r.json", "--compact"]).ok();
    made.says(&["could not be fetched", &layer_digest(1).to_string()]);
    site.desk.krs(&["push", "v2.krs.tar", &host]).ok();
    assert_eq!(edge.digest("team/app", "2.0"), site.source.digest("team/app", "2.0"));
}

#[test]
fn a_base_that_no_registry_has_any_more_is_read_from_a_local_source() {
    let (mut site, edge) = first_version();
    let host = edge.host().to_string();
    site.desk.krs(&["receipt", &host, "--set", "v1.krs.tar", "-o", "r.json"]).ok();
    site.desk.write("old.tar", archive_of(&oci_layout(&[(&image("app", 1), ref_name("app:1.0"))])));
    update(&mut site, 2);
    site.source
        .fail(Matcher::blobs().path(layer_digest(1).hex()), What::Status(404, Vec::new(), String::new()));
    let options = ["--sequence", "2", "--against", "r.json", "--compact", "--from", "oci:old.tar"];
    site.bundle("v2.krs.tar", &options).ok();
    assert!(size(&site, "v2.krs.tar") < 100_000, "{}", size(&site, "v2.krs.tar"));
    site.desk.krs(&["push", "v2.krs.tar", &host]).ok();
    assert_eq!(edge.digest("team/app", "2.0"), site.source.digest("team/app", "2.0"));
}

/// Whoever can write to the cache of a CI can make bundles larger, and never wrong.
#[test]
fn a_cached_recipe_that_makes_another_layer_is_found_again_before_it_travels() {
    let (mut site, edge) = first_version();
    update(&mut site, 2);
    let options = ["--sequence", "2", "--against", "v1.krs.tar", "--compact"];
    site.bundle("v2.krs.tar", &options).ok();
    let layer = layer_digest(2);
    let cached = site.desk.path("krs-recipes").join(layer.hex());
    let right = std::fs::read(&cached).unwrap();
    let mut wrong = right[right.iter().position(|byte| *byte == b'\n').unwrap() + 1..].to_vec();
    // The level, which is a valid one.
    wrong[3] = if wrong[3] == 5 { 4 } else { 5 };
    let checksum = Digest::of(&[layer.to_string().as_bytes(), &wrong].concat());
    let entry = [format!("krs-recipe 1 recipe {checksum}\n").as_bytes(), &wrong].concat();
    std::fs::write(&cached, &entry).unwrap();
    std::fs::remove_file(site.desk.path("v2.krs.tar")).unwrap();
    site.bundle("v2.krs.tar", &options).ok();
    assert_eq!(std::fs::read(&cached).unwrap(), right, "it was found again");
    assert!(size(&site, "v2.krs.tar") < 100_000, "{}", size(&site, "v2.krs.tar"));
    site.desk.krs(&["push", "v2.krs.tar", &edge.host().to_string()]).ok();
    assert_eq!(edge.digest("team/app", "2.0"), site.source.digest("team/app", "2.0"));
}

#[test]
fn of_two_runs_for_one_archive_the_second_ends_at_once() {
    let (mut site, _) = first_version();
    update(&mut site, 2);
    let journal = std::fs::File::create(site.desk.path("v2.krs.tar.journal")).unwrap();
    journal.lock().unwrap();
    let options = ["--sequence", "2", "--against", "v1.krs.tar", "--compact"];
    site.bundle("v2.krs.tar", &options).failed(1, &["v2.krs.tar", "another krs"]);
    assert!(!site.desk.path("v2.krs.tar.compact").exists(), "nothing is fetched or made");
    drop(journal);
    site.bundle("v2.krs.tar", &options).ok();
    assert!(!site.desk.path("v2.krs.tar.compact").exists());
}

#[test]
fn patches_are_not_made_for_sites_that_do_not_read_them() {
    let (mut site, _) = first_version();
    update(&mut site, 2);
    let options = ["--sequence", "2", "--against", "v1.krs.tar", "--compact", "--format-version", "2"];
    site.bundle("v2.krs.tar", &options).failed(2, &["--compact", "format version 3"]);
}

#[test]
fn what_no_encoder_makes_travels_as_it_is() {
    let mut site = Site::new();
    let stored = ImageBuilder::new("app").layer_type(GZIP).layer(random_bytes(100_000, 7)).build();
    site.add(&stored, "team/app", "1.0");
    site.commit();
    let report = site.bundle("v1.krs.tar", &["--sequence", "1", "--compact", "--format", "json"]).ok().json();
    assert_eq!(report["patched"], serde_json::Value::Null, "{report}");
    assert_eq!(report["formatVersion"], 1, "{report}");
}

#[test]
fn layers_of_patches_are_served_where_an_earlier_bundle_has_their_base() {
    let (mut site, _) = first_version();
    update(&mut site, 2);
    site.bundle("v2.krs.tar", &["--sequence", "2", "--against", "v1.krs.tar", "--compact"]).ok();
    let serve = ["serve", "v2.krs.tar", "--listen", "127.0.0.1:0", "--format", "json"];
    let base = layer_digest(1).to_string();
    site.desk.krs(&serve).failed(6, &[&base, "--base"]);
    serves_all_images(&site, &[&serve[..], &["--base", "v1.krs.tar"]].concat());
}

/// Serves a bundle, and makes one of all images that are served.
pub fn serves_all_images(site: &Site, serve: &[&str]) {
    let mut command = site.desk.command(serve);
    let mut child = command.spawn().unwrap();
    let mut json = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        json.push_str(&line);
        if line == "}" {
            break;
        }
    }
    let report = serde_json::from_str::<serde_json::Value>(&json).unwrap();
    let set = site.set();
    let head = set.split("  images:\n").next().unwrap();
    let references = report["references"].as_array().unwrap();
    let images = references.iter().map(|one| format!("  - image: {}\n", one.as_str().unwrap()));
    let set = format!("{head}  images:\n{}", images.collect::<String>());
    let pulled = site.desk.krs_stdin(&set, &["bundle", "-", "-o", "again.krs.tar"]);
    crate::harness::interrupt(&child);
    assert!(child.wait().unwrap().success());
    pulled.ok();
    site.desk.krs(&["verify", "again.krs.tar"]).ok();
}

#[test]
fn what_an_earlier_run_left_is_compared_and_what_others_left_stays() {
    let (mut site, edge) = first_version();
    update(&mut site, 2);
    let work = site.desk.path("v2.krs.tar.compact");
    std::fs::create_dir(&work).unwrap();
    // Damaged, of the right size; and a file of somebody else.
    let mut damaged = layer(&files(1));
    damaged[5000] ^= 1;
    std::fs::write(work.join(layer_digest(1).hex()), &damaged).unwrap();
    std::fs::write(work.join("notes.txt"), "mine").unwrap();
    let options = ["--sequence", "2", "--against", "v1.krs.tar", "--compact"];
    site.bundle("v2.krs.tar", &options).ok().says(&["v2.krs.tar.compact cannot be removed"]);
    assert_eq!(work.read_dir().unwrap().count(), 1);
    assert!(size(&site, "v2.krs.tar") < 100_000, "{}", size(&site, "v2.krs.tar"));
    site.desk.krs(&["push", "v2.krs.tar", &edge.host().to_string()]).ok();
    assert_eq!(edge.digest("team/app", "2.0"), site.source.digest("team/app", "2.0"));
}
