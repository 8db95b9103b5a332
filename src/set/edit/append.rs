// SPDX-License-Identifier: Apache-2.0
//! More entries in `spec.images`, in the form of those that are there.

use std::ops::Range;

use serde_saphyr::granit_parser::{Event, ScalarStyle, StructureStyle};

use super::change::{self, Change, Refusal, Splice};
use super::lines;
use super::locate::{self, Images};
use super::nodes::Nodes;
use super::template::{Entry, Template};

/// An image to append to a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewImage {
    /// The reference, as the set is to write it.
    pub image: String,
    /// Comment above the entry, without `#`; several lines make several. It is written where the layout has a line for
    /// it: not in JSON, and not in a list on one line.
    pub comment: Option<String>,
}

/// Appends entries behind the last one.
pub(super) fn append(nodes: &Nodes<'_>, set: usize, images: &[NewImage]) -> Result<Change, Refusal> {
    let found = locate::images(nodes, set)?;
    match nodes.event(found.list) {
        Some(Event::SequenceStart(style, 0, None)) => match (style, nodes.children(found.list).last()) {
            (StructureStyle::Block, Some(last)) => behind_lines(nodes, found.list, last, images),
            (StructureStyle::Flow, Some(last)) => behind_flow(nodes, found.list, last, images),
            (_, None) => first(nodes, &found, images),
        },
        Some(Event::Scalar(text, ScalarStyle::Plain, 0, None))
            if ["", "~", "null"].contains(&text.as_ref()) =>
        {
            first(nodes, &found, images)
        }
        _ => locate::list(nodes, set).and_then(|list| Err(Refusal::new(list, "`spec.images` is no list"))),
    }
}

/// Behind the lines of the last entry of a block list.
fn behind_lines(nodes: &Nodes<'_>, list: usize, last: usize, images: &[NewImage]) -> Result<Change, Refusal> {
    let end =
        nodes.text_end(last).ok_or_else(|| Refusal::new(last, "the last entry ends with a block scalar"))?;
    let prefix = |entry: &usize| {
        let prefix = lines::before(nodes.text, nodes.bytes(*entry).start);
        prefix
            .trim_end_matches(' ')
            .strip_suffix('-')
            .filter(|indent| lines::is_blank(indent))
            .map(|_| prefix)
    };
    let entries = nodes.children(list).collect::<Vec<_>>();
    let in_lines =
        entries.iter().rev().filter_map(|entry| Some((*entry, prefix(entry)?))).collect::<Vec<_>>();
    let Some((_, any_prefix)) = in_lines.first() else {
        return Err(Refusal::new(last, "no entry begins on the line of its `-`"));
    };
    let templates =
        in_lines.iter().filter_map(|(entry, prefix)| Some((Template::of(nodes, *entry)?, prefix)));
    let (template, prefix) = templates.into_iter().next().unwrap_or((Template::block(), any_prefix));
    let indent = prefix.trim_end_matches(' ').trim_end_matches('-');
    let mut entries = Entries::new(nodes, &template, images);
    let at = lines::end(nodes.text, end);
    let splices = vec![insert(at, entries.lines(indent, prefix, ""))];
    Ok(entries.change(splices, nodes.end(list)..nodes.end(list)))
}

/// Behind the last entry of a list in brackets.
fn behind_flow(nodes: &Nodes<'_>, list: usize, last: usize, images: &[NewImage]) -> Result<Change, Refusal> {
    let text = nodes.text;
    let end =
        nodes.text_end(last).ok_or_else(|| Refusal::new(last, "the last entry ends with a block scalar"))?;
    let templates = nodes.children(list).collect::<Vec<_>>();
    let template = templates.into_iter().rev().find_map(|entry| Template::of(nodes, entry));
    let template = template.unwrap_or_else(|| Template::flow(nodes, list));
    let mut entries = Entries::new(nodes, &template, images);
    let indent = lines::before(text, nodes.bytes(last).start);
    let close = nodes.bytes(nodes.end(list)).start;
    let line = lines::end(text, end);
    let rest = text.get(end..line).unwrap_or_default().trim();
    let behind = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    let has_lines = line < close && lines::is_blank(indent) && (behind.is_empty() || behind.starts_with('#'));
    let splices = if has_lines {
        let has_comma = rest.starts_with(',');
        let mut lines = entries.lines(indent, indent, ",");
        if !has_comma {
            lines.truncate(lines.len().saturating_sub(1));
        }
        let comma = (!has_comma).then(|| insert(end, ",".to_owned()));
        comma.into_iter().chain([insert(line, lines)]).collect()
    } else {
        let text = entries.all().map(|entry| format!(", {entry}")).collect();
        vec![insert(end, text)]
    };
    Ok(entries.change(splices, nodes.end(list)..nodes.end(list)))
}

