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
  kustomize build overlays/prod | krs validate -")]
pub(crate) struct ValidateArgs {
    /// Folders of Git checkouts, files, or `-` for rendered YAML on standard input
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<Utf8PathBuf>,
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
#[command(after_help = "Example:\n  krs man bundle | man -l -")]
pub(crate) struct ManArgs {
    /// The command
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Option<String>,
}
