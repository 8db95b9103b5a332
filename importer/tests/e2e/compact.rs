// SPDX-License-Identifier: Apache-2.0
//! Layers that travel as patches, through the importer: each is made of the layer that the edge has, with the same digest.

use camino::Utf8Path;
use krs_compact::encoder::go::Level;
use krs_compact::encoder::{Encoder as _, Family, Gzip};
use krs_testing::image::{Image, ImageBuilder, random_bytes, tar_of};
use serde_json::json;

use crate::edge::edges;
use crate::harness::{apply, wait_bundle, wait_ready};
use crate::site::Site;
use crate::source::{Ci, namespace, reference, registry, set};

/// A version of an application in one layer, as BuildKit compresses it: a program that changes in a few bytes, and files that
/// stay.
fn version(number: u8) -> Image {
    let mut program = random_bytes(2_000_000, 1);
    for place in (1000..2_000_000).step_by(100_000) {
        program[place] = number;
    }
    let data = random_bytes(500_000, 2);
    let plain = tar_of(&[("usr/bin/app", &program), ("usr/share/data", &data)]);
    let family = Family::Go(Level::new(6).unwrap());
    let mut layer = Vec::new();
    let mut encoder = Gzip::new(&family.header(), family.encoder(), &mut layer);
    encoder.write(&plain, &mut layer);
    encoder.finish(&mut layer);
    ImageBuilder::new("app").layer_type("application/vnd.oci.image.layer.v1.tar+gzip").layer(layer).build()
}

#[test]
fn e16_layers_of_patches_arrive_bit_for_bit_three_times_in_a_row() {
    let source = registry(None, false);
    let mut ci = Ci::new();
    let (access, _) = edges().open.access("e16");
    let host = edges().open.host().to_string();
    let mut references = Vec::new();
    let mut publish = |number: u8| {
        let (image, tag) = (version(number), number.to_string());
        image.push_to(&source, "compact/app", Some(&tag));
        references.push(reference(&source, "compact/app", &tag, &image));
        set("e16", "app", &host, &references, &access)
    };
    let size = |file: &Utf8Path| file.metadata().unwrap().len();
    let first = publish(1);
    ci.commit(std::slice::from_ref(&first));
    let full = ci.bundle("e16-1", "e16", 1, &source, &[]);
    let site = Site::new(&[&ci.public_key()], &json!({"jobs": {"scratchSize": "1Gi"}}));
    namespace("e16");
    apply(&first);
    site.insert(&full);
    wait_ready("e16", "app");
    for number in 2..5_u8 {
        let next = publish(number);
        ci.commit(std::slice::from_ref(&next));
        let before = format!("e16-{}.krs.tar", number - 1);
        let name = format!("e16-{number}");
        let options = ["--against", before.as_str(), "--compact"];
        let compact = ci.bundle(&name, "e16", u64::from(number), &source, &options);
        assert!(size(&compact) * 20 < size(&full), "{} of {}", size(&compact), size(&full));
        apply(&next);
        site.insert(&compact);
        wait_ready("e16", "app");
        edges().open.must_have("compact/app", &number.to_string(), &version(number));
        wait_bundle(&name, "SafeToRemove", "True", None);
    }
}
