// SPDX-License-Identifier: Apache-2.0
//! A large number of small images, and the sets that list them.

use std::fmt::Write as _;

use krs_core::oci::reference::RegistryHost;

use crate::image::{Image, ImageBuilder};
use crate::registry::Registry;

/// Layers of each image that no other image has.
pub const OWN_LAYERS: usize = 7;
/// Blobs of each image that no other image has: its layers, its config, and its manifest.
pub const OWN_BLOBS: usize = OWN_LAYERS + 2;
/// Images of one set, as many as a set may have.
const PER_SET: usize = 1000;

/// The image with this number. One layer is the same in all of them.
pub fn image(number: usize) -> Image {
    let builder = ImageBuilder::new(&format!("app {number}")).layer("a layer of all");
    (0..OWN_LAYERS)
        .fold(builder, |image, layer| image.layer(format!("layer {layer} of app {number}")))
        .build()
}

/// The repository of the image with this number.
pub fn repository(number: usize) -> String {
    format!("team-{}/app-{number}", number / 100)
}

/// A running registry with this many images.
pub fn registry(images: usize) -> Registry {
    let registry = Registry::start(crate::registry::Options::default());
    fill(&registry, images);
    registry
}

/// Puts this many images into a registry.
pub fn fill(registry: &Registry, images: usize) {
    for number in 0..images {
        image(number).push_to(registry, &repository(number), Some("1.0"));
    }
}

/// The sets that list them: name of the file and text.
pub fn sets(registry: &RegistryHost, images: usize) -> Vec<(String, String)> {
    let numbers = (0..images).collect::<Vec<_>>();
    let set = |(n, numbers): (usize, &[usize])| {
        let mut text = format!(
            "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: set-{n}\n\
             spec:\n  destinationRegistry: edge.local:5000\n  images:\n"
        );
        for number in numbers {
            let (name, digest) = (repository(*number), image(*number).digest);
            writeln!(text, "  - image: {registry}/{name}:1.0@{digest}").unwrap();
        }
        (format!("set-{n}.yaml"), text)
    };
    numbers.chunks(PER_SET).enumerate().map(set).collect()
}
