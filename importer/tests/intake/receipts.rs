// SPDX-License-Identifier: Apache-2.0
//! The receipt of the site in the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use krs_core::bundle::sign::PublicKey;
use krs_core::oci::digest::Digest;
use krs_core::sync::plan::PlanOptions;
use krs_core::sync::receipt::{Origin, ShortReceipt, SiteKey, SiteKeys, SiteReceipt, SiteRoot};
use krs_importer::adapters::receipt_maps::{ReceiptMaps, SignedReceipt};
use krs_importer::app::receipts::ReceiptPace;
use krs_importer::model::required_images::{RequiredImages, SetDemand, SetName};
use krs_importer::model::site_content::{PresentImage, SetContent, SetImages};
use serde_json::{Value, json};

use crate::api::{FakeApi, Fault};
use crate::world::{Running, World, numbered};

const NAMESPACE: &str = "krs-system";
/// Most bytes of a part.
const MAX_PART: usize = 900 << 10;

/// A site that writes receipts at once.
pub(crate) fn site() -> World {
    let mut world = World::new();
    world.receipts = Some(ReceiptPace {
        settle: Duration::from_millis(50),
        least: Duration::from_millis(50),
        check: Duration::from_millis(300),
        ..ReceiptPace::default()
    });
    world
}

fn secret(api: &FakeApi) -> Option<Value> {
    api.get("secrets", NAMESPACE, "krs-site-key")
}

fn index(api: &FakeApi) -> Option<Value> {
    api.get("configmaps", NAMESPACE, "krs-receipt")
}

/// What the connected side makes of the ConfigMaps: the receipt, and its short receipts.
fn fetch(api: &FakeApi) -> Option<(SiteReceipt, Vec<ShortReceipt>)> {
    let data = index(api)?["data"].clone();
    let text = |key: &str| data[key].as_str().unwrap().to_owned();
    let digest = text("digest").parse::<Digest>().unwrap();
    let mut json = String::new();
    for n in 0..text("parts").parse::<usize>().unwrap() {
        let name = format!("krs-receipt-{}-{n}", &digest.hex()[..12]);
        let part = api.get("configmaps", NAMESPACE, &name)?["data"]["part"].as_str().unwrap().to_owned();
        assert!(part.len() <= MAX_PART, "{}", part.len());
        json.push_str(&part);
    }
    assert_eq!(Digest::of(json.as_bytes()), digest);
    let receipt = SiteReceipt::parse(json.as_bytes()).unwrap();
    assert_eq!((text("site"), text("createdAt")), (receipt.site.to_string(), receipt.created_at.to_string()));
    let key = PublicKey::parse(&text("site.pub"), "site.pub").unwrap();
    let keys = SiteKeys(vec![SiteKey { site: Some(receipt.site.clone()), key: key.clone() }]);
    let origin =
        keys.check_file(json.as_bytes(), &receipt.site, Some(text("receipt.json.minisig").as_bytes()));
    assert_eq!(origin.unwrap(), Origin::Verified(key.id()));
    let short = text("short");
    let short = if short.is_empty() { Vec::new() } else { ShortReceipt::parse_all(&short).unwrap() };
    assert!(short.iter().all(|short| keys.check_short(short).unwrap() == Origin::Verified(key.id())));
    Some((receipt, short))
}

