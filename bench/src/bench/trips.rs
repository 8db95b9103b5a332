// SPDX-License-Identifier: Apache-2.0
//! Round trips: work whose cost is the number of requests, not the number of bytes.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::double::{self, Double, Requests};
use super::http::{Body, Connection};
use super::inventory::commit;
use super::link::{Link, Shape};
use super::measure;
use super::report::{GoalResult, Table, float};
use super::runner::Bench;
use super::stats::Goal;
use xtask::run::{self, Result};

/// 50 ms there and back, and as many bytes as one likes.
const FAR: Shape = Shape { delay: Duration::from_millis(25), rate: None, cut_after: None };
/// Connections of the floor, as many as krs opens to a registry.
const CONNECTIONS: usize = 32;
/// Requests that the least push of a small image takes: POST and PUT of eight blobs, a mount, and the manifest.
const REQUESTS_PER_IMAGE: u32 = 18;
/// Requests in a second that the limited registry allows.
const ALLOWED: u32 = 10;
const LIMIT: Duration = Duration::from_secs(900);

/// An index of eight platforms, with as many attestations.
const MANIFESTS: f64 = 17.0;

/// Beside those for blobs, of which each has to be fetched.
const INDEX: Goal = Goal::Requests(45);
const INDEX_MANIFESTS: Goal = Goal::Requests(20);
const SMALL: Goal = Goal::Seconds(18.0);
const LAYERS: Goal = Goal::Seconds(1.5);
const LIMITED: Goal = Goal::Times(1.2);

/// How many of each there are.
struct Numbers {
    images: u32,
    layers: u32,
    indexes: u32,
}

/// All rows.
pub(crate) fn run(bench: &Bench, small: bool) -> Result<(Vec<Table>, Vec<GoalResult>)> {
    let numbers = if small {
        Numbers { images: 30, layers: 50, indexes: 10 }
    } else {
        Numbers { images: 300, layers: 200, indexes: 100 }
    };
    let trips = Trips { bench, program: double::build()? };
    let mut rows = Rows::default();
    let what = "an index of 8 platforms with attestations bundled: requests";
    match trips.index() {
        Ok(Index { blobs, rest, manifests }) => {
            rows.show(format!("{what} for blobs"), blobs);
            rows.add(format!("{what} for all else"), INDEX, Ok(rest));
            rows.add(format!("{what} for manifests"), INDEX_MANIFESTS, Ok(manifests));
        }
        Err(error) => rows.add(format!("{what} for all else"), INDEX, Err(error)),
    }
    rows.add(
        format!("{} small images pushed, 50 ms away", numbers.images),
        SMALL,
        trips.push(numbers.images),
    );
    rows.add(
        format!("{} base layers found and mounted, 50 ms away", numbers.layers),
        LAYERS,
        trips.base(numbers.layers),
    );
    let what =
        format!("{} images of 2 platforms bundled, {ALLOWED} requests a second allowed", numbers.indexes);
    rows.add(what, LIMITED, trips.limited(numbers.indexes));
    let note = format!(
        "The registries are those of the tests, in memory. Floors: each blob and manifest asked for once; as many requests \
         as the least push takes ({REQUESTS_PER_IMAGE} for an image), and one for each layer, over {CONNECTIONS} \
         connections through the same link; all requests that were not refused, at the rate that is allowed."
    );
    let head = vec!["what", "krs", "floor", "× floor", "goal"];
    Ok((vec![Table { title: "Round trips".to_owned(), note, head, rows: rows.cells }], rows.results))
}

/// What was measured, beside its floor, both in one unit.
#[derive(Debug, Clone, Copy)]
struct Measurement {
    krs: f64,
    floor: f64,
}

/// Requests for an index.
struct Index {
    blobs: Measurement,
    rest: Measurement,
    /// Part of the rest.
    manifests: Measurement,
}

#[derive(Default)]
struct Rows {
    cells: Vec<Vec<String>>,
    results: Vec<GoalResult>,
}

impl Rows {
    fn add(&mut self, what: String, goal: Goal, result: Result<Measurement>) {
        match result {
            Ok(measured) => {
                let Measurement { krs, floor } = measured;
                let value = if matches!(goal, Goal::Times(_)) { krs / floor } else { krs };
                self.results.push(GoalResult::new(&what, goal, Some(value), None));
                let unit = if matches!(goal, Goal::Requests(_)) { Unit::Requests } else { Unit::Seconds };
                self.cells.push(cells(what, measured, unit, goal.text()));
            }
            // The other rows are measured all the same.
            Err(error) => {
                let result = GoalResult::new(&what, goal, None, Some(&error.to_string()));
                let failed = format!("failed: {}", result.got);
                self.cells.push(vec![what, failed, String::new(), String::new(), goal.text()]);
                self.results.push(result);
            }
        }
    }

    /// Requests without a goal.
    fn show(&mut self, what: String, requests: Measurement) {
        self.cells.push(cells(what, requests, Unit::Requests, String::new()));
    }
}

#[derive(Clone, Copy)]
enum Unit {
    Requests,
    Seconds,
}

