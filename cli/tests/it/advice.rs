// SPDX-License-Identifier: Apache-2.0
//! What `krs` advises where a registry cannot be reached or refuses: each cause has its own words.

use krs_testing::registry::{Auth, Options};

use crate::harness::{Outcome, Site, app};

/// A bundle of one image, from a source registry with these options, whose CA is trusted.
fn bundle(options: Options, more: &[&str]) -> (Site, Outcome) {
    let mut site = Site::with(options);
    site.add(&app("web", 2), "team/web", "1.0");
    site.commit();
    let ca = site.source.ca_file().map(ToString::to_string);
    let ca = ca.iter().flat_map(|file| ["--ca-file", file.as_str()]).collect::<Vec<_>>();
    let outcome = site.bundle("a.krs.tar", &[&["--retries", "0"], &ca[..], more].concat());
    (site, outcome)
}

fn tls() -> Options {
    Options { tls: true, ..Options::default() }
}

#[test]
fn t257_a_port_that_was_forgotten_is_thought_of() {
    let (site, made) = bundle(Options::default(), &[]);
    made.ok();
    let outcome = site.desk.krs(&["push", "a.krs.tar", "localhost", "--retries", "0"]);
    outcome.failed(
        8,
        &[
            "nothing listens at localhost port 443",
            "help: was the port forgotten (for example localhost:5000)? Is the registry running?",
        ],
    );
}

#[test]
fn t257_a_registry_that_does_not_run_is_no_matter_of_proxies_and_ports() {
    let (site, made) = bundle(Options::default(), &[]);
    made.ok();
    let nobody = krs_testing::process::free_address().to_string();
    let port = nobody.rsplit(':').next().unwrap();
    let outcome = site.desk.krs(&["push", "a.krs.tar", &nobody, "--retries", "0"]);
    let listens = format!("nothing listens at 127.0.0.1 port {port}");
    let outcome = outcome.failed(8, &[&listens, "help: Is the registry running?\n"]);
    assert!(!outcome.err.contains("HTTPS_PROXY") && !outcome.err.contains("forgotten"), "{outcome}");
}

#[test]
fn t257_a_wrong_password_is_reported_with_the_user_and_never_shown() {
    let basic = |password: &str| Auth::Basic { user: "ci".to_owned(), password: password.to_owned() };
    let (site, _) = bundle(Options { auth: basic("right"), ..Options::default() }, &[]);
    let host = site.source.host().to_string();
    // ci:hunter2
    let file = site
        .desk
        .write("auth.json", format!("{{\"auths\":{{\"{host}\":{{\"auth\":\"Y2k6aHVudGVyMg==\"}}}}}}"));
    let outcome = site.bundle("a.krs.tar", &["--authfile", file.as_str(), "--retries", "0"]);
    let refused = format!("{host} refused user `ci` (");
    let help = format!("help: if the password is wrong or expired, replace it (krs login {host}");
    let outcome = outcome.failed(7, &[&refused, "auth.json", "wrong or expired password", &help]);
    assert!(!outcome.err.contains("hunter2") && !outcome.err.contains("Y2k6"), "{outcome}");
}

#[test]
fn t230_plain_http_and_tls_that_do_not_fit_are_told_apart() {
    let (site, made) = bundle(Options::default(), &[]);
    made.ok();
    let edge = site.edge.host().to_string();
    let outcome =
        site.desk.krs(&["push", "a.krs.tar", &edge, "--insecure-registry", &edge, "--retries", "0"]);
    let help = format!("help: correct the port, or use --plain-http {edge} if the registry has no TLS");
    let outcome = outcome.failed(8, &["it does not speak TLS", &help]);
    assert!(!outcome.err.contains("--ca-file"), "{outcome}");
    let (site, made) = bundle(tls(), &[]);
    made.ok();
    let host = site.source.host().to_string();
    let help = format!("help: if the registry speaks TLS, leave out --plain-http {host}");
    site.bundle("b.krs.tar", &["--plain-http", &host, "--retries", "0"]).failed(8, &[&help]);
}

#[test]
fn t256_a_clock_that_is_behind_is_named_with_both_times() {
    let (_, outcome) = bundle(Options { certificate_years: Some((4000, 4001)), ..tls() }, &[]);
    let parts = [
        "its certificate is valid from 4000-01-01T00:00:00Z, and the clock of this machine says 2",
        "help: set the clock of this machine, if it is wrong",
    ];
    let outcome = outcome.failed(8, &parts);
    assert!(!outcome.err.contains("--ca-file"), "{outcome}");
}

#[test]
fn t256_an_expired_certificate_is_named_with_both_times() {
    let (_, outcome) = bundle(Options { certificate_years: Some((2000, 2001)), ..tls() }, &[]);
    let parts = [
        "its certificate was valid until 2001-01-01T00:00:00Z, and the clock of this machine says 2",
        "help: the registry needs a new certificate; or set the clock of this machine, if it is wrong",
    ];
    let outcome = outcome.failed(8, &parts);
    assert!(!outcome.err.contains("--ca-file"), "{outcome}");
}

#[test]
fn t256_a_certificate_for_another_name_says_for_which() {
    let (site, outcome) = bundle(Options { certificate_name: Some("registry.corp.example"), ..tls() }, &[]);
    let host = site.source.host().to_string();
    let help = format!("help: write a name that the certificate is for in place of {host}");
    let outcome = outcome.failed(8, &["not for this name, but for registry.corp.example", &help]);
    assert!(!outcome.err.contains("--ca-file"), "{outcome}");
}
