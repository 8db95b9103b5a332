// SPDX-License-Identifier: Apache-2.0
//! Many sites: the time and the memory of `krs fleet status` with the receipts of all of them and a long catalog.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::double;
use super::measure;
use super::report::{GoalResult, Table, float, megabytes};
use super::runner::Bench;
use super::stats::{Goal, summary};
use xtask::run::{self, Result};

struct Size {
    sites: u32,
    images: u32,
    bundles: u32,
}

const SIZE: Size = Size { sites: 300, images: 3_000, bundles: 100 };
const SMALL_SIZE: Size = Size { sites: 30, images: 300, bundles: 20 };
const TIME: Goal = Goal::Seconds(2.0);
const MEMORY: Goal = Goal::Memory(128 << 20);
const LIMIT: Duration = Duration::from_secs(300);

/// The status of all sites, in each round.
pub(crate) fn run(bench: &Bench, small: bool) -> Result<(Table, Vec<GoalResult>)> {
    let Size { sites, images, bundles } = if small { SMALL_SIZE } else { SIZE };
    let program = double::build_program("krs-fleet")?;
    let folder = tempfile::Builder::new().prefix("fleet-").tempdir_in(bench.work.path())?;
    let numbers = [sites, images, bundles].map(|number| number.to_string());
    run::run(Command::new(program).arg(folder.path()).args(numbers))?;
    let (catalog, receipts, key) = ("catalog.jsonl", "receipts", "sites.pub");
    let bytes_of = |path: &Path| std::fs::metadata(path).map(|facts| facts.len());
    let mut bytes = 0;
    for receipt in folder.path().join(receipts).read_dir()? {
        bytes += bytes_of(&receipt?.path())?;
    }
    let catalog_bytes = bytes_of(&folder.path().join(catalog))?;

    let mut costs = Vec::new();
    for _ in 0..bench.rounds {
        let mut krs = bench.krs(&["fleet", "status", receipts, "--catalog", catalog, "--site-key", key]);
        krs.current_dir(folder.path());
        costs.push(measure::measure(vec![krs], folder.path(), LIMIT)?);
    }
    let what = format!("krs fleet status of {sites} sites with {images} images each");
    let seconds = summary(costs.iter().map(|cost| cost.wall.as_secs_f64()));
    let cpu = summary(costs.iter().map(|cost| cost.cpu.as_secs_f64()));
    let (Some(seconds), Some(cpu)) = (seconds, cpu) else { return Err("no round was run".into()) };
    let memory = costs.iter().map(|cost| cost.rss).max().unwrap_or_default();
    let results = vec![
        GoalResult::new(&format!("{what}, time"), TIME, Some(seconds.median), None),
        GoalResult::new(&format!("{what}, memory"), MEMORY, Some(float(memory)), None),
    ];
    let row = vec![
        sites.to_string(),
        images.to_string(),
        bundles.to_string(),
        megabytes(bytes),
        megabytes(catalog_bytes),
        format!("{:.2} ({:.2}–{:.2})", seconds.median, seconds.least, seconds.most),
        format!("{:.2}", cpu.median),
        format!("{:.0}", float(memory) / 1_048_576.0),
    ];
    let head = vec![
        "sites",
        "images of each",
        "bundles sent",
        "receipts",
        "catalog",
        "seconds (min–max)",
        "CPU s",
        "RSS MiB",
    ];
    let note = "Each site has the images of one of the last 20 bundles, and some of an older one; all receipts are signed, \
                and their signatures are verified."
        .to_owned();
    Ok((Table { title: "The status of many sites".to_owned(), note, head, rows: vec![row] }, results))
}
