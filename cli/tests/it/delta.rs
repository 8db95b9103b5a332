// SPDX-License-Identifier: Apache-2.0
//! Receipts and deltas: only what the site does not have travels, and what was wrongly left out costs a refusal, not an image.

use krs_testing::image::{Image, ImageBuilder, index};
use krs_testing::registry::Options;
use serde_json::Value;

use crate::harness::{Site, app};

/// The second version of an image: one layer more.
fn second(name: &str) -> Image {
    ImageBuilder::new(name).layer_random(3 << 20, 1).layer_random(40_000, 2).layer_random(7000, 77).build()
}

/// A site whose edge has the first bundle, and a checkout that asks for more.
fn at_version_two() -> Site {
    let mut site = Site::with_three_images();
    site.bundle("v1.krs.tar", &[]).ok();
    site.push("v1.krs.tar", &[]).ok();
    receipt(&site, "site.receipt.json");
    site.add(&second("web"), "team/web", "2.0");
    site.commit();
    site
}

fn receipt(site: &Site, name: &str) {
    let edge = site.edge.host().to_string();
    let set = site.checkout.path().as_str();
    site.desk.krs(&["receipt", &edge, "--set", set, "--site", "berlin", "-o", name]).ok();
}

fn json(site: &Site, arguments: &[&str]) -> Value {
    let mut all = arguments.to_vec();
    all.extend(["--format", "json"]);
    site.desk.krs(&all).ok().json()
}

#[test]
fn a_delta_carries_no_byte_of_a_layer_that_the_site_has_and_everything_arrives() {
    let site = at_version_two();
    site.bundle("delta.krs.tar", &["--against", "site.receipt.json"]).ok();
    let size = |name: &str| site.desk.path(name).metadata().unwrap().len();
    assert!(size("delta.krs.tar") < 60_000, "{}", size("delta.krs.tar"));
    let facts = json(&site, &["inspect", "delta.krs.tar"]);
    assert_eq!(facts["base"]["layers"], 4, "{}", facts["base"]);
    assert_eq!(facts["base"]["sources"][0]["name"], format!("{} of berlin", site.edge.host()));
    site.desk.krs(&["verify", "delta.krs.tar"]).ok();
    let sent = json(&site, &["push", "delta.krs.tar", &site.edge.host().to_string()]);
    assert!(sent["bytesSent"].as_u64() < Some(10_000), "{sent}");
    site.arrived("team/web", "2.0");
    // Again, and after the full one: nothing changes any more.
    let again = json(&site, &["push", "delta.krs.tar", &site.edge.host().to_string()]);
    assert_eq!(again["documentsSent"], 0);
    site.bundle("full.krs.tar", &[]).ok();
    let full = json(&site, &["push", "full.krs.tar", &site.edge.host().to_string()]);
    assert_eq!((&full["blobsSent"], &full["documentsSent"]), (&0.into(), &0.into()));
    let identity = |name: &str| json(&site, &["inspect", name])["identity"].clone();
    assert_eq!(identity("delta.krs.tar"), identity("full.krs.tar"), "T-28: both decide the same");
}

#[test]
fn t32_a_delta_whose_base_is_gone_is_refused_before_anything_is_written() {
    let mut site = at_version_two();
    site.bundle("delta.krs.tar", &["--against", "site.receipt.json"]).ok();
    let elsewhere =
        std::mem::replace(&mut site.edge, krs_testing::registry::Registry::start(Options::default()));
    let outcome = site.push("delta.krs.tar", &[]).failed(
        6,
        &[
            "does not have 4 layers that the bundle expects there",
            "looked for in team/",
            "/team/web:2.0@",
            "a full bundle",
        ],
    );
    assert_eq!(outcome.out, "");
    assert!(site.edge.requests().iter().all(|request| matches!(request.method.as_str(), "HEAD" | "GET")));
    assert_eq!(site.edge.repositories(), Vec::<String>::new());
    site.edge = elsewhere;
    site.push("delta.krs.tar", &[]).ok();
}

#[test]
fn a_delta_against_several_sites_leaves_out_what_all_of_them_have() {
    let site = at_version_two();
    // A site that has nothing yet.
    let other = krs_testing::registry::Registry::start(Options::default());
    let set = site.checkout.path().as_str();
    site.desk.krs(&["receipt", &other.host().to_string(), "--set", set, "-o", "empty.json"]).ok();
    let against = ["--against", "site.receipt.json", "--against", "empty.json"];
    site.bundle("both.krs.tar", &against).ok();
    site.bundle("full.krs.tar", &[]).ok();
    let bytes = |name: &str| std::fs::read(site.desk.path(name)).unwrap();
    assert!(bytes("both.krs.tar") == bytes("full.krs.tar"), "they have nothing in common");
    site.bundle("twice.krs.tar", &["--against", "site.receipt.json", "--against", "v1.krs.tar"]).ok();
    let facts = json(&site, &["inspect", "twice.krs.tar"]);
    assert_eq!(facts["base"]["sources"].as_array().map(Vec::len), Some(2));
    site.push("twice.krs.tar", &[]).ok();
    site.arrived("team/web", "2.0");
}

