// SPDX-License-Identifier: Apache-2.0
//! One run of `krs bundle` or `krs plan`: what was read, what the images are, and what goes where.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use camino::Utf8Path;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use krs_core::bundle::sign::{SecretKey, Signatures};
use krs_core::bundle::{ArchiveLock, Bundle, trusted_comment};
use krs_core::format::PATCHES_SINCE;
use krs_core::oci::digest::Digest;
use krs_core::oci::platform::Platform;
use krs_core::oci::reference::{Destination, Reference, RegistryHost};
use krs_core::progress::Progress;
use krs_core::registry::Client;
use krs_core::set::{self, CheckedSet, LoadedSets, MergedImages, SetErrors, Settings, Warning};
use krs_core::sync::compact::{Candidates, CompactOptions, LayerOutcome, WorkFolder, candidates, compact};
use krs_core::sync::plan::{Base, Plan, PlanError, PlanOptions, plan};
use krs_core::sync::pull::{PullError, PullOptions, PullReport, pull};
use krs_core::sync::resolve::{Referrers, ResolveOptions, Resolved, resolve_most};

use super::against::Against;
use super::sequence::{self, Earlier};
use super::settings::effective;
use super::{local_sources, registries, sets};
use crate::args::PlanArgs;
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::SettingsFacts;

fn sign(plan: &Plan, key: Option<&SecretKey>) -> Result<Signatures, Failure> {
    let mut signatures = Signatures::default();
    if let Some(key) = key {
        let manifest = plan.manifest.encode().map_err(PlanError::from)?;
        signatures.sign(&manifest, key, &trusted_comment(&plan.manifest))?;
    }
    Ok(signatures)
}

/// Everything that is needed to plan and to fetch.
pub(super) struct Run {
    pub(super) loaded: LoadedSets,
    pub(super) merged: MergedImages,
    pub(super) options: PlanOptions,
    pub(super) resolve: ResolveOptions,
    pub(super) keep_going: bool,
    pub(super) progress: Arc<dyn Progress>,
    pub(super) client: Client,
    /// What the sites have.
    pub(super) against: Against,
    /// What a person should know of that.
    pub(super) base_remarks: Vec<String>,
    /// Bundles that were made before.
    pub(super) earlier: Vec<Earlier>,
    /// What was asked for.
    pub(super) requested: String,
    /// What became of layers that may travel as patches, and what a person should know of it.
    pub(super) compacted: Option<(Vec<LayerOutcome>, Vec<String>)>,
    /// The files of patches, until the archive is complete.
    pub(super) work: Option<WorkFolder>,
    /// What comes from `krs.yaml`.
    pub(super) settings: Option<SettingsFacts>,
}

