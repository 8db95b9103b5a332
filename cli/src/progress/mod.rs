// SPDX-License-Identifier: Apache-2.0
//! Ways to show long work, all of them on standard error.

mod bars;
mod json;
mod lines;
mod messages;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use krs_core::progress::Activity;
use parking_lot::{Mutex, MutexGuard};

pub(crate) use bars::Bars;
pub(crate) use json::JsonLines;
pub(crate) use lines::Lines;
pub(crate) use messages::Messages;

/// How often a line is written where there are no bars.
const EVERY: Duration = Duration::from_secs(5);

/// What an activity is called while it continues.
const fn name(activity: Activity) -> &'static str {
    match activity {
        Activity::Resolve => "Resolving",
        Activity::Survey => "Reading",
        Activity::Render => "Rendering",
        Activity::Export => "Exporting",
        Activity::Pull => "Fetching",
        Activity::Verify => "Verifying",
        Activity::Push => "Pushing",
        Activity::Copy => "Copying",
        Activity::Compact => "Compacting",
        Activity::Rebuild => "Rebuilding",
        Activity::ReadBack => "Reading back",
    }
}

/// Counts activities, and says when a line is due.
#[derive(Debug, Default)]
struct Meter(Mutex<HashMap<Activity, State>>);

/// How far an activity is.
#[derive(Debug, Clone, Copy)]
struct State {
    done: u64,
    total: u64,
    began: Instant,
    shown: Instant,
}

impl State {
    /// Time that the rest takes at the present rate, where that can be said.
    fn left(&self) -> Option<Duration> {
        let (elapsed, left) = (self.began.elapsed(), self.total.checked_sub(self.done)?);
        // The first manifests of many bytes say nothing about the rate.
        if left == 0 || self.done.saturating_mul(100) < self.total {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let ratio = left as f64 / self.done as f64;
        Duration::try_from_secs_f64(elapsed.as_secs_f64() * ratio).ok()
    }
}

impl Meter {
    fn states(&self) -> MutexGuard<'_, HashMap<Activity, State>> {
        self.0.lock()
    }

    fn begin(&self, activity: Activity, total: u64) {
        let now = Instant::now();
        self.states().insert(activity, State { done: 0, total, began: now, shown: now });
    }

    /// Adds to what is done; answers the state when a line is due.
    fn advance(&self, activity: Activity, amount: u64) -> Option<State> {
        let mut states = self.states();
        let state = states.get_mut(&activity)?;
        state.done += amount;
        if state.shown.elapsed() < EVERY {
            return None;
        }
        state.shown = Instant::now();
        Some(*state)
    }

    fn end(&self, activity: Activity) -> Option<State> {
        self.states().remove(&activity)
    }
}
