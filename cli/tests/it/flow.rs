// SPDX-License-Identifier: Apache-2.0
//! From a Git checkout to the edge registry, as it should go.

use std::io::{BufRead as _, BufReader};

use krs_core::oci::digest::Digest;
use krs_testing::image::{Image, ImageBuilder, cosign_signature, cosign_tag, helm_chart, index, sbom};
use krs_testing::registry::{Auth, Options};

use crate::harness::{Site, app};
use crate::shown;

#[test]
fn a_checkout_becomes_a_bundle_that_is_verified_and_pushed() {
    let site = Site::with_three_images();
    let mut story = String::new();
    let mut tell = |title: &str, outcome: &crate::harness::Outcome| {
        story.push_str(&format!("======== {title}\n{outcome}"));
    };
    tell("krs bundle", &site.bundle("a.krs.tar", &[]).ok());
    assert_eq!(site.desk.files(), ["a.krs.tar"], "no partial file is left");
    tell("krs verify", &site.desk.krs(&["verify", "a.krs.tar"]).ok());
    tell("krs push --dry-run", &site.push("a.krs.tar", &["--dry-run"]).ok());
    assert!(site.edge.repositories().is_empty(), "a dry run sends nothing");
    tell("krs push", &site.push("a.krs.tar", &[]).ok());
    for name in ["web", "api", "db"] {
        site.arrived(&format!("team/{name}"), "1.0");
    }
    site.edge.clear_requests();
    tell("krs push, again", &site.push("a.krs.tar", &[]).ok());
    let moved = site
        .edge
        .requests()
        .into_iter()
        .filter(|request| matches!(request.method.as_str(), "POST" | "PATCH" | "PUT"));
    assert_eq!(moved.map(|request| request.path).collect::<Vec<_>>(), Vec::<String>::new());
    shown!(story);
}

#[test]
fn a_bundle_is_shown_with_everything_in_it() {
    let mut site = Site::new();
    let (amd64, arm64) =
        (app("web", 2), ImageBuilder::new("web").layer_random(3 << 20, 1).platform("linux/arm64").build());
    let both = index(&[(&amd64, Some("linux/amd64")), (&arm64, Some("linux/arm64"))]);
    site.add(&both, "team/web", "1.0");
    let bill = sbom(&amd64);
    bill.push_to(&site.source, "team/web", None);
    cosign_signature(&both).push_to(&site.source, "team/web", Some(&cosign_tag(&both.digest, "sig")));
    let api = app("api", 3);
    api.push_to(&site.source, "team/api", None);
    site.name(&format!("team/api@{}", api.digest));
    site.add(&helm_chart("chart", "1.2.3"), "charts/chart", "1.2.3");
    site.commit();
    site.desk.keygen("k");
    site.bundle(
        "b.krs.tar",
        &["--stream", "berlin", "--sequence", "118", "--audience", "berlin", "--key", "k.key"],
    )
    .ok();
    let inspect = |more: &[&str]| site.desk.krs(&[&["inspect", "b.krs.tar"], more].concat()).ok();
    let table = inspect(&[]).out;
    let tree = inspect(&["--tree", "--public-key", "k.pub"]).out;
    shown!(format!("{table}\n======== --tree\n{tree}"));
    shown!(inspect(&["--format", "json"]).out);
}

#[test]
fn the_same_commit_gives_the_same_bytes() {
    let site = Site::with_three_images();
    site.bundle("one.krs.tar", &["-j", "1"]).ok();
    site.bundle("two.krs.tar", &["--jobs", "8"]).ok();
    let read = |name: &str| std::fs::read(site.desk.path(name)).unwrap();
    assert!(read("one.krs.tar") == read("two.krs.tar"));
    // Another time decides otherwise.
    let path = site.checkout.path().as_str();
    let call = ["bundle", path, "-o", "three.krs.tar", "--format", "json"];
    let report = site.desk.krs_env(&[("SOURCE_DATE_EPOCH", "1700000000")], &call).ok().json();
    assert_eq!(report["createdAt"], "2023-11-14T22:13:20Z");
    assert_eq!(report["sequence"], 1_700_000_000);
}

