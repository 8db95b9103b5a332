// SPDX-License-Identifier: Apache-2.0
//! What `krs` says of itself.

use crate::harness::Desk;

const COMMANDS: [&str; 22] = [
    "collect",
    "bundle",
    "plan",
    "diff",
    "copy",
    "verify",
    "inspect",
    "push",
    "receipt",
    "catalog",
    "fleet",
    "serve",
    "validate",
    "pin",
    "login",
    "logout",
    "keygen",
    "sign",
    "crd",
    "completions",
    "man",
    "version",
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

/// With the commit in brackets; what a bundle or a page says of the program does not change with each commit.
#[test]
fn the_version_names_the_build() {
    let desk = Desk::new();
    let out = desk.krs(&["--version"]).ok().out;
    let build = out.trim_end().strip_prefix(concat!("krs ", env!("CARGO_PKG_VERSION"), " (")).unwrap();
    assert!(build.ends_with(')') && (build.starts_with("commit ") || build == "development build)"), "{out}");
    let page = desk.krs(&["man"]).ok().out;
    assert!(page.contains(concat!("\"krs ", env!("CARGO_PKG_VERSION"), "\"")), "{page}");
}

/// What a pipeline checks before it uses a bundle from elsewhere.
#[test]
fn the_version_says_which_formats_it_reads_and_writes() {
    let desk = Desk::new();
    let version = desk.krs(&["version", "--format", "json"]).ok().json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(version["schemaVersion"], 1);
    let commit = &version["commit"];
    assert!(commit.is_null() || commit.as_str().is_some_and(|commit| commit.len() >= 40), "{commit}");
    assert_eq!(version["formatVersions"]["read"], serde_json::json!([1, 2, 3]));
    assert_eq!(version["formatVersions"]["written"], serde_json::json!([1, 2, 3]));
    let text = desk.krs(&["version"]).ok().out;
    assert!(text.starts_with(&desk.krs(&["--version"]).ok().out), "{text}");
}

#[test]
fn names_of_commands_of_other_tools_lead_to_the_command_that_does_it() {
    let desk = Desk::new();
    for (name, command) in [
        ("save", "krs bundle"),
        ("pull", "krs bundle"),
        ("load", "krs push"),
        ("import", "krs push"),
        ("sync", "krs push"),
        ("mirror", "krs bundle"),
        ("images", "krs collect"),
        ("list", "krs collect"),
    ] {
        desk.krs(&[name, "x", "--all"]).failed(2, &[&format!("krs has no command `{name}`: "), command]);
        let json = desk.krs(&[name, "--format", "json"]);
        let event = serde_json::from_str::<serde_json::Value>(&json.err).unwrap();
        assert!(event["code"] == 2 && event["message"].as_str().unwrap().contains(command), "{json}");
    }
    desk.krs(&["catalog", "list"]).failed(2, &["unrecognized subcommand 'list'"]);
    desk.krs(&["bundel"]).failed(2, &["unrecognized subcommand 'bundel'", "'bundle'"]);
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
fn a_command_below_another_one_has_a_page_under_each_of_its_names() {
    let desk = Desk::new();
    let page = desk.krs(&["man", "catalog", "show"]).ok().out;
    assert!(page.contains(".TH krs-catalog-show 1") && page.contains("krs catalog show"), "{page}");
    for name in ["catalog show", "catalog-show"] {
        assert_eq!(desk.krs(&["man", name]).ok().out, page, "{name}");
    }
    desk.krs(&["man", "catalog", "nothing"])
        .failed(2, &["krs catalog has no command `nothing`", "krs catalog --help"]);
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

#[test]
fn shells_complete_files_and_folders() {
    let desk = Desk::new();
    let bash = desk.krs(&["completions", "bash"]).ok().out;
    let verify = bash
        .split("krs__subcmd__verify)")
        .nth(2)
        .or_else(|| bash.split("krs__verify)").nth(1))
        .unwrap_or(&bash);
    assert!(verify.contains("compgen -f"), "{verify}");
    let zsh = desk.krs(&["completions", "zsh"]).ok().out;
    assert!(zsh.contains(":file -- The bundle, or one of its volumes:_files"), "{zsh}");
    assert!(zsh.contains(":DIR:_files -/"), "{zsh}");
    let fish = desk.krs(&["completions", "fish"]).ok().out;
    let volumes =
        fish.lines().find(|line| line.contains("subcommand verify") && line.contains("-l volumes")).unwrap();
    assert!(volumes.contains("__fish_complete_directories"), "{volumes}");
    let key = fish
        .lines()
        .find(|line| line.contains("subcommand verify") && line.contains("-l public-key"))
        .unwrap();
    assert!(key.contains(" -F"), "{key}");
}

#[test]
fn manual_pages_keep_the_lines_of_their_examples() {
    let desk = Desk::new();
    for command in [
        "bundle", "verify", "inspect", "push", "copy", "serve", "receipt", "validate", "pin", "sign",
        "keygen", "login", "logout",
    ] {
        let page = desk.krs(&["man", command]).ok().out;
        let examples =
            page.split(".SH EXAMPLES\n.nf\n").nth(1).unwrap_or_else(|| panic!("{command}\n{page}"));
        let (examples, _) = examples.split_once("\n.fi\n").unwrap();
        assert!(examples.lines().next().unwrap().starts_with("  "), "{command}\n{examples}");
        assert!(
            examples.lines().filter(|line| line.starts_with("  krs ") || line.contains("| krs ")).count() > 0
        );
    }
    assert!(desk.krs(&["man"]).ok().out.contains(".SH NOTES\n.nf\nExit codes:\n   0  done\n"));
}
