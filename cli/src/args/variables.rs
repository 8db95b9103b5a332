// SPDX-License-Identifier: Apache-2.0
//! The command line together with its variables: what CI systems hand over is often empty.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _, Error, FromArgMatches as _};

use super::Cli;

/// Variables that ask for a check of a bundle, where they belong to arguments with the heading [`TRUST`]: empty, they would
/// switch it off without a word.
const PROTECTING: [&str; 5] =
    ["KRS_PUBLIC_KEY", "KRS_AUDIENCE", "KRS_MIN_SEQUENCE", "KRS_STREAM", "KRS_SITE_KEY"];
/// The heading of arguments that such a check is for.
pub(super) const TRUST: &str = "Trust";
/// The same, for a bundle that is made.
const REQUIRING: [&str; 2] = ["KRS_REQUIRE_SIGNATURE", "KRS_REQUIRE_CLEAN"];

/// Reads the command line. A `KRS_*` variable that is empty counts as unset, unless it would protect; one for an argument
/// that may be repeated has commas between its values.
///
/// # Errors
/// As clap's.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, Error> {
    let arguments = arguments.into_iter().collect::<Vec<_>>();
    let mut command = Cli::command();
    if let Some(message) = old_output(&arguments, std::env::var("KRS_OUTPUT").ok().as_deref()) {
        return Err(error_of(command, &arguments, ErrorKind::InvalidValue, &message));
    }
    command = without_empty_variables(command);
    let matches = command.clone().try_get_matches_from(&arguments);
    let mut matches = matches.map_err(|error| match usual_name(&error, &command, &arguments) {
        Some(message) => error_of(command.clone(), &arguments, ErrorKind::InvalidSubcommand, &message),
        None => with_variable(error, command.clone(), &arguments),
    })?;
    if let Some(variable) = empty_protection(&Cli::command(), &matches) {
        let message = format!(
            "{} is set and empty: it requires a check, but has no value to check against. Give it a value, or unset it",
            variable.to_string_lossy()
        );
        return Err(error_of(command, &arguments, ErrorKind::InvalidValue, &message));
    }
    let (with_lists, has_lists) = with_lists(command, &matches);
    if has_lists {
        let split = with_lists.clone().try_get_matches_from(&arguments);
        matches = split.map_err(|error| with_variable(error, with_lists, &arguments))?;
    }
    Cli::from_arg_matches(&matches)
}

/// The variable that is empty and asks for a check, of the command that is called.
fn empty_protection(command: &Command, given: &ArgMatches) -> Option<OsString> {
    let (name, given) = given.subcommand()?;
    let sub = command.find_subcommand(name)?;
    let empty = sub.get_arguments().find(|arg| is_empty_protection(arg, given)).and_then(Arg::get_env);
    empty.map(OsStr::to_owned).or_else(|| empty_protection(sub, given))
}

/// A command that divides, of the command that is called, the variables that have several values. Answers whether there are any.
fn with_lists(command: Command, given: &ArgMatches) -> (Command, bool) {
    let Some((name, given)) = given.subcommand() else { return (command, false) };
    let mut has_lists = false;
    let command = command.mut_subcommand(name, |sub| {
        let sub = sub.mut_args(|arg| {
            let is_list = is_list(&arg, given);
            has_lists |= is_list;
            if is_list { arg.value_delimiter(',') } else { arg }
        });
        let (sub, below) = with_lists(sub, given);
        has_lists |= below;
        sub
    });
    (command, has_lists)
}

/// What other tools call a command of krs, and the commands that do it here.
const USUAL_NAMES: [(&[&str], &str); 4] = [
    (&["save", "export", "pull"], "`krs bundle` fetches images into an archive"),
    (&["load", "import"], "`krs push` copies the images of an archive into a registry"),
    (
        &["sync", "mirror"],
        "`krs bundle` fetches images into an archive, and `krs push` copies them from there into a registry",
    ),
    (
        &["images", "list", "find"],
        "`krs collect` finds the images of manifests, charts and clusters, `krs plan` lists those of sets, and `krs inspect` those of a bundle",
    ),
];

/// Which command does what a command of this name does in other tools; `None` where the error is another one.
fn usual_name(error: &Error, command: &Command, arguments: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    // `krs catalog list` means a command of `krs catalog`.
    let mut words = arguments.iter().skip(1).filter_map(|word| word.to_str());
    words.find(|word| word == name || command.find_subcommand(word).is_some()).filter(|word| word == name)?;
    let (_, commands) = USUAL_NAMES.iter().find(|(names, _)| names.contains(&name.as_str()))?;
    Some(format!("krs has no command `{name}`: {commands}"))
}

/// The subcommand that the arguments name, and the one below it.
fn subcommand<'a>(mut command: &'a mut Command, arguments: &[OsString]) -> Option<&'a mut Command> {
    let words = arguments.iter().skip(1).filter_map(|word| word.to_str());
    let mut is_found = false;
    for word in words {
        if command.find_subcommand(word).is_some() {
            command = command.find_subcommand_mut(word)?;
            is_found = true;
        }
    }
    is_found.then_some(command)
}

/// An error that shows how the command is called that was meant.
fn error_of(mut command: Command, arguments: &[OsString], kind: ErrorKind, message: &str) -> Error {
    command.build();
    match subcommand(&mut command, arguments) {
        Some(sub) => sub.error(kind, message),
        None => command.error(kind, message),
    }
}

