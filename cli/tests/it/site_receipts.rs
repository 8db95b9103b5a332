// SPDX-License-Identifier: Apache-2.0
//! Receipts of sites and short receipts: what they confirm, what is left out because of them, and which are refused.

use jiff::{SignedDuration, Timestamp};
use krs_core::bundle::sign::SecretKey;
use krs_core::oci::digest::Digest;
use krs_core::sync::receipt::{
    ImportedBundle, RegistryCapabilities, ShortReceipt, ShortReceiptContent, SiteReceipt, SiteRegistry,
    SiteRepository, SiteRoot, sign_receipt,
};
use krs_testing::image::ImageBuilder;
use serde_json::Value;

use crate::harness::Site;

const FIRST: [&str; 6] = ["--stream", "prod", "--sequence", "1", "--catalog", "c.jsonl"];
const SECOND: [&str; 6] = ["--stream", "prod", "--sequence", "2", "--catalog", "c.jsonl"];

/// A site that has the first bundle, which the catalog records, and a checkout that asks for a second version of one image.
pub fn at_version_two() -> Site {
    let mut site = Site::with_three_images();
    site.bundle("v1.krs.tar", &FIRST).ok();
    site.push("v1.krs.tar", &[]).ok();
    let web =
        ImageBuilder::new("web").layer_random(3 << 20, 1).layer_random(40_000, 2).layer_random(7000, 77);
    site.add(&web.build(), "team/web", "2.0");
    site.commit();
    site.desk.krs(&["keygen", "-o", "berlin", "--no-passphrase"]).ok();
    site.desk.krs(&["keygen", "-o", "kiel", "--no-passphrase"]).ok();
    site
}

pub fn inspect(site: &Site, name: &str) -> Value {
    site.desk.krs(&["inspect", name, "--format", "json"]).ok().json()
}

/// What the importer of a site that has the first bundle would write.
pub fn receipt(site: &Site, name: &str) -> SiteReceipt {
    let made = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    let mut receipt = SiteReceipt::empty(name.parse().unwrap(), made, "test".to_owned());
    let facts = inspect(site, "v1.krs.tar");
    receipt.imported = vec![ImportedBundle {
        created_at: facts["createdAt"].as_str().unwrap().parse().unwrap(),
        digest: facts["digest"].as_str().unwrap().parse().unwrap(),
        sequence: 1,
        stream: "prod".parse().unwrap(),
    }];
    let repositories = ["api", "db", "web"].map(|name| {
        let digest = site.source.digest(&format!("team/{name}"), "1.0").unwrap();
        let reference = format!("{}/team/{name}:1.0@{digest}", site.source.host());
        let tags = vec!["1.0".parse().unwrap()];
        let root = SiteRoot { digest, platforms: vec![], reference: reference.parse().unwrap(), tags };
        SiteRepository { name: format!("team/{name}").parse().unwrap(), roots: vec![root] }
    });
    receipt.registries = vec![SiteRegistry {
        abilities: RegistryCapabilities::default(),
        // As the sets name it.
        registry: "edge.local:5000".parse().unwrap(),
        repositories: repositories.to_vec(),
    }];
    receipt
}

fn key(site: &Site, name: &str) -> SecretKey {
    let text = std::fs::read_to_string(site.desk.path(&format!("{name}.key"))).unwrap();
    SecretKey::parse(&text, None, name).unwrap()
}

/// Writes a receipt and its signature.
pub fn write(site: &Site, file: &str, receipt: &SiteReceipt, signer: &str) {
    let bytes = receipt.encode().unwrap();
    let signature = sign_receipt(&bytes, &receipt.site, &key(site, signer)).unwrap();
    site.desk.write(file, String::from_utf8(bytes).unwrap());
    site.desk.write(&format!("{file}.minisig"), signature);
}

pub fn short(site: &Site, name: &str, signer: &str, change: impl FnOnce(&mut ShortReceiptContent)) -> String {
    let receipt = receipt(site, name);
    let bundle = &receipt.imported[0];
    let mut content = ShortReceiptContent {
        site: receipt.site.clone(),
        stream: bundle.stream.clone(),
        sequence: bundle.sequence,
        digest: bundle.digest,
        created_at: receipt.created_at,
        reads: receipt.reads.bundle,
    };
    change(&mut content);
    ShortReceipt::sign(content, &key(site, signer)).unwrap().to_string()
}

