// SPDX-License-Identifier: Apache-2.0
//! What `krs push` remembers: for each destination and stream the highest bundle that was pushed there, as the importer
//! does in its ConfigMap. Pure; [`PushState`] keeps it in a file.
//!
//! A bundle whose signature was checked has a mark of its own. One that nobody vouches for must not follow either mark, and
//! raises only the other one: anybody can write a bundle with a high sequence, and it must not lock out those that are
//! signed.

mod store;

use std::collections::BTreeMap;

use krs_core::bundle::{Freshness, HighWaterMark, RollbackError, StreamName, follows};
use krs_core::oci::digest::Digest;
use krs_core::redact::printable;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use store::{MarkUpdate, PushState, StateError};

/// Version of the file. A later version that only adds fields keeps it.
const FORMAT_VERSION: u32 = 1;
/// Longest description of what cannot be read, in characters.
const MAX_DETAIL: usize = 200;

/// A bundle, as far as rollback protection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mark {
    /// SHA-256 over what it decides.
    pub(crate) identity: Digest,
    /// Its number in the stream.
    pub(crate) sequence: u64,
}

impl From<Mark> for HighWaterMark {
    fn from(mark: Mark) -> Self {
        Self { sequence: mark.sequence, identity: Some(mark.identity) }
    }
}

/// A bundle that is to be pushed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) stream: &'a StreamName,
    pub(crate) mark: Mark,
    /// Whether a key that was asked for signed it.
    pub(crate) verified: bool,
}

/// The marks of one destination and stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StreamMarks {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unverified: Option<Mark>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verified: Option<Mark>,
}

impl StreamMarks {
    /// Whether the bundle may follow what was pushed before. The comparison is the importer's.
    fn check(&self, bundle: &Candidate<'_>) -> Result<(), RollbackError> {
        let unverified = self.unverified.filter(|_| !bundle.verified);
        self.verified.into_iter().chain(unverified).try_for_each(|mark| {
            let freshness = Freshness { accepted: Some(mark.into()), ..Freshness::default() };
            follows(bundle.stream, bundle.mark.sequence, bundle.mark.identity, &freshness)
        })
    }

    /// Raises the mark that the bundle has; answers whether it was lower.
    fn raise(&mut self, bundle: &Candidate<'_>) -> bool {
        let mark = if bundle.verified { &mut self.verified } else { &mut self.unverified };
        let is_higher = mark.is_none_or(|mark| mark.sequence < bundle.mark.sequence);
        if is_higher {
            *mark = Some(bundle.mark);
        }
        is_higher
    }
}

/// All marks, by destination and stream. What is not needed is kept as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Marks {
    format_version: u32,
    #[serde(default)]
    marks: BTreeMap<String, BTreeMap<String, Value>>,
}

impl Default for Marks {
    fn default() -> Self {
        Self { format_version: FORMAT_VERSION, marks: BTreeMap::new() }
    }
}

/// Why a bundle must not be pushed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Objection {
    /// It may not follow what was pushed before.
    Rollback(RollbackError),
    /// The entry is no mark, so that an older bundle cannot be told from a newer one.
    Unreadable(String),
}

