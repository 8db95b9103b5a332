// SPDX-License-Identifier: Apache-2.0
//! What users see of layers that travel as patches.

use krs_testing::image::{ImageBuilder, random_bytes};
use krs_testing::registry::{Options, Registry};

use crate::compact::{first_version, layer_digest, update};

#[test]
fn a_bundle_says_by_layer_and_by_file_what_travels() {
    let (mut site, _edge) = first_version();
    // It begins as gzip streams do.
    let damaged = [vec![0x1f, 0x8b, 8, 0], random_bytes(30_000, 77)].concat();
    let odd = ImageBuilder::new("odd").layer(damaged).build();
    site.add(&odd, "team/odd", "1.0");
    update(&mut site, 2);
    let options = ["--sequence", "2", "--against", "v1.krs.tar", "--compact"];
    let report = site.bundle("v2.krs.tar", &[&options[..], &["--format", "json"]].concat()).ok().json();
    let layers = report["compactLayers"].as_array().unwrap();
    assert_eq!(layers.len(), 2, "{report}");
    // The largest first.
    let (patched, odd) = (&layers[0], &layers[1]);
    assert_eq!(patched["digest"], layer_digest(2).to_string());
    assert!(patched["image"].as_str().unwrap().contains("team/app"), "{patched}");
    let travels = patched["travelBytes"].as_u64().unwrap();
    assert!(travels > 0 && travels <= report["patched"]["patchBytes"].as_u64().unwrap(), "{report}");
    assert!(patched["reason"].is_null() && patched["patch"].is_string(), "{patched}");
    assert_eq!(patched["fileCount"], 2, "{patched}");
    let app = patched["files"].as_array().unwrap().iter().find(|file| file["path"] == "usr/bin/app");
    let app = app.unwrap_or_else(|| panic!("{patched}"));
    assert_eq!((&app["from"], &app["size"]), (&"usr/bin/app".into(), &600_000.into()), "{patched}");
    assert_eq!(odd["travelBytes"], odd["size"], "{odd}");
    assert!(!odd["reason"].as_str().unwrap().is_empty() && odd["patch"].is_null(), "{odd}");
    std::fs::remove_file(site.desk.path("v2.krs.tar")).unwrap();
    let text = site.bundle("v2.krs.tar", &options).ok().out;
    let short = &layer_digest(2).hex()[..12];
    let row = text.lines().find(|line| line.starts_with(short)).unwrap_or_else(|| panic!("{text}"));
    assert!(row.contains("team/app:2.0") && row.ends_with("patch"), "{text}");
    assert!(
        text.lines().any(|line| line.starts_with("usr/bin/app") && line.contains("its older version")),
        "{text}"
    );
    assert!(text.contains("layer: "), "{text}");
    // Without --compact there is nothing to say.
    let plain = site.bundle("full.krs.tar", &["--sequence", "2", "--format", "json"]).ok().json();
    assert!(plain["compactLayers"].is_null(), "{plain}");
}

#[test]
fn many_layers_are_counted_for_people_and_listed_for_programs() {
    let (mut site, _edge) = first_version();
    for number in 0..14 {
        let image =
            ImageBuilder::new(&format!("odd{number}")).layer(random_bytes(9000 + number, number as u64));
        site.add(&image.build(), &format!("team/odd{number}"), "1.0");
    }
    site.commit();
    let options = ["--sequence", "2", "--against", "v1.krs.tar", "--compact"];
    let text = site.bundle("v2.krs.tar", &options).ok().out;
    assert!(text.contains("and 4 smaller layers of 35.2 KiB, of which 35.2 KiB travel"), "{text}");
    std::fs::remove_file(site.desk.path("v2.krs.tar")).unwrap();
    let report = site.bundle("v2.krs.tar", &[&options[..], &["--format", "json"]].concat()).ok().json();
    assert_eq!(report["compactLayers"].as_array().unwrap().len(), 14, "{report}");
}

