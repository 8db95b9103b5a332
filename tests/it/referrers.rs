// SPDX-License-Identifier: Apache-2.0
//! Signatures, SBOMs and attestations: which travel, what is said of the others, and how they are found at the edge.

use std::collections::BTreeMap;

use krs_core::digest::Digest;
use krs_core::resolve::{ImageError, LeftBehind, Referrers};
use krs_testing::image::{
    Image, ImageBuilder, cosign_signature, cosign_tag, index, referrers_index, referrers_tag, sbom, signature,
};
use krs_testing::registry::Options;

use crate::harness::{Site, client};

const SPDX: &str = "application/spdx+json";
const SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const DSSE: &str = "application/vnd.dsse.envelope.v1+json";

fn app() -> Image {
    ImageBuilder::new("app").layer_random(5_000, 1).build()
}

/// What cosign puts under a tag, of layers of this type.
fn tagged(image: &Image, layer: &str) -> Image {
    ImageBuilder::new("cosign").layer_type(layer).layer(format!("{layer} of {}", image.digest)).build()
}

/// A signed image with a signed SBOM, both by OCI 1.1, and a signature and an attestation under cosign's tags.
fn signed() -> (Site, Image) {
    let mut site = Site::new();
    let image = app();
    site.add(&image, "team/app", "1.0");
    let bill = sbom(&image);
    for referrer in [&bill, &signature(&image), &signature(&bill)] {
        referrer.push_to(&site.source, "team/app", None);
    }
    cosign_signature(&image).push_to(&site.source, "team/app", Some(&cosign_tag(&image.digest, "sig")));
    tagged(&image, DSSE).push_to(&site.source, "team/app", Some(&cosign_tag(&image.digest, "att")));
    (site, image)
}

fn types(types: &[&str]) -> Referrers {
    Referrers::Types(types.iter().map(|&of| of.to_owned()).collect())
}

