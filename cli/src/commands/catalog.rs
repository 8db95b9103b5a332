// SPDX-License-Identifier: Apache-2.0
//! The record of the bundles that went out.

use std::collections::HashSet;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use krs_core::bundle::{BaseSource, Bundle, StreamName};
use krs_core::oci::digest::Digest;
use krs_core::sync::catalog::{self, Record, SentBundle};
use serde::Serialize;

use super::catalog_name::for_each;
use super::files;
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
    append(path, &[bundle], console).map(drop).map_err(|failure| {
        failure.help(format!("{file} is complete; record it with krs catalog add {path} {file}"))
    })
}

/// Appends the bundles that the catalog does not have; answers how many.
fn append(path: &Utf8Path, bundles: &[&Bundle], console: &Console) -> Result<usize, Failure> {
    let mut known = HashSet::new();
    if path.exists() {
        let take = |sent: SentBundle| {
            known.insert((sent.digest, sent.file));
        };
        for_each(path, take, |damaged| console.warning(&damaged))?;
    }
    let mut records = Vec::new();
    for bundle in bundles {
        let sent = SentBundle::new(bundle, &bundle.images()?, Timestamp::now());
        if known.insert((sent.digest, sent.file.clone())) {
            records.push(Record::Bundle(sent));
        }
    }
    if !records.is_empty() {
        catalog::append(path, &records)?;
    }
    Ok(records.len())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Added {
    schema_version: u32,
    file: Utf8PathBuf,
    added: usize,
    known: usize,
}

fn add(args: &CatalogAddArgs, console: &Console) -> Result<(), Failure> {
    catalog::check_appendable(&args.file)?;
    let open = |path: &Utf8PathBuf| files::open_anyones(path, &[]);
    let bundles = args.bundles.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let added = append(&args.file, &bundles.iter().collect::<Vec<_>>(), console)?;
    let known = bundles.len() - added;
    let report = Added { schema_version: SCHEMA_VERSION, file: args.file.clone(), added, known };
    console.result(&report, || {
        format!("{}: {} added, {known} recorded before\n", args.file, count(added as u64, "bundle"))
    })
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
    let (mut bundles, mut damaged) = (Vec::new(), Vec::new());
    let is_wanted = |sent: &SentBundle| {
        args.stream.as_ref().is_none_or(|stream| sent.stream == *stream)
            && args.site.as_ref().is_none_or(|site| sent.audience.is_empty() || sent.audience.contains(site))
    };
    let take = |sent: SentBundle| {
        if is_wanted(&sent) {
            bundles.push(row(sent));
        }
    };
    for_each(&args.file, take, |line| damaged.push(line))?;
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
            row.file.clone(),
        ]);
    }
    let table = table.render();
    let gap = if table.is_empty() { "" } else { "\n" };
    let bytes = shown.bundles.iter().fold(0_u64, |sum, row| sum.saturating_add(row.bytes));
    format!("{table}{gap}{}, {}\n", count(shown.bundles.len() as u64, "bundle"), size(bytes))
}
