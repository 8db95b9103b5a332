// SPDX-License-Identifier: Apache-2.0
//! How long a response asks the client to wait.

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};
use jiff::Timestamp;

/// Numbers from here on are times of day in seconds since 1970, which some services send instead of a duration.
const UNIX_TIME: f64 = 1e9;

/// How long a response asks to wait: seconds, or a date, which is compared with the response's own `Date`
/// because the local clock may be wrong.
pub(in crate::registry) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let requested = text(RETRY_AFTER)?;
    let date = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp());
    let now = text(DATE).and_then(date).unwrap_or_else(Timestamp::now);
    if let Some(seconds) = requested.parse::<f64>().ok().filter(|seconds| !seconds.is_nan()) {
        let past = if seconds >= UNIX_TIME { now.as_duration().as_secs_f64() } else { 0.0 };
        return Duration::try_from_secs_f64((seconds - past).max(0.0)).ok();
    }
    let until = date(requested)?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn t54_retry_after_is_read_as_seconds_and_as_date() {
        let headers = |requested: &str, date: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, requested.parse().unwrap());
            headers.insert(DATE, date.parse().unwrap());
            headers
        };
        let now = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(retry_after(&headers("7", now)), Some(Duration::from_secs(7)));
        let later = "Sun, 06 Nov 1994 08:50:37 GMT";
        assert_eq!(retry_after(&headers(later, now)), Some(Duration::from_secs(60)));
        assert_eq!(retry_after(&headers(now, later)), Some(Duration::ZERO));
        assert_eq!(retry_after(&headers("soon", now)), None);
        assert_eq!(retry_after(&headers("1.5", now)), Some(Duration::from_millis(1500)));
        assert_eq!(retry_after(&headers("-3", now)), Some(Duration::ZERO));
        let unix = "Sat, 21 Nov 2026 00:00:00 GMT";
        assert_eq!(retry_after(&headers("1795219260", unix)), Some(Duration::from_secs(60)), "a time of day");
        for bad in ["inf", "nan", "1e300", ""] {
            assert_eq!(retry_after(&headers(bad, now)), None, "{bad}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
