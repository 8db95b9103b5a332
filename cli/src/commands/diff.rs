// SPDX-License-Identifier: Apache-2.0
use std::sync::Arc;

use camino::Utf8Path;
use jiff::Timestamp;
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::Destination;
use krs_core::progress::Progress;
use krs_core::registry::Client;
use krs_core::set::{self, LoadedSets};
use krs_core::sync::compare::{Difference, Differences, Stock, compare};
use krs_core::sync::resolve::{Referrers, ResolveOptions, resolve};
use krs_core::sync::scan::{ScanOptions, scan_registry};
use serde::Serialize;

use super::runtime::runtime;
use super::sets::Names;
use super::{files, receipt, registries, sets};
use crate::args::{self, DiffArgs};
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::exit;
use crate::report::{Align, Patched, SCHEMA_VERSION, Table, count, size};

/// One side, as far as it can be known without a registry.
enum Side {
    Known(Stock),
    Checkout(Box<LoadedSets>),
    Registry(Destination),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    schema_version: u32,
    added: Vec<Row>,
    removed: Vec<Row>,
    changed: Vec<Row>,
    unchanged: usize,
    /// Bytes that are new, each blob once.
    new_bytes: u64,
    /// Layers of the second side that travel as patches, if it is a bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    patched: Option<Patched>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Digest>,
    /// Layers and configs that are not there before; absent where they are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    new_blobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_bytes: Option<u64>,
}

impl From<Difference> for Row {
    fn from(difference: Difference) -> Self {
        let Difference { name, before, after, new } = difference;
        let (new_blobs, new_bytes) = new.unzip();
        Self { name, before, after, new_blobs, new_bytes }
    }
}

/// `krs diff`
pub(super) fn diff(args: &DiffArgs, console: &Console) -> Result<(), Failure> {
    let mut names = sets::repositories(&args.sets, console)?;
    let mut side = |text: &str| side(text, &mut names, console);
    let ((before, _), (after, patched)) = (side(&args.before)?, side(&args.after)?);
    let progress = console.progress();
    let client = registries::client(&args.registry, &progress)?;
    let reader = Reader { args, client: &client, console, progress: &progress, names: &names };
    let differences = runtime()?.block_on(async {
        let (before, after) = (reader.read(before).await?, reader.read(after).await?);
        let before = reader.resolve(before, &after).await?;
        let after = reader.resolve(after, &before).await?;
        Ok::<_, Failure>(compare(before.stock(), after.stock()))
    })?;
    let same = differences.is_empty();
    let Differences { added, removed, changed, unchanged, new_bytes } = differences;
    let rows = |list: Vec<Difference>| list.into_iter().map(Row::from).collect();
    let (added, removed, changed) = (rows(added), rows(removed), rows(changed));
    let report =
        Report { schema_version: SCHEMA_VERSION, added, removed, changed, unchanged, new_bytes, patched };
    console.result(&report, || text(&report))?;
    if same { Ok(()) } else { Err(Failure::silent(exit::DIFFERENT)) }
}

/// What an argument means, and its layers that travel as patches. Adds the repositories that a side names, for a side that is a registry.
fn side(text: &str, names: &mut Names, console: &Console) -> Result<(Side, Option<Patched>), Failure> {
    let path = Utf8Path::new(text);
    if files::is_bundle(path) {
        let (bundle, images) = files::with_images(path)?;
        sets::add_names(names, bundle.sets());
        let patched = Patched::of(bundle.manifest());
        return Ok((Side::Known(Stock::of_bundle(&bundle, &images)), patched));
    }
    if path.extension() == Some("json") {
        let receipt = files::read_receipt(path)?;
        for repository in &receipt.repositories {
            names.entry(repository.name.clone()).or_default();
        }
        return Ok((Side::Known(Stock::of_receipt(&receipt, None)), None));
    }
    if path.exists() {
        let loaded = sets::load(&[path.to_owned()])?;
        sets::remarks(&loaded, console);
        sets::add_names(names, loaded.sets.iter().map(|loaded| &loaded.set));
        return Ok((Side::Checkout(Box::new(loaded)), None));
    }
    args::destination(text).map(|destination| (Side::Registry(destination), None)).map_err(|e| {
        Failure::usage(format!(
            "`{}` is no file, and no registry: {e}",
            krs_core::redact::printable(text, 200)
        ))
    })
}

