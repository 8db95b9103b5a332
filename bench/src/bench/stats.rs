// SPDX-License-Identifier: Apache-2.0
//! Statistics over several runs. Pure.

use std::time::Duration;

/// The middle one of several values, and the ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

/// Summary of values; none for no values.
pub(crate) fn summary(values: impl IntoIterator<Item = f64>) -> Option<Summary> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (least, most) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    let median = match values.get(middle.wrapping_sub(1)) {
        Some(lower) if values.len().is_multiple_of(2) => f64::midpoint(*lower, upper),
        _ => upper,
    };
    Some(Summary { median, least, most })
}

/// The median ratio of a run's time to the floor of the same round: a disturbance of the machine affects both.
pub(crate) fn ratio(runs: &[Duration], floors: &[Duration]) -> Option<f64> {
    let pairs = runs.iter().zip(floors).filter(|(_, floor)| !floor.is_zero());
    summary(pairs.map(|(run, floor)| run.as_secs_f64() / floor.as_secs_f64())).map(|ratios| ratios.median)
}

/// What is to be reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// At most so many times the floor.
    Times(f64),
    /// At least this part of the floor's speed.
    Speed(f64),
    /// At most so many seconds.
    Seconds(f64),
    /// It comes to its end.
    Completes,
    /// At most this part of all bytes.
    Bytes(f64),
    /// At most so many bytes of memory.
    Memory(u64),
    /// At most so many requests.
    Requests(u64),
    /// At least so many megabytes a second.
    Rate(f64),
}

impl Goal {
    /// As people read it.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Times(times) => format!("≤ {times} ×"),
            Self::Speed(part) => format!("≥ {part} × its speed"),
            Self::Seconds(seconds) => format!("≤ {seconds} s"),
            Self::Completes => "completes".to_owned(),
            Self::Bytes(part) if part <= 0.0 => "0 bytes".to_owned(),
            Self::Bytes(part) => format!("≤ {} % of the bytes", shown(part * 100.0)),
            Self::Memory(bytes) => format!("≤ {} MiB", bytes >> 20),
            Self::Requests(requests) => format!("≤ {requests} requests"),
            Self::Rate(least) => format!("≥ {least} MB/s"),
        }
    }

    /// Whether a value reaches it: a ratio to the floor, seconds, a part of bytes, or bytes of memory. What is shown is
    /// what counts: two digits.
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Self::Times(most) | Self::Seconds(most) => shown(value) <= most,
            Self::Speed(least) => shown(1.0 / value) >= least,
            Self::Bytes(most) => value <= most,
            Self::Completes => true,
            Self::Rate(least) => value >= least,
            #[expect(clippy::cast_precision_loss, reason = "of some megabytes, or some requests")]
            Self::Memory(most) | Self::Requests(most) => value <= most as f64,
        }
    }
}

fn shown(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_two() {
        assert_eq!(summary([3.0, 1.0, 2.0]).unwrap(), Summary { median: 2.0, least: 1.0, most: 3.0 });
        assert_eq!(summary([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(summary([7.0]).unwrap().median, 7.0);
        assert_eq!(summary([]), None);
    }

    #[test]
    fn a_ratio_compares_runs_of_the_same_round() {
        let seconds = |values: &[u64]| values.iter().map(|n| Duration::from_secs(*n)).collect::<Vec<_>>();
        // The second round was disturbed, for both.
        assert_eq!(ratio(&seconds(&[2, 20, 2]), &seconds(&[1, 10, 1])), Some(2.0));
        assert_eq!(ratio(&seconds(&[2]), &seconds(&[])), None);
        assert_eq!(ratio(&seconds(&[2]), &seconds(&[0])), None);
    }

    #[test]
    fn goals_have_an_edge() {
        assert!(Goal::Times(1.2).is_met(1.204) && !Goal::Times(1.2).is_met(1.206));
        assert!(Goal::Speed(0.85).is_met(1.0 / 0.846) && !Goal::Speed(0.85).is_met(1.0 / 0.844));
        assert!(Goal::Rate(20.0).is_met(20.0) && !Goal::Rate(20.0).is_met(19.9));
        assert_eq!(Goal::Bytes(0.035).text(), "≤ 3.5 % of the bytes");
        assert!(Goal::Bytes(0.0).is_met(0.0) && !Goal::Bytes(0.0).is_met(0.001));
        assert!(Goal::Memory(64 << 20).is_met(67_108_864.0) && !Goal::Memory(64 << 20).is_met(67_108_865.0));
    }
}