fn cells(what: String, Measurement { krs, floor }: Measurement, unit: Unit, goal: String) -> Vec<String> {
    let show = |value: f64| match unit {
        Unit::Requests => format!("{value:.0}"),
        Unit::Seconds => format!("{value:.2} s"),
    };
    vec![what, show(krs), show(floor), format!("{:.2}", krs / floor), goal]
}

struct Trips<'a> {
    bench: &'a Bench,
    program: PathBuf,
}

impl Trips<'_> {
    /// A registry with its sets, in a checkout.
    fn source(&self, content: &str, number: u32, per_second: Option<u32>) -> Result<(Double, PathBuf)> {
        let sets = self.bench.new_path("sets");
        fs::create_dir_all(&sets)?;
        let registry = Double::start(&self.program, content, number, Some(&sets), per_second)?;
        commit(&sets)?;
        Ok((registry, sets))
    }

    fn archive(&self) -> PathBuf {
        self.bench.new_path("trips").with_extension("krs.tar")
    }

    /// Bundles the images of a set. Returns how long that took.
    fn bundle(&self, registry: &str, sets: &Path, archive: &Path, more: &[&str]) -> Result<Duration> {
        let mut krs = self.bench.krs(&["bundle", "--plain-http", registry]);
        krs.arg(sets).arg("-o").arg(archive).args(more);
        Ok(measure::measure(vec![krs], self.bench.work.path(), LIMIT)?.wall)
    }

    fn push_to(&self, registry: &str, archive: &Path) -> Result<Duration> {
        let mut krs = self.bench.krs(&["push", "--plain-http", registry]);
        krs.arg(archive).arg(registry);
        Ok(measure::measure(vec![krs], self.bench.work.path(), LIMIT)?.wall)
    }

    fn index(&self) -> Result<Index> {
        let (mut source, sets) = self.source("index", 1, None)?;
        let archive = self.archive();
        self.bundle(&source.host, &sets, &archive, &[])?;
        let Requests { all, manifests, blobs, .. } = source.requests()?;
        let facts = run::output(self.bench.krs(&["inspect", "--format", "json"]).arg(&archive))?;
        let facts = serde_json::from_str::<serde_json::Value>(&facts)?;
        let content = facts["blobCount"].as_f64().ok_or("a bundle without a number of blobs")?;
        let of = |requests, floor| Measurement { krs: float(requests), floor };
        Ok(Index {
            blobs: of(blobs, content - MANIFESTS),
            rest: of(all - blobs, MANIFESTS),
            manifests: of(manifests, MANIFESTS),
        })
    }

    fn push(&self, images: u32) -> Result<Measurement> {
        let (source, sets) = self.source("small", images, None)?;
        let archive = self.archive();
        self.bundle(&source.host, &sets, &archive, &[])?;
        let edge = Double::start(&self.program, "small", 0, None, None)?;
        let link = Link::open(edge.address()?, FAR)?;
        let krs = self.push_to(&link.address().to_string(), &archive)?.as_secs_f64();
        let floor = ask(link.address(), images * REQUESTS_PER_IMAGE)?.as_secs_f64();
        Ok(Measurement { krs, floor })
    }

    /// An image whose layers the registry has in another repository, all but one.
    fn base(&self, layers: u32) -> Result<Measurement> {
        let (source, sets) = self.source("layers", layers, None)?;
        let (first, second) = (self.archive(), self.archive());
        self.bundle(&source.host, &sets.join("set-1.yaml"), &first, &["--sequence", "1"])?;
        let against = first.to_str().ok_or("the path of an archive is not text")?;
        let delta = ["--sequence", "2", "--against", against];
        self.bundle(&source.host, &sets.join("set-2.yaml"), &second, &delta)?;
        let edge = Double::start(&self.program, "small", 0, None, None)?;
        self.push_to(&edge.host, &first)?;
        let link = Link::open(edge.address()?, FAR)?;
        let krs = self.push_to(&link.address().to_string(), &second)?.as_secs_f64();
        let floor = ask(link.address(), layers)?.as_secs_f64();
        Ok(Measurement { krs, floor })
    }

    fn limited(&self, indexes: u32) -> Result<Measurement> {
        let (mut source, sets) = self.source("platforms", indexes, Some(ALLOWED))?;
        let krs = self.bundle(&source.host, &sets, &self.archive(), &[])?.as_secs_f64();
        let requests = source.requests()?;
        let floor = float(requests.all - requests.refused) / f64::from(ALLOWED);
        println!("    {} requests, {} of them refused", requests.all, requests.refused);
        Ok(Measurement { krs, floor })
    }
}

/// Sends a number of empty requests to a registry over several connections. Returns how long that took.
fn ask(registry: SocketAddr, requests: u32) -> Result<Duration> {
    let next = AtomicU32::new(0);
    let start = Instant::now();
    let work = || -> Result<()> {
        let mut connection = Connection::open(registry)?;
        while next.fetch_add(1, Ordering::Relaxed) < requests {
            connection.ask("GET", "/v2/", Body::Nothing)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
    })?;
    Ok(start.elapsed())
}
