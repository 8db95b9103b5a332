// SPDX-License-Identifier: Apache-2.0
//! The record of the bundles that went out, and of what sites confirmed.

use std::collections::HashSet;
use std::fmt::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use krs_core::bundle::{BaseSource, Bundle, StreamName};
use krs_core::oci::digest::Digest;
use krs_core::sync::catalog::{self, Confirmation, Record, SentBundle};
use krs_core::sync::receipt::SiteName;
use serde::Serialize;

use super::catalog_name::for_each;
use super::files;
use super::receipts::{self, ReadReceipt};
use crate::args::{CatalogAddArgs, CatalogArgs, CatalogCommand, CatalogShowArgs};
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::{Align, SCHEMA_VERSION, Table, count, size};

/// `krs catalog`
pub(super) fn catalog(args: &CatalogArgs, console: &Console) -> Result<(), Failure> {
    match &args.command {
        CatalogCommand::Show(args) => show(args, console),
        CatalogCommand::Add(args) => add(args, console),
    }
}

/// Appends a bundle that was just written.
///
/// # Errors
/// The catalog cannot be written; the bundle is complete nevertheless, which the failure says.
pub(super) fn record(path: &Utf8Path, bundle: &Bundle, console: &Console) -> Result<(), Failure> {
    let file = bundle.path();
    let appended = record_of(bundle).and_then(|record| append(path, vec![record], console));
    appended.map(drop).map_err(|failure| {
        failure.help(format!("{file} is complete; record it with krs catalog add {path} {file}"))
    })
}

/// What a catalog has, to add nothing twice.
#[derive(Default)]
struct Known {
    bundles: HashSet<(Digest, String)>,
    /// Who, of which bundle, when, and whether that was verified.
    confirmations: HashSet<(SiteName, Digest, Timestamp, Option<String>)>,
}

impl Known {
    fn read(path: &Utf8Path, console: &Console) -> Result<Self, Failure> {
        let mut known = Self::default();
        if path.exists() {
            let take = |record| {
                known.insert(&record);
            };
            for_each(path, take, |damaged| console.warning(&damaged))?;
        }
        Ok(known)
    }

    /// Takes a record; whether it is new.
    fn insert(&mut self, record: &Record) -> bool {
        match record {
            Record::Bundle(sent) => self.bundles.insert((sent.digest, sent.file.clone())),
            Record::Confirmation(Confirmation { site, digest, created_at, signed_by, .. }) => {
                self.confirmations.insert((site.clone(), *digest, *created_at, signed_by.clone()))
            }
        }
    }
}

/// Appends the records that the catalog does not have; answers with them.
fn append(path: &Utf8Path, mut records: Vec<Record>, console: &Console) -> Result<Vec<Record>, Failure> {
    let mut known = Known::read(path, console)?;
    records.retain(|record| known.insert(record));
    if !records.is_empty() {
        catalog::append(path, &records)?;
    }
    Ok(records)
}

fn record_of(bundle: &Bundle) -> Result<Record, Failure> {
    Ok(Record::Bundle(SentBundle::new(bundle, &bundle.images()?, Timestamp::now())))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Added {
    schema_version: u32,
    file: Utf8PathBuf,
    added: usize,
    /// Of these, what sites confirmed.
    confirmed: Vec<Confirmed>,
    known: usize,
}

/// What a site confirmed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Confirmed {
    site: String,
    stream: String,
    sequence: u64,
    created_at: Timestamp,
    /// Whether the signature was verified with a key of the call.
    verified: bool,
}

impl Confirmed {
    fn new(confirmation: &Confirmation) -> Self {
        Self {
            site: confirmation.site.to_string(),
            stream: confirmation.stream.to_string(),
            sequence: confirmation.sequence,
            created_at: confirmation.created_at,
            verified: confirmation.signed_by.is_some(),
        }
    }
}

fn add(args: &CatalogAddArgs, console: &Console) -> Result<(), Failure> {
    catalog::check_appendable(&args.file)?;
    let keys = receipts::site_keys(&args.site_keys)?;
    let mut records = Vec::new();
    for source in &args.sources {
        if !receipts::is_text(source) && files::is_bundle(source) {
            records.push(record_of(&files::open_anyones(source, &[])?)?);
            continue;
        }
        for receipt in receipts::read(source, &keys)? {
            receipt.remarks(&keys, Timestamp::now()).iter().for_each(|remark| console.warning(remark));
            let confirmations = confirmations(&receipt, source)?;
            if let (ReadReceipt::Site(receipt, _), []) = (&receipt, &confirmations[..]) {
                console.warning(&format!(
                    "the receipt of site {0} confirms no bundle, and nothing of it is recorded: catalog:{0} stays what the site confirmed before. If the site was restored, use the receipt itself: --against {source}",
                    receipt.site
                ));
            }
            records.extend(confirmations.into_iter().map(Record::Confirmation));
        }
    }
    let total = records.len();
    let added = append(&args.file, records, console)?;
    let confirmed = added.iter().filter_map(|record| match record {
        Record::Confirmation(confirmation) => Some(Confirmed::new(confirmation)),
        Record::Bundle(_) => None,
    });
    let report = Added {
        schema_version: SCHEMA_VERSION,
        file: args.file.clone(),
        added: added.len(),
        confirmed: confirmed.collect(),
        known: total - added.len(),
    };
    console.result(&report, || added_text(&report))
}

