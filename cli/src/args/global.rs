// SPDX-License-Identifier: Apache-2.0
use clap::{ArgAction, Args, ValueEnum};

use super::flag;
use super::variables::level;

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Global {
    /// Form of the result
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        env = "KRS_FORMAT",
        value_enum
    )]
    pub(crate) format: Format,
    /// Show nothing but the result and errors
    #[arg(short, long, global = true, env = "KRS_QUIET", value_parser = flag())]
    pub(crate) quiet: bool,
    /// Show more: -v what was skipped, -vv every request (see also KRS_LOG)
    #[arg(short, long, global = true, env = "KRS_VERBOSE", action = ArgAction::Count, value_parser = level)]
    pub(crate) verbose: u8,
    /// Show no progress; retries, and pauses that a registry asks for, are still shown
    #[arg(long, global = true, env = "KRS_NO_PROGRESS", value_parser = flag())]
    pub(crate) no_progress: bool,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", env = "KRS_COLOR", value_enum)]
    pub(crate) color: Color,
}

/// Form of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs: one document on standard output; progress and errors as lines of JSON on standard error
    Json,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}