#[test]
fn inspect_says_which_layers_a_site_makes_and_of_what() {
    let (mut site, _edge) = first_version();
    update(&mut site, 2);
    let options = ["--sequence", "2", "--against", "v1.krs.tar", "--compact", "--format", "json"];
    let made = site.bundle("v2.krs.tar", &options).ok().json();
    let report = site.desk.krs(&["inspect", "v2.krs.tar", "--format", "json"]).ok().json();
    let layers = report["patchedLayers"].as_array().unwrap();
    assert_eq!(layers.len(), 1, "{report}");
    let layer = &layers[0];
    assert_eq!(layer["travelBytes"], made["compactLayers"][0]["travelBytes"], "{made}");
    assert_eq!(layer["digest"], layer_digest(2).to_string());
    assert!(layer["images"][0].as_str().unwrap().contains("team/app:2.0@"), "{layer}");
    assert!(layer["plainSize"].as_u64() > Some(1_000_000), "{layer}");
    assert_eq!(layer["sources"][0]["digest"], layer_digest(1).to_string());
    assert_eq!(layer["sources"][0]["repositories"][0], "team/app", "{layer}");
    // One layer takes all of the patch but its directory, and its recipe.
    let (patch, travels) = (layer["patchBytes"].as_u64().unwrap(), layer["travelBytes"].as_u64().unwrap());
    assert!(travels * 2 > patch && travels <= report["patched"]["patchBytes"].as_u64().unwrap(), "{report}");
    assert_eq!(report["patched"]["estimatedSeconds"], 1, "{report}");
    let text = site.desk.krs(&["inspect", "v2.krs.tar"]).ok().out;
    assert!(text.contains("which a site makes of 1 patch (") && text.contains(" in about 1 s"), "{text}");
    let short = |number| layer_digest(number).hex()[..12].to_owned();
    let row = text.lines().find(|line| line.starts_with(&short(2))).unwrap_or_else(|| panic!("{text}"));
    assert!(row.contains(&format!("{} in team/app", short(1))), "{text}");
    let plain = site.desk.krs(&["inspect", "v1.krs.tar", "--format", "json"]).ok().json();
    assert!(plain["patchedLayers"].is_null(), "{plain}");
}

#[test]
fn a_patch_that_cannot_be_read_is_named_after_all_else_is_shown() {
    let (mut site, _edge) = first_version();
    update(&mut site, 2);
    site.bundle("v2.krs.tar", &["--sequence", "2", "--against", "v1.krs.tar", "--compact"]).ok();
    let json = ["inspect", "v2.krs.tar", "--format", "json"];
    let patch = site.desk.krs(&json).ok().json()["patchedLayers"][0]["patch"].as_str().unwrap().to_owned();
    let mut archive = std::fs::read(site.desk.path("v2.krs.tar")).unwrap();
    let name = patch.replace(':', "/").into_bytes();
    let header = archive.windows(name.len()).rposition(|window| window == name).unwrap();
    let begin = header / 512 * 512 + 512;
    archive[begin..begin + 16].fill(0xff);
    site.desk.write("v2.krs.tar", &archive);
    let report = site.desk.krs(&json).failed(4, &[&patch]).json();
    assert_eq!(report["patchedLayers"][0]["digest"], layer_digest(2).to_string());
    assert!(report["patchedLayers"][0]["travelBytes"].is_null(), "{report}");
    let text = site.desk.krs(&["inspect", "v2.krs.tar"]).failed(4, &[&patch]).out;
    let row = text.lines().find(|line| line.starts_with(&layer_digest(2).hex()[..12]));
    assert!(row.is_some_and(|row| row.contains("unknown")), "{text}");
}

#[test]
fn a_plan_says_which_layers_may_be_patches() {
    let (mut site, _edge) = first_version();
    update(&mut site, 2);
    let set = site.checkout.path().to_string();
    let options = ["plan", &set, "--against", "v1.krs.tar", "--compact"];
    let report = site.desk.krs(&[&options[..], &["--format", "json"]].concat()).ok().json();
    let plan = &report["compactPlan"];
    assert_eq!(plan["baseLayers"], 1, "{report}");
    assert_eq!(plan["layers"][0]["digest"], layer_digest(2).to_string());
    assert_eq!((&plan["layers"][0]["hasBase"], plan["layers"].as_array().unwrap().len()), (&true.into(), 1));
    site.desk.krs(&options).ok().says(&["To patch", "1 layer (", " from 1 layer (", "that the site has"]);
    let first = ["bundle", &set, "--dry-run", "--compact"];
    site.desk.krs(&first).ok().says(&["To patch", "2 layers (", "from what layers of the bundle share"]);
    // Nothing is said that was not asked for.
    let nothing = ["plan", &set, "--against", "v1.krs.tar", "--format", "json"];
    assert!(site.desk.krs(&nothing).ok().json()["compactPlan"].is_null());
    let old = ["plan", &set, "--against", "v1.krs.tar", "--compact", "--format-version", "2"];
    site.desk.krs(&old).failed(2, &["--compact needs format version 3"]);
}

#[test]
fn a_mode_behind_a_space_is_no_folder() {
    let (site, _edge) = first_version();
    let set = site.checkout.path().to_string();
    let options = ["bundle", &set, "-o", "x.krs.tar", "--compact", "fast"];
    site.desk.krs(&options).failed(2, &["`fast` stands where a folder", "--compact=fast"]);
}

