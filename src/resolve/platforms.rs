// SPDX-License-Identifier: Apache-2.0
//! Whether an image is for the platforms that were asked for, and what a person is told about it.

use std::io;

use serde::Deserialize;

use super::{ImageError, Resolved, ResolvedImage};
use crate::closure::{Closure, Documents};
use crate::oci::{Descriptor, Document, Inline, MAX_DOCUMENT};
use crate::platform::{self, Platform};
use crate::registry::{BlobSink, Repository};

/// Completes what `closure` says of platforms where the image has no index. Its config says then; it travels anyway, and
/// is not fetched again.
///
/// # Errors
/// [`ImageError::Platforms`] where one is lacking and all are required.
pub(super) async fn check(
    repository: &Repository,
    asked: &[Platform],
    required: bool,
    closure: &mut Closure,
    documents: &mut Documents,
) -> Result<(), ImageError> {
    if let Some(config) = single_config(asked, closure, documents)
        && let Some(platform) = config_platform(repository, &config, documents).await
    {
        let lacks = |asked: &&Platform| asked.rank(&platform).is_none();
        closure.lacking = asked.iter().filter(lacks).cloned().collect();
        closure.offered = vec![platform];
    }
    if required && !closure.lacking.is_empty() {
        let (lacking, offered) = (platform::list(&closure.lacking), platform::list(&closure.offered));
        return Err(ImageError::Platforms { lacking, offered });
    }
    Ok(())
}

/// The config of an image without an index, where platforms were chosen.
fn single_config(asked: &[Platform], closure: &Closure, documents: &Documents) -> Option<Descriptor> {
    let [root] = closure.documents.as_slice() else { return None };
    match documents.read(root).ok()? {
        // Charts and other artifacts are for no platform.
        Document::Manifest(manifest) if manifest.artifact_type.is_none() && !asked.is_empty() => {
            Some(manifest.config)
        }
        _ => None,
    }
}

/// The platform that a config states. One that cannot be had says nothing here: whoever fetches the blobs will say so.
async fn config_platform(
    repository: &Repository,
    config: &Descriptor,
    documents: &mut Documents,
) -> Option<Platform> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        os: Option<String>,
        #[serde(default)]
        architecture: Option<String>,
        #[serde(default)]
        variant: Option<String>,
    }
    let Descriptor { digest, size, .. } = *config;
    if documents.content(&digest).is_none() && size > 0 && size <= MAX_DOCUMENT {
        let mut buffer = Buffer(Vec::new());
        repository.blob(&digest, size, &mut buffer).await.ok()?;
        documents.insert_content(digest, buffer.0.into());
    }
    let limit = usize::try_from(MAX_DOCUMENT).unwrap_or(usize::MAX);
    let config = crate::json::parse::<Config>(documents.content(&digest)?, limit).ok()?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty() && text != "unknown");
    let architecture = given(config.architecture)?;
    Some(Platform { os: given(config.os).unwrap_or_default(), architecture, variant: given(config.variant) })
}

/// Completes images by children that one registry did not give and another one did: a bundle holds them then.
pub(super) fn complete(resolved: &mut Resolved) {
    let Resolved { images, documents, .. } = resolved;
    for image in images {
        let absent = &image.closure.absent;
        if absent.iter().any(|child| documents.get(&child.digest).is_some())
            && let Ok(closure) = documents.closure(&image.root, &image.platforms)
        {
            image.closure = closure;
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
            let (lacking, offered) = (platform::list(lacking), platform::list(offered));
            remarks.push(format!("has no image for {lacking}; it has {offered}"));
        }
        for asked in &self.platforms {
            let best = offered.iter().filter_map(|offered| Some((asked.rank(offered)?, offered))).min();
            if let Some((_, best)) = best
                && best.canonical().architecture != asked.canonical().architecture
            {
                remarks.push(format!(
                    "has no image for {asked}; the one for {best} travels, which runs there too"
                ));
            }
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
