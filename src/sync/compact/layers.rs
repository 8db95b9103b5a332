// SPDX-License-Identifier: Apache-2.0
//! One layer: without its compression, and the recipe that restores it.

use std::fs::File;
use std::io::{self, BufReader};
use std::sync::Arc;

use camino::Utf8Path;
use krs_compact::patch::{FileBytes, RangeReader, ReadAt as _};
use krs_compact::recipe::{Found, Recipe, recompress};

use super::choose::Layer;
use super::error::CompactError;
use super::recipes::RecipeCache;
use super::work;
use crate::bundle::MAX_PLAIN;
use crate::oci::digest::{self, Digest, HashWriter};
use crate::sync::plain::{self, PlainError};

/// A layer that may travel as a patch.
#[derive(Debug, Clone)]
pub(super) struct Plain {
    pub(super) digest: Digest,
    /// Its content without compression.
    pub(super) content: Arc<FileBytes>,
}

/// A layer, and what is known of its compression.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) plain: Plain,
    pub(super) recipe: Vec<u8>,
}

/// Expands a layer of the work folder, in a file without a name. Why it does not travel as a patch, if it cannot be expanded.
/// Blocking.
pub(super) fn expand(folder: &Utf8Path, layer: &Layer) -> Result<Result<Plain, String>, CompactError> {
    let work_error = |source| CompactError::Work { folder: folder.to_owned(), source };
    let file = File::open(work::file(folder, &layer.digest)).map_err(work_error)?;
    let plain = tempfile::tempfile_in(folder.as_std_path()).map_err(work_error)?;
    match plain::expand(BufReader::with_capacity(1 << 20, file), &plain, MAX_PLAIN) {
        Ok(_) => {}
        Err(PlainError::Write(source)) => return Err(work_error(source)),
        Err(error) => return Ok(Err(error.to_string())),
    }
    let content = Arc::new(FileBytes::new(plain).map_err(work_error)?);
    Ok(Ok(Plain { digest: layer.digest, content }))
}

/// The recipe of a layer of the work folder, whose content is `plain`; why there is none otherwise. Blocking.
pub(super) fn recipe(
    folder: &Utf8Path,
    layer: &Layer,
    plain: &Plain,
    cache: Option<&RecipeCache>,
    remarks: &mut Vec<String>,
) -> Result<Result<Vec<u8>, String>, CompactError> {
    match cache.and_then(|cache| cache.get(&layer.digest)) {
        Some(Ok(recipe)) if makes(&recipe, plain, layer) => return Ok(Ok(recipe)),
        Some(Err(reason)) => return Ok(Err(reason)),
        // What others wrote there costs time, and never a layer at the site.
        _ => {}
    }
    let work_error = |source| CompactError::Work { folder: folder.to_owned(), source };
    let file = File::open(work::file(folder, &layer.digest)).map_err(work_error)?;
    let answer = match krs_compact::recipe::find(&file).map_err(work_error)? {
        Found::Recipe(recipe) => Ok(recipe.encode()),
        Found::None(reason) => Err(reason.to_string()),
    };
    if let Some(cache) = cache
        && let Err(error) = cache.put(&layer.digest, &answer)
    {
        let folder = cache.folder();
        remarks.push(format!(
            "recipes cannot be kept in {folder}, so the next bundle takes as long again for the same layers: {error}"
        ));
    }
    Ok(answer)
}

/// Whether a recipe makes the layer of its content.
fn makes(recipe: &[u8], plain: &Plain, layer: &Layer) -> bool {
    let Ok(recipe) = Recipe::decode(recipe) else { return false };
    let mut out = HashWriter::new(io::sink(), layer.size);
    let content = RangeReader::new(&*plain.content, 0, plain.content.length());
    recompress(&recipe, content, &mut out).is_ok()
        && digest::check(out.into_parts().1, layer.digest, layer.size).is_ok()
}
