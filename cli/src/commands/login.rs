// SPDX-License-Identifier: Apache-2.0
//! Credentials of registries: stored after the registry accepted them, and removed.

use std::io::{self, IsTerminal as _};

use camino::Utf8Path;
use krs_core::files;
use krs_core::redact::Secret;
use krs_core::registry::{CredentialKey, Keychain};
use serde::Serialize;

use super::{credential_file, registries, runtime};
use crate::args::{LoginArgs, LogoutArgs};
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::SCHEMA_VERSION;

/// Longest password, in bytes: tokens of some registries have several thousand.
const MAX_PASSWORD: u64 = 64 << 10;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LoginReport<'a> {
    schema_version: u32,
    registry: String,
    username: &'a str,
    file: &'a Utf8Path,
    /// Whether the registry accepted the credentials; `false` where it was not asked, or did not want any.
    verified: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogoutReport<'a> {
    schema_version: u32,
    registry: String,
    file: &'a Utf8Path,
    removed: bool,
    /// Other files that have credentials for it.
    left_in: Vec<&'a Utf8Path>,
}

/// `krs login`
pub(super) fn login(args: &LoginArgs, console: &Console) -> Result<(), Failure> {
    let key = key(&args.registry)?;
    let (keychain, path) = Keychain::for_login(args.registries.authfile.as_deref())?;
    refuse_helper(&keychain, &key, &path)?;
    let mut file = credential_file::read(&path)?;
    let password = password(args, &key)?;
    // What cannot be stored is known before the registry is asked.
    file.store(&key, &args.username, &password)?;
    let verified = !args.no_verify && accepted(args, &key, password.clone(), console)?;
    credential_file::update(&path, |file| {
        file.store(&key, &args.username, &password)?;
        Ok(true)
    })?;
    if !verified && !args.no_verify {
        let registry = key.registry();
        console.warning(&format!("{registry} asks for no credentials: they were stored and not verified"));
    }
    let (schema_version, registry) = (SCHEMA_VERSION, key.to_string());
    let report = LoginReport { schema_version, registry, username: &args.username, file: &path, verified };
    console.result(&report, || {
        let how = if verified { "accepted and stored" } else { "stored, not verified" };
        format!("{}: credentials of {} {how} in {path}\n", report.registry, report.username)
    })
}

/// `krs logout`
pub(super) fn logout(args: &LogoutArgs, console: &Console) -> Result<(), Failure> {
    let key = key(&args.registry)?;
    let (keychain, path) = Keychain::for_login(args.authfile.as_deref())?;
    // A folder is not made to remove something from it.
    let is_there = credential_file::read(&path)?.remove(&key);
    let removed = is_there && credential_file::update(&path, |file| Ok(file.remove(&key)))?;
    let left_in = keychain.files_with(&key).into_iter().filter(|file| *file != path).collect::<Vec<_>>();
    for other in &left_in {
        console.warning(&format!("{other} has credentials for {key}, too: they are used from now on"));
    }
    if let Some((program, named_in)) = keychain.configured_helper(&key, &path) {
        console.warning(&format!("{program}, which {named_in} names, may keep credentials for {key}"));
    }
    let report = LogoutReport {
        schema_version: SCHEMA_VERSION,
        registry: key.to_string(),
        file: &path,
        removed,
        left_in,
    };
    console.result(&report, || {
        let what = if removed { "credentials removed from" } else { "no credentials in" };
        format!("{key}: {what} {path}\n")
    })
}

fn key(text: &str) -> Result<CredentialKey, Failure> {
    text.parse::<CredentialKey>().map_err(|error| {
        Failure::usage(error.to_string())
            .help("name a registry, or a path in it: registry.example.com:5000/team")
    })
}

/// Credentials that a helper keeps are not stored a second time in a file.
fn refuse_helper(keychain: &Keychain, key: &CredentialKey, path: &Utf8Path) -> Result<(), Failure> {
    let Some((program, named_in)) = keychain.configured_helper(key, path) else { return Ok(()) };
    let message =
        format!("the credentials for {} are kept by {program}, which {named_in} names", key.registry());
    Err(Failure::usage(message).help(format!(
        "store them with it (docker login), or remove its name from {named_in}, or name another file with --authfile"
    )))
}

/// The password that is typed at the terminal, or the one on standard input without the line break at its end.
fn password(args: &LoginArgs, key: &CredentialKey) -> Result<Secret, Failure> {
    let example = "for example: printf '%s' \"$PASSWORD\" | krs login HOST --username NAME --password-stdin";
    match (args.password_stdin, io::stdin().is_terminal()) {
        (false, true) => {
            let user = krs_core::redact::printable(&args.username, 100);
            let answer = rpassword::prompt_password(format!("Password of {user} at {key}: "));
            return answer
                .map(Secret::new)
                .map_err(|e| Failure::other(format!("cannot read the password: {e}")).help(example));
        }
        (false, false) => {
            return Err(Failure::usage(
                "there is no terminal to ask for the password, and --password-stdin is not given",
            )
            .help(example));
        }
        (true, true) => return Err(Failure::usage("the password is read from standard input").help(example)),
        (true, false) => {}
    }
    let text = files::read_to_string(io::stdin().lock(), MAX_PASSWORD)
        .map_err(|e| Failure::usage(format!("cannot read the password from standard input: {e}")))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret::new(line.strip_suffix('\r').unwrap_or(line)))
}

/// Whether the registry wanted the credentials, and accepted them.
fn accepted(
    args: &LoginArgs,
    key: &CredentialKey,
    password: Secret,
    console: &Console,
) -> Result<bool, Failure> {
    let keychain = Keychain::empty().with(key.registry(), &args.username, password);
    let client = registries::client_with(&args.registries, keychain, &console.progress())?;
    Ok(runtime::runtime()?.block_on(client.accepts_credentials(key.registry()))?)
}
