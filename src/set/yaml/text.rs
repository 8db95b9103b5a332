// SPDX-License-Identifier: Apache-2.0
//! Divides the text of a file into YAML documents, and maps positions in a document to positions in the file.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

use super::expand::{ExpandedItem, Expander};
use super::outline::Item;
use super::position::Position;
use crate::set::error::SetError;

/// A YAML document of a file, or an item of a list in it.
#[derive(Debug, Clone)]
pub(in crate::set) struct Piece<'a> {
    /// The text that is parsed and bundled.
    pub(in crate::set) text: Cow<'a, str>,
    /// The complete YAML document, as in the file.
    pub(in crate::set) shown: &'a str,
    /// Bytes of the file before `shown`.
    pub(in crate::set) start: usize,
    /// Line of the file on which `shown` begins, from 1, and characters before it on that line.
    shown_at: (u64, usize),
    /// Lines of `shown` before `text`.
    line: u64,
    /// Characters before the first line of `text`, and before all others.
    columns: (usize, usize),
    /// If `text` differs from the file: for each of its lines the line of `shown`, from 1.
    lines: Option<Arc<[u64]>>,
    source: OnceCell<Arc<str>>,
}

impl<'a> Piece<'a> {
    fn new(shown: &'a str, line: u64, column: usize) -> Self {
        Self {
            text: Cow::Borrowed(shown),
            shown,
            start: 0,
            shown_at: (line, column),
            line: 0,
            columns: (column, 0),
            lines: None,
            source: OnceCell::new(),
        }
    }

    /// A text that is one YAML document.
    pub(in crate::set) fn full(text: &'a str) -> Self {
        Self::new(text, 1, 0)
    }

    /// An item of the list in this document. Its lines lose their indentation, which changes no value, because indentation
    /// counts from the parent. A flow item (JSON) stays as it is.
    pub(in crate::set) fn item(&self, item: &Item) -> Self {
        let text = self.text.get(item.bytes.clone()).unwrap_or_default();
        let column = if item.flow { 0 } else { item.column };
        let mut moved = String::with_capacity(text.len());
        for (n, line) in text.split_inclusive('\n').enumerate() {
            let spaces = if n == 0 { 0 } else { line.len() - line.trim_start_matches(' ').len() };
            moved.push_str(line.get(spaces.min(column)..).unwrap_or_default());
        }
        // The rest of the line on which the next item begins.
        let kept = moved.trim_end_matches([' ', '\t']).len();
        moved.truncate(kept);
        Self {
            text: Cow::Owned(moved),
            line: item.line - 1,
            columns: (item.column, column),
            lines: None,
            source: self.source.clone(),
            ..*self
        }
    }

    /// An item that uses anchors of other items, with the aliases expanded. `None`: it cannot be expanded.
    pub(in crate::set) fn expanded(&self, item: &Item, list: &mut Expander<'_>) -> Option<Self> {
        let ExpandedItem { text, lines } = list.item(item.bytes.start)?;
        Some(Self {
            text: Cow::Owned(text),
            line: 0,
            columns: (0, 0),
            lines: Some(lines.into()),
            source: self.source.clone(),
            ..*self
        })
    }

    /// Line of the file for a line of the document.
    pub(in crate::set) fn line(&self, line: u64) -> u64 {
        let written = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
        let line = self.lines.as_ref().and_then(|lines| lines.get(written)).copied().unwrap_or(line);
        self.shown_at.0 + self.line + line.saturating_sub(1)
    }

    /// Column of the file for a place in the document; 0 where the document is not as it stands in the file.
    pub(in crate::set) fn column(&self, line: u64, column: u64) -> u64 {
        let removed = if line == 1 { self.columns.0 } else { self.columns.1 };
        if self.lines.is_some() { 0 } else { column + removed as u64 }
    }

    /// First line of the file that is not a comment.
    pub(in crate::set) fn first_line(&self) -> u64 {
        let before = self.text.lines().take_while(|line| !has_content(line)).count();
        self.line(before as u64 + 1)
    }

    /// An error at a position in the document.
    pub(in crate::set) fn error(&self, file: &str, position: Position, message: String) -> SetError {
        let line = self.line(position.line);
        if self.lines.is_some() {
            // The columns differ there.
            return SetError { line, ..SetError::file(file, message) };
        }
        let column = self.column(position.line, position.column);
        let source = self.source.get_or_init(|| {
            // The rest of the file is blank, because it may be a Secret.
            let lines = usize::try_from(self.shown_at.0 - 1).unwrap_or(0);
            let mut text = "\n".repeat(lines) + &" ".repeat(self.shown_at.1);
            text.push_str(self.shown);
            text.into()
        });
        let span = span(source, line, column, position.length);
        let help = span.as_ref().and_then(|span| help(source, span.start));
        SetError {
            line,
            column,
            source_text: span.is_some().then(|| Arc::clone(source)),
            span,
            help,
            ..SetError::file(file, message)
        }
    }
}

