// SPDX-License-Identifier: Apache-2.0
//! The command line as data: clap and nothing else.

mod bundle;
mod catalog;
mod collect;
mod copy;
mod diff;
mod fleet;
mod global;
mod key;
mod login;
mod other;
mod pin;
mod read;
mod receipt;
mod registry;
mod site_keys;
mod size;
mod value;
mod variables;

pub(crate) use bundle::{BundleArgs, PlanArgs, PlanOnlyArgs};
pub(crate) use catalog::{CatalogAddArgs, CatalogArgs, CatalogCommand, CatalogShowArgs};
pub(crate) use collect::CollectArgs;
pub(crate) use copy::CopyArgs;
pub(crate) use diff::DiffArgs;
pub(crate) use fleet::{FleetArgs, FleetCommand, FleetStatusArgs};
pub(crate) use global::{Color, Format, Global};
pub(crate) use key::{KeygenArgs, PassphraseFile, SignArgs};
pub(crate) use login::{LoginArgs, LogoutArgs};
pub(crate) use other::{CompletionsArgs, ManArgs, ReportFormat, ReportTarget, ValidateArgs};
pub(crate) use pin::PinArgs;
pub(crate) use read::{
    InspectArgs, PolicyArgs, PublicKeys, PushArgs, PushReferrers, ServeArgs, VerifyArgs, VolumeArgs,
};
pub(crate) use receipt::{QrTarget, ReceiptArgs};
pub(crate) use registry::RegistryArgs;
pub(crate) use site_keys::{SiteKeyFile, SiteKeyFiles};
pub(crate) use value::destination;
pub(crate) use variables::parse;

use clap::{Parser, Subcommand};

use crate::exit;

/// Carries the container images that a Git checkout lists into sites without a network.
///
/// On the connected side `krs bundle` writes one archive of everything that the EdgeImageSets of a checkout name.
/// At the site `krs verify` verifies it and `krs push` copies it into the registry, directly from the archive.
#[derive(Debug, Parser)]
#[command(
    name = "krs",
    version = env!("KRS_VERSION"),
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_long_help = exit::help()
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Collect(CollectArgs),
    Bundle(BundleArgs),
    Plan(PlanOnlyArgs),
    Diff(DiffArgs),
    Copy(CopyArgs),
    Verify(VerifyArgs),
    Inspect(InspectArgs),
    Push(PushArgs),
    Receipt(ReceiptArgs),
    Catalog(CatalogArgs),
    Fleet(FleetArgs),
    Serve(ServeArgs),
    Validate(ValidateArgs),
    Pin(PinArgs),
    Login(LoginArgs),
    Logout(LogoutArgs),
    Keygen(KeygenArgs),
    Sign(SignArgs),
    /// Print the CustomResourceDefinitions of EdgeImageSet and ImageBundle
    #[command(after_help = "Example:\n  krs crd | kubectl apply --server-side -f -")]
    Crd,
    Completions(CompletionsArgs),
    Man(ManArgs),
    /// Print the version, the commit and the format versions
    #[command(after_help = "Example:\n  krs version --format json")]
    Version,
}

/// Reads `1`, `true`, `yes`, `on` and their opposites, so that `KRS_QUIET=1` works.
fn flag() -> clap::builder::BoolishValueParser {
    clap::builder::BoolishValueParser::new()
}

/// A version of the format that this program writes.
fn format_version() -> clap::builder::RangedI64ValueParser<u32> {
    let (first, last) = (krs_core::format::FIRST_VERSION, krs_core::format::FORMAT_VERSION);
    clap::value_parser!(u32).range(i64::from(first)..=i64::from(last))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        super::Cli::command().debug_assert();
    }

    /// Every flag can also be set by a variable, but for what holds a secret or asks for help.
    #[test]
    fn t91_every_flag_has_a_variable_and_none_of_them_takes_a_secret() {
        use clap::CommandFactory as _;
        let cli = super::Cli::command();
        for command in cli.get_subcommands().flat_map(|sub| std::iter::once(sub).chain(sub.get_subcommands()))
        {
            for argument in command.get_arguments().filter(|a| !a.is_positional()) {
                let id = argument.get_id().as_str();
                let variable = argument.get_env().map(|env| env.to_string_lossy().into_owned());
                assert!(
                    variable.is_some_and(|variable| variable.starts_with("KRS_")),
                    "krs {}: --{id} has no variable",
                    command.get_name()
                );
                assert!(!matches!(id, "password" | "passphrase" | "token" | "secret"), "--{id}");
            }
        }
    }
}
