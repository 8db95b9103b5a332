// SPDX-License-Identifier: Apache-2.0
//! What all sites have.

use std::num::NonZero;
use std::thread;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use krs_core::error::ErrorKind;
use krs_core::redact::printable;
use krs_core::sync::catalog::{self, LineSummary};
use krs_core::sync::fleet::{Fleet, SiteWord};
use krs_core::sync::receipt::SiteKeys;
use parking_lot::Mutex;

use super::receipts::{self, ReadReceipt};
use crate::args::{FleetArgs, FleetCommand, FleetStatusArgs};
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::{FleetReport, UnusedReceipt, count};

/// Most receipts that are read at the same time: each takes some megabytes.
const MAX_READERS: usize = 4;

/// `krs fleet`
pub(super) fn fleet(args: &FleetArgs, console: &Console) -> Result<(), Failure> {
    match &args.command {
        FleetCommand::Status(args) => status(args, console),
    }
}

fn status(args: &FleetStatusArgs, console: &Console) -> Result<(), Failure> {
    if args.csv && console.json() {
        return Err(
            Failure::usage("--csv and --format json are two forms of one result").help("name one of them")
        );
    }
    let keys = receipts::site_keys(&args.site_keys)?;
    let Sources { receipts, catalog } = sources(args, console)?;
    let mut fleet = Fleet::new(args.stream.clone());
    let mut unused = Vec::new();
    for (source, read) in receipts.iter().zip(read_all(&receipts, &keys)) {
        match read {
            Ok(words) => words.into_iter().for_each(|word| fleet.insert(word)),
            Err(failure) => unused.push((source.clone(), failure)),
        }
    }
    let mut damaged = Vec::new();
    if let Some(path) = &catalog {
        read_catalog(&mut fleet, path, &mut damaged)?;
    }
    if fleet.is_empty() && unused.is_empty() && damaged.is_empty() {
        return Err(Failure::usage("there are neither receipts nor bundles")
            .help("name a folder with receipts, or the file that krs bundle --catalog FILE writes"));
    }
    damaged.iter().for_each(|line| console.warning(line));
    let failure = failure(&unused);
    let report = FleetReport {
        status: fleet.status(Timestamp::now(), args.max_overhead),
        unused: unused.into_iter().map(|(source, failure)| unused_receipt(source, &failure)).collect(),
        damaged,
        catalog,
        site_keys: args.site_keys.files.iter().map(ToString::to_string).collect(),
    };
    report.details().iter().for_each(|detail| console.detail(detail));
    if args.csv {
        console.print(&report.csv())?;
    } else {
        console.result(&report.json(), || report.text())?;
    }
    failure.map_or(Ok(()), Err)
}

/// What the call names.
#[derive(Default)]
struct Sources {
    /// Files, and short receipts as text.
    receipts: Vec<Utf8PathBuf>,
    catalog: Option<Utf8PathBuf>,
}

fn sources(args: &FleetStatusArgs, console: &Console) -> Result<Sources, Failure> {
    let mut sources = Sources { catalog: args.catalog.clone(), ..Sources::default() };
    for path in &args.paths {
        if receipts::is_text(path) || path == "-" {
            sources.receipts.push(path.clone());
        } else if path.is_dir() {
            let files = receipts::in_folder(path)?;
            if files.is_empty() {
                console.warning(&format!("{path} has no receipts"));
            }
            sources.receipts.extend(files);
        } else if receipts::is_receipt_name(path) || !catalog::has_record(path)? {
            if !path.exists() {
                return Err(Failure::usage(format!("{path} is not found")));
            }
            sources.receipts.push(path.clone());
        } else {
            match sources.catalog.replace(path.clone()) {
                Some(other) if other != *path => {
                    return Err(Failure::usage(format!("two catalogs: {other} and {path}"))
                        .help("bundles that share one stream are recorded in one catalog; show each with a call of its own"));
                }
                _ => {}
            }
        }
    }
    Ok(sources)
}

/// Reads receipts, several at a time, and reduces each as soon as it is read. The order of the result is that of `files`.
fn read_all(files: &[Utf8PathBuf], keys: &SiteKeys) -> Vec<Result<Vec<SiteWord>, Failure>> {
    let readers = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_READERS).min(files.len());
    let (next, results) = (Mutex::new(0..files.len()), Mutex::new(Vec::with_capacity(files.len())));
    thread::scope(|scope| {
        for _ in 0..readers {
            scope.spawn(|| {
                loop {
                    let Some(n) = next.lock().next() else { break };
                    let Some(file) = files.get(n) else { break };
                    let read = read(file, keys);
                    results.lock().push((n, read));
                }
            });
        }
    });
    let mut results = results.into_inner();
    results.sort_by_key(|(n, _)| *n);
    results.into_iter().map(|(_, read)| read).collect()
}

fn read(file: &Utf8Path, keys: &SiteKeys) -> Result<Vec<SiteWord>, Failure> {
    let word = |receipt: ReadReceipt| match receipt {
        ReadReceipt::Site(receipt, origin) => Ok(SiteWord::of_site(&receipt, &origin, file.to_string())),
        ReadReceipt::Short(receipt, origin) => Ok(SiteWord::of_short(&receipt, &origin, file.to_string())),
        ReadReceipt::Registry(_) => Err(Failure::new(
            ErrorKind::Incomplete,
            "it is the receipt of a registry, which confirms no bundle",
        )),
    };
    receipts::read_unnamed(file, keys)?.into_iter().map(word).collect()
}

fn read_catalog(fleet: &mut Fleet, path: &Utf8Path, damaged: &mut Vec<String>) -> Result<(), Failure> {
    catalog::summarize(path, |position, line| match line {
        Ok(LineSummary::Bundle(bundle, images)) => fleet.insert_bundle(bundle, &images),
        Ok(LineSummary::Confirmation(confirmation)) => fleet.insert_confirmation(confirmation),
        Err(error) => damaged.push(format!("{path}:{}: the line is not used: {error}", position.number)),
    })?;
    for position in fleet.needed() {
        match catalog::read_layers(path, position) {
            Ok(layers) => fleet.insert_layers(position, &layers),
            Err(error) => {
                let line = position.number;
                damaged.push(format!("{path}:{line}: the layers of the line are not used: {error}"));
            }
        }
    }
    Ok(())
}

fn unused_receipt(source: Utf8PathBuf, failure: &Failure) -> UnusedReceipt {
    UnusedReceipt { source: source.into_string(), kind: failure.kind(), reason: failure.message().to_owned() }
}

/// The failure that the call ends with, after the result was shown.
fn failure(unused: &[(Utf8PathBuf, Failure)]) -> Option<Failure> {
    let (first, _) = unused.first()?;
    let is_trust = unused.iter().any(|(_, failure)| failure.is(ErrorKind::Trust));
    let kind = if is_trust { ErrorKind::Trust } else { ErrorKind::Incomplete };
    let number = count(unused.len() as u64, "receipt");
    let (are, first) = (if unused.len() == 1 { "is" } else { "are" }, printable(first.as_str(), 200));
    Some(
        Failure::new(kind, format!("{number} {are} not used, the first is {first}: the sites that sent them may have other bundles than shown"))
            .help("the list above has the reason for each. Fetch these receipts from their sites again"),
    )
}
