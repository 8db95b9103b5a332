// SPDX-License-Identifier: Apache-2.0
//! Edits of the images of sets in the text of a file. Every byte that an edit does not concern stays: comments, layout,
//! quotes, line breaks, byte order marks, and the other documents of the file.
//!
//! An edit is computed from the events of the parser, twice: as bytes, and as the events that the result must have. What
//! does not agree after parsing the result is refused.

mod append;
mod change;
mod lines;
mod locate;
mod nodes;
mod remove;
mod replace;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_saphyr::granit_parser::Event;

pub use append::NewImage;

use self::change::{Change, Refusal, new_events, new_text};
use self::nodes::{Nodes, Unreadable};
use super::error::{SetError, SetErrors};
use super::files::read::{MAX_FILE, mentions};
use super::rules::document::{find, read};
use super::yaml::kind::{DocumentKind, classify};
use super::yaml::outline::outline;
use super::yaml::position::{MAX_DOCUMENT, Position};
use super::yaml::text::{Piece, split};
use crate::oci::reference::Reference;

/// The sets of a file, open for edits.
///
/// # Expected flow
/// [`open`](Self::open), any number of edits, [`finish`](Self::finish). Sets and images are counted from 0 in the order
/// of the file as it was opened; an edit does not renumber them.
///
/// # Guarantees
/// The result differs from the file only where an edit was made, and parses to the same events except for that edit.
///
/// # Errors
/// An edit that cannot be made so is refused with the place in the file and what to write by hand; the others are made.
#[derive(Debug)]
pub struct Editor<'a> {
    file: String,
    text: &'a str,
    documents: Vec<Document<'a>>,
    sets: Vec<Set>,
}

/// A document of the file that has sets.
#[derive(Debug)]
struct Document<'a> {
    /// Its number among the documents of the file.
    number: usize,
    piece: Piece<'a>,
    nodes: Nodes<'a>,
}

#[derive(Debug)]
struct Set {
    /// Index in [`Editor::documents`].
    document: usize,
    /// Its number among the items of the list that the document is.
    item: Option<usize>,
    line: u64,
    /// Number of the YAML node of its mapping.
    node: usize,
    /// Replacements and removals.
    changes: Vec<Change>,
    removed: usize,
    new: Vec<NewImage>,
}

/// An image of a set that is open for edits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditableImage {
    /// The reference as the set writes it. `None`: it does not stand there itself, such as for an alias.
    pub written: Option<String>,
    /// Line of the file, from 1.
    pub line: u64,
}

impl<'a> Editor<'a> {
    /// Opens the sets of a file, which messages call `file`. What is no set is not touched, and need not be YAML.
    ///
    /// # Errors
    /// The file is too large or not UTF-8, or a set in it is too large to be edited.
    pub fn open(file: &str, bytes: &'a [u8]) -> Result<Self, SetError> {
        if bytes.len() as u64 > MAX_FILE {
            return Err(SetError::file(file, format!("has more than the {MAX_FILE} bytes that are allowed")));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| SetError::file(file, "is not UTF-8"))?;
        let mut editor = Self { file: file.to_owned(), text, documents: Vec::new(), sets: Vec::new() };
        for (number, piece) in split(text).into_iter().enumerate() {
            if mentions(piece.text.as_bytes()) && piece.text.len() <= MAX_DOCUMENT {
                editor.document(number, piece)?;
            }
        }
        Ok(editor)
    }

    fn document(&mut self, number: usize, piece: Piece<'a>) -> Result<(), SetError> {
        let (Ok(found), Ok(outline)) = (find(&piece), outline(&piece.text)) else { return Ok(()) };
        let is_list = classify(&outline.header) == DocumentKind::List;
        let sets = found.iter().enumerate().filter(|(_, found)| found.kind == DocumentKind::Set);
        let sets =
            sets.map(|(n, found)| (is_list.then_some(n), found.piece.first_line())).collect::<Vec<_>>();
        if sets.is_empty() {
            return Ok(());
        }
        let nodes = Nodes::read(piece.shown).map_err(|reason| {
            let message = match reason {
                Unreadable::Yaml => "does not read as YAML",
                Unreadable::TooLarge => "has more parts than krs edits in one document",
                Unreadable::NoOffset => "cannot be edited: the parser does not say where its parts stand",
            };
            let start = Position { line: 1, column: 1, length: 1 };
            piece.error(&self.file, start, message.to_owned()).help("edit it by hand")
        })?;
        for (item, line) in sets {
            let Some(node) = locate::set(&nodes, item) else { continue };
            let (document, changes, new) = (self.documents.len(), Vec::new(), Vec::new());
            self.sets.push(Set { document, item, line, node, changes, removed: 0, new });
        }
        self.documents.push(Document { number, piece, nodes });
        Ok(())
    }

