// SPDX-License-Identifier: Apache-2.0
//! Sequences that are too far ahead. `krs bundle` takes the time for the sequence, and a mark is never lowered: one bundle
//! that was made with a wrong clock would have all right ones refused until that time. It is not used before a person
//! confirms it. The same holds for the time at which a bundle says that it was made, whatever its sequence: of two streams
//! that decide a tag, the later one counts, and the time is kept in the mark, which sequences are compared with. Nor does a
//! time that a bundle tells count as a clock if it is as far ahead. Pure.

use jiff::Timestamp;
use krs_core::bundle::StreamName;
use krs_core::oci::digest::Digest;

use super::rejection::sentence;
use crate::model::marks::Mark;

/// How far ahead of the latest known time a sequence may be, in seconds.
const MAX_AHEAD: i64 = 7 * 24 * 60 * 60;
/// By how much a sequence may grow from one bundle to the next in a stream whose sequences are no times.
const MAX_GROWTH: u64 = 2;
/// Annotation of an ImageBundle: digest of the bundle whose sequence a person confirms.
pub(super) const CONFIRMATION: &str = "kuberegistrysync.io/accept-sequence";

/// What is known of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// The clock of this machine.
    pub site: Timestamp,
    /// What the API server said last.
    pub server: Option<Timestamp>,
    /// When the importer was built.
    pub built: Timestamp,
}

impl Times {
    /// The latest of them.
    fn latest(&self) -> Timestamp {
        self.server.map_or(self.site, |server| server.max(self.site)).max(self.built)
    }

    /// The latest of the times that bundles told, as far as each follows within [`MAX_AHEAD`] upon a clock or an earlier
    /// one: the clock of a machine may stand still, and one bundle that was made with a wrong clock, whatever its sequence,
    /// must not let the right ones expire. (T-30)
    pub(super) fn newest(&self, created: impl Iterator<Item = Timestamp>) -> Option<Timestamp> {
        let mut created = created.collect::<Vec<_>>();
        created.sort_unstable();
        let mut latest = self.latest();
        let follows = |time: &Timestamp| {
            let is_near = time.as_second() <= latest.as_second().saturating_add(MAX_AHEAD);
            latest = latest.max(*time);
            is_near
        };
        created.into_iter().take_while(follows).last()
    }
}

/// A sequence or a time that is too far ahead, and the times that it was compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ahead {
    sequence: u64,
    /// The time at which the bundle says that it was made, where that is too far ahead and the sequence is not.
    created_at: Option<Timestamp>,
    times: Times,
    /// The mark of the stream.
    mark: Option<Mark>,
}

/// When this program was built.
pub(super) fn built() -> Timestamp {
    let seconds = env!("KRS_BUILT").parse::<i64>().unwrap_or_default();
    Timestamp::from_second(seconds).unwrap_or_default()
}

/// Whether `sequence`, or the time `created_at` of the bundle, is too far ahead to be used without a confirmation, where
/// `mark` is what the site has used of its stream. Counters are below any time and never are. A stream whose mark is above all times counts something else (the
/// number of a pipeline): once the first of these was confirmed, only leaps are told from what is right.
pub(super) fn check(
    sequence: u64,
    created_at: Timestamp,
    mark: Option<&Mark>,
    times: &Times,
) -> Option<Ahead> {
    let accepted = mark.map(|mark| mark.created_at);
    let latest = accepted.map_or(times.latest(), |accepted| accepted.max(times.latest()));
    let latest = latest.as_second().saturating_add(MAX_AHEAD);
    let is_made_later = created_at.as_second() > latest;
    let latest = u64::try_from(latest).unwrap_or_default();
    let reached = mark.map(|mark| mark.sequence).unwrap_or_default();
    let next = if reached > latest { reached.saturating_mul(MAX_GROWTH) } else { latest };
    let is_sequence_ahead = sequence > next;
    let created_at = (is_made_later && !is_sequence_ahead).then_some(created_at);
    let ahead = || Ahead { sequence, created_at, times: *times, mark: mark.cloned() };
    (is_sequence_ahead || is_made_later).then(ahead)
}

