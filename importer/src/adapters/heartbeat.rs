// SPDX-License-Identifier: Apache-2.0
//! Whether the loops of the importer make progress.
//!
//! A loop that hangs is what a restart mends, so that it fails the liveness probe. An API server or media that are away
//! is not: a loop that waits for one and tries it again makes progress, and metrics tell since when it was in vain.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::adapters::metrics::{Metrics, WatchLabels, unix_seconds};

/// How long a watch may be without an attempt to reach the API server. A silent one is begun again long before, and the
/// longest pause after failures is half a minute.
pub const WATCH_LIMIT: Duration = Duration::from_secs(600);

/// The loops of the importer, and what is under way. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Heartbeats(Arc<Mutex<Loops>>);

#[derive(Debug, Default)]
struct Loops {
    next: u64,
    beats: BTreeMap<u64, Beat>,
}

#[derive(Debug)]
struct Beat {
    name: String,
    at: Instant,
    limit: Duration,
}

/// A loop that tells that it makes progress. It is not expected to any more once this is dropped.
#[derive(Debug)]
pub struct Heartbeat {
    of: Heartbeats,
    id: u64,
}

impl Heartbeats {
    fn loops(&self) -> MutexGuard<'_, Loops> {
        self.0.lock()
    }

    /// Something that has to beat, or to end, before `limit` passed.
    pub fn begin(&self, name: impl Into<String>, limit: Duration) -> Heartbeat {
        let mut loops = self.loops();
        loops.next += 1;
        let id = loops.next;
        loops.beats.insert(id, Beat { name: name.into(), at: Instant::now(), limit });
        Heartbeat { of: self.clone(), id }
    }

    /// Whether every loop makes progress.
    ///
    /// # Errors
    /// Those that do not, and since when.
    pub fn check(&self) -> Result<(), String> {
        let late = |beat: &&Beat| beat.at.elapsed() > beat.limit;
        let text = |beat: &Beat| {
            let (since, limit) = (beat.at.elapsed().as_secs(), beat.limit.as_secs());
            format!("{} made no progress for {since} s (limit {limit} s)", beat.name)
        };
        let loops = self.loops();
        let late = loops.beats.values().filter(late).map(text).collect::<Vec<_>>();
        if late.is_empty() { Ok(()) } else { Err(late.join("\n")) }
    }

    /// Each loop, with the seconds since its last progress.
    pub fn list(&self) -> Vec<(String, u64)> {
        let loops = self.loops();
        loops.beats.values().map(|beat| (beat.name.clone(), beat.at.elapsed().as_secs())).collect()
    }
}

impl Heartbeat {
    /// Progress was made.
    pub fn beat(&self) {
        if let Some(beat) = self.of.loops().beats.get_mut(&self.id) {
            beat.at = Instant::now();
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.of.loops().beats.remove(&self.id);
    }
}

/// What a watch watches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchTarget {
    /// Plural name of the resource.
    pub resource: String,
    /// `None`: all namespaces.
    pub namespace: Option<String>,
}

impl WatchTarget {
    /// What a path of the API server names.
    pub(crate) fn of(path: &str) -> Self {
        let mut parts = path.trim_matches('/').rsplit('/');
        let resource = parts.next().unwrap_or_default().to_owned();
        let namespace = parts.next().map(str::to_owned);
        Self { resource, namespace: namespace.filter(|_| parts.next() == Some("namespaces")) }
    }
}

impl fmt::Display for WatchTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} in namespace {namespace}", self.resource),
            None => f.write_str(&self.resource),
        }
    }
}

/// The watches of the importer, and when each was last in touch with the API server.
pub struct Watches {
    heartbeats: Heartbeats,
    metrics: Metrics,
    known: Mutex<BTreeMap<WatchTarget, Heartbeat>>,
    /// The time of the API server, as it was told last, and when that was.
    server_time: Mutex<Option<(Timestamp, Instant)>>,
}

impl fmt::Debug for Watches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watches")
    }
}

impl Watches {
    /// There are none yet.
    pub fn new(heartbeats: Heartbeats, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self { heartbeats, metrics, known: Mutex::default(), server_time: Mutex::default() })
    }

    /// The watch asked the API server for something.
    pub fn attempt(&self, watched: &WatchTarget) {
        let mut known = self.known.lock();
        let begin = || {
            // Until the API server answers, the start counts: an alert is due for a watch that never worked, too.
            self.succeeded(watched);
            self.heartbeats.begin(format!("the watch of {watched}"), WATCH_LIMIT)
        };
        known.entry(watched.clone()).or_insert_with(begin).beat();
    }

    /// The API server told its time.
    pub fn tell_server_time(&self, time: Timestamp) {
        *self.server_time.lock() = Some((time, Instant::now()));
    }

    /// The time of the API server now.
    pub fn server_time(&self) -> Option<Timestamp> {
        let latest = *self.server_time.lock();
        latest.and_then(|(time, at)| time.checked_add(at.elapsed()).ok())
    }

    /// The API server answered the watch.
    pub fn contact(&self, watched: &WatchTarget) {
        self.attempt(watched);
        self.succeeded(watched);
    }

    fn succeeded(&self, watched: &WatchTarget) {
        let labels = WatchLabels {
            resource: watched.resource.clone(),
            namespace: watched.namespace.clone().unwrap_or_default(),
        };
        self.metrics.watch_success.get_or_create(&labels).set(unix_seconds());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t170_a_watch_that_never_worked_has_a_time_that_an_alert_can_compare() {
        let (metrics, _registry) = Metrics::new();
        let watches = Watches::new(Heartbeats::default(), metrics.clone());
        let watched = WatchTarget { resource: "jobs".to_owned(), namespace: Some("apps".to_owned()) };
        let labels = WatchLabels { resource: "jobs".to_owned(), namespace: "apps".to_owned() };
        let time = || metrics.watch_success.get(&labels).map(|gauge| gauge.get());
        let start = unix_seconds();
        watches.attempt(&watched);
        assert!(time().is_some_and(|time| time >= start), "{:?}", time());
        // Further attempts are no success.
        metrics.watch_success.get_or_create(&labels).set(1);
        watches.attempt(&watched);
        assert_eq!(time(), Some(1));
        watches.contact(&watched);
        assert!(time().is_some_and(|time| time >= start), "{:?}", time());
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_without_progress_is_named_and_one_that_ended_is_not() {
        let all = Heartbeats::default();
        let intake = all.begin("the intake", Duration::from_secs(60));
        let once = all.begin("a reconcile", Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(50)).await;
        intake.beat();
        tokio::time::advance(Duration::from_secs(50)).await;
        let error = all.check().err();
        assert_eq!(error.as_deref(), Some("a reconcile made no progress for 100 s (limit 60 s)"));
        drop(once);
        assert_eq!(all.check(), Ok(()));
        assert_eq!(all.list(), [("the intake".to_owned(), 50)]);
        tokio::time::advance(Duration::from_secs(50)).await;
        assert!(all.check().is_err());
    }
}
