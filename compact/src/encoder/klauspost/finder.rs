// SPDX-License-Identifier: Apache-2.0
//! The match finder of level 5: two tables of earlier positions, by the hash of 4 and of 7 bytes.

use std::ops::Range;

use crate::deflate::{MAXIMUM_MATCH, Place, Token, TokenSink, WINDOW};

/// The first distance that is too far for a match.
const NEAR: u32 = 32768;
/// So many bytes at the end of a chunk are never the start of a search.
const MARGIN: usize = 11;
/// A shorter chunk is not searched.
pub(super) const SEARCHED: usize = 128;
/// From this length on, the end of a match is not searched for a longer one.
const LONG_ENOUGH: usize = 30;
const SLOTS: usize = 1 << 15;
/// Beyond it the positions in the tables are counted from a later byte, long before they could overflow.
pub(super) const MAX_ORIGIN: u32 = 1 << 30;

/// The text that is searched, and the bytes around it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    /// The bytes before a chunk, the chunk, and some bytes after it.
    pub(super) bytes: &'a [u8],
    /// Where in the stream they begin.
    pub(super) start: u64,
    pub(super) is_end: bool,
}

/// The tables, and where they have their positions from.
///
/// A position is that of a byte in the text plus `origin`, which is at least [`NEAR`], so that an empty slot (0) is near to none.
#[derive(Debug)]
pub(super) struct Finder {
    short: Box<[u32; SLOTS]>,
    /// The newest position and the one before it.
    long: Box<[[u32; 2]; SLOTS]>,
    origin: u32,
}

/// Where a search stands.
struct Cursor {
    /// The first byte that no token covers.
    uncovered: usize,
    /// Where the search continues, which may be some bytes later.
    search: usize,
}

/// A match before it is cut into tokens: the bytes at `start` equal those at `candidate`.
struct Candidate {
    start: usize,
    candidate: usize,
    length: usize,
    /// The last position that the scan has entered into the tables, or would have read next.
    scanned: usize,
}

/// The sink answered with another token.
struct Divergence {
    start: usize,
    length: usize,
}

impl Finder {
    pub(super) fn new() -> Self {
        Self { short: Box::new([0; SLOTS]), long: Box::new([[0; 2]; SLOTS]), origin: NEAR }
    }

    /// Forgets everything: no byte of the text so far, of which there were `length`, is found again.
    pub(super) fn forget(&mut self, length: usize) {
        self.slide(length.saturating_add(WINDOW));
    }

    /// The text begins `count` bytes later from now on.
    pub(super) fn slide(&mut self, count: usize) {
        let origin = u64::from(self.origin) + count as u64;
        match u32::try_from(origin) {
            Ok(origin) if origin <= MAX_ORIGIN => self.origin = origin,
            _ => {
                let back = origin - u64::from(NEAR);
                let renumber = |slot: &mut u32| *slot = u64::from(*slot).saturating_sub(back) as u32;
                self.short.iter_mut().for_each(renumber);
                self.long.iter_mut().flatten().for_each(renumber);
                self.origin = NEAR;
            }
        }
    }

    /// Finds the tokens for a chunk of the text, from `uncovered` on, and returns where the last of them ends: at the end of the
    /// chunk, or later if the sink answers with a match that reaches into the next.
    ///
    /// At least [`WINDOW`] bytes before the chunk are there, or all that the stream has.
    pub(super) fn search<S: TokenSink>(
        &mut self,
        text: Text<'_>,
        chunk: Range<usize>,
        uncovered: usize,
        sink: &mut S,
    ) -> usize {
        let searched = text.bytes.get(..chunk.end).unwrap_or(text.bytes);
        let limit = (chunk.len() >= SEARCHED).then(|| searched.len().saturating_sub(MARGIN));
        let mut emitter = Emitter { text, sink };
        let mut cursor = Cursor { uncovered, search: uncovered };
        while cursor.uncovered < searched.len() {
            let found = limit.and_then(|limit| self.find(searched, &cursor, limit));
            let emitted = match &found {
                Some(found) => emitter.literals(cursor.uncovered..found.start).and_then(|()| {
                    emitter.match_of(found.start, found.start - found.candidate, found.length)
                }),
                None => emitter.literals(cursor.uncovered..searched.len()),
            };
            let length = match (emitted, found) {
                (Ok(()), Some(found)) => {
                    cursor.uncovered = found.start + found.length;
                    cursor.search = cursor.uncovered.max(found.scanned + 1);
                    found.length
                }
                (Ok(()), None) => return searched.len(),
                (Err(divergence), _) => {
                    cursor.uncovered = divergence.start + divergence.length;
                    cursor.search = cursor.uncovered;
                    divergence.length
                }
            };
            if limit.is_some_and(|limit| cursor.search < limit) {
                self.enter_match(searched, cursor.search, length);
            }
        }
        cursor.uncovered
    }

