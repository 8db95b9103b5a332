// SPDX-License-Identifier: Apache-2.0
//! Where the time comes from: the system, or a test that lets days pass. Comparisons hold where a clock was set back.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// What time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// `at` and `wait` later, as far as time goes.
pub(crate) fn after(at: Timestamp, wait: Duration) -> Timestamp {
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    at.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// The time from `now` to `then`; none where it is past.
pub(crate) fn time_left(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}

/// Whether `interval` passed since `at`. A time that is yet to come is over too: the clock was set back.
pub(crate) fn is_over(at: Timestamp, interval: Duration, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(at)).map_or(true, |passed| passed >= interval)
}

/// Whether `until` is still to come, which was never more than `most` away: it is only where the clock was set back.
pub(crate) fn is_to_come(until: Timestamp, most: Duration, now: Timestamp) -> bool {
    now < until && !is_over(now, most.saturating_add(Duration::from_nanos(1)), until)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_time_that_is_yet_to_come_is_over() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let minute = Duration::from_secs(60);
        assert!(!is_over(at(0), minute, at(59)) && is_over(at(0), minute, at(60)));
        assert!(is_over(at(100), minute, at(0)));
    }
}
