// SPDX-License-Identifier: Apache-2.0
use krs_core::format::{FIRST_VERSION, FORMAT_VERSION};
use serde::Serialize;

use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::SCHEMA_VERSION;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    schema_version: u32,
    version: &'static str,
    /// Absent in a build without Git; ends with `-modified` where the sources differ from the commit.
    commit: Option<&'static str>,
    format_versions: FormatVersions,
}

#[derive(Serialize)]
struct FormatVersions {
    read: Vec<u32>,
    written: Vec<u32>,
}

/// `krs version`
pub(super) fn version(console: &Console) -> Result<(), Failure> {
    let versions = (FIRST_VERSION..=FORMAT_VERSION).collect::<Vec<_>>();
    let report = Report {
        schema_version: SCHEMA_VERSION,
        version: env!("CARGO_PKG_VERSION"),
        commit: commit(env!("KRS_VERSION")),
        format_versions: FormatVersions { read: versions.clone(), written: versions },
    };
    console.result(&report, || {
        let numbers = report.format_versions.read.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        format!("krs {}\nreads and writes format versions {numbers}\n", env!("KRS_VERSION"))
    })
}

/// The commit in the text of a build: `0.2.0 (commit 1234…)`.
fn commit(build: &str) -> Option<&str> {
    build.split_once("(commit ")?.1.split([')', ' ', ',']).next()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_build_without_a_commit_names_none() {
        assert_eq!(super::commit("0.2.0 (commit abc-modified)"), Some("abc-modified"));
        assert_eq!(super::commit("0.2.0 (development build)"), None);
    }
}
