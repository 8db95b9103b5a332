// SPDX-License-Identifier: Apache-2.0
//! Keys and passphrases from files and prompts: never from an argument or a variable. (T-91)

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::bundle::sign::{KeyProblem, MAX_KEY_FILE, PublicKey, SecretKey, SignError, Trust, is_key};
use krs_core::files;
use krs_core::redact::{Secret, printable};

use crate::args::{PassphraseFile, PublicKeys};
use crate::console::Console;
use crate::diagnostic::Failure;

/// The keys that must have signed a bundle.
///
/// # Errors
/// A file that cannot be read, or is no public key.
pub(super) fn trust(keys: &PublicKeys) -> Result<Trust, Failure> {
    if keys.files.is_empty() {
        return Ok(Trust::Anyone);
    }
    let read = |path: &Utf8PathBuf| {
        let text = read_public_key(path)?;
        Ok(PublicKey::parse(&text, path.as_str())?)
    };
    keys.files.iter().map(read).collect::<Result<_, Failure>>().map(Trust::Keys)
}

/// The text of a file that should be a public key.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn read_public_key(path: &Utf8Path) -> Result<String, Failure> {
    read_key(path, "the public key")
}

/// A secret key; its passphrase is asked for where there is a terminal and no file was named. Whether standard input is left
/// for it, `sets` say: paths of which `-` stands for that.
///
/// # Errors
/// A file that cannot be read, or is no secret key; a passphrase that is missing or wrong.
pub(super) fn secret_key(
    path: &Utf8Path,
    from: &PassphraseFile,
    sets: &[Utf8PathBuf],
    console: &Console,
) -> Result<SecretKey, Failure> {
    let text = Secret::new(read_key(path, "the secret key")?);
    let has_stdin = !sets.iter().any(|path| path == "-");
    let passphrase = match &from.passphrase_file {
        _ if !SecretKey::needs_passphrase(text.expose()) => None,
        Some(file) if file == "-" && !has_stdin => {
            let message = "standard input cannot hold the sets and the passphrase";
            return Err(Failure::usage(message).help("name a file that holds the passphrase"));
        }
        Some(file) => Some(read_passphrase(file)?),
        None => Some(prompt(&format!("Passphrase of {path}: "), has_stdin)?),
    };
    let key = SecretKey::parse(text.expose(), passphrase.as_ref(), path.as_str());
    let key = key.map_err(|error| match (&error, &from.passphrase_file) {
        (SignError::SecretKey { reason: KeyProblem::WrongPassphrase, .. }, Some(file)) => {
            let help = format!("the passphrase is the first line of {} (--passphrase-file)", source(file));
            Failure::from(error).help(help)
        }
        _ => error.into(),
    })?;
    warn_if_readable(path, console);
    Ok(key)
}

/// The passphrase of a new key, asked for twice; `None` where none is wanted.
///
/// # Errors
/// Nobody to ask, two that differ, or an empty one.
pub(super) fn new_passphrase(from: &PassphraseFile, none: bool) -> Result<Option<Secret>, Failure> {
    if none {
        return Ok(None);
    }
    if let Some(file) = &from.passphrase_file {
        return read_passphrase(file).map(Some);
    }
    let first = prompt("Passphrase of the new key: ", true)?;
    if first.is_empty() {
        return Err(Failure::usage("the passphrase is empty")
            .help("a key without a passphrase needs --no-passphrase"));
    }
    if prompt("The same again: ", true)? != first {
        return Err(Failure::usage("the two passphrases are not the same"));
    }
    Ok(Some(first))
}

/// Asks at the terminal, whatever standard input is: `krs bundle -` reads the sets from it.
fn prompt(text: &str, has_stdin: bool) -> Result<Secret, Failure> {
    if !has_terminal() {
        let or_stdin = if has_stdin { ", `-` for standard input" } else { "" };
        return Err(Failure::usage("the key needs a passphrase, and there is no terminal to ask for it")
            .help(format!("name a file that holds it with --passphrase-file{or_stdin}")));
    }
    let answer = rpassword::prompt_password(text);
    answer.map(Secret::new).map_err(|e| Failure::other(format!("cannot read the passphrase: {e}")))
}

#[cfg(unix)]
fn has_terminal() -> bool {
    std::fs::File::options().read(true).write(true).open("/dev/tty").is_ok()
}

#[cfg(not(unix))]
fn has_terminal() -> bool {
    use std::io::IsTerminal as _;
    io::stdin().is_terminal()
}

/// What a file for a passphrase is called.
fn source(path: &Utf8Path) -> &str {
    if path == "-" { "standard input" } else { path.as_str() }
}

fn read_passphrase(path: &Utf8Path) -> Result<Secret, Failure> {
    let text = if path == "-" {
        files::read_to_string(io::stdin().lock(), MAX_KEY_FILE)
            .map_err(|e| Failure::usage(format!("cannot read the passphrase from standard input: {e}")))?
    } else {
        let bytes = read_file(path, "the passphrase")?;
        String::from_utf8(bytes)
            .map_err(|_| Failure::usage(format!("{path} holds no passphrase: it is not UTF-8")))?
    };
    let line = text.trim_start_matches('\u{feff}').lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Failure::usage(format!("no passphrase in {}: its first line is empty", source(path)))
            .help("in CI: is the variable of type File, and available on this branch?"));
    }
    Ok(Secret::new(line))
}

/// The text of a file that should be a key; what it is instead is said of text that can be read.
fn read_key(path: &Utf8Path, what: &str) -> Result<String, Failure> {
    Ok(String::from_utf8_lossy(&read_file(path, what)?).into_owned())
}

/// Reads a small file. What is no path, a pasted key say, is not repeated in the error.
fn read_file(path: &Utf8Path, what: &str) -> Result<Vec<u8>, Failure> {
    if path.as_str().trim().is_empty() {
        return Err(Failure::usage(format!("no file is named for {what}: the value is empty"))
            .help("in CI: is the variable set, and available on this branch?"));
    }
    if path.as_str().contains('\n') || is_key(path.as_str()) {
        return Err(Failure::usage(format!("{what} is named by its file, not given by its content")));
    }
    let cannot =
        |why: &str| Failure::usage(format!("cannot read {what} {}: {why}", printable(path.as_str(), 300)));
    files::read_file(path, MAX_KEY_FILE)
        .map_err(|error| cannot(&error.to_string()).help(help_against_read(&error)))
}

/// What helps where a key file, or the file of a passphrase, cannot be read.
fn help_against_read(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "check the path. `krs keygen` makes a pair of keys. In CI: is the variable of type File, and available on this \
             branch?"
        }
        io::ErrorKind::PermissionDenied => {
            "let the user that runs krs read the file: check its owner and mode"
        }
        io::ErrorKind::IsADirectory => "name the file in this folder",
        io::ErrorKind::FileTooLarge => "a key or a passphrase is a file of a few lines: check the path",
        _ => "check the path and the permissions, and that the drive is mounted",
    }
}

#[cfg(unix)]
fn warn_if_readable(path: &Utf8Path, console: &Console) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        console.warning(&format!("others on this machine can read the secret key {path}: chmod 600 {path}"));
    }
}

#[cfg(not(unix))]
fn warn_if_readable(_: &Utf8Path, _: &Console) {}