/// What a side has, with the checkout that it comes from.
enum Contents {
    Stock(Stock),
    Checkout(Stock, Box<LoadedSets>),
}

impl Contents {
    const fn stock(&self) -> &Stock {
        match self {
            Self::Stock(stock) | Self::Checkout(stock, _) => stock,
        }
    }
}

struct Reader<'a> {
    args: &'a DiffArgs,
    client: &'a Client,
    console: &'a Console,
    progress: &'a Arc<dyn Progress>,
    names: &'a Names,
}

impl Reader<'_> {
    async fn read(&self, side: Side) -> Result<Contents, Failure> {
        let destination = match side {
            Side::Known(stock) => return Ok(Contents::Stock(stock)),
            Side::Checkout(loaded) => return Ok(Contents::Checkout(Stock::of_sets(&loaded, None), loaded)),
            Side::Registry(destination) => destination,
        };
        let options = ScanOptions {
            repositories: sets::below(&destination, self.names)?,
            site: None,
            jobs: self.args.registry.jobs.get(),
            probe: None,
        };
        if options.repositories.is_empty() {
            return Err(Failure::usage(format!(
                "it is not known which repositories of {destination} to read"
            ))
            .help("name the EdgeImageSets with --set"));
        }
        let registry = &destination.registry;
        let scan = scan_registry(self.client, registry, &options, Timestamp::now(), self.progress.as_ref());
        let (receipt, incomplete) = scan.await?;
        receipt::warn(&incomplete, self.console);
        Ok(Contents::Stock(Stock::of_receipt(&receipt, destination.prefix.as_ref())))
    }

    /// Asks the source registries about a checkout, where the other side does not know its images.
    async fn resolve(&self, side: Contents, other: &Contents) -> Result<Contents, Failure> {
        let Contents::Checkout(stock, loaded) = side else { return Ok(side) };
        if self.args.offline || stock.is_known_with(other.stock()) {
            return Ok(Contents::Stock(stock));
        }
        let merged = set::merge(&loaded.sets)?;
        let options = ResolveOptions {
            jobs: self.args.registry.jobs.get(),
            referrers: Referrers::None,
            require_platforms: false,
            sources: Vec::new(),
        };
        let resolved = resolve(self.client, &merged, options, self.progress).await?;
        Ok(Contents::Stock(Stock::of_sets(&loaded, Some(&resolved))))
    }
}

fn text(report: &Report) -> String {
    let mut table = Table::new(&[
        ("", Align::Left),
        ("EDGE REGISTRY", Align::Left),
        ("NEW", Align::Right),
        ("BLOBS", Align::Right),
    ]);
    for (sign, rows) in [("+", &report.added), ("~", &report.changed), ("-", &report.removed)] {
        for row in rows {
            let unknown = || if sign == "-" { String::new() } else { "?".to_owned() };
            let bytes = row.new_bytes.map_or_else(unknown, size);
            let blobs = row.new_blobs.map_or_else(unknown, |blobs| blobs.to_string());
            table.row([sign.to_owned(), row.name.clone(), bytes, blobs]);
        }
    }
    let table = table.render();
    let gap = if table.is_empty() { "" } else { "\n" };
    let patched = report.patched.as_ref().map(|patched| format!("Patched: {}\n", patched.text()));
    format!(
        "{table}{gap}{} added, {} changed, {} removed, {} the same; {} are new\n{}",
        count(report.added.len() as u64, "image"),
        report.changed.len(),
        report.removed.len(),
        report.unchanged,
        size(report.new_bytes),
        patched.unwrap_or_default()
    )
}
