// SPDX-License-Identifier: Apache-2.0
//! Writes an item of a list that uses anchors of other items as a YAML document of its own: every alias is expanded.

use std::collections::HashMap;
use std::ops::Range;

use serde_saphyr::granit_parser::{Event, ScalarStyle, Tag};

use super::position::MAX_DOCUMENT;

/// Most parts of a list, and most parts that are written for all of its items together.
const MAX_EVENTS: usize = 500_000;
/// Most bytes that are written for all items of a list together.
const MAX_BYTES: usize = 2 * MAX_DOCUMENT;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;
/// Handle of the tags of YAML itself.
const CORE: &str = "tag:yaml.org,2002:";

/// A text, with the line of the list for each of its lines.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::set) struct ExpandedItem {
    pub(in crate::set) text: String,
    pub(in crate::set) lines: Vec<u64>,
}

/// A list whose items are expanded.
pub(in crate::set) struct Expander<'a> {
    events: Vec<(Event<'a>, u64)>,
    /// For each anchor the events of its node.
    anchors: HashMap<usize, Range<usize>>,
    /// The mappings, by the byte at which they begin: of those that begin at one byte the outermost.
    mappings: HashMap<usize, Range<usize>>,
    /// The output for the items so far.
    events_written: usize,
    bytes_written: usize,
}

impl<'a> Expander<'a> {
    /// Parses a list. `None`: it is not YAML, or too large.
    pub(in crate::set) fn new(list: &'a str) -> Option<Self> {
        let mut events = Vec::new();
        let mut anchors = HashMap::new();
        let mut mappings = HashMap::new();
        let mut open = Vec::new();
        for event in crate::yaml::events(list) {
            let (event, span) = event.ok()?;
            let at = events.len();
            if at == MAX_EVENTS {
                return None;
            }
            match &event {
                Event::Scalar(_, _, anchor, _) => {
                    anchors.insert(*anchor, at..at + 1);
                }
                Event::MappingStart(_, anchor, _) | Event::SequenceStart(_, anchor, _) => {
                    open.push((*anchor, at, span.start.byte_offset()));
                }
                Event::MappingEnd | Event::SequenceEnd => {
                    let (anchor, first, start) = open.pop()?;
                    anchors.insert(anchor, first..at + 1);
                    if let (Event::MappingEnd, Some(start)) = (&event, start) {
                        mappings.insert(start, first..at + 1);
                    }
                }
                Event::Alias(_) => {}
                _ => continue,
            }
            events.push((event, span.start.line().max(1) as u64));
        }
        Some(Self { events, anchors, mappings, events_written: 0, bytes_written: 0 })
    }

    /// Writes the item that begins at a byte of the list. `None`: it cannot be written, or all items together would be
    /// too large.
    pub(in crate::set) fn item(&mut self, start: usize) -> Option<ExpandedItem> {
        let mut rest = self.mappings.get(&start)?.clone();
        let mut writer = Writer {
            events: &self.events,
            anchors: &self.anchors,
            text: String::new(),
            lines: Vec::new(),
            events_left: MAX_EVENTS - self.events_written,
            bytes_left: MAX_BYTES - self.bytes_written,
        };
        let done = writer
            .node(&mut rest, NodeContext { indent: 0, depth: 0, preceding: LinePrefix::Nothing, line: 0 });
        let Writer { text, lines, events_left, .. } = writer;
        self.events_written = MAX_EVENTS - events_left;
        self.bytes_written = (self.bytes_written + text.len()).min(MAX_BYTES);
        done.filter(|()| text.len() <= MAX_DOCUMENT).map(|()| ExpandedItem { text, lines })
    }
}

/// What precedes a node on its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinePrefix {
    Nothing,
    Key,
    Dash,
}

#[derive(Debug, Clone, Copy)]
struct NodeContext {
    indent: usize,
    depth: usize,
    preceding: LinePrefix,
    /// Line of the key before it.
    line: u64,
}

struct Writer<'a> {
    events: &'a [(Event<'a>, u64)],
    /// For each anchor the events of its node.
    anchors: &'a HashMap<usize, Range<usize>>,
    text: String,
    lines: Vec<u64>,
    events_left: usize,
    bytes_left: usize,
}

