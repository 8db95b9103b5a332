// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask test`: all checks, part by part, with a table of what each cost.

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::bench;
use crate::chart;
use crate::cluster::build;
use crate::demo;
use crate::e2e;
use crate::release;
use xtask::cache::Cache;
use xtask::run::{self, Result, checkout};
use xtask::tools::{self, Need};

/// How long the database of advisories may take to answer.
const ADVISORIES_LIMIT: Duration = Duration::from_secs(60);
/// How many schedules of faults the simulations of the importer try with --full.
const FULL_SCHEDULES: &str = "10000";
/// How many sets each of the six namespaces of the soak has with --full: a fifth of what the test has without this, in a fifth
/// of its time.
const SOAK_SETS: &str = "10";
/// Every test there is, also those that another part runs.
const ALL_TESTS: &[&str] =
    &["--features", "krs-cli/real-parts,krs-compact/real-parts,krs-importer/real-parts,krs-importer/e2e"];

/// The tests with programs that are installed for them, but without a cluster.
pub(crate) const REAL: &str = "krs-cli/real-parts,krs-compact/real-parts,krs-importer/real-parts";

/// Arguments of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Skip the tests with real registries and third-party programs, and do not install these
    #[arg(long)]
    no_real: bool,
    /// Also run the slow tests, with registries that take minutes to build
    #[arg(long, conflicts_with = "no_real")]
    full: bool,
    /// Skip what needs Kubernetes and Helm, and do not build these
    #[arg(long)]
    no_cluster: bool,
    /// Run only this part; may be given more than once
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
    /// With --only cluster: run only the tests whose names contain one of these
    #[arg(last = true, value_name = "TEST")]
    tests: Vec<String>,
}

/// A part, in the order of running: what fails fast comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Formatting
    Fmt,
    /// Lints
    Lint,
    /// Unit and integration tests, with real registries and third-party programs unless --no-real
    Tests,
    /// Slow tests, only with --full or --only full: registries that take minutes to build, measurements, long simulations
    Full,
    /// A release, only with --full or --only release: everything built twice and compared, and krs compiled for platforms of
    /// which there is no release
    Release,
    /// The demonstration of the README
    Demo,
    /// The documentation of the code builds without warnings
    Docs,
    /// Licenses, bans and sources of dependencies; advisories if their database can be reached
    Deny,
    /// Helm's checks of the chart, what it renders, and how GitOps engines assess the health of a set; with --full also
    /// helm-unittest, kubectl-validate, kube-score and checkov
    Chart,
    /// The importer in a real Kubernetes cluster: a new one, or that of KUBECONFIG_E2E
    Cluster,
}

#[derive(Debug)]
enum Outcome {
    Passed,
    Failed(String),
}

#[derive(Debug)]
struct Row {
    part: String,
    took: Duration,
    outcome: Outcome,
    notes: Vec<String>,
}

/// Runs the parts until one fails, and prints the table either way.
pub(crate) fn run(cache: &Cache, args: &Args) -> Result<()> {
    if !args.tests.is_empty() && args.only != [Part::Cluster] {
        return Err(
            "single tests are chosen with `--only cluster -- TEST`; for others use `cargo test`".into()
        );
    }
    let start = Instant::now();
    let with_cluster = |part: &Part| matches!(part, Part::Chart | Part::Cluster);
    let chosen = |part: &Part| {
        let named = args.only.contains(part);
        match part {
            Part::Full | Part::Release => named || args.full && args.only.is_empty(),
            _ => (args.only.is_empty() || named) && !(args.no_cluster && with_cluster(part)),
        }
    };
    // Beside everything that comes before: it is the longest single piece of work.
    let mut building = match Part::value_variants().iter().filter(|part| chosen(part)).any(with_cluster) {
        true => Some(build::in_background(cache)?),
        false => None,
    };
    let mut rows = Vec::new();
    for part in Part::value_variants().iter().copied().filter(chosen) {
        if with_cluster(&part)
            && let Some(building) = building.take()
        {
            rows.push(timed("wait for helm, ...", |_| building.finish()));
        }
        let needs = needs(part, args);
        let installing = (!needs.is_empty())
            .then(|| timed(&format!("tools for {}", name(part)), |_| tools::install(cache, needs)));
        rows.extend(installing);
        if rows.iter().all(Row::passed) {
            rows.push(timed(&name(part), |notes| do_part(cache, part, args, notes)));
        }
        if !rows.iter().all(Row::passed) {
            break;
        }
    }
    if let Some(building) = building {
        building.stop();
    }
    print_table(&rows, start.elapsed());
    match rows.iter().find(|row| !row.passed()) {
        Some(row) => Err(format!("{} failed", row.part).into()),
        None => Ok(()),
    }
}

