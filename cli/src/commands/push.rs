// SPDX-License-Identifier: Apache-2.0
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use krs_core::error::ErrorKind;
use krs_core::push::{self, PushError, PushOptions, ReferrerProblem, Target, targets};
use krs_core::registry::Client;

use super::signals::{self, Signal};
use super::{policy, registries, runtime};
use crate::args::{PushArgs, PushReferrers};
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::{DryPushReport, PushedBundle, PushedReport, count};

/// How long a push that is interrupted may take to cancel its uploads and to ask what is there.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// `krs push`
pub(super) fn push(args: &PushArgs, console: &Console) -> Result<(), Failure> {
    let bundle = Arc::new(policy::open(&args.file, &args.volumes, &args.policy, console)?);
    let images = bundle.images()?;
    let facts = PushedBundle::new(&bundle, policy::warnings(&bundle, &args.file));
    let targets = targets(&bundle, &args.destination)?;
    if args.dry_run {
        let report = DryPushReport::new(facts, &args.destination, &targets);
        return console.result(&report, || report.text());
    }
    let progress = console.progress();
    let client = registries::client(&args.registry, &progress)?;
    let began = Instant::now();
    let options =
        PushOptions { jobs: args.registry.jobs.get(), referrers: args.referrers != PushReferrers::None };
    let push = push::push(&client, &bundle, &images, &args.destination, options, &progress);
    let runtime = runtime()?;
    let pushed = runtime.block_on(async {
        tokio::select! {
            pushed = push => Ok(pushed),
            signal = signals::interrupted() => Err(signal),
        }
    });
    let pushed = match pushed {
        Ok(pushed) => pushed,
        Err(signal) => return Err(runtime.block_on(stop(signal, &client, args, &targets))),
    };
    if let Err(PushError::Targets { referrers, .. }) = &pushed {
        warn_of_problems(referrers, args, console);
    }
    let pushed = pushed?;
    let report = PushedReport::new(facts, &args.destination, &pushed, client.statistics(), began.elapsed());
    console.result(&report, || report.text())?;
    warn_of_problems(&pushed.referrers, args, console);
    if args.referrers == PushReferrers::Required && !pushed.referrers.is_empty() {
        let count = count(pushed.referrers.len() as u64, "referrer");
        let registry = &args.destination.registry;
        let message = format!("{count} (signatures, SBOMs, attestations) cannot be found at {registry}");
        let help = "with --referrers all this is a warning; the images are there and tagged";
        return Err(Failure::new(ErrorKind::Incomplete, message).help(help));
    }
    policy::has_all_images(&bundle)
}

/// Ends a push that a signal has interrupted: cancels its uploads, and says what is at the edge. An image has its tags
/// only when all of it is there.
async fn stop(signal: Signal, client: &Client, args: &PushArgs, targets: &[Target]) -> Failure {
    let registry = &args.destination.registry;
    let present = async {
        client.cancel_uploads().await;
        push::present(client, &args.destination, targets).await
    };
    let all = count(targets.len() as u64, "image");
    let known = match tokio::time::timeout(STOP_TIMEOUT, present).await {
        Ok(present) => {
            format!("{present} of {all} are at {registry} with their tags; no upload is left open")
        }
        Err(_) => format!("{registry} does not answer: it is not known which of {all} are there"),
    };
    Failure::interrupted(signal)
        .more(&known)
        .help("run the same command again: it sends only what is missing")
}

/// One warning for each image whose signatures, SBOMs or attestations are not at the edge as they should be.
fn warn_of_problems(problems: &[ReferrerProblem], args: &PushArgs, console: &Console) {
    let mut images = BTreeMap::<_, Vec<&ReferrerProblem>>::new();
    for problem in problems {
        images.entry((&problem.repository, problem.subject)).or_default().push(problem);
    }
    for ((repository, subject), problems) in images {
        let missing = problems.iter().filter(|problem| !problem.unlisted).count();
        let unlisted = problems.len() - missing;
        let numbers = [(missing, "not there"), (unlisted, "there but not listed")];
        let numbers = numbers.iter().filter(|(number, _)| *number > 0);
        let numbers = numbers.map(|(number, what)| format!("{number} {what}")).collect::<Vec<_>>().join(", ");
        let reason = problems.first().map(|problem| problem.reason.as_str()).unwrap_or_default();
        console.warning(&format!(
            "signatures, SBOMs or attestations of {}/{repository}@{subject}: {numbers}: {reason}",
            args.destination.registry
        ));
    }
}
