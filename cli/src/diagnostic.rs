// SPDX-License-Identifier: Apache-2.0
//! Failures as they are shown: what, where, because of what, what to do next, and with which exit code.

use std::fmt::Write as _;

use krs_core::error::{Cause, Classify, ErrorKind, by_cause, chain, describe};
use krs_core::set::SetErrors;
use serde::Serialize;

use crate::exit::{self, Signal};
use crate::report::{Problem, SCHEMA_VERSION, problems};

/// Why a command did not do what it was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Failure {
    code: u8,
    kind: &'static str,
    message: String,
    help: Option<String>,
    problems: Vec<Problem>,
    failures: Vec<FailedImages>,
}

/// Images that failed for one reason, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct FailedImages {
    reason: String,
    images: Vec<String>,
}

impl From<Cause> for FailedImages {
    fn from(Cause { reason, names }: Cause) -> Self {
        Self { reason, images: names }
    }
}

impl Failure {
    /// A failure of a class.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let (code, kind) = exit::of(kind);
        Self { code, kind, message: message.into(), ..Self::default() }
    }

    /// Images that failed, each with its reason; `head` says how many.
    pub(crate) fn of_images(
        kind: ErrorKind,
        head: &str,
        failures: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let causes = by_cause(failures);
        let message = describe(head, &causes);
        Self { failures: causes.into_iter().map(FailedImages::from).collect(), ..Self::new(kind, message) }
    }

    /// A wrong call.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// A failure without a class.
    pub(crate) fn other(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Other, message)
    }

    /// Says which file it is about.
    #[must_use]
    pub(crate) fn at(mut self, file: &camino::Utf8Path) -> Self {
        self.message = format!("{file}: {}", self.message);
        self
    }

    /// Adds to what happened.
    #[must_use]
    pub(crate) fn more(mut self, text: &str) -> Self {
        self.message.push('\n');
        self.message.push_str(text);
        self
    }

    /// Ends the program with `code` and without a word.
    pub(crate) fn silent(code: u8) -> Self {
        Self { code, ..Self::default() }
    }

    /// Ended by a signal.
    pub(crate) fn interrupted(signal: Signal) -> Self {
        let message = match signal {
            Signal::Interrupt => "interrupted",
            Signal::Terminate => "terminated",
        };
        Self { code: signal.code(), kind: "interrupted", message: message.to_owned(), ..Self::default() }
    }

    /// Adds what to do next.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What happened.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The name of its class, for programs.
    pub(crate) const fn kind(&self) -> &'static str {
        self.kind
    }

    /// Whether it is of this class.
    pub(crate) fn is(&self, kind: ErrorKind) -> bool {
        self.kind == exit::of(kind).1
    }

    /// The exit code.
    pub(crate) const fn code(&self) -> u8 {
        self.code
    }

    /// For people.
    pub(crate) fn text(&self, paint: impl Fn(&str) -> String) -> String {
        let mut text = String::new();
        for problem in self.problems.iter().filter(|problem| !problem.shown.is_empty()) {
            let _ = write!(text, "{} {}\n\n", paint("error:"), problem.shown);
        }
        if !self.message.is_empty() {
            let _ = writeln!(text, "{} {}", paint("error:"), self.message);
        }
        for line in self.help.iter().flat_map(|help| help.lines()) {
            let _ = writeln!(text, "{} {line}", paint("help:"));
        }
        text
    }

    /// For programs: one line.
    pub(crate) fn json(&self) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Event<'a> {
            schema_version: u32,
            event: &'static str,
            code: u8,
            kind: &'a str,
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            help: Option<&'a str>,
            #[serde(skip_serializing_if = "<[Problem]>::is_empty")]
            problems: &'a [Problem],
            #[serde(skip_serializing_if = "<[FailedImages]>::is_empty")]
            failures: &'a [FailedImages],
        }
        if self.message.is_empty() {
            return String::new();
        }
        let event = Event {
            schema_version: SCHEMA_VERSION,
            event: "error",
            code: self.code,
            kind: self.kind,
            message: &self.message,
            help: self.help.as_deref(),
            problems: &self.problems,
            failures: &self.failures,
        };
        serde_json::to_string(&event).map(|json| json + "\n").unwrap_or_default()
    }
}

impl<E: Classify + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let errors: &dyn std::any::Any = &error;
        if let Some(errors) = errors.downcast_ref::<SetErrors>() {
            return of_sets(errors);
        }
        let failures = error.causes().into_iter().map(FailedImages::from).collect();
        Self { help: error.help(), failures, ..Self::new(error.kind(), chain(&error)) }
    }
}

/// All errors of the sets, and how many there are. A single one that is about no line is the failure itself: a path
/// that does not exist says nothing about sets.
fn of_sets(errors: &SetErrors) -> Failure {
    let mut problems = problems(errors);
    let in_a_line = problems.iter().any(|problem| problem.line > 0);
    if let ([problem], false) = (problems.as_mut_slice(), in_a_line) {
        let message = std::mem::take(&mut problem.shown);
        // The lines of its help follow.
        let message = message.split("\n  help: ").next().unwrap_or_default().to_owned();
        return Failure { help: problem.help.clone(), problems, ..Failure::usage(message) };
    }
    let of_settings = errors.0.iter().all(|error| error.rule == "settings");
    let what = if of_settings {
        "krs.yaml is not acceptable"
    } else if in_a_line {
        "the sets are not acceptable"
    } else {
        "the sets cannot be read"
    };
    let count = if errors.0.len() == 1 { "1 error".to_owned() } else { format!("{} errors", errors.0.len()) };
    Failure { problems, ..Failure::usage(format!("{what}: {count}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_failure_has_its_own_code() {
        use ErrorKind as K;
        let kinds = [
            K::Other,
            K::Usage,
            K::Trust,
            K::Corrupt,
            K::Rollback,
            K::Incomplete,
            K::Auth,
            K::Unavailable,
            K::NoSpace,
        ];
        let codes = kinds.map(|kind| exit::of(kind).0);
        assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn a_failure_is_one_line_for_programs() {
        let failure = Failure::usage("a\nb").help("do c");
        let json = failure.json();
        assert_eq!(json.lines().count(), 1);
        assert_eq!(
            json.trim_end(),
            r#"{"schemaVersion":1,"event":"error","code":2,"kind":"usage","message":"a\nb","help":"do c"}"#
        );
    }
}
