// SPDX-License-Identifier: Apache-2.0
//! Numbers as people read them.

use std::time::Duration;

/// Bytes in binary units: `1.4 GiB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, UNITS[0]);
    for next in &UNITS[1..] {
        // What would be shown as 1000 or more is shown in the next unit.
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if value < 99.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// Seconds with three digits after the point, for programs.
pub(crate) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Bytes per second: `118 MB/s`, `1.2 GB/s`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn rate(bytes: u64, elapsed: Duration) -> String {
    let per_second = bytes as f64 / elapsed.as_secs_f64().max(0.001);
    let (value, unit) = if per_second >= 999.5e6 {
        (per_second / 1e9, "GB/s")
    } else if per_second >= 999.5e3 || bytes == 0 {
        (per_second / 1e6, "MB/s")
    } else {
        (per_second / 1e3, "kB/s")
    };
    if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// A time in at most two units: `0.4 s`, `12 s`, `3 min 20 s`, `1 h 5 min`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64().round();
    if time < Duration::from_secs(10) {
        return format!("{:.1} s", time.as_secs_f64());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a run")]
    let seconds = seconds as u64;
    match (seconds / 3600, seconds % 3600 / 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, min, s) => format!("{min} min {s} s"),
        (h, min, _) => format!("{h} h {min} min"),
    }
}

/// `1 image`, `3 images`.
pub(crate) fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// What a run retried, after a comma, if anything: `, 3 requests retried (997 more were allowed)`.
pub(crate) fn retries(done: u64, left: u32) -> String {
    if done == 0 {
        return String::new();
    }
    format!(", {} retried ({left} more were allowed)", count(done, "request"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (102_400, "100 KiB"),
            (1023 << 10, "1.0 MiB"),
            (1_503_238_553, "1.4 GiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }

    #[test]
    fn rates_and_times_are_short() {
        let second = Duration::from_secs(1);
        assert_eq!(rate(118_400_000, second), "118 MB/s");
        assert_eq!(rate(1_240_000_000, second), "1.2 GB/s");
        assert_eq!(rate(500, second), "0.5 kB/s");
        assert_eq!(rate(0, Duration::ZERO), "0.0 MB/s");
        assert_eq!(duration(Duration::from_millis(420)), "0.4 s");
        assert_eq!(duration(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(duration(Duration::from_secs(3900)), "1 h 5 min");
        assert_eq!((count(1, "image"), count(2, "image")), ("1 image".to_owned(), "2 images".to_owned()));
    }
}
