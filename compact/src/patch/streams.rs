// SPDX-License-Identifier: Apache-2.0
//! The compressed streams of a patch, read side by side, from the share of any target on.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use super::error::Problem;
use super::format::Stream;
use super::read_at::{RangeReader, ReadAt};

/// The smallest window of the zstd format (RFC 8878, 3.1.1.1.2).
pub(super) const MIN_WINDOW_LOG: u8 = 10;

/// One stream, decompressed.
pub(super) struct StreamReader<'a> {
    stream: Stream,
    inner: Inner<'a>,
    taken: u64,
}

enum Inner<'a> {
    Empty,
    Zstd(Box<BufReader<zstd::Decoder<'static, Stored<'a>>>>),
    Stored(Stored<'a>),
}

/// The bytes of a stream in the patch.
type Stored<'a> = BufReader<RangeReader<&'a dyn ReadAt>>;

impl fmt::Debug for StreamReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReader").field("stream", &self.stream).field("taken", &self.taken).finish()
    }
}

impl<'a> StreamReader<'a> {
    /// The stream at `offset` to `end` of the patch, in a window of at most `window_log`.
    pub(super) fn new(
        stream: Stream,
        patch: &'a dyn ReadAt,
        (offset, end): (u64, u64),
        window_log: u8,
    ) -> io::Result<Self> {
        let range = RangeReader::new(patch, offset, end);
        let inner = if offset == end {
            Inner::Empty
        } else if stream == Stream::Frames {
            Inner::Stored(BufReader::with_capacity(64 << 10, range))
        } else {
            let range = BufReader::with_capacity(16 << 10, range);
            let mut decoder = zstd::Decoder::with_buffer(range)?.single_frame();
            decoder.window_log_max(u32::from(window_log.max(MIN_WINDOW_LOG)))?;
            Inner::Zstd(Box::new(BufReader::with_capacity(32 << 10, decoder)))
        };
        Ok(Self { stream, inner, taken: 0 })
    }

    /// How many bytes were read since the beginning of the stream.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) fn fill(&mut self, buf: &mut [u8]) -> Result<(), Problem> {
        self.read_exact(buf).map_err(|error| Problem::Stream { stream: self.stream, error })
    }

    /// Reads and drops bytes until `taken` were read.
    pub(super) fn skip_to(&mut self, taken: u64) -> Result<(), Problem> {
        let skipped = taken.saturating_sub(self.taken);
        let read = io::copy(&mut Read::by_ref(self).take(skipped), &mut io::sink());
        match read {
            Ok(read) if read == skipped => Ok(()),
            Ok(_) => Err(Problem::Stream { stream: self.stream, error: io::ErrorKind::UnexpectedEof.into() }),
            Err(error) => Err(Problem::Stream { stream: self.stream, error }),
        }
    }

    /// Whether nothing follows, compressed or not.
    pub(super) fn is_at_end(&mut self) -> Result<bool, Problem> {
        let problem = |error| Problem::Stream { stream: self.stream, error };
        match &mut self.inner {
            Inner::Empty => Ok(true),
            Inner::Stored(range) => Ok(range.fill_buf().map_err(problem)?.is_empty()),
            Inner::Zstd(decoder) => {
                let no_output = decoder.fill_buf().map_err(problem)?.is_empty();
                let compressed = decoder.get_mut().get_mut();
                Ok(no_output && compressed.fill_buf().map_err(problem)?.is_empty())
            }
        }
    }
}

impl Read for StreamReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.inner {
            Inner::Empty => 0,
            Inner::Zstd(decoder) => decoder.read(buf)?,
            Inner::Stored(range) => range.read(buf)?,
        };
        self.taken += read as u64;
        Ok(read)
    }
}