#[test]
fn rendered_sets_come_by_standard_input_and_tags_are_warned_about() {
    let mut site = Site::new();
    app("web", 2).push_to(&site.source, "team/web", Some("1.0"));
    site.name("team/web:1.0");
    let outcome = site.desk.krs_stdin(&site.set(), &["bundle", "-", "-o", "t.krs.tar"]).ok();
    assert!(outcome.err.contains("team/web:1.0` has no digest"), "{outcome}");
    site.push("t.krs.tar", &["--quiet"]).ok();
    site.arrived("team/web", "1.0");
}

#[test]
fn a_dry_run_shows_the_plan_and_writes_nothing() {
    let site = Site::with_three_images();
    let path = site.checkout.path().as_str();
    let plan = site.desk.krs(&["plan", path]).ok();
    shown!(plan);
    assert_eq!(site.desk.krs(&["bundle", path, "--dry-run"]).ok().out, plan.out);
    assert_eq!(site.desk.files(), Vec::<String>::new());
    let layers =
        site.source.requests().into_iter().filter(|r| r.method == "GET" && r.path.contains("/blobs/"));
    assert_eq!(layers.count(), 0, "no blob is fetched");
}

#[test]
fn a_plan_shows_the_platform_of_a_single_image_or_that_it_was_not_read() {
    let mut site = Site::new();
    let arm64 = ImageBuilder::new("web").layer_random(3000, 1).platform("linux/arm64").build();
    site.add(&arm64, "team/web", "1.0");
    site.add(&helm_chart("chart", "1.2.3"), "charts/chart", "1.2.3");
    site.commit();
    let path = site.checkout.path().as_str();
    // The platform in the table of each image, and what the JSON says.
    let shown = |command: &[&str]| {
        let text = site.desk.krs(command).ok().out;
        let of = |name: &str, kind: &str| {
            let row = text.lines().find(|line| line.contains(name)).unwrap();
            let (_, platform) = row.split_once(kind).unwrap();
            platform.trim_start().split("  ").next().unwrap().to_owned()
        };
        let json = site.desk.krs(&[command, &["--format", "json"]].concat()).ok().json();
        let facts = json["images"].as_array().unwrap().iter().map(|image| {
            (image["platforms"].to_string(), image.get("platformsNotRead").map(ToString::to_string))
        });
        ([of("team/web", " image "), of("charts/chart", " Helm chart ")], facts.collect::<Vec<_>>())
    };
    let unread = (r"[]".to_owned(), Some("true".to_owned()));
    let (known, none) = ((r#"["linux/arm64"]"#.to_owned(), None), ("[]".to_owned(), None));
    let expected = (["not read".to_owned(), "-".to_owned()], vec![unread, none.clone()]);
    assert_eq!(shown(&["plan", path]), expected);
    assert!(
        !site.source.requests().iter().any(|request| request.path.contains("/blobs/")),
        "nothing is read"
    );
    // Whoever asks for platforms has the config read.
    let expected = (["linux/arm64".to_owned(), "-".to_owned()], vec![known, none]);
    assert_eq!(shown(&["plan", path, "--platform", "linux/arm64"]), expected);
    site.bundle("a.krs.tar", &[]).ok();
    assert_eq!(shown(&["inspect", "a.krs.tar"]), expected);
    assert_eq!(shown(&["bundle", path, "-o", "b.krs.tar"]), expected);
}

/// An index that states the platforms of the first `count` images.
fn stating(images: &[Image], count: usize) -> Image {
    let plain = index(&images.iter().map(|image| (image, None)).collect::<Vec<_>>());
    let mut index = serde_json::from_slice::<serde_json::Value>(&plain.manifest).unwrap();
    for child in index["manifests"].as_array_mut().unwrap().iter_mut().skip(count) {
        child.as_object_mut().unwrap().remove("platform").unwrap();
    }
    let manifest = serde_json::to_vec(&index).unwrap();
    Image { digest: Digest::of(&manifest), manifest, ..plain }
}

#[test]
fn of_an_index_with_many_images_so_many_configs_are_read_for_their_platforms() {
    let mut site = Site::new();
    let image =
        |seed| ImageBuilder::new("web").layer_random(10, seed).platform(&format!("linux/a{seed}")).build();
    let images = (0..101).map(image).collect::<Vec<_>>();
    site.add(&stating(&images[..100], 0), "team/all", "1.0");
    site.add(&stating(&images, 0), "team/more", "1.0");
    site.commit();
    site.bundle("a.krs.tar", &[]).ok();
    let text = site.desk.krs(&["inspect", "a.krs.tar"]).ok().out;
    let row = |name: &str| text.lines().find(|line| line.contains(name)).unwrap();
    assert!(row("team/all:").contains("linux/a0 linux/a1 +98  "), "{text}");
    assert!(row("team/more:").contains("linux/a0 linux/a1 +98, not all read"), "{text}");
}

#[test]
fn the_platforms_of_an_index_that_states_none_are_read_from_the_configs_in_the_archive() {
    let mut site = Site::new();
    let image =
        |platform: &str, seed| ImageBuilder::new("web").layer_random(3000, seed).platform(platform).build();
    let children =
        [image("linux/amd64", 1), image("linux/arm64", 2), image("linux/s390x", 3), image("linux/arm64", 4)];
    let stating = |count| stating(&children, count);
    site.add(&stating(0), "team/none", "1.0");
    site.add(&stating(1), "team/one", "1.0");
    site.commit();
    site.bundle("a.krs.tar", &[]).ok();
    let path = site.checkout.path().as_str();
    let shown = |command: &[&str]| {
        let text = site.desk.krs(command).ok().out;
        let row = |name: &str| {
            let row = text.lines().find(|line| line.contains(name)).unwrap();
            row.split_once(" index ").unwrap().1.trim_start().split("  ").next().unwrap().to_owned()
        };
        let json = site.desk.krs(&[command, &["--format", "json"]].concat()).ok().json();
        let images = json["images"].as_array().unwrap().iter();
        let platforms = images.map(|image| (image["platforms"].clone(), image["platformsNotRead"] == true));
        (["team/none", "team/one"].map(row), platforms.collect::<Vec<_>>())
    };
    let all = serde_json::json!(["linux/amd64", "linux/arm64", "linux/s390x"]);
    let both = ["linux/amd64 linux/arm64 +1"; 2].map(str::to_owned);
    assert_eq!(shown(&["inspect", "a.krs.tar"]), (both, vec![(all.clone(), false), (all, false)]));
    let rows = ["not read", "linux/amd64, not all read"].map(str::to_owned);
    let unread = [serde_json::json!([]), serde_json::json!(["linux/amd64"])].map(|known| (known, true));
    assert_eq!(shown(&["plan", path]), (rows, unread.to_vec()));
}

#[test]
fn credentials_come_from_the_file_of_docker() {
    let mut site = Site::with(Options { auth: Auth::basic("me", "s3cret-word"), ..Options::default() });
    site.add(&app("web", 2), "team/web", "1.0");
    site.commit();
    site.bundle("a.krs.tar", &[]).failed(7, &["authentication required", "help: provide credentials"]);
    let host = site.source.host();
    // The user and password of the line above, in base64.
    let config = format!(r#"{{"auths":{{"{host}":{{"auth":"bWU6czNjcmV0LXdvcmQ="}}}}}}"#);
    let file = site.desk.write("config.json", &config);
    let outcome = site.bundle("a.krs.tar", &["--authfile", file.as_str(), "-vv"]).ok();
    assert!(!outcome.err.contains("s3cret-word") && !outcome.err.contains("bWU6czNj"), "T-76: {outcome}");
    std::fs::create_dir_all(site.desk.path("home/.docker")).unwrap();
    site.desk.write("home/.docker/config.json", &config);
    site.bundle("b.krs.tar", &[]).ok();
    assert_eq!(site.desk.files(), ["a.krs.tar", "b.krs.tar", "config.json"]);
}

#[cfg(unix)]
#[test]
fn a_bundle_is_served_as_a_registry() {
    let site = Site::with_three_images();
    site.bundle("a.krs.tar", &[]).ok();
    let mut child = site.desk.command(&["serve", "a.krs.tar", "--listen", "127.0.0.1:0"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let address = first.split("http://").nth(1).and_then(|rest| rest.split(',').next()).unwrap().to_owned();
    // What it serves can be bundled again: the same images under the names of the edge.
    let set = site.set().replace(&site.source.host().to_string(), &address);
    let outcome = site.desk.krs_stdin(&set, &["bundle", "-", "-o", "again.krs.tar"]);
    crate::harness::interrupt(&child);
    assert!(child.wait().unwrap().success(), "Ctrl-C is how it is meant to end");
    outcome.ok();
    assert!(first.starts_with("Serving 3 images at http://127.0.0.1:"), "{first}");
    site.push("again.krs.tar", &[]).ok();
    site.arrived("team/db", "1.0");
}

#[cfg(unix)]
#[test]
fn t260_what_serve_prints_can_be_pulled() {
    let mut site = Site::with_three_images();
    // By digest alone, and by a tag that two sets give to different images.
    site.name(&format!("team/web@{}", site.source.digest("team/web", "1.0").unwrap()));
    let set = site.set().replace("edge.local:5000", "edge.local:5000/mirror/site");
    site.checkout.write("sites/berlin.yaml", &set);
    let bonn = format!(
        "{}  images:\n  - image: {}/team/api:1.0@{}\n    destinationRepository: team/web\n",
        set.split("  images:\n")
            .next()
            .unwrap()
            .replace("edge.local", "other.local")
            .replace("name: site", "name: bonn"),
        site.source.host(),
        site.source.digest("team/api", "1.0").unwrap()
    );
    site.checkout.write("sites/bonn.yaml", bonn);
    site.checkout.commit("With a prefix, and one name for two images");
    site.bundle("a.krs.tar", &[]).ok();
    let mut command =
        site.desk.command(&["serve", "a.krs.tar", "--listen", "127.0.0.1:0", "--format", "json"]);
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
    let references = report["references"].as_array().unwrap();
    let references = references.iter().map(|reference| reference.as_str().unwrap().to_owned());
    let references = references.collect::<Vec<_>>();
    assert_eq!(references.len(), 4, "{report}");
    // What is printed is pulled by its name; a source registry with a port stands in none of them.
    let images = references.iter().map(|reference| format!("  - image: {reference}\n")).collect::<String>();
    let head = set.split("  images:\n").next().unwrap();
    let pulled =
        site.desk.krs_stdin(&format!("{head}  images:\n{images}"), &["bundle", "-", "-o", "again.krs.tar"]);
    // A mirror of the edge registry asks with its prefix.
    let address = report["address"].as_str().unwrap();
    let mirrored = format!("{head}  images:\n  - image: {address}/mirror/site/team/api:1.0\n");
    let mirrored = site.desk.krs_stdin(&mirrored, &["bundle", "-", "-o", "mirrored.krs.tar"]);
    crate::harness::interrupt(&child);
    assert!(child.wait().unwrap().success());
    pulled.ok();
    mirrored.ok();
    assert!(references.contains(&format!("{address}/team/db:1.0")), "{report}");
    assert!(!references.contains(&format!("{address}/team/web:1.0")), "{report}");
}