fn second(site: &Site, file: &str, more: &[&str]) -> crate::harness::Outcome {
    site.bundle(file, &[&SECOND[..4], more].concat())
}

fn bytes(site: &Site, name: &str) -> Vec<u8> {
    std::fs::read(site.desk.path(name)).unwrap()
}

#[test]
fn a_site_that_names_its_images_gets_no_byte_of_their_layers_again() {
    let site = at_version_two();
    write(&site, "berlin.receipt.json", &receipt(&site, "berlin"), "berlin");
    second(&site, "full.krs.tar", &[]).ok();
    second(&site, "file.krs.tar", &["--against", "v1.krs.tar"]).ok();
    let signed = ["--against", "berlin.receipt.json", "--site-key", "berlin=berlin.pub"];
    // By the catalog, without the file of the first bundle, and by asking the source registry.
    let by_catalog = [&signed[..], &["--catalog", "c.jsonl"]].concat();
    for (name, arguments) in [("catalog.krs.tar", &by_catalog[..]), ("asked.krs.tar", &signed[..])] {
        let outcome = second(&site, name, arguments).ok();
        assert!(!outcome.other_warnings().contains("warning"), "{outcome}");
        let facts = inspect(&site, name);
        assert_eq!(facts["base"]["sources"][0]["name"], "site berlin");
        assert_eq!(facts["base"]["layers"], inspect(&site, "file.krs.tar")["base"]["layers"]);
        assert!(bytes(&site, name).len() < 60_000, "{}", bytes(&site, name).len());
    }
    site.push("asked.krs.tar", &[]).ok();
    site.arrived("team/web", "2.0");

    // Without a catalog, images that the source does not have any more travel again, and that is said.
    let mut receipt = receipt(&site, "berlin");
    let root = &mut receipt.registries[0].repositories[0].roots[0];
    root.digest = Digest::of(b"gone");
    root.reference.digest = Some(root.digest);
    write(&site, "berlin.receipt.json", &receipt, "berlin");
    second(&site, "x.krs.tar", &signed).ok().says(&["the layers of 1 image of site berlin are not known"]);
}

#[test]
fn where_the_destination_is_a_variable_each_registry_of_the_site_must_have_a_layer() {
    let mut site = at_version_two();
    let set = site.set().replace("edge.local:5000", "${REGISTRY}");
    site.checkout.write("sites/berlin.yaml", set);
    site.checkout.commit("Leave the registry to the site");
    let mut receipt = receipt(&site, "berlin");
    write(&site, "berlin.receipt.json", &receipt, "berlin");
    let against = ["--against", "berlin.receipt.json"];
    second(&site, "one.krs.tar", &against).ok();
    assert!(bytes(&site, "one.krs.tar").len() < 60_000);
    let mut other = receipt.registries[0].clone();
    other.registry = "other.local:5000".parse().unwrap();
    other.repositories.clear();
    receipt.registries.push(other);
    write(&site, "berlin.receipt.json", &receipt, "berlin");
    second(&site, "two.krs.tar", &against).ok();
    assert!(bytes(&site, "two.krs.tar").len() > 3_000_000, "the other registry has nothing");
}

#[test]
fn a_short_receipt_or_the_catalog_is_enough_for_the_next_delta() {
    let site = at_version_two();
    second(&site, "file.krs.tar", &["--against", "v1.krs.tar"]).ok();
    std::fs::rename(site.desk.path("v1.krs.tar"), site.desk.path("v1")).unwrap();
    std::fs::copy(site.desk.path("v1"), site.desk.path("v1.krs.tar")).unwrap();
    let text = short(&site, "berlin", "berlin", |_| ());
    assert!(text.len() <= 300, "{}", text.len());
    let keys = ["--site-key", "berlin=berlin.pub", "--catalog", "c.jsonl"];
    second(&site, "short.krs.tar", &[&keys[..], &["--against", &text]].concat()).ok();
    site.desk.write("mail.receipt.txt", format!("{}\r\n  {}\n", &text[..70], &text[70..]));
    let added =
        site.desk.krs(&["catalog", "add", "c.jsonl", "mail.receipt.txt", "--site-key", "berlin=berlin.pub"]);
    added.ok().says(&["site berlin has sequence 1 of stream prod", "1 line added"]);
    let again = site.desk.krs(&["catalog", "add", "c.jsonl", &text, "--site-key", "berlin.pub"]).ok();
    again.says(&["0 lines added, 1 recorded before"]);
    let shown = site.desk.krs(&["catalog", "show", "c.jsonl", "--format", "json"]).ok().json();
    assert_eq!(shown["bundles"][0]["confirmedBy"][0]["site"], "berlin");
    assert_eq!(shown["bundles"][0]["confirmedBy"][0]["verified"], true);
    second(&site, "site.krs.tar", &["--catalog", "c.jsonl", "--against", "catalog:berlin"]).ok();
    for name in ["short.krs.tar", "site.krs.tar"] {
        assert!(
            bytes(&site, name) == bytes(&site, "file.krs.tar"),
            "{name}: leaves out the same as the bundle"
        );
    }
    second(&site, "x.krs.tar", &["--against", &text]).failed(2, &["needs a catalog", "--catalog FILE"]);
    let kiel = ["--catalog", "c.jsonl", "--against", "catalog:kiel"];
    second(&site, "x.krs.tar", &kiel).failed(6, &["has no receipt of site kiel", "krs catalog add"]);
}

