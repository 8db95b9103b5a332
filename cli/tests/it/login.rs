// SPDX-License-Identifier: Apache-2.0
//! Credentials that are stored after the registry accepted them, and removed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use camino::Utf8Path;
use krs_testing::process;
use krs_testing::registry::{Auth, Options, Registry};
use serde_json::{Value, json};

use crate::harness::{Desk, Outcome, Site, app};

const PASSWORD: &str = "s3cret:pä ss";

fn registry(auth: Auth) -> Registry {
    Registry::start(Options { auth, ..Options::default() })
}

fn content(path: &Utf8Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn mode(path: &Utf8Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn login(desk: &Desk, registry: &str, password: &str, more: &[&str]) -> Outcome {
    let arguments =
        [&["login", registry, "--username", "robot", "--password-stdin", "--retries", "0"], more].concat();
    let outcome = desk.krs_stdin(password, &arguments);
    let secret = password.trim();
    assert!(secret.is_empty() || !outcome.to_string().contains(secret), "{outcome}");
    outcome
}

#[test]
fn credentials_are_stored_where_krs_reads_them_and_bundle_uses_them() {
    for auth in [Auth::basic("robot", PASSWORD), Auth::bearer("robot", PASSWORD)] {
        let mut site = Site::with(Options { auth, ..Options::default() });
        site.add(&app("web", 1), "team/web", "1.0");
        site.commit();
        let host = site.source.host().to_string();
        site.bundle("a.krs.tar", &[]).failed(7, &[]);
        let outcome = login(&site.desk, &host, &format!("{PASSWORD}\n"), &[]).ok();
        let file = site.desk.path("home/.config/containers/auth.json");
        assert_eq!(outcome.out, format!("{host}: credentials of robot accepted and stored in {file}\n"));
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        site.bundle("a.krs.tar", &[]).ok();
        let outcome = site.desk.krs(&["logout", &host]).ok();
        assert_eq!(outcome.out, format!("{host}: credentials removed from {file}\n"));
        assert_eq!(content(&file), json!({"auths": {}}));
        site.bundle("b.krs.tar", &[]).failed(7, &[]);
        assert!(site.desk.krs(&["logout", &host]).ok().out.contains("no credentials in"));
    }
}

/// Twenty at once, which all begin with the same content of the file.
#[test]
fn t288_no_change_of_credentials_at_the_same_time_is_lost() {
    let desk = Desk::new();
    let file = desk.path("auth.json");
    let arguments = |n: usize| {
        let registry = format!("r{n}.example.com");
        let own =
            ["login", &registry, "--username", "robot", "--password-stdin", "--no-verify", "--authfile"];
        own.iter().map(|text| (*text).to_owned()).chain([file.to_string()]).collect::<Vec<_>>()
    };
    login(&desk, "gone.example.com", "to be removed", &["--no-verify", "--authfile", file.as_str()]).ok();
    let begin = |n: usize| {
        let arguments = arguments(n);
        let arguments = arguments.iter().map(String::as_str).collect::<Vec<_>>();
        desk.command(&arguments).stdin(std::process::Stdio::piped()).spawn().unwrap()
    };
    let mut running = (0..20).map(begin).collect::<Vec<_>>();
    let logout = desk.command(&["logout", "gone.example.com", "--authfile", file.as_str()]).spawn().unwrap();
    // They wait for their passwords, and have read the file by then.
    for (n, child) in running.iter_mut().enumerate() {
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), format!("password {n}").as_bytes())
            .unwrap();
    }
    for child in running.into_iter().chain([logout]) {
        let outcome = Outcome::of(child.wait_with_output().unwrap());
        assert_eq!(outcome.code, 0, "{outcome}");
    }
    let auths = content(&file)["auths"].as_object().unwrap().clone();
    assert_eq!(auths.len(), 20, "{:?}", auths.keys());
    assert_eq!(desk.files(), ["auth.json"]);
}

#[test]
fn credentials_that_are_refused_are_not_stored() {
    let desk = Desk::new();
    let before = r#"{"auths":{"a.example":{"auth":"YTpi"}}}"#;
    let file = desk.write("auth.json", before);
    for auth in [Auth::basic("robot", PASSWORD), Auth::bearer("robot", PASSWORD)] {
        let registry = registry(auth);
        let host = registry.host().to_string();
        login(&desk, &host, "wrong-password", &["--authfile", "auth.json"]).failed(7, &[&host, "robot"]);
        assert_eq!(fs::read_to_string(&file).unwrap(), before);
        login(&desk, &host, "wrong-password", &["--authfile", "new.json"]).failed(7, &[]);
    }
    let away = process::free_address().to_string();
    login(&desk, &away, "x-y-z", &["--authfile", "auth.json"]).failed(8, &[&away]);
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    assert_eq!(desk.files(), ["auth.json"], "nothing else was written");

    let outcome = login(&desk, &away, "x-y-z", &["--authfile", "auth.json", "--no-verify"]).ok();
    assert!(outcome.out.contains("stored, not verified in"), "{outcome}");
    let auths = content(&file)["auths"].clone();
    assert_eq!(auths["a.example"], json!({"auth": "YTpi"}));
    assert!(auths[&away].is_object() && mode(&file) == 0o600, "{auths}");
    assert_eq!(desk.files(), ["auth.json"]);
}

