// SPDX-License-Identifier: Apache-2.0
//! Keys and passphrases from files and prompts: never from an argument or a variable. (T-91)

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::redact::{Secret, printable};
use krs_core::sign::{MAX_KEY_FILE, PublicKey, SecretKey, Trust};

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
        let text = read_text(path, "the public key")?;
        Ok(PublicKey::parse(&text, path.as_str())?)
    };
    keys.files.iter().map(read).collect::<Result<_, Failure>>().map(Trust::Keys)
}

/// A secret key; its passphrase is asked for where there is a terminal and no file was named.
///
/// # Errors
/// A file that cannot be read, or is no secret key; a passphrase that is missing or wrong.
pub(super) fn secret_key(
    path: &Utf8Path,
    from: &PassphraseFile,
    console: &Console,
) -> Result<SecretKey, Failure> {
    let text = Secret::new(read_text(path, "the secret key")?);
    if PublicKey::parse(text.expose(), path.as_str()).is_ok() {
        return Err(Failure::usage(format!("{path} is a public key, which proves signatures"))
            .help("pass the secret key (.key) that was made with it"));
    }
    warn_if_readable(path, console);
    let passphrase = if SecretKey::needs_passphrase(text.expose()) {
        Some(match &from.passphrase_file {
            Some(file) => read_passphrase(file)?,
            None => prompt(&format!("Passphrase of {path}: "))?,
        })
    } else {
        None
    };
    Ok(SecretKey::parse(text.expose(), passphrase.as_ref(), path.as_str())?)
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
    let first = prompt("Passphrase of the new key: ")?;
    if first.is_empty() {
        return Err(empty());
    }
    if prompt("The same again: ")? != first {
        return Err(Failure::usage("the two passphrases are not the same"));
    }
    Ok(Some(first))
}

fn empty() -> Failure {
    Failure::usage("the passphrase is empty").help("a key without a passphrase needs --no-passphrase")
}

fn prompt(text: &str) -> Result<Secret, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("the key needs a passphrase, and there is no terminal to ask for it")
            .help("name a file that holds it with --passphrase-file, `-` for standard input"));
    }
    let answer = rpassword::prompt_password(text);
    answer.map(Secret::new).map_err(|e| Failure::other(format!("cannot read the passphrase: {e}")))
}

fn read_passphrase(path: &Utf8Path) -> Result<Secret, Failure> {
    let text = if path == "-" {
        let mut text = String::new();
        let read = io::stdin().lock().take(MAX_KEY_FILE).read_to_string(&mut text);
        read.map_err(|e| Failure::usage(format!("cannot read the passphrase from standard input: {e}")))?;
        text
    } else {
        read_text(path, "the passphrase")?
    };
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() { Err(empty()) } else { Ok(Secret::new(line)) }
}

/// Reads a small file. What is no path, a pasted key say, is not repeated in the error.
pub(super) fn read_text(path: &Utf8Path, what: &str) -> Result<String, Failure> {
    if path.as_str().contains('\n') || path.as_str().starts_with("untrusted comment:") {
        return Err(Failure::usage(format!("{what} is named by its file, not given by its content")));
    }
    let cannot =
        |why: String| Failure::usage(format!("cannot read {what} {}: {why}", printable(path.as_str(), 300)));
    let file = File::open(path).map_err(|e| cannot(e.to_string()))?;
    let mut text = String::new();
    file.take(MAX_KEY_FILE + 1).read_to_string(&mut text).map_err(|e| cannot(e.to_string()))?;
    if text.len() as u64 > MAX_KEY_FILE {
        return Err(cannot(format!("it is larger than {MAX_KEY_FILE} bytes")));
    }
    Ok(text)
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
