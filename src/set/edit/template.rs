// SPDX-License-Identifier: Apache-2.0
//! How a set writes an entry of its images: in lines or in braces, with which quotes and blanks.

use serde_saphyr::granit_parser::{ScalarStyle, StructureStyle};

use super::lines::is_blank;
use super::locate::{quote, simple};
use super::nodes::Nodes;

/// The form of an entry that only has an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    /// Text before the image: `image: `, or with a brace.
    before: String,
    /// Text behind it.
    after: String,
    pub(super) structure: StructureStyle,
    pub(super) key_style: ScalarStyle,
    value_style: ScalarStyle,
}

/// An entry as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) text: String,
    /// Of the image.
    pub(super) style: ScalarStyle,
}

impl Template {
    /// That of an entry in lines, where there is none to follow.
    pub(super) fn block() -> Self {
        Self {
            before: "image: ".to_owned(),
            after: String::new(),
            structure: StructureStyle::Block,
            key_style: ScalarStyle::Plain,
            value_style: ScalarStyle::Plain,
        }
    }

    /// That of an entry in braces, with the quotes of JSON where the first scalar from `node` on has them.
    pub(super) fn flow(nodes: &Nodes<'_>, node: usize) -> Self {
        let is_json = (node..=nodes.end(node))
            .find_map(|node| nodes.source(node).chars().next().filter(|c| c.is_alphanumeric() || *c == '"'))
            == Some('"');
        let style = if is_json { ScalarStyle::DoubleQuoted } else { ScalarStyle::Plain };
        let quote = quote(style).unwrap_or_default();
        Self {
            before: format!("{{{quote}image{quote}: "),
            after: "}".to_owned(),
            structure: StructureStyle::Flow,
            key_style: style,
            value_style: style,
        }
    }

    /// That of an entry. `None`: it is not written in a way that can be followed.
    pub(super) fn of(nodes: &Nodes<'_>, entry: usize) -> Option<Self> {
        let structure = nodes.style(entry)?;
        let (key, value) = nodes.field(entry, "image")?;
        let ((_, key_style), (_, value_style)) = (simple(nodes, key).ok()?, simple(nodes, value).ok()?);
        let (key_bytes, value_bytes) = (nodes.bytes(key), nodes.bytes(value));
        let colon = nodes.text.get(key_bytes.end..value_bytes.start)?;
        let colon = colon.strip_prefix(':').filter(|blanks| is_blank(blanks)).map_or(": ", |_| colon);
        let field = format!("{}{colon}", nodes.source(key));
        let (before, after) = match structure {
            StructureStyle::Block => (field, String::new()),
            StructureStyle::Flow => {
                let first = nodes.children(entry).next()?;
                let lead = nodes.text.get(nodes.bytes(entry).end..nodes.bytes(first).start)?;
                let last = nodes.text_end(nodes.children(entry).last()?)?;
                let tail = nodes.text.get(last..nodes.bytes(nodes.end(entry)).start)?;
                // A comment there is about the other entry.
                let (lead, tail) = if is_space(lead) && is_space(tail) { (lead, tail) } else { ("", "") };
                (format!("{{{lead}{field}"), format!("{tail}}}"))
            }
        };
        Some(Self { before, after, structure, key_style, value_style })
    }

    /// An entry of this form.
    pub(super) fn entry(&self, image: &str) -> Entry {
        // A registry may be an IPv6 address.
        let is_plain = image.starts_with(|c: char| c.is_ascii_alphanumeric());
        let style = match self.value_style {
            ScalarStyle::Plain if !is_plain => ScalarStyle::DoubleQuoted,
            style => style,
        };
        let quote = quote(style).unwrap_or_default();
        Entry { text: format!("{}{quote}{image}{quote}{}", self.before, self.after), style }
    }
}

fn is_space(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_whitespace())
}
