// SPDX-License-Identifier: Apache-2.0
//! The events of a document with the bytes where each stands, and the way from a field to its value.

use std::ops::Range;

use serde_saphyr::granit_parser::{Event, ScalarStyle, StructureStyle};

use crate::set::yaml::position::Position;

/// Most events of a document that is edited.
const MAX_EVENTS: usize = 500_000;

/// Events of a document, in its order.
#[derive(Debug)]
pub(super) struct Nodes<'a> {
    pub(super) text: &'a str,
    events: Vec<Event<'a>>,
    spans: Vec<Range<usize>>,
    places: Vec<(usize, usize)>,
    /// For the start of a mapping or a list its end; for others the event itself.
    ends: Vec<usize>,
}

/// Why the events of a document cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    Yaml,
    TooLarge,
    /// The parser does not say at which byte an event stands.
    NoOffset,
}

impl<'a> Nodes<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, Unreadable> {
        let mut nodes =
            Self { text, events: Vec::new(), spans: Vec::new(), places: Vec::new(), ends: Vec::new() };
        let mut open = Vec::new();
        for event in crate::yaml::events(text) {
            let (event, span) = event.map_err(|_| Unreadable::Yaml)?;
            let at = nodes.events.len();
            if at == MAX_EVENTS {
                return Err(Unreadable::TooLarge);
            }
            let bytes = span.byte_range().ok_or(Unreadable::NoOffset)?;
            match event {
                Event::MappingStart(..) | Event::SequenceStart(..) => open.push(at),
                Event::MappingEnd | Event::SequenceEnd => {
                    let start = open.pop().ok_or(Unreadable::Yaml)?;
                    if let Some(end) = nodes.ends.get_mut(start) {
                        *end = at;
                    }
                }
                _ => {}
            }
            nodes.events.push(event);
            nodes.spans.push(bytes);
            nodes.places.push((span.start.line(), span.start.col()));
            nodes.ends.push(at);
        }
        Ok(nodes)
    }

    pub(super) fn events(&self) -> &[Event<'a>] {
        &self.events
    }

    pub(super) fn event(&self, node: usize) -> Option<&Event<'a>> {
        self.events.get(node)
    }

    /// Where the text of an event is.
    pub(super) fn bytes(&self, event: usize) -> Range<usize> {
        self.spans.get(event).cloned().unwrap_or_default()
    }

    pub(super) fn source(&self, event: usize) -> &'a str {
        self.text.get(self.bytes(event)).unwrap_or_default()
    }

    /// Where an event stands, for a message.
    pub(super) fn spot(&self, event: usize) -> Position {
        let (line, column) = self.places.get(event).copied().unwrap_or((1, 0));
        let first = self.source(event).lines().next().unwrap_or_default();
        Position { line: line.max(1) as u64, column: column as u64 + 1, length: first.chars().count().max(1) }
    }

    /// The last event of a node.
    pub(super) fn end(&self, node: usize) -> usize {
        self.ends.get(node).copied().unwrap_or(node)
    }

    /// The root node of the document.
    pub(super) fn root(&self) -> Option<usize> {
        let is_node = |event: &Event<'_>| {
            !matches!(
                event,
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd | Event::StreamEnd
            )
        };
        self.events.iter().position(is_node)
    }

    /// The nodes directly in a mapping (keys and values in turn) or a list.
    pub(super) fn children(&self, node: usize) -> impl Iterator<Item = usize> {
        let end = self.end(node);
        let mut next = node + 1;
        std::iter::from_fn(move || {
            let child = next;
            (child < end).then(|| {
                next = self.end(child) + 1;
                child
            })
        })
    }

    /// The key and the value of a field of a mapping.
    pub(super) fn field(&self, mapping: usize, name: &str) -> Option<(usize, usize)> {
        if !matches!(self.event(mapping), Some(Event::MappingStart(..))) {
            return None;
        }
        let mut children = self.children(mapping);
        while let (Some(key), Some(value)) = (children.next(), children.next()) {
            if matches!(self.event(key), Some(Event::Scalar(text, ..)) if text == name) {
                return Some((key, value));
            }
        }
        None
    }

    /// The style of a mapping or a list that has no anchor and no tag.
    pub(super) fn style(&self, node: usize) -> Option<StructureStyle> {
        match self.event(node)? {
            Event::MappingStart(style, 0, None) | Event::SequenceStart(style, 0, None) => Some(*style),
            _ => None,
        }
    }

    /// Whether a node, or one in it, has an anchor.
    pub(super) fn has_anchor(&self, node: usize) -> bool {
        let has_one = |event: &Event<'_>| {
            matches!(event,
                Event::Scalar(_, _, anchor, _) | Event::MappingStart(_, anchor, _) | Event::SequenceStart(_, anchor, _)
                if *anchor != 0)
        };
        self.events.get(node..=self.end(node)).is_some_and(|events| events.iter().any(has_one))
    }

    /// Where the text of a node ends: behind its last scalar, alias or closing bracket; for an empty value, behind its key.
    /// `None` for a block scalar, whose end is not visible.
    pub(super) fn text_end(&self, node: usize) -> Option<usize> {
        let events = (node..=self.end(node)).rev();
        for event in events {
            match self.event(event)? {
                Event::Scalar(_, ScalarStyle::Literal | ScalarStyle::Folded, ..) => return None,
                Event::MappingEnd | Event::SequenceEnd if self.bytes(event).is_empty() => {}
                _ => return Some(self.bytes(event).end),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn text_of_a_node_ends_before_comments_and_blanks() {
        let text = "images:\n- image: \"ä\" # c\n  x:\n\n# d\n- {image: c, d: [e]}  # f\n- image: |\n    text\nlast: 1\n";
        let nodes = Nodes::read(text).unwrap();
        let (_, list) = nodes.field(nodes.root().unwrap(), "images").unwrap();
        let ends = nodes.children(list).map(|item| nodes.text_end(item)).collect::<Vec<_>>();
        let end = |part: &str| text.find(part).map(|at| at + part.len());
        assert_eq!(ends, [end("  x"), end("[e]}"), None]);
        assert_eq!(nodes.field(list, "images"), None);
    }

    #[test]
    fn places_count_bytes_and_characters() {
        let text = "a: \u{1F600}\r\nb: {c: \"ä\", d: x}\r\n";
        let nodes = Nodes::read(text).unwrap();
        let (_, b) = nodes.field(nodes.root().unwrap(), "b").unwrap();
        let (_, d) = nodes.field(b, "d").unwrap();
        assert_eq!((nodes.source(d), nodes.spot(d)), ("x", Position { line: 2, column: 16, length: 1 }));
        assert_eq!(Nodes::read("a: [").unwrap_err(), Unreadable::Yaml);
    }
}
