// SPDX-License-Identifier: Apache-2.0
//! The receipt of a site makes its next bundle: from the cluster, from the drive that goes back, and from a line of text.

use std::time::Duration;

use camino::Utf8Path;
use krs_testing::image::ImageBuilder;
use serde_json::{Value, json};

use crate::edge::edges;
use crate::harness::{apply, cluster, get, krs, run, wait_bundle, wait_for, wait_ready};
use crate::site::{SYSTEM, Site, allow_receipts};
use crate::source::{Ci, namespace, reference, registry, set};

/// A receipt follows after its least time to the last one.
pub(crate) const RECEIPT: Duration = Duration::from_secs(120);

/// What the importer of a namespace wrote of its receipt.
pub(crate) fn index(namespace: &str) -> Option<Value> {
    get("configmaps", namespace, "krs-receipt")
}

/// `krs receipt --from-cluster` of a person who reaches the cluster.
pub(crate) fn fetch(folder: &Utf8Path, namespace: &str, arguments: &[&str]) -> String {
    let program = cluster().krs();
    let words = arguments.join(" ");
    let line = format!("cd {folder} && {} receipt --from-cluster -n {namespace} {words}", program.display());
    run("bash", &["-euo", "pipefail", "-c", &line], None)
}

#[test]
fn e14_a_site_says_what_it_has_and_the_next_bundle_carries_only_the_rest() {
    let source = registry(None, false);
    let version = |number: u64| {
        ImageBuilder::new("app").gzip().layer_random(2 << 20, 1).layer_random(20_000, number + 10).build()
    };
    let mut ci = Ci::new();
    let (access, _) = edges().open.access("e14");
    let host = edges().open.host().to_string();
    let mut references = Vec::new();
    let mut publish = |number: u64| {
        let (image, tag) = (version(number), number.to_string());
        image.push_to(&source, "loop/app", Some(&tag));
        references.push(reference(&source, "loop/app", &tag, &image));
        set("e14", "app", &host, &references, &access)
    };
    let first = publish(1);
    ci.commit(std::slice::from_ref(&first));
    let catalog = ["--catalog", "c.jsonl"];
    let full = ci.bundle("e14-1", "e14", 1, &source, &catalog);
    let values = json!({"site": "berlin", "receipts": {"toMedia": true}});
    let site = Site::new(&[&ci.public_key()], &values);
    allow_receipts(site.drive());
    namespace("e14");
    apply(&first);
    site.insert(&full);
    wait_ready("e14", "app");
    wait_bundle("e14-1", "SafeToRemove", "True", None);

    // From the cluster.
    wait_for("the receipt has the first bundle", RECEIPT, || {
        index(SYSTEM)?["data"]["short"].as_str()?.contains(":e14:1:").then_some(())
    });
    fetch(ci.path(), SYSTEM, &["-o", "berlin.receipt.json"]);
    let key = index(SYSTEM).unwrap()["data"]["site.pub"].as_str().unwrap().to_owned();
    std::fs::write(ci.path().join("site.pub"), &key).unwrap();
    let second = publish(2);
    ci.commit(std::slice::from_ref(&second));
    let against =
        ["--against", "berlin.receipt.json", "--site-key", "berlin=site.pub", "--catalog", "c.jsonl"];
    let delta = ci.bundle("e14-2", "e14", 2, &source, &against);
    let size = |file: &Utf8Path| file.metadata().unwrap().len();
    assert!(size(&full) > 2_000_000 && size(&delta) < 100_000, "{} {}", size(&full), size(&delta));
    apply(&second);
    site.insert(&delta);
    wait_ready("e14", "app");
    edges().open.must_have("loop/app", "2", &version(2));

    // From the drive: the importer wrote the receipt of the second bundle before the drive may be pulled.
    wait_bundle("e14-2", "SafeToRemove", "True", None);
    let third = publish(3);
    ci.commit(std::slice::from_ref(&third));
    let drive = site.drive().to_str().unwrap().to_owned();
    let against = ["--against", &drive, "--site-key", "berlin=site.pub", "--catalog", "c.jsonl"];
    let delta = ci.bundle("e14-3", "e14", 3, &source, &against);
    assert!(size(&delta) < 100_000, "{}", size(&delta));
    apply(&third);
    site.insert(&delta);
    wait_ready("e14", "app");

    // By a line of text. An upgrade of the chart makes no other key.
    drop(site);
    let site = Site::new(&[&ci.public_key()], &json!({"site": "berlin", "intake": {"scanInterval": "2s"}}));
    site.insert(&delta);
    wait_for("the receipt has the third bundle", RECEIPT, || {
        index(SYSTEM)?["data"]["short"].as_str()?.contains(":e14:3:").then_some(())
    });
    assert_eq!(index(SYSTEM).unwrap()["data"]["site.pub"], json!(key));
    let text = fetch(ci.path(), SYSTEM, &["--short", "--stream", "e14"]);
    krs(ci.path(), &["catalog", "add", "c.jsonl", text.trim(), "--site-key", "berlin=site.pub"]);
    let fourth = publish(4);
    ci.commit(std::slice::from_ref(&fourth));
    let against = ["--against", "catalog:berlin", "--catalog", "c.jsonl"];
    let delta = ci.bundle("e14-4", "e14", 4, &source, &against);
    assert!(size(&delta) < 100_000, "{}", size(&delta));
    apply(&fourth);
    site.insert(&delta);
    wait_ready("e14", "app");
    edges().open.must_have("loop/app", "4", &version(4));
}
