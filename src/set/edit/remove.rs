// SPDX-License-Identifier: Apache-2.0
//! An entry of `spec.images` less, with the comments that belong to it: the comment lines directly above it that are
//! not indented further than it is, and those directly below that are.

use std::ops::Range;

use serde_saphyr::granit_parser::StructureStyle;

use super::change::{Change, Refusal, Splice};
use super::lines;
use super::locate;
use super::nodes::Nodes;

/// Removes entry `n`.
pub(super) fn remove(nodes: &Nodes<'_>, set: usize, n: usize) -> Result<Change, Refusal> {
    let list = locate::list(nodes, set)?;
    let entry = locate::entry(nodes, list, n)?;
    if nodes.has_anchor(entry) {
        return Err(Refusal::new(entry, "the entry is written with an anchor, which others may use"));
    }
    let end =
        nodes.text_end(entry).ok_or_else(|| Refusal::new(entry, "the entry ends with a block scalar"))?;
    let splices = if nodes.style(list) == Some(StructureStyle::Block) {
        let start = nodes.bytes(entry).start;
        let dash = lines::before(nodes.text, start).trim_end_matches(' ').strip_suffix('-');
        let dash = dash.filter(|before| lines::is_blank(before));
        let dash =
            dash.ok_or_else(|| Refusal::new(entry, "the entry does not begin on the line of its `-`"))?;
        let bytes = own_lines(nodes.text, start, end, dash.len());
        vec![Splice { bytes, text: String::new() }]
    } else {
        of_flow_list(nodes, list, entry, end)?
    };
    let events = entry..nodes.end(entry) + 1;
    Ok(Change { splices, events, new_events: Vec::new() })
}

/// The lines from `start` to `end` with their comments, from the line break before them, so that a file without a line
/// break at its end stays one.
fn own_lines(text: &str, start: usize, end: usize, indent: usize) -> Range<usize> {
    let mut first = lines::start(text, start);
    while let Some((line, content)) = lines::previous(text, first)
        && lines::comment_indent(content).is_some_and(|comment| comment <= indent)
    {
        first = line;
    }
    let mut last = lines::end(text, end);
    while let Some((line, content)) = lines::next(text, last)
        && lines::comment_indent(content).is_some_and(|comment| comment > indent)
    {
        last = line + content.len();
    }
    match lines::previous(text, first) {
        Some((line, content)) => line + content.len()..last,
        None => first..last,
    }
}

fn of_flow_list(nodes: &Nodes<'_>, list: usize, entry: usize, end: usize) -> Result<Vec<Splice>, Refusal> {
    let text = nodes.text;
    let start = nodes.bytes(entry).start;
    let siblings = nodes.children(list).collect::<Vec<_>>();
    let at = siblings.iter().position(|sibling| *sibling == entry).unwrap_or_default();
    let previous = at.checked_sub(1).and_then(|before| siblings.get(before));
    let previous_end = previous.and_then(|previous| nodes.text_end(*previous));
    let next_start = siblings.get(at + 1).map(|next| nodes.bytes(*next).start);
    let cut = |bytes: Range<usize>| Splice { bytes, text: String::new() };
    let last = lines::end(text, end);
    let (before, behind) = (lines::before(text, start), text.get(end..last).unwrap_or_default().trim());
    let has_comma = behind.starts_with(',');
    let behind = behind.strip_prefix(',').unwrap_or(behind).trim_start();
    if lines::is_blank(before) && (behind.is_empty() || behind.starts_with('#')) {
        let mut splices = vec![cut(own_lines(text, start, end, before.len()))];
        // JSON allows no comma behind the last entry.
        if let (None, Some(previous), false) = (next_start, previous_end, has_comma) {
            let rest = text.get(previous..start).unwrap_or_default();
            let comma = rest.len() - rest.trim_start().len();
            if !rest.get(comma..).is_some_and(|rest| rest.starts_with(',')) {
                return Err(Refusal::new(entry, "the comma before the entry stands in another place"));
            }
            splices.insert(0, cut(previous + comma..previous + comma + 1));
        }
        return Ok(splices);
    }
    let bytes = match (next_start, previous_end) {
        (Some(next), _) => start..next,
        (None, Some(previous)) => previous..end,
        (None, None) => start..end,
    };
    if text.get(bytes.clone()).is_none_or(|text| text.contains('#')) {
        return Err(Refusal::new(entry, "a comment stands between the entry and the next one"));
    }
    Ok(vec![cut(bytes)])
}
