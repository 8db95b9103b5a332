// SPDX-License-Identifier: Apache-2.0
//! Many small images: time and memory, and whether ten times the images take more than ten times as long.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::double::{self, Double};
use super::inventory::commit;
use super::measure::{self, Cost};
use super::report::{GoalResult, Table, float};
use super::runner::Bench;
use super::stats::Goal;
use xtask::run::Result;

/// Few and many images; each has nine blobs of its own, and one that all share.
const SIZES: [u32; 2] = [1_000, 10_000];
const SMALL_SIZES: [u32; 2] = [100, 500];
/// How much longer one of many images may take than one of few.
const LINEAR: Goal = Goal::Times(1.5);
const NOT_LINEAR: &str = "\
    Quadratic work would give 10 ×. The run with few images takes a fraction of a second, is done once, and fits into the \
    caches of the processor; more rounds would show how much that contributes.";
const MEMORY: Goal = Goal::Memory(256 << 20);
const LIMIT: Duration = Duration::from_secs(1800);

/// A step with so many images.
struct Step {
    name: &'static str,
    cost: Cost,
    requests: Option<u64>,
}

/// All steps with few and with many images.
pub(crate) fn run(bench: &Bench, small: bool) -> Result<(Vec<Table>, Vec<GoalResult>)> {
    let program = double::build()?;
    let sizes = if small { SMALL_SIZES } else { SIZES };
    let (mut rows, mut results) = (Vec::new(), Vec::new());
    let mut earlier: Option<(u32, Vec<Step>)> = None;
    for images in sizes {
        let steps = steps(bench, &program, images)?;
        for (n, step) in steps.iter().enumerate() {
            let before = earlier.as_ref().and_then(|(few, steps)| Some((*few, steps.get(n)?)));
            let times = before.map(|(few, before)| {
                let each = |step: &Step, images: u32| step.cost.wall.as_secs_f64() / f64::from(images);
                each(step, images) / each(before, few)
            });
            let what = format!("{images} images: krs {}", step.name);
            if let Some(times) = times {
                let each =
                    GoalResult::new(&format!("{what}, time for each image"), LINEAR, Some(times), None);
                results.push(GoalResult { why: NOT_LINEAR, ..each });
                results.push(GoalResult::new(
                    &format!("{what}, memory"),
                    MEMORY,
                    Some(float(step.cost.rss)),
                    None,
                ));
            }
            rows.push(vec![
                images.to_string(),
                step.name.to_owned(),
                format!("{:.2}", step.cost.wall.as_secs_f64()),
                format!("{:.2}", step.cost.cpu.as_secs_f64()),
                format!("{:.0}", float(step.cost.rss) / 1_048_576.0),
                step.requests.map_or_else(String::new, |requests| requests.to_string()),
                times.map_or_else(String::new, |times| format!("{times:.2}")),
            ]);
        }
        earlier = Some((images, steps));
    }
    let head = vec!["images", "krs", "seconds", "CPU s", "RSS MiB", "requests", "× for each image"];
    let note = "Each image has nine blobs of its own of some hundred bytes, and one that all share; the registries are \
                those of the tests, in memory."
        .to_owned();
    Ok((vec![Table { title: "Many images".to_owned(), note, head, rows }], results))
}

fn steps(bench: &Bench, program: &Path, images: u32) -> Result<Vec<Step>> {
    let sets: PathBuf = bench.new_path("sets");
    fs::create_dir_all(&sets)?;
    let mut source = Double::start(program, "small", images, Some(&sets), None)?;
    let mut edge = Double::start(program, "small", 0, None, None)?;
    commit(&sets)?;
    let folder = tempfile::Builder::new().prefix("run-").tempdir_in(bench.work.path())?;
    let archive = folder.path().join("many.krs.tar");
    let (from, to) = (source.host.clone(), edge.host.clone());
    let mut steps = Vec::new();
    let mut step = |name, command, registry: Option<&mut Double>| -> Result<()> {
        let cost = measure::measure(vec![command], folder.path(), LIMIT)?;
        println!("    {images} images: {name}: {:.2} s", cost.wall.as_secs_f64());
        let requests =
            registry.map(|registry| registry.requests().map(|requests| requests.all)).transpose()?;
        steps.push(Step { name, cost, requests });
        Ok(())
    };
    let with = |arguments: &[&str], more: &[&Path]| {
        let mut krs = bench.krs(arguments);
        krs.args(more);
        krs
    };
    let out = Path::new("-o");
    step("plan", with(&["plan", "--plain-http", &from], &[&sets]), Some(&mut source))?;
    step("bundle", with(&["bundle", "--plain-http", &from], &[&sets, out, &archive]), Some(&mut source))?;
    step("verify", with(&["verify"], &[&archive]), None)?;
    let push = || with(&["push", "--plain-http", &to], &[&archive, Path::new(&to)]);
    step("push", push(), Some(&mut edge))?;
    step("push again", push(), Some(&mut edge))?;
    Ok(steps)
}
