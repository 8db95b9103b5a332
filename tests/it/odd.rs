// SPDX-License-Identifier: Apache-2.0
//! Images as registries and tools really have them: layers that lie elsewhere, content in descriptors, indexes with odd
//! entries, and indexes some of whose children were deleted.

mod attestations;
mod entries;
mod foreign;

use std::sync::Arc;

use krs_core::bundle::sign::Signatures;
use krs_core::bundle::{Bundle, Policy};
use krs_core::error::{Classify as _, ErrorKind};
use krs_core::oci::digest::Digest;
use krs_core::redact::Secret;
use krs_core::registry::{Client, ClientOptions, Keychain};
use krs_core::sync::plan::{Base, PlanOptions, plan};
use krs_core::sync::pull::{PullError, PullOptions, pull};
use krs_core::sync::resolve::{ImageError, Referrers};
use krs_core::sync::verify_present::{Presence, verify_present};
use krs_testing::image::{Image, ImageBuilder, index, signature, with_attestations};
use krs_testing::registry::{Matcher, Options, Registry, What};
use serde_json::{Value, json};

use crate::harness::{Site, client, options, silent};

fn image(platform: &str, seed: u64) -> Image {
    ImageBuilder::new("app").platform(platform).layer_random(3000, seed).build()
}

/// A site whose edge takes indexes some of whose images are missing.
fn site() -> Site {
    Site::with(Options::default(), Options { sparse_indexes: true, ..Options::default() })
}

/// The index with its JSON changed.
fn changed(index: &Image, change: impl FnOnce(&mut Value)) -> Image {
    let mut manifest = serde_json::from_slice::<Value>(&index.manifest).unwrap();
    change(&mut manifest);
    let manifest = serde_json::to_vec(&manifest).unwrap();
    Image { digest: Digest::of(&manifest), manifest, ..index.clone() }
}

async fn is_whole(edge: &Registry, repository: &str, image: &Image) -> bool {
    let repository = client().repository(&edge.host(), &repository.parse().unwrap());
    let proof = verify_present(&repository, &image.digest, &[], &["1".parse().unwrap()]).await.unwrap();
    matches!(proof, Presence::Complete { .. })
}
