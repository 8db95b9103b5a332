// SPDX-License-Identifier: Apache-2.0
//! Variables as CI systems hand them over: empty, `false`, and lists in one line.

use crate::harness::{Site, app};

/// Every variable that `krs --help` and the help of its commands name.
fn variables(site: &Site) -> Vec<String> {
    let mut names = Vec::new();
    for command in ["bundle", "verify", "inspect", "push", "receipt", "serve", "sign"] {
        let help = site.desk.krs(&[command, "--help"]).ok().out.replace("\n", " ");
        let parts = help.split("[env:").skip(1);
        names.extend(parts.filter_map(|part| Some(part.trim().split_once('=')?.0.to_owned())));
    }
    names.sort();
    names.dedup();
    assert!(names.len() > 30 && names.iter().all(|name| name.starts_with("KRS_")), "{names:?}");
    names
}

fn site() -> Site {
    let mut site = Site::new();
    site.add(&app("app", 1), "team/app", "1.0");
    site.commit();
    site
}

#[test]
fn t226_a_variable_that_is_empty_is_unset_for_every_flag_and_an_error_where_it_protects() {
    let site = site();
    let names = variables(&site);
    let empty = |names: &[String]| names.iter().map(|name| (name.clone(), String::new())).collect::<Vec<_>>();
    let path = site.checkout.path().as_str();
    let run = |variables: &[(String, String)], arguments: &[&str]| {
        let variables =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>();
        site.desk.krs_env(&variables, arguments)
    };
    let requiring = ["KRS_REQUIRE_SIGNATURE", "KRS_REQUIRE_CLEAN", "KRS_SITE_KEY"];
    for name in requiring {
        let one = empty(&[name.to_owned()]);
        run(&one, &["bundle", path, "-o", "a.krs.tar"]).failed(2, &[name, "is set and empty"]);
    }
    let without =
        names.iter().filter(|name| !requiring.contains(&name.as_str())).cloned().collect::<Vec<_>>();
    let outcome = run(&empty(&without), &["bundle", path, "-o", "a.krs.tar"]).ok();
    assert!(outcome.out.contains("default"), "the stream has its default: {outcome}");

    let protecting = ["KRS_PUBLIC_KEY", "KRS_AUDIENCE", "KRS_MIN_SEQUENCE", "KRS_STREAM"];
    let others =
        names.iter().filter(|name| !protecting.contains(&name.as_str())).cloned().collect::<Vec<_>>();
    run(&empty(&others), &["verify", "a.krs.tar"]).ok();
    for name in protecting {
        let one = [(name.to_owned(), " ".to_owned())];
        run(&one, &["verify", "a.krs.tar"]).failed(2, &[name, "is set and empty"]);
        let edge = site.edge.host().to_string();
        run(&one, &["push", "a.krs.tar", &edge, "--dry-run"]).failed(2, &[name]);
    }
    run(&empty(&["KRS_PUBLIC_KEY".to_owned()]), &["inspect", "a.krs.tar"]).failed(2, &["KRS_PUBLIC_KEY"]);
    // What the command line says counts.
    let stream = empty(&["KRS_STREAM".to_owned()]);
    run(&stream, &["verify", "a.krs.tar", "--stream", "default"]).ok();
}

#[test]
fn a_list_in_a_variable_has_commas_between_its_values_and_a_flag_is_off_when_it_says_so() {
    let site = site();
    site.bundle("a.krs.tar", &[]).ok();
    for name in ["one", "two"] {
        site.desk.keygen(name);
    }
    site.desk.krs(&["sign", "a.krs.tar", "--key", "two.key"]).ok();
    let keys = [("KRS_PUBLIC_KEY", "one.pub,two.pub")];
    site.desk.krs_env(&keys, &["verify", "a.krs.tar"]).ok();
    // On the command line a comma is part of a name.
    site.desk
        .krs(&["verify", "a.krs.tar", "--public-key", "one.pub,two.pub"])
        .failed(2, &["one.pub,two.pub"]);
    for (name, value) in
        [("KRS_VERBOSE", "false"), ("KRS_VERBOSE", "1"), ("KRS_QUIET", "FALSE"), ("KRS_NO_PROGRESS", "off")]
    {
        site.desk.krs_env(&[(name, value)], &["inspect", "a.krs.tar"]).ok();
    }
}

