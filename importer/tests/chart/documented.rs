// SPDX-License-Identifier: Apache-2.0
//! What the reference pages list is what there is.

use crate::{read, schema, value_paths};
use camino::{Utf8Path, Utf8PathBuf};

fn checkout() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn page(name: &str) -> String {
    read(checkout().join("docs/reference").join(name))
}

/// Fails with every name that the page does not have in back-ticks.
fn assert_lists(page_name: &str, names: &[String]) {
    let text = page(page_name);
    let missing = names.iter().filter(|name| !text.contains(&format!("`{name}`"))).collect::<Vec<_>>();
    assert!(missing.is_empty(), "docs/reference/{page_name} does not list {missing:?}");
}

/// Texts of the constants in a module of `src/crd/conditions.rs`, without messages.
fn constants(module: &str) -> Vec<String> {
    let code = read(checkout().join("src/crd/conditions.rs"));
    let module = code.split(&format!("pub mod {module} {{")).nth(1).unwrap().split("\n}").next().unwrap();
    let constants = module.lines().filter_map(|line| line.trim().strip_prefix("pub const "));
    let values = constants.filter_map(|line| line.split('"').nth(1)).filter(|value| !value.contains(' '));
    values.map(str::to_owned).collect()
}

#[test]
fn every_condition_and_every_reason_is_explained() {
    let (conditions, reasons) = (constants("condition"), constants("reason"));
    assert!(conditions.len() >= 9 && reasons.len() >= 20, "{conditions:?} {reasons:?}");
    let (of_bundles, of_sets) = conditions.into_iter().partition::<Vec<_>, _>(|name| {
        ["Verified", "Complete", "Imported", "SafeToRemove"].contains(&name.as_str())
    });
    assert_lists("imagebundle.md", &of_bundles);
    assert_lists("edgeimageset.md", &of_sets);
    assert_lists("errors.md", &reasons);
}

/// Words between quotes in a file of the intake, its tests apart, that are neither a state nor one of `others`.
fn words(file: &str, others: &[&str]) -> Vec<String> {
    let code = read(Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("src/intake").join(file));
    let code = code.split("#[cfg(test)]").next().unwrap();
    let quoted = code.split('"').skip(1).step_by(2);
    let is_word = |text: &&str| {
        text.starts_with(|c: char| c.is_ascii_uppercase()) && text.chars().all(|c| c.is_ascii_alphanumeric())
    };
    let known = ["True", "False", "Unknown", "ImageBundle"];
    let words = quoted.filter(is_word).filter(|word| !known.contains(word) && !others.contains(word));
    let words = words.map(str::to_owned).collect::<Vec<_>>();
    assert!(words.len() >= 5, "{file}: {words:?}");
    words
}

#[test]
fn every_reason_of_a_bundle_and_every_event_is_explained() {
    assert_lists("imagebundle.md", &words("verdict.rs", &[]));
    assert_lists("imagebundle.md", &words("view.rs", &[]));
    // What an event was about to do is for machines.
    assert_lists("importer.md", &words("cluster.rs", &["Find", "Verify", "Read", "Import", "Apply"]));
}

#[test]
fn every_metric_is_explained() {
    let code = read(Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("src/metrics.rs"));
    let registered = code.split("all.register(").skip(1);
    let names = registered.map(|rest| format!("krs_{}", rest.split('"').nth(1).unwrap())).collect::<Vec<_>>();
    assert!(names.len() >= 16, "{names:?}");
    let text = page("importer.md");
    // Counters have `_total` behind their name, and most have labels.
    let missing = names.iter().filter(|name| !text.contains(&format!("`{name}"))).collect::<Vec<_>>();
    assert!(missing.is_empty(), "docs/reference/importer.md does not list {missing:?}");
}

#[test]
fn every_value_of_the_chart_is_explained() {
    let mut paths = Vec::new();
    value_paths(&schema(), "", &mut paths);
    paths.retain(|path| path != "global");
    assert!(paths.len() >= 50, "{paths:?}");
    assert_lists("importer.md", &paths);
}
