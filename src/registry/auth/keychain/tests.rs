// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used)]
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

fn host(text: &str) -> RegistryHost {
    text.parse().unwrap()
}

fn found(keychain: &Keychain, registry: &str, repository: &str) -> Option<(String, String)> {
    let repository = repository.parse().ok();
    match keychain.file_credentials(&host(registry), repository.as_ref()).unwrap().credentials? {
        Credentials::Basic { user, password } => Some((user, password.expose().to_owned())),
        Credentials::IdentityToken(token) => Some(("<identity>".to_owned(), token.expose().to_owned())),
    }
}

fn pair(user: &str, password: &str) -> Option<(String, String)> {
    Some((user.to_owned(), password.to_owned()))
}

fn auth(user: &str, password: &str) -> String {
    STANDARD.encode(format!("{user}:{password}"))
}

#[test]
fn the_most_specific_credentials_count_and_all_spellings_of_a_registry_are_known() {
    let text = format!(
        r#"{{"auths": {{
            "quay.io": {{"auth": "{}"}}, "quay.io/team": {{"auth": "{}"}}, "quay.io/team/app": {{"auth": "{}"}},
            "https://index.docker.io/v1/": {{"auth": "{}"}},
            "https://old.example:5000/v2/": {{"username": "plain", "password": "pw:1"}},
            "token.example": {{"identitytoken": "tok", "auth": "{}"}},
            "empty.example": {{}}
        }}, "HttpHeaders": {{"x": "y"}}}}"#,
        auth("host", "1"),
        auth("team", "2"),
        auth("app", "3"),
        auth("hub", "4:5"),
        auth("ignored", "6"),
    );
    let keychain = Keychain::from_bytes("config.json", text.as_bytes()).unwrap();
    assert_eq!(found(&keychain, "quay.io", "team/app"), pair("app", "3"));
    assert_eq!(found(&keychain, "quay.io", "team/app/sub"), pair("app", "3"));
    assert_eq!(found(&keychain, "quay.io", "team/application"), pair("team", "2"));
    assert_eq!(found(&keychain, "quay.io", "teams/app"), pair("host", "1"));
    assert_eq!(found(&keychain, "quay.io", ""), pair("host", "1"));
    assert_eq!(found(&keychain, "docker.io", "library/nginx"), pair("hub", "4:5"));
    assert_eq!(found(&keychain, "old.example:5000", "a"), pair("plain", "pw:1"));
    assert_eq!(found(&keychain, "old.example", "a"), None);
    assert_eq!(found(&keychain, "token.example", "a"), pair("<identity>", "tok"));
    assert_eq!(found(&keychain, "empty.example", "a"), None);
    let keychain = keychain.with(&host("quay.io"), "me", Secret::new("x"));
    assert_eq!(found(&keychain, "quay.io", "team/app"), pair("me", "x"));
}