impl Marks {
    /// Reads the file.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let shown = |error: serde_json::Error| printable(&error.to_string(), MAX_DETAIL);
        let marks = serde_json::from_slice::<Self>(bytes).map_err(shown)?;
        if marks.format_version != FORMAT_VERSION {
            let version = marks.format_version;
            return Err(format!("it is of format version {version}; this krs reads {FORMAT_VERSION}"));
        }
        Ok(marks)
    }

    fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn of(&self, destination: &str, stream: &StreamName) -> Result<StreamMarks, Objection> {
        let Some(entry) = self.marks.get(destination).and_then(|streams| streams.get(stream.as_str())) else {
            return Ok(StreamMarks::default());
        };
        // Checked before it is read as one: every field of a mark is optional.
        let is_known = |key: &String| matches!(key.as_str(), "verified" | "unverified");
        let has_mark = entry.as_object().is_some_and(|entry| entry.keys().any(is_known));
        let unreadable = |detail: &str| Objection::Unreadable(printable(detail, MAX_DETAIL));
        if !has_mark {
            return Err(unreadable("it has neither `verified` nor `unverified`"));
        }
        StreamMarks::deserialize(entry).map_err(|error| unreadable(&error.to_string()))
    }

    /// Whether a bundle may be pushed to a destination.
    pub(crate) fn check(&self, destination: &str, bundle: &Candidate<'_>) -> Result<(), Objection> {
        self.of(destination, bundle.stream)?.check(bundle).map_err(Objection::Rollback)
    }

    /// Raises the mark of a bundle that was pushed; answers whether it was lower.
    fn raise(&mut self, destination: &str, bundle: &Candidate<'_>) -> Result<bool, Objection> {
        let mut marks = self.of(destination, bundle.stream)?;
        if !marks.raise(bundle) {
            return Ok(false);
        }
        let entry = serde_json::to_value(marks).map_err(|error| Objection::Unreadable(error.to_string()))?;
        self.marks.entry(destination.to_owned()).or_default().insert(bundle.stream.to_string(), entry);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const EDGE: &str = "edge.local:5000/mirror";

    fn mark(sequence: u64, identity: &str) -> Mark {
        Mark { sequence, identity: Digest::of(identity.as_bytes()) }
    }

    fn stream() -> StreamName {
        "prod".parse().unwrap()
    }

    #[test]
    fn t242_a_bundle_may_follow_only_what_was_pushed_to_the_same_place() {
        let (prod, test) = (stream(), "test".parse().unwrap());
        let bundle =
            |stream, sequence, identity| Candidate { stream, mark: mark(sequence, identity), verified: true };
        let mut marks = Marks::default();
        assert_eq!(marks.raise(EDGE, &bundle(&prod, 7, "seven")), Ok(true));
        assert_eq!(marks.raise(EDGE, &bundle(&prod, 5, "five")), Ok(false), "a mark is never lowered");
        let marks = Marks::parse(&marks.encode().unwrap()).unwrap();
        let check = |destination, stream, sequence, identity| {
            marks.check(destination, &bundle(stream, sequence, identity))
        };
        assert_eq!(check(EDGE, &prod, 7, "seven"), Ok(()));
        assert_eq!(check(EDGE, &prod, 8, "eight"), Ok(()));
        assert!(matches!(
            check(EDGE, &prod, 6, "six"),
            Err(Objection::Rollback(RollbackError::Older { expected: 7, got: 6, .. }))
        ));
        assert!(matches!(
            check(EDGE, &prod, 7, "other"),
            Err(Objection::Rollback(RollbackError::Reused { .. }))
        ));
        assert_eq!(check("edge.local:5000", &prod, 6, "six"), Ok(()), "another destination");
        assert_eq!(check(EDGE, &test, 6, "six"), Ok(()), "another stream");
    }

    #[test]
    fn t244_what_nobody_vouches_for_locks_out_nothing_that_is_signed() {
        let prod = stream();
        let bundle = |sequence, verified| Candidate { stream: &prod, mark: mark(sequence, "x"), verified };
        let mut marks = Marks::default();
        marks.raise(EDGE, &bundle(u64::MAX, false)).unwrap();
        marks.raise(EDGE, &bundle(7, true)).unwrap();
        assert_eq!(marks.check(EDGE, &bundle(8, true)), Ok(()));
        assert!(marks.check(EDGE, &bundle(6, true)).is_err());
        assert!(marks.check(EDGE, &bundle(8, false)).is_err(), "it is below the mark of its own kind");
        let mut signed = Marks::default();
        signed.raise(EDGE, &bundle(7, true)).unwrap();
        assert!(signed.check(EDGE, &bundle(6, false)).is_err(), "it must not go below what is signed either");
    }

    #[test]
    fn t245_what_cannot_be_read_stops_its_own_stream_and_is_kept() {
        let prod = stream();
        let bundle = Candidate { stream: &prod, mark: mark(9, "nine"), verified: true };
        let text = r#"{"formatVersion":1,"marks":{"a":{"prod":7,"test":{"verified":{"later":1}}},"b":{}}}"#;
        let mut marks = Marks::parse(text.as_bytes()).unwrap();
        assert!(matches!(marks.check("a", &bundle), Err(Objection::Unreadable(_))));
        assert!(matches!(marks.raise("a", &bundle), Err(Objection::Unreadable(_))), "it is not replaced");
        assert_eq!(marks.raise("b", &bundle), Ok(true));
        assert_eq!(marks.marks["a"], Marks::parse(text.as_bytes()).unwrap().marks["a"]);
        for damaged in ["", "{", "[]", r#"{"marks":{}}"#, r#"{"formatVersion":2,"marks":{}}"#] {
            assert!(Marks::parse(damaged.as_bytes()).is_err(), "{damaged}");
        }
        for entry in ["null", "{}", "[]", r#"{"sequence":7}"#, r#"{"verified":{"sequence":7}}"#] {
            let text = format!(r#"{{"formatVersion":1,"marks":{{"a":{{"prod":{entry}}}}}}}"#);
            let marks = Marks::parse(text.as_bytes()).unwrap();
            assert!(matches!(marks.check("a", &bundle), Err(Objection::Unreadable(_))), "{entry}");
        }
    }
}
