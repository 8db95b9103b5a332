// SPDX-License-Identifier: Apache-2.0
//! Runs a scenario: all contenders in turn, round after round.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::floor;
use super::inventory::Inventory;
use super::link::{Link, Shape};
use super::measure::{self, Cost};
use super::peers::{self, Peer};
use super::registry::Registry;
use super::scenario::{Choice, DIRECT, Name, Scenario, Work};
use xtask::run::{self, Result};

/// How long one run may take.
const LIMIT: Duration = Duration::from_secs(900);
/// How long one run may take over a link that breaks: a program that makes progress ends within it.
const BREAKING_LIMIT: Duration = Duration::from_secs(300);

/// A program whose cost is measured, or the lower bound for one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Contender {
    Krs,
    Floor,
    /// The floor, and then what it wrote is brought to the disk, which krs does before it is done.
    FloorOnDisk,
    /// As many bytes to the disk, out of memory.
    Disk,
    /// Reading alone.
    Read,
    Peer(&'static Peer),
}

impl Contender {
    pub(crate) fn name(self, work: Work) -> String {
        match (self, work) {
            (Self::Krs, Work::Fetch) => "krs bundle",
            (Self::Krs, Work::Push) => "krs push",
            (Self::Krs, Work::Verify) => "krs verify",
            (Self::Floor, Work::Fetch) => "floor: one curl, 6 at once",
            (Self::Floor, Work::Push) => "floor: POST and PUT, 4 connections",
            (Self::Floor, Work::Verify) => "floor: SHA-256 on all cores",
            (Self::FloorOnDisk, _) => "the same, and to the disk",
            (Self::Disk, _) => "as many bytes from memory to the disk",
            (Self::Read, _) => "reading alone",
            (Self::Peer(peer), _) => peer.program,
        }
        .to_owned()
    }
}

/// The cost of one run, and the bytes over the link, both ways, if there was one.
type Pass = Result<(Cost, Option<u64>)>;

/// The results of one contender in a scenario, by round.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    pub(crate) costs: Vec<Cost>,
    /// Bytes over the link, both ways.
    pub(crate) wire: Option<u64>,
    pub(crate) failed: Option<String>,
}

impl Runs {
    /// Whether nothing was tried.
    pub(crate) const fn is_empty(&self) -> bool {
        self.costs.is_empty() && self.failed.is_none()
    }

    fn add(&mut self, bench: &Bench, result: Pass, counts: bool) {
        match result {
            Ok((cost, wire)) => {
                self.wire = wire.or(self.wire);
                self.costs.extend(counts.then_some(cost));
            }
            Err(error) => self.failed = Some(bench.shown(&error.to_string())),
        }
    }
}

/// A contender with what it did at first and again.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) contender: Contender,
    pub(crate) first: Runs,
    pub(crate) again: Runs,
}

/// The context of all runs.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) work: tempfile::TempDir,
    pub(crate) corpus: PathBuf,
    pub(crate) inventory: Inventory,
    pub(crate) krs: PathBuf,
    pub(crate) registry_program: PathBuf,
    pub(crate) source: Registry,
    pub(crate) peers: Vec<(&'static Peer, PathBuf)>,
    pub(crate) rounds: usize,
    /// The input of pushes, by program and choice.
    pub(crate) sources: RefCell<BTreeMap<String, PathBuf>>,
    pub(crate) names: Cell<u32>,
}

impl Bench {
    /// An unused name in the working folder.
    pub(crate) fn new_path(&self, what: &str) -> PathBuf {
        self.names.set(self.names.get() + 1);
        self.work.path().join(format!("{what}-{}", self.names.get()))
    }

    /// Removes the folders of this machine from output that goes into a page.
    pub(crate) fn shown(&self, output: &str) -> String {
        let krs = self.krs.display().to_string();
        output.replace(&krs, "krs").replace(&self.work.path().display().to_string(), "FOLDER")
    }

    /// Starts a registry without content.
    pub(crate) fn empty_registry(&self) -> Result<Registry> {
        Registry::start(&self.registry_program, self.work.path())
    }

