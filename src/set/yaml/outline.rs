// SPDX-License-Identifier: Apache-2.0
//! The outline of a YAML document: its `apiVersion` and `kind`, and the items of a list.
//!
//! It follows the parser's events and expands nothing, so that its cost is bounded for every document.

use std::collections::HashMap;
use std::ops::Range;

use serde_saphyr::granit_parser::Event;

use super::characters::{character_name, describe};
use super::position::Position;

/// Deepest nesting that is followed.
const MAX_DEPTH: usize = 128;

/// A scalar with its line and column, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::set) struct LocatedText {
    pub(in crate::set) value: String,
    pub(in crate::set) position: Position,
}

/// The two fields that tell the kind of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::set) struct Header {
    pub(in crate::set) api_version: Option<LocatedText>,
    pub(in crate::set) kind: Option<LocatedText>,
}

/// An item of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::set) struct Item {
    /// The range of its text.
    pub(in crate::set) bytes: Range<usize>,
    /// Line on which it begins, from 1.
    pub(in crate::set) line: u64,
    /// Characters before it on that line.
    pub(in crate::set) column: usize,
    /// Whether it is written in braces.
    pub(in crate::set) flow: bool,
    /// Whether it uses anchors outside of it.
    pub(in crate::set) foreign: bool,
}

/// The outline of a YAML document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::set) struct Outline {
    pub(in crate::set) header: Header,
    /// Objects under the key `items`.
    pub(in crate::set) items: Vec<Item>,
}

enum OpenNode {
    Map { key: Option<String> },
    List,
}

/// Reads the outline of a text that is one document.
///
/// # Errors
/// The location of the error, and why the text is not YAML.
pub(in crate::set) fn outline(text: &str) -> Result<Outline, (Position, String)> {
    let mut outline = Outline::default();
    let mut open: Vec<OpenNode> = Vec::new();
    // The open item, and the items with anchors.
    let mut current = None;
    let mut owners = HashMap::new();
    for event in crate::yaml::events(text) {
        let (event, span) = event.map_err(|error| {
            let (marker, info) = (error.marker(), error.info());
            tab(text, marker.line(), &info)
                .or_else(|| odd_indent(text))
                .unwrap_or_else(|| (position(marker.line(), marker.col(), 1), explain(info)))
        })?;
        let under_items =
            matches!(open.as_slice(), [OpenNode::Map { key: Some(key) }, OpenNode::List] if key == "items");
        if let Event::MappingStart(_, anchor, _)
        | Event::SequenceStart(_, anchor, _)
        | Event::Scalar(_, _, anchor, _) = event
        {
            // The item that begins here is counted below.
            let begins = under_items && matches!(event, Event::MappingStart(..));
            owners.insert(anchor, if begins { Some(outline.items.len()) } else { current });
        }
        match event {
            Event::MappingStart(..) | Event::SequenceStart(..) if open.len() == MAX_DEPTH => {
                let message = format!("nested deeper than {MAX_DEPTH} levels");
                return Err((position(span.start.line(), span.start.col(), 1), message));
            }
            Event::MappingStart(..) => {
                if under_items {
                    let start = span.start.byte_offset().unwrap_or_default();
                    outline.items.push(Item {
                        bytes: start..start,
                        line: span.start.line().max(1) as u64,
                        column: span.start.col(),
                        flow: text.get(start..).is_some_and(|text| text.starts_with('{')),
                        foreign: false,
                    });
                    current = Some(outline.items.len() - 1);
                }
                open.push(OpenNode::Map { key: None });
            }
            Event::SequenceStart(..) => open.push(OpenNode::List),
            Event::MappingEnd | Event::SequenceEnd => {
                open.pop();
                let item = matches!(open.as_slice(), [OpenNode::Map { key: Some(key) }, OpenNode::List] if key == "items");
                if item
                    && matches!(event, Event::MappingEnd)
                    && let Some(item) = outline.items.last_mut()
                {
                    let end = if item.flow { span.end } else { span.start };
                    item.bytes.end = end.byte_offset().unwrap_or(text.len()).max(item.bytes.start);
                    current = None;
                }
                node_ended(&mut open);
            }
            Event::Scalar(value, ..) => {
                if let Some((key, merged)) = header_key(&open) {
                    let length = span.end.index().saturating_sub(span.start.index());
                    let word = LocatedText {
                        value: value.to_string(),
                        position: position(span.start.line(), span.start.col(), length),
                    };
                    let field = match key {
                        "apiVersion" => Some(&mut outline.header.api_version),
                        "kind" => Some(&mut outline.header.kind),
                        _ => None,
                    };
                    if let Some(field) = field.filter(|field| !merged || field.is_none()) {
                        *field = Some(word);
                    }
                }
                match open.last_mut() {
                    Some(OpenNode::Map { key: key @ None }) => *key = Some(value.into_owned()),
                    _ => node_ended(&mut open),
                }
            }
            Event::Alias(anchor) => {
                if owners.get(&anchor) != Some(&current)
                    && let Some(item) = current.and_then(|item| outline.items.get_mut(item))
                {
                    item.foreign = true;
                }
                node_ended(&mut open);
            }
            _ => {}
        }
    }
    Ok(outline)
}

