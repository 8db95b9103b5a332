// SPDX-License-Identifier: Apache-2.0
//! Resolves references: reads the closure of each from its registry. Fetches manifests only.

mod choice;
mod error;
mod lookup;
mod platforms;
mod reduce;
mod referrers;
mod resolved;

use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};

use crate::oci::Descriptor;
use crate::oci::closure::{Manifests, StoredManifest};
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::{Reference, Selector};
use crate::progress::{Activity, Progress};
use crate::registry::Client;
use crate::set::MergedImages;
use crate::sync::fetch;
use choice::printable;
use lookup::LookUp;

pub use choice::{LeftBehind, Referrers};
pub use error::{ImageError, ImageErrors, reasons};
pub use reduce::{ReferrerErrors, ReferrerFailure};
pub use referrers::{FoundReferrers, find_referrers};
pub use resolved::{MissingImage, MissingReferrer, Origin, Resolved, ResolvedImage, ResolvedReferrer};

/// How to resolve.
#[derive(Debug, Clone)]
pub struct ResolveOptions {
    /// How many images at once.
    pub jobs: usize,
    /// Which referrers of an image are bundled.
    pub referrers: Referrers,
    /// Whether an image fails if one of the requested platforms is missing. Otherwise it fails only if all are missing.
    pub require_platforms: bool,
}

/// Resolves every image of `merged`. Continues after one has failed.
///
/// # Errors
/// [`ImageErrors`] with every image that failed.
pub async fn resolve(
    client: &Client,
    merged: &MergedImages,
    options: ResolveOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Resolved, ImageErrors> {
    let (resolved, errors) = resolve_most(client, merged, options, progress).await;
    if errors.0.is_empty() { Ok(resolved) } else { Err(errors) }
}

/// Resolves as many images of `merged` as it can. Failed images count as missing, and are the second result.
pub async fn resolve_most(
    client: &Client,
    merged: &MergedImages,
    options: ResolveOptions,
    progress: &Arc<dyn Progress>,
) -> (Resolved, ImageErrors) {
    progress.begin(Activity::Resolve, merged.images.len() as u64);
    let asked = &options;
    let mut look_ups = HashMap::new();
    for Reference { registry, repository, .. } in merged.images.iter().map(|image| &image.reference) {
        let look_up = || LookUp::new(client.repository(registry, repository), &options.referrers);
        look_ups.entry((registry, repository)).or_insert_with(look_up);
    }
    let look_ups = &look_ups;
    let tasks = merged.images.iter().filter_map(|image| {
        let look_up = look_ups.get(&(&image.reference.registry, &image.reference.repository))?;
        Some(async move {
            let result = resolve_image(look_up, &image.reference, &image.platforms, asked).await;
            progress.advance(Activity::Resolve, 1);
            (image, result)
        })
    });
    // Collected by index, so that the result does not depend on the order of the responses.
    let results = stream::iter(tasks).buffered(options.jobs.max(1)).collect::<Vec<_>>().await;
    progress.end(Activity::Resolve);
    let (mut resolved, mut errors) = (Resolved::default(), Vec::new());
    resolved.left_behind.unasked = options.referrers == Referrers::None;
    for (image, result) in results {
        match result {
            Ok((image, manifests, left_behind)) => {
                resolved.images.push(image);
                resolved.manifests.extend(manifests);
                resolved.left_behind.extend(left_behind);
            }
            Err(error) => errors.push((image.reference.clone(), image.platforms.clone(), error)),
        }
    }
    resolved.drop_contradicting();
    if options.referrers == Referrers::Required {
        let lacking = resolved.images.extract_if(.., |image| image.missing_optional().next().is_some());
        errors.extend(lacking.map(|image| {
            let missing = image.missing_optional().collect();
            (image.reference, image.platforms, ImageError::Referrers(missing))
        }));
    }
    let failed = errors.into_iter().map(|(reference, platforms, error)| {
        let reason = crate::error::chain(&error);
        resolved.missing.push(MissingImage { reference: reference.clone(), platforms, reason });
        (reference, error)
    });
    let errors = ImageErrors(failed.collect());
    platforms::complete(&mut resolved);
    (resolved, errors)
}

async fn resolve_image(
    look_up: &LookUp,
    reference: &Reference,
    platforms: &[Platform],
    options: &ResolveOptions,
) -> Result<(ResolvedImage, Manifests, LeftBehind), ImageError> {
    let repository = &look_up.repository;
    let selector = reference.selector().unwrap_or_else(|| {
        // A parsed reference always has a tag or a digest. The digest of no bytes is in no registry.
        Selector::Digest(Digest::of(b""))
    });
    let mut manifests = Manifests::default();
    let top = repository.manifest(&selector).await?;
    let root = Descriptor::new(top.media_type.clone(), top.digest, top.bytes.len() as u64);
    manifests.insert(top.digest, StoredManifest { media_type: top.media_type, bytes: top.bytes });
    let mut closure = fetch::closure(repository, &root, platforms, &mut manifests).await?;
    platforms::check(repository, platforms, options.require_platforms, &mut closure, &mut manifests).await?;
    let artifact_type = manifests.read(&root)?.artifact_type().map(printable);
    let found = match &options.referrers {
        Referrers::None => FoundReferrers::default(),
        choice => referrers::find(look_up, &closure, reference.tag.as_ref(), choice, &mut manifests).await,
    };
    let image = ResolvedImage {
        reference: reference.clone(),
        platforms: platforms.to_vec(),
        root,
        artifact_type,
        closure,
        referrers: found.referrers,
        missing_referrers: found.missing,
    };
    Ok((image, manifests, found.left_behind))
}