#[test]
fn the_old_shape_without_auths_is_read() {
    let text =
        format!(r#"{{"https://index.docker.io/v1/": {{"auth": "{}", "email": "x"}}}}"#, auth("a", "b"));
    let keychain = Keychain::from_bytes(".dockercfg", text.as_bytes()).unwrap();
    assert_eq!(found(&keychain, "docker.io", "x"), pair("a", "b"));
}

/// What is wrong with the credentials for `a.example` in a file.
fn problem(text: &[u8]) -> Option<String> {
    let shown = |error: KeychainError| format!("{error} {error:?}");
    match Keychain::from_bytes("x/config.json", text) {
        Err(error) => Some(shown(error)),
        Ok(keychain) => keychain.file_credentials(&host("a.example"), None).err().map(shown),
    }
}

#[test]
fn t76_a_damaged_file_is_named_without_its_content() {
    for (text, entry) in [
        (r#"{"auths": {"a.example": {"auth": "hunter2hunter2!"}}}"#, true),
        (r#"{"auths": {"a.example": "hunter2"}}"#, true),
        (r#"{"auths": {"a.example": {"auth": 5, "x": "hunter2"}}}"#, true),
        (r#"{"auths": {"a.example": {"auth": "aHVudGVyMg=="}}}"#, true),
        (r#"{"auths": hunter2}"#, false),
        (r#"{"auths": ["hunter2"]}"#, false),
    ] {
        let shown = problem(text.as_bytes()).unwrap();
        assert!(shown.contains("x/config.json") && !shown.contains("hunter2"), "{shown}");
        assert_eq!(shown.contains("entry `a.example`"), entry, "{shown}");
    }
    let shown = problem(b"\xff\xfe{\0}\0").unwrap();
    assert!(shown.contains("UTF-16"), "{shown}");
}

#[test]
fn t214_what_is_wrong_with_one_entry_or_helper_matters_to_its_registry_alone() {
    let good = auth("me", "pw");
    let text = format!(
        r#"{{"auths": {{"a.example": {{"auth": "{good}"}}, "b.example": {{"auth": "?"}}, "b.example/team": {{"auth": "{good}"}},
            "c.example": 7, "d.example": null}},
            "credHelpers": {{"e.example": "../bin/sh", "f.example": 3, "a.example": ""}}}}"#
    );
    let keychain = Keychain::from_bytes("config.json", text.as_bytes()).unwrap();
    assert_eq!(found(&keychain, "a.example", "x"), pair("me", "pw"));
    assert_eq!(keychain.helper(&host("a.example"), None), None, "an empty name is no helper");
    assert_eq!(found(&keychain, "b.example", "team/x"), pair("me", "pw"));
    assert_eq!(found(&keychain, "d.example", "x"), None);
    for registry in ["b.example", "c.example"] {
        let error = keychain.file_credentials(&host(registry), None).unwrap_err().to_string();
        assert!(error.contains(&format!("config.json cannot be read: entry `{registry}`")), "{error}");
        assert!(keychain.auth_file(&host(registry)).is_err());
    }
    assert!(keychain.auth_file(&host("a.example")).unwrap().is_some());
    for registry in ["e.example", "f.example"] {
        assert!(!keychain.helper(&host(registry), None).unwrap().valid, "{registry}");
    }
    let stripped = keychain.clone().without_helpers();
    assert!(keychain.has_helpers() && !stripped.has_helpers() && stripped.has_entries());
    assert_eq!(stripped.helper(&host("e.example"), None), None);
}

#[test]
fn t214_files_are_read_in_the_shapes_that_editors_and_shells_leave() {
    let good = auth("me", "passw");
    assert!(good.ends_with('='), "{good}");
    let (head, tail) = good.split_at(6);
    let with = |auth: &str| format!(r#"{{"auths": {{"a.example": {{"auth": "{auth}"}}}}}}"#);
    let texts = [
        with(&format!(r" {head}\n  {tail}\r\n")),
        with(good.trim_end_matches('=')),
        with(&STANDARD.encode("me:passw\n")),
        format!("\u{feff}{}\n", with(&good)),
    ];
    for text in texts {
        let keychain = Keychain::from_bytes("config.json", text.as_bytes()).unwrap();
        assert_eq!(found(&keychain, "a.example", "x"), pair("me", "passw"), "{text}");
    }
    for empty in ["", " \n", "\u{feff}", "{}", r#"{"auths": null}"#] {
        let keychain = Keychain::from_bytes("config.json", empty.as_bytes()).unwrap();
        assert_eq!(found(&keychain, "a.example", "x"), None, "{empty:?}");
        assert!(!keychain.has_entries() && !keychain.has_helpers());
    }
    let named = r#"{"credsStore": "desktop.exe"}"#;
    let helper = Keychain::from_bytes("config.json", named.as_bytes()).unwrap();
    let helper = helper.helper(&host("a.example"), None).unwrap();
    assert_eq!((helper.program.as_str(), helper.valid), ("docker-credential-desktop.exe", true));
}

#[test]
fn t214_an_unreadable_default_file_matters_only_if_credentials_are_required() {
    let folder = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(folder.path()).unwrap();
    let (bad, good) = (root.join("bad.json"), root.join("good.json"));
    std::fs::write(&bad, "{").unwrap();
    std::fs::write(&good, format!(r#"{{"auths":{{"a.example":{{"auth":"{}"}}}}}}"#, auth("me", "p")))
        .unwrap();
    assert!(Keychain::from_files(&[bad.clone(), good.clone()], true).is_err());
    let keychain = Keychain::from_files(&[bad, good], false).unwrap();
    assert_eq!(found(&keychain, "a.example", "x"), pair("me", "p"));
    let other = keychain.file_credentials(&host("b.example"), None).unwrap();
    assert!(other.unusable.unwrap().to_string().contains("bad.json"));
}

#[test]
fn files_are_found_where_the_other_tools_keep_them() {
    let folder = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(folder.path()).unwrap();
    let write = |path: &str, user: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!(r#"{{"auths":{{"a.example":{{"auth":"{}"}}}}}}"#, auth(user, "p")))
            .unwrap();
    };
    let user = |variables: &[(&str, &str)], explicit: Option<&str>| {
        let variable = |name: &str| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, path)| root.join(path).to_string())
        };
        let explicit = explicit.map(|path| root.join(path));
        let keychain = Keychain::from_variables(explicit.as_deref(), variable).ok()?;
        Some(found(&keychain, "a.example", "x").map_or_else(|| keychain.search_summary(), |(user, _)| user))
    };
    let home = ("HOME", "home");
    assert!(user(&[home], None).unwrap().contains("home/.docker/config.json"));
    write("home/.docker/config.json", "docker");
    assert_eq!(user(&[home], None).unwrap(), "docker");
    write("home/.config/containers/auth.json", "containers");
    assert_eq!(user(&[home], None).unwrap(), "containers");
    write("run/containers/auth.json", "runtime");
    assert_eq!(user(&[home, ("XDG_RUNTIME_DIR", "run")], None).unwrap(), "runtime");
    write("other/config.json", "other");
    assert_eq!(user(&[("DOCKER_CONFIG", "other")], None).unwrap(), "other");
    let named = ("REGISTRY_AUTH_FILE", "other/config.json");
    assert_eq!(user(&[home, named], None).unwrap(), "other");
    assert_eq!(user(&[home, named], Some("run/containers/auth.json")).unwrap(), "runtime");
    assert_eq!(user(&[home], Some("missing.json")), None);
    assert_eq!(user(&[home, ("REGISTRY_AUTH_FILE", "missing.json")], None), None);
}

#[cfg(unix)]
async fn look_up_with(script: &str) -> Result<LookupResult, KeychainError> {
    let folder = tempfile::tempdir().unwrap();
    let time = Duration::from_millis(if script.contains("sleep") { 300 } else { 20_000 });
    let script = format!("#!/bin/sh\n{script}\n");
    let keychain = Keychain::with_helper(folder.path(), &script, "a.example", time);
    let registry = host("a.example");
    let helper = keychain.helper(&registry, None).unwrap();
    let found = helper.run(&registry).await?;
    found.map_or_else(|| keychain.fallback_credentials(&helper, &registry, None, None), Ok)
}

#[cfg(unix)]
#[tokio::test]
async fn t92_helpers_are_asked_and_bad_ones_are_named_but_never_quoted() {
    let good = r#"read -r host; echo "{\"ServerURL\":\"$host\",\"Username\":\"$1-$host\",\"Secret\":\"s\"}""#;
    let credentials = look_up_with(good).await.unwrap().credentials;
    assert_eq!(
        credentials,
        Some(Credentials::Basic { user: "get-a.example".to_owned(), password: Secret::new("s") })
    );
    let token = r#"echo '{"Username":"<token>","Secret":"t"}'"#;
    assert_eq!(
        look_up_with(token).await.unwrap().credentials,
        Some(Credentials::IdentityToken(Secret::new("t")))
    );
    let unknown = "echo credentials not found in native keychain; exit 1";
    assert!(
        matches!(look_up_with(unknown).await.unwrap().credentials, Some(Credentials::Basic { user, .. }) if user == "file")
    );
    for bad in [
        "echo hunter2",
        "echo hunter2; exit 3",
        "sleep 100",
        "echo '{\"Secret\":\"hunter2\"}'",
        "yes hunter2",
    ] {
        let error = look_up_with(bad).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("docker-credential-test") && !shown.contains("hunter2"), "{shown}");
    }
}
