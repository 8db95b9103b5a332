// SPDX-License-Identifier: Apache-2.0
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::policy;
use crate::args::{PolicyArgs, VerifyArgs};
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::{Facts, SCHEMA_VERSION, duration, facts, rate, size};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    schema_version: u32,
    verified: bool,
    /// Whether a trusted key vouches for the bundle.
    trusted: bool,
    checks: Vec<String>,
    bytes_hashed: u64,
    elapsed_seconds: f64,
    #[serde(flatten)]
    facts: Facts,
}

/// `krs verify`
pub(super) fn verify(args: &VerifyArgs, console: &Console) -> Result<(), Failure> {
    let bundle = policy::open_quietly(&args.file, &args.volumes, &args.policy)?;
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = args.threads.map_or_else(cores, NonZeroUsize::get);
    let (progress, began) = (console.progress(), Instant::now());
    let images = bundle.verify(threads, progress.as_ref())?;
    let elapsed = began.elapsed();
    let facts = Facts::of_bundle(&bundle, &images);
    let report = Report {
        schema_version: SCHEMA_VERSION,
        verified: true,
        trusted: facts.is_trusted(),
        checks: checks(&args.policy, &facts),
        bytes_hashed: facts.blob_bytes(),
        elapsed_seconds: (elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
        facts,
    };
    console.result(&report, || text(&report, elapsed))
}

/// What was checked, in its order.
fn checks(args: &PolicyArgs, facts: &Facts) -> Vec<String> {
    let mut checks = Vec::new();
    if facts.is_trusted() {
        checks.push("signature".to_owned());
    }
    checks.push("manifest".to_owned());
    checks.extend(args.stream.as_ref().map(|stream| format!("stream {stream}")));
    checks.extend(args.min_sequence.map(|sequence| format!("sequence at least {sequence}")));
    checks
        .extend(args.audience.as_ref().map(|site| format!("for {}", krs_core::redact::printable(site, 100))));
    if !args.ignore_expiry {
        checks.push("not expired".to_owned());
    }
    checks
        .extend(["complete", "every byte of every blob", "structure of every image"].map(ToOwned::to_owned));
    checks
}

fn text(report: &Report, elapsed: Duration) -> String {
    let mut lines = report.facts.lines();
    lines.push(("Checked", report.checks.join(", ")));
    let hashed = size(report.bytes_hashed);
    lines.push((
        "Read",
        format!("{hashed} in {} ({})", duration(elapsed), rate(report.bytes_hashed, elapsed)),
    ));
    let verdict = if report.trusted {
        "The bundle is whole, undamaged and signed by a key that you trust."
    } else if report.facts.is_signed() {
        "The bundle is whole and undamaged. Nobody vouches for it: pass --public-key FILE to check its signature."
    } else {
        "The bundle is whole and undamaged. Nobody vouches for it: it is not signed."
    };
    format!("{}\n{verdict}\n", facts(&lines))
}