#[test]
fn t301_commands_below_others_read_lists_and_empty_variables_as_all_do() {
    let site = site();
    site.bundle("a.krs.tar", &["--catalog", "c.jsonl"]).ok();
    for name in ["one", "two"] {
        site.desk.keygen(name);
    }
    let site_keys =
        |value: &str, arguments: &[&str]| site.desk.krs_env(&[("KRS_SITE_KEY", value)], arguments);
    for (arguments, usage) in [
        (["catalog", "add", "c.jsonl", "a.krs.tar"], "Usage: krs catalog add [OPTIONS] <FILE>"),
        (["fleet", "status", "--catalog", "c.jsonl"], "Usage: krs fleet status [OPTIONS]"),
    ] {
        site_keys("", &arguments).failed(2, &["KRS_SITE_KEY is set and empty", usage]);
        site_keys("kiel=one.pub,two.pub", &arguments).ok();
        site_keys("kiel=one.pub,=two.pub", &arguments)
            .failed(2, &["invalid value '=two.pub' for the variable"]);
        // On the command line a comma is part of a name.
        let outcome = site.desk.krs(&[&arguments[..], &["--site-key", "kiel=one.pub,=two.pub"]].concat());
        assert!(!outcome.err.contains("invalid value"), "{outcome}");
        site_keys("=one.pub", &arguments)
            .failed(2, &["for the variable KRS_SITE_KEY ('--site-key <[SITE=]FILE>')", usage]);
        site_keys("", &[&arguments[..], &["--site-key", "one.pub"]].concat()).ok();
    }
}

#[test]
fn a_wrong_variable_is_named_with_the_command_that_it_is_wrong_for() {
    let site = site();
    site.bundle("a.krs.tar", &[]).ok();
    let edge = site.edge.host().to_string();
    let push = ["push", "a.krs.tar", &edge];
    let usage = "Usage: krs push [OPTIONS] <FILE> [REGISTRY[/PREFIX]]";
    for (name, value, message) in [
        ("KRS_JOBS", "many", "invalid value 'many' for the variable KRS_JOBS ('--jobs <N>'): "),
        ("KRS_QUIET", "x", "invalid value 'x' for the variable KRS_QUIET ('--quiet'): "),
        (
            "KRS_PUSH_REFERRERS",
            "some",
            "for the variable KRS_PUSH_REFERRERS ('--referrers <all|none|required>')",
        ),
        ("KRS_PUBLIC_KEY", "", "KRS_PUBLIC_KEY is set and empty"),
        ("KRS_OUTPUT", "json", "the form of results is KRS_FORMAT=json"),
    ] {
        // The form of results was once named by KRS_OUTPUT: then the error has it too.
        let of_people = if name == "KRS_OUTPUT" { message } else { usage };
        site.desk.krs_env(&[(name, value)], &push).failed(2, &[message, of_people]);
        let json = site.desk.krs_env(&[(name, value)], &[&push[..], &["--format", "json"]].concat());
        assert_eq!(json.code, 2, "{json}");
        let json: serde_json::Value = serde_json::from_str(&json.err).unwrap();
        assert!(json["message"].as_str().unwrap().contains(message), "{json}");
        assert!(!json["message"].as_str().unwrap().contains("Usage"), "{json}");
        assert_eq!(json["help"], usage.replace("Usage", "usage"), "{json}");
    }
    // What is wrong on the command line is not said of a variable.
    let outcome = site.desk.krs_env(&[("KRS_JOBS", "6")], &[&push[..], &["--jobs", "many"]].concat());
    let outcome = outcome.failed(2, &["invalid value 'many' for '--jobs <N>'"]);
    assert!(!outcome.err.contains("KRS_JOBS"), "{outcome}");
}
