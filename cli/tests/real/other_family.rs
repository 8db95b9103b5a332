// SPDX-License-Identifier: Apache-2.0
//! A registry that is no relative of Distribution (CUE's ociregistry, in memory), and referrers between real ones.

use std::process::Command;
use std::time::Duration;

use krs_core::oci::digest::Digest;
use krs_core::oci::reference::{RegistryHost, Selector};
use krs_core::registry::{Client, ClientOptions};
use krs_testing::distribution::Distribution;
use krs_testing::image::{ImageBuilder, cosign_signature, cosign_tag, helm_chart, index, sbom, signature};
use krs_testing::process::{Running, free_address};
use krs_testing::referrers::referrers_of;
use krs_testing::registry::{Options, Registry};
use krs_testing::tools::require;

use crate::harness::{Workspace, distribution3, set_of};

fn other() -> Running {
    let address = free_address();
    let mut command = Command::new(require("krs-ocimem").as_str());
    command.arg(address.to_string());
    Running::start(command, address, Duration::from_secs(30))
}

/// What `registry` lists as referring to `subject`, sorted.
fn referrers(registry: &RegistryHost, subject: &Digest) -> Vec<Digest> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = Client::new(ClientOptions::default()).unwrap();
    let repository = client.repository(registry, &"team/app".parse().unwrap());
    let mut found = runtime.block_on(referrers_of(&repository, subject));
    found.sort();
    found
}

fn digest(registry: &RegistryHost, name: &str, tag: &str) -> Option<Digest> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = Client::new(ClientOptions::default()).unwrap();
    let repository = client.repository(registry, &name.parse().unwrap());
    let tag = Selector::Tag(tag.parse().unwrap());
    runtime.block_on(repository.head_manifest(&tag)).unwrap().map(|found| found.digest)
}

#[test]
fn t50_t66_images_and_referrers_go_through_registries_of_all_families_and_back() {
    let (workspace, first) = (Workspace::new(), Registry::start(Options::default()));
    let amd64 = ImageBuilder::new("app").layer_random(600_000, 1).build();
    let arm64 = ImageBuilder::new("app").layer_random(1000, 2).platform("linux/arm64").build();
    let both = index(&[(&amd64, Some("linux/amd64")), (&arm64, Some("linux/arm64"))]);
    let chart = helm_chart("chart", "1.2.3");
    let (bill, seal) = (sbom(&amd64), signature(&both));
    let (sealed_bill, old) = (signature(&bill), cosign_signature(&both));
    both.push_to(&first, "team/app", Some("1.0"));
    chart.push_to(&first, "team/chart", Some("1.2.3"));
    for referrer in [&bill, &seal, &sealed_bill] {
        referrer.push_to(&first, "team/app", None);
    }
    let old_tag = cosign_tag(&both.digest, "sig");
    old.push_to(&first, "team/app", Some(&old_tag));

    // Distribution has no referrers API, the other family has.
    let (memory, old_one, new_one) =
        (other(), Distribution::start(&require("docker-registry"), Default::default()), distribution3());
    let memory = (memory.address().to_string().parse::<RegistryHost>().unwrap(), memory);
    let mut from = first.host();
    for to in [&memory.0, &old_one.host(), &memory.0, &new_one.host(), &memory.0] {
        let set = set_of(&from, &[("team/app:1.0", &both), ("team/chart:1.2.3", &chart)]);
        std::fs::write(workspace.path().join("set.yaml"), set).unwrap();
        let _ = std::fs::remove_file(workspace.path().join("a.krs.tar"));
        workspace.krs(&["bundle", "set.yaml", "-o", "a.krs.tar"]);
        workspace.krs(&["push", "a.krs.tar", to.as_str()]);
        assert_eq!(digest(to, "team/app", "1.0"), Some(both.digest), "{from} -> {to}");
        assert_eq!(digest(to, "team/chart", "1.2.3"), Some(chart.digest), "{from} -> {to}");
        assert_eq!(digest(to, "team/app", &old_tag), Some(old.digest), "{from} -> {to}");
        assert_eq!(referrers(to, &both.digest), [seal.digest], "{from} -> {to}");
        assert_eq!(referrers(to, &amd64.digest), [bill.digest], "{from} -> {to}");
        assert_eq!(referrers(to, &bill.digest), [sealed_bill.digest], "{from} -> {to}");
        let again = workspace.krs(&["push", "a.krs.tar", to.as_str(), "--format", "json"]);
        let again = serde_json::from_str::<serde_json::Value>(&again).unwrap();
        assert_eq!((&again["blobsSent"], &again["documentsSent"]), (&0.into(), &0.into()), "{from} -> {to}");
        from = to.clone();
    }
}
