// SPDX-License-Identifier: Apache-2.0
//! What a day costs: requests, writes, objects, memory.

use std::collections::BTreeMap;
use std::fmt;

use krs_testing::registry::Registry;

use crate::api::FakeApi;

/// Kinds that the importer writes.
const WRITTEN: [&str; 5] = ["edgeimagesets/status", "imagebundles", "configmaps", "jobs", "events"];
/// Kinds that are counted.
const COUNTED: [&str; 4] = ["imagebundles", "configmaps", "jobs", "events"];

/// One day, or several.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    pub(crate) days: usize,
    /// Requests that wrote, by what they wrote.
    pub(crate) writes: BTreeMap<String, usize>,
    /// Requests to the API server in all, and in the minute with most.
    pub(crate) api: usize,
    pub(crate) api_minute: usize,
    /// Requests to the edge registry, and in the minute with most.
    pub(crate) edge: usize,
    pub(crate) edge_minute: usize,
    pub(crate) reconciles: u64,
    /// Objects at the end.
    pub(crate) objects: BTreeMap<&'static str, usize>,
    /// The largest ConfigMap at the end, and all of them, in bytes.
    pub(crate) largest_state: usize,
    pub(crate) states: usize,
    /// Memory of this process at the end, in bytes: the importer, the API server and the registries of the test.
    pub(crate) memory: u64,
}

impl Figures {
    /// Adds what happened within a minute.
    pub(crate) fn minute(&mut self, api: &FakeApi, edge: &Registry) {
        let calls = api.calls();
        api.fail(None);
        self.api += calls.len();
        self.api_minute = self.api_minute.max(calls.len());
        for call in &calls {
            let (verb, what) = call.split_once(' ').unwrap();
            if !matches!(verb, "GET" | "WATCH") {
                let what =
                    what.strip_suffix("/status").filter(|kind| *kind == "imagebundles").unwrap_or(what);
                *self.writes.entry(what.to_owned()).or_default() += 1;
            }
        }
        let requests = edge.requests().len();
        edge.clear_requests();
        self.edge += requests;
        self.edge_minute = self.edge_minute.max(requests);
    }

    /// Takes stock at the end of a day.
    pub(crate) fn end(&mut self, api: &FakeApi, reconciles: u64) {
        self.days = 1;
        self.reconciles = reconciles;
        self.objects = COUNTED.into_iter().map(|kind| (kind, api.count(kind, |_| true))).collect();
        let states = api.all("configmaps").into_iter().map(|state| state["data"].to_string().len());
        let states = states.collect::<Vec<_>>();
        (self.largest_state, self.states) =
            (states.iter().copied().max().unwrap_or_default(), states.iter().sum());
        self.memory = memory();
    }

    /// Adds the next day.
    pub(crate) fn add(&mut self, next: &Self) {
        self.days += next.days;
        for (what, count) in &next.writes {
            *self.writes.entry(what.clone()).or_default() += count;
        }
        self.api += next.api;
        self.edge += next.edge;
        self.reconciles += next.reconciles;
        self.api_minute = self.api_minute.max(next.api_minute);
        self.edge_minute = self.edge_minute.max(next.edge_minute);
        self.objects.clone_from(&next.objects);
        (self.largest_state, self.states, self.memory) = (next.largest_state, next.states, next.memory);
    }
}

/// One line of the table.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_day = |count: usize| count / self.days.max(1);
        write!(f, "{:>9} {:>6}", per_day(self.api), self.api_minute)?;
        for kind in WRITTEN {
            write!(f, " {:>7}", per_day(self.writes.get(kind).copied().unwrap_or_default()))?;
        }
        write!(f, " {:>9} {:>6}", per_day(self.edge), self.edge_minute)?;
        write!(f, " {:>10}", self.reconciles / self.days.max(1) as u64)?;
        for kind in COUNTED {
            write!(f, " {:>7}", self.objects.get(kind).copied().unwrap_or_default())?;
        }
        write!(f, " {:>7} {:>6}", self.states >> 10, self.memory >> 20)
    }
}

/// The two lines above the table.
pub(crate) fn heading() -> String {
    format!(
        "{:>5} {:>9} {:>6} {:>39} {:>9} {:>6} {:>10} {:>31} {:>7} {:>6}\n{:>5} {:>9} {:>6} {:>7} {:>7} {:>7} {:>7} {:>7} \
         {:>9} {:>6} {:>10} {:>7} {:>7} {:>7} {:>7} {:>7} {:>6}",
        "",
        "API",
        "",
        "writes/day of",
        "edge",
        "",
        "",
        "objects of",
        "states",
        "memory",
        "day",
        "req/day",
        "max/m",
        "status",
        "bundles",
        "states",
        "jobs",
        "events",
        "req/day",
        "max/m",
        "reconciles",
        "bundles",
        "states",
        "jobs",
        "events",
        "KiB",
        "MiB",
    )
}

/// Resident memory of this process, in bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}