#[test]
fn t280_a_receipt_that_was_changed_is_refused_before_anything_is_fetched() {
    let site = at_version_two();
    write(&site, "berlin.receipt.json", &receipt(&site, "berlin"), "berlin");
    let text = String::from_utf8(bytes(&site, "berlin.receipt.json")).unwrap();
    site.desk.write("berlin.receipt.json", text.replace("\"sequence\":1", "\"sequence\":9"));
    site.source.clear_requests();
    let against = ["--against", "berlin.receipt.json", "--site-key"];
    let outcome = second(&site, "x.krs.tar", &[&against[..], &["berlin.pub"]].concat());
    outcome.failed(3, &["berlin.receipt.json", "was changed after it was signed"]);
    let changed = short(&site, "berlin", "berlin", |_| ()).replace(":prod:1:", ":prod:9:");
    let outcome = site.desk.krs(&["catalog", "add", "c.jsonl", &changed, "--site-key", "berlin.pub"]);
    outcome.failed(3, &["was changed after it was signed"]);
    assert_eq!(site.source.requests().len(), 0);
    // A key that is not known, and no signature, cost a warning.
    write(&site, "berlin.receipt.json", &receipt(&site, "berlin"), "kiel");
    let unknown = second(&site, "x.krs.tar", &[&against[..], &["berlin.pub"]].concat()).ok();
    unknown.says(&["which --site-key does not name", "was not verified"]);
    std::fs::remove_file(site.desk.path("berlin.receipt.json.minisig")).unwrap();
    let unsigned = second(&site, "y.krs.tar", &[&against[..], &["berlin.pub"]].concat()).ok();
    unsigned.says(&["is not signed"]);
}

#[test]
fn t281_a_receipt_of_another_site_is_refused() {
    let site = at_version_two();
    let keys = ["--site-key", "berlin=berlin.pub", "--site-key", "kiel=kiel.pub"];
    write(&site, "kiel.receipt.json", &receipt(&site, "kiel"), "berlin");
    let outcome = second(&site, "x.krs.tar", &[&keys[..], &["--against", "kiel.receipt.json"]].concat());
    outcome.failed(3, &["says that it is of site kiel", "of site berlin signed it"]);
    write(&site, "kiel.receipt.json", &receipt(&site, "kiel"), "kiel");
    let other = [&keys[..], &["--against", "kiel.receipt.json", "--audience", "berlin"]].concat();
    second(&site, "x.krs.tar", &other).failed(2, &["a receipt of site kiel, and the bundle is for berlin"]);
    let both = [&keys[..], &["--against", "kiel.receipt.json", "--audience", "kiel,berlin"]].concat();
    second(&site, "x.krs.tar", &both).ok().says(&["no receipt of site berlin was given"]);
}