impl<'a> Writer<'a> {
    fn next(&mut self, rest: &mut Range<usize>) -> Option<&'a (Event<'a>, u64)> {
        self.events_left = self.events_left.checked_sub(1)?;
        if self.text.len() > self.bytes_left {
            return None;
        }
        self.events.get(rest.next()?)
    }

    fn peek(&self, rest: &Range<usize>) -> Option<&'a (Event<'a>, u64)> {
        self.events.get(rest.start)
    }

    /// Writes the node at the front of `rest`, with the end of its last line.
    fn node(&mut self, rest: &mut Range<usize>, context: NodeContext) -> Option<()> {
        if context.depth > MAX_DEPTH {
            return None;
        }
        let (event, line) = self.next(rest)?;
        match event {
            Event::Alias(anchor) => {
                let mut node = self.anchors.get(anchor)?.clone();
                self.node(&mut node, NodeContext { depth: context.depth + 1, ..context })
            }
            Event::Scalar(value, style, _, tag) => {
                let blank = if context.preceding == LinePrefix::Nothing
                    || value.is_empty() && *style == ScalarStyle::Plain
                {
                    ""
                } else {
                    " "
                };
                let scalar = scalar(value, *style, tag.as_deref());
                self.text.push_str(&format!("{blank}{scalar}"));
                self.end_line(*line);
                Some(())
            }
            Event::MappingStart(..) => self.mapping(rest, context, *line),
            Event::SequenceStart(..) => self.sequence(rest, context, *line),
            _ => None,
        }
    }

    fn mapping(&mut self, rest: &mut Range<usize>, context: NodeContext, line: u64) -> Option<()> {
        if matches!(self.peek(rest)?.0, Event::MappingEnd) {
            self.next(rest)?;
            return self.empty("{}", context, line);
        }
        let mut first = true;
        self.begin(context);
        while !matches!(self.peek(rest)?.0, Event::MappingEnd) {
            let line = self.peek(rest)?.1;
            let (key, style, tag) = self.key(rest)?;
            if !first || context.preceding != LinePrefix::Dash {
                self.text.push_str(&" ".repeat(context.indent));
            }
            first = false;
            self.text.push_str(&scalar(key, style, tag));
            self.text.push(':');
            self.node(
                rest,
                NodeContext {
                    indent: context.indent + 2,
                    depth: context.depth + 1,
                    preceding: LinePrefix::Key,
                    line,
                },
            )?;
        }
        self.next(rest)?;
        Some(())
    }

    /// A key, which must be a scalar.
    fn key(&mut self, rest: &mut Range<usize>) -> Option<(&'a str, ScalarStyle, Option<&'a Tag>)> {
        let event = match &self.next(rest)?.0 {
            Event::Alias(anchor) => &self.events.get(self.anchors.get(anchor)?.start)?.0,
            event => event,
        };
        match event {
            // The tag of a merge key adds no information.
            Event::Scalar(value, ScalarStyle::Plain, _, _) if value == "<<" => {
                Some(("<<", ScalarStyle::Plain, None))
            }
            Event::Scalar(value, style, _, tag) if !value.is_empty() => Some((value, *style, tag.as_deref())),
            _ => None,
        }
    }

    fn sequence(&mut self, rest: &mut Range<usize>, context: NodeContext, line: u64) -> Option<()> {
        if matches!(self.peek(rest)?.0, Event::SequenceEnd) {
            self.next(rest)?;
            return self.empty("[]", context, line);
        }
        let mut first = true;
        self.begin(context);
        while !matches!(self.peek(rest)?.0, Event::SequenceEnd) {
            if !first || context.preceding != LinePrefix::Dash {
                self.text.push_str(&" ".repeat(context.indent));
            }
            first = false;
            self.text.push('-');
            self.node(
                rest,
                NodeContext {
                    indent: context.indent + 2,
                    depth: context.depth + 1,
                    preceding: LinePrefix::Dash,
                    line,
                },
            )?;
        }
        self.next(rest)?;
        Some(())
    }

    /// Begins a mapping or a list: below its key, or beside its dash.
    fn begin(&mut self, context: NodeContext) {
        match context.preceding {
            LinePrefix::Nothing => {}
            LinePrefix::Key => self.end_line(context.line),
            LinePrefix::Dash => self.text.push(' '),
        }
    }

    fn empty(&mut self, text: &str, context: NodeContext, line: u64) -> Option<()> {
        let blank = if context.preceding == LinePrefix::Nothing { "" } else { " " };
        self.text.push_str(&format!("{blank}{text}"));
        self.end_line(line);
        Some(())
    }

    fn end_line(&mut self, line: u64) {
        self.text.push('\n');
        self.lines.push(line);
    }
}

/// A scalar on one line, with the same meaning.
fn scalar(value: &str, style: ScalarStyle, tag: Option<&Tag>) -> String {
    let plain = style == ScalarStyle::Plain && !value.contains('\n');
    // A JSON string is a valid YAML scalar.
    let text = if plain { value.to_owned() } else { serde_json::Value::from(value).to_string() };
    match tag.map(|tag| (tag.handle(), tag.suffix())) {
        None => text,
        Some((handle, suffix)) if handle == CORE => format!("!!{suffix} {text}"),
        Some((handle, suffix)) => format!("!<{handle}{suffix}> {text}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use serde_json::Value;

    use super::*;

    fn parsed(text: &str) -> Value {
        serde_saphyr::from_str(text).unwrap()
    }

    /// Item `n`, written alone, is parsed as in the list.
    fn check(list: &str, n: usize) -> ExpandedItem {
        let items = crate::set::yaml::outline::outline(list).unwrap().items;
        let expanded = Expander::new(list).unwrap().item(items[n].bytes.start).unwrap();
        assert_eq!(parsed(&expanded.text), parsed(list)["items"][n], "{}", expanded.text);
        assert_eq!(expanded.text.lines().count(), expanded.lines.len());
        expanded
    }

    #[test]
    fn items_mean_the_same_alone() {
        let list = "\
items:
- &a
  name: &n one
  list: &l [1, \"two\", {x: ~, y: {}, z: []}]
  text: |
    lines
    of: text
- <<: *a
  name: other
  again: *l
  nested:
  - - *n
    - {*n : 'a: b # c'}
  - !!str 12
  empty: ''
  none:
- {<<: [*a], name: *n}
";
        let other = check(list, 1);
        assert!(!other.text.contains(['&', '*']), "{}", other.text);
        let name = other.text.lines().position(|line| line.starts_with("name: other")).unwrap();
        assert_eq!(other.lines[name], 9);
        let from_first = other.text.lines().position(|line| line.contains("lines\\nof: text")).unwrap();
        assert_eq!(other.lines[from_first], 6);
        check(list, 2);
        assert_eq!(Expander::new(list).unwrap().item(1), None);
    }

    #[test]
    fn expansion_is_limited() {
        let mut list = "items:\n- a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let last = format!("*a{}, ", n - 1).repeat(10);
            list += &format!("- a{n}: &a{n} [{last}]\n");
        }
        let start = list.find("a11:").unwrap();
        let mut expander = Expander::new(&list).unwrap();
        assert_eq!(expander.item(start), None);
        // The budget is for all items together.
        let first = list.find("a0:").unwrap();
        assert_eq!(expander.item(first), None);
    }
}
