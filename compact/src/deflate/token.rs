// SPDX-License-Identifier: Apache-2.0
//! Tokens of a deflate block, and where the match finders of the encoders send theirs.

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

/// Where a match finder sends the tokens that its encoder would write.
///
/// An encoder that is reproduced exactly takes each token as it comes. Where the stream that is to be written comes from another
/// version of the encoder, the sink knows which tokens that stream has: it answers with the token that stands there, and the match
/// finder continues from *that* token, as if it had chosen it. So both sides of a correction run the same code.
pub trait TokenSink {
    /// Takes the token that the encoder would write next, and returns the one to write.
    fn token(&mut self, predicted: Token) -> Token;
}
