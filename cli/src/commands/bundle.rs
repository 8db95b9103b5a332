// SPDX-License-Identifier: Apache-2.0
use std::time::Instant;

use camino::Utf8Path;
use krs_core::bundle::{Bundle, Policy, sign_list};
use krs_core::error::{Cause, ErrorKind, by_cause, list};
use krs_core::format::PATCHES_SINCE;
use krs_core::set::{self, LoadedSets, SetErrors, Settings, Warning};
use krs_core::sync::catalog::check_appendable;
use krs_core::sync::compact::{CompactOptions, Mode, RecipeCache};
use krs_core::sync::plan::Plan;
use krs_core::sync::pull::PullOptions;
use krs_core::sync::resolve::{MissingImage, Resolved, reasons};

use super::bundle_run::Run;
use super::runtime::runtime;
use super::settings::effective;
use super::{catalog, files, keys, output, policy, signals};
use crate::args::{BundleArgs, PlanArgs, PlanOnlyArgs};
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::{BundleReport, Done, Facts, Forecast, SignatureFacts, count};

/// What to do where a signature is required and there is no key.
const NO_KEY: &str =
    "name the secret key with --key, or in KRS_KEY_FILE: is the CI variable available on this branch?";

/// `krs plan`
pub(super) fn plan_only(args: &PlanOnlyArgs, console: &Console) -> Result<(), Failure> {
    may_compact(&args.plan)?;
    let settings = set::settings(&args.plan.paths)?;
    let mut run = Run::prepare(&args.plan, settings.as_ref(), false, console)?;
    run.know(&[], None);
    show_plan(run, &args.plan, args.target.as_deref(), args.rate, console)
}

fn show_plan(
    mut run: Run,
    args: &PlanArgs,
    target: Option<&Utf8Path>,
    rate: Option<u64>,
    console: &Console,
) -> Result<(), Failure> {
    let (resolved, plan) = runtime()?.block_on(run.plan())?;
    warn_omitted(&plan, console);
    run.remark_base(console);
    run.remark_sequence(&plan, console)?;
    run.remark_names(&resolved, console);
    run.remark_sources(&resolved, &plan, console);
    let candidates = args.patches().map(|_| run.candidates(&plan, &resolved)).transpose()?;
    let facts = Facts::of_plan(&plan, None, Vec::new())?;
    let forecast = Forecast::new(&plan, args.volume_size, target, rate);
    let report = BundleReport::new(facts, &run.loaded, &resolved, &plan, forecast, None)?
        .with_settings(run.settings.clone())
        .with_candidates(candidates.as_ref());
    console.result(&report, || report.text())?;
    warn_of_missing_referrers(&resolved, console);
    warn_of_images(&resolved, console);
    match report.obstacle() {
        Some(obstacle) => Err(Failure::new(ErrorKind::NoSpace, obstacle)
            .help("free some space, choose another drive, or write volumes with --volume-size")),
        None => incomplete(&resolved),
    }
}

