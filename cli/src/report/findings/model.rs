// SPDX-License-Identifier: Apache-2.0
//! Findings in files, in the same order and with the same fingerprints in each run.

use std::collections::HashMap;

use krs_core::oci::digest::Digest;
use krs_core::set::{CheckedSet, LoadedSet, SetError, SkippedFile, Warning, full_name};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// The sets are not acceptable.
    Error,
    /// It works and should be better.
    Warning,
    /// A set that was not read.
    Note,
}

/// One finding in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(super) level: Level,
    pub(super) rule: &'static str,
    /// Relative to the root of the checkout, with `/` between its parts.
    pub(super) file: String,
    /// From 1; 0: the entire file.
    pub(super) line: u64,
    /// From 1, in characters; 0: the entire line.
    pub(super) column: u64,
    pub(super) message: String,
    pub(super) help: Option<String>,
    /// The same for a finding that an earlier run had, although it stands on another line by now.
    pub(super) fingerprint: String,
}

impl Finding {
    /// The message with what to do next.
    pub(super) fn text(&self) -> String {
        self.help.as_ref().map_or_else(|| self.message.clone(), |help| format!("{}\n{help}", self.message))
    }

    /// `FILE:LINE:COLUMN` as far as it is known.
    pub(super) fn place(&self) -> String {
        let numbers = [self.line, self.column].into_iter().take_while(|number| *number > 0);
        numbers.fold(self.file.clone(), |place, number| format!("{place}:{number}"))
    }
}

/// A set without errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ValidSet {
    pub(super) name: String,
    pub(super) file: String,
    pub(super) line: u64,
    pub(super) images: usize,
}

/// Everything that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// The sets, where none of them has an error.
    pub(super) sets: Vec<ValidSet>,
    pub(super) findings: Vec<Finding>,
}

/// Names a file of the call as its checkout does.
type NameFile<'a> = &'a dyn Fn(&str) -> String;

impl Findings {
    /// Adds sets that are valid.
    pub(crate) fn add_sets<'a>(&mut self, sets: impl IntoIterator<Item = &'a LoadedSet>, file: NameFile<'_>) {
        self.sets.extend(sets.into_iter().map(|loaded| {
            let CheckedSet { namespace, name, images, .. } = &loaded.set;
            ValidSet {
                name: full_name(namespace.as_deref(), name),
                file: file(&loaded.shown),
                line: loaded.line,
                images: images.len(),
            }
        }));
    }

    pub(crate) fn add_errors<'a>(
        &mut self,
        errors: impl IntoIterator<Item = &'a SetError>,
        file: NameFile<'_>,
    ) {
        for error in errors {
            let SetError { line, column, rule, message, help, .. } = error;
            let help = help.as_deref().map(str::to_owned);
            self.add(Level::Error, rule, file(&error.file), (*line, *column), message, help);
        }
    }

    pub(crate) fn add_warnings<'a>(
        &mut self,
        warnings: impl IntoIterator<Item = &'a Warning>,
        file: NameFile<'_>,
    ) {
        for Warning { file: name, line, rule, message, .. } in warnings {
            self.add(Level::Warning, rule, file(name), (*line, 0), message, None);
        }
    }

    /// Adds sets that were not read.
    pub(crate) fn add_skipped<'a>(
        &mut self,
        skipped: impl IntoIterator<Item = &'a SkippedFile>,
        file: NameFile<'_>,
    ) {
        for SkippedFile { file: name, line, reason, .. } in skipped {
            let message = format!("holds a set and was skipped: it {reason}");
            self.add(Level::Note, "checkout", file(name), (*line, 0), &message, None);
        }
    }

    fn add(
        &mut self,
        level: Level,
        rule: &'static str,
        file: String,
        (line, column): (u64, u64),
        message: &str,
        help: Option<String>,
    ) {
        let (message, fingerprint) = (message.to_owned(), String::new());
        self.findings.push(Finding { level, rule, file, line, column, message, help, fingerprint });
    }

    /// Sorts by file and line, and gives each finding its fingerprint.
    #[must_use]
    pub(crate) fn finished(mut self) -> Self {
        self.findings.sort_by(|a, b| {
            let key = |finding: &Finding| (finding.line, finding.column, finding.level, finding.rule);
            (&a.file, key(a), &a.message).cmp(&(&b.file, key(b), &b.message))
        });
        let mut occurrences = HashMap::new();
        for finding in &mut self.findings {
            let text = format!("{}\0{}\0{}", finding.rule, finding.file, without_lines(&finding.message));
            // Two that are the same but for their lines are told apart by their order.
            let number = occurrences.entry(text.clone()).or_insert(0_u64);
            *number += 1;
            let digest = Digest::of(format!("{text}\0{number}").as_bytes());
            finding.fingerprint = digest.hex();
        }
        self
    }

    /// How many findings have this level.
    pub(super) fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }
}

/// The message without the line numbers of other places that it names: those change whenever somebody adds a line above.
fn without_lines(message: &str) -> String {
    let mut kept = String::with_capacity(message.len());
    let mut rest = message;
    while let Some((before, after)) = rest.split_once(':') {
        kept.push_str(before);
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let ends = after.get(digits..).is_some_and(|tail| tail.starts_with([')', ';', ',']));
        if digits == 0 || !ends {
            kept.push(':');
            rest = after;
        } else {
            rest = after.get(digits..).unwrap_or_default();
        }
    }
    kept + rest
}