fn counted(left: &LeftBehind) -> BTreeMap<&str, usize> {
    left.by_type.iter().map(|(kind, digests)| (kind.as_str(), digests.len())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn t50_the_chosen_types_travel_and_the_others_are_named() {
    let (mut site, image) = signed();
    for (choice, travel, left) in [
        (Referrers::All, 5, vec![]),
        // The signature of the SBOM is looked for, as the SBOM travels; it is of another type.
        (types(&[SPDX]), 1, vec![(SIGNATURE, 2), (SIMPLE_SIGNING, 1), (DSSE, 1)]),
        (types(&[SPDX, SIGNATURE]), 3, vec![(SIMPLE_SIGNING, 1), (DSSE, 1)]),
        // What refers to what stays behind stays behind with it.
        (types(&[SIGNATURE]), 1, vec![(SPDX, 1), (SIMPLE_SIGNING, 1), (DSSE, 1)]),
        (
            types(&["Application/vnd.DSSE.envelope.v1+json"]),
            1,
            vec![(SPDX, 1), (SIGNATURE, 1), (SIMPLE_SIGNING, 1)],
        ),
    ] {
        site.referrers = choice.clone();
        let (_, resolved) = site.resolve(&client()).await.unwrap();
        assert_eq!(resolved.images[0].referrers.len(), travel, "{choice:?}");
        assert_eq!(counted(&resolved.left_behind), BTreeMap::from_iter(left), "{choice:?}");
        assert!(!resolved.left_behind.unasked);
    }
    site.referrers = types(&[SIMPLE_SIGNING]);
    let (bundle, images) = site.open("x.krs.tar").await;
    site.push(&bundle, &images).await.unwrap();
    let tags = site.edge.tags("team/app");
    assert_eq!(tags, ["1.0".to_owned(), cosign_tag(&image.digest, "sig")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_referrers_are_wanted_none_are_asked_for_and_that_is_said() {
    let (mut site, _) = signed();
    site.referrers = Referrers::None;
    let (_, resolved) = site.resolve(&client()).await.unwrap();
    assert!(resolved.images[0].referrers.is_empty() && resolved.left_behind.unasked);
    let asked = site.source.requests().into_iter().map(|request| request.path).collect::<Vec<_>>();
    assert!(asked.iter().all(|path| !path.contains("referrers") && !path.contains("sha256-")), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t50_all_three_of_cosigns_tags_travel_also_those_of_one_platform() {
    let mut site = Site::new();
    let amd64 = app();
    let arm64 = ImageBuilder::new("app").layer_random(5_000, 2).platform("linux/arm64").build();
    let both = index(&[(&amd64, Some("linux/amd64")), (&arm64, Some("linux/arm64"))]);
    site.add(&both, "team/app", "1.0");
    let mut expected = BTreeMap::from([("1.0".to_owned(), both.digest)]);
    for subject in [&both, &arm64] {
        for (suffix, layer) in [("sig", SIMPLE_SIGNING), ("att", DSSE), ("sbom", "text/spdx+json")] {
            let (referrer, tag) = (tagged(subject, layer), cosign_tag(&subject.digest, suffix));
            referrer.push_to(&site.source, "team/app", Some(&tag));
            expected.insert(tag, referrer.digest);
        }
    }
    let (bundle, images) = site.open("x.krs.tar").await;
    site.push(&bundle, &images).await.unwrap();
    let arrived = site.edge.tags("team/app").into_iter();
    let arrived = arrived.map(|tag| (tag.clone(), site.edge.digest("team/app", &tag).unwrap()));
    assert_eq!(arrived.collect::<BTreeMap<_, _>>(), expected);
}

async fn found_at_the_edge(site: &Site, subject: &Digest) -> Vec<Digest> {
    let edge = client().repository(&site.edge.host(), &"team/app".parse().unwrap());
    let mut found = edge.referrers(subject).await.unwrap().iter().map(|d| d.digest).collect::<Vec<_>>();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn t50_t66_referrers_go_between_registries_with_and_without_the_api_both_ways() {
    for (from, to) in [(true, false), (false, true)] {
        let options = |referrers_api| Options { referrers_api, ..Options::default() };
        let mut site = Site::with(options(from), options(to));
        let image = app();
        site.add(&image, "team/app", "1.0");
        let (bill, seal) = (sbom(&image), signature(&image));
        let sealed_bill = signature(&bill);
        for referrer in [&bill, &seal, &sealed_bill] {
            referrer.push_to(&site.source, "team/app", None);
        }
        if !from {
            for (subject, list) in [(&image, vec![&bill, &seal]), (&bill, vec![&sealed_bill])] {
                let tag = referrers_tag(&subject.digest);
                referrers_index(&list).push_to(&site.source, "team/app", Some(&tag));
            }
        }
        let (bundle, images) = site.open("x.krs.tar").await;
        site.push(&bundle, &images).await.unwrap();
        let mut expected = vec![bill.digest, seal.digest];
        expected.sort();
        assert_eq!(found_at_the_edge(&site, &image.digest).await, expected, "API {from} -> {to}");
        assert_eq!(found_at_the_edge(&site, &bill.digest).await, [sealed_bill.digest], "API {from} -> {to}");
        let has_list = site.edge.tags("team/app").contains(&referrers_tag(&image.digest));
        assert_eq!(has_list, !to, "a list under a tag only where there is no API");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t50_what_somebody_else_attached_at_the_edge_stays_attached() {
    let mut site = Site::with(Options::default(), Options { referrers_api: false, ..Options::default() });
    let image = app();
    site.add(&image, "team/app", "1.0");
    sbom(&image).push_to(&site.source, "team/app", None);
    // Approved at the edge, before the bundle came.
    let approval =
        ImageBuilder::new("approval").artifact_type("application/vnd.site.approval").subject(&image);
    let approval = approval.layer("yes").build();
    approval.push_to(&site.edge, "team/app", None);
    referrers_index(&[&approval]).push_to(&site.edge, "team/app", Some(&referrers_tag(&image.digest)));
    let (bundle, images) = site.open("x.krs.tar").await;
    site.push(&bundle, &images).await.unwrap();
    let mut expected = vec![sbom(&image).digest, approval.digest];
    expected.sort();
    assert_eq!(found_at_the_edge(&site, &image.digest).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_that_refer_to_each_other_without_end_are_refused_not_cut_off() {
    let mut site = Site::new();
    let image = app();
    site.add(&image, "team/app", "1.0");
    let mut last = image;
    for _ in 0..9 {
        last = signature(&last);
        last.push_to(&site.source, "team/app", None);
    }
    let errors = site.resolve(&client()).await.unwrap_err();
    assert!(matches!(errors.0[..], [(_, ImageError::ReferrerDepth)]), "{errors}");
}
