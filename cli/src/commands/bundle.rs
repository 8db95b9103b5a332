// SPDX-License-Identifier: Apache-2.0
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use camino::Utf8Path;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use krs_core::bundle::sign::{SecretKey, Signatures};
use krs_core::bundle::{Bundle, Policy, sign_list, trusted_comment};
use krs_core::error::{Cause, ErrorKind, by_cause, list};
use krs_core::oci::digest::Digest;
use krs_core::oci::platform::Platform;
use krs_core::oci::reference::{Destination, Reference, RegistryHost};
use krs_core::progress::Progress;
use krs_core::registry::Client;
use krs_core::set::{self, CheckedSet, LoadedSets, MergedImages, SetErrors, Settings, Warning};
use krs_core::sync::catalog::check_appendable;
use krs_core::sync::plan::{Base, Plan, PlanError, PlanOptions, plan};
use krs_core::sync::pull::{PullError, PullOptions, PullReport, pull};
use krs_core::sync::resolve::{MissingImage, Referrers, ResolveOptions, Resolved, reasons, resolve_most};

use super::against::Against;
use super::runtime::runtime;
use super::sequence::{self, Earlier};
use super::settings::effective;
use super::{catalog, files, keys, local_sources, output, policy, registries, sets, signals};
use crate::args::{BundleArgs, PlanArgs, PlanOnlyArgs};
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::{BundleReport, Done, Facts, Forecast, SettingsFacts, SignatureFacts, count};

/// What to do where a signature is required and there is no key.
const NO_KEY: &str =
    "name the secret key with --key, or in KRS_KEY_FILE: is the CI variable available on this branch?";

/// `krs plan`
pub(super) fn plan_only(args: &PlanOnlyArgs, console: &Console) -> Result<(), Failure> {
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
    let facts = Facts::of_plan(&plan, None, Vec::new())?;
    let forecast = Forecast::new(&plan, args.volume_size, target, rate);
    let report = BundleReport::new(facts, &run.loaded, &resolved, &plan, forecast, None)?
        .with_settings(run.settings.clone());
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
    };
    let mut run = Run::prepare(&args.plan, settings, args.keep_going, console)?;
    is_as_required(args, settings, &run.loaded)?;
    run.know(&options.reuse, Some(file));
    let began = Instant::now();
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        tokio::select! {
            done = run.write(file, &options, key.as_ref()) => Ok(done),
            signal = signals::interrupted() => Err(signal),
        }
    });
    let done = match done {
        Ok(done) => done,
        Err(signal) => {
            // Threads that still write to the file end with the process.
            runtime.shutdown_background();
            let help = format!("run the same command again to resume; what was fetched is in {file}.part");
            return Err(Failure::interrupted(signal).help(help));
        }
    };
    let (resolved, plan, pulled) = done?;
    warn_omitted(&plan, console);
    run.remark_base(console);
    run.remark_sequence(&plan, console)?;
    run.remark_names(&resolved, console);
    run.remark_sources(&resolved, &plan, console);
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
    let report = report.with_settings(run.settings.clone());
    console.result(&report, || report.text())?;
    warn_of_missing_referrers(&resolved, console);
    warn_of_images(&resolved, console);
    incomplete(&resolved)
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

fn sign(plan: &Plan, key: Option<&SecretKey>) -> Result<Signatures, Failure> {
    let mut signatures = Signatures::default();
    if let Some(key) = key {
        let manifest = plan.manifest.encode().map_err(PlanError::from)?;
        signatures.sign(&manifest, key, &trusted_comment(&plan.manifest))?;
    }
    Ok(signatures)
}

/// Everything that is needed to plan and to fetch.
struct Run {
    loaded: LoadedSets,
    merged: MergedImages,
    options: PlanOptions,
    resolve: ResolveOptions,
    keep_going: bool,
    progress: Arc<dyn Progress>,
    client: Client,
    /// What the sites have.
    against: Against,
    /// What a person should know of that.
    base_remarks: Vec<String>,
    /// Bundles that were made before.
    earlier: Vec<Earlier>,
    /// What was asked for.
    requested: String,
    /// What comes from `krs.yaml`.
    settings: Option<SettingsFacts>,
}

