// SPDX-License-Identifier: Apache-2.0
use krs_core::set::{SetError, SetErrors};
use serde::Serialize;

/// One place of a set that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    pub(crate) file: String,
    pub(crate) line: u64,
    pub(crate) column: u64,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) help: Option<String>,
    /// With the line itself and carets under what is meant; empty: the message of the failure says it.
    #[serde(skip)]
    pub(crate) shown: String,
}

impl From<&SetError> for Problem {
    fn from(error: &SetError) -> Self {
        Self {
            file: error.file.clone(),
            line: error.line,
            column: error.column,
            message: error.message.clone(),
            help: error.help.as_deref().map(str::to_owned),
            shown: error.to_string(),
        }
    }
}

/// The errors of sets for programs.
pub(crate) fn problems(errors: &SetErrors) -> Vec<Problem> {
    errors.0.iter().map(Problem::from).collect()
}