impl Ahead {
    /// What is wrong with it, and how to confirm it, for people.
    pub(super) fn message(&self, name: &str, stream: &StreamName, digest: &Digest) -> String {
        let at = |time: Timestamp| time.round(jiff::Unit::Second).unwrap_or(time);
        let as_time =
            i64::try_from(self.sequence).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        let as_time = as_time.map_or_else(|| "later than any time".to_owned(), |time| time.to_string());
        let mut known = vec![format!("the site's clock says {}", at(self.times.site))];
        known.extend(self.times.server.map(|time| format!("the API server {}", at(time))));
        known.extend(self.mark.as_ref().map(|mark| {
            format!("the last bundle (sequence {}) was made at {}", mark.sequence, at(mark.created_at))
        }));
        known.push(format!("the importer was built at {}", at(self.times.built)));
        let known = known.join(", ");
        let of_time = self.created_at.map(|made| {
            format!(
                "it says that it was made at {}, which is too far ahead: {known}; once it is used, its tags replace those of \
                 all other streams",
                at(made)
            )
        });
        let of_sequence = || {
            format!(
                "its sequence {} of stream `{stream}` is, as a time, {as_time}, and too far ahead: {}; once it is used, all \
             bundles with a lower sequence are superseded",
                self.sequence, known
            )
        };
        let what = of_time.unwrap_or_else(of_sequence);
        let next = format!(
            "ask its sender, and if it is right, run `kubectl annotate --overwrite imagebundle {name} \
             {CONFIRMATION}={digest}`; else remove it"
        );
        sentence(&what, Some(&next))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DAY: i64 = 86_400;
    const NOW: i64 = 1_795_700_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn mark(sequence: u64, created_at: i64) -> Mark {
        Mark { sequence, identity: Digest::of(b"any"), created_at: at(created_at) }
    }

    fn is_ahead(sequence: i64, mark: Option<&Mark>, times: &Times) -> bool {
        check(u64::try_from(sequence).unwrap(), at(0), mark, times).is_some()
    }

    #[test]
    fn t215_any_clock_that_is_right_lets_a_time_be_used_and_none_that_is_wrong_forbids_it() {
        let long_ago = at(0);
        let dead = Times { site: long_ago, server: Some(long_ago), built: long_ago };
        let known = [
            (Times { site: at(NOW), ..dead }, None),
            (Times { server: Some(at(NOW)), ..dead }, None),
            (Times { built: at(NOW), ..dead }, None),
            (dead, Some(mark(5, NOW))),
        ];
        for (times, mark) in &known {
            for (sequence, expected) in
                [(NOW - 400 * DAY, false), (NOW, false), (NOW + 7 * DAY, false), (NOW + 7 * DAY + 1, true)]
            {
                assert_eq!(
                    is_ahead(sequence, mark.as_ref(), times),
                    expected,
                    "{sequence} {times:?} {mark:?}"
                );
            }
        }
        assert!(is_ahead(NOW, None, &dead), "no clock knows");
        assert!(built() > at(1_700_000_000));
    }

    #[test]
    fn t30_a_time_that_a_bundle_told_counts_only_where_it_follows_upon_another_one() {
        let times = Times { site: at(NOW - 90 * DAY), server: None, built: at(NOW - 30 * DAY) };
        let newest = |days: &[i64]| {
            let created = days.iter().map(|days| at(NOW + days * DAY));
            times.newest(created).map(|time| (time.as_second() - NOW) / DAY)
        };
        assert_eq!(newest(&[]), None);
        assert_eq!(newest(&[-23]), Some(-23), "a week after the latest clock");
        assert_eq!(newest(&[-22]), None);
        assert_eq!(newest(&[365, -40, 366]), Some(-40), "neither of two that are as wrong");
        assert_eq!(
            newest(&[0, -20, -24, -10, -15, -5]),
            Some(0),
            "one week after the other, with a clock that stands"
        );
        let created = |times: &Times| times.newest([at(NOW + DAY)].into_iter());
        assert_eq!(created(&times), None);
        for times in [
            Times { site: at(NOW), ..times },
            Times { server: Some(at(NOW)), ..times },
            Times { built: at(NOW), ..times },
        ] {
            assert_eq!(created(&times), Some(at(NOW + DAY)), "{times:?}");
        }
    }

    #[test]
    fn t215_counters_are_never_ahead_and_other_numbers_only_at_first_or_by_a_leap() {
        let times = Times { site: at(NOW), server: None, built: at(NOW - 30 * DAY) };
        for (last, next) in [(None, 1), (Some(1), 2), (Some(117), 118), (Some(3), 20_261_126)] {
            let last = last.map(|sequence| mark(sequence, NOW - DAY));
            assert!(!is_ahead(next, last.as_ref(), &times), "{next}");
        }
        // The number of a run at GitHub, and days with an hour.
        for number in [19_000_000_000, 202_611_261_230] {
            assert!(is_ahead(number, None, &times), "{number}");
            let used = mark(u64::try_from(number).unwrap(), NOW);
            assert!(!is_ahead(number, Some(&used), &times), "it was used");
            assert!(!is_ahead(number + 40_000_000, Some(&used), &times));
            assert!(is_ahead(2 * number + 1, Some(&used), &times));
        }
        assert!(check(1 << 63, at(NOW), Some(&mark(117, NOW)), &times).is_some());
        assert!(check(u64::MAX, at(NOW), None, &times).is_some());
        // Of a stream whose sequences are times, one that was confirmed allows no later one.
        let confirmed = mark(u64::try_from(NOW + 365 * DAY).unwrap(), NOW + 365 * DAY);
        assert!(!is_ahead(NOW + 370 * DAY, Some(&confirmed), &times));
        assert!(is_ahead(NOW + 400 * DAY, Some(&confirmed), &times));
    }

    #[test]
    fn t215_the_message_has_all_times_and_the_command_and_fits() {
        let times = Times { site: at(NOW), server: Some(at(NOW + 1)), built: at(NOW - DAY) };
        let digest = Digest::of(b"bundle");
        let (stream, name) = ("s".repeat(63).parse::<StreamName>().unwrap(), "n".repeat(63));
        for sequence in [u64::try_from(NOW + 365 * DAY).unwrap(), u64::MAX] {
            let ahead = check(sequence, at(NOW), Some(&mark(3, NOW - 2 * DAY)), &times).unwrap();
            let text = ahead.message(&name, &stream, &digest);
            for time in [NOW, NOW + 1, NOW - DAY, NOW - 2 * DAY] {
                assert!(text.contains(&at(time).to_string()), "{text}");
            }
            let command = format!(
                "`kubectl annotate --overwrite imagebundle {name} kuberegistrysync.io/accept-sequence={digest}`"
            );
            assert!(text.contains(&command) && text.ends_with("else remove it"), "{text}");
        }
    }
    #[test]
    fn t261_a_counter_with_a_time_far_ahead_is_confirmed_first_and_said_to_be_that() {
        let times = Times { site: at(NOW), server: None, built: at(NOW - 30 * DAY) };
        for (made, mark, expected) in [
            (NOW + 7 * DAY, None, false),
            (NOW + 7 * DAY + 1, None, true),
            (NOW + 365 * DAY, Some(mark(3, NOW)), true),
            // It was confirmed, or used by an earlier version.
            (NOW + 365 * DAY, Some(mark(4, NOW + 365 * DAY)), false),
            (NOW, Some(mark(4, NOW + 365 * DAY)), false),
        ] {
            let ahead = check(5, at(made), mark.as_ref(), &times);
            assert_eq!(ahead.is_some(), expected, "{made}");
            let text = ahead.map(|ahead| ahead.message("n", &"s".parse().unwrap(), &Digest::of(b"x")));
            assert!(text.is_none_or(|text| text.contains(&format!("made at {}", at(made)))), "{made}");
        }
    }
}
