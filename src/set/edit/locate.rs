// SPDX-License-Identifier: Apache-2.0
//! The list of images of a set, and the values in it, as far as they stand in the document themselves.

use serde_saphyr::granit_parser::{Event, ScalarStyle};

use super::change::Refusal;
use super::nodes::Nodes;

/// The mapping that is a set: the document, or an item of the list that it is.
pub(super) fn set(nodes: &Nodes<'_>, item: Option<usize>) -> Option<usize> {
    let root = nodes.root()?;
    let Some(item) = item else { return Some(root) };
    let (_, items) = nodes.field(root, "items")?;
    nodes.children(items).filter(|node| matches!(nodes.event(*node), Some(Event::MappingStart(..)))).nth(item)
}

/// The spec of a set, and the key and the value of its `images`.
pub(super) struct Images {
    pub(super) spec: usize,
    pub(super) key: usize,
    pub(super) list: usize,
}

pub(super) fn images(nodes: &Nodes<'_>, set: usize) -> Result<Images, Refusal> {
    let Some((_, spec)) = nodes.field(set, "spec") else {
        return Err(Refusal::new(set, "the set has no `spec` of its own"));
    };
    if nodes.style(spec).is_none() {
        return Err(Refusal::new(spec, format!("`spec` is {}", form(nodes, spec))));
    }
    let Some((key, list)) = nodes.field(spec, "images") else {
        return Err(Refusal::new(spec, "the spec has no `images` of its own"));
    };
    Ok(Images { spec, key, list })
}

/// The list that `images` is.
pub(super) fn list(nodes: &Nodes<'_>, set: usize) -> Result<usize, Refusal> {
    let Images { list, .. } = images(nodes, set)?;
    match nodes.event(list) {
        Some(Event::SequenceStart(_, 0, None)) => Ok(list),
        _ => Err(Refusal::new(list, format!("`spec.images` is {}", form(nodes, list)))),
    }
}

/// An entry of the list.
pub(super) fn entry(nodes: &Nodes<'_>, list: usize, n: usize) -> Result<usize, Refusal> {
    nodes.children(list).nth(n).ok_or_else(|| Refusal::new(list, format!("`spec.images` has no entry {n}")))
}

/// The value of the field `image` of an entry.
pub(super) fn value(nodes: &Nodes<'_>, entry: usize) -> Result<usize, Refusal> {
    if !matches!(nodes.event(entry), Some(Event::MappingStart(..))) {
        return Err(Refusal::new(entry, format!("the entry is {}", form(nodes, entry))));
    }
    let field = nodes.field(entry, "image");
    field.map(|(_, value)| value).ok_or_else(|| Refusal::new(entry, "the entry has no `image` of its own"))
}

/// A scalar that stands in the document as it reads, on one line: its text and style.
pub(super) fn simple<'n>(nodes: &'n Nodes<'_>, scalar: usize) -> Result<(&'n str, ScalarStyle), Refusal> {
    if let Some(Event::Scalar(text, style, 0, None)) = nodes.event(scalar)
        && let Some(quote) = quote(*style)
        && nodes.source(scalar) == format!("{quote}{text}{quote}")
    {
        return Ok((text, *style));
    }
    Err(Refusal::new(scalar, format!("the value is {}", form(nodes, scalar))))
}

/// The quote of a style. `None` for block scalars.
pub(super) const fn quote(style: ScalarStyle) -> Option<&'static str> {
    match style {
        ScalarStyle::Plain => Some(""),
        ScalarStyle::SingleQuoted => Some("'"),
        ScalarStyle::DoubleQuoted => Some("\""),
        ScalarStyle::Literal | ScalarStyle::Folded => None,
    }
}

/// What about a node is in the way of an edit.
fn form(nodes: &Nodes<'_>, node: usize) -> &'static str {
    match nodes.event(node) {
        Some(Event::Alias(_)) => "an alias",
        Some(
            Event::Scalar(_, _, 1.., _) | Event::MappingStart(_, 1.., _) | Event::SequenceStart(_, 1.., _),
        ) => "written with an anchor",
        Some(
            Event::Scalar(_, _, _, Some(_))
            | Event::MappingStart(_, _, Some(_))
            | Event::SequenceStart(_, _, Some(_)),
        ) => "written with a tag",
        Some(Event::Scalar(_, ScalarStyle::Literal | ScalarStyle::Folded, ..)) => "a block scalar",
        Some(Event::Scalar(..)) => "a scalar with escapes, or on several lines",
        Some(Event::MappingStart(..)) => "a mapping",
        Some(Event::SequenceStart(..)) => "a list",
        _ => "of an unknown form",
    }
}