/// The first entries of a list that is empty or not there.
fn first(nodes: &Nodes<'_>, found: &Images, images: &[NewImage]) -> Result<Change, Refusal> {
    let text = nodes.text;
    let Images { spec, key, list } = *found;
    let (key_bytes, list_bytes) =
        (nodes.bytes(key), nodes.bytes(list).start..nodes.bytes(nodes.end(list)).end);
    let between = text.get(key_bytes.end..list_bytes.start).unwrap_or_default();
    let value = text.get(list_bytes.clone()).unwrap_or_default();
    // An empty value is said to stand right behind its key, before the colon or after it.
    let colon = text.get(key_bytes.end..).unwrap_or_default();
    let colon = key_bytes.end + colon.len() - colon.trim_start_matches([' ', '\t']).len();
    if text.get(colon..colon + 1) != Some(":") || between.contains('\n') || value.contains(['\n', '#']) {
        return Err(Refusal::new(list, "`spec.images` is empty, and not written on the line of its key"));
    }
    let indent = lines::before(text, key_bytes.start);
    let events = list..nodes.end(list) + 1;
    let old = colon + 1..list_bytes.end.max(colon + 1);
    if nodes.style(spec) == Some(StructureStyle::Block) {
        let template = Template::block();
        let mut entries = Entries::new(nodes, &template, images);
        entries.list = Some(StructureStyle::Block);
        let indent = " ".repeat(indent.chars().count());
        let lines = entries.lines(&indent, &format!("{indent}- "), "");
        let at = lines::end(text, old.end);
        let splices = vec![Splice { bytes: old, text: String::new() }, insert(at, lines)];
        return Ok(entries.change(splices, events));
    }
    let template = Template::flow(nodes, key);
    let mut entries = Entries::new(nodes, &template, images);
    entries.list = Some(StructureStyle::Flow);
    let text = if lines::is_blank(indent) {
        let inner = format!("{indent}  ");
        let mut lines = entries.lines(&inner, &inner, ",");
        lines.truncate(lines.len().saturating_sub(1));
        format!(" [{lines}{}{indent}]", entries.line_break)
    } else {
        format!(" [{}]", entries.all().collect::<Vec<_>>().join(", "))
    };
    Ok(entries.change(vec![Splice { bytes: old, text }], events))
}

fn insert(at: usize, text: String) -> Splice {
    Splice { bytes: at..at, text }
}

/// The entries that are appended.
struct Entries<'a> {
    template: &'a Template,
    images: &'a [NewImage],
    line_break: &'static str,
    has_comments: bool,
    new: Vec<Entry>,
    /// The style of the list that has to be made for them.
    list: Option<StructureStyle>,
}

impl<'a> Entries<'a> {
    fn new(nodes: &Nodes<'_>, template: &'a Template, images: &'a [NewImage]) -> Self {
        let new = images.iter().map(|image| template.entry(&image.image)).collect();
        let is_json = nodes.root().is_some_and(|root| nodes.style(root) == Some(StructureStyle::Flow));
        Self {
            template,
            images,
            line_break: lines::line_break(nodes.text),
            has_comments: !is_json,
            new,
            list: None,
        }
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        self.new.iter().map(|entry| entry.text.as_str())
    }

    /// Each on lines of its own, after the line break that begins them.
    fn lines(&mut self, indent: &str, prefix: &str, suffix: &str) -> String {
        let mut lines = String::new();
        for (NewImage { comment, .. }, entry) in self.images.iter().zip(&self.new) {
            for comment in comment.iter().flat_map(|comment| comment.lines()).filter(|_| self.has_comments) {
                // Line breaks for parsers of YAML 1.1.
                let comment = comment.replace(['\u{2028}', '\u{2029}'], " ");
                let comment = crate::redact::printable(comment.trim_end(), MAX_COMMENT);
                let line = format!("{indent}# {comment}");
                lines.push_str(&format!("{}{}", self.line_break, line.trim_end()));
            }
            lines.push_str(&format!("{}{prefix}{}{suffix}", self.line_break, entry.text));
        }
        lines
    }

    fn change(self, splices: Vec<Splice>, events: Range<usize>) -> Change {
        let new = self.new.into_iter().zip(self.images).flat_map(|(entry, image)| {
            change::entry(self.template.key_style, &image.image, entry.style, self.template.structure)
        });
        let (start, end) = match self.list {
            Some(style) => (Some(Event::SequenceStart(style, 0, None)), Some(Event::SequenceEnd)),
            None => (None, None),
        };
        Change { splices, events, new_events: start.into_iter().chain(new).chain(end).collect() }
    }
}

/// Longest line of a comment, in characters.
const MAX_COMMENT: usize = 400;
