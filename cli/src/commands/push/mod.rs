// SPDX-License-Identifier: Apache-2.0
mod destinations;
mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use krs_core::bundle::{Bundle, BundledImages};
use krs_core::error::{ErrorKind, chain, help_of_all, kind_of_all};
use krs_core::oci::reference::RegistryHost;
use krs_core::progress::Progress;
use krs_core::registry::Client;
use krs_core::sync::push::{self, Delivery, PushError, PushOptions, ReferrerProblem};
use krs_core::sync::rebuild::RebuiltLayers;

use self::memory::Memory;
use super::runtime::runtime;
use super::scratch::scratch;
use super::signals;
use super::{policy, registries};
use crate::args::{PushArgs, PushReferrers};
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::exit::Signal;
use crate::report::{DeliveryOutcome, DryPushReport, PushedBundle, PushedReport, count};

/// How long a push that is interrupted may take to cancel its uploads and to ask what is there.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// `krs push`
pub(super) fn push(args: &PushArgs, console: &Console) -> Result<(), Failure> {
    destinations::in_order(args)?;
    destinations::may_choose(args)?;
    let bundle = Arc::new(policy::open(&args.file, &args.volumes, &args.policy, console)?);
    let images = bundle.images()?;
    let sets = push::select(&bundle, &args.sets)?;
    let deliveries = push::deliveries(&bundle, &sets, args.destination.as_ref())?;
    let mut facts = PushedBundle::new(&bundle, policy::warnings(&bundle, &args.file));
    let mut warn = |text: String| {
        console.warning(&text);
        facts.add_warning(text);
    };
    destinations::warnings(args, &bundle, &sets).into_iter().for_each(&mut warn);
    let rebuilt = RebuiltLayers::new(scratch(args.scratch.as_deref(), &bundle)?);
    let mut memory = Memory::new(args, &bundle);
    memory.check(&deliveries, &mut warn)?;
    if args.dry_run {
        let content = (&bundle, &images, &rebuilt);
        let shown = show(args, content, &deliveries, console, &mut warn)?;
        let report = DryPushReport::new(facts, &deliveries, &shown.states, &shown.forecasts);
        console.result(&report, || report.text())?;
        return shown.error.map_or(Ok(()), |error| Err(error.into()));
    }
    memory.prepare(&mut warn)?;
    let progress = console.progress();
    let client = registries::client(&args.registry, &progress)?;
    let began = Instant::now();
    let push = Push { client: &client, bundle: &bundle, images: &images, rebuilt, args, progress: &progress };
    let runtime = runtime()?;
    let pushed = runtime.block_on(async {
        tokio::select! {
            // First what catches signals: one that comes with the first request must not end the process at once.
            biased;
            signal = signals::interrupted() => Err(signal),
            pushed = push.deliver(&deliveries, &memory, &mut warn) => Ok(pushed),
        }
    });
    let (pushed, not_remembered) = match pushed {
        Ok(pushed) => pushed,
        Err(signal) => return Err(runtime.block_on(stop(signal, &client, &deliveries))),
    };
    if pushed.iter().any(|one| one.result.is_ok()) {
        let report = PushedReport::new(facts, &pushed, client.statistics(), began.elapsed());
        console.result(&report, || report.text())?;
    }
    for one in &pushed {
        warn_of_problems(one.problems(), &one.delivery.destination.registry, console);
    }
    has_succeeded(pushed, args)?;
    not_remembered.map_or(Ok(()), Err)?;
    policy::has_images_of(&bundle, &sets)
}

struct Push<'a> {
    client: &'a Client,
    bundle: &'a Arc<Bundle>,
    images: &'a BundledImages,
    rebuilt: RebuiltLayers,
    args: &'a PushArgs,
    progress: &'a Arc<dyn Progress>,
}

impl Push<'_> {
    /// Brings everything to one destination after the other; one that fails stops none of the others. Answers also the first
    /// reason why a push is not remembered, where that is an error.
    async fn deliver<'a>(
        &self,
        deliveries: &'a [Delivery],
        memory: &Memory,
        warn: memory::Warn<'_>,
    ) -> (Vec<DeliveryOutcome<'a>>, Option<Failure>) {
        let options = push_options(self.args);
        let (mut done, mut not_remembered) = (Vec::with_capacity(deliveries.len()), None);
        for (n, delivery) in deliveries.iter().enumerate() {
            let earlier = deliveries.get(..n).unwrap_or_default();
            let (client, progress) = (self.client, self.progress);
            let result = push::deliver(
                client,
                (self.bundle, self.images, &self.rebuilt),
                (delivery, earlier),
                options,
                progress,
            )
            .await;
            // Only what is complete counts: the images of a push that failed may be those of the bundle before.
            let remembered =
                if result.is_ok() { memory.raise(&delivery.destination, warn) } else { Ok(false) };
            let remembered = remembered.unwrap_or_else(|failure| {
                not_remembered.get_or_insert(failure);
                false
            });
            done.push(DeliveryOutcome { delivery, result, remembered });
        }
        (done, not_remembered)
    }
}

