// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask test`: all checks, part by part, with a table of what each cost.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::cache::Cache;
use crate::corpus;
use crate::demo;
use crate::run::{self, Result, checkout};
use crate::tools::{self, Need};

/// How long the database of advisories may take to answer.
const ADVISORIES_LIMIT: Duration = Duration::from_secs(60);

/// Arguments of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave out the tests against real registries and foreign programs, and installing these
    #[arg(long)]
    no_real: bool,
    /// Run only this part; may be given more than once
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
}

/// A part, in the order of running: what fails fast comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Formatting
    Fmt,
    /// Lints
    Lint,
    /// Unit and integration tests, with real registries and foreign programs unless --no-real
    Tests,
    /// The demonstration of the README runs to its end
    Demo,
    /// The documentation builds without warnings
    Docs,
    /// Licences, bans and sources of dependencies; advisories when their database can be reached
    Deny,
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
    let start = Instant::now();
    let chosen = |part: &Part| args.only.is_empty() || args.only.contains(part);
    let mut rows = Vec::new();
    for part in Part::value_variants().iter().copied().filter(chosen) {
        let needs = needs(part, args.no_real);
        let installing = (!needs.is_empty())
            .then(|| timed(&format!("tools for {}", name(part)), |_| tools::install(cache, needs)));
        rows.extend(installing);
        if rows.iter().all(Row::passed) {
            rows.push(timed(&name(part), |notes| do_part(cache, part, args.no_real, notes)));
        }
        if !rows.iter().all(Row::passed) {
            break;
        }
    }
    print_table(&rows, start.elapsed());
    match rows.iter().find(|row| !row.passed()) {
        Some(row) => Err(format!("{} failed", row.part).into()),
        None => Ok(()),
    }
}

fn do_part(cache: &Cache, part: Part, no_real: bool, notes: &mut Vec<String>) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(checkout()).env("KRS_TOOLS", cache.tools());
    let real: &[&str] = if no_real { &[] } else { &["--features", "krs-cli/real-parts"] };
    match part {
        Part::Fmt => run::run(cargo.args(["fmt", "--all", "--check"])),
        Part::Lint => {
            cargo.args(["clippy", "--workspace", "--all-targets", "--features", "krs-cli/real-parts"]);
            run::run(cargo.args(["--locked", "--", "-D", "warnings"]))
        }
        Part::Tests => {
            if !no_real {
                cargo.env("KRS_CORPUS", corpus::small(cache)?);
            }
            run::run(cargo.args(["test", "--workspace", "--locked"]).args(real))
        }
        Part::Demo => demo::run_built(),
        Part::Docs => {
            let flags = "--deny warnings";
            run::run(cargo.args(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", flags))
        }
        Part::Deny => deny(cache, notes),
    }
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
            notes.push(format!("advisories were not checked, their database cannot be reached: {error}"));
            Ok(())
        }
    }
}

fn needs(part: Part, no_real: bool) -> &'static [Need] {
    match part {
        Part::Tests if !no_real => &[Need::Real, Need::Corpus],
        Part::Deny => &[Need::Deny],
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
