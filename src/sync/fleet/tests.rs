// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used)]

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::oci::digest::Digest;
use crate::sync::catalog::{BundleLayers, BundleLine, Confirmation, ImageLine, LayersOfImage, LinePosition};
use crate::sync::receipt::{
    ImportedBundle, Origin, RegistryCapabilities, SiteReceipt, SiteRegistry, SiteRepository, SiteRoot,
};

const NOW: &str = "2026-11-27T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn days_ago(days: i64) -> Timestamp {
    now() - SignedDuration::from_hours(24 * days)
}

fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

/// A bundle with images of one layer each; the layer of image `n` has `n` bytes.
fn bundle(sequence: u64, audience: &[&str], images: &[u64]) -> (BundleLine, Vec<ImageLine>, BundleLayers) {
    let line = BundleLine {
        audience: audience.iter().map(|site| (*site).to_owned()).collect(),
        bytes: 10_240,
        digest: digest(&format!("bundle {sequence} {audience:?}")),
        file: format!("prod-{sequence}.krs.tar"),
        position: LinePosition { number: sequence, offset: sequence * 1000 },
        sent_at: days_ago(100 - i64::try_from(sequence).unwrap()),
        sequence,
        stream: "prod".parse().unwrap(),
    };
    let image = |n: &u64| ImageLine { digest: digest(&format!("image {n}")), platforms: vec![] };
    let layers = BundleLayers {
        images: (0..).zip(images).map(|(at, n)| of_image(at, *n)).collect(),
        layers: images.iter().map(|n| (digest(&format!("layer {n}")), *n)).collect(),
        other_bytes: 7,
    };
    (line, images.iter().map(image).collect(), layers)
}

fn of_image(position: u32, n: u64) -> LayersOfImage {
    LayersOfImage {
        digest: digest(&format!("image {n}")),
        layers: vec![position],
        platforms: vec![],
        reference: format!("registry.example.com/shop/app{n}:1.0").parse().unwrap(),
    }
}

fn receipt(site: &str, days: i64, sequence: Option<u64>, registries: &[&[u64]]) -> SiteWord {
    let mut receipt = SiteReceipt::empty(site.parse().unwrap(), days_ago(days), "test".to_owned());
    receipt.imported = sequence
        .map(|sequence| ImportedBundle {
            created_at: days_ago(days),
            digest: bundle(sequence, &[], &[]).0.digest,
            sequence,
            stream: "prod".parse().unwrap(),
        })
        .into_iter()
        .collect();
    let root = |n: &u64| SiteRoot {
        digest: digest(&format!("image {n}")),
        platforms: vec![],
        reference: format!("registry.example.com/shop/app{n}:1.0").parse().unwrap(),
        tags: vec![],
    };
    let registry = |(at, images): (usize, &&[u64])| SiteRegistry {
        abilities: RegistryCapabilities::default(),
        registry: format!("edge{at}.local:5000").parse().unwrap(),
        repositories: vec![SiteRepository {
            name: "shop".parse().unwrap(),
            roots: images.iter().map(root).collect(),
        }],
    };
    receipt.registries = registries.iter().enumerate().map(registry).collect();
    SiteWord::of_site(&receipt, &Origin::NotSigned, format!("{site}.receipt.json"))
}

fn confirmation(site: &str, days: i64, of: &BundleLine) -> Confirmation {
    Confirmation {
        created_at: days_ago(days),
        digest: of.digest,
        format_version: 1,
        reads: 2,
        received_at: now(),
        sequence: of.sequence,
        signed_by: Some("E7F0151D0A2E74AE".to_owned()),
        site: site.parse().unwrap(),
        stream: of.stream.clone(),
    }
}

fn fleet(
    words: Vec<SiteWord>,
    bundles: &[(BundleLine, Vec<ImageLine>, BundleLayers)],
    confirmations: Vec<Confirmation>,
) -> Fleet {
    let mut fleet = Fleet::new(None);
    words.into_iter().for_each(|word| fleet.insert(word));
    bundles.iter().for_each(|(line, images, _)| fleet.insert_bundle(line.clone(), images));
    confirmations.into_iter().for_each(|one| fleet.insert_confirmation(one));
    for position in fleet.needed() {
        let (.., layers) = bundles.iter().find(|(line, ..)| line.position == position).unwrap();
        fleet.insert_layers(position, layers);
    }
    fleet
}

fn stream<'a>(status: &'a FleetStatus, site: &str) -> &'a SiteStream {
    &status.sites.iter().find(|of| of.site == site).unwrap().streams[0]
}

