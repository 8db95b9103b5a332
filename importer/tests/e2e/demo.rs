// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask demo --cluster`: the main job, shown to a person.

use krs_testing::image::{self, Image, ImageBuilder, helm_chart, signature};
use serde_json::json;

use crate::edge::edges;
use crate::harness::{apply, krs, kubectl, wait_bundle, wait_not_ready, wait_ready};
use crate::site::Site;
use crate::source::{Account, Ci, namespace, reference, registry, set};

fn step(title: &str) {
    println!("\n=== {title}\n");
}

/// Runs `kubectl` and shows command and answer.
fn show(arguments: &[&str]) {
    println!("$ kubectl {}\n{}", arguments.join(" "), kubectl(arguments));
}

/// The API and its new version, and a chart.
fn images() -> [(&'static str, &'static str, Image); 3] {
    let base = |platform: &str, seed| {
        ImageBuilder::new("base").platform(platform).gzip().layer_random(400_000, seed)
    };
    let app = |version: u64| {
        let one = base("linux/amd64", 1).layer_random(100_000, 100 + version).build();
        let other = base("linux/arm64", 2).layer_random(100_000, 200 + version).build();
        image::with_attestations(&[&one, &other])
    };
    [
        ("shop/api", "1.4.2", app(1)),
        ("shop/api", "1.4.3", app(2)),
        ("shop/chart", "1.0.0", helm_chart("shop", "1.0.0")),
    ]
}

#[test]
#[ignore = "a demonstration for people"]
fn demonstration() {
    let [api, next, chart] = images();
    let account = Account::unique("ci");
    let source = registry(Some(&account), true);
    for (repository, tag, image) in [&api, &next, &chart] {
        image.push_to(&source, repository, Some(tag));
    }
    signature(&api.2).push_to(&source, api.0, None);
    let name = |(repository, tag, image): &(&str, &str, Image)| reference(&source, repository, tag, image);
    let references = [name(&api), name(&chart), name(&next)];
    let edge = edges().private.host();
    let (access, objects) = edges().private.access("shop");
    let before = set("shop", "tills", edge.as_str(), &references[..2], &access);
    let after = set("shop", "tills", edge.as_str(), &references, &access);

    step("On the connected side: a set in Git, and a bundle of it");
    let mut ci = Ci::new();
    ci.account(source.host().as_str(), &account);
    ci.commit(std::slice::from_ref(&before));
    println!("{:#}\n", before["spec"]);
    let first = ci.bundle("prod-118", "prod", 118, &source, &[]);
    println!("$ krs inspect prod-118.krs.tar\n{}", krs(ci.path(), &["inspect", first.as_str()]));
    ci.commit(std::slice::from_ref(&after));
    let second = ci.bundle("prod-119", "prod", 119, &source, &[]);
    drop(source);
    println!("the source registry is stopped: from here on there is no network");

    step("At the site: the GitOps engine has applied the set, the drive is on its way");
    let site = Site::new(&[&ci.public_key()], &json!({}));
    namespace("shop");
    apply(&json!(objects));
    apply(&before);
    wait_not_ready("shop", "tills", "WaitingForBundle");
    show(&["get", "eis", "-n", "shop", "-o", "wide"]);

    step("The drive is in");
    site.insert(&first);
    wait_ready("shop", "tills");
    wait_bundle("prod-118", "SafeToRemove", "True", None);
    show(&["get", "eis", "-n", "shop"]);
    show(&["get", "ib"]);
    show(&["get", "jobs", "-n", "shop"]);
    show(&["events", "-n", "shop", "--for", "edgeimageset/tills"]);
    show(&[
        "get",
        "eis",
        "tills",
        "-n",
        "shop",
        "-o",
        "jsonpath={range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{'\\n'}{end}",
    ]);

    step("What came where, at the edge");
    for (repository, tag, image) in [&api, &chart] {
        edges().private.must_have(repository, tag, image);
        println!("{edge}/{repository}:{tag}  {}  as in Git, verified", image.digest);
    }

    step("Git has one more image; the next drive brings only that");
    let sent = edges().private.uploads("shop/");
    apply(&after);
    wait_not_ready("shop", "tills", "WaitingForBundle");
    show(&["get", "eis", "-n", "shop", "-o", "wide"]);
    site.insert(&second);
    wait_ready("shop", "tills");
    wait_bundle("prod-119", "SafeToRemove", "True", None);
    edges().private.must_have(next.0, next.1, &next.2);
    show(&["get", "eis", "-n", "shop"]);
    show(&["get", "ib"]);
    let (all, new) = (next.2.size(), edges().private.uploads("shop/") - sent);
    println!("the new image has {} kB; {new} blobs were sent for it, all others were there", all / 1000);
    kubectl(&["delete", "namespace", "shop", "--wait=false"]);
}
