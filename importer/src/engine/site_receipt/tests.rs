// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used)]
use super::*;
use krs_core::sync::receipt::{MAX_RECEIPT_PART, RefusedBundle};
use std::sync::Arc;

use crate::engine::receipt_parts::split;
use crate::model::required_images::{SetDemand, SetName};
use crate::model::site_content::{PresentImage, SetContent, SetImages};

fn site() -> SiteName {
    "berlin".parse().unwrap()
}

fn present(repository: &str, digest: Digest, tags: &[&str], platforms: &[&str]) -> PresentImage {
    let root = SiteRoot {
        digest,
        platforms: platforms.iter().map(|platform| platform.parse().unwrap()).collect(),
        reference: format!("registry.example.com/{repository}:1").parse().unwrap(),
        tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
    };
    PresentImage { repository: repository.parse().unwrap(), root }
}

fn awaited(reference: &str) -> AwaitedImage {
    AwaitedImage { platforms: Vec::new(), reference: reference.parse().unwrap() }
}

fn demand(sets: &[(&str, &SetImages)]) -> RequiredImages {
    let set = |(name, images): &(&str, &SetImages)| {
        let name = SetName { namespace: "apps".to_owned(), name: (*name).to_owned() };
        (name, Arc::new(SetDemand { content: SetContent::new(images), ..SetDemand::default() }))
    };
    RequiredImages { complete: true, sets: sets.iter().map(set).collect() }
}

fn at(registry: &str, present: Vec<PresentImage>, awaited: Vec<AwaitedImage>) -> SetImages {
    SetImages { registry: Some(registry.parse().unwrap()), present, awaited, refuses_sparse_index: false }
}

fn bundle(stream: &str, sequence: u64) -> ImportedBundle {
    ImportedBundle {
        created_at: Timestamp::UNIX_EPOCH,
        digest: Digest::of(format!("{stream}{sequence}").as_bytes()),
        sequence,
        stream: stream.parse().unwrap(),
    }
}

fn outcomes(imported: &[ImportedBundle]) -> BundleOutcomes {
    BundleOutcomes {
        imported: imported.to_vec(),
        refused: Vec::new(),
        listed: imported.iter().map(|bundle| bundle.digest).collect(),
        ..BundleOutcomes::default()
    }
}

fn receipt(
    demand: &RequiredImages,
    bundles: &BundleOutcomes,
    previous: Option<&SiteReceipt>,
    second: i64,
) -> SiteReceipt {
    let now = Timestamp::from_second(second).unwrap();
    let receipt =
        site_receipt(ReceiptInputs { site: &site(), now, tool: "krs-importer/1", demand, bundles, previous });
    // Whatever it is made of: the connected side reads it.
    assert_eq!(SiteReceipt::parse(&receipt.encode().unwrap()).unwrap(), receipt);
    receipt
}

#[test]
fn what_sets_share_is_in_the_receipt_once_and_what_differs_is_told_apart() {
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    let a = at(
        "edge.local:5000",
        vec![
            present("shop/web", one, &["1", "latest"], &[]),
            present("shop/api", two, &["1"], &["linux/amd64"]),
        ],
        vec![awaited("example.com/late:1")],
    );
    let b = at(
        "edge.local:5000",
        vec![
            present("shop/web", one, &["stable"], &[]),
            present("shop/api", two, &["1"], &["linux/amd64", "linux/arm64"]),
        ],
        vec![awaited("example.com/late:1")],
    );
    let c = SetImages {
        refuses_sparse_index: true,
        ..at("other.local", vec![present("shop/web", one, &["1"], &[])], Vec::new())
    };
    let d = SetImages { registry: None, ..SetImages::default() };
    let demand = demand(&[("a", &a), ("b", &b), ("c", &c), ("d", &d)]);
    let receipt = receipt(&demand, &outcomes(&[]), None, 1);
    assert_eq!(receipt.awaited, [awaited("example.com/late:1")]);
    let registries = receipt.registries.iter().map(|registry| registry.registry.as_str());
    assert_eq!(registries.collect::<Vec<_>>(), ["edge.local:5000", "other.local"]);
    assert_eq!(
        receipt.registries.iter().map(|r| r.abilities.sparse_index).collect::<Vec<_>>(),
        [None, Some(false)]
    );
    let roots = receipt.roots().map(|(registry, repository, root)| {
        let tags = root.tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(",");
        format!("{registry} {repository} {} {tags}", root.platforms.len())
    });
    let expected = [
        "edge.local:5000 shop/api 1 1",
        "edge.local:5000 shop/api 2 1",
        "edge.local:5000 shop/web 0 1,latest,stable",
        "other.local shop/web 0 1",
    ];
    assert_eq!(roots.collect::<Vec<_>>(), expected);
}

#[test]
fn only_the_time_does_not_make_another_receipt() {
    let a = at("edge.local", vec![present("web", Digest::of(b"1"), &["1"], &[])], Vec::new());
    let (some, none) = (demand(&[("a", &a)]), demand(&[]));
    let first = receipt(&some, &outcomes(&[]), None, 1);
    assert!(is_same_content(&first, &receipt(&some, &outcomes(&[]), Some(&first), 2)));
    assert!(!is_same_content(&first, &receipt(&none, &outcomes(&[]), Some(&first), 2)));
    assert!(!is_same_content(&first, &receipt(&some, &outcomes(&[bundle("prod", 1)]), Some(&first), 2)));
}

