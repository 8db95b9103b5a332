// SPDX-License-Identifier: Apache-2.0
//! Tokens that are not those that the match finder expects.

use std::cmp::Ordering;

use super::error::CorrectionError;
use super::history::{History, OFFERS, Offer};
use super::range::{Coder, Model, Tree};
use crate::deflate::inflate::DISTANCES;
use crate::deflate::{DISTANCE_SYMBOLS, MINIMUM_MATCH, Token, distance_symbol};

/// Codes tokens. The decisions of one token, in order:
///
/// 1. Is it the expected one? If so, nothing else.
/// 2. A match is expected: is it a literal? If so, nothing else: the byte is known.
/// 3. A match is expected: has it the expected distance? If so, its length.
/// 4. For each of the matches that exist here, none of which is both nearer and at least as long as another, without that of 3:
///    has it this distance? If so: is it as long as it can be? If not, its length.
/// 5. A match is expected: has it the expected length? If not, or if a literal is expected: its length.
/// 6. The number of its distance among the candidates of that length, the nearest being 0; 255 if it is none of them.
/// 7. The distance.
#[derive(Debug)]
pub(super) struct TokenModel {
    /// Literals expected: by the match that exists, the kind of the token before and the last outcomes.
    literal_differs: [[[Model; 8]; 2]; 8],
    /// Matches expected: by whether there are better ones, by length, distance and the last two outcomes.
    match_differs: [[[[Model; 4]; 8]; 8]; BETTER],
    /// By length and the last two outcomes.
    is_literal: [[Model; 4]; 8],
    is_same_distance: [Model; 8],
    same_distance_length: Tree<8>,
    /// By how the offer relates to what is expected, and its number.
    is_offer: [[Model; OFFERS]; 7],
    is_shorter: [Model; OFFERS],
    offered_length: Tree<8>,
    is_same_length: [Model; 8],
    length: Tree<8>,
    /// By whether the length is the expected one.
    rank: [Tree<8>; 2],
    distance: Tree<5>,
    /// One bit for each of the last tokens: it was not the expected one.
    outcomes: usize,
    is_behind_match: bool,
}

impl Default for TokenModel {
    fn default() -> Self {
        let model = Model::default();
        Self {
            literal_differs: [[[model; 8]; 2]; 8],
            match_differs: [[[[model; 4]; 8]; 8]; BETTER],
            is_literal: [[model; 4]; 8],
            is_same_distance: [model; 8],
            same_distance_length: Tree::default(),
            is_offer: [[model; OFFERS]; 7],
            is_same_length: [model; 8],
            rank: [Tree::default(), Tree::default()],
            is_shorter: [model; OFFERS],
            offered_length: Tree::default(),
            length: Tree::default(),
            distance: Tree::default(),
            outcomes: 0,
            is_behind_match: false,
        }
    }
}

fn length_class(length: u16) -> usize {
    match length {
        0..=7 => usize::from(length.saturating_sub(3)),
        8..=15 => 5,
        16..=31 => 6,
        _ => 7,
    }
}

fn distance_class(distance: u16) -> usize {
    (distance.max(1).ilog2() as usize).saturating_sub(3).min(11) * 2 / 3
}

/// Number of results of [`better`].
const BETTER: usize = 24;

/// What speaks against an expected match: a longer one here, a nearer one of the same length, one at the next byte.
fn better(history: &mut History, position: u64, length: u16, distance: u16) -> usize {
    let (longer, nearest) = history.offers_from(position, length);
    let is_nearest = nearest.is_none_or(|nearest| nearest >= distance);
    let next = usize::from((history.longest(position + 1, length + 2) + 1).saturating_sub(length).min(3));
    (2 * usize::from(longer) + usize::from(is_nearest)) * 4 + next
}

