// SPDX-License-Identifier: Apache-2.0
//! Whether a bundle may follow the bundles that were accepted before, is for this site, and has not expired. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

use super::stream::StreamName;
use crate::oci::digest::Digest;

/// The highest bundle of a stream that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HighWaterMark {
    /// The highest sequence that was accepted.
    pub sequence: u64,
    /// Its identity, if it is known; see [`crate::bundle::BundleManifest::identity`].
    pub identity: Option<Digest>,
}

/// The requirements on a bundle besides its integrity and its signature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freshness {
    /// The stream that it must belong to.
    pub stream: Option<StreamName>,
    /// What was accepted before, whatever the stream.
    pub accepted: Option<HighWaterMark>,
    /// What was accepted before of each stream.
    pub streams: BTreeMap<StreamName, HighWaterMark>,
    /// This site, for bundles that are not for all sites.
    pub audience: Option<String>,
    /// The current time; `None` if the expiry of a bundle does not matter.
    pub now: Option<Timestamp>,
}

/// Why a bundle may not follow what was accepted before.
#[derive(Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages explain the fields")]
pub enum RollbackError {
    /// Another stream.
    #[error("it belongs to stream `{got}`, expected stream `{expected}`")]
    Stream {
        /// The requested stream.
        expected: StreamName,
        got: StreamName,
    },
    /// Older than what was accepted.
    #[error("its sequence {got} of stream `{stream}` is lower than {expected}, which was accepted before")]
    Older {
        stream: StreamName,
        /// The lowest sequence that is acceptable.
        expected: u64,
        got: u64,
    },
    /// The same sequence for other content.
    #[error(
        "its sequence {sequence} of stream `{stream}` was used before for other content: expected {expected}, got {got}"
    )]
    Reused {
        stream: StreamName,
        sequence: u64,
        /// The identity that was accepted.
        expected: Digest,
        got: Digest,
    },
}

/// The largest difference between two clocks that both count as right.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// Whether a clock that says `now` is behind the time at which a bundle was made, so that it cannot tell whether the bundle
/// has expired.
pub fn is_clock_behind(created_at: Timestamp, now: Timestamp) -> bool {
    now.saturating_add(CLOCK_TOLERANCE).is_ok_and(|now| now < created_at)
}

/// Whether a bundle is past its end.
pub fn has_expired(not_after: Timestamp, now: Timestamp) -> bool {
    now > not_after
}

/// Compares a bundle's sequence and identity with what was accepted. Higher: accepted. Equal: accepted if the
/// identity is equal too (it is imported again, or a delta of it). Lower: refused.
///
/// # Errors
/// [`RollbackError`].
pub fn follows(
    stream: &StreamName,
    sequence: u64,
    identity: Digest,
    freshness: &Freshness,
) -> Result<(), RollbackError> {
    if let Some(expected) = freshness.stream.as_ref().filter(|expected| *expected != stream) {
        return Err(RollbackError::Stream { expected: expected.clone(), got: stream.clone() });
    }
    let accepted = freshness.accepted.as_ref().or_else(|| freshness.streams.get(stream));
    let Some(accepted) = accepted else { return Ok(()) };
    if sequence < accepted.sequence {
        return Err(RollbackError::Older {
            stream: stream.clone(),
            expected: accepted.sequence,
            got: sequence,
        });
    }
    match accepted.identity {
        Some(expected) if sequence == accepted.sequence && expected != identity => {
            Err(RollbackError::Reused { stream: stream.clone(), sequence, expected, got: identity })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t27_t28_only_a_higher_sequence_or_the_same_bundle_follows() {
        let (stream, this, other) = (StreamName::default(), Digest::of(b"this"), Digest::of(b"other"));
        let accepted = Some(HighWaterMark { sequence: 7, identity: Some(this) });
        let freshness = Freshness { accepted, ..Freshness::default() };
        let verdict = |sequence, identity| follows(&stream, sequence, identity, &freshness);
        assert_eq!(verdict(8, other), Ok(()));
        assert_eq!(verdict(7, this), Ok(()));
        assert!(matches!(verdict(7, other), Err(RollbackError::Reused { .. })));
        assert!(matches!(verdict(6, this), Err(RollbackError::Older { .. })));
        assert_eq!(verdict(u64::MAX, other), Ok(()), "T-29: only a trusted key can sign it");
        let accepted = HighWaterMark { sequence: 7, identity: Some(this) };
        let streams = BTreeMap::from([(stream.clone(), accepted)]);
        let freshness = Freshness { streams, ..Freshness::default() };
        assert!(matches!(follows(&stream, 6, this, &freshness), Err(RollbackError::Older { .. })));
        assert_eq!(follows(&"prod".parse().unwrap_or_default(), 6, this, &freshness), Ok(()));
        let elsewhere = Freshness { stream: "prod".parse().ok(), ..Freshness::default() };
        assert!(matches!(follows(&stream, 9, this, &elsewhere), Err(RollbackError::Stream { .. })));
    }

    #[test]
    fn t238_a_clock_is_behind_only_by_more_than_clocks_differ() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap_or_default();
        let created_at = at("2026-11-27T01:00:00Z");
        assert!(is_clock_behind(created_at, at("2020-01-01T00:00:00Z")));
        assert!(is_clock_behind(created_at, at("2026-11-27T00:54:59Z")));
        for right in ["2026-11-27T00:55:00Z", "2026-11-27T01:00:00Z", "2030-01-01T00:00:00Z"] {
            assert!(!is_clock_behind(created_at, at(right)), "{right}");
        }
        assert!(!is_clock_behind(Timestamp::MAX, Timestamp::MAX));
    }
}