#[test]
fn the_newest_bundle_of_a_stream_outlives_its_image_bundle_and_no_verdict_of_another_one() {
    let none = demand(&[]);
    let first =
        receipt(&none, &outcomes(&[bundle("prod", 7), bundle("prod", 8), bundle("test", 1)]), None, 1);
    let imported = |receipt: &SiteReceipt| {
        let all = receipt.imported.iter().map(|bundle| format!("{}{}", bundle.stream, bundle.sequence));
        all.collect::<Vec<_>>().join(" ")
    };
    let later = receipt(&none, &outcomes(&[bundle("test", 2)]), Some(&first), 2);
    assert_eq!(imported(&later), "prod8 test1 test2");
    // An ImageBundle says that it is no longer imported: what the last receipt said does not count.
    let lost = BundleOutcomes { listed: [bundle("prod", 8).digest].into(), ..outcomes(&[]) };
    assert_eq!(imported(&receipt(&none, &lost, Some(&first), 2)), "test1");
    // After a start it is not known yet.
    let open = [bundle("prod", 7).digest, bundle("prod", 9).digest];
    let open = BundleOutcomes { listed: open.into(), undecided: open.into(), ..outcomes(&[]) };
    assert_eq!(imported(&receipt(&none, &open, Some(&first), 2)), "prod7 prod8 test1");
    let other = SiteReceipt { site: "paris".parse().unwrap(), ..first };
    assert_eq!(imported(&receipt(&none, &outcomes(&[]), Some(&other), 2)), "", "it is of another site");
}

#[test]
fn there_is_one_short_receipt_for_each_stream_and_a_long_name_costs_only_its_own() {
    let key = krs_core::bundle::sign::generate(None).unwrap();
    let key = SecretKey::parse(key.secret.expose(), None, "k").unwrap();
    let long = "x".repeat(63);
    let bundles = outcomes(&[bundle("prod", 7), bundle("prod", 8), bundle("test", 1), bundle(&long, 1)]);
    let receipt = receipt(&demand(&[]), &bundles, None, 1_800_000_000);
    let receipt = SiteReceipt { site: "y".repeat(63).parse().unwrap(), ..receipt };
    let (short, failed) = short_receipts(&receipt, &key);
    let short = short.iter().map(|short| short.to_string().parse::<ShortReceipt>().unwrap());
    let short = short.map(|short| format!("{}{}", short.content().stream, short.content().sequence));
    let (short, failed) = (short.collect::<Vec<_>>(), failed.len());
    assert_eq!(short[..2], ["prod8", "test1"]);
    assert_eq!(short.len() + failed, 3);
}

#[test]
fn a_site_with_300_sets_of_10_images_has_a_receipt_of_few_parts() {
    const SETS: usize = 300;
    const IMAGES: usize = 10;
    const BLOBS: usize = 12;
    let set = |set: usize| {
        let image = |image: usize| {
            let digest = Digest::of(format!("{set} {image}").as_bytes());
            let repository = format!("mirror/team-{set}/component-{image}");
            let mut found = present(&repository, digest, &["1.24.3-alpine"], &["linux/amd64"]);
            found.root.reference =
                format!("registry.example.com/team-{set}/component-{image}:1.24.3-alpine@{digest}")
                    .parse()
                    .unwrap();
            found
        };
        at("edge.local:5000", (0..IMAGES).map(image).collect(), Vec::new())
    };
    let sets = (0..SETS).map(|n| (format!("set-{n}"), set(n))).collect::<Vec<_>>();
    let sets = sets.iter().map(|(name, set)| (name.as_str(), set)).collect::<Vec<_>>();
    let receipt = receipt(&demand(&sets), &outcomes(&[bundle("prod", 1)]), None, 1);
    assert_eq!(receipt.roots().count(), SETS * IMAGES);
    let text = String::from_utf8(receipt.encode().unwrap()).unwrap();
    let parts = split(&text);
    assert!(
        parts.iter().all(|part| part.len() <= MAX_RECEIPT_PART) && parts.len() >= 2,
        "{} bytes",
        text.len()
    );
    // The digests of the blobs alone would be longer.
    assert!(text.len() * 2 < SETS * IMAGES * BLOBS * 64, "{} bytes", text.len());
}

#[test]
fn lists_without_end_are_bounded() {
    let references = (0..MAX_AWAITED + 5).map(|n| awaited(&format!("example.com/app-{n}:1")));
    let waiting = at("edge.local", Vec::new(), references.collect());
    let refused = (0..MAX_REFUSED + 5).map(|n| RefusedBundle {
        file: format!("{n:05}.krs.tar"),
        message: "it is damaged".to_owned(),
        reason: "Damaged".to_owned(),
        sequence: None,
        stream: None,
    });
    let bundles = BundleOutcomes { refused: refused.collect(), ..outcomes(&[]) };
    let receipt = receipt(&demand(&[("a", &waiting)]), &bundles, None, 1);
    assert_eq!((receipt.awaited.len(), receipt.refused.len()), (MAX_AWAITED, MAX_REFUSED));
}