    /// How many sets the file has.
    pub fn sets(&self) -> usize {
        self.sets.len()
    }

    /// Line of the file on which a set begins, from 1.
    pub fn line(&self, set: usize) -> Option<u64> {
        self.sets.get(set).map(|set| set.line)
    }

    /// The images of a set, as the file was opened. Empty where `spec.images` does not stand in the set itself.
    pub fn images(&self, set: usize) -> Vec<EditableImage> {
        let Some((set, document)) = self.set(set) else { return Vec::new() };
        let nodes = &document.nodes;
        let Ok(list) = locate::list(nodes, set.node) else { return Vec::new() };
        let image = |entry: usize| {
            let value = locate::value(nodes, entry).ok();
            let written = value.and_then(|value| match nodes.event(value) {
                Some(Event::Scalar(text, ..)) => Some(text.to_string()),
                _ => None,
            });
            EditableImage { written, line: document.piece.line(nodes.spot(value.unwrap_or(entry)).line) }
        };
        nodes.children(list).map(image).collect()
    }

    /// Replaces `spec.images[image].image` of a set.
    ///
    /// # Errors
    /// The value does not stand there on one line as it reads, or `new` is not a reference.
    pub fn replace(&mut self, set: usize, image: usize, new: &str) -> Result<(), SetError> {
        let by_hand = || format!("write it by hand: image: {new}");
        self.edit(set, &by_hand, |nodes, set| {
            is_reference(set, new)?;
            replace::replace(nodes, set.node, image, new)
        })
    }

    /// Removes `spec.images[image]` of a set, with the comment lines directly above it.
    ///
    /// # Errors
    /// The entry does not stand there itself, or shares its lines with others in a way that cannot be taken apart.
    pub fn remove(&mut self, set: usize, image: usize) -> Result<(), SetError> {
        let by_hand = || format!("remove entry {image} of spec.images by hand, counted from 0");
        self.edit(set, &by_hand, |nodes, set| remove::remove(nodes, set.node, image))?;
        if let Some(set) = self.sets.get_mut(set) {
            set.removed += 1;
        }
        Ok(())
    }

    /// Appends images behind the last one of a set, written as the others are.
    ///
    /// # Errors
    /// There is no place for them, or one is not a reference. Then none of them is appended.
    pub fn append(&mut self, set: usize, images: &[NewImage]) -> Result<(), SetError> {
        let by_hand = || {
            let entries = images.iter().map(|new| format!("\n- image: {}", new.image));
            format!("add to spec.images by hand:{}", entries.collect::<String>())
        };
        let found = self.sets.get(set);
        let so_far = found.map(|set| set.new.len()).unwrap_or_default();
        self.edit(set, &by_hand, |nodes, set| {
            images.iter().try_for_each(|new| is_reference(set, &new.image))?;
            append::append(nodes, set.node, images)
        })?;
        // All of them together make one change.
        if let Some(set) = self.sets.get_mut(set) {
            set.changes.pop();
            set.new.truncate(so_far);
            set.new.extend_from_slice(images);
        }
        Ok(())
    }

