// SPDX-License-Identifier: Apache-2.0
use super::super::model::{Collection, ImageUse, Origin, Problem};
use super::super::resource::Resource;
use crate::redact::printable;

/// Most images of one list: more than all releases of a distribution have.
pub(super) const MAX_IMAGES: usize = 50_000;
/// Most problems of one list.
pub(super) const MAX_PROBLEMS: usize = 200;
/// Longest name that a message shows, in characters.
const MAX_SHOWN: usize = 200;

/// Where the content of lists goes.
pub(in super::super) struct Lists<'a> {
    pub(in super::super) collection: &'a mut Collection,
    /// What is no image, and what is not certain, for people who miss something.
    pub(in super::super) skipped: &'a mut Vec<Problem>,
}

/// The content of one list.
pub(super) struct Found<'a, 'b> {
    pub(super) resource: &'a Resource,
    lists: &'a mut Lists<'b>,
    images: usize,
    problems: usize,
}

impl<'a, 'b> Found<'a, 'b> {
    pub(super) fn new(resource: &'a Resource, lists: &'a mut Lists<'b>) -> Self {
        Self { resource, lists, images: 0, problems: 0 }
    }

    /// Adds an image. `line` is 0 if it is not known.
    pub(super) fn image(&mut self, field: &str, line: usize, image: impl Into<String>) {
        self.images += 1;
        if self.images <= MAX_IMAGES {
            let origin = self.origin(field, line);
            self.lists.collection.images.push(ImageUse { image: image.into(), origin });
        } else if self.images == MAX_IMAGES + 1 {
            let reason = format!("lists more than {MAX_IMAGES} images; the others were not read");
            self.add(field, line, reason, "divide the list");
        }
    }

    /// Adds something because of which images can be missing.
    pub(super) fn problem(&mut self, field: &str, line: usize, reason: impl Into<String>, help: &str) {
        self.problems += 1;
        if self.problems <= MAX_PROBLEMS {
            self.add(field, line, reason.into(), help);
        } else if self.problems == MAX_PROBLEMS + 1 {
            let reason = format!("has more than {MAX_PROBLEMS} problems; the others are not shown");
            self.add(field, line, reason, "correct those that are shown first");
        }
    }

    /// Adds something that is no image, or not as certain as it may look.
    pub(super) fn note(&mut self, field: &str, line: usize, reason: impl Into<String>) {
        if self.lists.skipped.len() < MAX_IMAGES {
            let origin = self.origin(field, line);
            self.lists.skipped.push(Problem { origin, reason: reason.into(), help: None });
        }
    }

    fn add(&mut self, field: &str, line: usize, reason: String, help: &str) {
        let help = (!help.is_empty()).then(|| help.to_owned());
        let origin = self.origin(field, line);
        self.lists.collection.problems.push(Problem { origin, reason, help });
    }

    fn origin(&self, field: &str, line: usize) -> Origin {
        let origin = self.resource.origin(field, line);
        // A list without a name: its kind alone says nothing that its file does not.
        let resource = origin.resource.filter(|_| !self.resource.name.is_empty());
        Origin { resource, ..origin }
    }
}

/// A name from outside, as a message shows it.
pub(super) fn shown(text: &str) -> String {
    printable(text, MAX_SHOWN)
}