/// Waits until the receipt is as wanted.
pub(crate) async fn until(
    world: &World,
    wanted: impl Fn(&SiteReceipt) -> bool,
) -> (SiteReceipt, Vec<ShortReceipt>) {
    let waiting = async {
        loop {
            if let Some(found) = fetch(&world.api).filter(|(receipt, _)| wanted(receipt)) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let result = tokio::time::timeout(Duration::from_secs(120), waiting).await;
    result.unwrap_or_else(|_| panic!("{:#?}", fetch(&world.api)))
}

fn present(n: usize) -> PresentImage {
    let digest = Digest::of(&n.to_le_bytes());
    let root = SiteRoot {
        digest,
        platforms: Vec::new(),
        reference: format!("registry.example.com/team/component-{n}:1.24.3@{digest}").parse().unwrap(),
        tags: vec!["1.24.3".parse().unwrap()],
    };
    PresentImage { repository: format!("mirror/team/component-{n}").parse().unwrap(), root }
}

pub(crate) fn having(images: std::ops::Range<usize>) -> SetDemand {
    let images = SetImages {
        registry: Some("edge.local:5000".parse().unwrap()),
        present: images.map(present).collect(),
        ..SetImages::default()
    };
    SetDemand { content: SetContent::new(&images), ..SetDemand::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_receipt_says_what_is_there_what_was_imported_and_what_was_refused() {
    let world = site();
    world.drop("prod-5.krs.tar", 5).await;
    let other = PlanOptions { audience: vec!["site-2".to_owned()], ..numbered(6) };
    let foreign = world.make("other-6.krs.tar", "", other, Some(&world.key)).await;
    std::fs::copy(foreign, world.at("other-6.krs.tar")).unwrap();
    let mut intake = world.start();
    intake.stock(|stock| stock.bundles.len() == 1).await;
    intake.demand.send_replace(Arc::new(RequiredImages { complete: false, sets: BTreeMap::new() }));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(index(&world.api).is_none(), "not all sets were asked");
    intake.needs(having(0..2));
    let (receipt, short) = until(&world, |receipt| receipt.imported.len() == 1).await;
    assert_eq!(receipt.site.as_str(), "site-1");
    assert_eq!(receipt.roots().count(), 2);
    assert_eq!((receipt.imported[0].stream.as_str(), receipt.imported[0].sequence), ("prod", 5));
    assert_eq!(
        receipt.refused.iter().map(|refused| refused.reason.as_str()).collect::<Vec<_>>(),
        ["WrongAudience"]
    );
    assert_eq!(short.iter().map(|short| short.content().sequence).collect::<Vec<_>>(), [5]);
    // Where nothing changes, nothing is written.
    let version = |world: &World| index(&world.api).unwrap()["metadata"]["resourceVersion"].clone();
    let before = version(&world);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(version(&world), before);
    intake.kill().await;
    // Neither by the next process.
    let mut intake = world.start();
    intake.stock(|stock| stock.bundles.len() == 1).await;
    intake.needs(having(0..2));
    world.condition("prod-5", crate::SAFE, "True", "Imported").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(version(&world), before);
    // What somebody deletes is written again.
    world.api.remove("configmaps", NAMESPACE, "krs-receipt");
    until(&world, |receipt| receipt.roots().count() == 2).await;
    intake.needs(having(0..1));
    until(&world, |receipt| receipt.roots().count() == 1).await;
    let parts = world
        .api
        .count("configmaps", |map| map["metadata"]["name"].as_str().unwrap().starts_with("krs-receipt-"));
    assert_eq!(parts, 1, "old parts are deleted");
    intake.stop().await;
}

/// Waits until the metric says whether receipts fail.
async fn until_failing(intake: &Running, failing: i64) {
    let waiting = async {
        while intake.metrics.receipt_failing.get() != failing {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), waiting).await.unwrap();
}

async fn wait_for_receipt(world: &World) -> (Running, String) {
    let mut intake = world.start();
    intake.stock(|_| true).await;
    intake.needs(having(0..1));
    until(world, |receipt| receipt.roots().count() == 1).await;
    (intake, index(&world.api).unwrap()["data"]["site.pub"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn t290_the_key_of_the_site_is_made_once_and_one_that_exists_is_never_replaced() {
    let world = site();
    let (intake, public) = wait_for_receipt(&world).await;
    let made = secret(&world.api).unwrap();
    intake.kill().await;
    // A sync of a GitOps engine that claims it, and another process.
    let claim = json!({"metadata": {"labels": {"app.kubernetes.io/instance": "krs"}}});
    world.api.edit("argocd-controller", "secrets", NAMESPACE, "krs-site-key", &claim);
    let (intake, again) = wait_for_receipt(&world).await;
    assert_eq!((&secret(&world.api).unwrap()["data"], &again), (&made["data"], &public));
    intake.kill().await;
    // One that cannot be used is left as it is, and so is the last receipt.
    world.api.edit("kubectl", "secrets", NAMESPACE, "krs-site-key", &json!({"data": {"site.key": "eA=="}}));
    let mut intake = world.start();
    intake.stock(|_| true).await;
    intake.needs(having(0..3));
    until_failing(&intake, 1).await;
    assert_eq!(secret(&world.api).unwrap()["data"]["site.key"], "eA==");
    assert_eq!(fetch(&world.api).unwrap().0.roots().count(), 1);
    // Put right, it is used again without a new start.
    let key = json!({"data": {"site.key": made["data"]["site.key"]}});
    world.api.edit("kubectl", "secrets", NAMESPACE, "krs-site-key", &key);
    until(&world, |receipt| receipt.roots().count() == 3).await;
    // The receipt can be read before its writer knows that all was written.
    until_failing(&intake, 0).await;
    assert_eq!(index(&world.api).unwrap()["data"]["site.pub"], public.as_str());
    intake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_of_300_sets_with_10_images_is_read_from_several_config_maps() {
    let world = site();
    let mut intake = world.start();
    intake.stock(|_| true).await;
    let set = |n: usize| {
        let name = SetName { namespace: "apps".to_owned(), name: format!("set-{n}") };
        (name, Arc::new(having(10 * n..10 * n + 10)))
    };
    intake
        .demand
        .send_replace(Arc::new(RequiredImages { complete: true, sets: (0..300).map(set).collect() }));
    let (receipt, _) = until(&world, |receipt| receipt.roots().count() == 3000).await;
    assert_eq!(receipt.registries[0].repositories.len(), 3000);
    intake.stop().await;
}

/// Parts of a receipt of this many bytes.
fn signed(letter: &str, bytes: usize) -> SignedReceipt {
    let json = letter.repeat(bytes);
    SignedReceipt {
        site: "berlin".parse().unwrap(),
        created_at: jiff::Timestamp::UNIX_EPOCH,
        digest: Digest::of(json.as_bytes()),
        json,
        signature: "signature".to_owned(),
        public_key: "key".to_owned(),
        short: String::new(),
    }
}

async fn read(api: &FakeApi) -> Option<String> {
    let maps = ReceiptMaps::new(api.client(), NAMESPACE);
    let index = maps.index().await.unwrap()?;
    maps.read(&index).await.unwrap()
}

#[tokio::test]
async fn t291_a_receipt_that_is_written_in_part_is_never_read() {
    let api = FakeApi::default();
    let maps = ReceiptMaps::new(api.client(), NAMESPACE);
    let (old, new) = (signed("a", MAX_PART + 1), signed("b", 2 * MAX_PART));
    maps.write(&old).await.unwrap();
    let before = api.snapshot();
    let (mut ends, mut steps) = (0, 0);
    for n in 0..7 {
        for fault in [Fault::Before(n), Fault::After(n)] {
            api.restore(before.clone());
            api.fail(Some(fault));
            let written = maps.write(&new).await;
            api.fail(None);
            steps += 1;
            let found = read(&api).await.unwrap();
            assert!(found == old.json || found == new.json, "{fault:?}");
            if written.is_ok() {
                ends += 1;
                assert_eq!(found, new.json);
            }
            maps.write(&new).await.unwrap();
            assert_eq!(read(&api).await.unwrap(), new.json);
            assert_eq!(api.count("configmaps", |_| true), 3, "the index and two parts: {fault:?}");
        }
    }
    assert!(ends > 0 && steps > ends, "some of {steps} writes fail: {ends} do not");
}