#[test]
fn a_difference_counts_what_travels_as_patches() {
    let (mut site, _edge) = first_version();
    update(&mut site, 2);
    site.bundle("v2.krs.tar", &["--sequence", "2", "--against", "v1.krs.tar", "--compact"]).ok();
    let report = site.desk.krs(&["diff", "v1.krs.tar", "v2.krs.tar", "--format", "json"]);
    assert_eq!(report.json()["patched"]["layers"], 1, "{}", report.out);
    site.desk
        .krs(&["diff", "v1.krs.tar", "v2.krs.tar"])
        .failed(10, &[])
        .says(&["Patched: 1 layer (", "1 patch ("]);
    let back = site.desk.krs(&["diff", "v2.krs.tar", "v1.krs.tar", "--format", "json"]);
    assert!(back.json()["patched"].is_null(), "{}", back.out);
}

#[test]
fn a_dry_push_checks_the_bases_and_says_what_would_be_made() {
    let (mut site, edge) = first_version();
    update(&mut site, 2);
    site.bundle("v2.krs.tar", &["--sequence", "2", "--against", "v1.krs.tar", "--compact"]).ok();
    let host = edge.host().to_string();
    let json = ["push", "v2.krs.tar", &host, "--dry-run", "--format", "json"];
    edge.clear_requests();
    let report = site.desk.krs(&json).ok().json();
    assert!(edge.requests().iter().all(|request| request.method == "HEAD"), "{:?}", edge.requests());
    let rebuild = &report["destinations"][0]["rebuild"];
    assert_eq!((&rebuild["layers"], &rebuild["baseLayers"]), (&1.into(), &1.into()), "{report}");
    let number = |name: &str| rebuild[name].as_u64().unwrap();
    assert!(
        number("scratchBytes") > number("plainBytes"),
        "the layers without compression, and what is made: {report}"
    );
    assert!(number("plainBytes") > number("bytes") && number("estimatedSeconds") == 1, "{report}");
    let text = site.desk.krs(&["push", "v2.krs.tar", &host, "--dry-run"]).ok();
    text.says(&[
        "1 layer (",
        "would be made of 1 layer and patches",
        "20 MB of compressed layers in a second",
    ]);
    site.desk.krs(&["push", "v2.krs.tar", &host]).ok();
    assert_eq!(site.desk.krs(&json).ok().json()["destinations"][0]["rebuild"]["layers"], 0);
    let other = Registry::start(Options::default());
    let digest = layer_digest(1).to_string();
    site.desk.krs(&["push", "v2.krs.tar", &other.host().to_string(), "--dry-run"]).failed(6, &[&digest]);
}

#[test]
fn scratch_that_cannot_be_used_is_named_before_the_first_request() {
    let (mut site, edge) = first_version();
    update(&mut site, 2);
    site.bundle("v2.krs.tar", &["--sequence", "2", "--against", "v1.krs.tar", "--compact"]).ok();
    let host = edge.host().to_string();
    edge.clear_requests();
    let push = |scratch: &str| site.desk.krs(&["push", "v2.krs.tar", &host, "--scratch", scratch]);
    push("nowhere").failed(1, &["scratch space in nowhere", "make this folder"]);
    push("v1.krs.tar").failed(1, &["scratch space in v1.krs.tar", "choose a folder"]);
    site.desk
        .krs(&["serve", "v2.krs.tar", "--scratch", "nowhere"])
        .failed(1, &["nowhere", "make this folder"]);
    assert!(edge.requests().is_empty(), "{:?}", edge.requests());
    // Without patches nothing is made.
    site.desk.krs(&["push", "v1.krs.tar", &host, "--scratch", "nowhere", "--allow-older"]).ok();
}

#[test]
fn compact_is_switched_off_and_recipes_are_a_folder() {
    let (mut site, _edge) = first_version();
    update(&mut site, 2);
    let set = site.checkout.path().to_string();
    let bundle = |file: &str, more: &[&str]| {
        let options =
            ["bundle", &set, "-o", file, "--sequence", "2", "--against", "v1.krs.tar", "--format", "json"];
        site.desk.krs_env(&[("KRS_COMPACT", "fast")], &[&options[..], more].concat()).ok().json()
    };
    assert_eq!(bundle("on.krs.tar", &[])["formatVersion"], 3);
    let off = bundle("off.krs.tar", &["--compact=none"]);
    assert!(off["formatVersion"].as_u64() < Some(3) && off["patched"].is_null(), "{off}");
    site.bundle("x.krs.tar", &["--compact", "--recipes", "v1.krs.tar"])
        .failed(2, &["--recipes v1.krs.tar is not a folder"]);
    assert!(!site.desk.path("x.krs.tar").exists());
}
