// SPDX-License-Identifier: Apache-2.0
//! Three rounds with three sites, each with an importer, a registry and media of its own: Berlin returns its drives and is
//! restored from nothing, Kiel's receipt is fetched from its cluster and one of its drives is lost, and from Munich come lines
//! of text only. Every byte on the drives and into the registries is counted, against full bundles.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use camino::Utf8Path;
use krs_core::bundle::{Bundle, Policy};
use krs_core::oci::digest::Digest;
use krs_testing::image::{Image, ImageBuilder};
use krs_testing::registry::Registry;
use serde_json::{Value, json};

use crate::edge::Edge;
use crate::harness::{
    all, apply, cluster, condition, krs, kubectl, try_krs, try_run, wait_for, wait_not_ready, wait_ready,
};
use crate::receipts::{RECEIPT, fetch, index};
use crate::site::{CHART, Site, allow_receipts, insert, install, uninstall, wipe};
use crate::source::{Ci, namespace, reference, registry, set};

const STREAM: &str = "e15";
const APPS: [&str; 2] = ["web", "store"];
/// The code of krs for a signature that does not fit.
const TRUST: i32 = 3;

/// A version of an application: a large layer that stays, and a small one that changes.
fn version(app: &str, number: u64) -> Image {
    let seed = app.len() as u64;
    ImageBuilder::new(app)
        .gzip()
        .layer_random(2 << 20, seed)
        .layer_random(30_000, 100 * seed + number)
        .build()
}

/// Digests of the large layers.
fn large_layers() -> BTreeSet<Digest> {
    APPS.iter().map(|app| version(app, 1).blobs[1].0).collect()
}

/// Digests of the small layers of these versions.
fn small_layers(numbers: &[u64]) -> BTreeSet<Digest> {
    let versions = APPS.iter().flat_map(|app| numbers.iter().map(move |number| version(app, *number)));
    versions.map(|image| image.blobs[2].0).collect()
}

/// What a registry takes of these versions: each layer and config in one repository, with its bytes.
fn uploads(numbers: &[u64]) -> BTreeMap<String, u64> {
    let mut expected = BTreeMap::new();
    for (app, number) in APPS.iter().flat_map(|app| numbers.iter().map(move |number| (app, *number))) {
        for (digest, content) in version(app, number).blobs {
            expected.insert(format!("shop/{app}@{digest}"), content.len() as u64);
        }
    }
    expected
}

/// A site: its cluster, which is a namespace here, its registry, and its USB port.
struct RemoteSite {
    name: &'static str,
    namespace: String,
    edge: Edge,
    port: PathBuf,
    /// When the registry was started.
    start: Instant,
}

impl RemoteSite {
    /// A site without content. What one of this name had is deleted: importer, key, sets, registry, and drives.
    fn start(name: &'static str, key: &str) -> Self {
        let namespace_name = format!("e15-{name}");
        delete(&namespace_name);
        namespace(&namespace_name);
        let port = cluster().node.as_ref().expect("KRS_E2E_NODE").join(&namespace_name);
        std::fs::create_dir_all(&port).unwrap();
        wipe(&port);
        allow_receipts(&port);
        let (edge, start) = (Edge::start(name), Instant::now());
        let values = json!({
            "site": name,
            "watchNamespaces": [namespace_name],
            "crds": {"enabled": false},
            "allowedDestinations": [edge.host()],
            "dropFolder": {"node": {"path": port}},
            "receipts": {"toMedia": name == "berlin"},
        });
        install(Path::new(CHART), &namespace_name, &[key], &values);
        Self { name, namespace: namespace_name, edge, port, start }
    }

    /// A drive arrives.
    fn insert(&self, bundle: &Utf8Path) {
        insert(&self.port, bundle);
    }

    /// The drive goes back, when the importer says that it may. Answers the bytes that it carries in addition to the bundle.
    fn return_drive(&self, sequence: u64, to: &Utf8Path) -> u64 {
        wait_for(&format!("the drive with sequence {sequence} may be pulled"), RECEIPT, || {
            let bundles = all("imagebundles", "");
            let bundle = bundles.iter().find(|bundle| {
                bundle["metadata"]["labels"]["kuberegistrysync.io/importer"] == self.namespace.as_str()
                    && bundle["status"]["sequence"] == sequence
            })?;
            (condition(bundle, "SafeToRemove")?.0 == "True").then_some(())
        });
        let (from, to) = (self.port.join("KRS-RECEIPTS"), to.join("KRS-RECEIPTS"));
        wipe(to.as_std_path());
        std::fs::create_dir_all(&to).unwrap();
        let mut bytes = 0;
        for entry in std::fs::read_dir(from).unwrap().flatten() {
            bytes += std::fs::copy(entry.path(), to.as_std_path().join(entry.file_name())).unwrap();
        }
        wipe(&self.port);
        bytes
    }

