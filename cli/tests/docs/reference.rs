// SPDX-License-Identifier: Apache-2.0
//! What is generated from the program.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::{KRS, checkout, read};

const ACCEPT: &str = "after a review accept it with\n  UPDATE_DOCS=1 cargo test -p krs-cli --test docs";

/// Compares a generated part of a page, between `begin` and `end`, or writes it with UPDATE_DOCS=1.
fn compare(path: &str, begin: &str, end: &str, generated: &str) {
    let file = checkout().join(path);
    let old = fs::read_to_string(&file).unwrap_or_default();
    let (before, rest) = old.split_once(begin).unwrap_or(("", ""));
    let (_, after) = if end.is_empty() { ("", "") } else { rest.split_once(end).unwrap() };
    let new = format!("{before}{begin}{generated}{end}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, &new).unwrap();
    } else {
        let lines = new.lines().zip(old.lines().chain(std::iter::repeat(""))).enumerate();
        let first = lines.filter(|(_, (new, old))| new != old).map(|(n, (new, _))| (n + 1, new)).next();
        assert!(new == old, "{path} is not what krs says, from line {first:?} on; {ACCEPT}");
    }
}

fn krs(arguments: &[&str]) -> String {
    let mut command = Command::new(KRS);
    command.args(arguments).env_clear().env("COLUMNS", "110");
    let output = command.output().unwrap();
    assert!(output.status.success(), "krs {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Help without the options that every command has, and without spaces at the ends of lines.
fn help(command: &str, is_complete: bool) -> String {
    let text = krs(&command.split_whitespace().chain(["--help"]).collect::<Vec<_>>());
    let mut shown = !text.is_empty();
    let mut out = String::new();
    for line in text.lines().map(str::trim_end) {
        if !line.starts_with(' ') && line.ends_with(':') {
            shown = is_complete || line != "Output:";
        } else if !line.is_empty() && !line.starts_with(' ') {
            shown = true;
        }
        if shown {
            out.push_str(line);
            out.push('\n');
        }
    }
    out.trim_end().to_owned()
}

/// The commands that a help text lists, but for `help`.
fn commands(help: &str) -> Vec<&str> {
    let list = help.split_once("\nCommands:\n").map_or("", |(_, list)| list);
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    lines.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect()
}

#[test]
fn the_reference_of_commands_is_what_help_says() {
    let top = help("", true);
    let names = commands(&top);
    assert!(names.len() >= 10, "{names:?}");
    let mut text = format!("\n\n```text\n{top}\n```\n");
    for name in names {
        let help = help(name, false);
        let below = commands(&help).into_iter().map(|sub| format!("{name} {sub}")).collect::<Vec<_>>();
        text.push_str(&format!("\n## krs {name}\n\n```text\n{help}\n```\n"));
        for name in below {
            text.push_str(&format!("\n### krs {name}\n\n```text\n{}\n```\n", self::help(&name, false)));
        }
    }
    let title = "# Commands\n\nEvery command and flag of `krs`, as `krs COMMAND --help` prints it; the options under \"Output\" are shown once,\n\
                 here, and belong to all commands. This page is generated: `UPDATE_DOCS=1 cargo test -p krs-cli --test docs`.";
    compare("docs/reference/cli.md", title, "", &text);
}

#[test]
fn the_reference_of_sets_has_every_field_and_every_rule() {
    let definitions = krs(&["crd"]);
    // The first of the two documents is that of EdgeImageSet.
    let crd: serde_json::Value = serde_saphyr::from_str(definitions.rsplit_once("---\n").unwrap().0).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let (mut fields, mut rules) = (BTreeSet::new(), Vec::new());
    collect(&schema["spec"], "spec", &mut fields, &mut rules);
    let page = read("docs/reference/edgeimageset.md");
    for name in schema["status"]["properties"].as_object().unwrap().keys() {
        fields.insert(name.clone());
    }
    let missing = fields.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect::<Vec<_>>();
    assert!(missing.is_empty(), "docs/reference/edgeimageset.md does not have {missing:?}");
    let rows = rules.iter().map(|(field, message)| format!("| `{field}` | {message} |\n"));
    let table = format!("\n| field | message |\n|---|---|\n{}", rows.collect::<String>());
    compare("docs/reference/edgeimageset.md", "<!-- rules: begin -->", "<!-- rules: end -->", &table);
}

fn collect(
    schema: &serde_json::Value,
    field: &str,
    fields: &mut BTreeSet<String>,
    rules: &mut Vec<(String, String)>,
) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        rules.push((field.to_owned(), rule["message"].as_str().unwrap().replace('|', "\\|")));
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let below = field.strip_prefix("spec.").or(field.strip_prefix("spec")).unwrap_or(field);
        let dot = if below.is_empty() { "" } else { "." };
        fields.insert(if below.starts_with("images") { name.clone() } else { format!("{below}{dot}{name}") });
        collect(schema, &format!("{field}.{name}"), fields, rules);
    }
    if schema["items"].is_object() {
        collect(&schema["items"], &format!("{field}[]"), fields, rules);
    }
}
