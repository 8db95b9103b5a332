// SPDX-License-Identifier: Apache-2.0
//! Makes the golden files of a version: run with the code of that version (see `testdata/golden/README.md`).

use camino::{Utf8Path, Utf8PathBuf};
use krs_testing::image::{
    Image, ImageBuilder, cosign_signature, cosign_tag, helm_chart, index, sbom, signature,
};
use krs_testing::registry::{Matcher, Options, What};

use crate::harness::Site;

fn image(name: &str, platform: &str, seed: u64) -> Image {
    let shared = vec![b's'; 3000];
    ImageBuilder::new(name).platform(platform).layer(shared).layer_random(1500, seed).build()
}

/// The set names an image by its tag alone, an index of two platforms with all kinds of referrers, and a chart.
pub(super) fn site() -> Site {
    let mut site = Site::with(Options { referrers_api: true, ..Options::default() });
    fill(&mut site);
    site.commit();
    site
}

/// Its images, without a commit.
pub(super) fn fill(site: &mut Site) {
    let platforms = ["linux/amd64", "linux/arm64", "linux/arm/v6", "linux/arm/v7"];
    let images =
        (10..).zip(platforms).map(|(seed, platform)| image("web", platform, seed)).collect::<Vec<_>>();
    let web = index(&images.iter().zip(platforms.map(Some)).collect::<Vec<_>>());
    let amd64 = &images[0];
    site.add(&web, "team/web", "1.0");
    sbom(&web).push_to(&site.source, "team/web", None);
    signature(amd64).push_to(&site.source, "team/web", None);
    let tag = cosign_tag(&web.digest, "sig");
    cosign_signature(&web).push_to(&site.source, "team/web", Some(&tag));
    image("api", "linux/amd64", 4).push_to(&site.source, "team/api", Some("1.0"));
    site.name("team/api:1.0");
    site.add(&helm_chart("shop", "0.3.0"), "charts/shop", "0.3.0");
}

fn keep(site: &Site, to: &Utf8Path, names: &[&str]) {
    for name in names {
        std::fs::copy(site.desk.path(name), to.join(name)).unwrap();
    }
}

#[test]
#[ignore = "writes testdata/golden/$KRS_GOLDEN with this version of krs"]
fn make() {
    let version = std::env::var("KRS_GOLDEN").expect("KRS_GOLDEN names the version");
    let to = Utf8PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/golden")).join(version);
    std::fs::create_dir_all(&to).unwrap();
    let mut site = site();
    site.desk.keygen("ci");
    let signed = ["--key", "ci.key"];
    let with = |more: &[&'static str]| [&signed, more].concat();

    let full = ["--stream", "prod", "--sequence", "7", "--audience", "berlin", "--not-after", "2999-01-01"];
    site.bundle("full.krs.tar", &with(&full)).ok();
    site.bundle("unsigned.krs.tar", &["--referrers", "none"]).ok();
    site.bundle("platform.krs.tar", &with(&["--platform", "linux/arm,linux/amd64"])).ok();
    keep(&site, &to, &["ci.pub", "full.krs.tar", "unsigned.krs.tar", "platform.krs.tar"]);

    // A second version of an image, against a receipt and a bundle.
    site.push("full.krs.tar", &[]).ok();
    let edge = site.edge.host().to_string();
    let set = site.checkout.path().to_string();
    site.desk.krs(&["receipt", &edge, "--set", &set, "-o", "plain.receipt.json"]).ok();
    site.desk
        .krs(&["receipt", &edge, "--set", &set, "--site", "berlin", "--probe", "-o", "site.receipt.json"])
        .ok();
    let second = ImageBuilder::new("web").layer(vec![b's'; 3000]).layer_random(900, 9).build();
    site.add(&second, "team/web", "2.0");
    site.commit();
    let against = ["--against", "site.receipt.json", "--against", "full.krs.tar", "--stream", "prod"];
    site.bundle("delta.krs.tar", &with(&[&against[..], &["--sequence", "8"]].concat())).ok();
    keep(&site, &to, &["plain.receipt.json", "site.receipt.json", "delta.krs.tar"]);

    let large = ImageBuilder::new("large").layer(vec![b'l'; 150_000]).build();
    site.add(&large, "team/large", "1.0");
    site.commit();
    site.bundle("volumes.krs.tar", &with(&["--volume-size", "64KiB"])).ok();
    let volumes = site.desk.files().into_iter().filter(|name| name.starts_with("volumes."));
    keep(&site, &to, &volumes.collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>());

    // An image whose last layer never comes: first the run ends, then it keeps going without the image.
    let (digest, _) = large.blobs.last().unwrap();
    site.source.fail(Matcher::blobs().path(digest), What::Status(404, Vec::new(), String::new()));
    assert_ne!(site.bundle("begun.krs.tar", &["--retries", "0"]).code, 0);
    keep(&site, &to, &["begun.krs.tar.part", "begun.krs.tar.journal"]);
    site.name("team/gone:1.0");
    site.commit();
    assert_eq!(site.bundle("missing.krs.tar", &with(&["--keep-going"])).code, 6);
    keep(&site, &to, &["missing.krs.tar"]);
}
