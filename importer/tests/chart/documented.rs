// SPDX-License-Identifier: Apache-2.0
//! What the reference pages list is what there is.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};
use krs_importer::adapters::metrics::{
    FailureLabels, ImageLabels, Metrics, RegistryLabels, ResultLabels, SetLabels, StreamLabels, WatchLabels,
    encode,
};

use crate::{chart, read, schema, value_paths};

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
        ["Verified", "Complete", "Superseded", "Imported", "SafeToRemove"].contains(&name.as_str())
    });
    assert_lists("imagebundle.md", &of_bundles);
    assert_lists("edgeimageset.md", &of_sets);
    assert_lists("errors.md", &reasons);
}

/// The words in back-ticks in the first cells of all tables whose head begins so.
fn first_cells(text: &str, head: &str) -> Vec<String> {
    let (mut is_in_table, mut words) = (false, Vec::new());
    for line in text.lines() {
        is_in_table = line.starts_with(head) || is_in_table && line.starts_with('|');
        if let Some(cell) =
            line.strip_prefix("| `").and_then(|row| row.split(" | ").next()).filter(|_| is_in_table)
        {
            words.extend(cell.split('`').step_by(2).map(str::to_owned));
        }
    }
    words
}

#[test]
fn every_reason_and_every_condition_that_is_explained_exists() {
    let explained = first_cells(&page("errors.md"), "| reason |").into_iter().collect::<BTreeSet<_>>();
    assert_eq!(explained, constants("reason").into_iter().collect());
    // Those of a bundle are constants, or texts in the importer.
    let mut importer = String::new();
    code(&Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut importer);
    let constants = [constants("condition"), constants("reason")].concat();
    let text = page("imagebundle.md");
    let explained = [first_cells(&text, "| condition |"), first_cells(&text, "| reason |")].concat();
    assert!(explained.len() >= 30, "{explained:?}");
    for word in explained {
        let exists = constants.contains(&word) || importer.contains(&format!("\"{word}\""));
        assert!(exists, "docs/reference/imagebundle.md explains `{word}`, which nothing writes");
    }
}

/// Words between quotes in files of the intake, their tests apart, that are neither a state nor one of `others`.
fn words(files: &[&str], others: &[&str]) -> Vec<String> {
    let code = |file: &&str| {
        let code = read(Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("src/app/intake").join(file));
        code.split("#[cfg(test)]").next().unwrap().to_owned()
    };
    let code = files.iter().map(code).collect::<Vec<_>>().concat();
    let quoted = code.split('"').skip(1).step_by(2);
    let is_word = |text: &&str| {
        text.starts_with(|c: char| c.is_ascii_uppercase()) && text.chars().all(|c| c.is_ascii_alphanumeric())
    };
    let known = ["True", "False", "Unknown", "ImageBundle"];
    let words = quoted.filter(is_word).filter(|word| !known.contains(word) && !others.contains(word));
    let words = words.map(str::to_owned).collect::<Vec<_>>();
    assert!(words.len() >= 5, "{files:?}: {words:?}");
    words
}

#[test]
fn every_reason_of_a_bundle_and_every_event_is_explained() {
    assert_lists("imagebundle.md", &words(&["rejection.rs"], &[]));
    assert_lists(
        "imagebundle.md",
        &words(&["view.rs", "conditions.rs", "removal.rs", "../../engine/condition.rs"], &[]),
    );
    // Reasons of a condition that are made there.
    let reasons = ["OtherStream", "SetsRefused"];
    assert_lists("imagebundle.md", &reasons.map(str::to_owned));
    // What an event was about to do is for machines.
    let actions = ["Find", "Verify", "Read", "Import", "Apply"];
    assert_lists("importer.md", &words(&["cluster.rs", "announce.rs"], &[&actions[..], &reasons].concat()));
}