fn confirmations(receipt: &ReadReceipt, source: &Utf8Path) -> Result<Vec<Confirmation>, Failure> {
    match receipt {
        ReadReceipt::Site(receipt, origin) => Ok(Confirmation::of_site(receipt, origin, Timestamp::now())),
        ReadReceipt::Short(receipt, origin) => {
            Ok(vec![Confirmation::of_short(receipt, origin, Timestamp::now())])
        }
        ReadReceipt::Registry(_) => {
            Err(Failure::usage(format!("{source} is the receipt of a registry, which confirms no bundle"))
                .help("use it as it is: krs bundle --against FILE"))
        }
    }
}

fn added_text(report: &Added) -> String {
    let mut text = String::new();
    for one in &report.confirmed {
        let Confirmed { site, stream, sequence, created_at, verified } = one;
        let not = if *verified { "" } else { "; not verified" };
        let _ = writeln!(text, "site {site} has sequence {sequence} of stream {stream} ({created_at}{not})");
    }
    let Added { file, added, known, .. } = report;
    let _ = writeln!(text, "{file}: {} added, {known} recorded before", count(*added as u64, "line"));
    text
}

/// What is shown of a bundle.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    file: String,
    digest: Digest,
    stream: StreamName,
    sequence: u64,
    sent_at: Timestamp,
    created_at: Timestamp,
    audience: Vec<String>,
    images: usize,
    layers: usize,
    /// Bytes of the archive.
    bytes: u64,
    /// Bytes of all layers that a site has after it.
    layer_bytes: u64,
    base: Vec<BaseSource>,
    signed_by: Vec<String>,
    /// Sites that confirmed it.
    confirmed_by: Vec<Confirmed>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    schema_version: u32,
    bundles: Vec<Row>,
    /// Lines that cannot be read.
    damaged: Vec<String>,
}

fn show(args: &CatalogShowArgs, console: &Console) -> Result<(), Failure> {
    let (mut bundles, mut damaged) = (Vec::<Row>::new(), Vec::new());
    let (mut confirmations, mut known) = (Vec::new(), Known::default());
    let is_wanted = |sent: &SentBundle| {
        args.stream.as_ref().is_none_or(|stream| sent.stream == *stream)
            && args.site.as_ref().is_none_or(|site| sent.audience.is_empty() || sent.audience.contains(site))
    };
    // In catalogs that were joined, a line may stand twice.
    let take = |record| match record {
        record if !known.insert(&record) => {}
        Record::Bundle(sent) if is_wanted(&sent) => bundles.push(row(sent)),
        Record::Bundle(_) => {}
        Record::Confirmation(confirmation) => confirmations.push(confirmation),
    };
    for_each(&args.file, take, |line| damaged.push(line))?;
    for confirmation in &confirmations {
        for row in bundles.iter_mut().filter(|row| row.digest == confirmation.digest) {
            row.confirmed_by.retain(|other| other.site != confirmation.site.as_str());
            row.confirmed_by.push(Confirmed::new(confirmation));
        }
    }
    damaged.iter().for_each(|line| console.warning(line));
    let shown = Shown { schema_version: SCHEMA_VERSION, bundles, damaged };
    console.result(&shown, || text(&shown))
}

fn row(sent: SentBundle) -> Row {
    Row {
        images: sent.images.len(),
        layers: sent.layers.len(),
        layer_bytes: sent.layers.iter().map(|(_, size)| size).fold(0, |sum, size| sum.saturating_add(*size)),
        file: sent.file,
        digest: sent.digest,
        stream: sent.stream,
        sequence: sent.sequence,
        sent_at: sent.sent_at,
        created_at: sent.created_at,
        audience: sent.audience,
        bytes: sent.bytes,
        base: sent.base,
        signed_by: sent.signed_by,
        confirmed_by: Vec::new(),
    }
}

/// The first sites that confirmed a bundle.
fn confirmed(row: &Row) -> String {
    let sites = row.confirmed_by.iter().map(|one| one.site.as_str()).collect::<Vec<_>>();
    match sites.as_slice() {
        [] => "-".to_owned(),
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        all => all.join(", "),
    }
}

fn text(shown: &Shown) -> String {
    let mut table = Table::new(&[
        ("SENT", Align::Left),
        ("STREAM", Align::Left),
        ("SEQUENCE", Align::Right),
        ("SITES", Align::Left),
        ("IMAGES", Align::Right),
        ("SIZE", Align::Right),
        ("BASE", Align::Left),
        ("CONFIRMED BY", Align::Left),
        ("FILE", Align::Left),
    ]);
    for row in &shown.bundles {
        let sites = if row.audience.is_empty() { "any".to_owned() } else { row.audience.join(", ") };
        let base = match row.base.as_slice() {
            [] => "none (full)".to_owned(),
            [one] => one.name.clone(),
            [first, rest @ ..] => format!("{} and {} more", first.name, rest.len()),
        };
        table.row([
            row.sent_at.to_string(),
            row.stream.to_string(),
            row.sequence.to_string(),
            sites,
            row.images.to_string(),
            size(row.bytes),
            base,
            confirmed(row),
            row.file.clone(),
        ]);
    }
    let table = table.render();
    let gap = if table.is_empty() { "" } else { "\n" };
    let bytes = shown.bundles.iter().fold(0_u64, |sum, row| sum.saturating_add(row.bytes));
    format!("{table}{gap}{}, {}\n", count(shown.bundles.len() as u64, "bundle"), size(bytes))
}
