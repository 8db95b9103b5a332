// SPDX-License-Identifier: Apache-2.0
//! What was last written to the status of a set, and whether somebody else wrote it since.

use std::time::Duration;

use jiff::Timestamp;
use krs_core::crd::EdgeImageSetStatus;
use krs_core::oci::digest::Digest;

use crate::adapters::writes::Restores;
use crate::engine::status::fingerprint;

/// What was last written to a status.
pub(super) struct WrittenStatus {
    /// Absent where the status was right when it was first seen: an earlier process wrote it.
    pub(super) at: Option<Timestamp>,
    /// Absent while it is not known whether it arrived.
    pub(super) status: Option<KnownStatus>,
    /// Of the status that was sent last, whether it arrived or not.
    sent: Digest,
    /// Whether there was another status when the last one was sent, and that one has not arrived.
    overwritten: bool,
    /// Whether the API server was last seen to hold another status, since the last one was sent.
    suspected: bool,
    /// When statuses of somebody else were last written over.
    restored: Option<Restores<Timestamp>>,
}

impl WrittenStatus {
    /// A status that was found to be right.
    pub(super) fn found(status: KnownStatus) -> Self {
        let sent = status.fingerprint;
        Self { at: None, status: Some(status), sent, overwritten: false, suspected: false, restored: None }
    }

    /// A status is about to be sent, after `before` was.
    pub(super) fn sending(before: Option<&Self>, status: &KnownStatus, now: Timestamp) -> Self {
        let sent = status.fingerprint;
        // Until it arrived, what somebody else wrote is still there.
        let overwritten = before.is_some_and(Self::is_overwritten);
        let restored = before.and_then(|before| before.restored);
        let restored =
            if overwritten { Some(Restores::one_more(restored, passed(now), now)) } else { restored };
        Self { at: Some(now), status: None, sent, overwritten, suspected: false, restored }
    }

    const fn is_overwritten(&self) -> bool {
        self.overwritten || self.suspected
    }

    /// The status that was sent has arrived. What was seen since then stays suspected: somebody may have written over it
    /// before the answer came.
    pub(super) fn arrived(&mut self, status: KnownStatus) {
        if status.fingerprint == self.sent {
            (self.status, self.overwritten) = (Some(status), false);
        }
    }

    /// The API server was seen to hold a status with this fingerprint. Answers whether somebody else wrote it, once until
    /// it is put right: one who writes all the time must not cause as many reconciles, nor delay the one that is due. It may
    /// be an own one of before that comes late: the next one that is seen takes the suspicion back.
    pub(super) fn observe(&mut self, fingerprint: Option<Digest>) -> bool {
        let differs = fingerprint != Some(self.sent);
        self.overwritten &= differs;
        let known = std::mem::replace(&mut self.suspected, differs);
        differs && !known
    }

    /// How long a status that somebody else wrote must stay; `None`: nobody else was seen to write it.
    pub(super) fn restore_in(&self, now: Timestamp) -> Option<Duration> {
        let wait = |restored: Restores<_>| restored.wait(passed(now)(&restored.last));
        self.is_overwritten().then(|| self.restored.map_or(Duration::ZERO, wait))
    }
}

/// How long a time is ago. A clock that was set back says nothing: long enough.
fn passed(now: Timestamp) -> impl Fn(&Timestamp) -> Duration {
    move |at| Duration::try_from(now.duration_since(*at)).unwrap_or(Duration::MAX)
}

/// A status without its list of images: it has up to a megabyte, and there are hundreds.
#[derive(Clone)]
pub(super) struct KnownStatus {
    pub(super) rest: EdgeImageSetStatus,
    /// Of the complete status.
    fingerprint: Digest,
}

impl PartialEq for KnownStatus {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl From<&EdgeImageSetStatus> for KnownStatus {
    fn from(status: &EdgeImageSetStatus) -> Self {
        let rest = EdgeImageSetStatus {
            importer: status.importer.clone(),
            observed_generation: status.observed_generation,
            conditions: status.conditions.clone(),
            images: status.images,
            synchronized_images: Vec::new(),
            failures: status.failures.clone(),
            bundle: status.bundle.clone(),
            last_sync_time: status.last_sync_time.clone(),
            last_handled_reconcile_at: status.last_handled_reconcile_at.clone(),
        };
        Self { rest, fingerprint: fingerprint(status) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn known(generation: i64) -> KnownStatus {
        KnownStatus::from(&EdgeImageSetStatus {
            observed_generation: Some(generation),
            ..EdgeImageSetStatus::default()
        })
    }

    #[test]
    fn two_writers_write_over_each_other_every_few_seconds_at_most() {
        let (own, foreign) = (known(1), known(2));
        let mut written = WrittenStatus::sending(None, &own, at(0));
        written.arrived(own.clone());
        assert!(!written.observe(Some(own.fingerprint)));
        assert_eq!(written.restore_in(at(1)), None);
        assert!(written.observe(Some(foreign.fingerprint)) && !written.observe(None), "it is told once");
        assert_eq!(written.restore_in(at(1)), Some(Duration::ZERO), "the first at once");
        let mut written = WrittenStatus::sending(Some(&written), &own, at(1));
        assert!(written.restore_in(at(1)).is_some(), "it has not arrived yet");
        written.arrived(own.clone());
        assert_eq!(written.restore_in(at(2)), None);
        written.observe(Some(foreign.fingerprint));
        assert_eq!(written.restore_in(at(2)), Some(Duration::from_secs(4)));
        assert_eq!(written.restore_in(at(6)), Some(Duration::ZERO));
        // Writes for other reasons in between do not begin it again.
        written.observe(Some(own.fingerprint));
        let mut written = WrittenStatus::sending(Some(&written), &own, at(3));
        written.observe(Some(foreign.fingerprint));
        assert_eq!(written.restore_in(at(3)), Some(Duration::from_secs(3)));
        assert!(!written.observe(Some(own.fingerprint)) && written.observe(None), "another one");
        let clock_set_back = at(-100);
        assert_eq!(
            written.restore_in(clock_set_back),
            Some(Duration::ZERO),
            "not held until it has caught up"
        );
    }
    #[test]
    fn t178_what_somebody_else_writes_before_the_answer_comes_is_not_missed() {
        let (own, foreign) = (known(1), known(2));
        let mut written = WrittenStatus::sending(None, &own, at(0));
        assert!(!written.observe(Some(own.fingerprint)));
        assert!(written.observe(Some(foreign.fingerprint)));
        written.arrived(own.clone());
        assert_eq!(written.restore_in(at(0)), Some(Duration::ZERO));
        // Nor one of a status that was right when the importer started.
        let mut written = WrittenStatus::found(own.clone());
        assert!(!written.observe(Some(own.fingerprint)) && written.observe(Some(foreign.fingerprint)));
        assert_eq!(written.restore_in(at(0)), Some(Duration::ZERO));
    }
}