/// Names of the families in what `/metrics` answers when everything was counted once.
fn exposed() -> BTreeSet<String> {
    let (metrics, registry) = Metrics::new();
    let result = || ResultLabels { result: "x".to_owned() };
    let set = || SetLabels { namespace: "n".to_owned(), name: "x".to_owned() };
    let stream = || StreamLabels { stream: "s".to_owned() };
    drop(metrics.read_bytes.get_or_create(&set()));
    for counters in [&metrics.reconcile_errors, &metrics.verifications, &metrics.registry_answers] {
        drop(counters.get_or_create(&result()));
    }
    for gauges in [&metrics.refused, &metrics.jobs] {
        drop(gauges.get_or_create(&result()));
    }
    for gauges in [&metrics.ready, &metrics.last_sync, &metrics.corrupt] {
        drop(gauges.get_or_create(&set()));
    }
    for gauges in [&metrics.sequence, &metrics.created] {
        drop(gauges.get_or_create(&stream()));
    }
    let watched = WatchLabels { resource: "jobs".to_owned(), namespace: "n".to_owned() };
    drop(metrics.watch_success.get_or_create(&watched));
    let registry_labels = RegistryLabels { registry: "r".to_owned(), namespace: "n".to_owned() };
    drop(metrics.registry_back_off.get_or_create(&registry_labels));
    let SetLabels { namespace, name } = set();
    drop(metrics.failed.get_or_create(&FailureLabels { namespace, name, reason: "r" }));
    let SetLabels { namespace, name } = set();
    drop(metrics.images.get_or_create(&ImageLabels { namespace, name, state: "present" }));
    let text = encode(&registry);
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = types.map(|line| {
        let (name, type_) = line.split_once(' ').unwrap();
        match type_ {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        }
    });
    names.collect()
}

/// Words of a text that are names of metrics.
fn metric_names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("krs_")).map(str::to_owned).collect()
}

#[test]
fn the_metrics_that_are_explained_are_those_that_the_importer_has() {
    let (exposed, text) = (exposed(), page("importer.md"));
    assert!(exposed.len() >= 16, "{exposed:?}");
    assert_eq!(
        metric_names(text.split("## Metrics").nth(1).unwrap().split("\n## ").next().unwrap()),
        exposed
    );
}

#[test]
fn alerts_ask_only_for_metrics_that_the_importer_has() {
    let text = read(chart().join("templates/monitoring.yaml"));
    let rules = text.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect::<Vec<_>>();
    assert!(rules.len() >= 5, "{rules:?}");
    let exposed = exposed();
    for rule in rules {
        let names = metric_names(rule);
        assert!(!names.is_empty() && names.is_subset(&exposed), "{rule}");
    }
    let alerts = text.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let page = read(checkout().join("docs/operate.md"));
    let unexplained = alerts.filter(|alert| !page.contains(&format!("`{alert}`"))).collect::<Vec<_>>();
    assert!(unexplained.is_empty(), "docs/operate.md does not explain {unexplained:?}");
}

/// All code of the importer beside its tests and `metrics.rs`, without white space.
fn code(folder: &Utf8Path, into: &mut String) {
    for entry in folder.read_dir_utf8().unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "tests" {
            code(path, into);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") && name != "metrics.rs" {
            let text = read(path);
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            into.extend(text.chars().filter(|c| !c.is_whitespace()));
        }
    }
}

/// A metric that nothing sets is worse than none: its alert never fires.
#[test]
fn every_metric_is_set_by_something() {
    let source = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut text, metrics) = (String::new(), read(source.join("adapters/metrics.rs")));
    code(&source, &mut text);
    let fields = metrics.split("pub struct Metrics {").nth(1).unwrap().split("\n}").next().unwrap();
    let fields = fields.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next());
    let fields = fields.collect::<Vec<_>>();
    assert!(fields.len() >= 15, "{fields:?}");
    // By others, or by what `Metrics` itself offers.
    let is_used = |field: &str| {
        [".", ";"].iter().any(|end| text.contains(&format!("metrics.{field}{end}")))
            || metrics.contains(&format!("self.{field}.get_or_create("))
    };
    let unset = fields.into_iter().filter(|field| !is_used(field));
    assert_eq!(unset.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn every_value_of_the_chart_is_explained() {
    let mut paths = Vec::new();
    value_paths(&schema(), "", &mut paths);
    assert!(paths.len() >= 50, "{paths:?}");
    assert_lists("importer.md", &paths);
}