    /// The file with all edits.
    ///
    /// # Errors
    /// Edits concern the same bytes, the result does not read as it must, or a set breaks a rule after its edits.
    pub fn finish(self) -> Result<Vec<u8>, SetErrors> {
        let mut text = String::with_capacity(self.text.len());
        let (mut copied, mut expected) = (0, BTreeMap::new());
        for (n, document) in self.documents.iter().enumerate() {
            let changes =
                self.changes(n).map_err(|refusal| self.refused(document, &refusal, "edit it by hand"))?;
            if changes.is_empty() {
                continue;
            }
            let both =
                new_text(document.piece.shown, &changes).zip(new_events(document.nodes.events(), &changes));
            let Some((new, events)) = both else {
                return Err(self
                    .unsound(document, "edits that concern the same entry; make them one after the other"));
            };
            text.push_str(self.text.get(copied..document.piece.start).unwrap_or_default());
            text.push_str(&new);
            copied = document.piece.start + document.piece.shown.len();
            expected.insert(document.number, (document, n, events));
        }
        text.push_str(self.text.get(copied..).unwrap_or_default());
        let (old, new) = (split(self.text), split(&text));
        let mut errors = Vec::new();
        for (number, piece) in new.iter().enumerate() {
            let Some((document, n, events)) = expected.get(&number) else {
                if old.get(number).map(|old| old.shown) != Some(piece.shown) {
                    return Err(SetError::file(&self.file, "an edit would change another document").into());
                }
                continue;
            };
            if Nodes::read(piece.shown).map_or(true, |nodes| nodes.events() != events.as_slice()) {
                return Err(self.unsound(document, "the result would not read as intended"));
            }
            errors.extend(self.broken(*n, piece));
        }
        if new.len() != old.len() {
            return Err(SetError::file(&self.file, "an edit would divide the file in other documents").into());
        }
        if errors.is_empty() { Ok(text.into_bytes()) } else { Err(SetErrors(errors)) }
    }

    /// All changes of a document.
    fn changes(&self, document: usize) -> Result<Vec<Change>, Refusal> {
        let mut changes = Vec::new();
        for set in self.sets.iter().filter(|set| set.document == document) {
            changes.extend(set.changes.iter().cloned());
            let Some(Document { nodes, .. }) = self.documents.get(document) else { continue };
            if !set.new.is_empty() {
                changes.push(append::append(nodes, set.node, &set.new)?);
            } else if set.removed > 0 {
                let list = locate::list(nodes, set.node)?;
                if nodes.children(list).count() <= set.removed {
                    return Err(Refusal::new(list, "no image would be left; remove the set"));
                }
            }
        }
        Ok(changes)
    }

    /// Which rules the edited sets of a document break.
    fn broken(&self, document: usize, piece: &Piece<'_>) -> Vec<SetError> {
        let Ok(found) = find(piece) else { return Vec::new() };
        let edited = self
            .sets
            .iter()
            .filter(|set| set.document == document && !(set.changes.is_empty() && set.new.is_empty()));
        let found = edited.filter_map(|set| found.get(set.item.unwrap_or_default()));
        found.filter_map(|found| read(&found.piece, &self.file).err()).flatten().collect()
    }

    fn set(&self, set: usize) -> Option<(&Set, &Document<'a>)> {
        let set = self.sets.get(set)?;
        Some((set, self.documents.get(set.document)?))
    }

    fn edit(
        &mut self,
        set: usize,
        by_hand: &dyn Fn() -> String,
        change: impl Fn(&Nodes<'a>, &Set) -> Result<Change, Refusal>,
    ) -> Result<(), SetError> {
        let Some((found, document)) = self.set(set) else {
            return Err(SetError::file(&self.file, format!("has no set {set}, counted from 0")));
        };
        let change =
            change(&document.nodes, found).map_err(|refusal| self.refused(document, &refusal, &by_hand()))?;
        if let Some(set) = self.sets.get_mut(set) {
            set.changes.push(change);
        }
        Ok(())
    }

    fn refused(&self, document: &Document<'_>, Refusal { event, reason }: &Refusal, help: &str) -> SetError {
        let message = format!("cannot be edited: {reason}");
        document.piece.error(&self.file, document.nodes.spot(*event), message).help(help)
    }

    fn unsound(&self, document: &Document<'_>, problem: &str) -> SetErrors {
        let line = document.piece.first_line();
        SetError { line, ..SetError::file(&self.file, problem) }.help("edit this document by hand").into()
    }
}

/// Only references are written, so that nothing needs escapes.
fn is_reference(set: &Set, text: &str) -> Result<(), Refusal> {
    let problem =
        |error| Refusal::new(set.node, format!("the new value `{text}` is not a reference ({error})"));
    text.parse::<Reference>().map(|_| ()).map_err(problem)
}
