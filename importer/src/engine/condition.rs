// SPDX-License-Identifier: Apache-2.0
//! The one place that makes a condition of a status. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use krs_core::crd::reason;

/// ImageBundle: its media are absent.
pub(crate) const MEDIA_ABSENT: &str = "MediaAbsent";
/// ImageBundle: what the sets need is not computed yet.
pub(crate) const USAGE_UNKNOWN: &str = "UsageUnknown";

/// Makes the conditions of one status that is written now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConditionBuilder<'a> {
    previous: &'a [Condition],
    generation: i64,
    now: Timestamp,
}

impl<'a> ConditionBuilder<'a> {
    /// `previous` are the conditions that the status has, `generation` is the one that was observed.
    pub(crate) fn new(previous: &'a [Condition], generation: i64, now: Timestamp) -> Self {
        Self { previous, generation, now: whole_seconds(now) }
    }

    /// A condition whose time of transition is the previous one's as long as its status stays: what watches a status
    /// compares these times (API conventions, "Typical status properties").
    pub(crate) fn condition(&self, type_: &str, status: &str, reason: &str, message: String) -> Condition {
        let same = self.previous.iter().find(|old| old.type_ == type_ && old.status == status);
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: Some(self.generation),
            last_transition_time: same.map_or(Time(self.now), |same| same.last_transition_time.clone()),
        }
    }
}

/// The name that a reason has now. Version 0.1 wrote three of them under other names, which may still be in a status, in the
/// state of a set, or in the report of a copy Job.
pub(crate) fn current_reason(reason: &str) -> &str {
    match reason {
        "MediumReadError" => reason::MEDIA_READ_ERROR,
        "MediumAbsent" => MEDIA_ABSENT,
        "NotLookedAt" => USAGE_UNKNOWN,
        other => other,
    }
}

/// A time as the API server stores it, so that what was written is equal to what is read.
pub(crate) fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
