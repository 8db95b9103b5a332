// SPDX-License-Identifier: Apache-2.0
//! Errors with a location in a file.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::rules::rule::INVALID_SET;
use super::show::shown;
use crate::error::{Classify, ErrorKind};
use crate::redact::{masked, printable};

/// Widest part of a source line that is shown, in characters.
const SHOWN: usize = 100;

/// One error, with its location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetError {
    /// Path as in [`super::LoadedSet::file`]; `-` for standard input.
    pub file: String,
    /// Line from 1; 0 if the error is about the file.
    pub line: u64,
    /// Column from 1, in characters; 0 if the error is about the line or the file.
    pub column: u64,
    /// The rule that is broken, for reports: one of [`RULES`](crate::set::RULES).
    pub rule: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub help: Option<Box<str>>,
    /// The file's text, in which every other YAML document is blank, because it may be a Secret.
    pub source_text: Option<Arc<str>>,
    /// The range of `source_text`, in bytes.
    pub span: Option<Range<usize>>,
}

impl SetError {
    /// An error about a file.
    pub(crate) fn file(file: impl AsRef<str>, message: impl AsRef<str>) -> Self {
        Self {
            file: shown(file.as_ref()),
            line: 0,
            column: 0,
            rule: INVALID_SET,
            message: shown(message.as_ref()),
            help: None,
            source_text: None,
            span: None,
        }
    }

    /// Says which rule is broken.
    pub(super) fn rule(self, rule: &'static str) -> Self {
        Self { rule, ..self }
    }

    /// Points at `written` on the error's line, which is a line of `document`; the document begins on `first_line` of the
    /// file. Nothing where it does not stand there.
    pub(super) fn mark(mut self, document: &str, first_line: u64, written: &str) -> Self {
        let Ok(before) = usize::try_from(self.line.saturating_sub(first_line)) else { return self };
        let start = document.split_inclusive('\n').take(before).map(str::len).sum::<usize>();
        let line = document.get(start..).unwrap_or_default().split('\n').next().unwrap_or_default();
        if let Some(at) = line.find(written).map(|at| start + at) {
            self.source_text = Some(document.into());
            self.span = Some(at..at + written.len());
        }
        self
    }

    /// An error about an entire file, with what to do next.
    pub(crate) fn about(file: &str, message: &str, help: &str) -> Self {
        Self::file(file, message).help(help)
    }

    /// Adds what to do next.
    pub(crate) fn help(mut self, help: impl AsRef<str>) -> Self {
        let lines = help.as_ref().lines().map(shown).collect::<Vec<_>>();
        self.help = Some(lines.join("\n").into());
        self
    }

    fn caret(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(text), Some(span)) = (&self.source_text, &self.span) else { return Ok(()) };
        let (Some(before), Some(after)) = (text.get(..span.start), text.get(span.start..)) else {
            return Ok(());
        };
        let head = before.rsplit('\n').next().unwrap_or_default();
        let tail = after.split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let wide = text
            .get(span.clone())
            .map_or(1, |marked| marked.split(['\n', '\r']).next().unwrap_or_default().chars().count().max(1));
        let column = head.chars().count();
        let skip = column.saturating_sub(SHOWN / 2);
        let line = head.chars().skip(skip).chain(tail.chars()).map(|c| if c == '\t' { ' ' } else { c });
        let line = line.collect::<String>();
        // Without its secrets the line has other columns, so that the mark would be wrong.
        if masked(&line) != line {
            return Ok(());
        }
        let line = printable(&line, SHOWN);
        let cut = if skip > 0 { "…" } else { "" };
        let number = self.line.to_string();
        let (margin, indent) = (number.len(), column - skip + usize::from(skip > 0));
        let carets = "^".repeat(wide.min(SHOWN.saturating_sub(column - skip)).max(1));
        write!(f, "\n{:margin$} |\n{number} | {cut}{line}\n{:margin$} | {:indent$}{carets}", "", "", "")
    }
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.file, 400))?;
        for number in [self.line, self.column].into_iter().take_while(|number| *number > 0) {
            write!(f, ":{number}")?;
        }
        write!(f, ": {}", printable(&self.message, 600))?;
        self.caret(f)?;
        let lines = self.help.iter().flat_map(|help| help.lines());
        lines.into_iter().try_for_each(|line| write!(f, "\n  help: {}", printable(line, 600)))
    }
}

impl std::error::Error for SetError {}

impl Classify for SetError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }

    fn help(&self) -> Option<String> {
        self.help.as_deref().map(str::to_owned)
    }
}

/// All errors, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetErrors(pub Vec<SetError>);

impl fmt::Display for SetErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if n > 0 { "\n\n" } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for SetErrors {}

impl Classify for SetErrors {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }

    fn help(&self) -> Option<String> {
        match self.0.as_slice() {
            [one] => Classify::help(one),
            _ => None,
        }
    }
}

impl From<SetError> for SetErrors {
    fn from(error: SetError) -> Self {
        Self(vec![error])
    }
}
