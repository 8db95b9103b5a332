// SPDX-License-Identifier: Apache-2.0
//! Checks that an image is for the requested platforms, and makes the remarks about it.

use std::io;

use super::error::ImageError;
use super::resolved::{Resolved, ResolvedImage};
use crate::oci::closure::{Closure, ClosureError, MAX_MANIFEST_BYTES, Manifests};
use crate::oci::platform::{self, Platform};
use crate::oci::{Descriptor, Inline, MAX_MANIFEST, StatedPlatform};
use crate::registry::BlobSink;
use crate::sync::source::ImageSource;

/// Completes the platforms of `closure` with those in the configs of images whose platform no index states, as containerd
/// does. These configs are in the bundle anyway, and are not fetched again.
///
/// # Errors
/// [`ClosureError::NoPlatform`] if an index has images, and none for a requested platform;
/// [`ImageError::Platforms`] if one is missing and all are required.
pub(super) async fn check(
    source: &ImageSource,
    requested: &[Platform],
    require_all: bool,
    closure: &mut Closure,
    manifests: &mut Manifests,
) -> Result<(), ImageError> {
    let Some(root) = closure.manifests.last().cloned().filter(|_| !requested.is_empty()) else {
        return Ok(());
    };
    let images = manifests.images(closure);
    let (mut listed, mut all_read, mut size) = (closure.listed_platforms.clone(), true, 0_u64);
    for config in &images.unstated {
        size = size.saturating_add(config.size);
        let platform = if size <= MAX_MANIFEST_BYTES {
            config_platform(source, config, manifests).await
        } else {
            ConfigPlatform::Unreadable
        };
        match platform {
            ConfigPlatform::Platform(platform) if !listed.contains(&platform) => listed.push(platform),
            ConfigPlatform::Platform(_) | ConfigPlatform::None => {}
            ConfigPlatform::Unreadable => all_read = false,
        }
    }
    // Charts and other artifacts are for no platform. A config that cannot be fetched is ignored here: fetching the
    // blobs reports the error.
    if all_read && (!listed.is_empty() || images.any && root.is_index()) {
        closure.missing_platforms = platform::unmatched(requested, &listed);
        closure.listed_platforms = listed;
    }
    let Closure { missing_platforms, listed_platforms: listed, .. } = closure;
    if root.is_index() && missing_platforms.len() == requested.len() {
        let (requested, listed) = (platform::list(requested), platform::list(&*listed));
        return Err(ImageError::Content(ClosureError::NoPlatform { digest: root.digest, requested, listed }));
    }
    let replaced = replaced(requested, listed).map(|(requested, _)| requested);
    let missing = platform::list(missing_platforms.iter().chain(replaced));
    if require_all && !missing.is_empty() {
        return Err(ImageError::Platforms { missing, offered: platform::list(&*listed) });
    }
    Ok(())
}

/// Requested platforms whose images are for another architecture that runs there too, with that platform.
fn replaced<'a>(
    requested: &'a [Platform],
    listed: &'a [Platform],
) -> impl Iterator<Item = (&'a Platform, &'a Platform)> {
    requested.iter().filter_map(|requested| {
        let ranks = listed.iter().filter_map(|listed| Some((requested.rank(listed)?, listed)));
        let (_, best) = ranks.min()?;
        (best.canonical().architecture != requested.canonical().architecture).then_some((requested, best))
    })
}

/// What the config of an image says of its platform.
enum ConfigPlatform {
    Platform(Platform),
    None,
    /// The config is too large, or cannot be fetched.
    Unreadable,
}

async fn config_platform(
    source: &ImageSource,
    config: &Descriptor,
    manifests: &mut Manifests,
) -> ConfigPlatform {
    let Descriptor { digest, size, .. } = *config;
    if manifests.content(&digest).is_none() && size > 0 && size <= MAX_MANIFEST {
        let Ok(buffer) = source.blob(&digest, size, Buffer(Vec::new())).await else {
            return ConfigPlatform::Unreadable;
        };
        manifests.insert_content(digest, buffer.0.into());
    }
    let limit = usize::try_from(MAX_MANIFEST).unwrap_or(usize::MAX);
    let Some(bytes) = manifests.content(&digest) else { return ConfigPlatform::Unreadable };
    let platform = crate::json::parse::<StatedPlatform>(bytes, limit).ok();
    platform.and_then(|platform| platform.platform()).map_or(ConfigPlatform::None, ConfigPlatform::Platform)
}

/// Completes images with optional children that one registry did not have and another one did.
pub(super) fn complete(resolved: &mut Resolved) {
    let Resolved { images, manifests, .. } = resolved;
    for image in images {
        let absent = &image.closure.absent;
        if absent.iter().any(|child| manifests.get(&child.digest).is_some())
            && let Ok(closure) = manifests.closure(&image.root, &image.platforms)
        {
            image.set_closure(closure);
        }
    }
}

/// A blob in memory.
struct Buffer(Vec<u8>);

impl BlobSink for Buffer {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        // After an error of the network the blob may restart at 0.
        self.0.truncate(usize::try_from(offset).unwrap_or(usize::MAX));
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

impl ResolvedImage {
    /// Remarks about an image for the user, each a sentence without its subject.
    pub fn remarks(&self) -> Vec<String> {
        let Closure { missing_platforms, listed_platforms, absent, manifests, blobs, .. } = &self.closure;
        let mut remarks = Vec::new();
        if !missing_platforms.is_empty() {
            let (missing, listed) = (platform::list(missing_platforms), platform::list(listed_platforms));
            remarks.push(format!("has no image for {missing}; it has {listed}"));
        }
        for (requested, best) in replaced(&self.platforms, listed_platforms) {
            remarks.push(format!(
                "has no image for {requested}; the one for {best} travels, which runs there too"
            ));
        }
        for child in absent {
            let (name, digest, reason) = (&child.name, child.digest, &child.absence.reason);
            remarks.push(format!("travels without the {name} ({digest}), which its index lists: {reason}"));
        }
        let descriptors = manifests.iter().chain(blobs);
        let damaged = descriptors.filter(|of| of.inline() == Some(Inline::Damaged)).map(|of| of.digest);
        for digest in damaged {
            remarks.push(format!(
                "carries `data` in the descriptor of {digest} that is not its content; it was not used"
            ));
        }
        remarks
    }
}