    /// Waits until the receipt in the cluster says that the bundle was imported.
    fn wait_receipt(&self, sequence: u64) {
        let wanted = format!(":{STREAM}:{sequence}:");
        wait_for(&format!("{}'s receipt has sequence {sequence}", self.name), RECEIPT, || {
            index(&self.namespace)?["data"]["short"].as_str()?.contains(&wanted).then_some(())
        });
    }

    /// The public half of the site's key.
    fn key(&self) -> String {
        index(&self.namespace).unwrap()["data"]["site.pub"].as_str().unwrap().to_owned()
    }

    /// Fails unless each blob of these versions was sent once and nothing else. Answers the bytes of these, and those that
    /// arrived.
    fn count(&self, numbers: &[u64]) -> (u64, u64) {
        let (mut sent, expected) = (self.edge.blobs(""), uploads(numbers));
        sent.sort();
        assert_eq!(sent, expected.keys().cloned().collect::<Vec<_>>(), "{}", self.name);
        let content = expected.values().sum::<u64>();
        let received = self.edge.received();
        // Beside the content: manifests, queries and headers; and each second probes and checks of what is present.
        let most = content * 11 / 10 + (128 << 10) + 2048 * self.start.elapsed().as_secs();
        assert!(content < received && received < most, "{received} for {content}, expected less than {most}");
        (content, received)
    }

    /// Every image of these versions, pulled.
    fn pull(&self, numbers: &[u64]) {
        for (app, number) in APPS.iter().flat_map(|app| numbers.iter().map(move |number| (app, *number))) {
            let (repository, image) = (format!("shop/{app}"), version(app, number));
            self.edge.must_have(&repository, &number.to_string(), &image);
            self.edge.pull(&repository, &image);
        }
    }

    fn end(&self) {
        self.edge.delete();
        delete(&self.namespace);
        kubectl(&["delete", "namespace", &self.namespace]);
    }
}

/// Deletes an importer with all that it wrote. Of its namespace, nothing is left that matters.
fn delete(importer: &str) {
    uninstall(importer);
    let label = format!("kuberegistrysync.io/importer={importer}");
    kubectl(&["delete", "imagebundles", "-l", &label]);
    for what in ["secrets", "configmaps", "edgeimagesets"] {
        try_run("kubectl", &["delete", what, "--all", "-n", importer], None);
    }
}

/// The connected side, and what travelled.
struct Headquarters {
    ci: Ci,
    source: Registry,
    versions: Vec<u64>,
    /// Bytes on all drives, and those of full bundles in their place.
    drives: (u64, u64),
    /// Bytes that came back.
    returned: u64,
}

impl Headquarters {
    /// Publishes a version of each application, and commits it for all sites.
    fn publish(&mut self, number: u64, sites: &[RemoteSite]) {
        self.versions.push(number);
        for app in APPS {
            version(app, number).push_to(&self.source, &format!("shop/{app}"), Some(&number.to_string()));
        }
        let sets = sites.iter().map(|site| self.set(site)).collect::<Vec<_>>();
        self.ci.commit(&sets);
    }

    fn set(&self, site: &RemoteSite) -> Value {
        let images = APPS.iter().flat_map(|app| self.versions.iter().map(move |number| (app, *number)));
        let images = images.map(|(app, number)| {
            reference(&self.source, &format!("shop/{app}"), &number.to_string(), &version(app, number))
        });
        let (access, _) = site.edge.access(&site.namespace);
        set(&site.namespace, "shop", site.edge.host().as_str(), &images.collect::<Vec<_>>(), &access)
    }

