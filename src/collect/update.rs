// SPDX-License-Identifier: Apache-2.0
//! Bringing the set of a file up to date with the images that are used.

use super::new_set::comments;
use super::usage::{Coverage, UnusedImage, UsedImage, coverage};
use crate::crd::{KIND, Naming};
use crate::set::{Editor, LoadedSet, NewImage, SetError, SetErrors, SetImage};

/// What an update does to a set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// The file after it. Equal to the file before it where nothing changes.
    pub text: Vec<u8>,
    /// Images that were added at the end of the set.
    pub added: Vec<UsedImage>,
    /// Images whose digest was replaced by the one that is used: as the set writes them, and what is used.
    pub replaced: Vec<(String, UsedImage)>,
    /// Images of the set that nothing uses: still there, or removed with `prune`.
    pub unused: Vec<UnusedImage>,
}

/// Which set of a file is updated, and how.
#[derive(Debug, Clone, Copy)]
pub struct UpdateOptions<'a> {
    /// Name of the set, for a file with several.
    pub name: Option<&'a str>,
    /// Whether images that nothing uses are removed.
    pub prune: bool,
}

/// Adds the images that the sets of a file do not carry to one of them. `sets` are all sets of the file, in its order.
/// Everything else in the file stays, byte for byte.
///
/// # Errors
/// The file has no such set, or the set is written in a way that cannot be edited.
pub fn update(
    file: &str,
    bytes: &[u8],
    sets: &[LoadedSet],
    images: &[UsedImage],
    options: UpdateOptions<'_>,
) -> Result<Update, SetErrors> {
    let mut editor = Editor::open(file, bytes)?;
    if editor.sets() != sets.len() {
        return Err(SetError::file(file, "has sets that cannot be edited").into());
    }
    let target = target(file, sets, options.name)?;
    let Coverage { missing, mut unused, .. } = coverage(images.to_vec(), sets);
    let mut update = Update::default();
    for image in missing {
        let is_same = |unused: &UnusedImage| {
            let carried = sets.get(unused.set).and_then(|set| set.set.images.get(unused.index));
            carried.is_some_and(|carried| {
                carried.reference.tag.is_some()
                    && carried.reference.name() == image.reference.name()
                    && carried.reference.tag == image.reference.tag
            })
        };
        if let Some(position) = unused.iter().position(is_same) {
            let old = unused.remove(position);
            editor.replace(old.set, old.index, &image.reference.to_string())?;
            update.replaced.push((old.image, image));
        } else {
            if let Some(loaded) = sets.get(target) {
                check_name(file, loaded, &image)?;
            }
            update.added.push(image);
        }
    }
    let new = update.added.iter().map(|image| NewImage {
        image: image.reference.to_string(),
        comment: Some(comments(&image.uses).join("\n")),
    });
    let new = new.collect::<Vec<_>>();
    if !new.is_empty() {
        editor.append(target, &new)?;
    }
    if options.prune {
        for image in &unused {
            editor.remove(image.set, image.index)?;
        }
    }
    update.unused = unused;
    update.text = editor.finish()?;
    Ok(update)
}

/// Whether a new image would get the name of an image of another registry.
fn check_name(file: &str, loaded: &LoadedSet, image: &UsedImage) -> Result<(), SetError> {
    if loaded.set.spec.naming != Naming::PathOnly {
        return Ok(());
    }
    let has_name = |carried: &&SetImage| {
        carried.repository == image.reference.repository
            && Some(&carried.tag) == image.reference.tag.as_ref()
            && carried.reference.registry != image.reference.registry
    };
    let Some(carried) = loaded.set.images.iter().find(has_name) else { return Ok(()) };
    let message = format!(
        "`{}` would get the name of `{}` in the edge registry; state `naming: HostInPath`, or a destinationRepository \
         for one of them",
        image.reference, carried.written
    );
    Err(SetError { line: carried.line, ..SetError::file(file, message) })
}

/// The set to which images are added.
fn target(file: &str, sets: &[LoadedSet], name: Option<&str>) -> Result<usize, SetError> {
    let named = sets.iter().position(|loaded| name.is_none_or(|name| loaded.set.name == name));
    match named {
        None => {
            let message = format!("holds no {KIND} called {}", name.unwrap_or_default());
            Err(SetError::file(file, message))
        }
        Some(_) if name.is_none() && sets.len() > 1 => {
            let message = format!("holds {} sets; choose one with --name", sets.len());
            Err(SetError::file(file, message))
        }
        Some(set) => Ok(set),
    }
}