/// `krs bundle`
pub(super) fn bundle(args: &BundleArgs, console: &Console) -> Result<(), Failure> {
    // All that a person has to type or mend comes before the first request.
    let settings = set::settings(&args.plan.paths)?;
    let settings = settings.as_ref();
    if let (Some(settings), None) = (settings, &args.key)
        && let Some(required) = &settings.require.signature
    {
        let error = settings.error(required, "requires a signature, and the bundle would not be signed");
        return Err(Failure::from(SetErrors::from(error)).help(NO_KEY));
    }
    if args.require_signature && args.key.is_none() {
        return Err(
            Failure::usage("the bundle would not be signed, and --require-signature is set").help(NO_KEY)
        );
    }
    may_compact(&args.plan)?;
    let recipes = args.recipes.as_ref().filter(|_| args.plan.patches().is_some());
    if let Some(folder) = recipes.filter(|folder| folder.exists() && !folder.is_dir()) {
        return Err(Failure::usage(format!("--recipes {folder} is not a folder"))
            .help("name a folder; it is made where it is absent"));
    }
    let Some(file) = args.file.as_ref().filter(|_| !args.dry_run) else {
        let mut run = Run::prepare(&args.plan, settings, args.keep_going, console)?;
        is_as_required(args, settings, &run.loaded)?;
        run.know(&files::reusable(&args.reuse)?, args.file.as_deref());
        return show_plan(run, &args.plan, None, None, console);
    };
    output::check(file, &effective(&args.plan, settings)?.stream, args.force, console)?;
    args.plan.catalog.as_deref().map_or(Ok(()), check_appendable)?;
    let key = |key| keys::secret_key(key, &args.passphrase, &args.plan.paths, console);
    let key = args.key.as_deref().map(key).transpose()?;
    let options = PullOptions {
        jobs: args.plan.registry.jobs.get(),
        volume_size: args.plan.volume_size,
        reuse: files::reusable(&args.reuse)?,
        foreign_hosts: args.foreign_layer_host.clone(),
        lock: None,
    };
    let mut run = Run::prepare(&args.plan, settings, args.keep_going, console)?;
    is_as_required(args, settings, &run.loaded)?;
    let compact = args.plan.patches().map(|mode| compact_options(mode, args, file, &options, &run));
    run.know(&options.reuse, Some(file));
    let began = Instant::now();
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        tokio::select! {
            done = run.write(file, &options, key.as_ref(), compact.as_ref()) => Ok(done),
            signal = signals::interrupted() => Err(signal),
        }
    });
    let done = match done {
        Ok(done) => done,
        Err(signal) => {
            // Threads that still write to the file end with the process.
            runtime.shutdown_background();
            let layers = if compact.is_some() { format!(" or {file}.compact") } else { String::new() };
            let help =
                format!("run the same command again to resume; what was fetched is in {file}.part{layers}");
            return Err(Failure::interrupted(signal).help(help));
        }
    };
    let (resolved, plan, pulled) = done?;
    warn_omitted(&plan, console);
    run.remark_base(console);
    run.remark_sequence(&plan, console)?;
    run.remark_names(&resolved, console);
    run.remark_sources(&resolved, &plan, console);
    run.remark_compact(console);
    if let Some(work) = run.work.take() {
        let folder = work.path().to_owned();
        if let Err(error) = work.remove() {
            console.warning(&format!("{folder} cannot be removed: {error}"));
        }
    }
    if let Some(key) = &key {
        sign_list(file, key)?;
    }
    if key.is_none() {
        let message = format!(
            "the bundle is NOT SIGNED; sites that ask for a signature will refuse it. Sign it: krs sign {file} --key KEY"
        );
        console.warning(&message);
        run.loaded.warnings.push(Warning::new(file.as_str(), 0, &message));
    }
    let signed = key.iter().map(|key| SignatureFacts::now(key.id())).collect();
    let facts = Facts::of_plan(&plan, Some(file), signed)?;
    let elapsed = began.elapsed();
    let bundle = Bundle::open(file, &Policy::default())?;
    for remark in policy::remarks(&bundle) {
        console.warning(&remark);
        run.loaded.warnings.push(Warning::new(file.as_str(), 0, &remark));
    }
    args.plan.catalog.as_deref().map_or(Ok(()), |catalog| catalog::record(catalog, &bundle, console))?;
    let done = Done { elapsed, statistics: run.client.statistics(), pulled, bundle };
    let forecast = Forecast::default();
    let report = BundleReport::new(facts, &run.loaded, &resolved, &plan, forecast, Some(done))?;
    let outcomes = run.compacted.as_ref().map(|(layers, _)| layers.as_slice());
    let report = report.with_settings(run.settings.clone()).with_outcomes(outcomes);
    console.result(&report, || report.text())?;
    warn_of_missing_referrers(&resolved, console);
    warn_of_images(&resolved, console);
    incomplete(&resolved)
}

