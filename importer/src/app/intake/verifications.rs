// SPDX-License-Identifier: Apache-2.0
//! Which bundles are verified in full now: of each of the media one bundle at a time, and few media at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};

use super::entry::Entry;
use super::files::Files;
use super::verification::{End, FullVerification, VerificationOptions};
use super::watchdog::{Hangs, Watchdog};

/// Most media from which bundles are verified at once.
const MAX_RUNNING: usize = 4;

/// The full verifications that run.
#[derive(Default)]
pub(super) struct FullVerifications {
    options: VerificationOptions,
    /// By what they read, as [`super::folder::Found::media`].
    running: BTreeMap<Utf8PathBuf, FullVerification>,
}

impl FullVerifications {
    pub(super) fn new(options: VerificationOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// How often progress is told.
    pub(super) const fn beat(&self) -> Duration {
        self.options.beat
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Bytes that were read of the file at `path`, while it is verified.
    pub(super) fn bytes(&self, path: &Utf8Path) -> Option<u64> {
        self.running.values().find(|running| running.path == *path).map(FullVerification::bytes)
    }

    /// Waits until one ends. Answers with it what it reads.
    ///
    /// # Cancellation
    /// Nothing is lost: the same one is answered by the next call.
    pub(super) async fn ended(&mut self) -> (Utf8PathBuf, End) {
        let running = &mut self.running;
        std::future::poll_fn(|context| {
            for (media, verification) in &mut *running {
                if let Poll::Ready(end) = verification.poll_end(context) {
                    return Poll::Ready((media.clone(), end));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Removes one that has ended; none where it was stopped.
    pub(super) fn remove(&mut self, media: &Utf8Path) -> Option<FullVerification> {
        self.running.remove(media).filter(|verification| !verification.is_stopped())
    }

    /// Gives up those that have read nothing for too long. Answers from which media. (T-192)
    pub(super) fn give_up_stalled(&mut self, now: Instant) -> Vec<(Utf8PathBuf, Hangs)> {
        let stalled = self.running.iter_mut().filter_map(|(media, verification)| {
            verification.give_up_if_stalled(now).map(|hangs| (media.clone(), hangs))
        });
        let stalled = stalled.collect::<Vec<_>>();
        for (media, _) in &stalled {
            self.running.remove(media);
        }
        stalled
    }

    /// Stops those whose file is another one or absent, and starts the next ones.
    pub(super) fn update(&mut self, files: &Files, watchdog: &Watchdog) {
        let entries = files.entries();
        let due = |entry: &&Entry| entry.present() && !entry.is_verified();
        for (media, verification) in &self.running {
            let entry = entries.get(&verification.path).filter(due).filter(|entry| entry.media == *media);
            let accepted = entry.and_then(Entry::accepted);
            if !accepted.is_some_and(|accepted| verification.reads(&accepted.held.bundle)) {
                verification.stop();
            }
        }
        for (path, entry) in entries.iter().filter(|(_, entry)| due(entry)) {
            if self.running.len() >= MAX_RUNNING {
                break;
            }
            let Some(accepted) = entry.accepted().filter(|_| !self.running.contains_key(&entry.media)) else {
                continue;
            };
            let bundle = Arc::clone(&accepted.held.bundle);
            let started =
                FullVerification::start(&entry.media, path.clone(), bundle, &self.options, watchdog);
            // Media that hang are named by the next scan, which finds them so.
            self.running.extend(started.ok().map(|started| (entry.media.clone(), started)));
        }
    }
}
