// SPDX-License-Identifier: Apache-2.0
use camino::Utf8PathBuf;
use clap::Args;
use clap_complete::Shell;

/// Check EdgeImageSets, offline
///
/// Applies every rule that the API server has, and finds images whose digests show that they would overwrite each other at the edge. All
/// errors are shown, each with its position.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  krs validate .
  krs validate . --report junit=report.xml --report markdown=summary.md
  kustomize build overlays/prod | krs validate -")]
pub(crate) struct ValidateArgs {
    /// Folders of Git checkouts, files, or `-` for rendered YAML on standard input
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<Utf8PathBuf>,
    /// Also write the findings in a format for CI systems: junit, sarif, github (workflow commands), gitlab (Code Quality)
    /// or markdown. Without FILE it goes to standard output, in place of the usual result; may be repeated
    #[arg(long, value_name = "FORMAT[=FILE]", env = "KRS_REPORT", value_parser = report_target)]
    pub(crate) report: Vec<ReportTarget>,
}

/// A report for a CI system, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReportTarget {
    pub(crate) format: ReportFormat,
    /// `None`: standard output.
    pub(crate) file: Option<Utf8PathBuf>,
}

/// A format that CI systems read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReportFormat {
    Junit,
    Sarif,
    Github,
    Gitlab,
    Markdown,
}

/// The names of the formats.
const REPORT_FORMATS: [(&str, ReportFormat); 5] = [
    ("junit", ReportFormat::Junit),
    ("sarif", ReportFormat::Sarif),
    ("github", ReportFormat::Github),
    ("gitlab", ReportFormat::Gitlab),
    ("markdown", ReportFormat::Markdown),
];

/// Reads `FORMAT` or `FORMAT=FILE`.
fn report_target(text: &str) -> Result<ReportTarget, String> {
    let (name, file) = text.split_once('=').map_or((text, None), |(name, file)| (name, Some(file)));
    let format = REPORT_FORMATS.iter().find(|(known, _)| *known == name).map(|(_, format)| *format);
    let format = format.ok_or_else(|| {
        let names = REPORT_FORMATS.map(|(name, _)| name).join(", ");
        format!("`{}` is not one of {names}", krs_core::redact::printable(name, 60))
    })?;
    match file {
        Some("") => Err(format!("the name of the file is missing: {name}=FILE")),
        Some("-") | None => Ok(ReportTarget { format, file: None }),
        Some(file) => Ok(ReportTarget { format, file: Some(file.into()) }),
    }
}

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  krs completions bash > /etc/bash_completion.d/krs")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// Print the manual page of krs, or of one of its commands
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  krs man bundle | man -l -\n  krs man catalog show | man -l -")]
pub(crate) struct ManArgs {
    /// The command, and the one below it if it has any
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_format_with_or_without_a_file() {
        let target = |format, file: Option<&str>| ReportTarget { format, file: file.map(Into::into) };
        assert_eq!(report_target("github"), Ok(target(ReportFormat::Github, None)));
        assert_eq!(report_target("sarif=-"), Ok(target(ReportFormat::Sarif, None)));
        assert_eq!(report_target("junit=a=b.xml"), Ok(target(ReportFormat::Junit, Some("a=b.xml"))));
        for wrong in ["", "xml", "JUNIT", "junit=", "=a.xml"] {
            assert!(report_target(wrong).is_err(), "{wrong}");
        }
    }
}
