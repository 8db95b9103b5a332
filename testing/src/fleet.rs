// SPDX-License-Identifier: Apache-2.0
//! What comes back from many sites, and the catalog of what they were sent.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;

use camino::Utf8Path;
use jiff::{SignedDuration, Timestamp};
use krs_core::bundle::StreamName;
use krs_core::bundle::sign::{SecretKey, generate};
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::Reference;
use krs_core::sync::catalog::{Record, SentBundle, SentImage};
use krs_core::sync::receipt::{
    ImportedBundle, RegistryCapabilities, SiteReceipt, SiteRegistry, SiteRepository, SiteRoot, sign_receipt,
};

/// Bytes of the layers of an image: one that many share, one of its own, and those of each version.
const BASE_LAYER: u64 = 30 << 20;
const MIDDLE_LAYER: u64 = 5 << 20;
const OWN_LAYER: u64 = 1 << 20;
/// Layers that each version of an image has of its own, and all of its layers.
const OWN_LAYERS: usize = 2;
const LAYERS: usize = OWN_LAYERS + 2;

/// Writes into `folder` the file `catalog.jsonl` with so many bundles of so many images each, `receipts/` with the signed
/// receipts of so many sites, and `sites.pub`, which verifies them. Every site has the images of one of the bundles, and some
/// of another one.
pub fn write(folder: &Utf8Path, sites: u64, images: u64, bundles: u64) {
    let begin = Timestamp::now() - SignedDuration::from_hours(2000);
    let fleet = Fleet { images, begin: Timestamp::from_second(begin.as_second()).unwrap() };
    let mut catalog = File::create(folder.join("catalog.jsonl")).unwrap();
    for sequence in 1..=bundles {
        catalog.write_all(&Record::Bundle(fleet.sent(sequence)).encode().unwrap()).unwrap();
    }
    let pair = generate(None).unwrap();
    fs::write(folder.join("sites.pub"), &pair.public).unwrap();
    let key = SecretKey::parse(pair.secret.expose(), None, "sites.key").unwrap();
    fs::create_dir(folder.join("receipts")).unwrap();
    for site in 0..sites {
        let receipt = fleet.receipt(site, bundles - site % bundles.min(20), bundles + 1);
        let bytes = receipt.encode().unwrap();
        let signature = sign_receipt(&bytes, &receipt.site, &key).unwrap();
        let file = folder.join(format!("receipts/{}.receipt.json", receipt.site));
        fs::write(format!("{file}.minisig"), signature).unwrap();
        fs::write(file, bytes).unwrap();
    }
}

struct Fleet {
    images: u64,
    /// When the stream began; each bundle is an hour after the one before.
    begin: Timestamp,
}

fn digest(kind: &str, number: u64) -> Digest {
    Digest::of(format!("{kind} {number}").as_bytes())
}

/// In each bundle a tenth of the images has a new version.
const fn version(image: u64, bundle: u64) -> u64 {
    (bundle + image % 10) / 10
}

fn image(number: u64, bundle: u64) -> Digest {
    digest("image", number * 1000 + version(number, bundle))
}

fn reference(number: u64) -> Reference {
    format!("registry.example.com/team/app-{number}:1.0").parse().unwrap()
}

fn stream() -> StreamName {
    "prod".parse().unwrap()
}

/// Each version of an image shares all but two of its layers with the one before.
fn layers(number: u64, bundle: u64) -> [(Digest, u64); LAYERS] {
    let own = |part: u64| (digest("layer", number * 10_000 + version(number, bundle) * 10 + part), OWN_LAYER);
    [(digest("base", number % 50), BASE_LAYER), (digest("middle", number), MIDDLE_LAYER), own(0), own(1)]
}

impl Fleet {
    fn made(&self, bundle: u64) -> Timestamp {
        self.begin + SignedDuration::from_hours(i64::try_from(bundle).unwrap())
    }

    fn sent(&self, sequence: u64) -> SentBundle {
        let (mut positions, mut list) = (HashMap::new(), Vec::new());
        let mut position = |layer: (Digest, u64)| {
            *positions.entry(layer.0).or_insert_with(|| {
                list.push(layer);
                u32::try_from(list.len() - 1).unwrap()
            })
        };
        let mut sent_image = |number| SentImage {
            digest: image(number, sequence),
            layers: layers(number, sequence).map(&mut position).to_vec(),
            platforms: vec![],
            reference: reference(number),
            repositories: vec![format!("team/app-{number}").parse().unwrap()],
        };
        let images = (0..self.images).map(&mut sent_image).collect();
        let config = |number| digest("config", number * 1000 + version(number, sequence));
        let other = |number| [(image(number, sequence), 1500), (config(number), 7000)];
        SentBundle {
            audience: vec![],
            base: vec![],
            bytes: 1 << 30,
            created_at: self.made(sequence),
            digest: digest("bundle", sequence),
            file: format!("prod-{sequence}.krs.tar"),
            format_version: 1,
            identity: digest("identity", sequence),
            images,
            other_blobs: (0..self.images).flat_map(other).collect(),
            layers: list,
            sent_at: self.made(sequence),
            sequence,
            signed_by: vec![],
            stream: stream(),
        }
    }

    /// The receipt of a site that has imported the bundle `sequence`, made as late as the bundle `now`.
    fn receipt(&self, site: u64, sequence: u64, now: u64) -> SiteReceipt {
        let name = format!("site-{site:03}").parse().unwrap();
        let mut receipt = SiteReceipt::empty(name, self.made(now), "test".to_owned());
        receipt.imported = vec![ImportedBundle {
            created_at: self.made(sequence),
            digest: digest("bundle", sequence),
            sequence,
            stream: stream(),
        }];
        let repository = |number: u64| SiteRepository {
            name: format!("team/app-{number}").parse().unwrap(),
            roots: vec![SiteRoot {
                // Each site misses some that the others have.
                digest: image(number, if number % 97 == site % 97 { 1 } else { sequence }),
                platforms: vec![],
                reference: reference(number),
                tags: vec!["1.0".parse().unwrap()],
            }],
        };
        let mut repositories = (0..self.images).map(repository).collect::<Vec<_>>();
        repositories.sort_by(|a, b| a.name.cmp(&b.name));
        let registry = "edge.local:5000".parse().unwrap();
        receipt.registries =
            vec![SiteRegistry { abilities: RegistryCapabilities::default(), registry, repositories }];
        receipt
    }
}
