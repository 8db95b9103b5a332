// SPDX-License-Identifier: Apache-2.0
//! High-water marks: for each stream the highest bundle whose decisions the site has used. A bundle below the mark is
//! superseded: it still serves images that a set names by digest, and decides nothing.
//! [`crate::adapters::high_water_marks`] keeps the marks in the cluster.

use std::collections::BTreeMap;

use jiff::Timestamp;
use krs_core::bundle::{HighWaterMark, StreamName};
use krs_core::oci::digest::Digest;
use serde::{Deserialize, Serialize};

/// Longest description of an entry that cannot be read, in characters.
const MAX_DETAIL: usize = 200;

/// A bundle of a stream, as far as rollback protection goes. Importers of all versions read each other's marks, after an
/// update and after a rollback: these three fields never change, and what a later version adds is ignored
/// (`docs/adr/0006-how-formats-change.md`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// Its number in the stream.
    pub sequence: u64,
    /// SHA-256 over what it decides; see [`krs_core::bundle::BundleManifest::identity`].
    pub identity: Digest,
    /// When its content was decided: a clock that says less is wrong.
    pub created_at: Timestamp,
}

/// What the mark of its stream says of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarkComparison {
    /// It is at or above the mark: it may decide.
    Current,
    /// A bundle with a higher sequence was used.
    Superseded {
        /// The sequence of that bundle.
        by: u64,
    },
    /// Its sequence was used for other content.
    Reused {
        /// The identity that was used.
        expected: Digest,
    },
    /// The mark cannot be read, so that an older bundle cannot be told from a newer one.
    Unknown {
        /// Why, for people.
        detail: String,
    },
}

/// Verification that the mark of a stream stands at a bundle, durably: its decisions may be used. Only
/// [`crate::adapters::high_water_marks::HighWaterMarks::raise`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedDecisions {
    stream: StreamName,
    sequence: u64,
    identity: Digest,
}

impl UsedDecisions {
    /// For whoever has raised the mark, and for tests.
    pub(crate) fn of(stream: &StreamName, bundle: &Mark) -> Self {
        Self { stream: stream.clone(), sequence: bundle.sequence, identity: bundle.identity }
    }

    /// Whether it was made for this bundle.
    pub fn covers(&self, stream: &StreamName, bundle: &Mark) -> bool {
        (&self.stream, self.sequence, self.identity) == (stream, bundle.sequence, bundle.identity)
    }
}

/// The marks of all streams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks(BTreeMap<StreamName, Result<Mark, String>>);

impl Marks {
    /// Reads the data of the ConfigMap. An entry that is no mark makes its own stream unknown and no other one; a key that
    /// is no name of a stream concerns no bundle.
    pub fn parse(data: &BTreeMap<String, String>) -> Self {
        let entry = |(key, text): (&String, &String)| {
            let stream = key.parse::<StreamName>().ok()?;
            let mark = serde_json::from_str::<Mark>(text)
                .map_err(|error| krs_core::redact::printable(&error.to_string(), MAX_DETAIL));
            Some((stream, mark))
        };
        Self(data.iter().filter_map(entry).collect())
    }

    /// The mark of a stream, where there is one and it can be read.
    pub fn get(&self, stream: &StreamName) -> Option<&Mark> {
        self.0.get(stream)?.as_ref().ok()
    }

    /// All marks that can be read.
    pub fn iter(&self) -> impl Iterator<Item = (&StreamName, &Mark)> {
        self.0.iter().filter_map(|(stream, mark)| Some((stream, mark.as_ref().ok()?)))
    }

    /// What the mark of `stream` says of `bundle`. The comparison is [`krs_core::bundle::follows`].
    pub fn standing(&self, stream: &StreamName, bundle: &Mark) -> MarkComparison {
        use krs_core::bundle::{Freshness, RollbackError, follows};
        let mark = match self.0.get(stream) {
            None => return MarkComparison::Current,
            Some(Err(detail)) => return MarkComparison::Unknown { detail: detail.clone() },
            Some(Ok(mark)) => mark,
        };
        let accepted = HighWaterMark { sequence: mark.sequence, identity: Some(mark.identity) };
        let freshness = Freshness { accepted: Some(accepted), ..Freshness::default() };
        match follows(stream, bundle.sequence, bundle.identity, &freshness) {
            Ok(()) => MarkComparison::Current,
            Err(RollbackError::Reused { expected, .. }) => MarkComparison::Reused { expected },
            Err(RollbackError::Older { .. } | RollbackError::Stream { .. }) => {
                MarkComparison::Superseded { by: mark.sequence }
            }
        }
    }

