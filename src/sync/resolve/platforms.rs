// SPDX-License-Identifier: Apache-2.0
//! Whether an image is for the platforms that were asked for, and what a person is told about it.

use std::io;

use super::error::ImageError;
use super::resolved::{Resolved, ResolvedImage};
use crate::oci::closure::{Closure, ClosureError, MAX_MANIFEST_BYTES, Manifests};
use crate::oci::platform::{self, Platform};
use crate::oci::{Descriptor, Inline, MAX_MANIFEST, StatedPlatform};
use crate::registry::{BlobSink, Repository};

/// Completes what `closure` says of platforms by the configs of images of which no index states the platform, as
/// containerd does. They travel anyway, and are not fetched again.
///
/// # Errors
/// [`ClosureError::NoPlatform`] where an index has images, and none for a platform that was asked for;
/// [`ImageError::Platforms`] where one is lacking and all are required.
pub(super) async fn check(
    repository: &Repository,
    asked: &[Platform],
    required: bool,
    closure: &mut Closure,
    documents: &mut Manifests,
) -> Result<(), ImageError> {
    let Some(root) = closure.documents.last().cloned().filter(|_| !asked.is_empty()) else { return Ok(()) };
    let images = documents.images(closure);
    let (mut offered, mut all_read, mut size) = (closure.offered.clone(), true, 0_u64);
    for config in &images.unstated {
        size = size.saturating_add(config.size);
        let stated = if size <= MAX_MANIFEST_BYTES {
            config_platform(repository, config, documents).await
        } else {
            Stated::Unreadable
        };
        match stated {
            Stated::Platform(platform) if !offered.contains(&platform) => offered.push(platform),
            Stated::Platform(_) | Stated::None => {}
            Stated::Unreadable => all_read = false,
        }
    }
    // Charts and other artifacts are for no platform. A config that cannot be had says nothing here: whoever fetches the
    // blobs will say so.
    if all_read && (!offered.is_empty() || images.any && root.is_index()) {
        let lacks = |asked: &&Platform| offered.iter().all(|offered| asked.rank(offered).is_none());
        closure.lacking = asked.iter().filter(lacks).cloned().collect();
        closure.offered = offered;
    }
    let Closure { lacking, offered, .. } = closure;
    if root.is_index() && lacking.len() == asked.len() {
        let (asked, listed) = (platform::list(asked), platform::list(&*offered));
        return Err(ImageError::Content(ClosureError::NoPlatform { digest: root.digest, asked, listed }));
    }
    let replaced = replaced(asked, offered).map(|(asked, _)| asked);
    let missing = platform::list(lacking.iter().chain(replaced));
    if required && !missing.is_empty() {
        return Err(ImageError::Platforms { missing, offered: platform::list(&*offered) });
    }
    Ok(())
}

/// Platforms that another architecture replaces, which runs there too, and the one that does.
fn replaced<'a>(
    asked: &'a [Platform],
    offered: &'a [Platform],
) -> impl Iterator<Item = (&'a Platform, &'a Platform)> {
    asked.iter().filter_map(|asked| {
        let ranks = offered.iter().filter_map(|offered| Some((asked.rank(offered)?, offered)));
        let (_, best) = ranks.min()?;
        (best.canonical().architecture != asked.canonical().architecture).then_some((asked, best))
    })
}

/// What a config says of the platform.
enum Stated {
    Platform(Platform),
    None,
    /// It is large, or cannot be had.
    Unreadable,
}

async fn config_platform(repository: &Repository, config: &Descriptor, documents: &mut Manifests) -> Stated {
    let Descriptor { digest, size, .. } = *config;
    if documents.content(&digest).is_none() && size > 0 && size <= MAX_MANIFEST {
        let mut buffer = Buffer(Vec::new());
        if repository.blob(&digest, size, &mut buffer).await.is_err() {
            return Stated::Unreadable;
        }
        documents.insert_content(digest, buffer.0.into());
    }
    let limit = usize::try_from(MAX_MANIFEST).unwrap_or(usize::MAX);
    let Some(bytes) = documents.content(&digest) else { return Stated::Unreadable };
    let stated = crate::json::parse::<StatedPlatform>(bytes, limit).ok();
    stated.and_then(|stated| stated.platform()).map_or(Stated::None, Stated::Platform)
}

/// Completes images by children that one registry did not give and another one did: a bundle holds them then.
pub(super) fn complete(resolved: &mut Resolved) {
    let Resolved { images, documents, .. } = resolved;
    for image in images {
        let absent = &image.closure.absent;
        if absent.iter().any(|child| documents.get(&child.digest).is_some())
            && let Ok(closure) = documents.closure(&image.root, &image.platforms)
        {
            image.set_closure(closure);
        }
    }
}

/// A blob in memory.
struct Buffer(Vec<u8>);

impl BlobSink for Buffer {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        // After an error of the network the blob may begin again.
        self.0.truncate(usize::try_from(offset).unwrap_or(usize::MAX));
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

impl ResolvedImage {
    /// What a person should know of an image that travels: a sentence without its subject each.
    pub fn remarks(&self) -> Vec<String> {
        let Closure { lacking, offered, absent, documents, contents, .. } = &self.closure;
        let mut remarks = Vec::new();
        if !lacking.is_empty() {
            let (missing, offered) = (platform::list(lacking), platform::list(offered));
            remarks.push(format!("has no image for {missing}; it has {offered}"));
        }
        for (asked, best) in replaced(&self.platforms, offered) {
            remarks
                .push(format!("has no image for {asked}; the one for {best} travels, which runs there too"));
        }
        for child in absent {
            let (name, digest, reason) = (&child.name, child.digest, &child.absence.reason);
            remarks.push(format!("travels without the {name} ({digest}), which its index lists: {reason}"));
        }
        let descriptors = documents.iter().chain(contents);
        let damaged = descriptors.filter(|of| of.inline() == Some(Inline::Damaged)).map(|of| of.digest);
        for digest in damaged {
            remarks.push(format!(
                "carries `data` in the descriptor of {digest} that is not its content; it was not used"
            ));
        }
        remarks
    }
}
