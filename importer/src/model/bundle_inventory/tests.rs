// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used)]
use super::*;
use crate::model::readers::Readers;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// A bundle that was decided at a second and says that `app:1` is `content`.
fn bundle(stream: &str, sequence: u64, second: i64, content: &str) -> StockBundle {
    let name = format!("{stream}-{sequence}");
    StockBundle {
        stream: stream.parse().unwrap(),
        identity: Digest::of(name.as_bytes()),
        standing: MarkComparison::Current,
        sequence,
        digest: Digest::of(format!("bundle {name}").as_bytes()),
        created_at: at(second),
        present: true,
        ready: true,
        images: StockImages::from_iter([StockImage {
            reference: app(),
            digest: Digest::of(content.as_bytes()),
            platforms: Vec::new(),
            size: 1,
            contents: Vec::new(),
            partial: false,
            expected_in: Vec::new(),
            patches: None,
            readers: Readers::Any,
        }]),
        name,
    }
}

fn app() -> Reference {
    "quay.io/shop/app:1".parse().unwrap()
}

fn stock(bundles: &[StockBundle]) -> BundleInventory {
    BundleInventory { scanned: true, bundles: bundles.to_vec(), ..BundleInventory::default() }
}

/// The bundle that decides the tag now.
fn decides(stock: &BundleInventory, held: Option<&ResolvedTag>) -> Option<String> {
    match stock.resolve("shop", &app(), held) {
        TagResolution::New(answer) => Some(answer.bundle().name.clone()),
        _ => None,
    }
}

/// What a set holds after it used the answer of a bundle.
fn held(bundle: &StockBundle) -> ResolvedTag {
    let stock = stock(std::slice::from_ref(bundle));
    let TagResolution::New(answer) = stock.resolve("shop", &app(), None) else { panic!("it decides") };
    let used = UsedDecisions::of(&bundle.stream, &bundle.mark());
    answer.resolved(&used, at(0)).unwrap()
}

#[test]
fn t27_t158_a_tag_is_never_resolved_from_below_the_mark_and_digests_still_are() {
    let mut old = bundle("prod", 117, 1, "old");
    let new = bundle("prod", 118, 2, "new");
    assert_eq!(decides(&stock(&[old.clone(), new.clone()]), None).unwrap(), "prod-118");
    old.standing = MarkComparison::Superseded { by: 118 };
    let only = stock(std::slice::from_ref(&old));
    assert_eq!(only.resolve("shop", &app(), None), TagResolution::Unanswered);
    assert_eq!(only.resolve("shop", &app(), Some(&held(&new))), TagResolution::Unanswered);
    assert_eq!(only.superseded(&app()).count(), 1);
    assert!(only.find("shop", &Digest::of(b"old"), &[]).is_some(), "118 may be a delta whose base is 117");
    for standing in [
        MarkComparison::Reused { expected: Digest::of(b"x") },
        MarkComparison::Unknown { detail: "no mark".to_owned() },
    ] {
        old.standing = standing;
        assert_eq!(
            stock(std::slice::from_ref(&old)).resolve("shop", &app(), None),
            TagResolution::Unanswered
        );
    }
    let unchecked = StockBundle { ready: false, ..new };
    assert_eq!(
        stock(&[unchecked]).resolve("shop", &app(), None),
        TagResolution::Unanswered,
        "damage would stay"
    );
}

/// It is listed where a set waits for its media, and only for that.
#[test]
fn t251_a_bundle_whose_media_are_away_decides_no_tag() {
    let (old, new) = (bundle("prod", 117, 1, "old"), bundle("prod", 118, 2, "new"));
    let away = StockBundle { present: false, ..new.clone() };
    let both = stock(&[old, away]);
    for held in [None, Some(&held(&new))] {
        assert_eq!(decides(&both, held).unwrap(), "prod-117", "the mark was lowered");
    }
    assert!(both.find("shop", &Digest::of(b"new"), &[]).is_some(), "a set can say what to insert");
}

