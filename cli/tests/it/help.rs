// SPDX-License-Identifier: Apache-2.0
//! What `krs` says of itself.

use crate::harness::Desk;

const COMMANDS: [&str; 15] = [
    "bundle",
    "plan",
    "diff",
    "copy",
    "verify",
    "inspect",
    "push",
    "receipt",
    "serve",
    "validate",
    "keygen",
    "sign",
    "crd",
    "completions",
    "man",
];

#[test]
fn the_help_of_every_command() {
    let desk = Desk::new();
    let mut text = desk.krs(&["--help"]).ok().out;
    for command in COMMANDS {
        assert!(text.contains(&format!("\n  {command} ")), "{command} is listed");
        let help = desk.krs(&[command, "-h"]).ok().out;
        text.push_str(&format!("\n======== krs {command} -h\n{help}"));
        assert!(!desk.krs(&["man", command]).ok().out.is_empty());
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "it fits 100 columns");
    insta::assert_snapshot!(text);
}

#[test]
fn nothing_but_the_commands_that_work_is_listed() {
    let out = Desk::new().krs(&["-h"]).ok().out;
    let listed =
        out.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let listed = listed.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    assert_eq!(listed.collect::<Vec<_>>(), COMMANDS);
}

#[test]
fn the_resource_definition_and_completions_are_printed() {
    let desk = Desk::new();
    let definitions = desk.krs(&["crd"]).ok().out;
    for name in ["edgeimagesets", "imagebundles"] {
        assert!(definitions.contains(&format!("name: {name}.kuberegistrysync.io")), "{name}");
    }
    assert_eq!(definitions.lines().filter(|line| *line == "---").count(), 2, "two documents");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(desk.krs(&["completions", shell]).ok().out.contains("krs"), "{shell}");
    }
    desk.krs(&["man", "nothing"]).failed(2, &["krs has no command `nothing`"]);
}

#[test]
fn the_form_of_results_was_once_called_output_and_is_refused_with_its_name() {
    let desk = Desk::new();
    for old in
        [&["crd", "--output", "json"][..], &["bundle", ".", "-o", "json"], &["verify", "x", "--output=text"]]
    {
        desk.krs(old).failed(2, &["the form of results is --format"]);
    }
    desk.krs_env(&[("KRS_OUTPUT", "json")], &["crd"]).failed(2, &["the form of results is KRS_FORMAT=json"]);
    let json = desk.krs(&["verify", "x", "--format", "json"]);
    assert!(json.err.starts_with('{') && json.code != 0, "{json}");
}