#[test]
fn t311_a_site_that_was_restored_gets_everything_again_whatever_it_confirmed_before() {
    let site = at_version_two();
    let keys = ["--site-key", "berlin=berlin.pub", "--catalog", "c.jsonl"];
    let add =
        |text: &str| site.desk.krs(&["catalog", "add", "c.jsonl", text, "--site-key", "berlin=berlin.pub"]);
    add(&short(&site, "berlin", "berlin", |_| ())).ok();
    let mut restored = receipt(&site, "berlin");
    restored.created_at += SignedDuration::from_mins(1);
    (restored.imported, restored.registries) = (Vec::new(), Vec::new());
    write(&site, "berlin.receipt.json", &restored, "berlin");
    let told = ["confirms no bundle", "--against berlin.receipt.json", "0 lines added"];
    add("berlin.receipt.json").ok().says(&told);
    let against = ["--against", "berlin.receipt.json", "--against", "catalog:berlin"];
    second(&site, "all.krs.tar", &[&keys[..], &against].concat()).ok();
    assert!(bytes(&site, "all.krs.tar").len() > 3_000_000, "the receipt is newer");
    // What it confirms after that counts again.
    let later = |content: &mut ShortReceiptContent| content.created_at += SignedDuration::from_mins(2);
    add(&short(&site, "berlin", "berlin", later)).ok();
    second(&site, "less.krs.tar", &[&keys[..], &against].concat()).ok();
    assert!(bytes(&site, "less.krs.tar").len() < 60_000, "{}", bytes(&site, "less.krs.tar").len());
}

#[test]
fn t283_an_old_receipt_one_from_the_future_and_one_that_reads_too_little_are_said() {
    let site = at_version_two();
    let mut old = receipt(&site, "berlin");
    old.created_at -= SignedDuration::from_hours(24 * 45);
    write(&site, "old.receipt.json", &old, "berlin");
    let outcome = second(&site, "x.krs.tar", &["--against", "old.receipt.json"]).ok();
    outcome.says(&["the receipt of site berlin is 45 days old"]);
    let mut ahead = receipt(&site, "berlin");
    ahead.created_at += SignedDuration::from_hours(24 * 3);
    write(&site, "ahead.receipt.json", &ahead, "berlin");
    second(&site, "y.krs.tar", &["--against", "ahead.receipt.json"]).ok().says(&["is in the future"]);
    // Of several receipts of one site the newest counts.
    let both = ["--against", "old.receipt.json", "--against", "ahead.receipt.json"];
    let outcome = second(&site, "z.krs.tar", &both).ok();
    outcome.says(&["several receipts of site berlin"]);
    let sources = inspect(&site, "z.krs.tar")["base"]["sources"].clone();
    assert_eq!(sources[0]["createdAt"], ahead.created_at.to_string(), "{sources}");

    let mut reads = receipt(&site, "berlin");
    reads.reads.bundle = 0;
    write(&site, "reads.receipt.json", &reads, "berlin");
    let outcome = second(&site, "w.krs.tar", &["--against", "reads.receipt.json"]);
    outcome.failed(2, &["the importer of site berlin reads up to version 0"]);
    assert!(!site.desk.path("w.krs.tar").exists());
    let text = short(&site, "berlin", "berlin", |content| content.reads = 0);
    let outcome = second(&site, "w.krs.tar", &["--catalog", "c.jsonl", "--against", &text]);
    outcome.failed(2, &["the importer of site berlin reads up to version 0"]);
}

#[test]
fn a_folder_of_a_returned_drive_has_the_receipts_of_several_sites() {
    let site = at_version_two();
    let drive = "drive/KRS-RECEIPTS";
    std::fs::create_dir_all(site.desk.path(drive)).unwrap();
    write(&site, "drive/KRS-RECEIPTS/berlin.receipt.json", &receipt(&site, "berlin"), "berlin");
    // A site that has nothing yet.
    let mut empty = receipt(&site, "kiel");
    empty.registries[0].repositories.clear();
    empty.imported.clear();
    write(&site, "drive/KRS-RECEIPTS/kiel.receipt.json", &empty, "kiel");
    second(&site, "both.krs.tar", &["--against", "drive"]).ok();
    second(&site, "full.krs.tar", &[]).ok();
    assert!(bytes(&site, "both.krs.tar") == bytes(&site, "full.krs.tar"), "they have nothing in common");
    std::fs::remove_file(site.desk.path("drive/KRS-RECEIPTS/kiel.receipt.json")).unwrap();
    second(&site, "one.krs.tar", &["--against", "drive"]).ok();
    assert!(bytes(&site, "one.krs.tar").len() < 60_000);
    std::fs::remove_file(site.desk.path("drive/KRS-RECEIPTS/berlin.receipt.json")).unwrap();
    second(&site, "x.krs.tar", &["--against", "drive"]).failed(2, &["drive has no receipts"]);
}

