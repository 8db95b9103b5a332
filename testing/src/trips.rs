// SPDX-License-Identifier: Apache-2.0
//! Images that cost many requests, and the sets that ask for them: for measurements of round trips.

use std::fmt::Write as _;

use crate::image::{Image, ImageBuilder, index, with_attestations};
use crate::many;
use crate::registry::Registry;

/// Platforms of [`Content::Index`].
const PLATFORMS: [&str; 8] = [
    "linux/amd64",
    "linux/arm64",
    "linux/arm/v6",
    "linux/arm/v7",
    "linux/386",
    "linux/ppc64le",
    "linux/riscv64",
    "linux/s390x",
];

/// What a registry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Small images, see [`many`].
    Small,
    /// Indexes of eight platforms, with an attestation for each.
    Index,
    /// Indexes of two platforms.
    Platforms,
    /// One image of so many layers, and one with a layer more in another repository.
    Layers,
}

impl std::str::FromStr for Content {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "small" => Ok(Self::Small),
            "index" => Ok(Self::Index),
            "platforms" => Ok(Self::Platforms),
            "layers" => Ok(Self::Layers),
            other => Err(format!("`{other}` is no content of a registry")),
        }
    }
}

fn of_platform(name: &str, platform: &str) -> Image {
    let own = format!("layer of {name} for {platform}");
    ImageBuilder::new(name).platform(platform).layer("a layer of all").layer(own).build()
}

/// Puts `number` of it into a registry. Returns the sets that ask for it: name of the file and text.
pub fn fill(registry: &Registry, content: Content, number: usize) -> Vec<(String, String)> {
    match content {
        Content::Small => {
            many::fill(registry, number);
            many::sets(&registry.host(), number)
        }
        Content::Index | Content::Platforms => {
            let images = (0..number).map(|n| {
                let name = format!("app-{n}");
                let platforms = if content == Content::Index { &PLATFORMS[..] } else { &PLATFORMS[..2] };
                let images =
                    platforms.iter().map(|platform| of_platform(&name, platform)).collect::<Vec<_>>();
                if content == Content::Index {
                    (name, with_attestations(&images.iter().collect::<Vec<_>>()))
                } else {
                    (name, index(&images.iter().map(|image| (image, None)).collect::<Vec<_>>()))
                }
            });
            vec![set(registry, 1, images)]
        }
        Content::Layers => {
            let image = |layers: usize| {
                (0..layers)
                    .fold(ImageBuilder::new("app"), |image, n| image.layer(format!("layer {n}")))
                    .build()
            };
            [(1, "app", image(number)), (2, "next", image(number + 1))]
                .map(|(n, name, image)| set(registry, n, std::iter::once((name.to_owned(), image))))
                .into()
        }
    }
}

/// Puts images into a registry, and asks for them.
fn set(registry: &Registry, n: usize, images: impl Iterator<Item = (String, Image)>) -> (String, String) {
    let mut text = format!(
        "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: set-{n}\n\
         spec:\n  destinationRegistry: edge.local:5000\n  images:\n"
    );
    for (name, image) in images {
        let repository = format!("team/{name}");
        image.push_to(registry, &repository, Some("1.0"));
        writeln!(text, "  - image: {}/{repository}:1.0@{}", registry.host(), image.digest).unwrap();
    }
    (format!("set-{n}.yaml"), text)
}