/// What is at the edge, for a push that is not done.
#[derive(Default)]
struct Shown {
    /// What the tags of each delivery name.
    states: Vec<Vec<push::TagState>>,
    /// What would be made of patches for each, where that is known.
    forecasts: Vec<Option<push::RebuildForecast>>,
    /// The first reason why a push would end before it writes anything.
    error: Option<PushError>,
}

fn show(
    args: &PushArgs,
    content: (&Arc<Bundle>, &BundledImages, &RebuiltLayers),
    deliveries: &[Delivery],
    console: &Console,
    warn: memory::Warn<'_>,
) -> Result<Shown, Failure> {
    let progress = console.progress();
    let client = registries::client(&args.registry, &progress)?;
    let has_patches = !content.0.manifest().patches.is_empty();
    let mut shown = Shown::default();
    let runtime = runtime()?;
    for (n, delivery) in deliveries.iter().enumerate() {
        let destination = &delivery.destination;
        let (of_one, error) = runtime.block_on(push::tag_states(&client, delivery));
        shown.states.push(of_one);
        // A registry that does not answer is not asked for more.
        let is_asked = has_patches && error.is_none();
        if let Some(error) = error {
            warn(format!("which tags would move at {destination} is not known: {}", chain(&error)));
        }
        let mut forecast = None;
        if is_asked {
            let earlier = deliveries.get(..n).unwrap_or_default();
            let (delivery, options) = ((delivery, earlier), push_options(args));
            match runtime.block_on(push::forecast(&client, content, delivery, options, &progress)) {
                Ok(known) => forecast = Some(known),
                Err(PushError::Query(error)) => {
                    let error = chain(&error);
                    warn(format!("which layers would be made for {destination} is not known: {error}"));
                }
                Err(error) => shown.error = shown.error.or(Some(error)),
            }
        }
        shown.forecasts.push(forecast);
    }
    Ok(shown)
}

fn push_options(args: &PushArgs) -> PushOptions {
    PushOptions { jobs: args.registry.jobs.get(), referrers: args.referrers != PushReferrers::None }
}

/// The error of a push: what failed at its destinations, or else the referrers that are missing there.
fn has_succeeded(pushed: Vec<DeliveryOutcome<'_>>, args: &PushArgs) -> Result<(), Failure> {
    let (total, problems) = (pushed.len(), pushed.iter().map(|one| one.problems().len()).sum::<usize>());
    let registries = registries_of(pushed.iter().map(|one| one.delivery));
    let failed = pushed.into_iter().filter_map(|one| Some((&one.delivery.destination, one.result.err()?)));
    let mut failed = failed.collect::<Vec<_>>();
    if total == 1
        && let Some((_, error)) = failed.pop()
    {
        return Err(error.into());
    }
    if !failed.is_empty() {
        let line = |(destination, error): &(_, PushError)| format!("{destination}: {}", chain(error));
        let list = failed.iter().map(line).collect::<Vec<_>>().join("\n");
        let errors = failed.iter().map(|(_, error)| error);
        let message = format!("{} of {total} destinations failed:\n{list}", failed.len());
        let failure = Failure::new(kind_of_all(errors.clone()), message);
        return Err(match help_of_all(errors) {
            Some(help) => failure.help(help),
            None => failure,
        });
    }
    if args.referrers == PushReferrers::Required && problems > 0 {
        let count = count(problems as u64, "referrer");
        let message = format!("{count} (signatures, SBOMs, attestations) cannot be found at {registries}");
        let help = "with --referrers all this is a warning; the images are there and tagged";
        return Err(Failure::new(ErrorKind::Incomplete, message).help(help));
    }
    Ok(())
}

/// Each registry once.
fn registries_of<'a>(deliveries: impl IntoIterator<Item = &'a Delivery>) -> String {
    let registries = deliveries.into_iter().map(|one| one.destination.registry.as_str());
    registries.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
}

/// Ends a push that a signal has interrupted: cancels its uploads, and says what is at the edge. An image has its tags
/// only when all of it is there.
async fn stop(signal: Signal, client: &Client, deliveries: &[Delivery]) -> Failure {
    let registries = registries_of(deliveries);
    let present = async {
        client.cancel_uploads().await;
        let mut present = 0;
        for delivery in deliveries {
            present += push::count_present(client, delivery).await;
        }
        present
    };
    let all = count(deliveries.iter().map(|one| one.targets.len() as u64).sum(), "image");
    let known = match tokio::time::timeout(STOP_TIMEOUT, present).await {
        Ok(present) => {
            format!("{present} of {all} are at {registries} with their tags; no upload is left open")
        }
        Err(_) => format!("{registries} does not answer: it is not known which of {all} are there"),
    };
    Failure::interrupted(signal)
        .more(&known)
        .help("run the same command again: it sends only what is missing")
}

/// One warning for each image whose signatures, SBOMs or attestations are not at the edge as they should be.
fn warn_of_problems(problems: &[ReferrerProblem], registry: &RegistryHost, console: &Console) {
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
            "signatures, SBOMs or attestations of {registry}/{repository}@{subject}: {numbers}: {reason}"
        ));
    }
}
