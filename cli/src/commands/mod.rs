// SPDX-License-Identifier: Apache-2.0
//! One file for each command: arguments in, the core called, a report out.

mod against;
mod bundle;
mod bundle_run;
mod catalog;
mod catalog_index;
mod catalog_name;
mod collect;
mod copy;
mod credential_file;
mod diff;
mod drive;
mod files;
mod fleet;
mod generate;
mod inspect;
mod keygen;
mod keys;
mod local_sources;
mod login;
mod output;
mod pin;
mod policy;
mod push;
mod receipt;
mod receipts;
mod registries;
mod runtime;
mod scratch;
mod sequence;
mod serve;
mod sets;
mod settings;
mod short_receipt;
mod sign;
mod signals;
mod validate;
mod verify;
mod version;

use std::process::ExitCode;

use clap::error::ErrorKind as ClapKind;

use crate::args::{self, Command, Global};
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::exit;
use crate::standard_error;

/// Reads the command line, does what it says, and answers the exit code.
pub(crate) fn main() -> ExitCode {
    let cli = match args::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(refused(&error)),
    };
    let console = Console::new(&cli.global);
    log(&cli.global);
    match run(cli.command, &console) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(failure) => {
            console.failure(&failure);
            ExitCode::from(failure.code())
        }
    }
}

fn run(command: Command, console: &Console) -> Result<(), Failure> {
    match command {
        Command::Collect(args) => collect::collect(&args, console),
        Command::Bundle(args) => bundle::bundle(&args, console),
        Command::Diff(args) => diff::diff(&args, console),
        Command::Plan(args) => bundle::plan_only(&args, console),
        Command::Copy(args) => copy::copy(&args, console),
        Command::Verify(args) => verify::verify(&args, console),
        Command::Inspect(args) => inspect::inspect(&args, console),
        Command::Push(args) => push::push(&args, console),
        Command::Receipt(args) => receipt::receipt(&args, console),
        Command::Catalog(args) => catalog::catalog(&args, console),
        Command::Fleet(args) => fleet::fleet(&args, console),
        Command::Serve(args) => serve::serve(&args, console),
        Command::Pin(args) => pin::pin(&args, console),
        Command::Validate(args) => validate::validate(&args, console),
        Command::Login(args) => login::login(&args, console),
        Command::Logout(args) => login::logout(&args, console),
        Command::Keygen(args) => keygen::keygen(&args, console),
        Command::Sign(args) => sign::sign(&args, console),
        Command::Crd => generate::crd(console),
        Command::Completions(args) => generate::completions(&args, console),
        Command::Man(args) => generate::man(&args, console),
        Command::Version => version::version(console),
    }
}

/// A call that clap does not take, or a question for help.
fn refused(error: &clap::Error) -> u8 {
    // Early versions had `--output` for it, which is refused with the right word.
    let wants_json = || {
        let named = std::env::args().collect::<Vec<_>>();
        let flags = ["--format", "--output", "-o"];
        let json = |text: &str| flags.iter().any(|flag| text.strip_prefix(flag) == Some("=json"));
        let pair = |pair: &[String]| matches!(pair, [flag, value] if flags.contains(&flag.as_str()) && value == "json");
        let variable = |name: &str| std::env::var(name).is_ok_and(|value| value == "json");
        named.windows(2).any(pair)
            || named.iter().any(|word| json(word))
            || variable("KRS_FORMAT")
            || variable("KRS_OUTPUT")
    };
    let shows_help = matches!(
        error.kind(),
        ClapKind::DisplayHelp | ClapKind::DisplayVersion | ClapKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if !shows_help && wants_json() {
        let text = error.render().to_string();
        let text = text.split("\n\nFor more information").next().unwrap_or_default();
        let (message, usage) = text.trim().split_once("\n\nUsage: ").unwrap_or((text.trim(), ""));
        let failure = Failure::usage(message.trim_start_matches("error: "));
        let failure = if usage.is_empty() { failure } else { failure.help(format!("usage: {usage}")) };
        standard_error::write(&failure.json());
    } else {
        // Where the terminal is gone there is nobody to tell.
        let _ = error.print();
    }
    u8::try_from(error.exit_code()).unwrap_or(exit::USAGE)
}

/// Writes what the core logs to standard error, where that was asked for.
fn log(global: &Global) {
    use tracing_subscriber::EnvFilter;
    let from_environment = std::env::var("KRS_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = match (from_environment, global.verbose) {
        (Some(filter), _) => filter,
        (None, 0 | 1) => return,
        (None, 2) => "krs_core=debug".to_owned(),
        (None, _) => "trace".to_owned(),
    };
    let filter = EnvFilter::builder().parse_lossy(filter);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
}