    #[cfg(test)]
    pub(super) fn set_origin(&mut self, origin: u32) {
        self.origin = origin;
    }

    /// The next match, extended in both directions.
    #[inline(always)]
    fn find(&mut self, text: &[u8], cursor: &Cursor, limit: usize) -> Option<Candidate> {
        let mut found = self.scan(text, cursor, limit)?;
        let end = found.start + found.length;
        if found.length < LONG_ENOUGH && end < limit {
            let newest = self.long[hash_long(bytes(text, end))][0];
            // What lies before the newest place of the end's hash may be longer, from two bytes later on.
            if let Some(earlier) =
                self.near(end, newest).and_then(|place| (place + 2).checked_sub(found.length))
            {
                let length = common_prefix(text, found.start + 2, earlier, usize::MAX);
                if length > found.length {
                    found = Candidate { start: found.start + 2, candidate: earlier, length, ..found };
                }
            }
        }
        while found.candidate > 0
            && found.start > cursor.uncovered
            && text[found.candidate - 1] == text[found.start - 1]
        {
            found.candidate -= 1;
            found.start -= 1;
            found.length += 1;
        }
        Some(found)
    }

    /// Steps through the text, ever faster as long as nothing is found, until an earlier place has the same 4 bytes.
    #[inline(always)]
    fn scan(&mut self, text: &[u8], cursor: &Cursor, limit: usize) -> Option<Candidate> {
        let mut start = cursor.search;
        let mut here = bytes(text, start);
        loop {
            let scanned = start + 1 + ((start - cursor.uncovered) >> 6);
            if scanned > limit {
                return None;
            }
            let (short, long) = (hash_short(here), hash_long(here));
            let (recent, [newest, older]) = (self.short[short], self.long[long]);
            let position = self.position(start);
            self.short[short] = position;
            self.long[long] = [position, newest];
            let next = bytes(text, scanned);
            let same = |place: &usize| bytes(text, *place) as u32 == here as u32;

            if let Some(place) = self.near(start, newest) {
                let older = || self.near(start, older).filter(same);
                if same(&place) {
                    let mut best = (place, None);
                    if let Some(older) = older() {
                        let length = common_prefix(text, start, place, MAXIMUM_MATCH);
                        let longer = common_prefix(text, start, older, MAXIMUM_MATCH);
                        best = if longer > length { (older, Some(longer)) } else { (place, Some(length)) };
                    }
                    self.enter(scanned, next);
                    return Some(extended(text, start, best, scanned));
                }
                if let Some(older) = older() {
                    self.enter(scanned, next);
                    return Some(extended(text, start, (older, None), scanned));
                }
            }
            if let Some(place) = self.near(start, recent).filter(same) {
                let length = common_prefix(text, start, place, MAXIMUM_MATCH);
                let [newest, older] = self.long[hash_long(next)];
                self.enter(scanned, next);
                if let Some(newest) = self.near(scanned, newest) {
                    for place in [Some(newest), self.near(scanned, older)].into_iter().flatten() {
                        if bytes(text, place) as u32 == next as u32 {
                            let longer = common_prefix(text, scanned, place, MAXIMUM_MATCH);
                            if longer > length {
                                return Some(extended(text, scanned, (place, Some(longer)), scanned));
                            }
                        }
                    }
                }
                return Some(extended(text, start, (place, Some(length)), scanned));
            }
            (start, here) = (scanned, next);
        }
    }

    /// Where the text has what a slot names, if that is less than [`NEAR`] before `at`. After an answer that differed, the tables
    /// can name places that are not before `at`: those are no candidates.
    #[inline(always)]
    fn near(&self, at: usize, slot: u32) -> Option<usize> {
        let distance = self.position(at).wrapping_sub(slot);
        if distance.wrapping_sub(1) < NEAR - 1 { at.checked_sub(distance as usize) } else { None }
    }

    #[inline(always)]
    fn position(&self, at: usize) -> u32 {
        self.origin.wrapping_add(at as u32)
    }

