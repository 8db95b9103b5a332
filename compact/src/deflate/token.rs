// SPDX-License-Identifier: Apache-2.0
//! Tokens of a deflate block, and the interface between match finders and what takes their tokens.

/// Shortest match that deflate can write.
pub const MINIMUM_MATCH: usize = 3;
/// Longest match that deflate can write.
pub const MAXIMUM_MATCH: usize = 258;
/// Largest distance that deflate can write.
pub const WINDOW: usize = 32768;

/// One token of a deflate block: a byte, or a copy of earlier bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Token {
    /// The byte itself.
    Literal(u8),
    /// `length` (3 to 258) bytes that lie `distance` (1 to 32768) bytes back.
    Match {
        /// Bytes.
        length: u16,
        /// Bytes.
        distance: u16,
    },
}

impl Token {
    /// Bytes that the token stands for, at least one.
    #[must_use]
    #[inline]
    pub fn size(self) -> usize {
        match self {
            Self::Literal(_) => 1,
            Self::Match { length, .. } => usize::from(length.max(1)),
        }
    }
}

/// Where a token stands: the plain bytes before it and behind it.
///
/// The window of every finder reaches at least [`MAXIMUM_MATCH`] bytes behind the token, or to the end of the input, and back to
/// all bytes that the finder itself could still copy from. That is not always [`WINDOW`] bytes: the window of Go's levels 2 to 9
/// moves in steps, so that only some 32507 bytes are left just after a step.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Plain bytes, from `start` in the stream.
    pub window: &'a [u8],
    /// Position of the first byte of `window` in the stream.
    pub start: u64,
    /// The token begins at this byte of `window`.
    pub at: usize,
    /// `window` ends where the input ends.
    pub is_end: bool,
}

impl Place<'_> {
    /// Position of the token in the stream.
    #[must_use]
    #[inline]
    pub fn position(&self) -> u64 {
        self.start + self.at as u64
    }

    /// The byte here as a token; 0 behind the window.
    #[must_use]
    #[inline]
    pub fn literal(&self) -> Token {
        Token::Literal(self.window.get(self.at).copied().unwrap_or_default())
    }

    /// The token ends where the input ends.
    #[must_use]
    #[inline]
    pub fn is_last(&self, token: Token) -> bool {
        self.is_end && self.at + token.size() >= self.window.len()
    }

    /// `token` stands for the bytes that are here, as far as the window reaches.
    #[must_use]
    pub fn is_valid(&self, token: Token) -> bool {
        let Some(ahead) = self.window.get(self.at..) else { return false };
        match token {
            Token::Literal(byte) => ahead.first() == Some(&byte),
            Token::Match { length, distance } => {
                let (length, distance) = (usize::from(length), usize::from(distance));
                let source = self.at.checked_sub(distance).and_then(|at| self.window.get(at..));
                (MINIMUM_MATCH..=MAXIMUM_MATCH).contains(&length)
                    && (1..=WINDOW).contains(&distance)
                    && match (ahead.get(..length), source.and_then(|source| source.get(..length))) {
                        (Some(ahead), Some(source)) => ahead == source,
                        _ => false,
                    }
            }
        }
    }
}

/// Takes the tokens of a match finder.
///
/// An encoder that is reproduced exactly takes each token as it comes ([`TokenSink::token`] returns `predicted`). Where the stream
/// that is to be written comes from another version of the encoder, the sink knows which tokens that stream has: it answers with
/// the token that stands there, and the finder continues from *that* token. So the same finder with a sink that records on one
/// side and one that replays on the other takes the same path, and only the answers that differ have to be stored.
pub trait TokenSink {
    /// Takes the token that the encoder would write at `place`, and returns the token to continue from.
    ///
    /// The answer must be valid at the place: either `predicted` or a token that [`Place::is_valid`] accepts, or, for a match
    /// that reaches back farther than the finder's window, one that the caller has checked otherwise. A finder does not check
    /// the bytes of an answer again (an invalid one only makes later predictions worse), but it never moves behind the input.
    fn token(&mut self, place: &Place<'_>, predicted: Token) -> Token;
}

impl<S: TokenSink> TokenSink for &mut S {
    fn token(&mut self, place: &Place<'_>, predicted: Token) -> Token {
        (**self).token(place, predicted)
    }
}

/// Finds matches as one encoder does, and sends them as tokens to a sink.
///
/// A finder takes plain bytes in pieces of any size. Its tokens do not depend on the pieces: it collects as much as the encoder
/// sees at once when everything arrives in one call. It holds at most a few hundred KiB of plain bytes.
///
/// # Answers that differ
///
/// The tokens that were sent cover the input without a gap, in order. After an answer the next token begins behind the bytes of
/// the *answer*. If it is not the prediction, the finder drops what it had found so far and not sent (for a lazy parse: the byte
/// that is held and the match at the next byte, unless the answer is the one literal before it), enters the positions that the
/// answer passes into its dictionary by the rule that its encoder uses inside matches, and searches from there.
pub trait MatchFinder {
    /// Takes the next plain bytes. Tokens that are not the last are sent as soon as no later byte can change them.
    fn write<S: TokenSink>(&mut self, plain: &[u8], sink: &mut S);

    /// Sends the tokens of what is left. The last token of an input that is not empty comes here, with
    /// [`Place::is_end`] set. The finder is not used afterwards.
    fn finish<S: TokenSink>(&mut self, sink: &mut S);
}