#[test]
fn a_delta_against_an_earlier_bundle_arrives_below_a_prefix_too() {
    let mut site = Site::with_three_images();
    site.bundle("v1.krs.tar", &[]).ok();
    let below = format!("{}/mirror", site.edge.host());
    site.desk.krs(&["push", "v1.krs.tar", &below]).ok();
    // A new repository: its layers lie in others, from which they are linked.
    site.add(&second("new"), "team/new", "2.0");
    site.commit();
    site.bundle("delta.krs.tar", &["--against", "v1.krs.tar"]).ok();
    site.edge.clear_requests();
    site.desk.krs(&["push", "delta.krs.tar", &below]).ok();
    assert_eq!(site.edge.digest("mirror/team/new", "2.0"), site.source.digest("team/new", "2.0"));
    let requests = site.edge.requests();
    assert!(requests.iter().any(|request| request.query.contains("mount=")), "the layer was linked");
    let sent = requests.iter().map(|request| request.bytes_in).sum::<u64>();
    assert!(sent < 20_000, "{sent} bytes were sent");
}

/// An image of 12 layers of a base, and one of its own.
fn on_base(name: &str) -> Image {
    let base = (100..112).fold(ImageBuilder::new(name), |image, seed| image.layer_random(3000, seed));
    base.layer(name).build()
}

#[test]
fn layers_that_are_in_another_repository_take_two_requests_each() {
    for mounts in [true, false] {
        let mut site = Site::new();
        site.edge = krs_testing::registry::Registry::start(Options { mounts, ..Options::default() });
        site.add(&on_base("base"), "team/base", "1.0");
        site.commit();
        site.bundle("v1.krs.tar", &[]).ok();
        site.push("v1.krs.tar", &[]).ok();
        site.add(&on_base("new"), "team/new", "2.0");
        let set = site.set();
        let new = set.lines().filter(|line| !line.contains("team/base:")).map(|line| format!("{line}\n"));
        site.checkout.write("sites/berlin.yaml", new.collect::<String>());
        site.checkout.commit("Only the new image");
        site.bundle("delta.krs.tar", &["--against", "v1.krs.tar"]).ok();
        let requests = |site: &Site| {
            let requests = site.edge.requests();
            let of_base = |digest: &str| on_base("base").blobs.iter().any(|(of, _)| of.to_string() == digest);
            let heads = |repository: &str| {
                let path = format!("/v2/{repository}/blobs/");
                let heads = requests.iter().filter(|request| request.method == "HEAD");
                heads
                    .filter_map(|request| request.path.strip_prefix(&path))
                    .filter(|digest| of_base(digest))
                    .count()
            };
            let posts = requests.iter().filter(|request| request.query.contains("mount=")).count();
            (heads("team/base"), heads("team/new"), posts)
        };
        site.edge.clear_requests();
        site.push("delta.krs.tar", &[]).ok();
        site.arrived("team/new", "2.0");
        // 12 layers of the base, of which one is asked for in the repository that needs it. Where a mount is refused, each
        // is asked for there before it is downloaded and sent.
        let own = if mounts { 1 } else { 13 };
        assert_eq!(requests(&site), (12, own, 12), "mounts {mounts}");
        // The second time nothing is linked or sent.
        site.edge.clear_requests();
        let again = json(&site, &["push", "delta.krs.tar", &site.edge.host().to_string()]);
        assert_eq!(requests(&site), (0, 12, 0), "mounts {mounts}");
        assert_eq!((&again["blobsMounted"], &again["blobsSent"]), (&0.into(), &0.into()));
    }
}

#[test]
fn a_registry_that_does_not_mount_is_read_through() {
    let mut site = Site::with_three_images();
    site.edge = krs_testing::registry::Registry::start(Options { mounts: false, ..Options::default() });
    site.bundle("v1.krs.tar", &[]).ok();
    site.push("v1.krs.tar", &[]).ok();
    site.add(&second("new"), "team/new", "2.0");
    site.commit();
    site.bundle("delta.krs.tar", &["--against", "v1.krs.tar"]).ok();
    site.push("delta.krs.tar", &[]).ok();
    site.arrived("team/new", "2.0");
}

#[test]
fn foreign_readers_find_no_name_for_an_image_that_is_incomplete() {
    let site = at_version_two();
    site.bundle("delta.krs.tar", &["--against", "site.receipt.json"]).ok();
    let bytes = std::fs::read(site.desk.path("delta.krs.tar")).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let index = text.lines().find_map(|line| line.split_once("\"io.kuberegistrysync.bundle\"")).unwrap().1;
    assert!(!index[..4000.min(index.len())].contains("org.opencontainers.image.ref.name"));
}