impl Run {
    pub(super) fn prepare(
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
            compacted: None,
            work: None,
            settings: settings.map(|settings| SettingsFacts::new(settings, effective.from_file)),
        })
    }

    /// Takes in the bundles whose sequences count: those that blobs are taken from, and the one that is replaced.
    pub(super) fn know(&mut self, reused: &[Arc<Bundle>], file: Option<&Utf8Path>) {
        let against = std::mem::take(&mut self.against.earlier);
        self.earlier = sequence::earlier(reused, against, file);
    }

    /// Says what must be known about the sequence, and puts it among the warnings of the report.
    pub(super) fn remark_sequence(&mut self, plan: &Plan, console: &Console) -> Result<(), Failure> {
        let chosen = self.options.sequence.is_some();
        let remarks = sequence::remarks(plan, &self.earlier, chosen, &self.requested)?;
        remarks.iter().for_each(|remark| console.important(&remark.message));
        self.loaded.warnings.extend(remarks);
        Ok(())
    }

    /// Says which names stand for different images at different sites, and puts it among the warnings of the report.
    pub(super) fn remark_names(&mut self, resolved: &Resolved, console: &Console) {
        let digests = digests(resolved);
        let warning = set::names_of_sites(&self.loaded.sets, |reference| digests.get(reference).copied());
        if let Some(warning) = warning {
            console.warning(&format!("{}:{}: {}", warning.file, warning.line, warning.message));
            self.loaded.warnings.push(warning);
        }
    }

    /// Says which sources nothing was used from, and which have other images under the names of the sets, and puts it among
    /// the warnings of the report.
    pub(super) fn remark_sources(&mut self, resolved: &Resolved, plan: &Plan, console: &Console) {
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
    pub(super) async fn decide_base(&mut self, resolved: &Resolved) -> Result<(), Failure> {
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
    pub(super) fn remark_base(&mut self, console: &Console) {
        for remark in std::mem::take(&mut self.base_remarks) {
            console.warning(&remark);
            self.loaded.warnings.push(Warning::new("--against", 0, &remark));
        }
    }

    pub(super) async fn plan(&mut self) -> Result<(Resolved, Plan), Failure> {
        let (resolved, errors) =
            resolve_most(&self.client, &self.merged, self.resolve.clone(), &self.progress).await;
        if !errors.0.is_empty() && (!self.keep_going || resolved.images.is_empty()) {
            return Err(errors.into());
        }
        self.decide_base(&resolved).await?;
        let plan = self.lay_out(&resolved)?;
        self.against.check_format(plan.manifest.format_version)?;
        Ok((resolved, plan))
    }

    pub(super) fn lay_out(&self, resolved: &Resolved) -> Result<Plan, Failure> {
        // Now that tags are resolved too, two of them may meet at the edge.
        let digests = digests(resolved);
        set::collisions(&self.loaded.sets, |reference| digests.get(reference).copied())?;
        Ok(plan(&self.loaded, resolved, &self.options, Timestamp::now())?)
    }

    /// Writes the archive; without the images that fail, where the run is to keep going.
    pub(super) async fn write(
        &mut self,
        file: &Utf8Path,
        options: &PullOptions,
        key: Option<&SecretKey>,
        compact: Option<&CompactOptions>,
    ) -> Result<(Resolved, Plan, PullReport), Failure> {
        let (mut resolved, mut plan) = self.plan().await?;
        sequence::refuse(&plan, &self.earlier)?;
        // Before anything is written for the archive: what it is made of is prepared beside it.
        let lock = ArchiveLock::take(file)?;
        let options = PullOptions { lock: Some(Arc::clone(&lock)), ..options.clone() };
        loop {
            if let Some(compact) = compact {
                plan = self.compact(plan, &resolved, compact, &lock).await?;
            }
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

impl Run {
    /// Puts patches in place of layers.
    async fn compact(
        &mut self,
        plan: Plan,
        resolved: &Resolved,
        options: &CompactOptions,
        lock: &Arc<ArchiveLock>,
    ) -> Result<Plan, Failure> {
        // Before the work, which may take minutes.
        self.against.check_format(PATCHES_SINCE)?;
        let sets = self.loaded.sets.iter().map(|loaded| &loaded.set).collect::<Vec<_>>();
        let (client, progress) = (&self.client, &self.progress);
        let made = compact(client, plan, (resolved, &sets), &self.options, options, lock, progress).await?;
        self.compacted = Some((made.layers, made.remarks));
        self.work = Some(made.work);
        Ok(made.plan)
    }

    /// What may travel as patches.
    pub(super) fn candidates(&self, plan: &Plan, resolved: &Resolved) -> Result<Candidates, Failure> {
        self.against.check_format(PATCHES_SINCE)?;
        let sets = self.loaded.sets.iter().map(|loaded| &loaded.set).collect::<Vec<_>>();
        Ok(candidates(plan, (resolved, &sets), &self.options.base))
    }

    /// Says which layers of the sites could not be used, and puts it among the warnings of the report.
    pub(super) fn remark_compact(&mut self, console: &Console) {
        for remark in self.compacted.iter().flat_map(|(_, remarks)| remarks) {
            console.warning(remark);
            self.loaded.warnings.push(Warning::new("--compact", 0, remark));
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
