// SPDX-License-Identifier: Apache-2.0
//! The YAML of a new set.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use super::model::ImageUse;
use super::usage::UsedImage;
use crate::crd::{API_VERSION, KIND, Naming};
use crate::oci::reference::{Destination, Reference};
use crate::redact::printable;
use crate::set::{SetError, check};

/// Most places that a comment names.
const MAX_PLACES: usize = 3;
/// Longest comment, in characters.
const MAX_COMMENT: usize = 160;

/// What a new set is called, and where its images go.
#[derive(Debug, Clone)]
pub struct NewSet {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: Option<String>,
    /// `spec.destinationRegistry`.
    pub destination: Destination,
    /// The naming that every set of the checkout must have. `None`: the one that the images need.
    pub naming: Option<Naming>,
}

/// Writes a set of images, each below a comment that says what uses it.
///
/// # Errors
/// The result would not be a valid set: a wrong name, or images that would overwrite each other.
pub fn new_set(set: &NewSet, images: &[UsedImage]) -> Result<String, SetError> {
    let mut text =
        format!("apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata:\n  name: {}\n", quoted(&set.name));
    if let Some(namespace) = &set.namespace {
        let _ = writeln!(text, "  namespace: {}", quoted(namespace));
    }
    let _ = writeln!(text, "spec:\n  destinationRegistry: {}", quoted(&set.destination.to_string()));
    match (set.naming, has_equal_paths(images)) {
        (Some(Naming::PathOnly), true) => {
            let message = "images of several registries would have one name, and krs.yaml requires naming: PathOnly for every set";
            return Err(SetError::file("the new set", message)
                .help("require naming: HostInPath in krs.yaml, or collect fewer sources into one set"));
        }
        (None, true) => {
            text.push_str(
                "  # Repositories of several registries have the same path.\n  naming: HostInPath\n",
            );
        }
        (Some(Naming::HostInPath), _) => text.push_str("  naming: HostInPath\n"),
        (None | Some(Naming::PathOnly), false) => {}
    }
    text.push_str("  images:\n");
    for image in images {
        for comment in comments(&image.uses) {
            let _ = writeln!(text, "  # {comment}");
        }
        let _ = writeln!(text, "  - image: {}", image.reference);
    }
    check(text.as_bytes(), "the new set")?;
    Ok(text)
}

/// The lines of a comment that says where an image is used, without their `#`.
pub fn comments(uses: &[ImageUse]) -> Vec<String> {
    let (mut places, mut known) = (Vec::new(), HashSet::new());
    for image in uses {
        let source = &image.origin.source;
        let resource =
            image.origin.resource.iter().map(|resource| format!(": {resource}")).collect::<String>();
        let place = printable(&format!("{source}{resource}"), MAX_COMMENT);
        if known.insert(place.clone()) {
            places.push(place);
        }
    }
    if let more @ 1.. = places.len().saturating_sub(MAX_PLACES) {
        places.truncate(MAX_PLACES);
        places.push(format!("and {more} more"));
    }
    places
}

/// Whether images of two registries would have one name without their registries.
fn has_equal_paths(images: &[UsedImage]) -> bool {
    let mut registries = BTreeMap::new();
    let mut is_equal = |reference: &Reference| {
        let name = (reference.repository.clone(), reference.tag.clone());
        let registry = reference.registry.clone();
        *registries.entry(name).or_insert_with(|| registry.clone()) != registry
    };
    images.iter().any(|image| is_equal(&image.reference))
}

/// A text as a YAML scalar: names of objects and registries that are no numbers need no quotes.
fn quoted(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-./:".contains(c))
        && !["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(&text);
    if is_plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