    /// Makes the bundle of a round for some sites, a drive for each, which has these layers and no others; and the full one
    /// that would be made without receipts.
    fn bundle(
        &mut self,
        name: &str,
        audience: &[&str],
        against: &[&str],
        layers: &BTreeSet<Digest>,
    ) -> camino::Utf8PathBuf {
        let (number, audience_list) = (*self.versions.last().unwrap(), audience.join(","));
        let full_name = format!("{name}-full");
        let common = ["--audience", &audience_list];
        let full = self.ci.bundle(&full_name, STREAM, number, &self.source, &common);
        let mut more = [&common[..], &["--catalog", "c.jsonl"]].concat();
        let (keys, values) = (self.site_keys(), against.iter().flat_map(|value| ["--against", value]));
        more.extend(values);
        more.extend(keys.iter().map(String::as_str));
        let file = self.ci.bundle(name, STREAM, number, &self.source, &more);
        let opened = Bundle::open(&file, &Policy::default()).unwrap();
        let blobs = &opened.manifest().blobs;
        let known = large_layers().union(&small_layers(&[1, 2, 3])).copied().collect::<BTreeSet<_>>();
        let found = blobs.iter().map(|blob| blob.digest).filter(|digest| known.contains(digest));
        assert_eq!(found.collect::<BTreeSet<_>>(), *layers, "{name}");
        let content = blobs.iter().map(|blob| blob.size).sum::<u64>();
        let of_layers =
            blobs.iter().filter(|blob| layers.contains(&blob.digest)).map(|blob| blob.size).sum::<u64>();
        let (size, full) = (opened.size(), full.metadata().unwrap().len());
        println!(
            "{name}: {size} bytes for each of {audience_list}: {of_layers} of layers, {} of manifests and configs, {} of the \
             archive; a full bundle has {full}",
            content - of_layers,
            size - content
        );
        assert!(size - content < 64 << 10, "{name}: {size} for {content}");
        self.drives.0 += audience.len() as u64 * size;
        self.drives.1 += audience.len() as u64 * full;
        file
    }

    /// The keys of the sites that are known, as arguments.
    fn site_keys(&self) -> Vec<String> {
        let is_known = |name: &&str| self.ci.path().join(format!("{name}.pub")).exists();
        let known = ["berlin", "kiel", "munich"].into_iter().filter(is_known);
        known.flat_map(|name| ["--site-key".to_owned(), format!("{name}={name}.pub")]).collect()
    }

    fn learn_key(&self, site: &RemoteSite) {
        std::fs::write(self.ci.path().join(format!("{}.pub", site.name)), site.key()).unwrap();
    }

    /// Takes what came back from a site into the catalog.
    fn record(&self, receipt: &str) {
        let keys = self.site_keys();
        let arguments = ["catalog", "add", "c.jsonl", receipt];
        krs(
            self.ci.path(),
            &arguments.into_iter().chain(keys.iter().map(String::as_str)).collect::<Vec<_>>(),
        );
    }

    /// What each site says after the bundle of a round was imported, on its way.
    fn hear(&mut self, site: &RemoteSite, sequence: u64) {
        let path = self.ci.path().to_owned();
        let (receipt, bytes) = match site.name {
            "berlin" => ("usb".to_owned(), site.return_drive(sequence, &path.join("usb"))),
            "munich" => {
                site.wait_receipt(sequence);
                let text = fetch(&path, &site.namespace, &["--short", "--stream", STREAM]).trim().to_owned();
                assert!(text.len() <= 300, "{text}");
                let bytes = text.len() as u64;
                (text, bytes)
            }
            name => {
                site.wait_receipt(sequence);
                (format!("{name}.receipt.json"), self.fetch(site))
            }
        };
        self.returned += bytes;
        if sequence == 1 {
            self.learn_key(site);
        }
        self.record(&receipt);
    }

    /// Fetches the receipt of a site whose cluster is reached. Answers its bytes, with the signature.
    fn fetch(&self, site: &RemoteSite) -> u64 {
        let file = self.ci.path().join(format!("{}.receipt.json", site.name));
        fetch(self.ci.path(), &site.namespace, &["-o", file.as_str()]);
        let signature = format!("{file}.minisig");
        file.metadata().unwrap().len() + std::fs::metadata(signature).unwrap().len()
    }

    /// By site: the confirmed sequence, how many bundles were sent since, and whether the word was verified.
    fn fleet(&self) -> BTreeMap<String, (Option<u64>, u64, bool)> {
        let text = krs(self.ci.path(), &["fleet", "status", "c.jsonl", "--format", "json"]);
        let status = serde_json::from_str::<Value>(&text).unwrap();
        let sites = status["sites"].as_array().unwrap().iter().map(|site| {
            let stream = &site["streams"][0];
            let name = site["site"].as_str().unwrap().to_owned();
            let sent = stream["unconfirmed"]["count"].as_u64().unwrap();
            (name, (stream["confirmed"]["sequence"].as_u64(), sent, site["verified"] == true))
        });
        sites.collect()
    }
}

