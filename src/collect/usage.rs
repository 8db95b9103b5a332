// SPDX-License-Identifier: Apache-2.0
//! From uses to images: each once, with all places that use it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::model::{ImageUse, Problem};
use super::reference::{has_variable, normalise};
use crate::oci::reference::Reference;
use crate::redact::{masked, printable};
use crate::set::LoadedSet;

/// An image, and what uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedImage {
    /// The image by its full name.
    pub reference: Reference,
    /// The places that use it.
    pub uses: Vec<ImageUse>,
}

impl UsedImage {
    /// Whether it is whatever is newest at the time when it is fetched.
    pub fn is_latest(&self) -> bool {
        self.reference.digest.is_none()
            && self.reference.tag.as_ref().is_some_and(|tag| tag.as_str() == "latest")
    }
}

/// Makes images of uses, sorted by name. What is not the name of an image becomes a problem.
pub fn used_images(uses: &[ImageUse]) -> (Vec<UsedImage>, Vec<Problem>) {
    let mut images = BTreeMap::<Reference, Vec<ImageUse>>::new();
    let mut problems = Vec::new();
    let mut known = HashSet::new();
    for image in uses.iter().filter(|image| known.insert(*image)) {
        match normalise(&image.image) {
            Ok(reference) => images.entry(reference).or_default().push(image.clone()),
            Err(error) => problems.push(problem(image, &error.to_string())),
        }
    }
    // A tag and the same tag with its digest are one image: the digest says which content is meant.
    let pinned = images.keys().filter(|reference| reference.digest.is_some()).cloned().collect::<Vec<_>>();
    for reference in pinned {
        let by_tag = Reference { digest: None, ..reference.clone() };
        if by_tag.tag.is_some()
            && let Some(uses) = images.remove(&by_tag)
        {
            images.entry(reference).or_default().extend(uses);
        }
    }
    problems.extend(remove_other_digests(&mut images));
    problems.sort();
    problems.dedup();
    (images.into_iter().map(|(reference, uses)| UsedImage { reference, uses }).collect(), problems)
}

/// Keeps one digest of each tag: in a registry a tag stands for one image.
fn remove_other_digests(images: &mut BTreeMap<Reference, Vec<ImageUse>>) -> Vec<Problem> {
    let mut first = BTreeMap::<Reference, Reference>::new();
    let mut others = Vec::new();
    for reference in images.keys().filter(|reference| reference.tag.is_some() && reference.digest.is_some()) {
        let by_tag = Reference { digest: None, ..reference.clone() };
        if let Some(first) = first.get(&by_tag) {
            others.push((reference.clone(), first.clone()));
        } else {
            first.insert(by_tag, reference.clone());
        }
    }
    let problem = |(reference, first): (Reference, Reference)| {
        let elsewhere = images.get(&first)?.first()?.origin.clone();
        let origin = images.remove(&reference)?.first()?.origin.clone();
        let reason = format!(
            "`{reference}` has another digest than `{first}` ({elsewhere}), and a tag stands for one image"
        );
        let help = Some("use one digest everywhere, or give one of the two another tag".to_owned());
        Some(Problem { origin, reason, help })
    };
    others.into_iter().filter_map(problem).collect()
}

fn problem(image: &ImageUse, error: &str) -> Problem {
    // A name may have credentials before an `@`.
    let name = printable(&masked(&image.image), 200);
    let error = masked(error);
    let (reason, help) = if has_variable(&image.image) {
        (
            format!("`{name}` holds a variable or a part of a template, so the image is not known"),
            "render the file with its values, and pipe the result: … | krs collect -",
        )
    } else {
        (format!("`{name}` is not the name of an image: {error}"), "correct the name")
    };
    Problem { origin: image.origin.clone(), reason, help: Some(help.to_owned()) }
}

/// An image of a set that nothing uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusedImage {
    /// As the set writes it.
    pub image: String,
    /// File of the set.
    pub file: String,
    /// Line of the file.
    pub line: u64,
    /// Which of the sets it is in, from 0.
    pub set: usize,
    /// Which of the images of that set it is, from 0.
    pub index: usize,
}

/// The difference between what workloads use and what sets carry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Images that are used and that no set carries.
    pub missing: Vec<UsedImage>,
    /// Images of sets that nothing uses.
    pub unused: Vec<UnusedImage>,
    /// Number of images that are used and carried.
    pub carried: usize,
}

/// Compares images with sets. A workload may name an image by its source or by its name in the edge registry.
pub fn coverage(images: Vec<UsedImage>, sets: &[LoadedSet]) -> Coverage {
    let mut is_used = sets.iter().map(|loaded| vec![false; loaded.set.images.len()]).collect::<Vec<_>>();
    // By both names of each image: of its source, and at the edge.
    let mut carried = BTreeMap::<String, Vec<(usize, usize)>>::new();
    for (set, loaded) in sets.iter().enumerate() {
        let destination = loaded.set.spec.destination_registry.as_str();
        for (index, image) in loaded.set.images.iter().enumerate() {
            let edge_name = format!("{destination}/{}", image.repository);
            let names = [image.reference.name(), edge_name].into_iter().collect::<BTreeSet<_>>();
            for name in names {
                carried.entry(name).or_default().push((set, index));
            }
        }
    }
    let mut coverage = Coverage::default();
    for image in images {
        let mut is_carried = false;
        for (set, index) in carried.get(&image.reference.name()).into_iter().flatten() {
            let other = sets.get(*set).and_then(|loaded| loaded.set.images.get(*index));
            if other.is_some_and(|other| carries(&image.reference, other)) {
                is_carried = true;
                let is_used = is_used.get_mut(*set).and_then(|set| set.get_mut(*index));
                is_used.into_iter().for_each(|is_used| *is_used = true);
            }
        }
        if is_carried {
            coverage.carried += 1;
        } else {
            coverage.missing.push(image);
        }
    }
    for (set, (loaded, is_used)) in sets.iter().zip(&is_used).enumerate() {
        let images = loaded.set.images.iter().zip(is_used).enumerate();
        let unused = images.filter(|(_, (_, is_used))| !**is_used);
        coverage.unused.extend(unused.map(|(index, (image, _))| UnusedImage {
            image: image.written.clone(),
            file: loaded.shown.clone(),
            line: image.line,
            set,
            index,
        }));
    }
    coverage
}

/// Whether an image of a set is the one that is used, given that both are in one repository.
fn carries(used: &Reference, carried: &crate::set::SetImage) -> bool {
    match (used.digest, carried.reference.digest) {
        (Some(used), Some(carried)) => used == carried,
        // The tag of the set may stand for other content.
        (Some(_), None) => false,
        (None, _) => used.tag.as_ref() == Some(&carried.tag),
    }
}