#[test]
fn a_registry_that_asks_for_no_credentials_verifies_none() {
    let (desk, registry) = (Desk::new(), registry(Auth::None));
    let host = registry.host().to_string();
    let outcome = login(&desk, &host, "p-w", &[]).ok();
    assert!(outcome.err.contains("asks for no credentials: they were stored and not verified"), "{outcome}");
    let outcome = login(&desk, &host, "p-w", &["--format", "json"]).ok();
    assert_eq!(outcome.json()["verified"], false);
    assert!(!registry.requests().is_empty() && registry.requests().iter().all(|r| !r.had_authorization));
}

#[test]
fn a_path_has_credentials_of_its_own() {
    let (desk, registry) = (Desk::new(), registry(Auth::basic("robot", PASSWORD)));
    let shop = format!("{}/shop", registry.host());
    let outcome = login(&desk, &shop, PASSWORD, &["--authfile", "f", "--format", "json"]).ok().json();
    let expected =
        json!({"schemaVersion": 1, "registry": shop, "username": "robot", "file": "f", "verified": true});
    assert_eq!(outcome, expected);
    assert_eq!(content(&desk.path("f"))["auths"].as_object().unwrap().keys().collect::<Vec<_>>(), [&shop]);
    let host = registry.host().to_string();
    let outcome = desk.krs(&["logout", &host, "--authfile", "f", "--format", "json"]).ok().json();
    assert_eq!(outcome["removed"], false, "the entry of a path is another one");
    assert!(content(&desk.path("f"))["auths"][&shop].is_object());
}

#[test]
fn the_variable_names_the_file_and_a_link_stays_one() {
    let (desk, registry) = (Desk::new(), registry(Auth::basic("robot", PASSWORD)));
    let target = desk.write("target.json", r#"{"unknown": {"kept": [1, null]}}"#);
    fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink(&target, desk.path("link.json")).unwrap();
    let host = registry.host().to_string();
    let arguments = ["login", &host, "-u", "robot", "--password-stdin"];
    let mut command = desk.command(&arguments);
    command.env("REGISTRY_AUTH_FILE", "link.json").stdin(fs::File::open(desk.write("pw", PASSWORD)).unwrap());
    Outcome::of(command.output().unwrap()).ok();
    assert!(desk.path("link.json").symlink_metadata().unwrap().is_symlink());
    assert_eq!(content(&target)["unknown"], json!({"kept": [1, null]}));
    assert!(content(&target)["auths"][&host].is_object());
    assert_eq!(mode(&target), 0o600);
}

#[test]
fn a_configured_helper_is_named_and_not_contradicted() {
    let (desk, registry) = (Desk::new(), registry(Auth::basic("robot", PASSWORD)));
    let host = registry.host().to_string();
    for text in
        [format!(r#"{{"credHelpers": {{"{host}": "vault"}}}}"#), r#"{"credsStore": "vault"}"#.to_owned()]
    {
        let file = desk.write("f", &text);
        login(&desk, &host, PASSWORD, &["--authfile", "f"])
            .failed(2, &["are kept by docker-credential-vault, which f names"]);
        assert_eq!(fs::read_to_string(file).unwrap(), text);
    }
    // The store of docker is for what docker login stores; an own entry for this registry is not.
    let docker = desk.path("home/.docker");
    fs::create_dir_all(&docker).unwrap();
    fs::write(docker.join("config.json"), format!(r#"{{"credHelpers": {{"{host}": "vault"}}}}"#)).unwrap();
    login(&desk, &host, PASSWORD, &[]).failed(2, &["docker-credential-vault", ".docker/config.json"]);
    fs::write(docker.join("config.json"), r#"{"credsStore": "vault"}"#).unwrap();
    login(&desk, &host, PASSWORD, &[]).ok();
}

#[test]
fn logout_says_where_credentials_are_left() {
    let (desk, registry) = (Desk::new(), registry(Auth::basic("robot", PASSWORD)));
    let host = registry.host().to_string();
    let docker = desk.path("home/.docker");
    fs::create_dir_all(&docker).unwrap();
    fs::write(docker.join("config.json"), format!(r#"{{"auths": {{"{host}": {{"auth": "YTpi"}}}}}}"#))
        .unwrap();
    login(&desk, &host, PASSWORD, &[]).ok();
    let outcome = desk.krs(&["logout", &host]).ok();
    assert!(outcome.err.contains(".docker/config.json has credentials for"), "{outcome}");
}

#[test]
fn passwords_and_files_that_cannot_be_used_are_refused_before_any_request() {
    let (desk, registry) = (Desk::new(), registry(Auth::basic("robot", PASSWORD)));
    let host = registry.host().to_string();
    for (password, reason) in [
        ("", "the password is empty"),
        ("\n", "the password is empty"),
        ("two-\n-lines\n", "expected one line"),
        (&"x".repeat((64 << 10) + 1), "it is larger than 65536 bytes"),
    ] {
        login(&desk, &host, password, &[]).failed(2, &[reason]);
    }
    desk.krs_stdin("pw", &["login", &host, "-u", "a:b", "--password-stdin"]).failed(2, &["a colon"]);
    desk.krs_stdin("pw", &["login", &host, "-u", "robot"]).failed(2, &["--password-stdin"]);
    desk.krs_stdin("pw", &["login", "reg example", "-u", "robot", "--password-stdin"])
        .failed(2, &["reg example"]);
    for text in ["{", r#"{"auths": 1}"#, r#"{"a.example": {"auth": "YTpi"}}"#] {
        let file = desk.write("f", text);
        login(&desk, &host, PASSWORD, &["--authfile", "f"])
            .failed(7, &["the credentials in f cannot be read"]);
        assert_eq!(fs::read_to_string(file).unwrap(), text);
    }
    assert!(registry.requests().is_empty(), "{:?}", registry.requests());
}
