// SPDX-License-Identifier: Apache-2.0
//! What is not a race: a run that is killed, and an update for a site that has the version before it.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::link::Link;
use super::measure;
use super::report::{GoalResult, Table, float, megabytes};
use super::runner::Bench;
use super::scenario::STEADY;
use super::stats::Goal;
use xtask::run::{self, Result};

const LIMIT: Duration = Duration::from_secs(900);

/// Kills a bundle at half time and runs it again.
pub(crate) fn kill(bench: &Bench) -> Result<(Table, GoalResult)> {
    let link = Link::open(bench.source.address(), STEADY)?;
    let registry = link.address().to_string();
    let folder = tempfile::Builder::new().prefix("run-").tempdir_in(bench.work.path())?;
    let archive = folder.path().join("all.krs.tar");
    let mut rows = Vec::new();
    let mut row = |what: &str, seconds: f64, bytes: u64| {
        rows.push(vec![what.to_owned(), format!("{seconds:.2}"), megabytes(bytes)]);
    };
    // The same checkout each time: it is the next run of the same command.
    let checkout = bench.new_path("checkout");
    bench.inventory.checkout(&registry, &checkout)?;
    let command = || {
        let mut krs = bench.krs(&["bundle", "--plain-http", &registry]);
        krs.arg(&checkout).arg("-o").arg(&archive);
        vec![krs]
    };

    let undisturbed = measure::measure(command(), folder.path(), LIMIT)?;
    let all = link.carried().down;
    row("not disturbed", undisturbed.wall.as_secs_f64(), all);
    std::fs::remove_file(&archive)?;

    let half = undisturbed.wall / 2;
    if !measure::kill_after(command(), folder.path(), half)? {
        return Err("krs was ready before it could be killed: use a larger corpus".into());
    }
    let killed = link.carried().down - all;
    row("killed at half time", half.as_secs_f64(), killed);

    let before = link.carried();
    let rerun = measure::measure(command(), folder.path(), LIMIT)?;
    let carried = link.carried().since(before).down;
    row("its next run", rerun.wall.as_secs_f64(), carried);
    run::output(bench.krs(&["verify"]).arg(&archive))?;

    let title = "A bundle that was killed (kill -9), and its next run".to_owned();
    let note = format!("Over a link of {} a second.", megabytes(STEADY.rate.unwrap_or_default()));
    let result = GoalResult::new(&title, Goal::Bytes(0.55), Some(float(carried) / float(all)), None);
    let head = vec!["run", "seconds", "from the registry"];
    Ok((Table { title, note, head, rows }, result))
}

/// An update for a site that has the version before it, by its receipt.
pub(crate) fn delta(bench: &Bench) -> Result<(Table, GoalResult)> {
    let title = "An update against the receipt of a site".to_owned();
    let goal = Goal::Bytes(0.0);
    let head = vec!["archive", "size", "layers in it that the site has"];
    if run::output(&mut bench.krs(&["receipt", "--help"])).is_err() {
        let result = GoalResult::new(&title, goal, None, Some("not available: this krs has no receipts"));
        return Ok((Table { title, note: String::new(), head, rows: Vec::new() }, result));
    }
    let source = bench.source.address().to_string();
    let before = bench.inventory.only(|image| !image.is_update)?;
    let (site, base) = (bench.empty_registry()?, bench.new_path("before").with_extension("krs.tar"));
    let registry = site.address().to_string();
    run::output(&mut bench.bundle(&before, &source, &base)?)?;
    let mut push = bench.krs(&["push", "--plain-http", &registry]);
    run::output(push.arg(&base).arg(&registry))?;

    let (sets, receipt) = (bench.new_path("checkout"), bench.new_path("site").with_extension("receipt.json"));
    before.checkout(&source, &sets)?;
    let mut ask = bench.krs(&["receipt", &registry, "--plain-http", &registry]);
    run::output(ask.arg("--set").arg(&sets).arg("-o").arg(&receipt))?;
    let (full, update) = (
        bench.new_path("full").with_extension("krs.tar"),
        bench.new_path("update").with_extension("krs.tar"),
    );
    run::output(&mut bench.bundle(&bench.inventory, &source, &full)?)?;
    let mut bundle = bench.bundle(&bench.inventory, &source, &update)?;
    run::output(bundle.arg("--against").arg(&receipt))?;
    // The site takes it.
    let mut push = bench.krs(&["push", "--plain-http", &registry]);
    run::output(push.arg(&update).arg(&registry))?;

    let known = before.layers();
    let of_known = |archive: &Path| -> Result<u64> {
        let mut tar = tar::Archive::new(File::open(archive)?);
        let mut bytes = 0;
        for entry in tar.entries_with_seek()? {
            let entry = entry?;
            let path = entry.path()?.display().to_string();
            let digest = path.strip_prefix("blobs/sha256/").map(|hex| format!("sha256:{hex}"));
            bytes += digest.filter(|digest| known.contains(digest.as_str())).map_or(0, |_| entry.size());
        }
        Ok(bytes)
    };
    let mut rows = Vec::new();
    for (name, archive) in [("full", &full), ("against the receipt", &update)] {
        let size = std::fs::metadata(archive)?.len();
        rows.push(vec![name.to_owned(), megabytes(size), megabytes(of_known(archive)?)]);
    }
    let value = float(of_known(&update)?) / float(std::fs::metadata(&full)?.len());
    let result = GoalResult::new(&title, goal, Some(value), None);
    run::run(&mut Command::new("sync"))?;
    let note = "The site has all images but the updates, each of which changes one layer.".to_owned();
    Ok((Table { title, note, head, rows }, result))
}
