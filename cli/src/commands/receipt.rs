// SPDX-License-Identifier: Apache-2.0
use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use krs_core::error::{Cause, by_cause, list};
use krs_core::oci::reference::{Destination, RepositoryName};
use krs_core::redact::printable;
use krs_core::sync::receipt::Receipt;
use krs_core::sync::scan::{Incomplete, ScanOptions, scan_registry};
use serde::Serialize;

use super::runtime::runtime;
use super::{files, output, registries, sets, short_receipt};
use crate::args::ReceiptArgs;
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::{Align, SCHEMA_VERSION, Table, count, size};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    schema_version: u32,
    file: Utf8PathBuf,
    registry: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<String>,
    repositories: Vec<RepositoryFacts>,
    /// What is missing there or could not be read, and so is not in the receipt.
    incomplete: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RepositoryFacts {
    name: String,
    tags: usize,
    manifests: usize,
    blobs: usize,
    bytes: u64,
}

/// `krs receipt`
pub(super) fn receipt(args: &ReceiptArgs, console: &Console) -> Result<(), Failure> {
    if args.from_cluster.is_some() {
        return short_receipt::from_cluster(args, console);
    }
    let Some(destination) = &args.destination else {
        return Err(Failure::usage("no registry is named"));
    };
    short_receipt::check(args)?;
    args.file.as_deref().filter(|_| !args.short).map_or(Ok(()), output::check_receipt)?;
    let progress = console.progress();
    let options = ScanOptions {
        repositories: sets::below(destination, &sets::repositories(&args.sets, console)?)?,
        site: args.site.as_deref().map(|site| printable(site, 100)),
        jobs: args.registry.jobs.get(),
        probe: probe(args, destination)?,
    };
    if options.repositories.is_empty() {
        return Err(Failure::usage("no EdgeImageSet was found, so no repository is known"));
    }
    let client = registries::client(&args.registry, &progress)?;
    let registry = &destination.registry;
    let work = scan_registry(&client, registry, &options, Timestamp::now(), progress.as_ref());
    let (mut receipt, incomplete) = runtime()?.block_on(work)?;
    let omitted = args.format_version.map(|highest| receipt.restrict_to(highest)).unwrap_or_default();
    omitted.iter().for_each(|field| console.warning(&format!("left out: {field}")));
    warn(&incomplete, console);
    if args.short {
        return short_receipt::of_registry(&receipt, destination, args, console);
    }
    let mut json = receipt.encode()?;
    json.push(b'\n');
    let Some(file) = &args.file else {
        return console.print(&String::from_utf8_lossy(&json));
    };
    files::replace(file, &json)?;
    let report = report(file, &receipt, &incomplete);
    console.result(&report, || text(&report))
}

/// The repository for the probe, below the prefix, which may be all that the credentials may write to.
fn probe(args: &ReceiptArgs, destination: &Destination) -> Result<Option<RepositoryName>, Failure> {
    let name = "krs-probe".parse().map(|name| destination.repository(&name));
    let name = name.and_then(|name| name).map_err(|e| Failure::usage(e.to_string()))?;
    Ok(Some(name).filter(|_| args.probe))
}

/// Most warnings about what a receipt does not have; its report and the receipt itself list more.
const MAX_WARNINGS: usize = 20;

/// Says what a receipt does not have, once for each reason; of very much the first.
pub(super) fn warn(incomplete: &[Incomplete], console: &Console) {
    let one = |Incomplete { repository, what, reason }: &Incomplete| {
        (format!("{} of {repository}", printable(what, 200)), printable(reason, 500))
    };
    let causes = by_cause(incomplete.iter().map(one));
    for Cause { reason, names } in causes.iter().take(MAX_WARNINGS) {
        console.warning(&match names.as_slice() {
            [name] => format!("incomplete: {name}: {reason}"),
            all => format!(
                "incomplete: {} entries, all for the same reason: {reason}{}",
                all.len(),
                list(all, "  ")
            ),
        });
    }
    let more = causes.iter().skip(MAX_WARNINGS).map(|cause| cause.names.len()).sum::<usize>();
    if more > 0 {
        console.warning(&format!("incomplete: and {more} more"));
    }
}

/// What a receipt does not have, for a person.
fn sentence(incomplete: &Incomplete) -> String {
    let Incomplete { repository, what, reason } = incomplete;
    format!("incomplete: {} of {repository}: {}", printable(what, 200), printable(reason, 500))
}

fn report(file: &Utf8Path, receipt: &Receipt, incomplete: &[Incomplete]) -> Report {
    let repositories = receipt.repositories.iter().map(|repository| RepositoryFacts {
        name: repository.name.to_string(),
        tags: repository.tags.len(),
        manifests: repository.manifests.len(),
        blobs: repository.blobs.len(),
        bytes: repository.blobs.iter().map(|blob| blob.size).sum(),
    });
    Report {
        schema_version: SCHEMA_VERSION,
        file: file.to_owned(),
        registry: receipt.registry.to_string(),
        site: receipt.site.clone(),
        repositories: repositories.collect(),
        incomplete: incomplete.iter().map(sentence).collect(),
    }
}

fn text(report: &Report) -> String {
    let mut table = Table::new(&[
        ("REPOSITORY", Align::Left),
        ("TAGS", Align::Right),
        ("MANIFESTS", Align::Right),
        ("BLOBS", Align::Right),
        ("SIZE", Align::Right),
    ]);
    for repository in &report.repositories {
        let RepositoryFacts { name, tags, manifests, blobs, bytes } = repository;
        table.row([name.clone(), tags.to_string(), manifests.to_string(), blobs.to_string(), size(*bytes)]);
    }
    let repositories =
        count(report.repositories.len() as u64, "repository").replace("repositorys", "repositories");
    let table = table.render();
    let gap = if table.is_empty() { "" } else { "\n" };
    format!("{table}{gap}{} has {repositories} of the sets; written to {}\n", report.registry, report.file)
}