fn do_part(cache: &Cache, part: Part, args: &Args, notes: &mut Vec<String>) -> Result<()> {
    let no_real = args.no_real;
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(checkout()).env("KRS_TOOLS", cache.tools());
    let real: &[&str] = if no_real { &[] } else { &["--features", REAL] };
    match part {
        Part::Fmt => run::run(cargo.args(["fmt", "--all", "--check"])),
        Part::Lint => {
            cargo.args(["clippy", "--workspace", "--all-targets"]).args(ALL_TESTS);
            run::run(cargo.args(["--locked", "--", "-D", "warnings"]))
        }
        Part::Tests => {
            if !no_real {
                cargo.env("KRS_CORPUS", bench::small_corpus(cache)?);
            }
            run::run(cargo.args(["test", "--workspace", "--locked"]).args(real))
        }
        Part::Full => {
            cargo.env("KRS_CORPUS", bench::small_corpus(cache)?);
            // Those that are marked as slow, of what "tests" has built.
            cargo.args(["test", "--workspace", "--locked"]).args(real);
            run::run(cargo.args(["--test", "real", "--test", "scale", "--", "--ignored", "--nocapture"]))?;
            let mut cargo = Command::new(env!("CARGO"));
            cargo.current_dir(checkout()).env("KRS_SCHEDULES", FULL_SCHEDULES);
            cargo.args(["test", "--workspace", "--locked"]).args(real);
            run::run(cargo.args(["--lib", "--", "tests::simulation", "tests::sites"]))?;
            soak()
        }
        Part::Release => release::test(cache, notes),
        Part::Demo => demo::run_built(),
        Part::Docs => {
            let flags = "--deny warnings";
            run::run(cargo.args(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", flags))
        }
        Part::Deny => deny(cache, notes),
        Part::Chart => chart::check(cache, args.full),
        Part::Cluster => {
            let names = args.tests.iter().map(String::as_str);
            e2e::run(cache, "test", &["--test-threads=1"].into_iter().chain(names).collect::<Vec<_>>())
        }
    }
}

/// The site that runs for weeks in virtual time, with our crates optimized: it is the importer's own work that takes its time.
fn soak() -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(checkout()).env("KRS_SOAK_SETS", SOAK_SETS);
    cargo.args(["test", "--locked", "--package", "krs-importer", "--test", "soak"]);
    for package in ["krs-core", "krs-importer", "krs-testing"] {
        for setting in ["opt-level=3", "debug-assertions=false", "overflow-checks=true"] {
            cargo.args(["--config", &format!("profile.dev.package.{package}.{setting}")]);
        }
    }
    run::run(cargo.args(["--", "--ignored", "--nocapture"]))
}

fn deny(cache: &Cache, notes: &mut Vec<String>) -> Result<()> {
    let cargo_deny = |checkout: &Path| {
        let mut command = Command::new(cache.bin().join("cargo-deny"));
        command.current_dir(checkout).args(["--locked"]);
        command
    };
    run::run(cargo_deny(checkout()).args(["check", "bans", "licenses", "sources"]))?;
    match run::quiet_within(cargo_deny(checkout()).args(["fetch", "db"]), ADVISORIES_LIMIT) {
        Ok(()) => run::run(cargo_deny(checkout()).args(["check", "--disable-fetch", "advisories"])),
        Err(error) => {
            notes.push(format!(
                "advisories were not checked because their database cannot be reached: {error}"
            ));
            Ok(())
        }
    }
}

fn needs(part: Part, args: &Args) -> &'static [Need] {
    let no_real = args.no_real;
    match part {
        Part::Tests if !no_real => &[Need::Real, Need::Corpus],
        Part::Full => &[Need::Real, Need::Corpus, Need::Full],
        Part::Release => &[Need::Real, Need::Release],
        Part::Deny => &[Need::Deny],
        Part::Cluster if !no_real => &[Need::Cluster, Need::Real],
        Part::Chart if args.full => &[Need::Cluster, Need::Chart],
        Part::Chart | Part::Cluster => &[Need::Cluster],
        _ => &[],
    }
}

fn name(part: Part) -> String {
    part.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn timed(part: &str, work: impl FnOnce(&mut Vec<String>) -> Result<()>) -> Row {
    println!("\n==== {part}");
    let start = Instant::now();
    let mut notes = Vec::new();
    let outcome = match work(&mut notes) {
        Ok(()) => Outcome::Passed,
        Err(error) => Outcome::Failed(error.to_string()),
    };
    Row { part: part.to_owned(), took: start.elapsed(), outcome, notes }
}

impl Row {
    const fn passed(&self) -> bool {
        matches!(self.outcome, Outcome::Passed)
    }
}

fn print_table(rows: &[Row], total: Duration) {
    println!("\n{:<18} {:>8}  result", "part", "seconds");
    for row in rows {
        let result = match &row.outcome {
            Outcome::Passed => "ok",
            Outcome::Failed(why) => why,
        };
        println!("{:<18} {:>8.1}  {result}", row.part, row.took.as_secs_f64());
        for note in &row.notes {
            println!("{:<18} {:>8}  note: {note}", "", "");
        }
    }
    println!("{:<18} {:>8.1}", "all", total.as_secs_f64());
}
