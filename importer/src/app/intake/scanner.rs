// SPDX-License-Identifier: Apache-2.0
//! Runs the scans of the drop folder, one at a time.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use tokio::task::{JoinError, JoinHandle};

use super::finding::{Known, Scan};
use super::scan::{LateOpens, Rules, scan};
use super::watchdog::Watchdog;

/// The scan that runs, and what is known from the last one.
#[derive(Default)]
pub(super) struct Scanner {
    /// Folders that hang.
    watchdog: Watchdog,
    late_opens: LateOpens,
    /// The keys of the last scan.
    keys: Vec<String>,
    running: Option<JoinHandle<Scan>>,
}

impl Scanner {
    pub(super) const fn watchdog(&self) -> &Watchdog {
        &self.watchdog
    }

    pub(super) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Takes note of the keys that a scan found trusted.
    pub(super) fn set_keys(&mut self, keys: &[String]) {
        self.keys = keys.to_vec();
    }

    /// Begins a scan; there must be none that runs.
    pub(super) fn begin(&mut self, rules: Rules, known: BTreeMap<Utf8PathBuf, Known>) {
        let (watchdog, late) = (self.watchdog.clone(), self.late_opens.clone());
        let keys = self.keys.clone();
        self.running =
            Some(tokio::task::spawn_blocking(move || scan(&rules, &known, &keys, &watchdog, &late)));
    }

    /// Waits until the scan that runs has ended; indefinitely, where none does.
    ///
    /// # Cancellation
    /// Nothing is lost: the scan continues.
    pub(super) async fn ended(&mut self) -> Result<Scan, JoinError> {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let scan = running.await;
        self.running = None;
        scan
    }
}