fn span(text: &str, line: u64, column: u64, length: usize) -> Option<std::ops::Range<usize>> {
    let mut start = 0;
    for _ in 1..line {
        start += text.get(start..)?.find('\n')? + 1;
    }
    let rest = text.get(start..)?;
    let rest = rest.get(..rest.find('\n').unwrap_or(rest.len()))?;
    let byte = |chars: usize| rest.char_indices().nth(chars).map_or(rest.len(), |(at, _)| at);
    let first = usize::try_from(column.saturating_sub(1)).ok()?;
    Some(start + byte(first)..start + byte(first.saturating_add(length)))
}

fn help(text: &str, at: usize) -> Option<Box<str>> {
    let line = text.get(..at)?.rsplit('\n').next().unwrap_or_default().to_owned()
        + text.get(at..)?.split('\n').next().unwrap_or_default();
    let indent = line.len() - line.trim_start().len();
    if line.get(..indent)?.contains('\t') {
        return Some("indent with spaces; most editors do so for YAML if asked".into());
    }
    line.contains("{{").then(|| {
        "this looks like a template; render it first, for example: helm template CHART | krs bundle -".into()
    })
}

/// Whether a line is neither empty nor a comment.
pub(in crate::set) fn has_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

/// Divides a file at its `---` and `...` lines. They are never content: YAML does not allow them at the left margin of a
/// scalar. Documents with only comments or directives are left out.
pub(in crate::set) fn split(text: &str) -> Vec<Piece<'_>> {
    let (mark, text) =
        text.strip_prefix('\u{feff}').map_or((0, text), |rest| (text.len() - rest.len(), rest));
    let mut pieces = Vec::new();
    // Where the open document begins: byte, line, column.
    let mut open = (0, 1, 0);
    let (mut offset, mut number) = (0, 1);
    let mut close = |open: (usize, u64, usize), end: usize| {
        let shown = text.get(open.0..end).unwrap_or_default();
        let (skipped, unmarked) = shown.strip_prefix('\u{feff}').map_or((0, shown), |shown| (1, shown));
        if unmarked.lines().any(|line| has_content(line) && !line.starts_with('%')) {
            let start = mark + open.0 + shown.len() - unmarked.len();
            pieces.push(Piece { start, ..Piece::new(unmarked, open.1, open.2 + skipped) });
        }
    };
    for line in text.split_inclusive('\n') {
        let next = (offset + line.len(), number + 1, 0);
        // Where files are joined, each may begin with a byte order mark.
        let unmarked = line.trim_start_matches('\u{feff}');
        let mark = line.len() - unmarked.len();
        let marker = |mark: &str| {
            unmarked
                .strip_prefix(mark)
                .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
        };
        if let Some(rest) = marker("---") {
            close(open, offset);
            open = if has_content(rest) { (offset + mark + 3, number, 3) } else { next };
        } else if marker("...").is_some() {
            close(open, offset);
            open = next;
        }
        (offset, number) = (next.0, next.1);
    }
    close(open, text.len());
    pieces
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn pieces(text: &str) -> Vec<(u64, String)> {
        split(text).iter().map(|piece| (piece.first_line(), piece.text.to_string())).collect()
    }

    #[test]
    fn t85_documents_are_divided_at_their_markers_only() {
        assert_eq!(pieces("a: 1\n"), [(1, "a: 1\n".to_owned())]);
        assert_eq!(
            pieces("\u{feff}# head\n---\na: 1\r\n---\r\n\r\nb: |\r\n  ---\r\n--- # c\nc: 1\n...\n# end\n"),
            [(3, "a: 1\r\n".to_owned()), (6, "\r\nb: |\r\n  ---\r\n".to_owned()), (9, "c: 1\n".to_owned())]
        );
        assert_eq!(
            pieces("%YAML 1.2\n--- {a: 1}\n---\n---x: 1"),
            [(2, " {a: 1}\n".to_owned()), (4, "---x: 1".to_owned())]
        );
        assert_eq!(pieces("\n# nothing\n---\n"), []);
    }
}
