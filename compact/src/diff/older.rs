// SPDX-License-Identifier: Apache-2.0
//! The older version of a file, in which matches are searched.
//!
//! To sort the suffixes of a large file takes far longer than anything else. Most of it has long parts that the newer version has too;
//! these are found at once, and only the suffixes of what lies between are sorted.

use std::borrow::Cow;

use super::anchors::{Anchor, anchors};
use super::suffix::{Suffixes, common_prefix};

/// A shorter file is searched completely.
const LONG: usize = 1 << 20;
/// Bytes at both ends of an equal part that are searched too.
const MARGIN: usize = 256;

/// If more than this would be searched, only what is near the equal parts is: a part of a large file comes with more of the older
/// version than belongs to it.
const MUCH: usize = 24 << 20;
/// How near: bytes before the first of the equal parts, and behind the last.
const NEAR: usize = 2 << 20;

/// An older version, with what one newer version of it needs.
pub(super) struct Older<'a> {
    pub(super) bytes: &'a [u8],
    anchors: Vec<Anchor>,
    suffixes: Suffixes<'a>,
    /// Where the ranges between the equal parts begin: in the text of the suffixes, and in the file.
    ranges: Vec<(usize, usize)>,
}

impl<'a> Older<'a> {
    /// Prepares the search for the parts of `new`.
    pub(super) fn new(bytes: &'a [u8], new: &[u8]) -> Self {
        Self::with_limit(bytes, new, MUCH)
    }

    /// `much` is [`MUCH`] but for tests.
    fn with_limit(bytes: &'a [u8], new: &[u8], much: usize) -> Self {
        let anchors = if bytes.len() < LONG { Vec::new() } else { anchors(bytes, new) };
        if anchors.is_empty() {
            let suffixes = Suffixes::new(Cow::Borrowed(bytes));
            return Self { bytes, anchors, suffixes, ranges: vec![(0, 0)] };
        }
        let mut kept = between(&anchors, bytes.len());
        if kept.iter().map(|(begin, end)| end - begin).sum::<usize>() > much {
            let first = anchors.iter().map(|anchor| anchor.old).min().unwrap_or_default();
            let last = anchors.iter().map(|anchor| anchor.old + anchor.length).max().unwrap_or_default();
            for (begin, end) in &mut kept {
                *begin = (*begin).max(first.saturating_sub(NEAR));
                *end = (*end).min(last + NEAR);
            }
            kept.retain(|(begin, end)| begin < end);
        }
        let (mut text, mut ranges) = (Vec::new(), Vec::new());
        for (begin, end) in kept {
            ranges.push((text.len(), begin));
            text.extend_from_slice(&bytes[begin..end]);
        }
        Self { bytes, anchors, suffixes: Suffixes::new(Cow::Owned(text)), ranges }
    }

    /// The length of the longest match found for `new` from `at` on, and where it is.
    pub(super) fn longest(&self, new: &[u8], at: usize) -> (usize, usize) {
        let after = self.anchors.partition_point(|anchor| anchor.new <= at);
        let anchor = after.checked_sub(1).map(|before| self.anchors[before]);
        if let Some(anchor) = anchor.filter(|anchor| at < anchor.new + anchor.length) {
            let done = at - anchor.new;
            return (anchor.length - done, anchor.old + done);
        }
        let (length, found) = self.suffixes.longest(&new[at..]);
        let after = self.ranges.partition_point(|(text, _)| *text <= found);
        let Some((text, begin)) = after.checked_sub(1).map(|before| self.ranges[before]) else {
            return (0, 0);
        };
        let place = begin + (found - text);
        // The text continues elsewhere than the file behind the end of a range.
        match self.ranges.get(after) {
            Some((next, _)) if found + length >= *next => {
                (common_prefix(&self.bytes[place..], &new[at..]), place)
            }
            _ => (length, place),
        }
    }
}

/// The ranges of a file of `length` bytes that no equal part covers, with margins.
fn between(anchors: &[Anchor], length: usize) -> Vec<(usize, usize)> {
    let mut covered =
        anchors.iter().map(|anchor| (anchor.old, anchor.old + anchor.length)).collect::<Vec<_>>();
    covered.sort_unstable();
    let (mut ranges, mut done) = (Vec::new(), 0);
    for (begin, end) in covered.into_iter().chain([(length + MARGIN, length + MARGIN)]) {
        let (from, to) = (done, (begin + MARGIN).min(length));
        // The same part can be in the newer file several times.
        if from < to {
            ranges.push((from, to));
        }
        done = done.max(end.saturating_sub(MARGIN));
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::super::tests::noise;
    use super::*;

    /// Each match is one, and what was moved is found from its beginning, whether it is long enough for an equal part or not.
    #[test]
    fn matches_are_in_the_file_itself() {
        let old = noise(1, 9 << 20);
        let at = 5 << 20;
        let new =
            [&old[at..at + 100_000], &noise(2, 50), &old[at + 110_000..at + 111_000], &old[at..at + 9000]]
                .concat();
        for much in [MUCH, 0] {
            let older = Older::with_limit(&old, &new, much);
            assert!(!older.anchors.is_empty());
            for scan in 0..new.len() {
                let (length, place) = older.longest(&new, scan);
                assert_eq!(old[place..place + length], new[scan..scan + length], "{scan}");
            }
            for (begin, end) in [(0, 100_000), (100_050, 101_050), (101_050, 110_050)] {
                // The first byte of a short part can have the other parity.
                let found = [begin, begin + 1].map(|at| at + older.longest(&new, at).0);
                assert!(found.contains(&end), "{begin}: {found:?}");
            }
        }
    }

    /// Far from the equal parts, a part of a large file is not searched.
    #[test]
    fn what_belongs_to_other_parts_is_left_out() {
        let old = noise(1, 9 << 20);
        let new = [&old[..50_000], &old[8 << 20..(8 << 20) + 500]].concat();
        let rest = |much| Older::with_limit(&old, &new, much).suffixes.longest(&new[50_002..]).0;
        assert!(rest(MUCH) >= 497, "{}", rest(MUCH));
        assert!(rest(0) < 20, "{}", rest(0));
    }
}