/// The key whose value comes next, if it may tell the kind of the object; whether a merge key brings it, behind the
/// object's own.
fn header_key(open: &[OpenNode]) -> Option<(&str, bool)> {
    match open {
        [OpenNode::Map { key: Some(key) }] => Some((key, false)),
        [OpenNode::Map { key: Some(merge) }, OpenNode::Map { key: Some(key) }]
        | [OpenNode::Map { key: Some(merge) }, OpenNode::List, OpenNode::Map { key: Some(key) }]
            if merge == "<<" =>
        {
            Some((key, true))
        }
        _ => None,
    }
}

/// The location of the tab that the parser refused. The parser reports the value before it.
fn tab(text: &str, line: usize, message: &str) -> Option<(Position, String)> {
    if !message.contains("tab") {
        return None;
    }
    let indented = |line: &str| line.find('\t').filter(|at| line.trim_start().len() < line.len() - at);
    let (number, column) = text
        .lines()
        .enumerate()
        .skip(line.saturating_sub(1))
        .find_map(|(number, line)| indented(line).map(|column| (number, column)))?;
    let message = "a tab stands where YAML takes only spaces".to_owned();
    Some((position(number + 1, column, 1), message))
}

/// Indentation with characters that only look like blanks.
pub(in crate::set) fn odd_indent(text: &str) -> Option<(Position, String)> {
    text.lines().enumerate().find_map(|(number, line)| {
        let indent = line.chars().take_while(|c| c.is_whitespace() || character_name(*c).is_some());
        // A byte order mark is no indentation, but the beginning of a file.
        let column = indent.clone().position(|c| !matches!(c, ' ' | '\t' | '\u{feff}'))?;
        let name = describe(indent.clone().nth(column)?);
        let has_more = line.chars().count() > indent.count();
        has_more.then(|| {
            (position(number + 1, column, 1), format!("the line is indented with {name}; use spaces"))
        })
    })
}

/// The parser's message, reworded for the author of a set.
fn explain(message: String) -> String {
    if message.contains("unknown anchor") {
        return "there is no anchor of this name before the alias in the same document".to_owned();
    }
    if message.contains("BOM") {
        return "a byte order mark (U+FEFF) stands inside of the document; were two files joined without `---`?"
            .to_owned();
    }
    message
}

/// After a value its mapping waits for the next key; after a key that is no scalar, for its value.
fn node_ended(open: &mut [OpenNode]) {
    if let Some(OpenNode::Map { key }) = open.last_mut() {
        *key = match key {
            Some(_) => None,
            None => Some(String::new()),
        };
    }
}

fn position(line: usize, column: usize, length: usize) -> Position {
    Position { line: line.max(1) as u64, column: column as u64 + 1, length: length.max(1) }
}