    /// `krs` without any variable that would change what it does.
    pub(crate) fn krs(&self, arguments: &[&str]) -> Command {
        let mut krs = Command::new(&self.krs);
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("KRS_")) {
            krs.env_remove(name);
        }
        // What was pushed is not to be remembered among the user's own.
        krs.env("KRS_STATE", self.work.path().join("state"));
        krs.args(arguments).arg("--quiet");
        krs
    }

    /// The call that bundles these images from `registry`.
    pub(crate) fn bundle(&self, inventory: &Inventory, registry: &str, archive: &Path) -> Result<Command> {
        let checkout = self.new_path("checkout");
        inventory.checkout(registry, &checkout)?;
        let mut krs = self.krs(&["bundle", "--plain-http", registry]);
        krs.arg(checkout).arg("-o").arg(archive);
        Ok(krs)
    }

    /// The images of a choice.
    pub(crate) fn choose(&self, choice: Choice) -> Result<Inventory> {
        match choice {
            Choice::All => Ok(self.inventory.clone()),
            Choice::First(count) => self.inventory.first(count),
            Choice::UpTo(bytes) => self.inventory.up_to(bytes),
        }
    }

    /// The input of a contender's push or verification. It is made the first time.
    pub(crate) fn source(&self, contender: Contender, choice: Choice) -> Result<PathBuf> {
        let own = if let Contender::Peer(peer) = contender { peer.program } else { "krs" };
        let key = format!("{own} {choice:?}");
        if let Some(path) = self.sources.borrow().get(&key) {
            return Ok(path.clone());
        }
        let (inventory, registry) = (self.choose(choice)?, self.source.address().to_string());
        let path = match contender {
            Contender::Peer(peer) => {
                let folder = self.new_path(peer.program);
                fs::create_dir_all(&folder)?;
                let way = peer.fill.unwrap_or(peer.fetch);
                let commands = self.of_peer(peer, way(&registry, &inventory.images, &folder)?)?;
                measure::measure(commands, &folder, LIMIT)?;
                folder
            }
            _ => {
                let archive = self.new_path("bundle").with_extension("krs.tar");
                run::output(&mut self.bundle(&inventory, &registry, &archive)?)?;
                archive
            }
        };
        self.sources.borrow_mut().insert(key, path.clone());
        Ok(path)
    }

    fn of_peer(&self, peer: &Peer, calls: Vec<Vec<String>>) -> Result<Vec<Command>> {
        let own = self.peers.iter().find(|(other, _)| other.program == peer.program);
        let (_, program) = own.ok_or_else(|| format!("{} is not there", peer.program))?;
        Ok(peers::commands(program, calls))
    }

    /// The contenders of a scenario.
    fn contenders(&self, scenario: &Scenario) -> Vec<Contender> {
        let peers = self.peers.iter().map(|(peer, _)| Contender::Peer(peer));
        match (scenario.name, scenario.work) {
            (_, Work::Verify) => vec![Contender::Floor, Contender::Krs, Contender::Read],
            (Name::SlowBundle | Name::SlowPush | Name::Cut, _) => {
                [Contender::Krs].into_iter().chain(peers).collect()
            }
            (Name::Repeat, _) => vec![Contender::Krs],
            (_, Work::Push) => [Contender::Floor, Contender::Krs].into_iter().chain(peers).collect(),
            (_, Work::Fetch) => [Contender::Floor, Contender::Krs, Contender::FloorOnDisk, Contender::Disk]
                .into_iter()
                .chain(peers)
                .collect(),
        }
    }

    /// All rounds of a scenario.
    pub(crate) fn run(&self, scenario: &Scenario) -> Result<Vec<Lane>> {
        let inventory = self.choose(scenario.choice)?;
        let lane = |contender| Lane { contender, first: Runs::default(), again: Runs::default() };
        let mut lanes: Vec<Lane> = self.contenders(scenario).into_iter().map(lane).collect();
        // Over a link of its own the bytes are counted in each round, else in one before, which is not timed: a link
        // costs time, and so does a file that is not in memory yet.
        let rounds = scenario.rounds.unwrap_or(self.rounds);
        for round in usize::from(scenario.link != DIRECT)..=rounds {
            for lane in lanes.iter_mut().filter(|lane| lane.first.failed.is_none()) {
                let is_counted = (round == 0 || scenario.link != DIRECT) && scenario.work != Work::Verify;
                let link = is_counted.then_some(scenario.link);
                let (first, again) = self.once(scenario, &inventory, lane.contender, link);
                let shown = first.as_ref().map_or_else(
                    |_| "failed".to_owned(),
                    |(cost, _)| format!("{:.2} s", cost.wall.as_secs_f64()),
                );
                println!("    round {round}: {}: {shown}", lane.contender.name(scenario.work));
                lane.first.add(self, first, round > 0);
                if let Some(again) = again {
                    lane.again.add(self, again, round > 0);
                }
            }
        }
        Ok(lanes)
    }

    /// One run, and the repeated one if the scenario has it.
    fn once(
        &self,
        scenario: &Scenario,
        inventory: &Inventory,
        contender: Contender,
        link: Option<Shape>,
    ) -> (Pass, Option<Pass>) {
        let environment = match Environment::new(self, scenario, link) {
            Ok(environment) => environment,
            Err(error) => return (Err(error), None),
        };
        let first = self.pass(scenario, inventory, contender, &environment, false);
        // The least that a repeated push must do is nothing.
        let repeats = scenario.again.is_some()
            && !(matches!(contender, Contender::Floor) && scenario.work == Work::Push);
        let again =
            (first.is_ok() && repeats).then(|| self.pass(scenario, inventory, contender, &environment, true));
        (first, again)
    }

    fn pass(
        &self,
        scenario: &Scenario,
        inventory: &Inventory,
        contender: Contender,
        environment: &Environment,
        again: bool,
    ) -> Pass {
        let folder = environment.folder.path();
        let commands = self.commands(scenario, inventory, contender, &environment.address, folder)?;
        // Data of earlier runs must not be synced to the disk during this run.
        run::run(&mut Command::new("sync"))?;
        if scenario.work == Work::Verify && again {
            floor::forget(&self.source(Contender::Krs, scenario.choice)?)?;
        }
        let before = environment.link.as_ref().map(Link::carried);
        let limit = if scenario.link.cut_after.is_some() { BREAKING_LIMIT } else { LIMIT };
        let cost = measure::measure(commands, folder, limit)?;
        let carried =
            environment.link.as_ref().zip(before).map(|(link, before)| link.carried().since(before));
        Ok((cost, carried.map(|carried| carried.up + carried.down)))
    }

    /// The calls of one run.
    fn commands(
        &self,
        scenario: &Scenario,
        inventory: &Inventory,
        contender: Contender,
        registry: &str,
        folder: &Path,
    ) -> Result<Vec<Command>> {
        let source = || self.source(contender, scenario.choice);
        Ok(match (contender, scenario.work) {
            (Contender::Krs, Work::Fetch) => {
                vec![self.bundle(inventory, registry, &folder.join("all.krs.tar"))?]
            }
            (Contender::Krs, Work::Push) => {
                let mut krs = self.krs(&["push", "--plain-http", registry]);
                krs.arg(source()?).arg(registry);
                vec![krs]
            }
            (Contender::Krs, Work::Verify) => {
                let mut krs = self.krs(&["verify"]);
                krs.arg(source()?);
                vec![krs]
            }
            (Contender::Floor, Work::Fetch) => vec![floor::fetch(registry, inventory, folder)?],
            (Contender::FloorOnDisk, _) => {
                let mut sync = Command::new("sh");
                sync.args(["-c", "exec sync fetched/*"]);
                vec![floor::fetch(registry, inventory, folder)?, sync]
            }
            (Contender::Disk, _) => {
                let mut own = own(&["write"]);
                own.arg(folder.join("written")).arg(inventory.bytes().to_string());
                vec![own]
            }
            (Contender::Floor, Work::Push) => {
                let images = folder.join("images");
                let digests = inventory.images.iter().map(|image| format!("{}\n", image.digest));
                fs::write(&images, digests.collect::<String>())?;
                let mut own = own(&["push", registry]);
                own.arg(&self.corpus).arg("--images").arg(images);
                vec![own]
            }
            (Contender::Floor | Contender::Read, _) => {
                let mut own = own(&[if matches!(contender, Contender::Read) { "read" } else { "hash" }]);
                own.arg(source()?);
                vec![own]
            }
            (Contender::Peer(peer), Work::Fetch) => {
                self.of_peer(peer, (peer.fetch)(registry, &inventory.images, folder)?)?
            }
            (Contender::Peer(peer), _) => {
                self.of_peer(peer, (peer.push)(registry, &inventory.images, &source()?)?)?
            }
        })
    }
}

/// A floor, as a process of its own.
fn own(arguments: &[&str]) -> Command {
    // Not the path of this program, which may have been rebuilt meanwhile.
    let mut own = Command::new("/proc/self/exe");
    own.args(["bench", "floor"]).args(arguments);
    own
}

/// Where one run takes place: a folder, a registry, and the link to it.
struct Environment {
    folder: tempfile::TempDir,
    address: String,
    link: Option<Link>,
    _target: Option<Registry>,
}

impl Environment {
    fn new(bench: &Bench, scenario: &Scenario, link: Option<Shape>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("run-").tempdir_in(bench.work.path())?;
        let target = (scenario.work == Work::Push).then(|| bench.empty_registry()).transpose()?;
        let registry = target.as_ref().unwrap_or(&bench.source).address();
        let link = link.map(|shape| Link::open(registry, shape)).transpose()?;
        let address = link.as_ref().map_or(registry, Link::address).to_string();
        Ok(Self { folder, address, link, _target: target })
    }
}
