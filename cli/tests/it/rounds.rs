// SPDX-License-Identifier: Apache-2.0
//! The loop, three times with three sites: one loses a drive, one is restored from nothing, and one returns short receipts
//! only. Every byte on the drives and on the way into the registries is counted, against full bundles.

use krs_testing::image::{Image, ImageBuilder};
use krs_testing::registry::{Options, Registry};

use crate::harness::Site;

/// A version of an application: a large layer that stays, and a small one that changes.
fn version(name: &str, number: u64) -> Image {
    ImageBuilder::new(name).layer_random(3 << 20, 1).layer_random(30_000, number + 100).build()
}

/// The connected side, and what travelled.
struct Loop {
    site: Site,
    edges: Vec<(&'static str, Registry)>,
    drives: u64,
    full: u64,
}

impl Loop {
    fn new() -> Self {
        let site = Site::with_three_images();
        site.desk.krs(&["keygen", "-o", "munich", "--no-passphrase"]).ok();
        let edges = ["berlin", "kiel", "munich"].map(|name| (name, Registry::start(Options::default())));
        Self { site, edges: edges.into(), drives: 0, full: 0 }
    }

    fn edge(&self, name: &str) -> &Registry {
        &self.edges.iter().find(|(edge, _)| *edge == name).unwrap().1
    }

    fn size(&self, file: &str) -> u64 {
        self.site.desk.path(file).metadata().unwrap().len()
    }

    /// Makes the bundle of a round for some sites, and the full one that would be made without receipts.
    fn bundle(&mut self, sequence: u64, file: &str, audience: &str, against: &[&str]) {
        let number = sequence.to_string();
        let common = ["--stream", "prod", "--sequence", &number, "--audience", audience];
        let mut arguments = [&common[..], &["--catalog", "c.jsonl"]].concat();
        arguments.extend(against.iter().flat_map(|value| ["--against", value]));
        self.site.bundle(file, &arguments).ok();
        self.site.bundle("full.krs.tar", &common).ok();
        // A drive for each site.
        let drives = audience.split(',').count() as u64;
        self.drives += drives * self.size(file);
        self.full += drives * self.size("full.krs.tar");
    }

    /// The drive arrives at a site, which answers as it can.
    fn arrives(&self, name: &str, file: &str) {
        let edge = self.edge(name).host().to_string();
        self.site.desk.krs(&["push", file, &edge, "--audience", name]).ok();
        self.answers(name, file);
    }

    fn answers(&self, name: &str, file: &str) {
        let edge = self.edge(name).host().to_string();
        let receipt = format!("{name}.receipt.json");
        if name == "munich" {
            let short = ["receipt", &edge, "--set", file, "--short", "--site", name, "--key", "munich.key"];
            let text = self.site.desk.krs(&short).ok().out;
            let add = ["catalog", "add", "c.jsonl", text.trim(), "--site-key", "munich=munich.pub"];
            self.site.desk.krs(&add).ok();
        } else {
            self.site.desk.krs(&["receipt", &edge, "--set", file, "--site", name, "-o", &receipt]).ok();
        }
    }

    fn update(&mut self, number: u64) {
        for name in ["web", "api"] {
            self.site.add(&version(name, number), &format!("team/{name}"), &format!("{number}.0"));
        }
        self.site.commit();
    }

    /// A site has the images of these versions, with the digests of the source.
    fn has(&self, name: &str, numbers: &[u64]) {
        for (app, number) in ["web", "api"].iter().flat_map(|app| numbers.iter().map(move |n| (app, n))) {
            let (repository, tag) = (format!("team/{app}"), format!("{number}.0"));
            let digest = self.edge(name).digest(&repository, &tag);
            assert_eq!(digest, self.site.source.digest(&repository, &tag), "{name} {repository}:{tag}");
        }
    }
}

#[test]
fn three_rounds_with_a_lost_drive_a_restored_site_and_short_receipts() {
    let mut all = Loop::new();
    // Round 1: nobody has anything.
    all.bundle(1, "r1.krs.tar", "berlin,kiel,munich", &[]);
    ["berlin", "kiel", "munich"].iter().for_each(|name| all.arrives(name, "r1.krs.tar"));
    assert_eq!(all.drives, all.full);

    // Round 2: one bundle for all. The drive to Kiel is lost; Kiel has no more than its receipt says.
    all.update(2);
    let receipts = ["berlin.receipt.json", "kiel.receipt.json", "catalog:munich"];
    all.bundle(2, "r2.krs.tar", "berlin,kiel,munich", &receipts);
    ["berlin", "munich"].iter().for_each(|name| all.arrives(name, "r2.krs.tar"));
    all.has("berlin", &[2]);
    all.has("munich", &[2]);
    assert_eq!(all.edge("kiel").digest("team/web", "2.0"), None);

    // Round 3: Berlin is restored from nothing. Its receipt says so, and it gets everything again; Kiel and Munich share a
    // bundle of what one of them does not have.
    all.update(3);
    let berlin = all.edges.iter_mut().find(|(name, _)| *name == "berlin").unwrap();
    berlin.1 = Registry::start(Options::default());
    all.answers("berlin", "r2.krs.tar");
    all.bundle(3, "r3-berlin.krs.tar", "berlin", &["berlin.receipt.json"]);
    all.bundle(3, "r3.krs.tar", "kiel,munich", &["kiel.receipt.json", "catalog:munich"]);
    all.arrives("berlin", "r3-berlin.krs.tar");
    ["kiel", "munich"].iter().for_each(|name| all.arrives(name, "r3.krs.tar"));
    ["berlin", "kiel", "munich"].iter().for_each(|name| all.has(name, &[2, 3]));

    // Each layer went into each registry once. Seen: 13.8 MB on the drives in place of 30.1 MB, and 3.3 MB into each registry.
    let shown = all.site.desk.krs(&["catalog", "show", "c.jsonl", "--format", "json"]).ok().json();
    let confirmed = |at: usize| shown["bundles"][at]["confirmedBy"].as_array().unwrap().len();
    assert_eq!([confirmed(0), confirmed(1), confirmed(2), confirmed(3)], [1, 1, 0, 1], "{shown}");
    let sent = |name: &str| all.edge(name).requests().iter().map(|request| request.bytes_in).sum::<u64>();
    let wire = ["berlin", "kiel", "munich"].map(|name| (name, sent(name)));
    assert!(all.size("r2.krs.tar") < 300_000 && all.size("r3.krs.tar") < 400_000);
    assert!(all.size("r3-berlin.krs.tar") >= all.size("full.krs.tar"));
    assert!(wire.iter().all(|(_, bytes)| *bytes < all.size("full.krs.tar") * 11 / 10), "{wire:?}");
    assert!(all.drives * 10 < all.full * 7, "{} of {}", all.drives, all.full);
}