impl Run {
    fn prepare(
        args: &PlanArgs,
        settings: Option<&Settings>,
        keep_going: bool,
        console: &Console,
    ) -> Result<Self, Failure> {
        let effective = effective(args, settings)?;
        let against = Against::read(args, &effective.audience, console)?;
        let options = PlanOptions {
            stream: effective.stream,
            sequence: args.sequence,
            audience: effective.audience,
            not_after: args.not_after.as_deref().map(not_after).transpose()?,
            source_date: source_date()?,
            platforms: platforms(&effective.platforms),
            base: Base::default(),
            format_version: args.format_version,
        };
        let mut loaded = sets::load(&args.paths)?;
        loaded.sets.iter_mut().for_each(|loaded| loaded.set.choose(&options.platforms));
        if let Some(settings) = settings {
            let errors = settings.check(&loaded.sets);
            if !errors.is_empty() {
                return Err(SetErrors(errors).into());
            }
        }
        let merged = set::merge(&loaded.sets)?;
        sets::remarks(&loaded, console);
        let progress = console.progress();
        let client = registries::client(&args.registry, &progress)?;
        let resolve = ResolveOptions {
            jobs: args.registry.jobs.get(),
            referrers: effective.referrers,
            require_platforms: effective.require_platforms,
            sources: local_sources::open(&args.from, &merged, &progress)?,
        };
        let requested = args.paths.iter().map(|path| path.as_str()).collect::<Vec<_>>().join(", ");
        Ok(Self {
            loaded,
            merged,
            options,
            resolve,
            keep_going,
            progress,
            client,
            against,
            base_remarks: Vec::new(),
            earlier: Vec::new(),
            requested,
            settings: settings.map(|settings| SettingsFacts::new(settings, effective.from_file)),
        })
    }

    /// Takes in the bundles whose sequences count: those that blobs are taken from, and the one that is replaced.
    fn know(&mut self, reused: &[Arc<Bundle>], file: Option<&Utf8Path>) {
        let against = std::mem::take(&mut self.against.earlier);
        self.earlier = sequence::earlier(reused, against, file);
    }

    /// Says what must be known about the sequence, and puts it among the warnings of the report.
    fn remark_sequence(&mut self, plan: &Plan, console: &Console) -> Result<(), Failure> {
        let chosen = self.options.sequence.is_some();
        let remarks = sequence::remarks(plan, &self.earlier, chosen, &self.requested)?;
        remarks.iter().for_each(|remark| console.important(&remark.message));
        self.loaded.warnings.extend(remarks);
        Ok(())
    }

    /// Says which names stand for different images at different sites, and puts it among the warnings of the report.
    fn remark_names(&mut self, resolved: &Resolved, console: &Console) {
        let digests = digests(resolved);
        let warning = set::names_of_sites(&self.loaded.sets, |reference| digests.get(reference).copied());
        if let Some(warning) = warning {
            console.warning(&format!("{}:{}: {}", warning.file, warning.line, warning.message));
            self.loaded.warnings.push(warning);
        }
    }

    /// Says which sources nothing was used from, and which have other images under the names of the sets, and puts it among
    /// the warnings of the report.
    fn remark_sources(&mut self, resolved: &Resolved, plan: &Plan, console: &Console) {
        let unused = plan.sources.iter().filter(|share| share.images == 0).map(|share| &share.source);
        let unused = unused.map(|source| {
            let (location, names) = (source.location(), source.names());
            format!("no image was used from {location}, which has {names}")
        });
        for remark in resolved.source_remarks.iter().cloned().chain(unused) {
            console.warning(&remark);
            self.loaded.warnings.push(Warning::new("--from", 0, &remark));
        }
    }

    /// Reads the manifests of images that only receipts name, and decides what is left out.
    async fn decide_base(&mut self, resolved: &Resolved) -> Result<(), Failure> {
        self.against.insert(resolved);
        let unknown = self.against.unknown(&self.loaded.sets);
        if !unknown.images.is_empty() {
            // An image that its source does not have any more costs the size of its layers, not the bundle.
            let options = ResolveOptions {
                referrers: Referrers::None,
                require_platforms: false,
                ..self.resolve.clone()
            };
            let (known, _) = resolve_most(&self.client, &unknown, options, &self.progress).await;
            self.against.insert(&known);
        }
        let destinations = self.loaded.sets.iter().map(|loaded| destination(&loaded.set));
        let destinations = destinations.collect::<Option<BTreeSet<_>>>();
        (self.options.base, self.base_remarks) = self.against.base(destinations.as_ref())?;
        Ok(())
    }

    /// Says what was not left out and why, and puts it among the warnings of the report.
    fn remark_base(&mut self, console: &Console) {
        for remark in std::mem::take(&mut self.base_remarks) {
            console.warning(&remark);
            self.loaded.warnings.push(Warning::new("--against", 0, &remark));
        }
    }

    async fn plan(&mut self) -> Result<(Resolved, Plan), Failure> {
        let (resolved, errors) =
            resolve_most(&self.client, &self.merged, self.resolve.clone(), &self.progress).await;
        if !errors.0.is_empty() && (!self.keep_going || resolved.images.is_empty()) {
            return Err(errors.into());
        }
        self.decide_base(&resolved).await?;
        let plan = self.lay_out(&resolved)?;
        self.against.check_format(&plan)?;
        Ok((resolved, plan))
    }

