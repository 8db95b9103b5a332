// SPDX-License-Identifier: Apache-2.0
//! Documents that follow from the code: the resource definition, completions, manual pages.

use clap::{Arg, Command, CommandFactory as _, ValueHint};
use krs_core::crd;

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::console::Console;
use crate::diagnostic::Failure;

/// `krs crd`
pub(super) fn crd(console: &Console) -> Result<(), Failure> {
    let sets = crd::edge_image_set_crd_yaml().map_err(Failure::other)?;
    let bundles = crd::image_bundle_crd_yaml().map_err(Failure::other)?;
    console.print(&format!("---\n{}\n---\n{}\n", sets.trim_end(), bundles.trim_end()))
}

/// `krs completions`
pub(super) fn completions(args: &CompletionsArgs, console: &Console) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut with_hints(Cli::command()), "krs", &mut script);
    console.print(&String::from_utf8_lossy(&script))
}

/// `krs man`
pub(super) fn man(args: &ManArgs, console: &Console) -> Result<(), Failure> {
    // A page belongs to a version, not to one build of it.
    let mut krs = Cli::command().version(env!("CARGO_PKG_VERSION"));
    krs.build();
    let command = page(krs, &args.command)?;
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(command).render(&mut page);
    rendered.map_err(|e| Failure::other(format!("cannot write the manual page: {e}")))?;
    console.print(&with_examples(&String::from_utf8_lossy(&page)))
}

/// Has shells complete files and folders, by the names of the values.
fn with_hints(command: Command) -> Command {
    command.mut_args(with_hint).mut_subcommands(with_hints)
}

fn with_hint(arg: Arg) -> Arg {
    let names =
        arg.get_value_names().unwrap_or_default().iter().map(clap::builder::Str::as_str).collect::<Vec<_>>();
    let hint = match names.as_slice() {
        ["DIR"] => ValueHint::DirPath,
        ["FILE" | "BUNDLE"] => ValueHint::FilePath,
        ["PATH" | "FILE|DIR" | "BEFORE" | "AFTER"] => ValueHint::AnyPath,
        // What is no file.
        _ => ValueHint::Other,
    };
    if arg.get_action().takes_values() { arg.value_hint(hint) } else { arg }
}

/// A manual page whose examples and tables keep their lines, under a heading of their own.
fn with_examples(page: &str) -> String {
    let Some((before, rest)) = page.split_once(".SH EXTRA\n") else { return page.to_owned() };
    let (extra, after) =
        rest.split_once("\n.SH ").map_or((rest, None), |(extra, after)| (extra, Some(after)));
    let examples = extra.strip_prefix("Examples:\n").or_else(|| extra.strip_prefix("Example:\n"));
    let (heading, extra) = examples.map_or(("NOTES", extra), |examples| ("EXAMPLES", examples));
    let after = after.map(|after| format!(".SH {after}")).unwrap_or_default();
    format!("{before}.SH {heading}\n.nf\n{}\n.fi\n{after}", extra.trim_end())
}

/// The command that these words name. `"catalog show"` and `catalog-show`, as its page is called, are two words, too.
fn page(krs: Command, words: &[String]) -> Result<Command, Failure> {
    let mut command = krs;
    for name in words.iter().flat_map(|words| words.split([' ', '-'])).filter(|name| !name.is_empty()) {
        let Some(found) = command.find_subcommand(name) else {
            let called = command.get_bin_name().unwrap_or("krs");
            let name = krs_core::redact::printable(name, 40);
            return Err(Failure::usage(format!("{called} has no command `{name}`"))
                .help(format!("{called} --help lists the commands")));
        };
        command = found.clone();
    }
    Ok(command)
}