#[test]
fn a_receipt_says_what_is_incomplete_and_a_false_one_is_refused_in_clear_words() {
    let site = at_version_two();
    let layer = app("web", 2)
        .blobs
        .into_iter()
        .find(|(_, bytes)| bytes.len() == 40_000 || bytes.len() > 1 << 20)
        .unwrap();
    site.edge.delete_blob(&layer.0);
    let edge = site.edge.host().to_string();
    let outcome =
        site.desk.krs(&["receipt", &edge, "--set", site.checkout.path().as_str(), "-o", "r.json"]).ok();
    let head = "incomplete: 3 entries, all for the same reason: it is missing\n  blob sha256:";
    assert!(outcome.err.contains(head), "{outcome}");
    site.bundle("delta.krs.tar", &["--against", "r.json"]).ok();
    site.push("delta.krs.tar", &[]).ok();
    site.arrived("team/web", "2.0");

    site.desk.write("false.json", "{\"formatVersion\":1}");
    site.bundle("x.krs.tar", &["--against", "false.json"])
        .failed(4, &["false.json: the receipt cannot be read"]);
    site.bundle("x.krs.tar", &["--against", "none.json"]).failed(2, &["cannot read none.json"]);
}

#[test]
fn t88_keep_going_writes_an_archive_that_says_what_is_missing() {
    let mut site = Site::with_three_images();
    site.name(&format!("team/gone:1.0@{}", app("gone", 9).digest));
    site.commit();
    site.bundle("a.krs.tar", &[]).failed(6, &["team/gone:1.0@"]);
    let outcome = site
        .bundle("a.krs.tar", &["--keep-going"])
        .failed(6, &["the bundle does not have 1 image", "team/gone:1.0@"]);
    assert!(outcome.out.contains("Missing"), "{outcome}");
    let outcome = site
        .desk
        .krs(&["verify", "a.krs.tar"])
        .failed(6, &["does not have 1 of the 4 images", "team/gone:1.0@"]);
    assert!(outcome.out.contains("undamaged, but 1 of the 4 images of its sets is not in it"), "{outcome}");
    assert!(!outcome.out.contains("whole"), "{outcome}");
    site.desk.krs(&["inspect", "a.krs.tar"]).failed(6, &["does not have 1 of the 4 images"]);
    let facts = |name: &str| site.desk.krs(&["inspect", name, "--format", "json"]).json();
    assert!(facts("a.krs.tar")["missing"][0]["reference"].as_str().unwrap().contains("team/gone:1.0@"));
    site.push("a.krs.tar", &[]).failed(6, &["does not have 1 of the 4 images"]);
    site.arrived("team/db", "1.0");
    // A layer that cannot be fetched is found only after the archive was laid out.
    let lost = app("db", 4);
    let (layer, _) = lost.blobs.iter().find(|(_, bytes)| (30_000..60_000).contains(&bytes.len())).unwrap();
    site.source.delete_blob(layer);
    let outcome =
        site.bundle("b.krs.tar", &["--keep-going"]).failed(6, &["the bundle does not have 2 images"]);
    assert!(outcome.err.contains("team/db:1.0@"), "{outcome}");
    site.desk.krs(&["verify", "b.krs.tar"]).failed(6, &["does not have 2 of the 4 images"]);
    assert_eq!(
        facts("a.krs.tar")["identity"],
        facts("b.krs.tar")["identity"],
        "T-28: a full bundle may follow under the same sequence"
    );
}

#[test]
fn t66_a_choice_of_platforms_travels_and_a_registry_that_refuses_it_is_named() {
    for sparse_indexes in [true, false] {
        let mut site = Site::new();
        site.edge = krs_testing::registry::Registry::start(Options { sparse_indexes, ..Options::default() });
        let image = |platform: &str, seed| {
            ImageBuilder::new("app").platform(platform).layer_random(3000, seed).build()
        };
        let (amd64, arm64) = (image("linux/amd64", 1), image("linux/arm64", 2));
        let both = index(&[(&amd64, Some("linux/amd64")), (&arm64, Some("linux/arm64"))]);
        site.add(&both, "team/app", "1.0");
        site.commit();
        site.bundle("a.krs.tar", &["--platform", "linux/arm64"]).ok();
        let facts = json(&site, &["inspect", "a.krs.tar"]);
        assert_eq!(facts["images"][0]["chosenPlatforms"][0], "linux/arm64");
        let edge = site.edge.host().to_string();
        let receipt = ["receipt", &edge, "--set", "a.krs.tar", "-o", "site.json", "--probe"];
        site.desk.krs(&receipt).ok();
        let against = ["--against", "site.json", "--platform", "linux/arm64"];
        if sparse_indexes {
            site.push("a.krs.tar", &[]).ok();
            assert_eq!(site.edge.digest("team/app", "1.0"), Some(both.digest), "the index is unchanged");
            assert!(site.edge.manifest("team/app", &amd64.digest.to_string()).is_none());
            site.bundle("b.krs.tar", &against).ok();
        } else {
            let outcome =
                site.push("a.krs.tar", &[]).failed(1, &["refuses index", "--platform", "Distribution 3"]);
            assert!(outcome.err.contains(&edge), "{outcome}");
            site.bundle("b.krs.tar", &against)
                .failed(2, &["takes no index some of whose images are missing", &edge]);
        }
    }
}
