// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask bench`: compares the cost of krs with the least possible work and with other programs, in one run.

mod compact;
mod double;
mod fleet;
mod floor;
mod http;
mod inventory;
mod link;
mod machine;
mod measure;
mod page;
mod peers;
mod registry;
mod report;
mod runner;
mod scale;
mod scenario;
mod special;
mod stats;
mod trips;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use clap::ValueEnum as _;

use self::inventory::Inventory;
use self::link::time_for;
use self::registry::Registry;
use self::report::{Against, GoalResult, Table};
use self::runner::{Bench, Lane};
use self::scenario::{Name, SCENARIOS};
use self::stats::Goal;
use crate::corpus;
use xtask::cache::Cache;
use xtask::run::{self, Result, checkout, step};
use xtask::tools::{self, Need};

/// Where the numbers go.
const PAGE: &str = "docs/benchmarks.md";
/// Rounds, unless said otherwise.
const ROUNDS: usize = 3;

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    /// Use the small corpus of 20 MB: shows whether the benchmark works, not how fast krs is
    #[arg(long)]
    small: bool,
    /// Run only this scenario; may be given more than once
    #[arg(long, value_name = "NAME")]
    only: Vec<Name>,
    /// Rounds of each scenario; always one over the slow link
    #[arg(long, value_name = "N", default_value_t = ROUNDS)]
    rounds: usize,
    /// Skip the other programs
    #[arg(long)]
    no_peers: bool,
    /// Write the page to this file [default: docs/benchmarks.md, after a full run only]
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Measure this krs instead of building one
    #[arg(long, value_name = "FILE")]
    krs: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    /// A floor, run by the benchmark itself as a process of its own
    #[command(hide = true)]
    Floor {
        #[command(subcommand)]
        floor: floor::Floor,
    },
}

/// Measures everything that is asked for, and prints tables.
pub(crate) fn run(cache: &Cache, args: &Args) -> Result<()> {
    if let Some(Part::Floor { floor }) = &args.part {
        return floor::run(floor);
    }
    // Two at once would measure each other.
    let _lock = cache.lock("bench.lock")?;
    tools::install(cache, &[Need::Real, Need::Corpus, Need::Push, Need::Diff])?;
    let krs = match &args.krs {
        Some(krs) => std::path::absolute(krs)?,
        None => build()?,
    };
    // Many images and sites are made, not taken from the corpus.
    let without_corpus =
        args.only.iter().all(|name| matches!(name, Name::Fleet | Name::Scale | Name::Trips | Name::Compact));
    let corpus = corpus::in_cache(cache, args.small || (without_corpus && !args.only.is_empty()))?;
    let bench = prepare(cache, args, krs, corpus)?;
    let (mut tables, mut results) = (Vec::new(), Vec::new());
    let load = machine::load();
    for name in Name::value_variants() {
        let is_chosen = args.only.is_empty() || args.only.contains(name);
        if !is_chosen {
            continue;
        }
        // A failed measurement counts as a missed goal, and does not discard the other results.
        let (more, judged) = one(&bench, cache, *name, args.small).unwrap_or_else(|error| {
            let what = format!("{name:?}");
            (
                Vec::new(),
                vec![GoalResult::new(&what, Goal::Completes, None, Some(&bench.shown(&error.to_string())))],
            )
        });
        for table in &more {
            print!("{}", report::text(table));
        }
        tables.extend(more);
        results.extend(judged);
    }
    let results = report::worst(results);
    print!("{}", report::text(&report::goals(&results)));
    let (mut facts, load_at_end) = (machine::describe(&bench)?, machine::load());
    facts.push(("load before and after".to_owned(), format!("{load}, {load_at_end}")));
    let is_complete = !args.small && !args.no_peers && args.only.is_empty();
    let path = args.page.clone().or_else(|| is_complete.then(|| checkout().join(PAGE)));
    if let Some(path) = path {
        fs::write(&path, page::write(&facts, &bench, &tables, &results))?;
        println!("\nwritten: {}", path.display());
    } else {
        println!("\n{PAGE} is written only by a full run of everything; --page FILE writes this one");
    }
    Ok(())
}

fn build() -> Result<PathBuf> {
    println!("building krs with the release profile; this takes some minutes the first time");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(checkout()).args(["build", "--release", "--locked", "--package", "krs-cli"]);
    run::executable(&mut cargo, "krs")
}

/// Puts the corpus into a registry.
fn prepare(cache: &Cache, args: &Args, krs: PathBuf, corpus: PathBuf) -> Result<Bench> {
    // On the file system of the cache: that of temporary files may be in memory.
    let folder = cache.root().join("bench");
    if folder.exists() {
        // A leftover of an interrupted run; no other run is active.
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let work = tempfile::tempdir_in(folder)?;
    let registry_program = cache.bin().join("registry");
    let source = Registry::start(&registry_program, work.path())?;
    corpus::push_to(cache, &source.address().to_string(), &corpus)?;
    let peers = if args.no_peers { Vec::new() } else { peers::found(cache) };
    let inventory = Inventory::read(&corpus)?;
    let (sources, names) = (RefCell::new(BTreeMap::new()), Cell::new(0));
    let rounds = args.rounds.max(1);
    Ok(Bench { work, corpus, inventory, krs, registry_program, source, peers, rounds, sources, names })
}

fn one(bench: &Bench, cache: &Cache, name: Name, small: bool) -> Result<(Vec<Table>, Vec<GoalResult>)> {
    let title = name.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    step(&format!("bench {title}"), || match name {
        Name::Kill => special::kill(bench).map(|(table, result)| (vec![table], vec![result])),
        Name::Delta => special::delta(bench).map(|(table, result)| (vec![table], vec![result])),
        Name::Compact => compact::run(bench, cache, small),
        Name::Fleet => fleet::run(bench, small).map(|(table, results)| (vec![table], results)),
        Name::Scale => scale::run(bench, small),
        Name::Trips => trips::run(bench, small),
        _ => {
            let (mut tables, mut results) = (Vec::new(), Vec::new());
            for scenario in SCENARIOS.iter().filter(|scenario| scenario.name == name) {
                let bytes = bench.choose(scenario.choice)?.bytes();
                let link = scenario.link.rate.map(|rate| time_for(bytes, rate));
                let lanes: Vec<Lane> = bench.run(scenario)?;
                let passes = if scenario.again.is_some() { &[false, true][..] } else { &[false] };
                for again in passes {
                    let (table, judged) = report::table(scenario, &lanes, *again, &Against { bytes, link });
                    tables.push(table);
                    results.extend(judged);
                }
            }
            Ok((tables, results))
        }
    })
}
