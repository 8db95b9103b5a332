// SPDX-License-Identifier: Apache-2.0
//! The scenarios, as data.

use std::time::Duration;

use clap::ValueEnum;

use super::link::Shape;
use super::stats::Goal;

/// A scenario, in the order of running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// From a registry into one archive
    Bundle,
    /// From the archive into an empty registry, and again into the same
    Push,
    /// Fifteen images into a registry that has them
    Repeat,
    /// Verifying an archive that was just written, and one that has to come from the disk
    Verify,
    /// A bundle over a slow link
    SlowBundle,
    /// A push over a slow link, and again
    SlowPush,
    /// Every connection breaks after 8 MB
    Cut,
    /// A bundle that was killed at half time, and its next run
    Kill,
    /// An update for a site that has the version before it
    Delta,
    /// Ten thousand images
    Scale,
    /// What costs because it is asked, not because it is large
    Trips,
    /// Receipts of three hundred sites
    Fleet,
    /// Updates with patches in place of layers
    Compact,
}

/// Which images of the corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    All,
    First(usize),
    /// As many as have at most so many bytes.
    UpTo(u64),
}

/// What is done with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Fetch,
    Push,
    Verify,
}

/// A scenario that is measured in several rounds, with all contenders that can run it, one after the other in each round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: Name,
    pub(crate) title: &'static str,
    pub(crate) choice: Choice,
    pub(crate) work: Work,
    pub(crate) link: Shape,
    /// Rounds, where not as many as are asked for.
    pub(crate) rounds: Option<usize>,
    /// The goal of krs against the floor.
    pub(crate) goal: Option<Goal>,
    /// The goal of krs for a repetition with the same target.
    pub(crate) again: Option<(&'static str, Option<Goal>)>,
    /// Where a goal is not met: why, and what would get there.
    pub(crate) why: &'static str,
}

/// 50 ms there and back, 100 Mbit/s in each direction.
pub(crate) const SLOW: Shape =
    Shape { delay: Duration::from_millis(25), rate: Some(12_500_000), cut_after: None };
/// As fast as it goes.
pub(crate) const DIRECT: Shape = Shape { delay: Duration::ZERO, rate: None, cut_after: None };
/// Every connection breaks after 8 MB.
pub(crate) const BREAKING: Shape = Shape { delay: Duration::ZERO, rate: None, cut_after: Some(8_000_000) };
/// Slow enough that half of the time is half of the bytes.
pub(crate) const STEADY: Shape = Shape { delay: Duration::ZERO, rate: Some(50_000_000), cut_after: None };
/// Bytes that are carried over the slow link: half a minute's worth, so that the peers end on the same day.
const SLOW_BYTES: u64 = 400_000_000;
/// What krs may take of memory, everywhere.
pub(crate) const MEMORY: Goal = Goal::Memory(64 << 20);
/// What krs may take of the disk, as a multiple of the archive.
pub(crate) const DISK: f64 = 1.0;

const ON_DISK: &str = "\
    krs reports that an archive is ready when it is on the disk, the floor when it is in memory. Fetching and writing run \
    in parallel, so that the slower of the two decides: here \"as many bytes from memory to the disk\". A faster disk would \
    meet the goal.";
const ROUND_TRIPS: &str = "\
    Small requests (is it present, where may it be uploaded, was it accepted) take a round trip each, and there are only \
    as many at once as there are connections. More connections would meet the goal.";

/// Scenarios that the general runner carries out.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: Name::Bundle,
        title: "From a registry into one file",
        choice: Choice::All,
        work: Work::Fetch,
        link: DIRECT,
        rounds: None,
        goal: Some(Goal::Times(1.2)),
        again: None,
        why: ON_DISK,
    },
    Scenario {
        name: Name::Push,
        title: "Into an empty registry",
        choice: Choice::All,
        work: Work::Push,
        link: DIRECT,
        rounds: None,
        goal: Some(Goal::Times(1.1)),
        again: Some(("Into a registry that has all of it", None)),
        why: "",
    },
    Scenario {
        name: Name::Repeat,
        title: "15 images into an empty registry",
        choice: Choice::First(15),
        work: Work::Push,
        link: DIRECT,
        rounds: None,
        goal: None,
        again: Some(("15 images into a registry that has them", Some(Goal::Seconds(0.15)))),
        why: "",
    },
    Scenario {
        name: Name::Verify,
        title: "Verifying an archive that is in memory",
        choice: Choice::All,
        work: Work::Verify,
        link: DIRECT,
        rounds: None,
        goal: Some(Goal::Speed(0.85)),
        again: Some(("Verifying an archive that is read from the disk", Some(Goal::Speed(0.85)))),
        why: "",
    },
    Scenario {
        name: Name::SlowBundle,
        title: "From a registry, 50 ms and 100 Mbit/s away",
        choice: Choice::UpTo(SLOW_BYTES),
        work: Work::Fetch,
        link: SLOW,
        rounds: Some(1),
        goal: Some(Goal::Times(1.05)),
        again: None,
        why: ROUND_TRIPS,
    },
    Scenario {
        name: Name::SlowPush,
        title: "Into an empty registry, 50 ms and 100 Mbit/s away",
        choice: Choice::UpTo(SLOW_BYTES),
        work: Work::Push,
        link: SLOW,
        rounds: Some(1),
        goal: Some(Goal::Times(1.05)),
        again: Some((
            "Into a registry that has all of it, 50 ms and 100 Mbit/s away",
            Some(Goal::Seconds(0.5)),
        )),
        why: ROUND_TRIPS,
    },
    Scenario {
        name: Name::Cut,
        title: "From a registry, every connection cut after 8 MB",
        choice: Choice::All,
        work: Work::Fetch,
        link: BREAKING,
        rounds: Some(1),
        goal: Some(Goal::Completes),
        again: None,
        why: "",
    },
];