impl TokenModel {
    /// The token at `position`; `actual` is what a writer stores.
    #[inline]
    pub(super) fn code(
        &mut self,
        coder: &mut impl Coder,
        history: &mut History,
        position: u64,
        expected: Token,
        actual: Option<Token>,
    ) -> Result<Token, CorrectionError> {
        let model = match expected {
            Token::Literal(_) => {
                let longest = usize::from(history.longest(position, 9).saturating_sub(2).min(7));
                &mut self.literal_differs[longest][usize::from(self.is_behind_match)][self.outcomes & 7]
            }
            Token::Match { length, distance } => {
                let better = better(history, position, length, distance);
                let class = (length_class(length), distance_class(distance));
                &mut self.match_differs[better][class.0][class.1][self.outcomes & 3]
            }
        };
        let differs = coder.decide(model, actual.is_some_and(|actual| actual != expected));
        let token = if differs { self.other(coder, history, position, expected, actual)? } else { expected };
        self.outcomes = self.outcomes << 1 | usize::from(differs);
        self.is_behind_match = matches!(token, Token::Match { .. });
        Ok(token)
    }

    #[cold]
    fn other(
        &mut self,
        coder: &mut impl Coder,
        history: &mut History,
        position: u64,
        expected: Token,
        actual: Option<Token>,
    ) -> Result<Token, CorrectionError> {
        let (actual_length, actual_distance) = match actual {
            Some(Token::Match { length, distance }) => (length, distance),
            _ => (MINIMUM_MATCH as u16, 1),
        };
        let mut expected_match = None;
        if let Token::Match { length, distance } = expected {
            let class = length_class(length);
            let model = &mut self.is_literal[class][self.outcomes & 3];
            if coder.decide(model, matches!(actual, Some(Token::Literal(_)))) {
                let byte = history.from(position).first().copied();
                return byte.map(Token::Literal).ok_or(CorrectionError::End { at: position });
            }
            if coder.decide(&mut self.is_same_distance[class], actual_distance == distance) {
                let length = code_length(&mut self.same_distance_length, coder, actual_length);
                return checked(history, position, length, distance);
            }
            expected_match = Some(Offer { length, distance });
        }
        let offers = history.offers(position);
        let offers =
            offers.iter().filter(|offer| expected_match.is_none_or(|other| other.distance != offer.distance));
        for (number, offer) in offers.enumerate() {
            let model = &mut self.is_offer[relation(offer, expected_match)][number];
            if coder.decide(model, actual_distance == offer.distance) {
                let mut length = offer.length;
                if coder.decide(&mut self.is_shorter[number], actual_length != length) {
                    length = code_length(&mut self.offered_length, coder, actual_length);
                }
                return checked(history, position, length, offer.distance);
            }
        }
        let mut same_length = None;
        if let Some(Offer { length, .. }) = expected_match {
            let model = &mut self.is_same_length[length_class(length)];
            if coder.decide(model, actual_length == length) {
                same_length = Some(length);
            }
        }
        let length = same_length.unwrap_or_else(|| code_length(&mut self.length, coder, actual_length));
        let rank = actual.and_then(|_| history.rank(position, length, actual_distance)).unwrap_or(u8::MAX);
        let rank = self.rank[usize::from(same_length.is_some())].code(coder, rank.into()) as u8;
        let distance = match rank {
            u8::MAX => self.code_distance(coder, actual_distance),
            rank => history.ranked(position, length, rank).unwrap_or_default(),
        };
        checked(history, position, length, distance)
    }

    fn code_distance(&mut self, coder: &mut impl Coder, actual: u16) -> u16 {
        let (symbol, extra) = distance_symbol(actual);
        let symbol = self.distance.code(coder, symbol as u32) as usize;
        let (first, extra_bits) = DISTANCES[symbol.min(DISTANCE_SYMBOLS - 1)];
        first + coder.bits(extra_bits.into(), extra) as u16
    }
}

/// How an offer relates to the expected match: length and distance less, equal or more.
fn relation(offer: Offer, expected: Option<Offer>) -> usize {
    let Some(expected) = expected else { return 6 };
    let farther = usize::from(offer.distance > expected.distance);
    match offer.length.cmp(&expected.length) {
        Ordering::Less => farther,
        Ordering::Equal => 2 + farther,
        Ordering::Greater => 4 + farther,
    }
}

fn code_length(tree: &mut Tree<8>, coder: &mut impl Coder, actual: u16) -> u16 {
    MINIMUM_MATCH as u16 + tree.code(coder, u32::from(actual) - MINIMUM_MATCH as u32) as u16
}

fn checked(history: &History, at: u64, length: u16, distance: u16) -> Result<Token, CorrectionError> {
    if !history.has_match(at, distance.into(), length) {
        return Err(CorrectionError::Match { at, length, distance });
    }
    Ok(Token::Match { length, distance })
}