#[test]
fn what_a_site_gets_is_the_newest_bundle_without_what_it_has() {
    let bundles = [bundle(1, &[], &[100, 200]), bundle(2, &[], &[100, 250, 3000]), bundle(3, &["kiel"], &[])];
    let words = vec![
        receipt("berlin", 1, Some(1), &[&[100, 200]]),
        receipt("kiel", 1, Some(3), &[&[]]),
        // In a bundle of which nothing else is needed, and one that the catalog does not know.
        receipt("ulm", 1, None, &[&[250, 999]]),
    ];
    let status = fleet(words.clone(), &bundles[..2], vec![]).status(now(), 0);
    assert_eq!(stream(&status, "berlin").next.as_ref().map(|next| next.bytes), Some(7 + 250 + 3000));
    assert_eq!(stream(&status, "ulm").next.as_ref().map(|next| next.bytes), Some(7 + 100 + 3000));
    assert!(status.sites[2].remarks[0].starts_with("1 of its images"), "{:?}", status.sites[2].remarks);
    assert_eq!(status.streams[0].full_bytes, 7 + 100 + 250 + 3000);
    let kiel = stream(&status, "kiel");
    assert_eq!(
        (kiel.current, &kiel.next),
        (Some(true), &None),
        "it confirmed a newer one than the catalog has"
    );
    // An empty bundle is the newest.
    let status = fleet(words, &bundles, vec![]).status(now(), 0);
    assert_eq!(stream(&status, "berlin").next.as_ref().map(|next| next.bytes), Some(7));
    assert_eq!(status.streams[0].current_sites, 1);
}

#[test]
fn of_several_words_of_a_site_the_newest_counts() {
    let bundles = [bundle(1, &[], &[100, 200]), bundle(2, &[], &[100, 200, 300])];
    let next = |words: Vec<SiteWord>, confirmations: Vec<Confirmation>| {
        let status = fleet(words, &bundles, confirmations).status(now(), 0);
        let of = stream(&status, "berlin");
        let against = status.sites[0].against.clone();
        (of.confirmed.as_ref().map(|one| one.sequence), of.next.as_ref().map(|next| next.bytes), against)
    };
    let file = || vec!["berlin.receipt.json".to_owned()];
    let one = || confirmation("berlin", 3, &bundles[0].0);
    let catalog = vec!["catalog:berlin".to_owned()];
    assert_eq!(next(vec![], vec![one()]), (Some(1), Some(307), catalog));
    // The site was restored from nothing after it had confirmed a bundle.
    assert_eq!(next(vec![receipt("berlin", 1, None, &[&[]])], vec![one()]), (None, Some(607), file()));
    let words = || vec![receipt("berlin", 2, None, &[&[100]]), receipt("berlin", 5, Some(1), &[&[]])];
    assert_eq!(next(words(), vec![one()]), (None, Some(507), file()));
    let status = fleet(words(), &bundles, vec![]).status(now(), 0);
    assert_eq!(status.sites[0].older_receipts, 1);
    // What was confirmed after the receipt was made is there besides.
    let both = [file(), vec!["catalog:berlin".to_owned()]].concat();
    assert_eq!(next(vec![receipt("berlin", 5, None, &[&[]])], vec![one()]), (Some(1), Some(307), both));
}

#[test]
fn what_was_sent_and_never_confirmed_is_named_for_its_sites_only() {
    let bundles =
        [bundle(1, &["berlin"], &[1]), bundle(2, &["berlin", "kiel"], &[1]), bundle(3, &["kiel"], &[1])];
    let status = fleet(vec![], &bundles, vec![confirmation("berlin", 1, &bundles[0].0)]).status(now(), 0);
    let sequences = |site: &str| {
        let bundles = &stream(&status, site).unconfirmed.bundles;
        bundles.iter().map(|bundle| bundle.sequence).collect::<Vec<_>>()
    };
    assert_eq!(sequences("berlin"), [2]);
    assert_eq!(sequences("kiel"), [3, 2], "a site of which nothing came back is shown too");
    let kiel = &status.sites[1];
    assert_eq!((kiel.created_at, kiel.against.len()), (None, 0));
    let lost = confirmation("ulm", 1, &bundle(9, &[], &[]).0);
    let status = fleet(vec![], &bundles, vec![lost]).status(now(), 0);
    assert!(status.sites[2].remarks[0].contains("does not have the bundle that it confirmed"));
}

