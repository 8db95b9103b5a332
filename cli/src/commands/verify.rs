// SPDX-License-Identifier: Apache-2.0
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use krs_core::bundle::ReadFrom;
use serde::Serialize;

use super::policy;
use super::runtime::cores;
use crate::args::{PolicyArgs, VerifyArgs};
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::{Facts, SCHEMA_VERSION, count, duration, facts, rate, seconds, sentence, size};

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
    /// Whether all of it was read from the media; else it may have been read from memory.
    read_from_media: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(flatten)]
    facts: Facts,
}

/// `krs verify`
pub(super) fn verify(args: &VerifyArgs, console: &Console) -> Result<(), Failure> {
    let (bundle, read_from) = policy::open_from_media(&args.file, &args.volumes, &args.policy)?;
    policy::warn_of_memory(&args.file, &read_from, console);
    let warnings = policy::remarks(&bundle);
    warnings.iter().for_each(|warning| console.warning(warning));
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
        elapsed_seconds: seconds(elapsed),
        read_from_media: read_from == ReadFrom::Media,
        warnings,
        facts,
    };
    console.result(&report, || text(&report, elapsed))?;
    policy::has_all_images(&bundle)
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
    let (hashed, took, speed) =
        (size(report.bytes_hashed), duration(elapsed), rate(report.bytes_hashed, elapsed));
    let from = if report.read_from_media { "from the media" } else { "perhaps from memory" };
    lines.push(("Read", format!("{hashed} in {took} ({speed}), {from}")));
    let missing = report.facts.missing_images();
    let missing_images = || {
        let all = count((report.facts.images() + missing) as u64, "image");
        format!("{missing} of the {all} of its sets {} not in it", if missing == 1 { "is" } else { "are" })
    };
    let verdict = match (missing, report.trusted) {
        (0, true) => "The bundle is complete, undamaged and signed by a key that you trust.".to_owned(),
        (0, false) => "The bundle is complete and undamaged.".to_owned(),
        (_, true) => {
            format!("The bundle is undamaged and signed by a key that you trust, but {}.", missing_images())
        }
        (_, false) => format!("The bundle is undamaged, but {}.", missing_images()),
    };
    let nobody = match (report.trusted, report.facts.is_signed()) {
        (true, _) => "",
        (false, true) => " Its origin is not verified: pass --public-key FILE to check its signature.",
        (false, false) => " Its origin is not verified: it is not signed.",
    };
    format!("{}\n{}", facts(&lines), sentence(&format!("{verdict}{nobody}")))
}
