// SPDX-License-Identifier: Apache-2.0
//! The deflate format (RFC 1951) and its gzip container (RFC 1952), as far as encoders share them.
//!
//! Encoders differ in the matches that they find, in where blocks end, and in the choice between the three types of a block. What
//! is the same for all is here. Code lengths by the package-merge algorithm ([`code_lengths`]) are those of the encoders of Go;
//! zlib builds its codes otherwise.

mod bits;
mod block;
mod frequencies;
mod gzip;
mod header;
mod huffman;
pub mod inflate;
mod runs;
mod symbols;
mod token;

pub use bits::BitWriter;
pub use block::{write_fixed_header, write_literals, write_stored, write_tokens};
pub use frequencies::Frequencies;
pub use gzip::{HEADER_SIZE, Trailer, header};
pub use header::{CODE_LENGTH_LIMIT, CODE_LENGTH_ORDER, DynamicHeader};
pub use huffman::{
    Code, Codes, LENGTH_LIMIT, Lengths, canonical_codes, code_lengths, fixed_codes, fixed_lengths,
};
pub use runs::{RUN_SYMBOLS, Run, append_runs};
pub use symbols::{
    DISTANCE_SYMBOLS, END_OF_BLOCK, LITERAL_SYMBOLS, distance_extra_bits, distance_symbol, length_extra_bits,
    length_symbol,
};
pub use token::{MAXIMUM_MATCH, MINIMUM_MATCH, MatchFinder, Place, Token, TokenSink, WINDOW};