#[test]
fn a_layer_counts_if_each_registry_that_gets_the_images_has_it() {
    let bundles = [bundle(1, &[], &[100, 200])];
    let next = |registries: &[&[u64]]| {
        let status = fleet(vec![receipt("berlin", 1, None, registries)], &bundles, vec![]).status(now(), 0);
        stream(&status, "berlin").next.as_ref().map(|next| next.bytes)
    };
    assert_eq!(next(&[&[100, 200]]), Some(7));
    assert_eq!(next(&[&[100, 200], &[100]]), Some(207));
    assert_eq!(next(&[&[100, 200], &[500]]), Some(7), "the second registry gets other images");
    assert_eq!(next(&[]), Some(307));
}

#[test]
fn sites_share_a_bundle_where_it_is_hardly_larger_than_each_of_theirs() {
    let bundles = [bundle(1, &[], &[1000, 90, 5000])];
    let words = vec![
        receipt("berlin", 1, None, &[&[5000]]),
        receipt("kiel", 1, None, &[&[90, 5000]]),
        receipt("ulm", 1, None, &[&[1000]]),
    ];
    let groups = |overhead| {
        let status = fleet(words.clone(), &bundles, vec![]).status(now(), overhead);
        let group = |of: &GroupStatus| (of.sites.join(" "), of.bytes, of.separate_bytes);
        status.streams[0].groups.iter().map(group).collect::<Vec<_>>()
    };
    let ulm = ("ulm".to_owned(), 5097, 5097);
    assert_eq!(groups(10), [ulm, ("berlin kiel".to_owned(), 1097, 1097 + 1007)]);
    assert_eq!(groups(600), [("berlin kiel ulm".to_owned(), 6097, 5097 + 1097 + 1007)]);
}

#[test]
fn sites_of_which_nothing_is_known_share_a_full_bundle_and_cost_no_other_site_its_delta() {
    let bundles = [bundle(1, &["berlin", "kiel", "ulm"], &[100])];
    let status = fleet(vec![receipt("berlin", 1, None, &[&[]])], &bundles, vec![]).status(now(), 10);
    let groups = &status.streams[0].groups;
    let group = |of: &GroupStatus| (of.sites.join(" "), of.against.join(" "));
    let groups = groups.iter().map(group).collect::<Vec<_>>();
    let known = ("berlin".to_owned(), "berlin.receipt.json".to_owned());
    assert_eq!(groups, [known, ("kiel ulm".to_owned(), String::new())]);
}

proptest! {
    #[test]
    fn a_group_is_never_lighter_than_its_heaviest_site_and_no_site_is_lost(
        sizes in prop::collection::vec(0_u64..1_000_000, 0..150),
        missing in prop::collection::vec(prop::collection::vec(0_usize..150, 0..80), 0..40),
        fixed in 0_u64..1000,
        overhead in 0_u32..200,
    ) {
        let set = |layers: &Vec<usize>| {
            let mut set = LayerSet::empty(sizes.len());
            layers.iter().for_each(|layer| set.insert(*layer));
            set
        };
        let sets = missing.iter().map(set).collect::<Vec<_>>();
        let weigh = |set: &LayerSet| {
            let known = (0..sizes.len()).filter(|layer| set.contains(*layer));
            known.map(|layer| sizes[layer]).sum::<u64>() + fixed
        };
        let groups = group(&sizes, fixed, &sets, overhead);
        let mut sites = groups.iter().flat_map(|group| group.sites.clone()).collect::<Vec<_>>();
        sites.sort_unstable();
        prop_assert_eq!(sites, (0..sets.len()).collect::<Vec<_>>());
        for group in &groups {
            let mut all = LayerSet::empty(sizes.len());
            group.sites.iter().for_each(|site| all.unite(&sets[*site]));
            let single = group.sites.iter().map(|site| weigh(&sets[*site])).collect::<Vec<_>>();
            let largest = single.iter().copied().max().unwrap();
            prop_assert_eq!(group.bytes, weigh(&all));
            let smallest = single.iter().copied().min().unwrap();
            prop_assert_eq!(group.separate_bytes, single.iter().sum::<u64>());
            let limit = smallest + smallest * u64::from(overhead) / 100;
            prop_assert!(largest <= group.bytes && group.bytes <= limit);
        }
        for pair in groups.iter().enumerate().flat_map(|(n, a)| groups[n + 1..].iter().map(move |b| (a, b))) {
            let same = pair.0.sites.iter().any(|a| pair.1.sites.iter().any(|b| sets[*a] == sets[*b]));
            prop_assert!(!same, "sites that miss the same are in one group");
        }
        prop_assert_eq!(groups, group(&sizes, fixed, &sets, overhead));
    }
}
