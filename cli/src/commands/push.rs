// SPDX-License-Identifier: Apache-2.0
use std::sync::Arc;
use std::time::Instant;

use krs_core::error::ErrorKind;
use krs_core::push::{self, targets};

use super::{policy, registries, runtime};
use crate::args::PushArgs;
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::{DryPushReport, PushedReport, count};

/// `krs push`
pub(super) fn push(args: &PushArgs, console: &Console) -> Result<(), Failure> {
    let bundle = Arc::new(policy::open(&args.file, &args.volumes, &args.policy, console)?);
    let images = bundle.images()?;
    if args.dry_run {
        let report = DryPushReport::new(&args.destination, &targets(&bundle, &args.destination)?);
        return console.result(&report, || report.text());
    }
    let progress = console.progress();
    let client = registries::client(&args.registry, &progress)?;
    let began = Instant::now();
    let pushed = runtime()?.block_on(push::push(
        &client,
        &bundle,
        &images,
        &args.destination,
        args.registry.jobs.get(),
        &progress,
    ))?;
    let report = PushedReport::new(&args.destination, &pushed, client.statistics(), began.elapsed());
    console.result(&report, || report.text())?;
    let missing = &bundle.manifest().missing;
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().map(|missing| missing.reference.to_string()).collect::<Vec<_>>().join(", ");
    let message = format!("the bundle was made without {}: {names}", count(missing.len() as u64, "image"));
    Err(Failure::new(ErrorKind::Incomplete, message).help("make a whole bundle, and bring that too"))
}