    fn lay_out(&self, resolved: &Resolved) -> Result<Plan, Failure> {
        // Now that tags are resolved too, two of them may meet at the edge.
        let digests = digests(resolved);
        set::collisions(&self.loaded.sets, |reference| digests.get(reference).copied())?;
        Ok(plan(&self.loaded, resolved, &self.options, Timestamp::now())?)
    }

    /// Writes the archive; without the images that fail, where the run is to keep going.
    async fn write(
        &mut self,
        file: &Utf8Path,
        options: &PullOptions,
        key: Option<&SecretKey>,
    ) -> Result<(Resolved, Plan, PullReport), Failure> {
        let (mut resolved, mut plan) = self.plan().await?;
        sequence::refuse(&plan, &self.earlier)?;
        loop {
            let signatures = sign(&plan, key)?;
            let pulled = pull(&self.client, &plan, signatures, file, options.clone(), &self.progress).await;
            match pulled {
                Ok(pulled) => return Ok((resolved, plan, pulled)),
                // They are optional: the images travel without them, unless the user requires them.
                Err(PullError::Referrers(errors))
                    if self.resolve.referrers != Referrers::Required || errors.is_all_unknown() =>
                {
                    if !resolved.without_referrers(&errors) {
                        return Err(PullError::Referrers(errors).into());
                    }
                    plan = self.lay_out(&resolved)?;
                }
                Err(PullError::Images(errors)) if self.keep_going => {
                    let before = resolved.images.len();
                    resolved.without(&errors);
                    // The bundle is laid out again; what was fetched is kept.
                    if resolved.images.is_empty() || resolved.images.len() == before {
                        return Err(PullError::Images(errors).into());
                    }
                    plan = self.lay_out(&resolved)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The registry that a set names; `None` if it contains a variable, which each site replaces.
fn destination(set: &CheckedSet) -> Option<RegistryHost> {
    let destination = set.spec.destination_registry.parse::<Destination>();
    destination.ok().map(|destination| destination.registry)
}

/// What the references of the images stand for.
fn digests(resolved: &Resolved) -> HashMap<&Reference, Digest> {
    resolved.images.iter().map(|image| (&image.reference, image.root.digest)).collect()
}

/// Each once, sorted, as sets have them.
fn platforms(requested: &[Platform]) -> Vec<Platform> {
    let mut platforms = requested.to_vec();
    platforms.sort_unstable();
    platforms.dedup();
    platforms
}

/// A time, a date (its beginning in UTC), or a duration from now; in full seconds.
fn not_after(text: &str) -> Result<Timestamp, Failure> {
    let utc = |date: Date| date.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    let from_now =
        |span: Span| Timestamp::now().to_zoned(TimeZone::UTC).checked_add(span).ok().map(|z| z.timestamp());
    let time = text.parse::<Timestamp>().ok();
    let time = time.or_else(|| text.parse::<Date>().ok().and_then(utc));
    let time = time.or_else(|| text.parse::<Span>().ok().and_then(from_now));
    let time = time.and_then(|time| Timestamp::from_second(time.as_second()).ok());
    let time = time.ok_or_else(|| {
        let shown = krs_core::redact::printable(text, 60);
        Failure::usage(format!("--not-after `{shown}` is neither a time nor a duration"))
            .help("write it as 2027-01-31T12:00:00Z, 2027-01-31, 30d or 12h")
    })?;
    if time <= Timestamp::now() {
        return Err(Failure::usage(format!("--not-after {time} has passed already")));
    }
    Ok(time)
}

/// `SOURCE_DATE_EPOCH` (reproducible-builds.org): stands for the time of the commit.
fn source_date() -> Result<Option<Timestamp>, Failure> {
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let seconds = text.to_str().and_then(|text| text.parse::<i64>().ok()).filter(|seconds| *seconds >= 0);
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map(Some).ok_or_else(|| Failure::usage("SOURCE_DATE_EPOCH is not a number of seconds since 1970"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_time_a_date_or_a_duration() {
        let time = |text| not_after(text).map(|time| time.to_string());
        assert_eq!(time("2999-01-31T12:00:00Z"), Ok("2999-01-31T12:00:00Z".to_owned()));
        assert_eq!(time("2999-01-31"), Ok("2999-01-31T00:00:00Z".to_owned()));
        for wrong in ["30", "soon", "2001-01-01", "-3d", ""] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        let in_30_days = not_after("30d").map(|time| time.as_second() - Timestamp::now().as_second());
        assert!(in_30_days.is_ok_and(|seconds| (seconds - 30 * 86_400).abs() < 60));
    }
}
