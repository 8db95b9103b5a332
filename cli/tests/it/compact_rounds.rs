// SPDX-License-Identifier: Apache-2.0
//! Compact bundles of which the next ones are made: their layers are made again of their patches.

use krs_testing::image::ImageBuilder;
use krs_testing::registry::{Matcher, What};

use crate::compact::{first_version, image, layer_digest, serves_all_images, size, update};
use crate::harness::Site;

/// Old versions are gone from the source, as registries remove them.
fn forget(site: &Site, number: u8) {
    let gone = What::Status(404, Vec::new(), String::new());
    site.source.fail(Matcher::blobs().path(layer_digest(number).hex()), gone);
}

#[test]
fn three_rounds_are_made_of_the_bundles_before_where_no_registry_has_their_layers() {
    let (mut site, edge) = first_version();
    let host = edge.host().to_string();
    let files = ["v1.krs.tar", "v2.krs.tar", "v3.krs.tar", "v4.krs.tar"];
    for (number, file) in (2..5_u8).zip(files.iter().skip(1)) {
        forget(&site, number - 1);
        update(&mut site, number);
        let sequence = number.to_string();
        let mut options =
            vec!["--sequence", &sequence, "--compact", "--against", files[usize::from(number) - 2]];
        options.extend(files[..usize::from(number) - 2].iter().flat_map(|file| ["--reuse", file]));
        let made = site.bundle(file, &options).ok();
        assert!(!made.err.contains("could not be fetched"), "{made}");
        assert!(size(&site, file) < 100_000, "{}", size(&site, file));
        assert!(!site.desk.path(&format!("{file}.compact")).exists());
        site.desk.krs(&["push", file, &host]).ok();
        let tag = format!("{number}.0");
        assert_eq!(edge.digest("team/app", &tag), site.source.digest("team/app", &tag));
    }
}

#[test]
fn what_is_missing_to_make_a_base_again_is_named() {
    let (mut site, edge) = first_version();
    update(&mut site, 2);
    site.bundle("v2.krs.tar", &["--sequence", "2", "--against", "v1.krs.tar", "--compact"]).ok();
    update(&mut site, 3);
    forget(&site, 2);
    // The source still has what the patch of the second bundle reads.
    let options = ["--sequence", "3", "--against", "v2.krs.tar", "--compact"];
    site.bundle("v3.krs.tar", &options).ok();
    assert!(size(&site, "v3.krs.tar") < 100_000, "{}", size(&site, "v3.krs.tar"));
    forget(&site, 1);
    let made = site.bundle("large.krs.tar", &options).ok();
    let (missing, base) = (layer_digest(2).to_string(), layer_digest(1).to_string());
    made.says(&["could not be fetched", &missing, &base, "name a bundle that has it with --reuse"]);
    assert!(size(&site, "large.krs.tar") > 500_000, "{}", size(&site, "large.krs.tar"));
    let host = edge.host().to_string();
    for file in ["v2.krs.tar", "v3.krs.tar", "large.krs.tar"] {
        site.desk.krs(&["push", file, &host]).ok();
    }
    assert_eq!(edge.digest("team/app", "3.0"), site.source.digest("team/app", "3.0"));
}

/// A damaged patch costs the layer that it makes, and is named.
#[test]
fn a_base_that_a_damaged_bundle_makes_is_not_used() {
    let (mut site, edge) = first_version();
    update(&mut site, 2);
    site.bundle("v2.krs.tar", &["--sequence", "2", "--against", "v1.krs.tar", "--compact"]).ok();
    let host = edge.host().to_string();
    site.desk.krs(&["push", "v2.krs.tar", &host]).ok();
    update(&mut site, 3);
    forget(&site, 2);
    // The last blobs of the archive are the patch and its recipe, before the two records at its end.
    let mut bytes = std::fs::read(site.desk.path("v2.krs.tar")).unwrap();
    let bundle = site.desk.krs(&["inspect", "v2.krs.tar", "--format", "json"]).ok().json();
    assert_eq!(bundle["patched"]["layers"], 1, "{bundle}");
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end] ^= 1;
    site.desk.write("damaged.krs.tar", &bytes);
    let options = ["--sequence", "3", "--against", "damaged.krs.tar", "--reuse", "v1.krs.tar", "--compact"];
    site.bundle("v3.krs.tar", &options).ok().says(&["could not be fetched", &layer_digest(2).to_string()]);
    site.desk.krs(&["push", "v3.krs.tar", &host]).ok();
    assert_eq!(edge.digest("team/app", "3.0"), site.source.digest("team/app", "3.0"));
}

#[test]
fn layers_that_several_bundles_make_one_after_the_other_are_served() {
    let (mut site, _) = first_version();
    // Does not change after the second bundle, which has its layer as a patch.
    site.add(&image("copy", 9), "team/copy", "9.0");
    update(&mut site, 2);
    site.bundle("v2.krs.tar", &["--sequence", "2", "--against", "v1.krs.tar", "--compact"]).ok();
    update(&mut site, 3);
    site.add(&ImageBuilder::new("new").layer_random(1000, 1).build(), "team/new", "1.0");
    site.commit();
    site.bundle("v3.krs.tar", &["--sequence", "3", "--against", "v2.krs.tar", "--compact"]).ok();
    let serve =
        ["serve", "v3.krs.tar", "--listen", "127.0.0.1:0", "--format", "json", "--base", "v2.krs.tar"];
    let base = layer_digest(1).to_string();
    site.desk.krs(&serve).failed(6, &[&base, "--base"]);
    serves_all_images(&site, &[&serve[..], &["--base", "v1.krs.tar"]].concat());
}

#[test]
fn a_variable_that_asks_for_patches_is_overridden_and_a_file_is_no_folder_for_recipes() {
    let (mut site, _) = first_version();
    update(&mut site, 2);
    let checkout = site.checkout.path().to_string();
    let call = ["bundle", &checkout, "--sequence", "2", "--against", "v1.krs.tar", "--format", "json"];
    for (file, more, is_patched) in [
        ("on.krs.tar", &[][..], true),
        ("off.krs.tar", &["--compact=off"][..], false),
        ("none.krs.tar", &["--compact=none"][..], false),
    ] {
        let arguments = [&call[..], &["-o", file], more].concat();
        let report = site.desk.krs_env(&[("KRS_COMPACT", "fast")], &arguments).ok().json();
        assert_eq!(!report["patched"].is_null(), is_patched, "{report}");
    }
    site.desk.krs_env(&[("KRS_COMPACT", "off")], &[&call[..], &["-o", "no.krs.tar"]].concat()).ok();
    assert!(size(&site, "no.krs.tar") > 500_000);
    site.desk.write("file", "");
    let wrong = [&call[..], &["-o", "x.krs.tar", "--compact", "--recipes", "file"]].concat();
    site.source.clear_requests();
    site.desk.krs(&wrong).failed(2, &["--recipes file is not a folder"]);
    assert_eq!(site.source.requests().len(), 0);
}
