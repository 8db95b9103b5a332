// SPDX-License-Identifier: Apache-2.0
//! How the importer writes objects to the API server.

use std::time::Duration;

use kube::api::PatchParams;

/// Field manager of everything that the importer applies for itself.
pub(crate) const FIELD_MANAGER: &str = "krs-importer";
/// Least time between two writes that put an object right which somebody else changed: two writers must not make a storm.
/// (T-178)
const RESTORE_INTERVAL: Duration = Duration::from_secs(5);
/// So many are written so soon; from then on each doubles the time, up to the longest.
const SOON: u32 = 3;
const MAX_RESTORE_INTERVAL: Duration = Duration::from_secs(300);
/// An object that nobody else changed for this long after it was put right starts again without a pause.
const RESTORES_FORGOTTEN: Duration = Duration::from_secs(600);

/// How often in a row an object was put right that somebody else changed, and when last. `T` is a time of either clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Restores<T> {
    pub(crate) last: T,
    count: u32,
}

impl<T> Restores<T> {
    /// One more at `now`. `passed` is how long the last one before is ago.
    pub(crate) fn one_more(before: Option<Self>, passed: impl FnOnce(&T) -> Duration, now: T) -> Self {
        let recent = before.filter(|before| passed(&before.last) < RESTORES_FORGOTTEN);
        Self { last: now, count: recent.map_or(1, |before| before.count.saturating_add(1)) }
    }

    /// How long the next one has to wait, when the last one was that long ago.
    pub(crate) fn wait(&self, passed: Duration) -> Duration {
        let doubled = self.count.saturating_sub(SOON).min(16);
        RESTORE_INTERVAL.saturating_mul(1 << doubled).min(MAX_RESTORE_INTERVAL).saturating_sub(passed)
    }
}

/// How a merge patch is sent.
pub(crate) fn merging() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t225_who_changes_an_object_again_and_again_has_it_put_right_less_and_less_often() {
        let (mut now, mut restores, mut waits) = (0, None, Vec::new());
        let passed = |now: u64| move |last: &u64| Duration::from_secs(now - last);
        for _ in 0..12 {
            let restored = Restores::one_more(restores, passed(now), now);
            let wait = restored.wait(Duration::ZERO);
            waits.push(wait.as_secs());
            assert_eq!(restored.wait(Duration::from_secs(2)), wait - Duration::from_secs(2));
            now += wait.as_secs();
            restores = Some(restored);
        }
        assert_eq!(waits, [5, 5, 5, 10, 20, 40, 80, 160, 300, 300, 300, 300]);
        now += 600;
        let rested = Restores::one_more(restores, passed(now), now);
        assert_eq!(rested.wait(Duration::ZERO), Duration::from_secs(5));
    }
}