    /// Whether the mark of `stream` is at `sequence` or above.
    pub fn has_reached(&self, stream: &StreamName, sequence: u64) -> bool {
        self.get(stream).is_some_and(|mark| mark.sequence >= sequence)
    }

    /// These, with a higher mark of one stream.
    pub(crate) fn with(&self, stream: &StreamName, mark: &Mark) -> Self {
        let mut marks = self.0.clone();
        marks.insert(stream.clone(), Ok(mark.clone()));
        Self(marks)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mark(sequence: u64, identity: &str) -> Mark {
        Mark { sequence, identity: Digest::of(identity.as_bytes()), created_at: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn t27_t28_a_bundle_stands_as_the_mark_of_its_own_stream_says() {
        let prod = "prod".parse().unwrap();
        let data = BTreeMap::from([("prod".to_owned(), serde_json::json!(mark(7, "seven")).to_string())]);
        let marks = Marks::parse(&data);
        let standing = |sequence, identity: &str| marks.standing(&prod, &mark(sequence, identity));
        assert_eq!(standing(8, "any"), MarkComparison::Current);
        assert_eq!(standing(7, "seven"), MarkComparison::Current);
        assert_eq!(standing(7, "other"), MarkComparison::Reused { expected: Digest::of(b"seven") });
        assert_eq!(standing(6, "seven"), MarkComparison::Superseded { by: 7 });
        assert_eq!(marks.standing(&"test".parse().unwrap(), &mark(1, "x")), MarkComparison::Current);
        assert!(marks.has_reached(&prod, 7) && !marks.has_reached(&prod, 8));
    }

    #[test]
    fn t27_a_mark_that_cannot_be_read_stops_its_own_stream_and_no_other_one() {
        let good = serde_json::json!(mark(7, "seven")).to_string();
        let data = [("prod", good.as_str()), ("test", "7"), ("No Stream", "x")];
        let marks =
            Marks::parse(&data.into_iter().map(|(key, text)| (key.to_owned(), text.to_owned())).collect());
        let standing = |stream: &str| marks.standing(&stream.parse().unwrap(), &mark(9, "nine"));
        assert_eq!(standing("prod"), MarkComparison::Current);
        assert!(matches!(standing("test"), MarkComparison::Unknown { .. }));
        assert!(!marks.has_reached(&"test".parse().unwrap(), 0));
        assert_eq!(marks.iter().count(), 1);
    }

    /// What version 0.1 wrote into the ConfigMap.
    const GOLDEN: &str = include_str!("../../../testdata/golden/0.1/importer/streams.json");

    #[test]
    fn t82_marks_survive_an_update_from_0_1_and_a_rollback_to_it() {
        let data = serde_json::from_str::<BTreeMap<String, String>>(GOLDEN).unwrap();
        let marks = Marks::parse(&data);
        let of = |stream: &str| marks.get(&stream.parse().unwrap()).unwrap();
        assert_eq!((of("prod").sequence, of("default").sequence), (7, 1_795_406_400));
        assert_eq!(
            (of("prod").identity, of("prod").created_at.as_second()),
            (Digest::of(b"identity"), 1_795_492_800)
        );
        // 0.1 refuses a mark with any further field, and then every bundle: what is written today is what it wrote.
        let written = |mark: &Mark| serde_json::json!(mark).to_string();
        let again = marks.iter().map(|(stream, mark)| (stream.to_string(), written(mark)));
        assert_eq!(again.collect::<BTreeMap<_, _>>(), data);
    }

    #[test]
    fn t82_marks_survive_a_rollback_from_a_later_version() {
        let data = serde_json::from_str::<BTreeMap<String, String>>(GOLDEN).unwrap();
        let later = |text: &String| text.replacen('{', "{\"added\":{\"later\":[1]},", 1);
        let later = data.iter().map(|(stream, text)| (stream.clone(), later(text))).collect();
        assert_eq!(Marks::parse(&later), Marks::parse(&data));
        let without = data["prod"].replace("\"sequence\"", "\"number\"");
        let marks = Marks::parse(&BTreeMap::from([("prod".to_owned(), without)]));
        assert_eq!(marks.get(&"prod".parse().unwrap()), None, "nothing is taken for a mark");
    }
}