    #[inline(always)]
    fn enter(&mut self, at: usize, value: u64) {
        self.enter_short(at, value);
        self.enter_long(at, value);
    }

    #[inline(always)]
    fn enter_short(&mut self, at: usize, value: u64) {
        self.short[hash_short(value)] = self.position(at);
    }

    #[inline(always)]
    fn enter_long(&mut self, at: usize, value: u64) {
        let position = self.position(at);
        let slot = &mut self.long[hash_long(value)];
        *slot = [position, slot[0]];
    }

    /// Enters some of the positions inside of a match that ends at `end`, and the last one.
    #[inline(always)]
    fn enter_match(&mut self, text: &[u8], end: usize, length: usize) {
        let (first, last) = (end + 1 - length.min(end), end - 1);
        if first < last {
            let value = bytes(text, first);
            self.enter(first, value);
            self.enter_long(first + 1, value >> 8);
            self.enter_short(first + 2, value >> 16);
            for at in (first + 4..last).step_by(3) {
                let value = bytes(text, at);
                self.enter_long(at, value);
                self.enter_short(at + 1, value >> 8);
            }
        }
        self.enter(last, bytes(text, last));
    }
}

/// A candidate whose length is known is longer only if it has the greatest length to which it was compared.
#[inline(always)]
fn extended(
    text: &[u8],
    start: usize,
    (candidate, length): (usize, Option<usize>),
    scanned: usize,
) -> Candidate {
    let length = match length {
        Some(length) if length < MAXIMUM_MATCH => length,
        _ => common_prefix(text, start, candidate, usize::MAX),
    };
    Candidate { start, candidate, length, scanned }
}

struct Emitter<'a, S> {
    text: Text<'a>,
    sink: &'a mut S,
}

impl<S: TokenSink> Emitter<'_, S> {
    #[inline(always)]
    fn literals(&mut self, range: Range<usize>) -> Result<(), Divergence> {
        for (at, &byte) in range.clone().zip(&self.text.bytes[range]) {
            self.token(Token::Literal(byte), at)?;
        }
        Ok(())
    }

    /// A match of more than 258 bytes becomes several, the last of which has at least 4 bytes.
    #[inline(always)]
    fn match_of(&mut self, mut at: usize, distance: usize, mut left: usize) -> Result<(), Divergence> {
        while left > 0 {
            let length = match left {
                ..=MAXIMUM_MATCH => left,
                259..=261 => MAXIMUM_MATCH - 3,
                _ => MAXIMUM_MATCH,
            };
            self.token(Token::Match { length: length as u16, distance: distance as u16 }, at)?;
            at += length;
            left -= length;
        }
        Ok(())
    }

    #[inline(always)]
    fn token(&mut self, predicted: Token, at: usize) -> Result<(), Divergence> {
        let Text { bytes, start, is_end } = self.text;
        let answer = self.sink.token(&Place { window: bytes, start, at, is_end }, predicted);
        if answer == predicted {
            return Ok(());
        }
        // No answer holds the search.
        Err(Divergence { start: at, length: answer.size().max(1) })
    }
}

/// Eight bytes of the text as a number; zero where there are fewer.
#[inline(always)]
fn bytes(text: &[u8], at: usize) -> u64 {
    text.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[inline(always)]
fn hash_short(value: u64) -> usize {
    ((value as u32).wrapping_mul(2_654_435_761) >> 17) as usize
}

#[inline(always)]
fn hash_long(value: u64) -> usize {
    ((value << 8).wrapping_mul(58_295_818_150_454_627) >> 49) as usize
}

/// How many bytes at `late` and at `early`, which comes before it, are the same, up to `limit`.
#[inline]
fn common_prefix(text: &[u8], late: usize, early: usize, limit: usize) -> usize {
    let (Some(late), Some(early)) = (text.get(late..), text.get(early..)) else { return 0 };
    let length = late.len().min(early.len()).min(limit);
    let (late, late_rest) = late[..length].as_chunks::<8>();
    let (early, early_rest) = early[..length].as_chunks::<8>();
    for (index, (late, early)) in late.iter().zip(early).enumerate() {
        let difference = u64::from_le_bytes(*late) ^ u64::from_le_bytes(*early);
        if difference != 0 {
            return index * 8 + difference.trailing_zeros() as usize / 8;
        }
    }
    late.len() * 8 + late_rest.iter().zip(early_rest).take_while(|(late, early)| late == early).count()
}
