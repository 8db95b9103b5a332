// SPDX-License-Identifier: Apache-2.0
//! What tags stand for now: one request for each, without the closure.

use std::sync::Arc;

use futures::stream::{self, StreamExt as _};

use super::error::ImageError;
use super::platforms;
use super::resolved::ResolvedImage;
use crate::oci::closure::{Closure, Manifests, StoredManifest};
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::{Reference, Selector};
use crate::oci::{Descriptor, ManifestOrIndex};
use crate::progress::{Activity, Progress};
use crate::registry::Client;
use crate::sync::source::{ImageSource, Source as _};

/// A tag to look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagQuery {
    /// The reference; a digest in it does not count.
    pub reference: Reference,
    /// Platforms that the image should have; empty: any.
    pub platforms: Vec<Platform>,
}

/// What a tag stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagDigest {
    /// Digest of the bytes that the registry sent.
    pub digest: Digest,
    /// What a person should know of the image: a sentence without its subject each.
    pub remarks: Vec<String>,
}

/// Looks up what each tag stands for, several at once. The answers are in the order of `queries`.
///
/// An index says itself which platforms it has; of a manifest the config is read where platforms are asked for.
///
/// # Errors
/// Each answer is an error of its own. The others are looked up all the same.
pub async fn look_up_tags(
    client: &Client,
    queries: &[TagQuery],
    require_platforms: bool,
    jobs: usize,
    progress: &Arc<dyn Progress>,
) -> Vec<Result<TagDigest, ImageError>> {
    progress.begin(Activity::Resolve, queries.len() as u64);
    let tasks = queries.iter().map(|query| async move {
        let result = look_up(client, query, require_platforms).await;
        progress.advance(Activity::Resolve, 1);
        result
    });
    let results = stream::iter(tasks).buffered(jobs.max(1)).collect().await;
    progress.end(Activity::Resolve);
    results
}

async fn look_up(client: &Client, query: &TagQuery, require_all: bool) -> Result<TagDigest, ImageError> {
    let TagQuery { reference, platforms } = query;
    let source = ImageSource::Registry(client.repository(&reference.registry, &reference.repository));
    let selector = match (&reference.tag, reference.digest) {
        (Some(tag), _) => Selector::Tag(tag.clone()),
        // There is no tag to look up. The digest of no bytes is in no registry.
        (None, digest) => Selector::Digest(digest.unwrap_or_else(|| Digest::of(b""))),
    };
    let top = source.manifest(&selector).await?;
    let root = Descriptor::new(top.media_type.clone(), top.digest, top.bytes.len() as u64);
    let mut manifests = Manifests::default();
    manifests.insert(top.digest, StoredManifest { media_type: top.media_type, bytes: top.bytes });
    let mut closure = match manifests.read(&root)? {
        ManifestOrIndex::Manifest(_) => manifests.closure(&root, platforms)?,
        ManifestOrIndex::Index(index) => {
            let mut listed_platforms = Vec::new();
            for platform in index.manifests.iter().filter_map(Descriptor::runs_on) {
                if !listed_platforms.contains(&platform) {
                    listed_platforms.push(platform);
                }
            }
            Closure { manifests: vec![root.clone()], listed_platforms, ..Closure::default() }
        }
    };
    platforms::check(&source, platforms, require_all, &mut closure, &mut manifests).await?;
    let image = ResolvedImage {
        reference: reference.clone(),
        platforms: platforms.clone(),
        root,
        artifact_type: None,
        closure,
        referrers: Vec::new(),
        missing_referrers: Vec::new(),
        source: None,
    };
    Ok(TagDigest { digest: image.root.digest, remarks: image.remarks() })
}