/// The error with the name of the variable, where the value that is refused comes from one.
fn with_variable(error: Error, mut command: Command, arguments: &[OsString]) -> Error {
    let is_of_value = matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue);
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg).filter(|_| is_of_value) else {
        return error;
    };
    command.build();
    let sub = subcommand(&mut command, arguments);
    let found = sub.and_then(|sub| sub.get_arguments().find(|arg| arg.to_string() == *shown).cloned());
    let is_named = |arg: &Arg| {
        let long = arg.get_long().map(|long| format!("--{long}")).unwrap_or_default();
        let mut words = arguments.iter().map(|word| word.to_string_lossy());
        words.any(|word| word.split('=').next() == Some(long.as_str()))
    };
    let found = found.filter(|arg| !is_named(arg));
    let variable = found.as_ref().and_then(Arg::get_env).map(OsStr::to_string_lossy);
    let Some(variable) = variable.filter(|name| std::env::var_os(&**name).is_some()) else { return error };
    let text = error.render().to_string();
    let message = text.split("\n\nFor more information").next().unwrap_or_default();
    let message = message.trim_start_matches("error: ").replacen(
        &format!("'{shown}'"),
        &format!("the variable {variable} ('{shown}')"),
        1,
    );
    error_of(command, arguments, error.kind(), &message)
}

/// A command whose arguments, and those of the commands below it, read no empty variable.
fn without_empty_variables(command: Command) -> Command {
    command.mut_args(without_empty).mut_subcommands(without_empty_variables)
}

/// The argument without its variable, where that is empty.
fn without_empty(arg: Arg) -> Arg {
    let empty = arg.get_env().is_some_and(is_empty);
    if empty { arg.env(None::<&'static str>) } else { arg }
}

fn is_empty(variable: &OsStr) -> bool {
    std::env::var_os(variable).is_some_and(|value| value.to_string_lossy().trim().is_empty())
}

/// Whether an argument asks for a check, by a variable that is empty, and is not on the command line.
fn is_empty_protection(arg: &Arg, given: &ArgMatches) -> bool {
    let is_one_of = |names: &[&str], name: &OsStr| names.iter().any(|one| **one == *name);
    let protects = |name: &&OsStr| {
        is_one_of(&REQUIRING, name) || (is_one_of(&PROTECTING, name) && arg.get_help_heading() == Some(TRUST))
    };
    let named = given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    arg.get_env().filter(protects).is_some_and(is_empty) && !named
}

/// Whether the values of an argument come from a variable, and may be several.
fn is_list(arg: &Arg, given: &ArgMatches) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
        && arg.get_value_delimiter().is_none()
        && given.value_source(arg.get_id().as_str()) == Some(ValueSource::EnvVariable)
}

/// What to write in place of `--output json`, which was the form of results in early versions, and is a file now.
fn old_output(arguments: &[OsString], variable: Option<&str>) -> Option<String> {
    let forms = ["json", "text"];
    if let Some(form) = forms.into_iter().find(|form| variable == Some(*form)) {
        return Some(format!(
            "KRS_OUTPUT={form}: this variable names the file to write; the form of results is KRS_FORMAT={form}"
        ));
    }
    let words = arguments.iter().map(|word| word.to_string_lossy()).take_while(|word| word != "--");
    let words = words.collect::<Vec<_>>();
    let pairs =
        words.iter().zip(words.iter().skip(1)).map(|(flag, value)| (flag.to_string(), value.to_string()));
    let pairs = pairs.filter(|(flag, _)| flag == "--output" || flag == "-o");
    let joined = words.iter().filter_map(|word| {
        let value = word.strip_prefix("--output=").or_else(|| word.strip_prefix("-o"))?;
        Some((word.strip_suffix(value)?.to_owned(), value.trim_start_matches('=').to_owned()))
    });
    let mut found = pairs.chain(joined).filter(|(_, value)| forms.contains(&value.as_str()));
    found.next().map(|(flag, form)| {
        let flag = flag.trim_end_matches('=');
        format!("{flag} {form}: this names the file to write; the form of results is --format {form} (a file of this name is ./{form})")
    })
}

/// How often something is to be said: a number, or what the variable of a flag may be.
pub(super) fn level(text: &str) -> Result<u8, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "false" | "no" | "off" | "n" | "f" => Ok(0),
        "true" | "yes" | "on" | "y" | "t" => Ok(1),
        number => number.parse().map_err(|_| "expected a number, true or false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_form_of_results_is_not_taken_for_a_file() {
        for old in [
            "krs verify x --output json",
            "krs bundle . -o json",
            "krs bundle . -ojson",
            "krs --output=text plan .",
            "krs plan . -o=json",
        ] {
            let message = old_output(&words(old), None).unwrap_or_default();
            assert!(message.contains("--format "), "{old}: {message}");
        }
        for fine in [
            "krs bundle . -o ./json",
            "krs bundle . -o json.krs.tar",
            "krs bundle -- -o json",
            "krs verify json",
        ] {
            assert_eq!(old_output(&words(fine), Some("a.krs.tar")), None, "{fine}");
        }
        let message = old_output(&words("krs plan ."), Some("json")).unwrap_or_default();
        assert!(message.contains("KRS_FORMAT=json"), "{message}");
    }

    #[test]
    fn a_usual_name_is_no_command_and_names_one_that_exists() {
        let known = Cli::command();
        for (names, commands) in USUAL_NAMES {
            for name in names {
                assert!(known.find_subcommand(name).is_none(), "{name} is a command by now");
            }
            let mentioned = commands.split("`krs ").skip(1).filter_map(|rest| rest.split('`').next());
            for command in mentioned {
                assert!(known.find_subcommand(command).is_some(), "{command}");
            }
        }
    }

    #[test]
    fn a_level_is_a_number_or_a_flag() {
        for (text, level_) in [("2", 2), ("true", 1), ("False", 0), ("0", 0)] {
            assert_eq!(level(text), Ok(level_), "{text}");
        }
        assert!(level("loud").is_err());
    }
}
