// SPDX-License-Identifier: Apache-2.0
//! Corrections from a stream.

use std::collections::VecDeque;
use std::io::Read;

use super::codes::Trees;
use super::error::CorrectionError;
use super::range::Writer;
use super::script::{Script, Side};
use crate::deflate::inflate::{Block, Dynamic, GzipReader, InflateError, Piece};
use crate::deflate::{MatchFinder, Token};

/// The stream, as far as it was read and not passed by the match finder.
#[derive(Debug, Default)]
struct Recording {
    writer: Writer,
    parts: VecDeque<Part>,
    padding: u8,
    /// The codes of the block, until its end.
    current: Option<Block>,
}

#[derive(Debug)]
enum Part {
    Begin(Block),
    Token(Token),
}

impl Side for Recording {
    type Coder = Writer;

    fn coder(&mut self) -> &mut Writer {
        &mut self.writer
    }

    fn next_block(&mut self) -> Option<Block> {
        if self.current.is_some() {
            return self.current.take();
        }
        match self.parts.pop_front() {
            Some(Part::Begin(block)) => {
                self.current = Some(block.clone());
                Some(block)
            }
            _ => None,
        }
    }

    fn is_block_end(&self) -> bool {
        !matches!(self.parts.front(), Some(Part::Token(_)))
    }

    fn next_token(&mut self) -> Option<Token> {
        match self.parts.pop_front() {
            Some(Part::Token(token)) => Some(token),
            _ => None,
        }
    }

    fn padding(&self) -> u8 {
        self.padding
    }

    fn begin(&mut self, _: &Block) -> Result<(), CorrectionError> {
        Ok(())
    }

    fn token(&mut self, _: Token) {}

    fn stored(&mut self, _: &[u8]) {}

    fn end(&mut self, _: Option<Dynamic>) {
        self.current = None;
    }
}

/// What recording a stream needs.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Plain bytes after which recording stops. Finders differ in how far they look ahead, so that these are the bytes that the
    /// finder has passed.
    pub plain: u64,
    /// Size of the corrections, as parts of the size of the stream, after which it stops: 10 for one tenth.
    pub divisor: u64,
}

/// Corrections of a stream, or of its beginning.
pub struct Recorded {
    /// The corrections; without use if the stream was not recorded to its end.
    pub corrections: Vec<u8>,
    /// The stream was recorded to its end.
    pub is_complete: bool,
    /// Plain bytes that they describe.
    pub plain: u64,
}

impl Recorded {
    fn new(script: Script<Recording>, is_complete: bool) -> Self {
        let plain = script.position();
        Self { corrections: script.side.writer.finish(), is_complete, plain }
    }
}

impl std::fmt::Debug for Recorded {
    /// Without the corrections, which can be megabytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { corrections, is_complete, plain } = self;
        f.debug_struct("Recorded")
            .field("size", &corrections.len())
            .field("is_complete", is_complete)
            .field("plain", plain)
            .finish()
    }
}

/// Why a stream was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It cannot be read.
    #[error(transparent)]
    Inflate(#[from] InflateError),
    /// No corrections describe it.
    #[error(transparent)]
    Correction(#[from] CorrectionError),
    /// The corrections are too large to be worth it.
    #[error("the corrections are {corrections} bytes after {read} bytes of the stream")]
    TooLarge {
        /// Bytes so far.
        corrections: u64,
        /// Bytes of the stream so far.
        read: u64,
    },
}

/// Below this size, corrections are not compared with the stream that was read so far: each stream begins with learning.
const LEARNING: u64 = 64 * 1024;

/// Records how a stream differs from what an encoder with this match finder and these trees writes.
///
/// # Errors
/// The stream cannot be read, has a block that is too long, or the corrections become too large.
pub fn record<R: Read, F: MatchFinder>(
    gzip: &mut GzipReader<R>,
    finder: &mut F,
    trees: Trees,
    limits: Limits,
) -> Result<Recorded, RecordError> {
    let mut script = Script::new(Recording::default(), trees);
    loop {
        match gzip.next()? {
            Piece::Block(block) => script.side.parts.push_back(Part::Begin(block.clone())),
            Piece::Data { tokens, plain } => {
                script.side.parts.extend(tokens.iter().copied().map(Part::Token));
                script.write(plain);
                finder.write(plain, &mut script);
                script.check()?;
            }
            Piece::End => break,
        }
        let (corrections, read) = (script.side.writer.len(), gzip.position());
        if corrections > LEARNING && corrections > read / limits.divisor.max(1) {
            return Err(RecordError::TooLarge { corrections, read });
        }
        if script.position() >= limits.plain {
            return Ok(Recorded::new(script, false));
        }
    }
    script.side.padding = gzip.padding();
    finder.finish(&mut script);
    script.finish()?;
    Ok(Recorded::new(script, true))
}
