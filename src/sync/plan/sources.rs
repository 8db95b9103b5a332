// SPDX-License-Identifier: Apache-2.0
//! What of a bundle comes from which local source. Pure.

use std::sync::Arc;

use super::blobs::Fetch;
use crate::local::LocalSource;
use crate::sync::resolve::Resolved;

/// What a bundle has from one local source.
#[derive(Debug, Clone)]
pub struct SourceShare {
    /// The local source that is read.
    pub source: Arc<LocalSource>,
    /// Images that are read from it.
    pub images: usize,
    /// Bytes of their content, without what an earlier source has.
    pub bytes: u64,
}

/// Says of each blob which source it is read from: that of the first image that needs it and has one.
pub(super) fn shares(resolved: &Resolved, blobs: &mut [Fetch]) -> Vec<SourceShare> {
    let count = |index: usize| resolved.images.iter().filter(|image| image.source == Some(index)).count();
    let share = |(index, source): (usize, &Arc<LocalSource>)| SourceShare {
        source: Arc::clone(source),
        images: count(index),
        bytes: 0,
    };
    let mut shares = resolved.sources.iter().enumerate().map(share).collect::<Vec<_>>();
    for blob in blobs {
        let source = blob.image_indexes().find_map(|image| resolved.images.get(*image)?.source);
        blob.source = source;
        if let Some(share) = blob.source.and_then(|source| shares.get_mut(source)) {
            share.bytes += blob.blob.size;
        }
    }
    shares
}
