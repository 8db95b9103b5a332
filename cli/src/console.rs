// SPDX-License-Identifier: Apache-2.0
//! Results go to standard output, everything else to standard error.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;

use krs_core::progress::{NoProgress, Progress};
use serde::Serialize;

use crate::args::{Color, Format, Global};
use crate::diagnostic::Failure;
use crate::progress::{Bars, JsonLines, Lines, Messages};
use crate::standard_error;

/// Where and how to write.
#[derive(Debug, Clone)]
pub(crate) struct Console {
    format: Format,
    quiet: bool,
    verbose: u8,
    colors: bool,
    drawing: ProgressStyle,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProgressStyle {
    Nothing,
    Bars,
    Lines,
    /// Pauses and retries alone.
    Messages,
    Json,
    JsonMessages,
}

impl Console {
    /// Decides from the flags and from what standard error is.
    pub(crate) fn new(global: &Global) -> Self {
        let terminal = io::stderr().is_terminal();
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let plain = set("NO_COLOR") || dumb;
        let colors = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !plain,
        };
        let drawing = match global.format {
            _ if global.quiet => ProgressStyle::Nothing,
            Format::Json if global.no_progress => ProgressStyle::JsonMessages,
            Format::Json => ProgressStyle::Json,
            Format::Text if global.no_progress => ProgressStyle::Messages,
            // Log lines and bars would write over each other.
            Format::Text if terminal && !plain && global.verbose < 2 && !set("KRS_LOG") => {
                ProgressStyle::Bars
            }
            Format::Text => ProgressStyle::Lines,
        };
        Self { format: global.format, quiet: global.quiet, verbose: global.verbose, colors, drawing }
    }

    /// Whether the result is for a program.
    pub(crate) fn json(&self) -> bool {
        self.format == Format::Json
    }

    /// Writes the result: `text` for people, `value` for programs.
    ///
    /// # Errors
    /// Standard output cannot be written to; a reader that went away does not matter.
    pub(crate) fn result<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if !self.json() {
            return self.print(&text());
        }
        let mut json = serde_json::to_string_pretty(value).map_err(|e| Failure::other(e.to_string()))?;
        json.push('\n');
        self.print(&json)
    }

    /// Writes a text that has one form only.
    ///
    /// # Errors
    /// As for [`Self::result`].
    pub(crate) fn print(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            // What the command found decides about the exit code, whether or not somebody reads on.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(e) => Err(Failure::other(format!("cannot write to standard output: {e}"))),
        }
    }

    /// Something that works and should be better. Programs find it in the result.
    pub(crate) fn warning(&self, text: &str) {
        if !self.quiet && !self.json() {
            self.stderr(&format!("{} {text}\n", self.paint(YELLOW, "warning:")));
        }
    }

    /// A warning that nobody may miss, not even with `--quiet`.
    pub(crate) fn important(&self, text: &str) {
        if !self.json() {
            self.stderr(&format!("{} {text}\n", self.paint(YELLOW, "warning:")));
        }
    }

    /// Something that only somebody who asks wants to know.
    pub(crate) fn detail(&self, text: &str) {
        if self.verbose > 0 && !self.quiet && !self.json() {
            self.stderr(&format!("{} {text}\n", self.paint(CYAN, "note:")));
        }
    }

    /// Shows a failure.
    pub(crate) fn failure(&self, failure: &Failure) {
        let text = if self.json() {
            failure.json()
        } else {
            failure.text(|what| self.paint(if what == "error:" { RED } else { CYAN }, what))
        };
        self.stderr(&text);
    }

    /// Whoever watches the work.
    pub(crate) fn progress(&self) -> Arc<dyn Progress> {
        match self.drawing {
            ProgressStyle::Nothing => Arc::new(NoProgress),
            ProgressStyle::Bars => Arc::new(Bars::new(self.colors)),
            ProgressStyle::Lines => Arc::new(Lines::default()),
            ProgressStyle::Messages => Arc::new(Messages::<Lines>::default()),
            ProgressStyle::Json => Arc::new(JsonLines::default()),
            ProgressStyle::JsonMessages => Arc::new(Messages::<JsonLines>::default()),
        }
    }

    fn paint(&self, color: &str, text: &str) -> String {
        if self.colors { format!("\u{1b}[1;{color}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn stderr(&self, text: &str) {
        standard_error::write(text);
    }
}

const RED: &str = "31";
const YELLOW: &str = "33";
const CYAN: &str = "36";
