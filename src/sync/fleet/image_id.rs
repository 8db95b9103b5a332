// SPDX-License-Identifier: Apache-2.0
//! Short names of images, so that the images of 300 sites fit into a few megabytes.

use std::collections::HashMap;

use crate::oci::digest::Digest;
use crate::oci::platform::{self, Platform};

/// An image by what decides its layers: 128 bits of its digest, mixed with its platforms. Two images with one name would
/// take 2^64 attempts to make, and would make nothing wrong but an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ImageId(u128);

/// Makes names of images. The platforms of most images are the same, and are put into canonical form once.
#[derive(Debug, Default)]
pub(super) struct ImageIds {
    platforms: HashMap<Vec<Platform>, u128>,
}

/// Most choices of platforms that are kept: receipts are untrusted.
const MAX_CHOICES: usize = 1000;

impl ImageIds {
    pub(super) fn id(&mut self, digest: Digest, platforms: &[Platform]) -> ImageId {
        let image = first_bytes(&digest);
        if platforms.is_empty() {
            return ImageId(image);
        }
        if let Some(choice) = self.platforms.get(platforms) {
            return ImageId(image ^ choice);
        }
        let mut canonical = platforms.iter().map(Platform::canonical).collect::<Vec<_>>();
        canonical.sort_unstable();
        canonical.dedup();
        let choice = first_bytes(&Digest::of(platform::list(&canonical).as_bytes()));
        if self.platforms.len() < MAX_CHOICES {
            self.platforms.insert(platforms.to_vec(), choice);
        }
        ImageId(image ^ choice)
    }
}

fn first_bytes(digest: &Digest) -> u128 {
    digest.as_bytes().iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
}