/// Whether patches are asked for that the format may not have, or in a way that names a folder.
fn may_compact(args: &PlanArgs) -> Result<(), Failure> {
    if let Some(mode) = args.mode_among_paths() {
        let message = format!("`{mode}` stands where a folder of sets is expected, and is none");
        return Err(Failure::usage(message).help(format!("write --compact={mode}, with `=`")));
    }
    if args.patches().is_none() || args.format_version.is_none_or(|highest| highest >= PATCHES_SINCE) {
        return Ok(());
    }
    let message = format!("--compact needs format version {PATCHES_SINCE}, and --format-version allows less");
    Err(Failure::usage(message).help("leave out one of the two"))
}

/// How patches are made: beside the archive, where there is space for it.
fn compact_options(
    mode: Mode,
    args: &BundleArgs,
    file: &Utf8Path,
    options: &PullOptions,
    run: &Run,
) -> CompactOptions {
    let beside = file.parent().unwrap_or(Utf8Path::new("")).join("krs-recipes");
    CompactOptions {
        mode,
        recipes: Some(RecipeCache::new(args.recipes.clone().unwrap_or(beside))),
        jobs: options.jobs,
        bundles: options.reuse.iter().chain(&run.against.bundles).cloned().collect(),
        sources: run.resolve.sources.clone(),
    }
}

/// Whether what is read is what a commit holds, where that is required.
fn is_as_required(
    args: &BundleArgs,
    settings: Option<&Settings>,
    loaded: &LoadedSets,
) -> Result<(), Failure> {
    let required = settings.and_then(|settings| Some((settings, settings.require.clean.as_ref()?)));
    let problem = match &loaded.source {
        _ if !args.require_clean && required.is_none() => return Ok(()),
        Some(source) if !source.dirty => return Ok(()),
        Some(_) => "what was read is not what the commit holds",
        None => "no commit is recorded",
    };
    let by = required.map_or_else(
        || "--require-clean is set".to_owned(),
        |(settings, clean)| format!("{} requires it", settings.place(clean)),
    );
    Err(Failure::usage(format!("{problem}, and {by}")).help("commit the changes, or read a checkout of Git"))
}

/// What `--format-version` cost.
fn warn_omitted(plan: &Plan, console: &Console) {
    plan.omitted.iter().for_each(|field| console.warning(&format!("left out: {field}")));
}

/// One warning for the images that travel without some of their signatures, SBOMs and attestations, for each reason.
fn warn_of_missing_referrers(resolved: &Resolved, console: &Console) {
    let mut failures = Vec::new();
    for image in resolved.images.iter().filter(|image| !image.missing_referrers.is_empty()) {
        let (reference, missing) = (&image.reference, &image.missing_referrers);
        let (known, unknown): (Vec<_>, Vec<_>) = missing.iter().partition(|missing| missing.digest.is_some());
        let mut parts = Vec::new();
        if !known.is_empty() {
            parts.push(format!("{} cannot be read", count(known.len() as u64, "referrer")));
        }
        if !unknown.is_empty() {
            parts.push(format!("{} of referrers failed", count(unknown.len() as u64, "look-up")));
        }
        failures.push((reference.to_string(), format!("{}: {}", parts.join(", "), reasons(missing))));
    }
    let what = "without signatures, SBOMs or attestations that";
    for Cause { reason, names } in by_cause(failures) {
        console.warning(&match names.as_slice() {
            [name] => format!("{name} travels {what} it may have: {reason}"),
            all => format!("{} images travel {what} they may have: {reason}{}", all.len(), list(all, "  ")),
        });
    }
}

/// What is to be known of images that travel.
fn warn_of_images(resolved: &Resolved, console: &Console) {
    for image in &resolved.images {
        for remark in image.remarks() {
            console.warning(&format!("{} {remark}", image.reference));
        }
    }
}

/// A bundle without some of its images is no success, even if that was asked for.
fn incomplete(resolved: &Resolved) -> Result<(), Failure> {
    if resolved.missing.is_empty() {
        return Ok(());
    }
    let one = |missing: &MissingImage| (missing.reference.to_string(), missing.reason.clone());
    let head = format!("the bundle does not have {}", count(resolved.missing.len() as u64, "image"));
    Err(Failure::of_images(ErrorKind::Incomplete, &head, resolved.missing.iter().map(one))
        .help("run the same command again once they can be fetched"))
}
