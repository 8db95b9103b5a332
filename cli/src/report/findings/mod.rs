// SPDX-License-Identifier: Apache-2.0
//! What `krs validate` finds, in the formats that CI systems read.

mod github;
mod gitlab;
mod junit;
mod markdown;
mod model;
mod sarif;
#[cfg(test)]
mod tests;

pub(crate) use model::Findings;

impl Findings {
    /// JUnit XML.
    pub(crate) fn junit(&self) -> String {
        junit::render(self)
    }

    /// SARIF 2.1.0. `version` is that of this program.
    pub(crate) fn sarif(&self, version: &str) -> String {
        sarif::render(self, version)
    }

    /// Workflow commands of GitHub Actions.
    pub(crate) fn github(&self) -> String {
        github::render(self)
    }

    /// A Code Quality report of GitLab.
    pub(crate) fn gitlab(&self) -> String {
        gitlab::render(self)
    }

    /// Markdown for a summary or a comment.
    pub(crate) fn markdown(&self) -> String {
        markdown::render(self)
    }
}
