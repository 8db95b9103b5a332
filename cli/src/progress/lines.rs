// SPDX-License-Identifier: Apache-2.0
use krs_core::progress::{Activity, Progress};
use krs_core::redact::printable;

use super::{Meter, State, name};
use crate::report::{count, duration, rate, size};
use crate::standard_error;

/// Plain lines for logs: one when an activity begins, then one every few seconds.
#[derive(Debug, Default)]
pub(crate) struct Lines(Meter);

impl Progress for Lines {
    fn begin(&self, activity: Activity, total: u64) {
        self.0.begin(activity, total);
        if total > 0 {
            let total = match activity {
                Activity::Survey if total == 1 => "1 repository".to_owned(),
                Activity::Survey => format!("{total} repositories"),
                Activity::Render if total == 1 => "1 chart or kustomization".to_owned(),
                Activity::Render => format!("{total} charts and kustomizations"),
                _ if activity.in_bytes() => size(total),
                _ => count(total, "image"),
            };
            standard_error::write(&format!("{} {total}\n", name(activity)));
        }
    }

    fn advance(&self, activity: Activity, amount: u64) {
        if let Some(state) = self.0.advance(activity, amount) {
            standard_error::write(&line(activity, state));
        }
    }

    fn end(&self, activity: Activity) {
        self.0.end(activity);
    }

    fn message(&self, text: &str) {
        standard_error::write(&format!("{}\n", printable(text, 600)));
    }
}

fn line(activity: Activity, state: State) -> String {
    let State { done, total, began, .. } = state;
    let mut line = if activity.in_bytes() {
        let percent = done.min(total) * 100 / total.max(1);
        let rate = rate(done, began.elapsed());
        format!("{}: {} of {} ({percent} %), {rate}", name(activity), size(done), size(total))
    } else {
        format!("{}: {done} of {total}", name(activity))
    };
    if let Some(left) = state.left() {
        line.push_str(&format!(", {} left", duration(left)));
    }
    line.push('\n');
    line
}
