// SPDX-License-Identifier: Apache-2.0
//! The shortest encoding of changed content.

use std::io;

use zstd::zstd_safe::{self, CCtx, CParameter};

use super::difference::Difference;
use super::mode::Mode;
use crate::patch::Step;

/// How a range of a target is encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Code {
    /// It is no more like its older version than like other content.
    New,
    /// A frame with the older version as prefix.
    Frame(Vec<u8>),
    /// Differences to the older version.
    Difference(Difference),
}

impl Code {
    /// The memory that the encoding takes.
    pub(super) fn memory(&self) -> u64 {
        match self {
            Self::New => 0,
            Self::Frame(frame) => frame.len() as u64,
            Self::Difference(code) => {
                (code.difference.len() + code.extra.len() + code.steps.len() * size_of::<Step>()) as u64
            }
        }
    }
}

/// The memory in which content of these lengths is encoded.
pub(super) fn memory(mode: Mode, old: u64, new: u64) -> u64 {
    match mode {
        Mode::Fast => old + 3 * new + (8 << 20),
        // Suffixes with the text that they are of, and the differences with what they are compressed to.
        Mode::Small | Mode::Max => old * 5 + new * 4 + (32 << 20),
    }
}

/// Encodes `new`, of which `old` may be an older version.
pub(super) fn encode(mode: Mode, old: &[u8], new: &[u8]) -> io::Result<Code> {
    match Difference::aligned(old, new) {
        Some(difference) => Ok(Code::Difference(difference)),
        None if mode == Mode::Fast => fast(old, new),
        None => small(old, new),
    }
}

/// In seconds for a layer.
fn fast(old: &[u8], new: &[u8]) -> io::Result<Code> {
    let frame = with_prefix(old, new, 3)?;
    // In the one stream of all new content, content is shorter than alone.
    let is_shorter = frame.len() + FRAME_COST < compressed(new, 3)? * 9 / 10;
    Ok(if is_shorter { Code::Frame(frame) } else { Code::New })
}

/// The shorter of a frame and of differences.
fn small(old: &[u8], new: &[u8]) -> io::Result<Code> {
    const QUICK: i32 = 6;
    const BEST: i32 = 19;
    let difference = Difference::between(old, new);
    let mut as_difference = DIFFERENCE_COST;
    for stream in [&difference.difference, &difference.extra, &difference.encoded_steps()] {
        as_difference += compressed(stream, QUICK)?.saturating_sub(STREAM_COST);
    }
    let as_frame = if (old.len() + new.len()) as u64 <= MAX_FRAME {
        with_prefix(old, new, QUICK)?.len() + FRAME_COST
    } else {
        usize::MAX
    };
    let as_new = compressed(new, QUICK)? * 9 / 10;
    if as_new <= as_difference.min(as_frame) {
        return Ok(Code::New);
    }
    if as_frame < as_difference {
        with_prefix(old, new, BEST).map(Code::Frame)
    } else {
        Ok(Code::Difference(difference))
    }
}

/// What an operation with differences takes.
const DIFFERENCE_COST: usize = 6;

/// What a frame of its own takes, and a part of a stream does not.
const STREAM_COST: usize = 9;

/// The longest prefix and content of a frame together.
const MAX_FRAME: u64 = 48 << 20;

/// What an operation with a frame takes.
const FRAME_COST: usize = 12;

/// One frame with a prefix. A loaded dictionary would cut the prefix to the window of the level.
fn with_prefix(old: &[u8], new: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let mut context = CCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
    let both = (old.len() + new.len()) as u64;
    let window_log = both.next_power_of_two().trailing_zeros().clamp(10, 27);
    let parameters = [
        CParameter::CompressionLevel(level),
        CParameter::WindowLog(window_log),
        CParameter::EnableLongDistanceMatching(both > 1 << 18),
    ];
    for parameter in parameters {
        context.set_parameter(parameter).map_err(zstd_error)?;
    }
    context.ref_prefix(old).map_err(zstd_error)?;
    let mut frame = Vec::with_capacity(zstd_safe::compress_bound(new.len()));
    context.compress2(&mut frame, new).map_err(zstd_error)?;
    frame.shrink_to_fit();
    Ok(frame)
}

/// How long content is when it is compressed alone.
fn compressed(content: &[u8], level: i32) -> io::Result<usize> {
    let mut frame = Vec::with_capacity(zstd_safe::compress_bound(content.len()));
    zstd_safe::compress(&mut frame, content, level).map_err(zstd_error)
}

fn zstd_error(code: zstd_safe::ErrorCode) -> io::Error {
    io::Error::other(zstd_safe::get_error_name(code))
}
