// SPDX-License-Identifier: Apache-2.0
//! What a day costs: requests, writes, objects, memory.

use std::collections::BTreeMap;
use std::fmt;

use krs_testing::registry::{Registry, Request};

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
    /// What these were in the minute with most.
    pub(crate) api_peak: BTreeMap<String, usize>,
    /// Bytes of the objects that the API server stored for the importer.
    pub(crate) bytes: usize,
    /// Requests to the edge registry, and in the minute with most.
    pub(crate) edge: usize,
    pub(crate) edge_minute: usize,
    /// What these were in the minute with most, and in all.
    pub(crate) edge_peak: BTreeMap<String, usize>,
    pub(crate) edge_kinds: BTreeMap<String, usize>,
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
        self.bytes += api.written();
        api.fail(None);
        self.api += calls.len();
        if calls.len() > self.api_minute {
            (self.api_minute, self.api_peak) = (calls.len(), count(calls.iter().cloned()));
        }
        for call in &calls {
            let (verb, what) = call.split_once(' ').unwrap();
            if !matches!(verb, "GET" | "WATCH") {
                let what =
                    what.strip_suffix("/status").filter(|kind| *kind == "imagebundles").unwrap_or(what);
                *self.writes.entry(what.to_owned()).or_default() += 1;
            }
        }
        let requests = edge.requests();
        edge.clear_requests();
        let kinds = count(requests.iter().map(kind));
        for (kind, count) in &kinds {
            *self.edge_kinds.entry(kind.clone()).or_default() += count;
        }
        self.edge += requests.len();
        if requests.len() > self.edge_minute {
            (self.edge_minute, self.edge_peak) = (requests.len(), kinds);
        }
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
        self.bytes += next.bytes;
        if next.api_minute > self.api_minute {
            (self.api_minute, self.api_peak) = (next.api_minute, next.api_peak.clone());
        }
        if next.edge_minute > self.edge_minute {
            (self.edge_minute, self.edge_peak) = (next.edge_minute, next.edge_peak.clone());
        }
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
        write!(f, " {:>7}", per_day(self.bytes) >> 10)?;
        write!(f, " {:>9} {:>6}", per_day(self.edge), self.edge_minute)?;
        write!(f, " {:>10}", self.reconciles / self.days.max(1) as u64)?;
        for kind in COUNTED {
            write!(f, " {:>7}", self.objects.get(kind).copied().unwrap_or_default())?;
        }
        write!(f, " {:>7} {:>6}", self.states >> 10, self.memory >> 20)
    }
}

fn count(all: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    all.for_each(|one| *counts.entry(one).or_default() += 1);
    counts
}

/// `HEAD manifest`, `HEAD tag`, `GET manifest`, `HEAD blob`, `GET ping` ...
fn kind(request: &Request) -> String {
    let what = match request.path.split_once("/manifests/") {
        Some((_, reference)) if reference.starts_with("sha256:") => "manifest",
        Some(_) => "tag",
        None if request.path.contains("/blobs/") => "blob",
        None => "ping",
    };
    format!("{} {what}", request.method)
}

/// The two lines above the table.
pub(crate) fn heading() -> String {
    format!(
        "{:>5} {:>9} {:>6} {:>39} {:>7} {:>9} {:>6} {:>10} {:>31} {:>7} {:>6}\n{:>5} {:>9} {:>6} {:>7} {:>7} {:>7} {:>7} {:>7} \
         {:>7} {:>9} {:>6} {:>10} {:>7} {:>7} {:>7} {:>7} {:>7} {:>6}",
        "",
        "API",
        "",
        "writes/day of",
        "KiB",
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
        "written",
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
