// SPDX-License-Identifier: Apache-2.0
use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use krs_core::oci::digest::Digest;
use krs_core::progress::{Activity, Progress};
use krs_core::redact::printable;
use parking_lot::{Mutex, MutexGuard};

use super::name;
use crate::report::shorten;

/// Most blobs that have a line of their own.
const BLOBS: usize = 6;
/// Blobs smaller than this come and go too fast to be read.
const SMALL: u64 = 1 << 20;

/// Most characters of an image's name, so that a line of a blob has at most 80 columns.
const NAME: usize = 32;

/// Bars on a terminal: one for everything, and a line for each blob that is on its way.
#[derive(Debug)]
pub(crate) struct Bars {
    area: MultiProgress,
    bars: Mutex<HashMap<Activity, ProgressBar>>,
    blobs: Mutex<HashMap<Digest, ProgressBar>>,
    colors: bool,
}

impl Bars {
    /// Bars on standard error.
    pub(crate) fn new(colors: bool) -> Self {
        Self {
            area: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)),
            bars: Mutex::default(),
            blobs: Mutex::default(),
            colors,
        }
    }

    fn bars(&self) -> MutexGuard<'_, HashMap<Activity, ProgressBar>> {
        self.bars.lock()
    }

    fn blobs(&self) -> MutexGuard<'_, HashMap<Digest, ProgressBar>> {
        self.blobs.lock()
    }

    fn style(&self, activity: Activity) -> ProgressStyle {
        // Together at most 80 columns.
        let bar = if self.colors { "{bar:14.cyan/dim}" } else { "{bar:14}" };
        let amounts = if activity.in_bytes() {
            "{binary_bytes} of {binary_total_bytes}  {decimal_bytes_per_sec}  {eta} left"
        } else {
            "{pos} of {len}"
        };
        style(&format!("{{msg:9}} {bar} {{percent:>3}} %  {amounts}")).progress_chars("━╸─")
    }
}

/// A style; a template that indicatif does not take would only look different.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Progress for Bars {
    fn begin(&self, activity: Activity, total: u64) {
        let bar = ProgressBar::new(total).with_style(self.style(activity)).with_message(name(activity));
        let bar = self.area.add(bar);
        bar.enable_steady_tick(Duration::from_millis(250));
        self.bars().insert(activity, bar);
    }

    fn advance(&self, activity: Activity, amount: u64) {
        if let Some(bar) = self.bars().get(&activity) {
            bar.inc(amount);
        }
    }

    fn end(&self, activity: Activity) {
        if let Some(bar) = self.bars().remove(&activity) {
            bar.finish_and_clear();
            self.area.remove(&bar);
        }
    }

    fn blob_begin(&self, _: Activity, digest: &Digest, size: u64, name: &str) {
        let mut blobs = self.blobs();
        if size < SMALL || blobs.len() >= BLOBS {
            return;
        }
        let name = name.split('@').next().unwrap_or(name);
        let bar = ProgressBar::new(size)
            .with_style(style("  {msg}  {binary_bytes} of {binary_total_bytes}"))
            .with_message(format!("{}  {}", digest.short(), shorten(&printable(name, 400), NAME)));
        blobs.insert(*digest, self.area.add(bar));
    }

    fn blob_advance(&self, digest: &Digest, bytes: u64) {
        if let Some(bar) = self.blobs().get(digest) {
            bar.inc(bytes);
        }
    }

    fn blob_end(&self, digest: &Digest) {
        if let Some(bar) = self.blobs().remove(digest) {
            bar.finish_and_clear();
            self.area.remove(&bar);
        }
    }

    fn message(&self, text: &str) {
        // Where the terminal is gone there is nobody to tell.
        let _ = self.area.println(printable(text, 600));
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        let _ = self.area.clear();
    }
}
