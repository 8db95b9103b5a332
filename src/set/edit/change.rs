// SPDX-License-Identifier: Apache-2.0
//! What an edit does to the bytes of a document, and what to its events. Both are applied, and must agree.

use std::ops::Range;

use serde_saphyr::granit_parser::{Event, ScalarStyle, StructureStyle};

/// Text in place of a part of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Splice {
    pub(super) bytes: Range<usize>,
    pub(super) text: String,
}

/// An edit of a document.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) splices: Vec<Splice>,
    /// The events that are replaced.
    pub(super) events: Range<usize>,
    pub(super) new_events: Vec<Event<'static>>,
}

/// Why krs does not make an edit, and the event that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) event: usize,
    pub(super) reason: String,
}

impl Refusal {
    pub(super) fn new(event: usize, reason: impl Into<String>) -> Self {
        Self { event, reason: reason.into() }
    }
}

/// The document after all changes. `None`: two of them concern the same bytes.
pub(super) fn new_text(text: &str, changes: &[Change]) -> Option<String> {
    let mut splices = changes.iter().flat_map(|change| &change.splices).collect::<Vec<_>>();
    // Stable: what is inserted at one byte stays in the order of the edits.
    splices.sort_by_key(|splice| (splice.bytes.start, splice.bytes.end));
    let mut new =
        String::with_capacity(text.len() + splices.iter().map(|splice| splice.text.len()).sum::<usize>());
    let mut copied = 0;
    for Splice { bytes, text: inserted } in splices {
        new.push_str(text.get(copied..bytes.start)?);
        new.push_str(inserted);
        copied = bytes.end;
    }
    new.push_str(text.get(copied..)?);
    Some(new)
}

/// The events that the document must have after all changes. `None`: two of them concern the same events.
pub(super) fn new_events<'a>(events: &[Event<'a>], changes: &[Change]) -> Option<Vec<Event<'a>>> {
    let mut changes = changes.iter().collect::<Vec<_>>();
    changes.sort_by_key(|change| (change.events.start, change.events.end));
    let mut new = Vec::with_capacity(events.len());
    let mut copied = 0;
    for Change { events: replaced, new_events, .. } in changes {
        new.extend_from_slice(events.get(copied..replaced.start)?);
        new.extend(new_events.iter().cloned());
        copied = replaced.end;
    }
    new.extend_from_slice(events.get(copied..)?);
    Some(new)
}

pub(super) fn scalar(value: &str, style: ScalarStyle) -> Event<'static> {
    Event::Scalar(value.to_owned().into(), style, 0, None)
}

/// The events of an entry of `spec.images` that only has an image.
pub(super) fn entry(
    key: ScalarStyle,
    image: &str,
    value: ScalarStyle,
    structure: StructureStyle,
) -> [Event<'static>; 4] {
    [Event::MappingStart(structure, 0, None), scalar("image", key), scalar(image, value), Event::MappingEnd]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(splices: &[(Range<usize>, &str)]) -> Change {
        let splice =
            |(bytes, text): &(Range<usize>, &str)| Splice { bytes: bytes.clone(), text: (*text).to_owned() };
        Change { splices: splices.iter().map(splice).collect(), events: 0..0, new_events: Vec::new() }
    }

    #[test]
    fn splices_are_applied_together_unless_they_overlap() {
        let text = |splices: &[(Range<usize>, &str)]| new_text("abcdef", &[change(splices)]);
        assert_eq!(text(&[]).as_deref(), Some("abcdef"));
        assert_eq!(text(&[(4..6, "E"), (0..1, ""), (4..4, "x"), (4..4, "y")]).as_deref(), Some("bcdxyE"));
        assert_eq!(text(&[(0..3, ""), (2..4, "")]), None);
        assert_eq!(text(&[(0..3, ""), (2..2, "x")]), None);
        assert_eq!(text(&[(0..3, ""), (3..3, "x")]).as_deref(), Some("xdef"));
        assert_eq!(text(&[(5..9, "")]), None);
    }
}