#[test]
fn e15_three_sites_go_round_three_times_with_a_lost_drive_a_restored_site_and_lines_of_text() {
    let start = Instant::now();
    let ci = Ci::new();
    // Brings the CRDs; serves no namespace of this test.
    let _other = Site::new(&[&ci.public_key()], &json!({"watchNamespaces": ["edge"]}));
    let key = ci.public_key();
    let mut sites = std::thread::scope(|scope| {
        let starts = ["berlin", "kiel", "munich"].map(|name| scope.spawn(|| RemoteSite::start(name, &key)));
        starts.map(|site| site.join().unwrap())
    });
    let source = registry(None, false);
    let mut hq = Headquarters { ci, source, versions: Vec::new(), drives: (0, 0), returned: 0 };
    let everyone = ["berlin", "kiel", "munich"];
    let confirmed = |sequence, sent| (Some(sequence), sent, true);
    println!("sites: {} s", start.elapsed().as_secs());

    // Round 1: nobody has anything.
    hq.publish(1, &sites);
    let every_layer = |numbers: &[u64]| large_layers().union(&small_layers(numbers)).copied().collect();
    let first = hq.bundle("r1", &everyone, &[], &every_layer(&[1]));
    for site in &sites {
        apply(&hq.set(site));
        site.insert(&first);
    }
    sites.iter().for_each(|site| drop(wait_ready(&site.namespace, "shop")));
    sites.iter().for_each(|site| hq.hear(site, 1));
    assert_eq!(hq.drives.0, hq.drives.1);
    println!("round 1: {} s", start.elapsed().as_secs());

    // Round 2: one bundle for all. The drive to Kiel is lost; Kiel has no more than its receipt says.
    hq.publish(2, &sites);
    let against = ["usb", "kiel.receipt.json", "catalog:munich"];
    let second = hq.bundle("r2", &everyone, &against, &small_layers(&[2]));
    sites.iter().for_each(|site| apply(&hq.set(site)));
    for site in [&sites[0], &sites[2]] {
        site.insert(&second);
        wait_ready(&site.namespace, "shop");
    }
    wait_not_ready(&sites[1].namespace, "shop", "WaitingForBundle");
    hq.hear(&sites[0], 2);
    let mut wire = vec![("berlin, before", sites[0].count(&[1, 2]))];
    let old_key = sites[0].key();
    // Berlin is restored from nothing, and nobody says so.
    sites[0] = std::thread::scope(|scope| {
        let restored = scope.spawn(|| RemoteSite::start("berlin", &key));
        hq.hear(&sites[2], 2);
        let expected = [("berlin", confirmed(2, 0)), ("kiel", confirmed(1, 1)), ("munich", confirmed(2, 0))];
        assert_eq!(hq.fleet(), expected.map(|(name, state)| (name.to_owned(), state)).into());
        restored.join().unwrap()
    });
    println!("round 2: {} s", start.elapsed().as_secs());

    // Round 3: the bundle for all makes up for Kiel's lost drive. Berlin refuses it, and its registry gets nothing of it.
    hq.publish(3, &sites);
    let third = hq.bundle("r3", &everyone, &against, &small_layers(&[2, 3]));
    for site in &sites {
        apply(&hq.set(site));
        site.insert(&third);
    }
    sites[1..].iter().for_each(|site| drop(wait_ready(&site.namespace, "shop")));
    let message = wait_not_ready(&sites[0].namespace, "shop", "BaseMissing");
    assert!(sites[0].edge.blobs("").is_empty(), "{message}");
    // Its receipt says that it has nothing, and is signed with a key that nobody has told the connected side.
    wait_for("the restored site's receipt", RECEIPT, || index(&sites[0].namespace));
    assert_ne!(sites[0].key(), old_key);
    hq.returned += hq.fetch(&sites[0]);
    let refused = ["catalog", "add", "c.jsonl", "berlin.receipt.json", "--site-key", "berlin=berlin.pub"];
    assert_eq!(try_krs(hq.ci.path(), &refused).status.code(), Some(TRUST));
    hq.learn_key(&sites[0]);
    let again = hq.bundle("r3-berlin", &["berlin"], &["berlin.receipt.json"], &every_layer(&[1, 2, 3]));
    sites[0].insert(&again);
    wait_ready(&sites[0].namespace, "shop");
    sites.iter().for_each(|site| hq.hear(site, 3));
    println!("round 3: {} s", start.elapsed().as_secs());

    // Every image is at every site, and went there once.
    wire.extend(sites.iter().map(|site| (site.name, site.count(&[1, 2, 3]))));
    for (name, (content, received)) in &wire {
        println!("into the registry of {name}: {content} bytes of blobs, each once; {received} on the wire");
    }
    sites.iter().for_each(|site| site.pull(&[1, 2, 3]));
    let expected = everyone.map(|name| (name.to_owned(), confirmed(3, 0)));
    assert_eq!(hq.fleet(), expected.into());
    let (drives, full) = hq.drives;
    println!("on the drives: {drives} bytes, in place of {full}; {} came back", hq.returned);
    println!("took {} s", start.elapsed().as_secs());
    assert!(drives * 2 < full, "{drives} of {full}");
    assert!(hq.returned * 100 < drives, "{} for {drives}", hq.returned);
    sites.iter().for_each(RemoteSite::end);
}