#[test]
fn a_short_receipt_is_made_by_hand_of_a_bundle_that_is_there_completely() {
    let site = at_version_two();
    let edge = site.edge.host().to_string();
    let common =
        ["receipt", &edge, "--set", "v1.krs.tar", "--short", "--site", "berlin", "--key", "berlin.key"];
    let made = site.desk.krs(&[&common[..], &["--qr", "receipt.png"]].concat()).ok();
    assert!(made.out.starts_with("krs-receipt:1:berlin:prod:1:"), "{made}");
    assert!(bytes(&site, "receipt.png").starts_with(b"\x89PNG"));
    let codes = site.desk.krs(&[&common[..], &["--qr", "terminal"]].concat()).ok();
    assert!(codes.out.contains('█') && codes.out.contains("krs-receipt:"), "{codes}");
    let verified = ["--site-key", "berlin=berlin.pub", "--catalog", "c.jsonl", "--against", made.out.trim()];
    second(&site, "delta.krs.tar", &verified).ok();
    assert!(bytes(&site, "delta.krs.tar").len() < 60_000);

    second(&site, "v2.krs.tar", &[]).ok();
    let absent = site.desk.krs(&common.map(|word| if word == "v1.krs.tar" { "v2.krs.tar" } else { word }));
    absent.failed(6, &["does not have 1 image of the bundle", "team/web:2.0", "krs push v2.krs.tar"]);
    site.desk.krs(&common[..7]).failed(2, &["name the secret key of the site with --key"]);
    let folder = common.map(|word| if word == "v1.krs.tar" { site.checkout.path().as_str() } else { word });
    site.desk.krs(&folder).failed(2, &["a short receipt confirms one bundle"]);
}

#[cfg(unix)]
#[test]
fn the_receipt_of_a_cluster_is_verified_and_written_with_its_signature() {
    let site = at_version_two();
    let receipt = receipt(&site, "berlin");
    write(&site, "there", &receipt, "berlin");
    let (json, signature) = (bytes(&site, "there"), bytes(&site, "there.minisig"));
    let text = short(&site, "berlin", "berlin", |_| ());
    let serve = |json: &[u8], signature: &[u8]| {
        let digest = Digest::of(json);
        let key = String::from_utf8(bytes(&site, "berlin.pub")).unwrap();
        let index = serde_json::json!({"data": {
            "createdAt": receipt.created_at.to_string(), "digest": digest.to_string(), "parts": "1", "site": "berlin",
            "site.pub": key, "short": format!("{text}\n"), "receipt.json.minisig": String::from_utf8_lossy(signature),
        }});
        let name = krs_core::sync::receipt::part_name(&digest, 0);
        let part =
            serde_json::json!({"metadata": {"name": name}, "data": {"part": String::from_utf8_lossy(json)}});
        site.desk.write("bin/krs-receipt", index.to_string());
        site.desk.write(&format!("bin/{name}"), part.to_string());
    };
    std::fs::create_dir(site.desk.path("bin")).unwrap();
    let script = "#!/bin/sh\nfor last; do :; done\nexec cat \"${0%/*}/$last\"\n";
    krs_testing::process::write_script(site.desk.path("bin/kubectl"), script);
    let path = format!("{}:/usr/bin:/bin", site.desk.path("bin"));
    let krs = |more: &[&str]| {
        site.desk.krs_env(&[("PATH", &path)], &[&["receipt", "--from-cluster"], more].concat())
    };
    serve(&json, &signature);
    krs(&["-o", "got.receipt.json"]).ok().says(&["site berlin has 3 images and awaits 0", "signed by key"]);
    assert!(
        bytes(&site, "got.receipt.json") == json && bytes(&site, "got.receipt.json.minisig") == signature
    );
    assert_eq!(krs(&["--short"]).ok().out.trim(), text);
    krs(&["--short", "--stream", "lab"]).failed(6, &["has imported no bundle of stream lab"]);
    let against = ["--against", "got.receipt.json", "--site-key", "berlin=berlin.pub"];
    second(&site, "delta.krs.tar", &against).ok();
    assert!(bytes(&site, "delta.krs.tar").len() < 60_000);

    let changed = String::from_utf8(json).unwrap().replace("\"sequence\":1", "\"sequence\":9");
    serve(changed.as_bytes(), &signature);
    krs(&["-o", "x.receipt.json"]).failed(3, &["was changed after it was signed"]);
    assert!(!site.desk.path("x.receipt.json").exists());
}
