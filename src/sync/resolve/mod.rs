// SPDX-License-Identifier: Apache-2.0
//! Resolves references: reads the closure of each from its registry or a local source. Fetches manifests only.

mod choice;
mod error;
mod lookup;
mod platforms;
mod reduce;
mod referrers;
mod resolved;
mod sources;
mod tags;

use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};

use crate::local::{LocalError, LocalSource};
use crate::oci::Descriptor;
use crate::oci::closure::{Closure, Manifests, StoredManifest};
use crate::oci::digest::Digest;
use crate::oci::reference::{Reference, Selector};
use crate::progress::{Activity, Progress};
use crate::registry::Client;
use crate::set::{MergedImage, MergedImages};
use crate::sync::fetch;
use crate::sync::source::{ImageSource, Source as _, blocking};
use choice::printable;
use lookup::LookUp;
use sources::Choice;

pub use choice::{LeftBehind, Referrers};
pub use error::{ImageError, ImageErrors, reasons};
pub use reduce::{ReferrerErrors, ReferrerFailure};
pub use referrers::{FoundReferrers, find_referrers};
pub use resolved::{MissingImage, MissingReferrer, Origin, Resolved, ResolvedImage, ResolvedReferrer};
pub use sources::{FoundDigest, OtherDigest};
pub use tags::{TagDigest, TagQuery, look_up_tags};

/// How to resolve.
#[derive(Debug, Clone)]
pub struct ResolveOptions {
    /// How many images at once.
    pub jobs: usize,
    /// Which referrers of an image are bundled.
    pub referrers: Referrers,
    /// Whether an image fails if one of the requested platforms is missing. Otherwise it fails only if all are missing.
    pub require_platforms: bool,
    /// Sources that are asked before registries, in this order.
    pub sources: Vec<Arc<LocalSource>>,
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
    let options = &options;
    let local =
        |source: &Arc<LocalSource>| LookUp::new(ImageSource::Local(Arc::clone(source)), &options.referrers);
    let local = &options.sources.iter().map(local).collect::<Vec<_>>();
    let mut look_ups = HashMap::new();
    let mut source_remarks = Vec::new();
    let mut choices = Vec::with_capacity(merged.images.len());
    for image in &merged.images {
        let Reference { registry, repository, .. } = &image.reference;
        let look_up = || {
            LookUp::new(ImageSource::Registry(client.repository(registry, repository)), &options.referrers)
        };
        look_ups.entry((registry, repository)).or_insert_with(look_up);
        let mut choice = sources::choose(&options.sources, &image.reference);
        if let Ok(choice) = &mut choice {
            source_remarks.append(&mut choice.remarks);
        }
        choices.push(choice);
    }
    let look_ups = &look_ups;
    let tasks = merged.images.iter().zip(choices).filter_map(|(image, choice)| {
        let in_registry = look_ups.get(&(&image.reference.registry, &image.reference.repository))?;
        Some(async move {
            let result = async {
                let Choice { source, others, .. } = choice?;
                let chosen = source.and_then(|(index, digest)| Some((local.get(index)?, digest)));
                let (look_up, digest) = match chosen {
                    Some((look_up, digest)) => (look_up, Some(digest)),
                    None => (in_registry, None),
                };
                let resolved = resolve_image(look_up, image, digest, options).await;
                let mut resolved = resolved.map_err(|error| error.with_others(others))?;
                resolved.0.source = source.map(|(index, _)| index);
                Ok(resolved)
            };
            let result = result.await;
            progress.advance(Activity::Resolve, 1);
            (image, result)
        })
    });
    // Collected by index, so that the result does not depend on the order of the responses.
    let results = stream::iter(tasks).buffered(options.jobs.max(1)).collect::<Vec<_>>().await;
    progress.end(Activity::Resolve);
    let (mut resolved, mut errors) = (Resolved::default(), Vec::new());
    resolved.sources.clone_from(&options.sources);
    resolved.source_remarks = source_remarks;
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
        let incomplete = resolved.images.extract_if(.., |image| image.missing_optional().next().is_some());
        errors.extend(incomplete.map(|image| {
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

/// `digest` is what a local source has for the reference.
async fn resolve_image(
    look_up: &LookUp,
    image: &MergedImage,
    digest: Option<Digest>,
    options: &ResolveOptions,
) -> Result<(ResolvedImage, Manifests, LeftBehind), ImageError> {
    let MergedImage { reference, platforms, .. } = image;
    let source = &look_up.source();
    let selector = digest.map(Selector::Digest).or_else(|| reference.selector()).unwrap_or_else(|| {
        // A parsed reference always has a tag or a digest. The digest of no bytes is in no registry.
        Selector::Digest(Digest::of(b""))
    });
    let mut manifests = Manifests::default();
    let top = source.manifest(&selector).await?;
    let root = Descriptor::new(top.media_type.clone(), top.digest, top.bytes.len() as u64);
    manifests.insert(top.digest, StoredManifest { media_type: top.media_type, bytes: top.bytes });
    let mut closure = fetch::fetch_closure(source, &root, platforms, &mut manifests).await?;
    if let ImageSource::Local(local) = source {
        let blobs = blobs(&closure, &manifests);
        blocking(local, move |local| has_all(local, &blobs)).await?;
    }
    platforms::check(source, platforms, options.require_platforms, &mut closure, &mut manifests).await?;
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
        source: None,
    };
    Ok((image, manifests, found.left_behind))
}

/// The blobs of an image that its source must have: not foreign layers, and not those that descriptors contain.
fn blobs(closure: &Closure, manifests: &Manifests) -> Vec<(Digest, u64)> {
    let needed = closure.blobs.iter().filter(|blob| {
        let known = closure.opaque.contains(&blob.digest) || manifests.content(&blob.digest).is_some();
        blob.size > 0 && !known && blob.urls().next().is_none()
    });
    needed.map(|blob| (blob.digest, blob.size)).collect()
}

/// Whether a local source has all of these blobs, so that a plan already shows what is missing. Blocking.
fn has_all(local: &LocalSource, blobs: &[(Digest, u64)]) -> Result<(), LocalError> {
    blobs.iter().try_for_each(|(digest, size)| local.content_of_size(digest, *size).map(drop))
}
