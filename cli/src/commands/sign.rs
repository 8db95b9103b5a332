// SPDX-License-Identifier: Apache-2.0
use camino::Utf8PathBuf;
use krs_core::bundle::{self, Bundle};
use serde::Serialize;

use super::runtime::cores;
use super::{drive, keys, policy};
use crate::args::SignArgs;
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::{SCHEMA_VERSION, sentence};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    schema_version: u32,
    file: Utf8PathBuf,
    key: String,
    stream: String,
    sequence: u64,
    /// All keys whose signatures the bundle has now.
    signatures: Vec<String>,
    warnings: Vec<String>,
}

/// `krs sign`
pub(super) fn sign(args: &SignArgs, console: &Console) -> Result<(), Failure> {
    if args.file.is_dir() {
        return Err(drive::is_folder(&args.file));
    }
    let key = keys::secret_key(&args.key, &args.passphrase, &[], console)?;
    let progress = console.progress();
    let check = |bundle: &Bundle| {
        if args.no_verify { bundle.images() } else { bundle.verify(cores(), progress.as_ref()) }
    };
    let signed = bundle::sign(&args.file, &args.volumes.volumes, &key, check)
        .map_err(|error| policy::not_opened(error, &args.volumes))?;
    let warning = signed.replaced.map(|damage| {
        format!("{damage}; it was replaced. Who had signed {} before has to sign it again", args.file)
    });
    let report = Report {
        schema_version: SCHEMA_VERSION,
        file: args.file.clone(),
        key: key.id().to_string(),
        stream: signed.manifest.stream.to_string(),
        sequence: signed.manifest.sequence,
        signatures: signed.key_ids.iter().map(ToString::to_string).collect(),
        warnings: warning.into_iter().collect(),
    };
    report.warnings.iter().for_each(|warning| console.warning(warning));
    console.result(&report, || {
        sentence(&format!(
            "Signed {} (stream {}, sequence {}) with key {}",
            report.file, report.stream, report.sequence, report.key
        ))
    })
}
