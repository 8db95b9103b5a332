// SPDX-License-Identifier: Apache-2.0
//! What this version writes is read by a released one, whose program is `$KRS_RELEASED`: without `--format-version` where it
//! has nothing that is new, and with `--format-version 1` in any case. That both write the same bytes is tested in `written`.

use krs_testing::image::{ImageBuilder, index, signature};
use krs_testing::registry::{Options, Registry};
use serde_json::Value;

use super::make::site;
use crate::harness::{Outcome, Site};

/// The released version, at the desk of a site.
struct Released<'a> {
    program: String,
    site: &'a Site,
    edge: Registry,
}

impl<'a> Released<'a> {
    fn at(site: &'a Site) -> Self {
        let program = std::env::var("KRS_RELEASED").expect("KRS_RELEASED is the path of a released krs");
        Self { program, site, edge: Registry::start(Options { sparse_indexes: true, ..Options::default() }) }
    }

    fn krs(&self, arguments: &[&str]) -> Outcome {
        self.site.desk.krs_of(&self.program, arguments)
    }

    /// Verifies, inspects and pushes a bundle with it. That ends with 6 where the bundle does not have an image.
    fn accepts(&self, bundle: &str, more: &[&str], code: i32) -> Value {
        // The first state of 0.1 ended with 0 there.
        let accepted = |outcome: Outcome| {
            assert!([0, code].contains(&outcome.code), "{bundle}: {outcome}");
            outcome
        };
        accepted(self.krs(&[&["verify", bundle], more].concat()));
        let facts = accepted(self.krs(&["inspect", bundle, "--format", "json"])).json();
        assert_eq!(facts["formatVersion"], 1, "{bundle}: {facts}");
        let edge = self.edge.host().to_string();
        let pushed = self.krs(&[&["push", bundle, &edge], more].concat());
        assert_eq!(pushed.code, code, "{bundle}: {pushed}");
        facts
    }
}

const KEY: [&str; 2] = ["--public-key", "ci.pub"];

#[test]
#[ignore = "needs the program of a released version in $KRS_RELEASED"]
fn what_needs_nothing_new_is_accepted_as_it_is() {
    let mut site = site();
    site.desk.keygen("ci");
    site.bundle("full.krs.tar", &["--key", "ci.key", "--stream", "prod", "--sequence", "7"]).ok();
    let old = Released::at(&site);
    let facts = old.accepts("full.krs.tar", &KEY, 0);
    assert_eq!((&facts["imageCount"], &facts["sequence"]), (&3.into(), &7.into()), "{facts}");

    let (edge, set) = (old.edge.host().to_string(), site.checkout.path().to_string());
    let receipt = ["receipt", &edge, "--set", &set, "--site", "berlin", "--probe", "-o", "site.receipt.json"];
    site.desk.krs(&receipt).ok();
    // The released version makes its delta against the receipt, as this version does against its own.
    let plan = ["plan", &set, "--against", "site.receipt.json", "--format", "json"];
    let (theirs, ours) = (old.krs(&plan).ok().json(), site.desk.krs(&plan).ok().json());
    assert!(theirs["base"]["layers"].as_u64() >= Some(5), "{theirs}");
    assert_eq!(theirs["base"]["layers"], ours["base"]["layers"]);
    drop(old);

    let second = ImageBuilder::new("web").layer(vec![b's'; 3000]).layer_random(900, 9).build();
    site.add(&second, "team/web", "2.0");
    site.commit();
    let against = ["--against", "site.receipt.json", "--against", "full.krs.tar", "--key", "ci.key"];
    site.bundle("delta.krs.tar", &against).ok();
    site.bundle("volumes.krs.tar", &["--key", "ci.key", "--volume-size", "64KiB"]).ok();
    let old = Released::at(&site);
    old.accepts("full.krs.tar", &KEY, 0);
    let facts = old.accepts("delta.krs.tar", &KEY, 0);
    assert!(facts["base"]["layers"].as_u64() > Some(4), "{facts}");
    old.accepts("volumes.krs.tar.001", &KEY, 0);
    old.krs(&["verify", "volumes.krs.json", KEY[0], KEY[1]]).ok();
}

#[test]
#[ignore = "needs the program of a released version in $KRS_RELEASED"]
fn what_is_new_is_left_out_for_version_1() {
    let mut site = site();
    site.desk.keygen("ci");
    // A child that says no variant, beside one that does, and a signature that never comes.
    let arm = |variant: &str, seed| {
        ImageBuilder::new("any").platform(variant).layer(vec![b's'; 3000]).layer_random(700, seed).build()
    };
    let children = [arm("linux/arm/v7", 31), arm("linux/arm", 32), arm("linux/amd64", 33)];
    let any = index(&children.iter().map(|image| (image, None)).collect::<Vec<_>>());
    site.add(&any, "team/any", "1.0");
    let seal = signature(&any);
    seal.push_to(&site.source, "team/any", None);
    assert!(site.source.delete_blob(&seal.blobs.last().unwrap().0));
    site.commit();

    let version_1 = ["--key", "ci.key", "--format-version", "1"];
    let full = ["--stream", "prod", "--audience", "berlin", "--not-after", "2999-01-01"];
    for (file, more) in [
        ("full.krs.tar", &full[..]),
        ("platform.krs.tar", &["--platform", "linux/amd64"]),
        ("volumes.krs.tar", &["--volume-size", "64KiB"]),
        ("delta.krs.tar", &["--against", "full.krs.tar"]),
    ] {
        let made = site.bundle(file, &[&version_1[..], more].concat()).ok();
        assert!(made.err.contains("needs format version 2"), "{file}: {made}");
        let old = Released::at(&site);
        if file == "delta.krs.tar" {
            old.accepts("full.krs.tar", &KEY, 0);
        }
        let first = if file == "volumes.krs.tar" { "volumes.krs.tar.001" } else { file };
        let facts = old.accepts(first, &KEY, 0);
        assert_eq!(facts["imageCount"], 4, "{file}: {facts}");
    }

    // Version 1 would have both variants and the child without one, and its readers expect that.
    let meant_otherwise = [&version_1[..], &["--platform", "linux/arm,linux/amd64"]].concat();
    site.bundle("refused.krs.tar", &meant_otherwise).failed(2, &["needs format version 2"]);

    // An image that the registry has lost a blob of is what a receipt of version 2 lists.
    let old = Released::at(&site);
    old.accepts("full.krs.tar", &KEY, 0);
    assert!(old.edge.delete_blob(&children[0].blobs.last().unwrap().0));
    let (edge, set) = (old.edge.host().to_string(), site.checkout.path().to_string());
    let receipt = ["receipt", &edge, "--set", &set, "-o", "old.receipt.json", "--format-version", "1"];
    let outcome = site.desk.krs(&receipt).ok();
    assert!(outcome.err.contains("needs format version 2"), "{outcome}");
    old.krs(&["plan", &set, "--against", "old.receipt.json"]).ok();
    drop(old);

    site.name("team/gone:1.0");
    site.commit();
    assert_eq!(site.bundle("missing.krs.tar", &[&version_1[..], &["--keep-going"]].concat()).code, 6);
    let facts = Released::at(&site).accepts("missing.krs.tar", &KEY, 6);
    assert_eq!(facts["missing"].as_array().map(Vec::len), Some(1), "{facts}");
}
