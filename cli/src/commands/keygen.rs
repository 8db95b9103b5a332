// SPDX-License-Identifier: Apache-2.0
use std::fs::OpenOptions;
use std::io::{self, Write as _};

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::bundle::sign;
use krs_core::error::io_kind;
use serde::Serialize;

use super::keys;
use crate::args::KeygenArgs;
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::{SCHEMA_VERSION, indented};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    schema_version: u32,
    key: String,
    secret_key_file: Utf8PathBuf,
    public_key_file: Utf8PathBuf,
    passphrase: bool,
}

/// `krs keygen`
pub(super) fn keygen(args: &KeygenArgs, console: &Console) -> Result<(), Failure> {
    let secret_key_file = Utf8PathBuf::from(format!("{}.key", args.name));
    let public_key_file = Utf8PathBuf::from(format!("{}.pub", args.name));
    for file in [&secret_key_file, &public_key_file] {
        if file.symlink_metadata().is_ok() {
            return Err(exists(file));
        }
    }
    let passphrase = keys::new_passphrase(&args.passphrase, args.no_passphrase)?;
    let pair = sign::generate(passphrase.as_ref())?;
    write_new(&secret_key_file, pair.secret.expose(), 0o600)?;
    write_new(&public_key_file, &pair.public, 0o644)?;
    let report = Report {
        schema_version: SCHEMA_VERSION,
        key: pair.id.to_string(),
        secret_key_file,
        public_key_file,
        passphrase: passphrase.is_some(),
    };
    console.result(&report, || {
        let (secret, public) = (&report.secret_key_file, &report.public_key_file);
        let lines = [
            format!("{secret}  signs bundles (krs bundle --key, krs sign): keep it secret, and keep a copy"),
            format!(
                "{public}  verifies them (krs verify --public-key): bring it to every site over a channel that you trust"
            ),
        ];
        format!("Key {}\n{}", report.key, lines.map(|line| indented(&line)).concat())
    })
}

fn exists(file: &Utf8Path) -> Failure {
    Failure::usage(format!("{file} exists already, and keys are never overwritten"))
        .help("choose another name with -o")
}

/// Writes a file that was not there before, with these permissions from the beginning.
fn write_new(path: &Utf8Path, text: &str, mode: u32) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(mode);
    }
    #[cfg(not(unix))]
    let _ = mode;
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => Failure::new(io_kind(&e), format!("cannot write {path}: {e}")),
    })
}