#[test]
fn t27_an_answer_is_kept_only_with_the_evidence_that_its_own_mark_was_raised() {
    let (old, new) = (bundle("prod", 117, 1, "old"), bundle("prod", 118, 2, "new"));
    let stock = stock(std::slice::from_ref(&new));
    let TagResolution::New(answer) = stock.resolve("shop", &app(), None) else { panic!("it decides") };
    assert_eq!(answer.resolved(&UsedDecisions::of(&old.stream, &old.mark()), at(0)), None);
    let other = StockBundle { identity: Digest::of(b"other"), ..new.clone() };
    assert_eq!(answer.resolved(&UsedDecisions::of(&new.stream, &other.mark()), at(0)), None);
    let kept = answer.resolved(&UsedDecisions::of(&new.stream, &new.mark()), at(0)).unwrap();
    assert_eq!(kept.digest, Digest::of(b"new"));
    assert_eq!(stock.resolve("shop", &app(), Some(&kept)), TagResolution::Unchanged);
}

#[test]
fn t129_sequences_of_different_streams_are_never_compared() {
    // A commit's time counts in one stream, a number by hand in the other.
    let (clock, hand) = (bundle("clock", 1_795_679_923, 1, "clock"), bundle("hand", 7, 2, "hand"));
    let both = stock(&[clock.clone(), hand.clone()]);
    assert_eq!(decides(&both, None).unwrap(), "hand-7", "it was decided later");
    let same = |bundle: &StockBundle| {
        let mut bundle = bundle.clone();
        let images = bundle.images.iter().cloned();
        bundle.images = images.map(|image| StockImage { digest: Digest::of(b"same"), ..image }).collect();
        bundle
    };
    let (found, _) = stock(&[same(&clock), same(&hand)])
        .find("shop", &Digest::of(b"same"), &[])
        .map(|(b, i)| (b.clone(), i.clone()))
        .unwrap();
    assert_eq!(found.name, "hand-7");
    // Its media go away: the other stream takes nothing back.
    let alone = stock(std::slice::from_ref(&clock));
    assert_eq!(alone.resolve("shop", &app(), Some(&held(&hand))), TagResolution::Unanswered);
    let later = bundle("clock", 1_795_679_999, 3, "later");
    assert_eq!(decides(&stock(&[clock, later]), Some(&held(&hand))).unwrap(), "clock-1795679999");
}

#[test]
fn within_a_stream_the_sequence_counts_whatever_the_clocks_of_senders_say() {
    let (old, new) = (bundle("prod", 117, 9, "old"), bundle("prod", 118, 2, "new"));
    let both = stock(&[old.clone(), new]);
    assert_eq!(decides(&both, None).unwrap(), "prod-118");
    assert_eq!(decides(&both, Some(&held(&old))).unwrap(), "prod-118");
    // Version 0.1 kept no bundle, and a registry names none: any bundle decides then.
    let registry = ResolvedTag { decided_by: None, ..held(&old) };
    assert_eq!(decides(&both, Some(&registry)).unwrap(), "prod-118");
    // A person lowered the mark: the older bundle counts again.
    assert_eq!(
        decides(&stock(std::slice::from_ref(&old)), Some(&held(&bundle("prod", 118, 9, "new")))).unwrap(),
        "prod-117"
    );
}

#[test]
fn an_image_is_copied_from_media_that_are_there_and_may_be_read() {
    let (old, mut new) = (bundle("prod", 117, 1, "app"), bundle("prod", 118, 2, "app"));
    let from = |bundles: &[StockBundle]| {
        let stock = stock(bundles);
        let (bundle, _) = stock.find("shop", &Digest::of(b"app"), &[]).unwrap();
        bundle.name.clone()
    };
    assert_eq!(from(&[old.clone(), new.clone()]), "prod-118");
    new.ready = false;
    assert_eq!(from(&[old.clone(), new.clone()]), "prod-117", "the newer one is being verified");
    (new.ready, new.present) = (true, false);
    assert_eq!(from(&[old.clone(), new.clone()]), "prod-117", "the media of the newer one are away");
    let away = StockBundle { present: false, ..old };
    assert_eq!(from(&[away, new]), "prod-118");
}
